package term

import (
	"context"
	"runtime"
	"strings"
	"time"
)

// Spins reports whether a line can come and go on standard error.
func (t *Terminal) Spins() bool {
	kind := t.Env("TERM")
	return !t.JSON && !t.Shared && !t.echoes && IsTerminal(t.Err) &&
		kind != "dumb" && (kind != "" || runtime.GOOS == "windows") && takesEscapes(t.Err) && inForeground(t.Err)
}

// Spin shows what the program waits for and how much time is left, for instance
// "⠋ waiting for the browser, 4m32s left", on a line that is gone once over is called
// or ctx ends. Where no line can come and go it shows nothing. over may be called
// more than once.
func (t *Terminal) Spin(ctx context.Context, what string, end time.Time) (over func()) {
	if !t.Spins() {
		return func() {}
	}
	return t.spin(ctx, what, end, "left")
}

// Waiting shows that the program waits until something has happened, for instance
// "Exact allows a refresh", and when that will be. The zero time means that it is not
// known. Where no line can come and go, it says so in a line that stays. over ends it.
func (t *Terminal) Waiting(ctx context.Context, what string, until time.Time) (over func()) {
	switch {
	case t.Spins() && !until.IsZero():
		return t.spin(ctx, "waiting until "+what, until, "left")
	case t.Spins():
		end, _ := ctx.Deadline()
		return t.spin(ctx, "waiting until "+what, end, "at most")
	case !until.IsZero():
		t.Say("exactauth: waiting until %s, when %s", until.Local().Format("15:04:05"), what)
	case IsTerminal(t.Err) && !t.JSON && !t.Shared: // cron would send a mail
		t.Say("exactauth: waiting until %s", what)
	}
	return func() {}
}

// spin draws the line. A zero end is not shown.
func (t *Terminal) spin(ctx context.Context, what string, end time.Time, word string) (over func()) {
	const pace = 120 * time.Millisecond
	frames := []string{"|", "/", "-", `\`}
	if t.unicode() {
		frames = []string{"⠋", "⠙", "⠹", "⠸", "⠼", "⠴", "⠦", "⠧", "⠇", "⠏"}
	}
	ctx, cancel := context.WithCancel(ctx)
	gone := make(chan struct{})
	go func() {
		defer close(gone)
		defer t.draw("")
		tick := time.NewTicker(pace)
		defer tick.Stop()
		for i := 0; ctx.Err() == nil; i++ {
			if inForeground(t.Err) {
				t.draw(spinnerLine(frames[i%len(frames)], what, end, word, columns(t.Err)))
			} else { // the job was stopped and resumed in the background: the shell's line is there now
				t.release()
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
		case <-time.After(250 * time.Millisecond): // the output is stopped (Ctrl-S), which must not block the program
		}
	}
}

// spinnerLine fits into the terminal's width, so that it can be erased. It ends in
// a blank, to separate it from what other programs write behind it.
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
