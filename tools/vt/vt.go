// Package vt turns what a program writes to a terminal into what a person sees
// there, for tests. It knows what exactauth writes: lines that wrap, carriage return,
// backspace, erasing to the end of the line, and colours, which it drops.
package vt

import (
	"bytes"
	"fmt"
	"strings"
	"unicode/utf8"
)

// Screen is a terminal of unlimited height: nothing scrolls away. The zero value has
// 80 columns.
type Screen struct {
	Columns int

	lines    [][]rune
	row, col int
	rest     []byte   // the start of a character or an escape sequence
	unknown  []string // escape sequences that Screen cannot draw
}

// Write draws p. It never fails.
func (s *Screen) Write(p []byte) (int, error) {
	if s.Columns == 0 {
		s.Columns = 80
	}
	b := append(s.rest, p...)
	for len(b) > 0 {
		n := s.draw(b)
		if n == 0 {
			break
		}
		b = b[n:]
	}
	s.rest = bytes.Clone(b)
	return len(p), nil
}

// draw draws what b begins with and returns its length: 0 if b has only a part of it.
func (s *Screen) draw(b []byte) int {
	switch b[0] {
	case '\r':
		s.col = 0
	case '\n':
		s.row++
	case '\b':
		s.col = max(s.col-1, 0)
	case '\a':
	case '\t':
		s.col = min((s.col/8+1)*8, s.Columns-1)
	case 0x1b:
		return s.escape(b)
	default:
		if !utf8.FullRune(b) {
			return 0
		}
		r, n := utf8.DecodeRune(b)
		s.put(r)
		return n
	}
	return 1
}

func (s *Screen) put(r rune) {
	if s.col == s.Columns {
		s.row, s.col = s.row+1, 0
	}
	line := s.line()
	for len(*line) <= s.col {
		*line = append(*line, ' ')
	}
	(*line)[s.col] = r
	s.col++
}

// line is the line that the cursor is in.
func (s *Screen) line() *[]rune {
	for len(s.lines) <= s.row {
		s.lines = append(s.lines, nil)
	}
	return &s.lines[s.row]
}

// escape carries out a control sequence (ECMA-48, 5.4) and returns its length.
func (s *Screen) escape(b []byte) int {
	if len(b) < 2 {
		return 0
	}
	if b[1] == ']' { // what a terminal is asked that is not drawn (ECMA-48, 8.3.89), such as to copy
		end := bytes.IndexByte(b, '\a')
		return end + 1
	}
	if b[1] != '[' {
		s.unknown = append(s.unknown, fmt.Sprintf("%q", b[:2]))
		return 2
	}
	end := bytes.IndexFunc(b[2:], func(r rune) bool { return r >= 0x40 && r <= 0x7e })
	if end < 0 {
		return 0
	}
	n := 2 + end + 1
	switch sequence := string(b[2:n]); {
	case sequence == "K", sequence == "0K":
		if line := s.line(); len(*line) > s.col {
			*line = (*line)[:s.col]
		}
	case strings.HasSuffix(sequence, "m"): // a colour
	default:
		s.unknown = append(s.unknown, fmt.Sprintf("%q", b[:n]))
	}
	return n
}

// Unknown returns the escape sequences that Screen could not draw.
func (s *Screen) Unknown() []string { return s.unknown }

// String returns the lines, each with a line end, without blanks at the ends of lines
// and without empty lines at the end.
func (s *Screen) String() string {
	var b strings.Builder
	for _, line := range s.lines {
		b.WriteString(strings.TrimRight(string(line), " ") + "\n")
	}
	if text := strings.TrimRight(b.String(), "\n"); text != "" {
		return text + "\n"
	}
	return ""
}
