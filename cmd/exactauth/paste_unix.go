//go:build linux || darwin

package main

import (
	"os"

	"golang.org/x/sys/unix"
)

// pasteMode takes a terminal out of line mode, in which it cuts lines (at 1024
// bytes on macOS, 4096 on Linux) that a sign-in's address can exceed, and turns
// its echo off, so that the code does not stay in the scrollback. Ctrl-C keeps
// its meaning. restore undoes it.
func pasteMode(f *os.File) (restore func(), err error) {
	fd := int(f.Fd())
	before, err := unix.IoctlGetTermios(fd, ioctlGetTermios)
	if err != nil {
		return nil, err
	}
	raw := *before
	raw.Lflag &^= unix.ICANON | unix.ECHO
	raw.Cc[unix.VMIN], raw.Cc[unix.VTIME] = 1, 0
	if err := unix.IoctlSetTermios(fd, ioctlSetTermios, &raw); err != nil {
		return nil, err
	}
	return func() { _ = unix.IoctlSetTermios(fd, ioctlSetTermios, before) }, nil
}
