//go:build linux || darwin

package main

import (
	"os"

	"golang.org/x/sys/unix"
)

func takesEscapes(*os.File) bool { return true }

// inForeground reports whether the terminal is ours to draw on: a job in the
// background would draw on the person's command line.
func inForeground(terminal *os.File) bool {
	group, err := unix.IoctlGetInt(int(terminal.Fd()), unix.TIOCGPGRP)
	return err != nil || group == unix.Getpgrp() // no terminal of this session has no jobs
}

// hidesPaste: what is pasted is not shown, so it does not meet what is drawn
// meanwhile. See pasteMode.
const hidesPaste = true
