package main

import (
	"context"
	"os"
	"os/exec"
	"syscall"
)

const errNoExec = syscall.Errno(193) // ERROR_BAD_EXE_FORMAT

// moreRelayed are further signals that must not end this program while a child
// runs. The console sends Ctrl-C to both.
func moreRelayed() []os.Signal { return nil }

// shellCommand returns a command line for the shell. cmd.exe does not unquote as Go
// quotes, and with /s it removes the outer quotes alone (os/exec, Command). /d leaves out
// the commands in the registry that otherwise run first.
func shellCommand(ctx context.Context, command string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, "cmd")
	cmd.SysProcAttr = &syscall.SysProcAttr{CmdLine: `cmd /d /s /c "` + command + `"`}
	return cmd
}

// become runs another program and returns its exit code: Windows cannot replace a
// process.
func (a *app) become(ctx context.Context, path string, args, env []string) error {
	return a.runChild(ctx, path, args, env)
}
