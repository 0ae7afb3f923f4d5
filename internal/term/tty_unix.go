//go:build unix

package term

import (
	"os"
	"os/exec"
	"os/signal"
	"sync"
	"syscall"

	"github.com/kballard/go-shellquote"
	"golang.org/x/sys/unix"

	"github.com/exactauth/exactauth/internal/handover"
)

const pasteIsShown = false

func takesEscapes(*os.File) bool { return true }

// splitWords splits a command line as a shell does.
func splitWords(command string) ([]string, error) { return shellquote.Split(command) }

// leaveSession makes cmd start in a session of its own, without a terminal.
func leaveSession(cmd *exec.Cmd) error {
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	return nil
}

// inForeground reports whether the program may draw on the terminal: a job in the
// background would draw on the person's command line.
func inForeground(terminal *os.File) bool {
	group, err := unix.IoctlGetInt(int(terminal.Fd()), unix.TIOCGPGRP)
	if err != nil {
		return true // a terminal that is not this session's has no jobs
	}
	own, err := unix.Getpgid(0)
	return err == nil && group == own
}

// silence turns a terminal's echo off until restore is called, so that a secret is not
// seen, and a code does not stay in the scrollback. Without lines it turns the line mode
// off, too, which cuts lines at 1024 bytes on macOS and at 4096 on Linux: the address of
// a sign-in can be longer. Ctrl-C keeps its meaning. While the job is stopped (Ctrl-Z)
// the terminal has its modes back, because not every shell restores them; resumed is
// called when the terminal is silent again. It has them back, too, when a signal comes at
// which the Go runtime ends the program.
func silence(f *os.File, lines bool, resumed func()) (restore func(), err error) {
	fd := int(f.Fd())
	var before, silent *unix.Termios // nil while the terminal is not silent
	set := func(silently bool) (err error) {
		switch {
		case !inForeground(f), !silently && before == nil: // in the background the modes are the shell's, and to set them would stop the job
			return nil
		case !silently:
			err, before = unix.IoctlSetTermios(fd, ioctlSetTermios, before), nil
			return err
		case before == nil:
			if before, err = unix.IoctlGetTermios(fd, ioctlGetTermios); err != nil {
				return err
			}
			modes := *before
			silent = &modes
			silent.Lflag &^= unix.ECHO
			if !lines {
				silent.Lflag &^= unix.ICANON
				silent.Cc[unix.VMIN], silent.Cc[unix.VTIME] = 1, 0
			}
		}
		return unix.IoctlSetTermios(fd, ioctlSetTermios, silent)
	}
	if err := set(true); err != nil {
		return nil, err
	}
	signals, over := make(chan os.Signal, 4), make(chan struct{})
	signal.Notify(signals, unix.SIGCONT, unix.SIGABRT, unix.SIGILL, unix.SIGTRAP, unix.SIGSYS, unix.SIGBUS, unix.SIGFPE, unix.SIGSEGV)
	if handover.CanStop() {
		signal.Ignore(unix.SIGTSTP) // so that Notify sets a handler a second time, too
		signal.Notify(signals, unix.SIGTSTP)
	}
	go func() {
		defer close(over)
		for s := range signals {
			switch s {
			case unix.SIGTSTP:
				_ = set(false)
				handover.Stop()
			case unix.SIGCONT:
			default:
				_ = set(false)
				signal.Reset(s)
				_ = unix.Kill(unix.Getpid(), s.(syscall.Signal)) // which ends the program as it would have
				return
			}
			if err := set(true); err == nil && before != nil && s == unix.SIGCONT {
				resumed()
			}
		}
	}()
	return sync.OnceFunc(func() {
		signal.Stop(signals)
		handover.DefaultSignals([]os.Signal{unix.SIGTSTP}) // Go's handler, which stays, would not stop us
		close(signals)
		<-over
		_ = set(false)
	}), nil
}
