//go:build unix

package term

import (
	"os"

	"golang.org/x/sys/unix"
)

func takesEscapes(*os.File) bool { return true }

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

// pasteMode takes a terminal out of line mode, which cuts lines at 1024 bytes on macOS
// and at 4096 on Linux: the address of a sign-in can be longer. It also turns the echo
// off, so that the code does not stay in the scrollback. Ctrl-C keeps its meaning.
func pasteMode(f *os.File) (restore func(), echoes bool, err error) {
	fd := int(f.Fd())
	before, err := unix.IoctlGetTermios(fd, ioctlGetTermios)
	if err != nil {
		return nil, false, err
	}
	raw := *before
	raw.Lflag &^= unix.ICANON | unix.ECHO
	raw.Cc[unix.VMIN], raw.Cc[unix.VTIME] = 1, 0
	if err := unix.IoctlSetTermios(fd, ioctlSetTermios, &raw); err != nil {
		return nil, false, err
	}
	return func() { _ = unix.IoctlSetTermios(fd, ioctlSetTermios, before) }, false, nil
}
