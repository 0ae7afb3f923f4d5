package term

import (
	"os"

	"golang.org/x/sys/windows"
	"golang.org/x/term"
)

const pasteIsShown = true

// takesEscapes makes a console understand escape sequences, which older ones do only
// on request.
func takesEscapes(f *os.File) bool {
	h := windows.Handle(f.Fd())
	var mode uint32
	if windows.GetConsoleMode(h, &mode) != nil {
		return false
	}
	return mode&windows.ENABLE_VIRTUAL_TERMINAL_PROCESSING != 0 || windows.SetConsoleMode(h, mode|windows.ENABLE_VIRTUAL_TERMINAL_PROCESSING) == nil
}

func inForeground(*os.File) bool { return true }

// silence changes nothing: a console takes lines that are long enough, and shows what is
// pasted. restore restores what reading a password has changed.
func silence(f *os.File, _ bool, _ func()) (restore func(), err error) {
	before, err := term.GetState(int(f.Fd()))
	return func() { _ = term.Restore(int(f.Fd()), before) }, err
}
