package term

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
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

// splitWords splits a command line as Windows programs do, to which a backslash is a part of a path. But they close at
// the end a quote that is open there.
func splitWords(command string) ([]string, error) {
	open, name := false, true // name: the program's, in which a backslash is nothing else
	for i, c := range []byte(command) {
		switch slashes := i - len(strings.TrimRight(command[:i], `\`)); {
		case c == '"' && (name || slashes%2 == 0):
			open = !open
		case c == ' ' && !open:
			name = false
		}
	}
	if open {
		return nil, errors.New("a quote is not closed")
	}
	return windows.DecomposeCommandLine(command)
}

// leaveSession makes cmd start without our console, whose Ctrl-C would end it.
func leaveSession(cmd *exec.Cmd) error {
	err := QuoteBatch(cmd)
	if cmd.SysProcAttr == nil {
		cmd.SysProcAttr = new(syscall.SysProcAttr)
	}
	cmd.SysProcAttr.CreationFlags = windows.DETACHED_PROCESS | windows.CREATE_NEW_PROCESS_GROUP
	return err
}

// IsBatch reports whether Windows runs the file by cmd.exe. Windows drops dots and blanks
// at the end of a name.
func IsBatch(path string) bool {
	ext := strings.ToLower(filepath.Ext(strings.TrimRight(path, ". ")))
	return ext == ".bat" || ext == ".cmd"
}

// QuoteBatch makes cmd, if it is a batch file, pass its arguments whole: cmd.exe reads the
// command line once more and takes & and | in it for its own (CVE-2024-24576), which
// os/exec leaves to its callers. There is no quoting that is sure for %, " and line breaks. After an error cmd must not run.
func QuoteBatch(cmd *exec.Cmd) error {
	if !IsBatch(cmd.Path) {
		return nil
	}
	system, err := windows.GetSystemDirectory()
	if err != nil {
		return fmt.Errorf("find cmd.exe: %w", err)
	}
	line := `cmd /d /e:on /v:off /s /c ""` + cmd.Path + `"`
	for _, arg := range cmd.Args[1:] {
		end := strings.TrimRight(arg, `\`)
		if arg == "" || end != arg || strings.Trim(arg, batchSafe) != "" {
			arg = `"` + arg + arg[len(end):] + `"` // programs take a backslash before a quote for its escape
		}
		line += " " + arg
	}
	cmd.Path = filepath.Join(system, "cmd.exe")
	cmd.SysProcAttr = &syscall.SysProcAttr{CmdLine: line + `"`}
	return nil
}

// batchSafe are the characters that a batch file gets as they are without quotes.
const batchSafe = `abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789#$*+-./:?@\_`

func inForeground(*os.File) bool { return true }

// silence changes nothing: a console takes lines that are long enough, and shows what is
// pasted. restore restores what reading a password has changed.
func silence(f *os.File, _ bool, _ func()) (restore func(), err error) {
	before, err := term.GetState(int(f.Fd()))
	return func() { _ = term.Restore(int(f.Fd()), before) }, err
}
