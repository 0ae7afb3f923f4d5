package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"syscall"

	"github.com/spf13/cobra"

	"github.com/exactauth/exactauth/internal/term"
)

// This file runs a command of the user's, for "exec", "proxy" and "sandbox".

// commandError is the error of a command that cannot be run, with the exit code that
// shells and env(1) use for it.
type commandError struct {
	code exitCode
	error
}

func (e *commandError) Unwrap() error { return e.error }

// withCommand returns work as a cobra RunE. work gets the arguments after "--". There may
// be none before it, since without "--" a flag of the command would be taken for one of
// ours.
func withCommand(work func(ctx context.Context, command []string) error) func(*cobra.Command, []string) error {
	return func(cmd *cobra.Command, args []string) error {
		switch {
		case len(args) > 0 && cmd.ArgsLenAtDash() != 0:
			return usagef("unexpected %q; to run a command, put -- before it", args[0])
		case len(args) == 0 && cmd.ArgsLenAtDash() == 0:
			return usagef("no command after --")
		}
		return work(cmd.Context(), args)
	}
}

// findCommand finds a program as a shell does, and checks that it can be given its
// arguments. The error is a *commandError.
func findCommand(name string, args ...string) (path string, err error) {
	path, err = exec.LookPath(name)
	switch {
	case err == nil:
		return path, checkArguments(path, args)
	case errors.Is(err, exec.ErrDot):
		return "", &hinted{&commandError{exitNotFound, fmt.Errorf("%s: found only in the current directory", name)}, "name it with its directory: " + "." + string(filepath.Separator) + name}
	case errors.Is(err, fs.ErrPermission):
		return "", &commandError{exitNotExecutable, fmt.Errorf("%s: cannot be executed", name)}
	}
	return "", &commandError{exitNotFound, fmt.Errorf("%s: command not found", name)}
}

// envWith sets variables for a command, and returns the environment with them. An empty
// value removes the variable.
func envWith(vars map[string]string) []string {
	for name, value := range vars {
		if value == "" {
			os.Unsetenv(name)
		} else {
			os.Setenv(name, value)
		}
	}
	return os.Environ()
}

// runChild runs a program to its end, with this program's streams. Its error is the
// program's *exec.ExitError. From now on signals are for the child: it may outlive a
// Ctrl-C, as an editor or a shell does, and we live as long as it does. A terminal
// sends Ctrl-C to both processes; every other signal is passed on.
func (a *app) runChild(ctx context.Context, path string, args, env []string) error {
	cmd := exec.Command(path)
	cmd.Args = args
	cmd.Env = env
	if err := quoteBatch(cmd); err != nil {
		return cannotStart(args[0], err)
	}
	cmd.Stdin, cmd.Stdout, cmd.Stderr = a.In, a.Out, a.Err

	signals := make(chan os.Signal, 8)
	signal.Notify(signals, append(moreRelayed(), a.interrupts.inherited...)...)
	a.interrupts.release()
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	if err := cmd.Start(); err != nil {
		return cannotStart(args[0], err)
	}
	defer tie(cmd.Process)()
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	for {
		select {
		case err := <-ended:
			return err
		case sig := <-signals:
			if (sig == os.Interrupt || sig == syscall.SIGQUIT) && term.IsTerminal(a.In) {
				continue // from the terminal's keys
			}
			_ = cmd.Process.Signal(sig) // it may have ended
		case <-ctx.Done(): // --timeout
			_ = cmd.Process.Kill()
			return <-ended
		}
	}
}

// cannotStart says why the system did not run a program that exists.
func cannotStart(name string, err error) error {
	code := exitNotExecutable
	if errors.Is(err, fs.ErrNotExist) {
		code = exitNotFound
	}
	if path, ok := errors.AsType[*fs.PathError](err); ok {
		err = path.Err
	}
	refused := &commandError{code, fmt.Errorf("%s: %w", name, err)}
	switch {
	case code == exitNotFound:
		return &hinted{refused, "the file exists, but not the interpreter that its first line names"}
	case errors.Is(err, errNoExec):
		return &hinted{refused, here.script + name}
	}
	return refused
}

// childStatus returns a child's exit code as a shell does.
func childStatus(e *exec.ExitError) int {
	if w, ok := e.Sys().(syscall.WaitStatus); ok && w.Signaled() {
		return 128 + int(w.Signal())
	}
	return e.ExitCode()
}
