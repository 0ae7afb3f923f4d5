package callback

import (
	"errors"
	"net/url"
	"slices"
	"strings"
	"testing"

	"github.com/exactauth/exactauth/internal/config"
	"github.com/exactauth/exactauth/internal/fault"
)

const (
	testState  = "8484.q83vEjRWeJASNFZ4kBI0VniQEjRWeJASNFZ4kBI0Vng"
	testIssuer = "https://start.exactonline.nl"
	testCode   = "stampNL001.AbCd!IAAAAabcdefghijklmnopqrstuvwxyz0123456789-_"
)

func testAttempt() attempt {
	return attempt{config.Settings{RedirectURI: "https://app.test/callback"}, testState, Issuer{URL: testIssuer}}
}

func TestAttemptAccept(t *testing.T) {
	t.Parallel()
	const good = "code=stampNL001.AbCd%21IAAAAabcdefghijklmnopqrstuvwxyz0123456789-_&state=" + testState
	for _, test := range []struct {
		name, query string
		want        error // nil: the code is taken
	}{
		{"good", good, nil},
		{"state first", "state=" + testState + "&code=" + testCode, nil},
		{"with other parameters, even twice", good + "&session_state=x&session_state=y", nil},
		{"state in escapes", strings.Replace(good, "state=8", "state=%38", 1), nil},
		{"nothing", "", errNoState},
		{"empty state", "code=" + testCode + "&state=", errNoState},
		{"case of the state", "code=" + testCode + "&state=" + strings.ToUpper(testState), errWrongState},
		{"begin of the state", "code=" + testCode + "&state=" + testState[:20], errWrongState},
		{"state and more", good + "x", errWrongState},
		{"state and a blank", good + "+", errWrongState},
		{"name in capitals", "code=" + testCode + "&State=" + testState, errNoState},
		{"state twice", good + "&state=" + testState, errRepeated},
		{"state twice, wrong first", "state=x&" + good, errRepeated},
		{"code twice", good + "&code=x", errRepeated},
		{"description twice", good + "&error_description=a&error_description=b", errRepeated},
		{"no code", "state=" + testState, errNoCode},
		{"bad escape", good + "&x=%", errGarbled},
		{"semicolon", strings.Replace(good, "&", ";", 1), errGarbled},
		{"refused", "error=access_denied&state=" + testState, fault.ErrDenied},
		{"refused, with a code", good + "&error=access_denied", fault.ErrDenied},
		{"refused, without state", "error=access_denied", errNoState},
		{"refused, another state", "error=access_denied&state=x", errWrongState},
		{"this issuer", good + "&iss=" + url.QueryEscape(testIssuer), nil},
		{"no issuer", good + "&iss=", nil},
		{"another issuer", good + "&iss=" + url.QueryEscape(testIssuer+".evil.test"), fault.ErrDenied},
		{"another issuer, without state", "code=x&iss=https%3A%2F%2Fevil.test", errNoState},
		{"refused by another issuer", "error=access_denied&iss=https%3A%2F%2Fevil.test&state=" + testState, fault.ErrDenied},
		{"issuer twice", good + "&iss=" + url.QueryEscape(testIssuer) + "&iss=x", errRepeated},
		{"refused by control characters", "error=%00%1b&state=" + testState, errNoCode},
	} {
		code, err := testAttempt().accept(test.query)
		if !errors.Is(err, test.want) || test.want == nil && (err != nil || code.Reveal() != testCode) {
			t.Errorf("%s: got %v, want %v", test.name, err, test.want)
		}
		if err != nil && !code.IsZero() {
			t.Errorf("%s: a code came with an error", test.name)
		}
	}
}

// A server that says that its answers name it must be believed: an answer without its
// name comes from elsewhere (RFC 9207, 2.4).
func TestPromisedIssuer(t *testing.T) {
	t.Parallel()
	a := testAttempt()
	a.issuer.Promised = true
	query := "code=" + url.QueryEscape(testCode) + "&state=" + testState
	if _, err := a.accept(query); !errors.Is(err, fault.ErrDenied) || errors.As(err, new(*RefusedError)) {
		t.Errorf("without issuer: %v", err)
	}
	if _, err := a.accept(query + "&iss=" + url.QueryEscape(testIssuer)); err != nil {
		t.Errorf("with it: %v", err)
	}
}

func TestAttemptAcceptPasteByRelay(t *testing.T) {
	t.Parallel()
	a := testAttempt()
	a.settings.Relay = true
	query := "?code=" + url.QueryEscape(testCode) + "&state=" + testState
	for address, want := range map[string]error{
		"https://app.test/callback" + query:       nil,
		"http://127.0.0.1:8484/callback" + query:  nil, // where the page sent the browser
		"http://localhost:8484/callback" + query:  nil,
		"https://evil.test/callback" + query:      errElsewhere,
		"http://127.0.0.1.evil.test:8484" + query: errElsewhere,
	} {
		if _, _, err := pasteAll(a, address); !errors.Is(err, want) {
			t.Errorf("%.40s…: %v, want %v", address, err, want)
		}
	}
	a.settings.Relay = false
	if _, _, err := pasteAll(a, "http://127.0.0.1:8484/callback"+query); !errors.Is(err, errElsewhere) {
		t.Errorf("without a relay: %v", err)
	}
}

func TestNewAttempt(t *testing.T) {
	t.Parallel()
	seen := map[string]bool{}
	for range 1000 {
		a := newAttempt(config.Settings{}, Issuer{}, "")
		if len(a.state) != 52 || strings.Contains(a.state, ".") || seen[a.state] {
			t.Fatal("not 260 random bits in base32")
		}
		seen[a.state] = true
	}
	if a := newAttempt(config.Settings{}, Issuer{}, "8484"); !strings.HasPrefix(a.state, "8484.") || len(a.state) != 57 {
		t.Error("the port is not in front of the state")
	}
}

func TestPlaceFor(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		redirect, listen string
		relay            bool
		addrs, hosts     []string // nil addrs: nowhere
		tls              bool
		path             string
	}{
		{redirect: "http://localhost:8484/cb", addrs: []string{"127.0.0.1:8484", "[::1]:8484"}, hosts: []string{"localhost:8484"}, path: "/cb"},
		{redirect: "http://127.0.0.1:8484", addrs: []string{"127.0.0.1:8484"}, hosts: []string{"127.0.0.1:8484"}, path: "/"},
		{redirect: "http://127.0.0.1/cb", addrs: []string{"127.0.0.1:80"}, hosts: []string{"127.0.0.1:80"}, path: "/cb"},
		{redirect: "https://[::1]:8484/cb", addrs: []string{"[::1]:8484"}, hosts: []string{"[::1]:8484"}, tls: true, path: "/cb"},
		{redirect: config.DefaultRedirectURI, addrs: []string{"127.0.0.1:8484"}, hosts: []string{"exactauth.test:8484"}, tls: true, path: "/callback"},
		{redirect: "https://app.test/cb", addrs: []string{"127.0.0.1:443"}, hosts: []string{"app.test:443"}, tls: true, path: "/cb"},
		{redirect: "https://app.test/cb", listen: "none"},
		{redirect: "https://app.test/cb", listen: "http://127.0.0.1:1", addrs: []string{"127.0.0.1:1"}, hosts: []string{"app.test:443", "127.0.0.1:1"}, path: "/cb"},
		{redirect: "https://app.test/cb", listen: "https://localhost:1", addrs: []string{"127.0.0.1:1", "[::1]:1"}, hosts: []string{"app.test:443", "localhost:1"}, tls: true, path: "/cb"},
		{redirect: "https://app.test/x.html", relay: true, addrs: []string{"127.0.0.1:0"}, path: "/callback"},
	} {
		at, ok := placeFor(config.Settings{RedirectURI: test.redirect, Listen: test.listen, Relay: test.relay})
		if ok != (test.addrs != nil) || !slices.Equal(at.addrs, test.addrs) || !slices.Equal(at.hosts, test.hosts) || at.tls != test.tls || at.path != test.path {
			t.Errorf("%s, %q: got %+v, %t", test.redirect, test.listen, at, ok)
		}
	}
}

// No query is accepted without exactly our state, and the code that is returned is
// the one in the query.
func FuzzCallbackQuery(f *testing.F) {
	for _, seed := range []string{
		"", "code=" + testCode + "&state=" + testState, "error=access_denied&state=" + testState, "error=access_denied",
		"state=" + testState, "state=" + testState + "&state=" + testState + "&code=x", "state=" + testState + ";code=x",
		"%73tate=" + testState + "&code=%21", "state=" + testState + "%00&code=x", "state=" + testState + "&code=%ff", "&&=&state",
		"code=x&state=" + testState[:len(testState)-1], "error=%1b%5B2J&error_description=%E2%80%AE%0a&state=" + testState,
	} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, query string) {
		code, err := testAttempt().accept(query)
		q, parseErr := url.ParseQuery(query)
		ours := parseErr == nil && slices.Equal(q["state"], []string{testState})
		switch {
		case err == nil && (!ours || q.Has("error") && fault.Printable(q.Get("error")) != "" || !slices.Equal(q["code"], []string{code.Reveal()}) || code.IsZero()):
			t.Errorf("taken: %q", query)
		case errors.Is(err, fault.ErrDenied) && !ours:
			t.Errorf("taken for a refusal: %q", query)
		case err != nil && !code.IsZero():
			t.Errorf("a code came with an error: %q", query)
		case err != nil && err.Error() != fault.Printable(err.Error()) && len([]rune(err.Error())) <= 300:
			t.Errorf("not fit for a terminal: %q", err.Error())
		}
	})
}
