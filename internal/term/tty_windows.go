package term

import (
	"os"
	"os/exec"
	"syscall"

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

// splitWords splits a command line as Windows programs do, to which a backslash is a
// part of a path.
func splitWords(command string) ([]string, error) { return windows.DecomposeCommandLine(command) }

// leaveSession makes cmd start without our console, whose Ctrl-C would end it.
func leaveSession(cmd *exec.Cmd) {
	cmd.SysProcAttr = &syscall.SysProcAttr{CreationFlags: windows.DETACHED_PROCESS | windows.CREATE_NEW_PROCESS_GROUP}
}

func inForeground(*os.File) bool { return true }

// silence changes nothing: a console takes lines that are long enough, and shows what is
// pasted. restore restores what reading a password has changed.
func silence(f *os.File, _ bool, _ func()) (restore func(), err error) {
	before, err := term.GetState(int(f.Fd()))
	return func() { _ = term.Restore(int(f.Fd()), before) }, err
}
