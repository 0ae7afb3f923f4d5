// Package vt makes of what a program writes to a terminal what a person sees
// there. It knows what exactauth and plain shells use: lines that wrap, carriage
// return, backspace, erasing to the end of the line, and colours. Tests and the
// recorder of the README's session look at programs through it.
package vt

import (
	"fmt"
	"strings"
	"unicode/utf8"
)

// Cell is one place on the screen.
type Cell struct {
	Rune  rune
	Style string // what stands in the escape sequence for colours, as "31;1"; empty is plain
}

// Screen is a terminal that is as long as it takes: nothing scrolls away. Its
// zero value is one of 80 columns.
type Screen struct {
	Columns int

	lines    [][]Cell
	row, col int
	style    string
	rest     []byte   // of a character or an escape sequence whose end is to come
	unknown  []string // escape sequences that it does not know
}

// Write takes what the program writes. It never fails.
func (s *Screen) Write(p []byte) (int, error) {
	if s.Columns == 0 {
		s.Columns = 80
	}
	b := append(s.rest, p...)
	for len(b) > 0 {
		n := s.take(b)
		if n == 0 {
			break
		}
		b = b[n:]
	}
	s.rest = append([]byte(nil), b...)
	return len(p), nil
}

// take draws what b begins with, and says how much that was: 0, if more of it is
// to come.
func (s *Screen) take(b []byte) int {
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
		*line = append(*line, Cell{Rune: ' '})
	}
	(*line)[s.col] = Cell{r, s.style}
	s.col++
}

// line is the one that the cursor is in.
func (s *Screen) line() *[]Cell {
	for len(s.lines) <= s.row {
		s.lines = append(s.lines, nil)
	}
	return &s.lines[s.row]
}

// escape takes a control sequence (ECMA-48, 5.4).
func (s *Screen) escape(b []byte) int {
	if len(b) < 2 {
		return 0
	}
	if b[1] != '[' {
		s.unknown = append(s.unknown, fmt.Sprintf("%q", b[:2]))
		return 2
	}
	for i := 2; i < len(b); i++ {
		if b[i] < 0x40 || b[i] > 0x7e {
			continue
		}
		parameters := string(b[2:i])
		switch {
		case b[i] == 'K' && (parameters == "" || parameters == "0"):
			if line := s.line(); len(*line) > s.col {
				*line = (*line)[:s.col]
			}
		case b[i] == 'm':
			s.style = parameters
			if parameters == "0" {
				s.style = ""
			}
		default:
			s.unknown = append(s.unknown, fmt.Sprintf("%q", b[:i+1]))
		}
		return i + 1
	}
	return 0
}

// Lines is what stands on the screen, without blanks at the ends of lines and
// without empty lines at the end.
func (s *Screen) Lines() [][]Cell {
	var lines [][]Cell
	for _, line := range s.lines {
		for len(line) > 0 && line[len(line)-1] == (Cell{Rune: ' '}) {
			line = line[:len(line)-1]
		}
		lines = append(lines, append([]Cell(nil), line...))
	}
	for len(lines) > 0 && len(lines[len(lines)-1]) == 0 {
		lines = lines[:len(lines)-1]
	}
	return lines
}

// Cursor is where the next character goes.
func (s *Screen) Cursor() (row, col int) { return s.row, s.col }

// Unknown gives the escape sequences that were met and are not known here.
func (s *Screen) Unknown() []string { return s.unknown }

// String is the text of the lines, each with a line end.
func (s *Screen) String() string {
	var b strings.Builder
	for _, line := range s.Lines() {
		for _, c := range line {
			b.WriteRune(c.Rune)
		}
		b.WriteByte('\n')
	}
	return b.String()
}
