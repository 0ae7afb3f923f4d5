package fault

import (
	"context"
	"strconv"
	"strings"
	"time"
	"unicode"
)

// Alphanumeric has the letters and digits of ASCII.
const Alphanumeric = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789"

// Printable makes text from a server or another program fit for one line of a
// terminal, a log or a page: without control and invisible characters, and no
// longer than a person would read.
func Printable(s string) string { return bounded(s, 300) }

// Line makes a message of this program's fit for one line of a terminal: it may name files
// and quote what others wrote, and repeat both.
func Line(s string) string { return bounded(s, 2000) }

func bounded(s string, limit int) string {
	s = Visible(strings.ToValidUTF8(s, "?"))
	if r := []rune(s); len(r) > limit {
		s = string(r[:limit]) + "…"
	}
	return strings.TrimSpace(s)
}

// Visible drops the invisible characters of s. All blanks become U+0020.
func Visible(s string) string {
	return strings.Map(func(r rune) rune {
		switch {
		case r >= ' ' && r <= '~': // without a look at the tables of Unicode, which each start would read
			return r
		case unicode.IsSpace(r):
			return ' '
		case invisible(r):
			return -1
		}
		return r
	}, s)
}

// invisible reports whether a character shows nothing, so that two names or addresses
// that differ in such characters alone look the same: control and format characters
// and all others that Unicode calls default-ignorable (a filler of Hangul, a variation
// selector), what is not assigned, blanks but U+0020, and blanks that Unicode calls
// letters, marks or symbols. For the last it has no property, so they are listed.
func invisible(r rune) bool {
	switch r {
	case '\u2800', // Braille pattern blank
		'\U00013441', '\U00013442', // Egyptian hieroglyph full and half blank
		'\U00016fe4', // Khitan small script filler
		'\U0001d159': // musical symbol null notehead
		return true
	}
	return !unicode.IsPrint(r) || unicode.In(r, unicode.Other_Default_Ignorable_Code_Point, unicode.Variation_Selector)
}

// List returns items as a sentence has them: with commas, and last before the last one,
// such as " and ".
func List(items []string, last string) string {
	n := len(items) - 1
	if n < 1 {
		return strings.Join(items, "")
	}
	return strings.Join(items[:n], ", ") + last + items[n]
}

// Clock formats a moment for messages: local time with its zone, to the second.
func Clock(t time.Time) string { return t.Local().Format("2006-01-02 15:04:05 MST") }

// RetryAfter reads the value of a Retry-After header, seconds or a date in any of
// the three forms of RFC 9110, 5.6.7. It returns at most an hour, since some
// servers send nonsense, and 0 for a value that it cannot read.
func RetryAfter(value string, now time.Time) time.Duration {
	const most = time.Hour
	value = strings.TrimSpace(value)
	if n, err := strconv.Atoi(value); err == nil && n > 0 {
		return min(time.Duration(min(n, 1<<20))*time.Second, most)
	}
	for _, form := range []string{"Mon, 02 Jan 2006 15:04:05 GMT", time.RFC850, time.ANSIC} {
		if t, err := time.Parse(form, value); err == nil {
			return min(max(t.Sub(now), 0), most)
		}
	}
	return 0
}

// Await returns what wait returns, or the cause of ctx's end if that comes first. Then
// wait goes on, because nothing can call it off: the open or the read of a pipe, say.
// Await is for a program that soon ends.
func Await[T any](ctx context.Context, wait func() (T, error)) (T, error) {
	type result struct {
		value T
		err   error
	}
	done := make(chan result, 1)
	go func() {
		value, err := wait()
		done <- result{value, err}
	}()
	select {
	case r := <-done:
		return r.value, r.err
	case <-ctx.Done():
		return *new(T), context.Cause(ctx)
	}
}

// Announce calls show once a wait has lasted so long that a person notices, if it is not
// over by then. over ends what show has begun, and may be called more than once.
func Announce(ctx context.Context, noticed time.Duration, show func(context.Context) (over func())) (over func()) {
	ctx, cancel := context.WithCancel(ctx)
	done := make(chan struct{})
	go func() {
		defer close(done)
		if Pause(ctx, noticed) == nil {
			defer show(ctx)()
			<-ctx.Done()
		}
	}()
	return func() {
		cancel()
		<-done
	}
}

// Pause waits for d, or until ctx ends, whose cause it then returns. The time during
// which the machine is suspended counts.
func Pause(ctx context.Context, d time.Duration) error { return pause(ctx, d, time.Now) }

// pause is Pause by a clock. Timers stand still while the machine is suspended, so pause
// looks at the wall clock now and then. A clock that is set back does not make it longer.
func pause(ctx context.Context, d time.Duration, now func() time.Time) error {
	const slice = 5 * time.Second
	end := now().Round(0).Add(d)
	for {
		part := max(min(d, slice), 0)
		t := time.NewTimer(part)
		select {
		case <-t.C:
		case <-ctx.Done():
			t.Stop()
			return context.Cause(ctx)
		}
		if d = min(d-part, end.Sub(now().Round(0))); d <= 0 {
			return nil
		}
	}
}
