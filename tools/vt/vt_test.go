package vt

import (
	"slices"
	"testing"
)

func TestScreen(t *testing.T) {
	for in, want := range map[string]string{
		"":                "",
		"a\r\nb\r\n":      "a\nb\n",
		"a\nb":            "a\n b\n",
		"abc\rx":          "xbc\n",
		"abc\r\x1b[Kx":    "x\n",
		"abc\b\b\x1b[0KX": "aX\n",
		"⠋ wait \r\x1b[K⠙ wait \r\x1b[Kdone\n": "done\n",
		"0123456789ab":               "0123456789\nab\n",
		"0123456789\r\nab":           "0123456789\nab\n",
		"a\tb":                       "a       b\n",
		"a  \r\n\r\n":                "a\n",
		"\x1b[31;1mred\x1b[0m plain": "red plain\n",
		"\abell":                     "bell\n",
		"é":                          "é\n",
		"a\x1b]52;c;YQ==\ab":         "ab\n",
	} {
		// Whole, and byte by byte.
		whole, parts := Screen{Columns: 10}, Screen{Columns: 10}
		whole.Write([]byte(in))
		for i := range len(in) {
			parts.Write([]byte{in[i]})
		}
		for _, s := range []*Screen{&whole, &parts} {
			if got := s.String(); got != want || len(s.Unknown()) > 0 {
				t.Errorf("%q: %q, want %q; unknown: %v", in, got, want, s.Unknown())
			}
		}
	}
}

func TestUnknown(t *testing.T) {
	var s Screen
	s.Write([]byte("a\x1b[?2004hb\x1b7c\x1b[2Jd"))
	if got := s.Unknown(); !slices.Equal(got, []string{`"\x1b[?2004h"`, `"\x1b7"`, `"\x1b[2J"`}) || s.String() != "abcd\n" {
		t.Errorf("%v, %q", got, s.String())
	}
}
