package term

import (
	"fmt"
	"io"
	"unicode"
	"unicode/utf8"
)

// Results returns standard output for what a server sent. Such text goes to a terminal
// without control characters, which the terminal would obey, and elsewhere unchanged.
func (t *Terminal) Results() io.Writer {
	if IsTerminal(t.Out) {
		return &visible{to: results{t.Out}}
	}
	return results{t.Out}
}

// results names what could not be written, as Print does.
type results struct{ to io.Writer }

func (r results) Write(p []byte) (int, error) {
	n, err := r.to.Write(p)
	if err != nil {
		err = fmt.Errorf("standard output: %w", err)
	}
	return n, err
}

// visible drops control characters but tabs and line ends from UTF-8.
type visible struct {
	to   io.Writer
	rest []byte // the beginning of a character whose other bytes have not come
}

func (v *visible) Write(p []byte) (int, error) {
	text, shown := append(v.rest, p...), []byte{}
	for len(text) > 0 && utf8.FullRune(text) {
		r, n := utf8.DecodeRune(text)
		switch {
		case r == utf8.RuneError && n == 1:
			shown = append(shown, '?')
		case r == '\n', r == '\t', !unicode.IsControl(r):
			shown = append(shown, text[:n]...)
		}
		text = text[n:]
	}
	v.rest = append([]byte(nil), text...)
	if _, err := v.to.Write(shown); err != nil {
		return 0, err
	}
	return len(p), nil
}
