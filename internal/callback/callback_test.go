package callback_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/exactauth/exactauth/internal/callback"
	"github.com/exactauth/exactauth/internal/callback/callbacktest"
	"github.com/exactauth/exactauth/internal/config"
	"github.com/exactauth/exactauth/internal/fault"
)

var errStop = errors.New("stop")

// unreachable checks that other machines cannot reach the listener, so that no firewall
// has to ask a person about it.
func unreachable(t *testing.T, port string) {
	t.Helper()
	addrs, err := net.InterfaceAddrs()
	if err != nil {
		t.Fatal(err)
	}
	for _, a := range addrs {
		ip, ok := a.(*net.IPNet)
		if !ok || ip.IP.IsLoopback() || ip.IP.To4() == nil {
			continue
		}
		if c, err := net.DialTimeout("tcp", net.JoinHostPort(ip.IP.String(), port), 5*time.Second); err == nil {
			c.Close()
			t.Errorf("it listens on %s, too", ip.IP)
		}
	}
}

// The listener answers by the time Open returns. The address with the code redirects to
// the last page, which comes after the code was redeemed.
func TestCallback(t *testing.T) {
	for _, redirect := range []string{loopback, "http://localhost:%s/callback", "http://[::1]:%s/", "http://127.0.0.1:%s", "https://localhost:%s/a/b", mappedTLS} {
		t.Run(redirect, func(t *testing.T) {
			t.Parallel()
			if strings.Contains(redirect, "::1") {
				needIPv6(t)
			}
			s := sit(t.Context(), t, callback.Options{Settings: settings(t, redirect)})
			want := callback.Arrival{RedirectURI: s.RedirectURI, Listening: true, Loopback: redirect != mappedTLS, SelfSigned: redirect[4] == 's', Port: s.Port}
			if s.Arrival != want {
				t.Errorf("arrival %+v, want %+v", s.Arrival, want)
			}
			if page, err := (callbacktest.Browser{}).Open(t, http.MethodGet, s.RedirectURI); err != nil || page.StatusCode != http.StatusNotFound {
				t.Errorf("%v, %v", page.Response, err)
			}
			unreachable(t, s.Port)
			redeemed := false
			s.redeem = func() { redeemed = true }
			page, err := callbacktest.Browser{}.Open(t, http.MethodGet, s.answer())
			if err != nil {
				t.Fatal(err)
			}
			callbacktest.CheckGuarded(t, page)
			last, err := page.Location()
			if err != nil || page.StatusCode != http.StatusSeeOther || last.Query().Has("code") || !redeemed {
				t.Errorf("%s to %s; %v", page.Status, last, err)
			}
			page = callbacktest.Browse(t, last.String())
			s.succeeds()
			callbacktest.CheckGuarded(t, page)
			if page.StatusCode != http.StatusOK || !strings.Contains(page.Body, "Anna de Vries") {
				t.Errorf("the last page: %d %s", page.StatusCode, page.Body)
			}
			callbacktest.CheckClosed(t, s.Port)
		})
	}
}

// Whatever is not the answer to this sign-in gets an error page, and the wait goes on.
func TestStrangersAreTurnedAway(t *testing.T) {
	for _, test := range []struct {
		name   string
		method string
		path   string // STATE and CODE stand for the real ones
		host   string
		header http.Header
		want   int
	}{
		{name: "nothing", path: "/callback"},
		{name: "no state", path: "/callback?code=CODE"},
		{name: "empty state", path: "/callback?code=CODE&state="},
		{name: "another state", path: "/callback?code=CODE&state=AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"},
		{name: "a longer state", path: "/callback?code=CODE&state=STATE0"},
		{name: "error without state", path: "/callback?error=access_denied"},
		{name: "error with another state", path: "/callback?error=access_denied&state=x"},
		{name: "neither code nor error", path: "/callback?state=STATE"},
		{name: "empty code", path: "/callback?state=STATE&code="},
		{name: "code twice", path: "/callback?state=STATE&code=CODE&code=other"},
		{name: "state twice", path: "/callback?state=STATE&code=CODE&state=x"},
		{name: "state twice, alike", path: "/callback?state=STATE&code=CODE&state=STATE"},
		{name: "error twice", path: "/callback?state=STATE&error=a&error=b"},
		{name: "wrong escape", path: "/callback?state=STATE&code=CODE&%zz"},
		{name: "semicolons", path: "/callback?state=STATE;code=CODE"},
		{name: "another path", path: "/callback/?state=STATE&code=CODE"},
		{name: "a path above", path: "/?state=STATE&code=CODE"},
		{name: "favicon", path: "/favicon.ico"},
		{name: "another host", path: "/callback?state=STATE&code=CODE", host: "evil.test"},
		{name: "another port", path: "/callback?state=STATE&code=CODE", host: "127.0.0.1:1"},
		{name: "no port", path: "/callback?state=STATE&code=CODE", host: "127.0.0.1"},
		{name: "another name", path: "/callback?state=STATE&code=CODE", host: "localhost"},
		{name: "prefetch", path: "/callback?state=STATE&code=CODE", header: http.Header{"Sec-Purpose": {"prefetch;prerender"}}},
		{name: "older prefetch", path: "/callback?state=STATE&code=CODE", header: http.Header{"Purpose": {"prefetch"}}},
		{name: "oldest prefetch", path: "/callback?state=STATE&code=CODE", header: http.Header{"X-Moz": {"prefetch"}}},
		{name: "the last page", path: "/callback?done"},
		{name: "POST", method: http.MethodPost, path: "/callback?state=STATE&code=CODE", want: http.StatusMethodNotAllowed},
		{name: "HEAD", method: http.MethodHead, path: "/callback?state=STATE&code=CODE", want: http.StatusMethodNotAllowed},
		{name: "OPTIONS", method: http.MethodOptions, path: "/callback?state=STATE&code=CODE", want: http.StatusMethodNotAllowed},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			s := sit(t.Context(), t, callback.Options{Settings: settings(t, loopback)})
			path := strings.NewReplacer("STATE", s.State, "CODE", url.QueryEscape(goodCode)).Replace(test.path)
			if test.method == "" {
				test.method, test.want = http.MethodGet, http.StatusNotFound
			}
			page, err := callbacktest.Browser{Header: test.header, Host: test.host}.Open(t, test.method, "http://127.0.0.1:"+s.Port+path)
			if err != nil {
				t.Fatal(err)
			}
			callbacktest.CheckGuarded(t, page)
			if page.StatusCode != test.want {
				t.Errorf("%s, want %d", page.Status, test.want)
			}
			if strings.Contains(page.Body, s.State) {
				t.Error("the page has the state")
			}
			select {
			case <-s.done:
				t.Errorf("taken for the answer: %q, %v", s.code, s.err)
			default:
			}
			callbacktest.Browse(t, s.answer())
			s.succeeds()
		})
	}
}

// With a tunnel or reverse proxy the request names the public host or this machine.
// Browsers leave a default port out.
func TestTunnel(t *testing.T) {
	for _, redirect := range []string{"https://public.test/callback", "https://public.test:443/callback"} {
		for _, host := range []string{"", "public.test", "PUBLIC.test"} {
			t.Run(redirect+" as "+host, func(t *testing.T) {
				t.Parallel()
				p := config.Settings{RedirectURI: redirect, Listen: "http://127.0.0.1:" + callbacktest.Port()}
				s := sit(t.Context(), t, callback.Options{Settings: p})
				if !s.Loopback || s.SelfSigned || !strings.HasSuffix(p.Listen, ":"+s.Port) {
					t.Errorf("arrival %+v", s.Arrival)
				}
				_, query, _ := strings.Cut(s.answer(), "?")
				page, err := callbacktest.Browser{Host: host, Follow: true}.Open(t, http.MethodGet, p.Listen+"/callback?"+query)
				if err != nil || page.StatusCode != http.StatusOK {
					t.Errorf("%v, %v", page.Response, err)
				}
				s.succeeds()
			})
		}
	}
}

// The person refuses: the page and the error have the server's words, printable.
func TestRefused(t *testing.T) {
	const query = "error=access_denied&error_description=%3Cscript%3Ealert(1)%3C%2Fscript%3E%1B%5B2J%0Ano%E2%80%AE"
	check := func(t *testing.T, err error) {
		t.Helper()
		var refused *callback.RefusedError
		if !errors.Is(err, fault.ErrDenied) || !errors.As(err, &refused) || *refused != (callback.RefusedError{Code: "access_denied", Description: "<script>alert(1)</script>[2J no"}) {
			t.Errorf("got %v", err)
		}
	}
	t.Run("in the browser", func(t *testing.T) {
		t.Parallel()
		s := sit(t.Context(), t, callback.Options{Settings: settings(t, loopback)})
		page := callbacktest.Browse(t, s.RedirectURI+"?"+query+"&state="+s.State)
		_, err := s.end()
		check(t, err)
		callbacktest.CheckGuarded(t, page)
		if strings.Contains(page.Body, "<script") || !strings.Contains(page.Body, "&lt;script&gt;") || strings.ContainsAny(page.Body, "\x1b\u202e") || page.Request.URL.Query().Has("error") {
			t.Errorf("the page: %s", page.Body)
		}
		callbacktest.CheckClosed(t, s.Port)
	})
	t.Run("pasted", func(t *testing.T) {
		t.Parallel()
		out, in := io.Pipe()
		s := sit(t.Context(), t, nowhere(out))
		fmt.Fprintln(in, s.RedirectURI+"?error=access_denied") // proves nothing
		fmt.Fprintln(in, s.RedirectURI+"?"+query+"&state="+s.State)
		_, err := s.end()
		check(t, err)
	})
}

// nowhere are options without a listener.
func nowhere(paste io.Reader) callback.Options {
	return callback.Options{Settings: config.Settings{RedirectURI: "https://app.test/callback", Listen: "none"}, Paste: paste}
}

// What people paste, in all the forms in which browsers and terminals bring it.
func TestPaste(t *testing.T) {
	code := func(address string) string { u, _ := url.Parse(address); return u.Query().Get("code") }
	for name, form := range map[string]func(address string) string{
		"address":              func(a string) string { return a },
		"address, CRLF":        func(a string) string { return a + "\r" },
		"address in blanks":    func(a string) string { return " \t" + a + "  " },
		"address in quotes":    func(a string) string { return `"` + a + `"` },
		"address in brackets":  func(a string) string { return "<" + a + ">" },
		"bracketed paste":      func(a string) string { return "\x1b[200~" + a + "\x1b[201~" },
		"address, fragment":    func(a string) string { return a + "#_=_" },
		"address, HOST":        func(a string) string { return strings.Replace(a, "app.test", "APP.test", 1) },
		"query":                func(a string) string { _, q, _ := strings.Cut(a, "?"); return q },
		"query with ?":         func(a string) string { _, q, _ := strings.Cut(a, "?"); return "?" + q },
		"bare code":            code,
		"bare code as in bar":  func(a string) string { return strings.ReplaceAll(code(a), "!", "%21") },
		"bare code, CRLF":      func(a string) string { return code(a) + "\r" },
		"bare code, bracketed": func(a string) string { return "\x1b[200~" + code(a) + "\x1b[201~" },
		"bare code, wrapped":   func(a string) string { return wrap(code(a), 25, "\n") },
		"bare code, a blank":   func(a string) string { return code(a)[:30] + " " + code(a)[30:] },
		"bare code, full stop": func(a string) string { return code(a) + "." },

		"wrapped":                      func(a string) string { return wrap(a, 80, "\n") },
		"wrapped, CRLF":                func(a string) string { return wrap(a, 80, "\r\n") },
		"wrapped narrowly":             func(a string) string { return wrap(a, 7, "\n") },
		"wrapped, indented":            func(a string) string { return "  " + wrap(a, 60, "\n    ") },
		"wrapped, quoted by mail":      func(a string) string { return "> " + wrap(a, 60, "\n> ") },
		"wrapped, bracketed paste":     func(a string) string { return "\x1b[200~" + wrap(a, 80, "\n") + "\x1b[201~" },
		"wrapped query":                func(a string) string { _, q, _ := strings.Cut(a, "?"); return wrap(q, 80, "\n") },
		"state first, wrapped in code": func(a string) string { return wrap(stateFirst(a), 100, "\n") },
		"byte order mark":              func(a string) string { return "\ufeff" + a },
		"zero-width spaces":            func(a string) string { return wrap(a, 40, "\u200b") },
		"typographic quotes":           func(a string) string { return "\u201c" + a + "\u201d" },
		"guillemets":                   func(a string) string { return "\u00ab\u00a0" + a + "\u00a0\u00bb" },
		"( )":                          func(a string) string { return "(" + a + ")" },
		"( ) and a full stop":          func(a string) string { return "(" + a + ")." },
		"Markdown":                     func(a string) string { return "[sign in](" + a + ")" },
		"Markdown, twice":              func(a string) string { return "[" + a + "](" + a + ")" },
		"chat":                         func(a string) string { return "<" + a + "|" + a + ">" },
		"&amp;":                        func(a string) string { return strings.ReplaceAll(a, "&", "&amp;") },
		"full stop":                    func(a string) string { return a + "." },
		"comma":                        func(a string) string { return a + "," },
		"full stop, state first":       func(a string) string { return stateFirst(a) + "." },
		"words around it":              func(a string) string { return "The address is " + a + " as you asked" },
		"percent-encoded":              url.QueryEscape,
		"percent-encoded, wrapped":     func(a string) string { return wrap(url.QueryEscape(a), 80, "\n") },
		"percent-encoded, quotes":      func(a string) string { return url.QueryEscape(`"` + a + `"`) },
		"link wrapper": func(a string) string {
			return "https://eur01.safelinks.protection.outlook.com/?url=" + url.QueryEscape(a) + "&data=05%7C02%7Canna%40example.nl%7C%7C&sdata=abc%3D&reserved=0"
		},
		"link wrapper in another": func(a string) string {
			return "https://scan.example/?u=" + url.QueryEscape("https://scan.example/?url="+url.QueryEscape(a)+"&x=1")
		},
		"link wrapper, not encoded": func(a string) string { return "https://scan.example/?url=" + a },
		"http for https":            func(a string) string { return strings.Replace(a, "https:", "http:", 1) },
		"blank within the code":     func(a string) string { return strings.Replace(a, "AbCd", "Ab Cd", 1) },
		"%20 within the code":       func(a string) string { return strings.Replace(a, "AbCd", "Ab%20Cd", 1) },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			out, in := io.Pipe()
			s := sit(t.Context(), t, nowhere(out))
			if s.Arrival != (callback.Arrival{RedirectURI: s.RedirectURI}) {
				t.Errorf("arrival %+v", s.Arrival)
			}
			fmt.Fprintln(in, form(s.answer()))
			s.succeeds()
			if warned := strings.Contains(s.noticed(), "bare code"); warned != strings.HasPrefix(name, "bare") {
				t.Errorf("warned of a bare code: %t", warned)
			}
		})
	}
}

// A line that is not the answer gets a notice, and the wait goes on.
func TestWrongPaste(t *testing.T) {
	cut := func(a, from string) string { return a[:strings.Index(a, from)] }
	for name, test := range map[string]struct {
		form   func(address string) string
		notice string
	}{
		"state of another sign-in": {func(a string) string { return cut(a, "&state") + "&state=" + strings.Repeat("A", 43) }, "earlier sign-in"},
		"without its end":          {func(a string) string { return cut(a, "&state") }, "shortened"},
		"within the state":         {func(a string) string { return a[:len(a)-1] }, "earlier sign-in"},
		"without its query":        {func(a string) string { return cut(a, "?") }, "shortened"},
		"without a code":           {func(a string) string { return cut(a, "code=") + a[strings.Index(a, "state="):] }, "shortened"},
		"query without state":      {func(a string) string { return cut(a, "&state")[strings.Index(a, "code="):] }, "shortened"},
		"state twice":              {func(a string) string { return a + "&" + a[strings.Index(a, "state="):] }, "twice"},
		"another host":             {func(a string) string { return strings.Replace(a, "app.test", "evil.test", 1) }, "another address"},
		"another path":             {func(a string) string { return strings.Replace(a, "/callback", "/", 1) }, "another address"},
		"another scheme":           {func(a string) string { return strings.Replace(a, "https:", "ftp:", 1) }, "another address"},
		"Exact's words, no state": {func(a string) string {
			return cut(a, "code=") + "error=access_denied&error_description=The+user+denied+it"
		}, "says: access_denied: The user denied it"},
		"its words, query alone":  {func(a string) string { return "error=access_denied&error_description=The user denied it" }, "says: access_denied: The user denied it"},
		"a rest after an address": {func(a string) string { return cut(a, "AbCd") + "\n" + strings.Repeat("A", 30) }, "shortened"},
		"many words":              {func(string) string { return "I think that this is what you want to have" }, "neither an address nor a code"},
		"another port":            {func(a string) string { return strings.Replace(a, "app.test", "app.test:1", 1) }, "another address. Paste the one that begins with https://app.test/callback; still waiting"},
		"the address to open":     {func(string) string { return "https://start.exactonline.nl/api/oauth2/auth?state=x" }, "another address"},
		"words":                   {func(string) string { return "what shall I paste here, please?" }, "neither an address nor a code"},
		"a word":                  {func(string) string { return "yes" }, "neither an address nor a code"},
		"the mask":                {func(string) string { return "…" }, "neither an address nor a code"},
		"half a code":             {func(string) string { return strings.Repeat("A", 19) }, "only a part"},
		"wrong percent":           {func(string) string { return strings.Repeat("A", 30) + "%zz" }, "neither an address nor a code"},
		// Browsers hide the scheme, and a query can begin with any parameter. Neither is a
		// bare code, which would need no state.
		"without its scheme":             {func(a string) string { return strings.TrimPrefix(cut(a, "&state"), "https://") + "&state=x" }, "earlier sign-in"},
		"query that begins with another": {func(a string) string { return "x=1&" + cut(a, "&state")[strings.Index(a, "code="):] + "&state=x" }, "earlier sign-in"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			out, in := io.Pipe()
			defer out.Close()
			s := sit(t.Context(), t, nowhere(out))
			go func() {
				fmt.Fprintln(in)
				fmt.Fprintln(in, test.form(s.answer()))
				fmt.Fprintln(in, s.answer())
			}()
			s.succeeds()
			if got := s.noticed(); !strings.Contains(got, test.notice) || strings.Count(got, "\n") != 1 {
				t.Errorf("noticed %q, want %q", got, test.notice)
			}
		})
	}
}

// A code alone is not taken once something that began like an address has come: the rest
// of a wrapped address would be redeemed, and end the sign-in.
func TestNoBareCodeAfterAnAddress(t *testing.T) {
	for name, first := range map[string]string{
		"address": "https://app.test/callback?code=stampNL001.AbCd", "no scheme": "app.test/callback?code=stamp", "query": "code=stampNL001.AbCd",
		"another": "https://evil.test/", "encoded": "https%3A%2F%2Fapp.test%2Fcallback", "its first line": "https:", "its host": "app.te",
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			out, in := io.Pipe()
			defer out.Close()
			s := sit(t.Context(), t, nowhere(out))
			for _, line := range []string{first, goodCode} {
				fmt.Fprintln(in, line)
				s.waitNotice(line)
			}
			fmt.Fprintln(in, s.answer())
			s.succeeds()
			if got := s.noticed(); strings.Contains(got, "bare code") {
				t.Errorf("noticed %q", got)
			}
		})
	}
}

// Lines that a person pastes one by one are joined too.
func TestPasteLineByLine(t *testing.T) {
	t.Parallel()
	out, in := io.Pipe()
	defer out.Close()
	s := sit(t.Context(), t, nowhere(out))
	for line := range strings.SplitSeq(wrap(s.answer(), 60, "\n"), "\n") {
		fmt.Fprintln(in, line)
		if !strings.HasSuffix(s.answer(), line) {
			s.waitNotice(line)
		}
	}
	s.succeeds()
}

// wrap breaks text after every width bytes.
func wrap(text string, width int, with string) string {
	var b strings.Builder
	for len(text) > width {
		b.WriteString(text[:width] + with)
		text = text[width:]
	}
	return b.String() + text
}

// stateFirst moves the state in front of the code.
func stateFirst(address string) string {
	before, query, _ := strings.Cut(address, "?")
	code, state, _ := strings.Cut(query, "&")
	return before + "?" + state + "&" + code
}

func TestPasteThatEnds(t *testing.T) {
	t.Run("without a listener", func(t *testing.T) {
		t.Parallel()
		s := sit(t.Context(), t, nowhere(strings.NewReader("nonsense that is not taken\n")))
		if _, err := s.end(); !errors.Is(err, fault.ErrDenied) {
			t.Error(err)
		}
	})
	t.Run("with a listener", func(t *testing.T) {
		t.Parallel()
		s := sit(t.Context(), t, callback.Options{Settings: settings(t, loopback), Paste: strings.NewReader("")})
		callbacktest.Browse(t, s.answer())
		s.succeeds()
	})
	t.Run("neither", func(t *testing.T) {
		t.Parallel()
		if _, err := callback.Open(t.Context(), nowhere(nil)); !errors.Is(err, fault.ErrConfig) {
			t.Error(err)
		}
	})
}

// Browser and person at once: there is one answer.
func TestPasteAndListenerAtOnce(t *testing.T) {
	for i := range 8 {
		t.Run(fmt.Sprint(i), func(t *testing.T) {
			t.Parallel()
			out, in := io.Pipe()
			defer out.Close()
			s := sit(t.Context(), t, callback.Options{Settings: settings(t, loopback), Paste: out})
			go fmt.Fprintln(in, s.answer())
			browsed := make(chan struct{})
			go func() {
				defer close(browsed)
				callbacktest.Browser{Follow: true}.Open(t, http.MethodGet, s.answer())
			}()
			s.succeeds()
			<-browsed
			callbacktest.CheckClosed(t, s.Port)
		})
	}
}

func TestCallbackEndsWithItsContext(t *testing.T) {
	t.Parallel()
	late, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	s := sit(late, t, callback.Options{Settings: settings(t, loopback)})
	if _, err := s.end(); !errors.Is(err, fault.ErrDenied) {
		t.Error(err)
	}
	callbacktest.CheckClosed(t, s.Port)
	cancelled, stop := context.WithCancelCause(t.Context())
	out, in := io.Pipe() // nothing is written
	defer in.Close()
	s = sit(cancelled, t, callback.Options{Settings: settings(t, loopback), Paste: out})
	stop(errStop)
	if _, err := s.end(); !errors.Is(err, errStop) {
		t.Error(err)
	}
	callbacktest.CheckClosed(t, s.Port)
}

// The browser's languages decide, and the locale if they are neither of ours.
func TestPagesSpeakTheBrowsersLanguage(t *testing.T) {
	const en, nl = `<html lang="en">`, `<html lang="nl">`
	for _, test := range []struct{ locale, header, want string }{
		{"", "", en},
		{"nl", "", nl},
		{"nl", "en-US,en;q=0.9", en},
		{"en", "nl-NL,nl;q=0.9,en;q=0.8", nl},
		{"nl", "de", nl},
		{"", "de", en},
	} {
		t.Run(fmt.Sprintf("locale %s, browser %s", test.locale, test.header), func(t *testing.T) {
			t.Parallel()
			s := sit(t.Context(), t, callback.Options{Settings: settings(t, loopback), Language: test.locale})
			b := callbacktest.Browser{Follow: true, Header: http.Header{}}
			if test.header != "" {
				b.Header.Set("Accept-Language", test.header)
			}
			stray, err := b.Open(t, http.MethodGet, "http://127.0.0.1:"+s.Port+"/elsewhere")
			if err != nil || !strings.Contains(stray.Body, test.want) {
				t.Errorf("a stray request: %v\n%s", err, stray.Body)
			}
			last, err := b.Open(t, http.MethodGet, s.answer())
			s.succeeds()
			if err != nil || !strings.Contains(last.Body, test.want) || !strings.Contains(last.Body, "Anna de Vries") {
				t.Errorf("the last page: %v\n%s", err, last.Body)
			}
		})
	}
}
