// Command exactauth signs a person in to Exact Online and hands out live access
// tokens to scripts. See the README for what it promises.
package main

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"slices"
	"syscall"

	"github.com/exactauth/exactauth/internal/term"
)

// version, commit and date are set by the release build.
var version, commit, date = "dev", "", ""

func main() { os.Exit(run(os.Args[1:])) }

func run(args []string) int {
	ownClaim()
	// First of all, so that none is overlooked; see app.become.
	ending := endingSignals()
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, ending...)
	ctx, stop := interruptible(context.Background(), signals)
	defer stop()
	a := &app{
		Terminal: term.Terminal{In: os.Stdin, Out: os.Stdout, Err: os.Stderr, Env: os.Getenv},
		ending:   ending, signals: signals,
	}
	defer a.close()
	root := a.rootCmd(args)
	root.SetArgs(args)
	err := root.ExecuteContext(ctx)
	if err != nil && !a.started {
		err = &usageError{err} // cobra's own: an unknown command or flag
		if end := slices.Index(args, "--"); end >= 0 {
			args = args[:end] // what follows is a command's own
		}
		a.JSON = slices.Contains(args, "--json") // the flags behind the fault were not read
	}
	return a.exit(err)
}

// interrupted is why the context ended when a signal ended it.
type interrupted struct{ signal syscall.Signal }

func (e *interrupted) Error() string { return "ended by " + e.signal.String() }

// interruptible ends the context on the first SIGINT, SIGTERM or SIGHUP, so that
// what must not be cut off can finish; the second ends the program at once. A
// reader that has gone ends nothing: the write that fails tells of it, since a
// line of the log must not cost a token that is not saved yet. What has come before
// is in came, and stays there.
func interruptible(ctx context.Context, came chan os.Signal) (context.Context, func()) {
	ctx, cancel := context.WithCancelCause(ctx)
	signals := make(chan os.Signal, 2)
	signal.Notify(signals, os.Interrupt, syscall.SIGTERM)
	if !signal.Ignored(syscall.SIGHUP) { // as nohup has it
		signal.Notify(signals, syscall.SIGHUP)
	}
	// Not signal.Ignore, which programs that are started here would inherit.
	signal.Notify(make(chan os.Signal, 1), syscall.SIGPIPE)
	select {
	case got := <-came:
		if sig, ok := got.(syscall.Signal); ok {
			cancel(&interrupted{sig})
		}
		select {
		case came <- got:
		default: // another has come
		}
	default:
	}
	go func() {
		for first := true; ; first = false {
			got, open := <-signals
			if !open {
				return
			}
			sig, _ := got.(syscall.Signal)
			if !first {
				fmt.Fprintln(os.Stderr, "exactauth: ended at once")
				os.Exit(128 + int(sig))
			}
			cancel(&interrupted{sig})
		}
	}()
	return ctx, func() {
		signal.Stop(signals)
		close(signals)
		cancel(nil)
	}
}
