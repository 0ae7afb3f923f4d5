package main

import (
	"os"

	"golang.org/x/sys/windows"
)

// takesEscapes has a console understand escape sequences, which the older ones do
// only when they are asked to.
func takesEscapes(f *os.File) bool {
	h := windows.Handle(f.Fd())
	var mode uint32
	if windows.GetConsoleMode(h, &mode) != nil {
		return false
	}
	return mode&windows.ENABLE_VIRTUAL_TERMINAL_PROCESSING != 0 || windows.SetConsoleMode(h, mode|windows.ENABLE_VIRTUAL_TERMINAL_PROCESSING) == nil
}

// inForeground reports whether the terminal is ours to draw on.
func inForeground(*os.File) bool { return true }

// hidesPaste: what is pasted is shown while it is typed, so nothing may be drawn
// meanwhile. See pasteMode.
const hidesPaste = false
