package term

import (
	"os"

	"golang.org/x/sys/windows"
)

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

// pasteMode changes nothing: a console takes lines that are long enough, and shows them.
func pasteMode(*os.File) (restore func(), echoes bool, err error) { return func() {}, true, nil }
