package main

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"runtime"
	"slices"
	"syscall"

	"github.com/exactauth/exactauth/internal/term"
)

// interrupted is the cause of a context that a signal ended.
type interrupted struct{ signal syscall.Signal }

func (e *interrupted) Error() string { return "ended by " + e.signal.String() }

// interrupts are the signals that end the program: SIGINT, SIGTERM and SIGHUP, and with a
// terminal SIGQUIT (Ctrl-\). Elsewhere the Go runtime answers that: by its report one can
// find out why a program hangs.
type interrupts struct {
	// inherited are those of them that a program run in our place gets, too. The others
	// our parent had ignored, as nohup does with the hangup and a shell with the Ctrl-C
	// of a background job: they stay ignored there.
	inherited []os.Signal

	came    chan os.Signal
	handled chan struct{} // closed when all that came are handled
}

// catchInterrupts returns a context that the first signal ends, so that work that must
// not be cut off can finish. The second signal ends the program at once.
func catchInterrupts(ctx context.Context) (context.Context, *interrupts) {
	s := &interrupts{came: make(chan os.Signal, 2), handled: make(chan struct{})}
	s.inherited = slices.DeleteFunc([]os.Signal{os.Interrupt, syscall.SIGTERM, syscall.SIGHUP}, signal.Ignored)
	if term.IsTerminal(os.Stdin) {
		s.inherited = append(s.inherited, syscall.SIGQUIT)
	}
	caught := append([]os.Signal{os.Interrupt, syscall.SIGTERM}, s.inherited...) // a hangup only if it was not ignored
	signal.Notify(s.came, caught...)
	// A reader of our output that has gone must not end the program: a line of the log
	// must not cost a token that is not saved yet. The write that fails reports it. Not
	// signal.Ignore, which programs that are started here would inherit.
	signal.Notify(make(chan os.Signal, 1), syscall.SIGPIPE)
	ctx, cancel := context.WithCancelCause(ctx)
	go func() {
		defer close(s.handled)
		for first := true; ; first = false {
			got, open := <-s.came
			if !open {
				return
			}
			sig, _ := got.(syscall.Signal)
			// On Windows SIGTERM is a closed console, a logoff or a shutdown. After a Ctrl-C, too, the few seconds until
			// the system ends the program are for an answer that is awaited.
			if !first && (runtime.GOOS != "windows" || sig != syscall.SIGTERM) {
				fmt.Fprintln(os.Stderr, "exactauth: ended at once")
				os.Exit(128 + int(sig))
			}
			cancel(&interrupted{sig})
		}
	}()
	return ctx, s
}

// release leaves the signals to the system or to another receiver. When it returns,
// every signal that came before has ended the context.
func (s *interrupts) release() {
	if s == nil {
		return
	}
	select {
	case <-s.handled: // released before
		return
	default:
	}
	signal.Stop(s.came) // delivers what has come
	close(s.came)
	<-s.handled
}
