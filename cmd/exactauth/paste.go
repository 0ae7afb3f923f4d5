package main

import (
	"io"
	"os"
)

// pasted reads what a person pastes into a terminal that pasteMode has prepared:
// there nothing is shown unless this shows it, and a backspace is just a byte.
type pasted struct {
	in   *os.File
	say  func(string, ...any)
	line []byte // begun, and not ended yet
	out  []byte // ended, and not handed out yet
}

func (p *pasted) Read(b []byte) (int, error) {
	for len(p.out) == 0 {
		var buf [4096]byte
		n, err := p.in.Read(buf[:])
		for _, c := range buf[:n] {
			switch c {
			case '\r', '\n':
				if len(p.line) > 0 {
					p.say("(%d characters)", len(p.line))
				}
				p.out = append(append(p.out, p.line...), '\n')
				p.line = p.line[:0]
			case 0x7f, '\b':
				p.line = p.line[:max(len(p.line)-1, 0)]
			case 0x15: // Ctrl-U
				p.line = p.line[:0]
			case 0x04: // Ctrl-D
				if len(p.line) == 0 && len(p.out) == 0 {
					return 0, io.EOF
				}
			default:
				p.line = append(p.line, c)
			}
		}
		if err != nil {
			return 0, err
		}
	}
	n := copy(b, p.out)
	p.out = p.out[n:]
	return n, nil
}
