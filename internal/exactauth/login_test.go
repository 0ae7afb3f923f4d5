package exactauth_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/exactauth/exactauth/internal/callback"
	"github.com/exactauth/exactauth/internal/callback/callbacktest"
	"github.com/exactauth/exactauth/internal/config"
	"github.com/exactauth/exactauth/internal/exactauth"
	"github.com/exactauth/exactauth/internal/exactsim"
	"github.com/exactauth/exactauth/internal/fault"
	"github.com/exactauth/exactauth/internal/record"
)

// sitting is a sign-in that is under way.
type sitting struct {
	exactauth.Invitation
	w    *world
	port string
	done chan struct{}

	login exactauth.Login
	err   error
}

// sit starts a sign-in and returns once its address is shown.
func (w *world) sit(ctx context.Context, c *exactauth.Client, o exactauth.LoginOptions) *sitting {
	w.t.Helper()
	s := &sitting{w: w, done: make(chan struct{})}
	shown := make(chan exactauth.Invitation, 2)
	o.Show = func(i exactauth.Invitation) { shown <- i }
	go func() {
		defer close(s.done)
		s.login, s.err = c.Login(ctx, o)
		w.tell(s.err)
	}()
	select {
	case s.Invitation = <-shown:
	case <-s.done:
		w.t.Fatal("the sign-in ended before it was shown: ", s.err)
	}
	if u, err := url.Parse(c.Profile.RedirectURI); err == nil {
		s.port = u.Port()
	}
	w.t.Cleanup(func() {
		select {
		case <-s.done:
		default:
			w.t.Error("the sign-in is still under way")
		}
		if len(shown) > 0 {
			w.t.Error("it was shown twice")
		}
	})
	return s
}

// end waits for the sign-in's outcome.
func (s *sitting) end() (exactauth.Login, error) {
	s.w.t.Helper()
	select {
	case <-s.done:
	case <-time.After(20 * time.Second):
		s.w.t.Fatal("the sign-in does not end")
	}
	return s.login, s.err
}

// succeeds waits for the outcome, which must be a login of Anna's.
func (s *sitting) succeeds() exactauth.Login {
	s.w.t.Helper()
	login, err := s.end()
	if err != nil {
		s.w.t.Fatal(err)
	}
	if !s.w.AccessTokenLive(login.Token.Access.Reveal()) || s.w.refreshState() != exactsim.Current {
		s.w.t.Error("the tokens are not good at the server")
	}
	if login.User.ID != annaID || login.UserError != nil {
		s.w.t.Errorf("signed in: %+v, %v", login.User, login.UserError)
	}
	if n := s.w.Counters().Exchanges; n != 1 {
		s.w.t.Errorf("%d exchanges", n)
	}
	return login
}

func (s *sitting) state() string {
	u, err := url.Parse(s.URL)
	if err != nil {
		s.w.t.Fatal(err)
	}
	return u.Query().Get("state")
}

// answer is the address that the browser is sent to, once the person agreed.
func (s *sitting) answer() string { return s.w.approve(s.URL) }

// onLoopback is a client with a redirect URI on this machine.
func (w *world) onLoopback(format string) *exactauth.Client {
	w.t.Helper()
	c := w.client()
	c.ClientSecret = giveSecret(clientSecret)
	c.Profile.Listen = ""
	c.Profile.RedirectURI = fmt.Sprintf(format, callbacktest.Port())
	if err := config.CheckRedirectURI(c.Profile.RedirectURI); err != nil {
		w.t.Fatal(err)
	}
	w.register(clientSecret, c.Profile.RedirectURI)
	return c
}

const loopback = "http://127.0.0.1:%s/callback"

func TestLoginOnLoopback(t *testing.T) {
	for _, redirect := range []string{loopback, "http://localhost:%s/callback", "http://[::1]:%s/", "http://127.0.0.1:%s", "https://localhost:%s/a/b"} {
		t.Run(redirect, func(t *testing.T) {
			if strings.Contains(redirect, "::1") {
				needIPv6(t)
			}
			w := newWorld(t, exactLife, exactsim.Config{})
			c := w.onLoopback(redirect)
			s := w.sit(t.Context(), c, exactauth.LoginOptions{})
			if !s.Listening || !s.Loopback || s.RedirectURI != c.Profile.RedirectURI || s.SelfSigned != strings.HasPrefix(redirect, "https") {
				t.Errorf("invitation %+v", s.Invitation)
			}
			page := callbacktest.Browse(w.t, s.URL)
			login := s.succeeds()

			callbacktest.CheckGuarded(t, page)
			if page.StatusCode != http.StatusOK || !strings.Contains(page.Body, "Anna de Vries") || !strings.Contains(page.Body, "signed in") {
				t.Errorf("the last page: %d %s", page.StatusCode, page.Body)
			}
			if q := page.Request.URL.Query(); q.Has("code") || q.Has("state") {
				t.Error("the address bar still has the code")
			}
			if left := login.Token.ExpiresAt.Sub(w.clock.now()).Round(time.Second); left != exactLife {
				t.Errorf("the token lives %s", left)
			}
			if left := login.RefreshExpiresAt.Sub(w.clock.now()).Round(time.Minute); left != 30*24*time.Hour {
				t.Errorf("the login lives %s", left)
			}
			callbacktest.CheckClosed(t, s.port)
			w.quiet(func() {
				if tok := w.live(c); tok.Access.Reveal() != login.Token.Access.Reveal() {
					t.Error("the stored token is another")
				}
			})
		})
	}
}

// The page that says how it went comes after the exchange, by a redirect from
// the address that has the code.
func TestTheCodesAddressIsLeft(t *testing.T) {
	w := newWorld(t, exactLife, exactsim.Config{})
	s := w.sit(t.Context(), w.onLoopback(loopback), exactauth.LoginOptions{})
	page, err := callbacktest.Browser{}.Open(t, http.MethodGet, s.answer())
	if err != nil {
		t.Fatal(err)
	}
	callbacktest.CheckGuarded(t, page)
	if page.StatusCode != http.StatusSeeOther || strings.Contains(page.Header.Get("Location"), "code") {
		t.Errorf("%s to %q", page.Status, page.Header.Get("Location"))
	}
	if n := w.Counters().ExchangesIssued; n != 1 {
		t.Errorf("%d exchanges before the answer", n)
	}
	s.succeeds() // though this browser never fetched the page
}

func TestAuthorizeAddress(t *testing.T) {
	w := newWorld(t, exactLife, exactsim.Config{})
	states := map[string]bool{}
	for _, force := range []bool{false, true} {
		ctx, cancel := context.WithCancelCause(t.Context())
		s := w.sit(ctx, w.onLoopback(loopback), exactauth.LoginOptions{ForceLogin: force})
		u, err := url.Parse(s.URL)
		if err != nil || !strings.HasPrefix(s.URL, w.url+"/api/oauth2/auth?") {
			t.Fatal(s.URL, err)
		}
		want := url.Values{"client_id": {clientID}, "redirect_uri": {s.RedirectURI}, "response_type": {"code"}, "state": {s.state()}}
		if force {
			want.Set("force_login", "1")
		}
		if u.Query().Encode() != want.Encode() {
			t.Errorf("got %v, want %v", u.Query(), want)
		}
		if len(s.state()) < 43 || states[s.state()] {
			t.Error("the state can be guessed")
		}
		states[s.state()] = true
		cancel(errBoom)
		s.end()
	}
}

// A name that leads to this machine by a hosts file: TLS with a certificate of
// our own, kept for the next time.
func TestLoginOnAMappedName(t *testing.T) {
	w := newWorld(t, exactLife, exactsim.Config{})
	c := w.onLoopback("https://exactauth.test:%s/callback")
	var first []byte
	for i, age := range []time.Duration{0, 300 * 24 * time.Hour, 60 * 24 * time.Hour} {
		w.clock.advance(age)
		s := w.sit(t.Context(), c, exactauth.LoginOptions{})
		if !s.Listening || s.Loopback || !s.SelfSigned {
			t.Errorf("invitation %+v", s.Invitation)
		}
		page := callbacktest.Browse(w.t, s.URL)
		if _, err := s.end(); err != nil {
			t.Fatal(err)
		}
		callbacktest.CheckGuarded(t, page)
		if page.StatusCode != http.StatusOK || page.Request.URL.Host != "exactauth.test:"+s.port {
			t.Errorf("%d at %s", page.StatusCode, page.Request.URL.Host)
		}
		cert := page.TLS.PeerCertificates[0]
		if err := cert.VerifyHostname("exactauth.test"); err != nil || cert.IsCA {
			t.Errorf("the certificate: %v", err)
		}
		if now := w.clock.now(); now.Before(cert.NotBefore) || now.Add(29*24*time.Hour).After(cert.NotAfter) {
			t.Errorf("the certificate is for %s to %s", cert.NotBefore, cert.NotAfter)
		}
		switch same := string(first) == string(cert.Raw); {
		case i == 0:
			first = cert.Raw
		case i == 1 && !same:
			t.Error("another certificate was made, so the browser warns again")
		case i == 2 && same:
			t.Error("the certificate was not renewed")
		}
	}
}

// A certificate of the user's own takes the place of ours.
func TestLoginWithOwnCertificate(t *testing.T) {
	w := newWorld(t, exactLife, exactsim.Config{})
	c := w.onLoopback("https://exactauth.test:%s/callback")
	elsewhere := w.store()
	other, err := callback.Open(t.Context(), callback.Options{
		Settings: config.Settings{RedirectURI: "https://own.test:" + callbacktest.Port()}, Certificates: elsewhere, Now: w.clock.now(),
	})
	if err != nil {
		t.Fatal(err)
	}
	other.Close()
	pem, err := elsewhere.Read(t.Context(), "tls.own.test")
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "own.pem")
	c.Profile.TLSCert, c.Profile.TLSKey = file, file
	if _, err := w.signIn(c, exactauth.LoginOptions{}); !errors.Is(err, fault.ErrConfig) {
		t.Error("without the file:", err)
	}
	if err := os.WriteFile(file, pem, 0o600); err != nil {
		t.Fatal(err)
	}
	s := w.sit(t.Context(), c, exactauth.LoginOptions{})
	if s.SelfSigned {
		t.Error("it is said to be our own")
	}
	page := callbacktest.Browse(w.t, s.URL)
	s.succeeds()
	if err := page.TLS.PeerCertificates[0].VerifyHostname("own.test"); err != nil {
		t.Error(err)
	}
}

// A static page at the registered address sends the browser on to a free port,
// which it reads from the state.
func TestLoginByRelay(t *testing.T) {
	w := newWorld(t, exactLife, exactsim.Config{})
	c := w.onLoopback("https://relay.test:%s/exact.html")
	c.Profile.Relay = true
	s := w.sit(t.Context(), c, exactauth.LoginOptions{})
	port, random, ok := strings.Cut(s.state(), ".")
	if !ok || len(random) < 43 || !s.Listening || !s.Loopback {
		t.Fatalf("%+v with a state of %d characters behind the port", s.Invitation, len(random))
	}
	_, query, _ := strings.Cut(s.answer(), "?")
	page := callbacktest.Browse(w.t, "http://127.0.0.1:"+port+"/callback?"+query)
	s.succeeds()
	callbacktest.CheckGuarded(t, page)
	callbacktest.CheckClosed(t, port)
}

// The person says no.
func TestDenied(t *testing.T) {
	const query = "error=access_denied&error_description=%3Cscript%3Ealert(1)%3C%2Fscript%3E%1B%5B2J%0Ano%E2%80%AE"
	t.Run("in the browser", func(t *testing.T) {
		w := newWorld(t, exactLife, exactsim.Config{})
		s := w.sit(t.Context(), w.onLoopback(loopback), exactauth.LoginOptions{})
		page := callbacktest.Browse(w.t, s.RedirectURI+"?"+query+"&state="+url.QueryEscape(s.state()))
		_, err := s.end()
		checkDenied(t, w, err)
		callbacktest.CheckGuarded(t, page)
		if strings.Contains(page.Body, "<script") || !strings.Contains(page.Body, "&lt;script&gt;") || !strings.Contains(page.Body, "cancelled") {
			t.Errorf("the page: %s", page.Body)
		}
		if strings.ContainsAny(page.Body, "\x1b\u202e") {
			t.Error("the page has control characters")
		}
		if page.Request.URL.Query().Has("error") {
			t.Error("the address bar still has the answer")
		}
		callbacktest.CheckClosed(t, s.port)
	})
	t.Run("pasted", func(t *testing.T) {
		w := newWorld(t, exactLife, exactsim.Config{})
		out, in := io.Pipe()
		c := w.client()
		c.ClientSecret = giveSecret(clientSecret)
		s := w.sit(t.Context(), c, exactauth.LoginOptions{Paste: out})
		fmt.Fprintln(in, redirectURI+"?error=access_denied") // anybody's
		fmt.Fprintln(in, redirectURI+"?"+query+"&state="+url.QueryEscape(s.state()))
		_, err := s.end()
		checkDenied(t, w, err)
	})
}

func checkDenied(t *testing.T, w *world, err error) {
	t.Helper()
	if !errors.Is(err, fault.ErrDenied) || !strings.Contains(err.Error(), "cancelled in the browser: <script>alert(1)") {
		t.Errorf("got %v", err)
	}
	if err != nil && strings.ContainsAny(err.Error(), "\x1b\n\u202e") {
		t.Errorf("%q is not fit for a terminal", err.Error())
	}
	if n := w.Counters().TokenRequests; n != 0 {
		t.Errorf("%d token requests", n)
	}
}

// A port in use is reported before the address is shown.
func TestPortInUse(t *testing.T) {
	w := newWorld(t, exactLife, exactsim.Config{})
	c := w.onLoopback(loopback)
	u, _ := url.Parse(c.Profile.RedirectURI)
	other, err := net.Listen("tcp", u.Host)
	if err != nil {
		t.Fatal(err)
	}
	defer other.Close()
	_, err = c.Login(t.Context(), exactauth.LoginOptions{Show: func(exactauth.Invitation) { t.Error("the address was shown") }})
	if !errors.Is(w.tell(err), callback.ErrPort) {
		t.Errorf("got %v", err)
	}
}

func needIPv6(t *testing.T) {
	t.Helper()
	l, err := net.Listen("tcp", "[::1]:0")
	if err != nil {
		t.Skip("this machine has no IPv6 loopback")
	}
	l.Close()
}

func TestLoginEndsWithItsContext(t *testing.T) {
	t.Run("no answer came", func(t *testing.T) {
		w := newWorld(t, exactLife, exactsim.Config{})
		ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
		defer cancel()
		s := w.sit(ctx, w.onLoopback(loopback), exactauth.LoginOptions{})
		if _, err := s.end(); !errors.Is(err, fault.ErrDenied) {
			t.Error(err)
		}
		callbacktest.CheckClosed(t, s.port)
	})
	t.Run("cancelled", func(t *testing.T) {
		w, _ := signedIn(t, exactLife, exactsim.Config{})
		before := w.record()
		ctx, cancel := context.WithCancelCause(t.Context())
		out, in := io.Pipe() // no process writes
		defer in.Close()
		s := w.sit(ctx, w.onLoopback(loopback), exactauth.LoginOptions{Paste: out})
		cancel(errBoom)
		if _, err := s.end(); !errors.Is(err, errBoom) {
			t.Error(err)
		}
		callbacktest.CheckClosed(t, s.port)
		if w.record() != before {
			t.Error("the record changed")
		}
	})
	// A code that was sent is seen through: the tokens exist once.
	t.Run("cancelled during the exchange", func(t *testing.T) {
		w := newWorld(t, exactLife, exactsim.Config{})
		ctx, cancel := context.WithCancelCause(t.Context())
		s := w.sit(ctx, w.onLoopback(loopback), exactauth.LoginOptions{})
		w.inFront(func(rw http.ResponseWriter, r *http.Request) {
			cancel(errBoom)
			w.Sim.ServeHTTP(rw, r)
		})
		answer := w.redirectOf(s)
		go callbacktest.Browser{}.Open(t, http.MethodGet, answer)
		s.end()
		if w.refreshState() != exactsim.Current {
			t.Error("the tokens were not saved")
		}
		callbacktest.CheckClosed(t, s.port)
	})
}

// redirectOf makes an answer without asking the simulator over HTTP.
func (w *world) redirectOf(s *sitting) string {
	q := url.Values{"code": {w.NewCode(clientID, annaID, s.RedirectURI)}, "state": {s.state()}}
	return s.RedirectURI + "?" + q.Encode()
}

// A sign-in that fails leaves the one before as it was, and sends
// a code once.
func TestFailedLoginKeepsTheEarlierOne(t *testing.T) {
	injected := func(f exactsim.Fault) func(*world, *exactauth.Client) {
		return func(w *world, _ *exactauth.Client) { f.Times = -1; w.Inject(f) }
	}
	// The outcome of the exchange is not known then.
	unknown := map[string]bool{"answer lost": true, "answer cut": true, "half an answer": true, "empty answer": true, "page": true, "10 MB": true,
		"gateway fault": true, "503": true, "no refresh token": true, "empty refresh token": true, "killed before saving": true}
	for _, test := range []struct {
		name string
		do   func(*world, *exactauth.Client)
		code func(*world) string // what is pasted; the default is a good code
		kind error
	}{
		{"late code", nil, func(w *world) string {
			code := w.NewCode(clientID, annaID, redirectURI)
			w.clock.advance(3*time.Minute + time.Second)
			return code
		}, fault.ErrLoginNeeded},
		{"code of another redirect URI", nil, func(w *world) string {
			return w.NewCode(clientID, annaID, "https://app.test/other")
		}, fault.ErrLoginNeeded},
		{"code that is none", nil, func(*world) string { return strings.Repeat("stampNL001.", 20) }, fault.ErrLoginNeeded},
		{"wrong secret", func(w *world, _ *exactauth.Client) { w.register("other", redirectURI) }, nil, fault.ErrConfig},
		{"app deleted", func(w *world, _ *exactauth.Client) { w.RemoveApp(clientID) }, nil, fault.ErrConfig},
		{"no rights", func(w *world, _ *exactauth.Client) { w.AddUser(exactsim.User{ID: annaID, Inactive: true}) }, nil, nil},
		{"answer lost", injected(exactsim.Fault{Kind: exactsim.Drop, Commit: true}), nil, fault.ErrTemporary},
		{"answer cut", injected(exactsim.Fault{Kind: exactsim.CutBody}), nil, fault.ErrTemporary},
		{"half an answer", injected(exactsim.Fault{Kind: exactsim.Truncated}), nil, fault.ErrTemporary},
		{"empty answer", injected(exactsim.Fault{Kind: exactsim.Empty}), nil, fault.ErrTemporary},
		{"page", injected(exactsim.Fault{Kind: exactsim.HTML}), nil, fault.ErrTemporary},
		{"10 MB", injected(exactsim.Fault{Kind: exactsim.Huge}), nil, fault.ErrTemporary},
		{"gateway fault", injected(exactsim.Fault{Kind: exactsim.Gateway}), nil, fault.ErrTemporary},
		{"503", injected(exactsim.Fault{Kind: exactsim.Status}), nil, fault.ErrTemporary},
		{"redirect", injected(exactsim.Fault{Kind: exactsim.Redirect}), nil, fault.ErrTemporary},
		{"no refresh token", injected(exactsim.Fault{Kind: exactsim.NoRefreshToken}), nil, fault.ErrTemporary},
		{"empty refresh token", injected(exactsim.Fault{Kind: exactsim.EmptyRefreshToken}), nil, fault.ErrTemporary},
		{"too early", injected(exactsim.Fault{Kind: exactsim.Raw, Status: 400, Body: tooEarlyBody}), nil, fault.ErrTemporary},
		{"another user", func(w *world, _ *exactauth.Client) { w.SetAutoApproveUser(bobID) }, func(w *world) string {
			return w.NewCode(clientID, bobID, redirectURI)
		}, fault.ErrConfig},
		{"killed before saving", func(w *world, c *exactauth.Client) { c.Store = &crashing{Store: c.Store, at: 3} }, nil, errCrash},
	} {
		t.Run(test.name, func(t *testing.T) {
			w, c := signedIn(t, exactLife, exactsim.Config{})
			before, exchanges := uncounted(w.record()), w.Counters().Exchanges
			if test.do != nil {
				test.do(w, c)
			}
			if test.code == nil {
				test.code = func(w *world) string { return w.NewCode(clientID, annaID, redirectURI) }
			}
			s := w.sit(t.Context(), c, exactauth.LoginOptions{Paste: strings.NewReader(test.code(w) + "\n")})
			_, err := s.end()
			if err == nil || test.kind != nil && !errors.Is(err, test.kind) {
				t.Errorf("got %v, want %v", err, test.kind)
			}
			if marked := w.field("code_at") != ""; marked != unknown[test.name] {
				t.Errorf("the record is marked: %v", marked)
			}
			if uncounted(w.record()) != before {
				t.Error("the record changed")
			}
			if n := w.Counters(); n.Exchanges != exchanges+1 || n.RedirectsFollowed != 0 {
				t.Errorf("%+v", n)
			}
		})
	}
	t.Run("unreachable", func(t *testing.T) {
		w, c := signedIn(t, exactLife, exactsim.Config{})
		before := uncounted(w.record())
		c.Transport = &http.Transport{DialContext: dialTo(closedAddress(t))}
		ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond) // ends the retries
		defer cancel()
		s := w.sit(ctx, c, exactauth.LoginOptions{Paste: strings.NewReader(w.NewCode(clientID, annaID, redirectURI) + "\n")})
		if _, err := s.end(); !errors.Is(err, fault.ErrTemporary) {
			t.Error(err)
		}
		if w.field("code_at") != "" || uncounted(w.record()) != before {
			t.Error("the record changed")
		}
	})
}

// uncounted is a record without what each sign-in raises or sets: what came for a moment is
// counted, so that no copy of the record from before is taken for a later one.
func uncounted(record string) string {
	return regexp.MustCompile(`\n(generation|revision|code_at) .*`).ReplaceAllString(record, "")
}

// The page and the error tell the server's reason, fit for page and terminal.
func TestFailurePageTellsTheReason(t *testing.T) {
	w := newWorld(t, exactLife, exactsim.Config{})
	w.Inject(exactsim.Fault{Kind: exactsim.Raw, Status: 400, Body: `{"error":"x<b>y","error_description":"<img src=x onerror=alert(1)>\u001b[2J\u202e\nreason` + strings.Repeat("!", 5000) + `"}`})
	s := w.sit(t.Context(), w.onLoopback(loopback), exactauth.LoginOptions{})
	page := callbacktest.Browse(w.t, s.URL)
	_, err := s.end()
	if !errors.Is(err, fault.ErrLoginNeeded) || !strings.Contains(err.Error(), "reason") || strings.ContainsAny(err.Error(), "\x1b\n\u202e") || len(err.Error()) > 1000 {
		t.Errorf("%q", err)
	}
	var server *fault.ServerError
	if !errors.As(err, &server) || server.Status != 400 || server.Code != "x<b>y" {
		t.Errorf("the server's error: %+v", server)
	}
	callbacktest.CheckGuarded(t, page)
	if !strings.Contains(page.Body, "failed") || !strings.Contains(page.Body, "reason") ||
		strings.Contains(page.Body, "<img") || strings.Contains(page.Body, "<b>") || strings.ContainsAny(page.Body, "\x1b\u202e") {
		t.Errorf("the page: %s", page.Body)
	}
	if page.Request.URL.Query().Has("code") {
		t.Error("the address bar still has the code")
	}
}

// Whether Exact says who signed in or not, the login holds.
func TestUnknownUserDoesNotUndoALogin(t *testing.T) {
	for name, fault := range map[string]exactsim.Fault{
		"dropped": {Kind: exactsim.Drop}, "401": {Kind: exactsim.HTML, Status: 401}, "403": {Kind: exactsim.Status, Status: 403},
		"hangs": {Kind: exactsim.Slow, Delay: time.Minute}, "10 MB": {Kind: exactsim.Huge}, "nobody": {Kind: exactsim.Raw, Body: `{"d":{"results":[]}}`},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, exactLife, exactsim.Config{})
			fault.On, fault.Times = exactsim.MeEndpoint, -1
			w.Inject(fault)
			c := w.onLoopback(loopback)
			s := w.sit(t.Context(), c, exactauth.LoginOptions{})
			page := callbacktest.Browse(w.t, s.URL)
			login, err := s.end()
			w.tell(login.UserError)
			if err != nil || login.UserError == nil || login.User != (record.User{}) {
				t.Errorf("got %+v, %v", login, err)
			}
			if !strings.Contains(page.Body, "signed in") {
				t.Error(page.Body)
			}
			w.live(c)
		})
	}
}

func TestReplace(t *testing.T) {
	t.Run("another user", func(t *testing.T) {
		w, c := signedIn(t, exactLife, exactsim.Config{})
		w.SetAutoApproveUser(bobID)
		_, err := w.signIn(c, exactauth.LoginOptions{})
		if !errors.Is(err, fault.ErrConfig) || !strings.Contains(err.Error(), "Anna de Vries") || !strings.Contains(err.Error(), "Bob Jansen") {
			t.Errorf("without Replace: %v", err)
		}
		w.live(c)
		login, err := w.signIn(c, exactauth.LoginOptions{Replace: true})
		if err != nil || login.User.ID != bobID {
			t.Errorf("with Replace: %+v, %v", login.User, err)
		}
		if strings.Contains(w.record(), annaID) || !strings.Contains(w.record(), clientSecret) {
			t.Error("the record names Anna, or lost the client secret")
		}
	})
	t.Run("the same user", func(t *testing.T) {
		w, c := signedIn(t, exactLife, exactsim.Config{})
		if _, err := w.signIn(c, exactauth.LoginOptions{}); err != nil {
			t.Error(err)
		}
		w.live(c)
	})
	t.Run("another client", func(t *testing.T) {
		w, c := signedIn(t, exactLife, exactsim.Config{})
		const other = "99999999-2222-3333-4444-555555555555"
		w.AddApp(exactsim.App{ClientID: other, ClientSecret: "other-secret", RedirectURI: redirectURI})
		c.Profile.ClientID = other
		c.ClientSecret = giveSecret("other-secret")
		before := w.record()
		w.quiet(func() {
			_, err := c.Login(t.Context(), exactauth.LoginOptions{Paste: strings.NewReader(""), Show: func(exactauth.Invitation) { t.Error("shown") }})
			if !errors.Is(w.tell(err), fault.ErrConfig) {
				t.Error(err)
			}
		})
		if w.record() != before {
			t.Error("the record changed")
		}
		if _, err := w.signIn(c, exactauth.LoginOptions{Replace: true}); err != nil {
			t.Fatal(err)
		}
		if strings.Contains(w.record(), clientSecret) {
			t.Error("the other client's secret is still there")
		}
		w.clock.advance(exactLife)
		w.live(c)
	})
	t.Run("another client, whose secret is not there", func(t *testing.T) {
		w, c := signedIn(t, exactLife, exactsim.Config{})
		c.Profile.ClientID = "99999999-2222-3333-4444-555555555555"
		w.quiet(func() {
			_, err := c.Login(t.Context(), exactauth.LoginOptions{Replace: true, Paste: strings.NewReader(""), Show: func(exactauth.Invitation) { t.Error("shown") }})
			if !errors.Is(w.tell(err), fault.ErrConfig) {
				t.Error(err)
			}
		})
	})
}

// What would make a sign-in fail is found before the person is troubled.
func TestNotReady(t *testing.T) {
	for name, test := range map[string]struct {
		spoil func(*testing.T, *world, *exactauth.Client, *exactauth.LoginOptions)
		kind  error
	}{
		"no secret": {func(_ *testing.T, _ *world, c *exactauth.Client, _ *exactauth.LoginOptions) { c.ClientSecret = nil }, fault.ErrConfig},
		"secret not to be had": {func(_ *testing.T, _ *world, c *exactauth.Client, _ *exactauth.LoginOptions) {
			c.ClientSecret = func(context.Context) (fault.Secret, error) { return fault.Secret{}, errBoom }
		}, errBoom},
		"pasting is not possible": {func(_ *testing.T, _ *world, _ *exactauth.Client, o *exactauth.LoginOptions) { o.Paste = nil }, fault.ErrConfig},
		"no room":                 {func(t *testing.T, w *world, _ *exactauth.Client, _ *exactauth.LoginOptions) { blockWrites(t, w) }, nil},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, exactLife, exactsim.Config{})
			c := w.client()
			c.ClientSecret = giveSecret(clientSecret)
			o := exactauth.LoginOptions{Paste: strings.NewReader(""), Show: func(exactauth.Invitation) { t.Error("the address was shown") }}
			test.spoil(t, w, c, &o)
			w.quiet(func() {
				if _, err := c.Login(t.Context(), o); err == nil || test.kind != nil && !errors.Is(w.tell(err), test.kind) {
					t.Errorf("got %v, want %v", err, test.kind)
				}
			})
		})
	}
}

// It listens by the time the address is shown.
func TestListensBeforeItShows(t *testing.T) {
	w := newWorld(t, exactLife, exactsim.Config{})
	c := w.onLoopback(loopback)
	ctx, cancel := context.WithCancelCause(t.Context())
	_, err := c.Login(ctx, exactauth.LoginOptions{Show: func(i exactauth.Invitation) {
		if page, err := (callbacktest.Browser{}).Open(t, http.MethodGet, i.RedirectURI); err != nil || page.StatusCode != http.StatusNotFound {
			t.Errorf("%v, %v", page.Response, err)
		}
		cancel(errBoom)
	}})
	if !errors.Is(err, errBoom) {
		t.Error(err)
	}
}

// A sign-in lifts what was latched, and keeps where the client secret is.
func TestLoginAgain(t *testing.T) {
	w, c := signedIn(t, exactLife, exactsim.Config{})
	w.Revoke(clientID, annaID)
	w.clock.advance(exactLife)
	w.refused(c, fault.ErrLoginNeeded)
	if _, err := w.signIn(c, exactauth.LoginOptions{}); err != nil {
		t.Fatal(err)
	}
	if rec := w.record(); !strings.Contains(rec, clientSecret) || strings.Contains(rec, "refused") || strings.Contains(rec, "previous") {
		t.Error("the record is not that of a new login")
	}
	w.clock.advance(exactLife)
	w.live(c)
}
