package main

import (
	"context"
	"io"
	"os"
	"runtime"
	"strings"
	"sync"
	"time"
)

// screen is standard error with, while something is waited for, one line that
// comes and goes. What stays is written through it, and so gets the place of that
// line, which moves on.
type screen struct {
	mu   sync.Mutex
	line string // on the terminal just now; the cursor stands behind it
}

const eraseLine = "\r\x1b[K"

// write writes lines that stay.
func (s *screen) write(f *os.File, lines string) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	text := lines
	if s.line != "" {
		text = eraseLine + lines + s.line
	}
	if _, err := io.WriteString(f, text); err != nil {
		return 0, err
	}
	return len(lines), nil
}

// draw replaces the line that comes and goes; by none, if line is empty.
func (s *screen) draw(f *os.File, line string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if line == s.line {
		return
	}
	s.line = line
	_, _ = io.WriteString(f, eraseLine+line) // for eyes: without them it is no harm
}

// forget leaves the line to whoever writes there now.
func (s *screen) forget() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.line = ""
}

// logWriter makes the screen an io.Writer, for lines that stay.
type logWriter struct {
	*screen
	to *os.File
}

func (w logWriter) Write(lines []byte) (int, error) { return w.write(w.to, string(lines)) }

// spins reports whether a line can come and go on standard error.
func (a *app) spins() bool {
	term := a.env("TERM")
	return !a.json && !a.shared && isTerminal(a.err) && term != "dumb" && (term != "" || runtime.GOOS == "windows") &&
		takesEscapes(a.err) && inForeground(a.err)
}

const spinnerPace = 120 * time.Millisecond

var (
	spinnerFrames      = []string{"⠋", "⠙", "⠹", "⠸", "⠼", "⠴", "⠦", "⠧", "⠇", "⠏"}
	spinnerFramesASCII = []string{"|", "/", "-", `\`}
)

// spin shows that something is waited for and how long yet, as "⠋ waiting for the
// browser, 4m32s left", on a line that is gone when over is called or ctx ends.
// A zero end is not told. over may be called more than once.
func (a *app) spin(ctx context.Context, what string, end time.Time, word string) (over func()) {
	ctx, cancel := context.WithCancel(ctx)
	frames := spinnerFramesASCII
	if a.unicode() {
		frames = spinnerFrames
	}
	gone := make(chan struct{})
	go func() {
		defer close(gone)
		defer a.screen.draw(a.err, "")
		tick := time.NewTicker(spinnerPace)
		defer tick.Stop()
		for i := 0; ctx.Err() == nil; i++ {
			if inForeground(a.err) {
				a.screen.draw(a.err, spinnerLine(frames[i%len(frames)], what, end, word, columns(a.err)))
			} else { // it was stopped and goes on where the shell's own line stands now
				a.screen.forget()
			}
			select {
			case <-tick.C:
			case <-ctx.Done():
			}
		}
	}()
	return func() {
		cancel()
		select {
		case <-gone:
		case <-time.After(250 * time.Millisecond): // a terminal that was stopped (Ctrl-S) holds nothing up
		}
	}
}

// spinnerLine fits into the terminal's width, so that it can be erased. It ends in
// a blank, for the sake of what other programs write behind it.
func spinnerLine(frame, what string, end time.Time, word string, width int) string {
	line := frame + " " + what
	if !end.IsZero() {
		line += ", " + max(time.Until(end), 0).Round(time.Second).String() + " " + word
	}
	if width == 0 || width > 80 {
		width = 80
	}
	return strings.TrimRight(cut(line, max(width-2, 1), ""), " ") + " "
}

// waiting is exactauth.Client's Waiting.
func (a *app) waiting(ctx context.Context, what string, until time.Time) (over func()) {
	switch {
	case a.spins() && !until.IsZero():
		return a.spin(ctx, "waiting until "+what, until, "left")
	case a.spins():
		end, _ := ctx.Deadline()
		return a.spin(ctx, "waiting until "+what, end, "at most")
	case !until.IsZero():
		a.sayWaiting(what, until)
	case isTerminal(a.err) && !a.json && !a.shared: // to cron it would be a mail
		a.say("exactauth: waiting until %s", what)
	}
	return func() {}
}

func (a *app) sayWaiting(what string, until time.Time) {
	a.say("exactauth: waiting until %s, when %s", until.Local().Format("15:04:05"), what)
}
