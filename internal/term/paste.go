package term

import (
	"bytes"
	"fmt"
	"io"
)

// Paste returns a reader of the lines that a person pastes, however long they are.
// On a terminal they are not shown, only their length, since they hold a code.
// restore restores the terminal's modes.
func (t *Terminal) Paste() (lines io.Reader, restore func(), err error) {
	if !IsTerminal(t.In) {
		return t.In, func() {}, nil
	}
	t.echoes = pasteIsShown
	restore, err = silence(t.In, false, func() {})
	if err != nil {
		return nil, nil, fmt.Errorf("terminal: %w", err)
	}
	return &pasted{terminal: t}, restore, nil
}

// pasted reads a terminal that pasteMode has prepared: it shows nothing itself, and
// a backspace is an ordinary byte. The lines of one paste are returned together, once
// the last of them has ended: a part of a wrapped code must not be taken for all of it.
type pasted struct {
	terminal *Terminal
	line     []byte // has begun, but has not ended yet
	held     []byte // whole lines before it
	out      []byte // lines that Read has not returned yet
}

// What terminals put around a paste (bracketed paste), even where no program asked.
var pasteBegins, pasteEnds = []byte("\x1b[200~"), []byte("\x1b[201~")

func (p *pasted) Read(b []byte) (int, error) {
	for len(p.out) == 0 {
		var buf [4096]byte
		n, err := p.terminal.In.Read(buf[:])
		for _, c := range buf[:n] {
			switch c {
			case '\r', '\n':
				p.held = append(append(p.held, p.line...), '\n')
				p.line = p.line[:0]
			case 0x7f, '\b':
				p.line = p.line[:max(len(p.line)-1, 0)]
			case 0x15: // Ctrl-U
				p.line = p.line[:0]
			case 0x04: // Ctrl-D
				if len(p.line) == 0 && len(p.held) == 0 {
					return 0, io.EOF
				}
			default:
				p.line = append(p.line, c)
				p.line = bytes.TrimSuffix(bytes.TrimSuffix(p.line, pasteBegins), pasteEnds)
			}
		}
		if len(p.line) == 0 && len(p.held) > 0 {
			if n := len(p.held) - bytes.Count(p.held, []byte{'\n'}); n > 0 {
				p.terminal.Say("(%d characters)", n)
			}
			p.out, p.held = p.held, nil
		}
		if err != nil && len(p.out) == 0 {
			return 0, err
		}
	}
	n := copy(b, p.out)
	p.out = p.out[n:]
	return n, nil
}
