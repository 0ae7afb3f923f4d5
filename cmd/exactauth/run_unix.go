//go:build unix

package main

import (
	"context"
	"os"
	"os/exec"
	"syscall"

	"github.com/exactauth/exactauth/internal/handover"
)

const errNoExec = syscall.ENOEXEC

// moreRelayed are further signals that a child gets when this program does.
func moreRelayed() []os.Signal {
	return []os.Signal{syscall.SIGQUIT, syscall.SIGUSR1, syscall.SIGUSR2}
}

func quoteBatch(*exec.Cmd) error { return nil }

func checkArguments(string, []string) error { return nil }

// tie does nothing. Here "exec" becomes its command.
func tie(*os.Process) (untie func()) { return func() {} }

// shellCommand returns a command line for the shell.
func shellCommand(ctx context.Context, command string) *exec.Cmd {
	return exec.CommandContext(ctx, "/bin/sh", "-c", command)
}

// become replaces this program by another, in the same process: streams and parent are
// the same, and signals are as they were when we began. It returns only an error. A
// signal that came before ends this program.
func (a *app) become(ctx context.Context, path string, args, env []string) error {
	handover.DefaultSignals(a.interrupts.inherited)
	a.interrupts.release()
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	return cannotStart(args[0], syscall.Exec(path, args, env))
}
