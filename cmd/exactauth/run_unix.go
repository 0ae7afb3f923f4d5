//go:build unix

package main

import (
	"context"
	"os"
	"os/signal"
	"slices"
	"strconv"
	"syscall"
)

// ownClaim keeps to this process what the front has claimed for it: an open record,
// which is nothing for those that are started here (see cmd/exactauth-front).
func ownClaim() {
	const variable = "EXACTAUTH_CLAIM"
	if fd, err := strconv.Atoi(os.Getenv(variable)); err == nil && fd > 2 {
		syscall.CloseOnExec(fd)
	}
	os.Unsetenv(variable)
}

const errNoExec = syscall.ENOEXEC

// moreRelayed are further signals that a child gets when this program does.
func moreRelayed() []os.Signal {
	return []os.Signal{syscall.SIGQUIT, syscall.SIGUSR1, syscall.SIGUSR2}
}

// become has a program take this one's place: same process, streams and parent.
// It returns only an error. Signals are to it what they were to us when we began;
// one that came before is ours, though ctx may end only a moment after it.
func (a *app) become(ctx context.Context, path string, args, env []string) error {
	arrived()
	giveBack(a.ending)
	if !slices.Contains(a.ending, os.Signal(os.Interrupt)) {
		signal.Reset(os.Interrupt) // to being ignored
	}
	select {
	case sig := <-a.signals:
		if sig, ok := sig.(syscall.Signal); ok {
			return &interrupted{sig}
		}
	default:
	}
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	return cannotStart(args[0], syscall.Exec(path, args, env))
}
