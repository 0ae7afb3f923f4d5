// Package term is what a person sees and types: lines, prompts, tables, colours,
// the line that shows a wait, and the browser. Its rules:
//
//   - Results go to standard output, everything else to standard error.
//   - An error is two lines: "exactauth: <what>: <why>" and "exactauth: hint: <what
//     to type>", in lower case and without a full stop. What does not stop the work
//     is one line, "exactauth: note: ...".
//   - Prompts, colours and lines that come and go appear on a terminal only. With
//     --json there are none of the latter two, with --no-input no prompts.
//   - An address, or what a person copies, is alone on its line.
//   - A wait that a person would notice is shown; a pipe, which cron mails, gets a
//     line only if it is known when the wait ends.
//   - What a terminal got last is whole: a line that comes and goes is erased before
//     a line that stays, and the terminal's modes are restored before the program ends.
//   - A program that reads a result gets all of it. Only a terminal that is too
//     narrow gets a table with shortened cells.
//
// The package knows nothing of commands and profiles. Files, environment and flags
// are passed in.
package term

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"sync"

	"golang.org/x/term"

	"github.com/exactauth/exactauth/internal/fault"
)

// Terminal is the program's three streams, with what the environment and the
// command line say about who reads and writes there.
type Terminal struct {
	In       *os.File
	Out, Err *os.File
	Env      func(string) string

	JSON    bool   // a program reads the results and errors
	NoInput bool   // no person answers questions
	Browser string // command that opens addresses; empty: $BROWSER's, or the system's
	Shared  bool   // other programs write to the terminal too: nothing may come and go

	answers *bufio.Reader // of In, from the first question on
	echoes  bool          // the terminal shows what is pasted: nothing may come and go

	mu   sync.Mutex
	line string // the line that comes and goes, while it is on the terminal; the cursor is behind it
}

// IsTerminal reports whether a person is at the other end of f.
func IsTerminal(f *os.File) bool { return term.IsTerminal(int(f.Fd())) }

// Interactive reports whether questions can be asked and answered.
func (t *Terminal) Interactive() bool {
	return !t.NoInput && IsTerminal(t.In) && IsTerminal(t.Err)
}

// Print writes a result to standard output. A result that could not be written is an
// error, since a script must not take half a token for a whole one.
func (t *Terminal) Print(text string) error {
	if _, err := io.WriteString(t.Out, text); err != nil {
		return fmt.Errorf("standard output: %w", err)
	}
	return nil
}

// PrintJSON writes a result as one indented JSON object.
func (t *Terminal) PrintJSON(v any) error {
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false) // "<" in a name stays one
	enc.SetIndent("", "  ")
	if err := enc.Encode(v); err != nil {
		return err
	}
	return t.Print(b.String())
}

// Result writes a result: as JSON with --json, otherwise as text.
func (t *Terminal) Result(v any, text string) error {
	if t.JSON {
		return t.PrintJSON(v)
	}
	return t.Print(text)
}

// Say writes a line to standard error.
func (t *Terminal) Say(format string, args ...any) {
	_, _ = io.WriteString(t, Fold(fmt.Sprintf(format+"\n", args...), columns(t.Err)))
}

// Note writes a line about something that does not stop the work but should be known.
func (t *Terminal) Note(text string) { t.Say("exactauth: note: %s", fault.Line(text)) }

const eraseLine = "\r\x1b[K"

// Write writes whole lines to standard error, as a logger does. They take the place of
// the line that comes and goes, which moves below them.
func (t *Terminal) Write(lines []byte) (int, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	text := string(lines)
	if t.line != "" {
		text = eraseLine + text + t.line
	}
	if _, err := io.WriteString(t.Err, text); err != nil {
		return 0, err
	}
	return len(lines), nil
}

// draw replaces the line that comes and goes. An empty one erases it.
func (t *Terminal) draw(line string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if line == t.line {
		return
	}
	t.line = line
	_, _ = io.WriteString(t.Err, eraseLine+line) // it is of no use to anyone who cannot see it
}

// release leaves the line to another program that writes there now.
func (t *Terminal) release() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.line = ""
}
