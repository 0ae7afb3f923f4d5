package main

import (
	"strings"
	"testing"
	"unicode/utf16"
)

// What people and their tools write is read; what cannot be a client secret is refused
// before it becomes an error at Exact, and is not repeated.
func TestSecretIn(t *testing.T) {
	const secret = "abcdefghijkl"
	wide := func(mark string) string { // little-endian
		var b strings.Builder
		for _, u := range utf16.Encode([]rune(mark + secret + "\r\n")) {
			b.WriteByte(byte(u))
			b.WriteByte(byte(u >> 8))
		}
		return b.String()
	}
	for _, text := range []string{secret, " " + secret + "\r\n", "\ufeff" + secret, wide("\ufeff")} {
		if got, err := secretIn("FILE", []byte(text)); err != nil || got.Reveal() != secret {
			t.Errorf("%q: %v", text, err)
		}
	}
	for text, want := range map[string]string{
		`"` + secret + `"`:                       "quotes",
		"'" + secret + "'":                       "quotes",
		"“" + secret + "”":                       "quotes",
		"EXACTAUTH_CLIENT_SECRET=" + secret:      "NAME=VALUE",
		secret[:4] + "\u200b" + secret[4:]:       "U+200B behind 4 others",
		"\u2060" + secret:                        "U+2060 behind 0 others",
		wide(""):                                 "blanks",
		"••••••••":                               "dots",
		"********":                               "dots",
		"5F3B1C1E-7C0E-4D0A-9B1F-0A6D6F0E2C11":   "GUID",
		"{5f3b1c1e-7c0e-4d0a-9b1f-0a6d6f0e2c11}": "GUID",
		"two words":                              "blanks",
		"\ufeff\r\n":                             "empty",
	} {
		_, err := secretIn("FILE", []byte(text))
		if err == nil || !strings.HasPrefix(err.Error(), "FILE: ") || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), secret) {
			t.Errorf("%q: %v; want an error with %q and without the secret", text, err, want)
		}
	}
	if got, err := secretIn("FILE", []byte("YWJj+/8=")); err != nil || got.Reveal() != "YWJj+/8=" {
		t.Errorf("base64: %v", err)
	}
}
