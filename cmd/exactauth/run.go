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
	"runtime"
	"slices"
	"strings"
	"syscall"

	"github.com/spf13/cobra"

	"github.com/exactauth/exactauth/internal/term"
)

// What "exec", "proxy" and "sandbox" share: a command of the user's.

// commandError is a command that cannot be run, with the exit code that shells
// and env(1) have for it.
type commandError struct {
	code exitCode
	err  error
}

func (e *commandError) Error() string { return e.err.Error() }
func (e *commandError) Unwrap() error { return e.err }

// commandOf gives what stands after "--". Before it nothing may stand, so that a
// forgotten "--" does not make a flag of the command's one of ours.
func commandOf(cmd *cobra.Command, args []string) ([]string, error) {
	switch {
	case len(args) > 0 && cmd.ArgsLenAtDash() != 0:
		return nil, usagef("unexpected %q; to run a command, put -- before it", args[0])
	case len(args) == 0 && cmd.ArgsLenAtDash() == 0:
		return nil, usagef("there is no command after --")
	}
	return args, nil
}

// findCommand finds a program as a shell would. The error is a *commandError.
func findCommand(name string) (path string, err error) {
	path, err = exec.LookPath(name)
	switch {
	case err == nil:
		return path, nil
	case errors.Is(err, exec.ErrDot):
		return "", &hinted{&commandError{exitNotFound, fmt.Errorf("%s: it is in the current directory only", name)}, "name it with its directory: " + filepath.Join(".", name)}
	case errors.Is(err, fs.ErrPermission):
		return "", &commandError{exitNotExecutable, fmt.Errorf("%s: it cannot be executed", name)}
	}
	return "", &commandError{exitNotFound, fmt.Errorf("%s: command not found", name)}
}

// withEnv is the environment env with some variables set, and those that are set
// to nothing removed.
func withEnv(env []string, vars map[string]string) []string {
	same := func(a, b string) bool { return a == b || runtime.GOOS == "windows" && strings.EqualFold(a, b) }
	var next []string
	for _, kv := range env {
		name, _, _ := strings.Cut(kv, "=")
		replaced := false
		for set := range vars {
			replaced = replaced || same(name, set)
		}
		if !replaced {
			next = append(next, kv)
		}
	}
	names := make([]string, 0, len(vars))
	for name, value := range vars {
		if value != "" {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	for _, name := range names {
		next = append(next, name+"="+vars[name])
	}
	return next
}

// runChild runs a program to its end, with this program's streams, and returns
// its *exec.ExitError, if it has one. Signals are the child's from now on: it may
// live through a Ctrl-C, as an editor or a shell does, and so do we as long as it
// lives. A terminal sends Ctrl-C to both of us; all else is passed on.
func (a *app) runChild(ctx context.Context, path string, args, env []string) error {
	cmd := exec.Command(path)
	cmd.Args = args
	cmd.Env = env
	cmd.Stdin, cmd.Stdout, cmd.Stderr = a.In, a.Out, a.Err

	signals := make(chan os.Signal, 8)
	relayed := append(slices.Clone(a.ending), moreRelayed()...)
	arrived()
	signal.Reset(os.Interrupt, syscall.SIGTERM, syscall.SIGHUP) // the program's own handler, which ends it at the second
	signal.Notify(signals, relayed...)
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	if err := cmd.Start(); err != nil {
		return cannotStart(args[0], err)
	}
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	timeout := ctx.Done()
	for {
		select {
		case err := <-ended:
			return err
		case sig := <-signals:
			if (sig == os.Interrupt || sig == syscall.SIGQUIT) && term.IsTerminal(a.In) {
				continue // of the terminal's keys
			}
			_ = cmd.Process.Signal(sig) // it may have ended
		case <-timeout:
			timeout = nil
			var got *interrupted
			if !errors.As(context.Cause(ctx), &got) { // --timeout
				_ = cmd.Process.Kill()
			} else if got.signal != syscall.SIGINT || !term.IsTerminal(a.In) { // it came just before
				_ = cmd.Process.Signal(got.signal)
			}
		}
	}
}

// endingSignals are those that end this program when it begins. What its parent
// had ignored, as nohup has the hangup and a shell the Ctrl-C of what runs in the
// background, is to stay ignored for a program that is started.
func endingSignals() []os.Signal {
	return slices.DeleteFunc([]os.Signal{os.Interrupt, syscall.SIGTERM, syscall.SIGHUP}, signal.Ignored)
}

// arrived returns when the signals that this process has got by now have reached
// whoever waits for them, so that none is lost when nobody waits any more.
func arrived() {
	c := make(chan os.Signal, 1)
	signal.Notify(c, syscall.SIGTERM)
	signal.Stop(c) // guarantees just that
}

// cannotStart is why the system would not run a program that is there.
func cannotStart(name string, err error) error {
	code := exitNotExecutable
	if errors.Is(err, fs.ErrNotExist) {
		code = exitNotFound
	}
	var path *fs.PathError
	if errors.As(err, &path) {
		err = path.Err
	}
	refused := &commandError{code, fmt.Errorf("%s: %w", name, err)}
	switch {
	case code == exitNotFound:
		return &hinted{refused, "if it is there, the interpreter that its first line names is not"}
	case errors.Is(err, errNoExec):
		return &hinted{refused, "a script needs a first line that names its interpreter, as #!/bin/sh; or run it by that: sh " + name}
	}
	return refused
}

// childStatus is a child's exit code, as a shell gives it.
func childStatus(e *exec.ExitError) int {
	if w, ok := e.Sys().(syscall.WaitStatus); ok && w.Signaled() {
		return 128 + int(w.Signal())
	}
	return e.ExitCode()
}
