package fault_test

import (
	"errors"
	"strings"
	"testing"
	"time"
	"unicode"

	"github.com/exactauth/exactauth/internal/fault"
)

func TestPrintable(t *testing.T) {
	t.Parallel()
	for in, want := range map[string]string{
		"": "", " a ": "a", "a\nb\tc\rd": "a b c d", "\x1b[2Ja": "[2Ja", "a\u202eb": "ab", "a\u200bb": "ab", "\xff\xfe": "?", "é": "é",
		strings.Repeat("é", 301): strings.Repeat("é", 300) + "…",
	} {
		if got := fault.Printable(in); got != want {
			t.Errorf("%q: %q, want %q", in, got, want)
		}
	}
}

// What shows nothing must not distinguish two names.
func TestPrintableDropsInvisibleCharacters(t *testing.T) {
	t.Parallel()
	invisible := []*unicode.RangeTable{
		unicode.Other_Default_Ignorable_Code_Point, unicode.Variation_Selector, unicode.Cf, unicode.Cc,
		{R16: []unicode.Range16{{Lo: 0x2800, Hi: 0x2800, Stride: 1}}},
		{R32: []unicode.Range32{{Lo: 0x13441, Hi: 0x13442, Stride: 1}, {Lo: 0x16fe4, Hi: 0x16fe4, Stride: 1}, {Lo: 0x1d159, Hi: 0x1d159, Stride: 1}}},
	}
	for r := range rune(unicode.MaxRune + 1) {
		switch got := fault.Printable("Anna" + string(r) + "Vries"); {
		case unicode.IsSpace(r):
			if got != "Anna Vries" {
				t.Errorf("blank %U: %q", r, got)
			}
		case unicode.In(r, invisible...):
			if got != "AnnaVries" {
				t.Errorf("invisible %U: %q", r, got)
			}
		case unicode.In(r, unicode.L, unicode.Nd, unicode.P) && len([]rune(got)) != 10:
			t.Errorf("visible %U: %q", r, got)
		}
	}
	for _, r := range "\u3164\u2800\u115f\u1160\uffa0\u034f\ufe0f\U000e0100\u180b\u17b4\u2065" {
		if got := fault.Printable(string(r)); got != "" {
			t.Errorf("%U: %q", r, got)
		}
	}
}

func TestRetryAfter(t *testing.T) {
	t.Parallel()
	now := time.Date(2026, 11, 30, 12, 0, 0, 0, time.UTC)
	for text, want := range map[string]time.Duration{
		"": 0, "30": 30 * time.Second, "-1": 0, "soon": 0, "999999999": time.Hour,
		"Mon, 30 Nov 2026 12:01:00 GMT": time.Minute, "Mon, 30 Nov 2026 11:00:00 GMT": 0,
		"Monday, 30-Nov-26 12:01:00 GMT": time.Minute, "Mon Nov 30 12:01:00 2026": time.Minute, " 30 ": 30 * time.Second,
	} {
		if got := fault.RetryAfter(text, now); got != want {
			t.Errorf("%q: %s, want %s", text, got, want)
		}
	}
}

func TestKinds(t *testing.T) {
	t.Parallel()
	narrow := fault.Kind(fault.ErrConfig, "port not available")
	cause := &fault.WaitError{For: "x"}
	err := fault.With(fault.Wrap(narrow, cause, "profile %s", "acme"), errors.ErrUnsupported)
	for _, want := range []error{narrow, fault.ErrConfig, cause, errors.ErrUnsupported} {
		if !errors.Is(err, want) {
			t.Errorf("%v is not found", want)
		}
	}
	if errors.Is(err, fault.ErrTemporary) || !strings.HasPrefix(err.Error(), "profile acme: x at ") {
		t.Error(err)
	}
}
