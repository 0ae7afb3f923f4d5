package callback

import (
	"cmp"
	"encoding/base64"
	"errors"
	"net/url"
	"strings"
	"testing"

	"github.com/exactauth/exactauth/internal/fault"
)

// pasteAll pastes lines together.
func pasteAll(a attempt, text string) (code fault.Secret, bare bool, err error) {
	p := paste{attempt: a}
	for line := range strings.Lines(text) {
		if r, _ := p.line(line); r != nil {
			return r.code, r.bare, r.err
		}
	}
	r, err := p.settle()
	if r != nil {
		return r.code, r.bare, r.err
	}
	return fault.Secret{}, false, err
}

// pasteSlowly pastes lines one by one.
func pasteSlowly(a attempt, text string) (code fault.Secret, bare bool, err error) {
	p := paste{attempt: a}
	for line := range strings.Lines(text) {
		r, _ := p.line(line)
		if r == nil {
			r, err = p.settle()
		}
		if r != nil {
			return r.code, r.bare, r.err
		}
	}
	return fault.Secret{}, false, err
}

var dressings = []func(address string) string{
	func(a string) string { return a },
	func(a string) string { return "\x1b[200~" + a + "\x1b[201~" },
	func(a string) string { return "\ufeff" + a + "\r" },
	func(a string) string { return "\u201c" + a + "\u201d" },
	func(a string) string { return "(" + a + ")." },
	func(a string) string { return "<" + a + ">" },
	func(a string) string { return "[x](" + a + ")" },
	func(a string) string { return "[" + a + "](" + a + ")" },
	func(a string) string { return strings.ReplaceAll(a, "&", "&amp;") },
	func(a string) string { return strings.ReplaceAll(a, "&", "&#038;") },
	func(a string) string {
		return `{"url":"` + strings.NewReplacer("&", `\u0026`, "=", `\u003d`, "/", `\/`).Replace(a) + `"}`
	},
	func(a string) string { return strings.NewReplacer("&", `\&`, "=", `\=`, "?", `\?`).Replace(a) },
	func(a string) string { return strings.ReplaceAll(a, "&", "^&") },
	func(a string) string { return a + "." },
	func(a string) string { return a + "," },
	url.QueryEscape,
	func(a string) string { return url.QueryEscape(`"` + a + `"`) },
	func(a string) string { return "https://scan.test/?url=" + url.QueryEscape(a) + "&data=05%7C02%zz;" },
	func(a string) string {
		return "https://scan.test/v2/?u=" + url.QueryEscape("https://scan.test/?url="+url.QueryEscape(a)) + "&x=1"
	},
	func(a string) string {
		return "https://urldefense.proofpoint.com/v2/url?u=" + strings.NewReplacer("-", "-2D", "_", "-5F", "%2F", "_", "%", "-").Replace(url.QueryEscape(a)) + "&d=DwMFaQ&c=e-z&e="
	},
	func(a string) string {
		special := strings.Repeat("%", strings.Count(a, "%"))
		return "https://urldefense.com/v3/__" + strings.ReplaceAll(a, "%", "*") + "__;" + base64.RawURLEncoding.EncodeToString([]byte(special)) + "!!Ab-C!d_E$"
	},
	func(a string) string { return "http" + strings.TrimPrefix(a, "https") },
	func(a string) string { return strings.TrimPrefix(a, "https://") },
	func(a string) string { return a + "#_=_" },
	func(a string) string { return a + "&session_state=x" },
	func(a string) string { _, query, _ := strings.Cut(a, "?"); return query },
	func(a string) string {
		before, query, _ := strings.Cut(a, "?")
		code, state, _ := strings.Cut(query, "&")
		return before + "?" + state + "&" + code
	},
}

// wraps are how a line of a width is continued on the next one.
var wraps = []string{"\n", "\r\n", "\n   ", "\n> ", " \n", "\n\n", "\u200b"}

func wrap(text string, width int, with string) string {
	var b strings.Builder
	for len(text) > width {
		b.WriteString(text[:width] + with)
		text = text[width:]
	}
	return b.String() + text + "\n"
}

// A valid address survives each dressing, wrapped at each width in each way.
func TestPasteDressedAndWrapped(t *testing.T) {
	t.Parallel()
	address := "https://app.test/callback?code=" + url.QueryEscape(testCode) + "&state=" + testState
	for i, dress := range dressings {
		dressed := dress(address)
		for width := 1; width <= len(dressed); width++ {
			for n, with := range wraps {
				if n > 0 && width%7 != n {
					continue
				}
				text := wrap(dressed, width, with)
				if strings.ToValidUTF8(text, "?") != text || strings.Contains(text, "__\nhttps://") {
					continue // broken within a character, or where another address could begin
				}
				if code, bare, err := pasteAll(testAttempt(), text); err != nil || bare || code.Reveal() != testCode {
					t.Fatalf("dressing %d, width %d, %q: %v", i, width, with, err)
				}
			}
			// A state that comes first does not show where the code ends.
			if width%11 != 1 {
				continue
			}
			if code, bare, err := pasteSlowly(testAttempt(), wrap(dressed, width, "\n")); bare || i < len(dressings)-1 && (err != nil || code.Reveal() != testCode) {
				if strings.ToValidUTF8(dressed[:width], "?") == dressed[:width] && !strings.Contains(dressed, "\x1b") {
					t.Fatalf("dressing %d, line by line, width %d: %t, %v", i, width, bare, err)
				}
			}
		}
	}
}

func TestPasteOfOthers(t *testing.T) {
	t.Parallel()
	code := url.QueryEscape(testCode)
	for text, want := range map[string]error{
		// The address to open has our state, and the redirect URI as a parameter.
		"https://start.exactonline.nl/api/oauth2/auth?client_id=x&redirect_uri=https%3A%2F%2Fapp.test%2Fcallback&response_type=code&state=" + testState: errElsewhere,
		"https://evil.test/callback?code=" + code + "&state=" + testState:                                                                               errElsewhere,
		"https://app.test.evil.test/callback?code=" + code + "&state=" + testState:                                                                      errElsewhere,
		"https://app.test@evil.test/callback?code=" + code + "&state=" + testState:                                                                      errElsewhere,
		"https://scan.test/?url=" + url.QueryEscape("https://evil.test/callback?code="+code+"&state="+testState):                                        errElsewhere,
		"https://scan.test/?url=" + url.QueryEscape("https://app.test/callback?code="+code+"&state=x"):                                                  errWrongState,
		"https://scan.test/?url=" + url.QueryEscape("https://app.test/callback?code="+code):                                                             errNoState,
		url.QueryEscape("https://app.test/callback?code=" + code + "&state=x"):                                                                          errWrongState,
		"https://app.test/callback?code=" + code + "&state=" + testState + "0":                                                                          errWrongState,
		"https://app.test/callback?code=" + code + "&state=" + testState + "&state=x":                                                                   errRepeated,
		"https://app.test/callback?code=" + code + "&code=x&state=" + testState:                                                                         errRepeated,
		"https://app.test/callback?error=access_denied&error_description=no":                                                                            errNoState,
		"https://app.test/callback?error=access_denied&state=" + testState:                                                                              fault.ErrDenied,
		"https://app.test/callback?code=+%0a&state=" + testState:                                                                                        errNoCode,
		"https://app.test/callback?code=caf%C3%A9&state=" + testState:                                                                                   errGarbled,
		"https://app.test/callback?state=" + testState + "&x=1%26code%3Dy":                                                                              errNoCode,
		"https://app.test/callback?code=" + code[:20] + "\n" + strings.Repeat("A", 30):                                                                  errNoState,
		"the code is " + testCode:                errGarbled,
		testCode[:15]:                            errGarbled,
		`{"code":"` + testCode + `"}`:            errGarbled,
		testCode + "\nhttps://app.test/callback": errNoState,
	} {
		if code, bare, err := pasteAll(testAttempt(), text); !errors.Is(err, want) || !code.IsZero() || bare {
			t.Errorf("%s: %v, want %v", text, err, want)
		}
	}
	if _, _, err := pasteAll(testAttempt(), "https://app.test/callback?error=a&error_description=b%1b[2J c"); err == nil || !strings.Contains(err.Error(), "the server says: a: b[2J c. But") {
		t.Error(err)
	}
}

// Whatever is pasted, together or line by line: a code comes from text with our state,
// or is a bare code, which has only characters that a code can have and comes before
// anything that looks like an address.
func FuzzPaste(f *testing.F) {
	query := "code=" + url.QueryEscape(testCode) + "&state=" + testState
	address := "https://app.test/callback?" + query
	for _, dress := range dressings {
		f.Add(wrap(dress(address), 80, "\n"))
		f.Add(wrap(dress(strings.Replace(address, testState, "x", 1)), 80, "\n"))
	}
	for _, seed := range []string{
		"", "\x1b[200~" + address + "\x1b[201~\r", query, "?" + query, testCode,
		url.QueryEscape(testCode), "https://evil.test/callback?" + query, address + "#x", "app.test/callback?" + query,
		"error=access_denied&state=" + testState, "x=1&" + query, "https://app.test/callback?code=x", "<" + query + ">", "https://[", "://", "%", "?",
		"http://u@app.test/callback?" + query, "code=%", testCode + "%2521", "javascript://app.test/callback?" + query, "https://\n" + testCode,
	} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		for _, way := range []func(attempt, string) (fault.Secret, bool, error){pasteAll, pasteSlowly} {
			code, bare, err := way(testAttempt(), text)
			switch {
			case err != nil && !code.IsZero():
				t.Errorf("a code came with an error: %q", text)
			case err == nil && bare:
				taken := code.Reveal()
				if len(taken) < 20 || strings.ContainsFunc(taken, notInCode) {
					t.Errorf("taken as a bare code: %q", text)
				}
				if before, _, found := strings.Cut(text, "\n"); found && strings.Contains(before, "://") {
					t.Errorf("taken as a bare code after an address: %q", text)
				}
			case !code.IsZero() || errors.Is(err, fault.ErrDenied):
				joined := ""
				for line := range strings.Lines(text) {
					joined += strings.Join(strings.Fields(cleanLine(line)), "")
				}
				for range 5 {
					joined = unescape(cmp.Or(proofpoint(spellings.Replace(joined)), joined))
				}
				if !strings.Contains(joined, testState) {
					t.Errorf("taken without our state: %q", text)
				}
			}
		}
	})
}

// A valid address survives whatever its code is.
func FuzzPasteDressed(f *testing.F) {
	for i := range dressings {
		f.Add(testCode, i, 10*i+1, i)
		f.Add("|>"+testCode+"!", i, 10*i+1, i)
	}
	f.Fuzz(func(t *testing.T, code string, dressing, width, how int) {
		if code == "" || len(code) > 2000 || strings.ContainsFunc(code, func(r rune) bool { return r <= ' ' || r > '~' }) ||
			strings.ContainsAny(code, "%&") || strings.HasSuffix(code, ".") || dressing < 0 || width < 1 || how < 0 {
			t.Skip()
		}
		dressed := dressings[dressing%len(dressings)]("https://app.test/callback?code=" + url.QueryEscape(code) + "&state=" + testState)
		text := wrap(dressed, width, wraps[how%len(wraps)])
		if strings.ToValidUTF8(text, "?") != text {
			t.Skip()
		}
		if got, bare, err := pasteAll(testAttempt(), text); err != nil || bare || got.Reveal() != code {
			t.Errorf("%q: %q, %v", text, got.Reveal(), err)
		}
	})
}
