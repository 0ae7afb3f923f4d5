package main

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"unsafe"

	"golang.org/x/sys/windows"

	"github.com/exactauth/exactauth/internal/term"
)

const errNoExec = syscall.Errno(193) // ERROR_BAD_EXE_FORMAT

// moreRelayed are further signals that must not end this program while a child
// runs. The console sends Ctrl-C to both.
func moreRelayed() []os.Signal { return nil }

// quoteBatch makes a batch file get its arguments whole.
func quoteBatch(cmd *exec.Cmd) error { return term.QuoteBatch(cmd) }

// checkArguments refuses to run a batch file with an argument that cmd.exe would change. Its
// error says which one and not what it is, which can be a secret.
func checkArguments(path string, args []string) error {
	if !term.IsBatch(path) {
		return nil
	}
	for i, arg := range append([]string{path}, args...) {
		if strings.ContainsAny(arg, "%\"\r\n\x00") {
			return &hinted{&commandError{exitNotExecutable, fmt.Errorf("%s: argument %d cannot be passed to a batch file: cmd.exe would change %%, quotes and line breaks in it", filepath.Base(path), i)},
				"run the program that the batch file runs, or pass the value in an environment variable"}
		}
	}
	return nil
}

// tie makes Windows end a child, and what that starts, when this program is killed, by
// Task Scheduler for example: on Unix "exec" would be the child itself. untie is for when
// the child has ended: what it left running goes on, as on Unix.
func tie(p *os.Process) (untie func()) {
	job, err := windows.CreateJobObject(nil, nil)
	if err != nil {
		return func() {}
	}
	limit := func(flags uint32) error {
		var info windows.JOBOBJECT_EXTENDED_LIMIT_INFORMATION
		info.BasicLimitInformation.LimitFlags = flags
		_, err := windows.SetInformationJobObject(job, windows.JobObjectExtendedLimitInformation, uintptr(unsafe.Pointer(&info)), uint32(unsafe.Sizeof(info)))
		return err
	}
	if limit(windows.JOB_OBJECT_LIMIT_KILL_ON_JOB_CLOSE) == nil {
		_ = p.WithHandle(func(child uintptr) { _ = windows.AssignProcessToJobObject(job, windows.Handle(child)) }) // it may have ended
	}
	return func() {
		_ = limit(0)
		_ = windows.CloseHandle(job)
	}
}

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
