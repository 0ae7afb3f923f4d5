package exactauth_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/exactauth/exactauth/internal/callback/callbacktest"
	"github.com/exactauth/exactauth/internal/config"
	"github.com/exactauth/exactauth/internal/exactauth"
	"github.com/exactauth/exactauth/internal/exactsim"
	"github.com/exactauth/exactauth/internal/fault"
	"github.com/exactauth/exactauth/internal/record"
	"github.com/exactauth/exactauth/internal/tokenstore"
)

const (
	clientID     = exactsim.ClientID
	clientSecret = exactsim.ClientSecret
	redirectURI  = "https://app.test/callback"
	profileName  = "acme"

	annaID = exactsim.AnnaID
	bobID  = exactsim.BobID
)

// clock moves by a microsecond each time it is read, and when a test moves it.
type clock struct {
	mu   sync.Mutex
	t    time.Time
	tick time.Duration
}

func newClock() *clock {
	return &clock{t: time.Date(2026, 10, 28, 16, 15, 50, 0, time.UTC), tick: time.Microsecond}
}

func (c *clock) now() time.Time { return c.advance(c.tick) }

func (c *clock) advance(d time.Duration) time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.t = c.t.Add(d)
	return c.t
}

func (c *clock) set(t time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.t = t
}

// world is a simulator served over HTTP, with the cast, a state directory, and a clock
// for all. At the end of the test it searches everything that was logged, noticed or
// returned as an error for every secret.
type world struct {
	*exactsim.Sim
	t     *testing.T
	life  time.Duration
	clock *clock
	url   string
	dir   string
	serve *httptest.Server
	front atomic.Pointer[http.HandlerFunc] // if set, it gets the requests

	mu   sync.Mutex
	said bytes.Buffer
}

// newWorld starts a simulator whose access tokens have this life. Tests in which the
// client pauses before a retry use a short life: pauses are parts of it, in real time.
func newWorld(t *testing.T, life time.Duration, c exactsim.Config) *world {
	t.Helper()
	t.Parallel()
	w := &world{t: t, life: life, clock: newClock(), dir: t.TempDir()}
	if c.Now == nil {
		c.Now = w.clock.now
	}
	c.TokenLife, c.AutoApprove = life, true
	w.Sim = exactsim.New(c)
	w.AddCast(redirectURI)
	w.serve = httptest.NewServer(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		if front := w.front.Load(); front != nil {
			(*front)(rw, r)
			return
		}
		w.Sim.ServeHTTP(rw, r)
	}))
	w.url = w.serve.URL
	t.Cleanup(func() {
		w.serve.CloseClientConnections() // of requests that are still delayed
		w.serve.Close()
		w.mu.Lock()
		defer w.mu.Unlock()
		for _, secret := range w.Secrets() {
			if bytes.Contains(w.said.Bytes(), []byte(secret)) {
				t.Errorf("a message has a secret: %.24s…", secret)
			}
		}
	})
	return w
}

// inFront lets h handle the requests.
func (w *world) inFront(h http.HandlerFunc) { w.front.Store(&h) }

func (w *world) register(secret, redirect string) {
	w.AddApp(exactsim.App{ClientID: clientID, ClientSecret: secret, RedirectURI: redirect})
}

// Write collects messages and logs.
func (w *world) Write(p []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.said.Write(p)
}

// heard returns all messages and logs so far.
func (w *world) heard() string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.said.String()
}

func (w *world) store() *tokenstore.Files { return tokenstore.NewFiles(w.dir, nil) }

// client returns what one process has: a client of its own on a store of its own.
func (w *world) client() *exactauth.Client {
	transport := &http.Transport{}
	w.t.Cleanup(transport.CloseIdleConnections)
	return &exactauth.Client{
		Profile: config.Settings{
			Name: profileName, BaseURL: w.url, ClientID: clientID, RedirectURI: redirectURI, Listen: "none",
		},
		Store:        w.store(),
		Certificates: w.store(),
		Transport:    transport,
		Now:          w.clock.now,
		Notice:       func(s string) { fmt.Fprintln(w, s) },
		Log:          slog.New(slog.NewTextHandler(w, &slog.HandlerOptions{Level: slog.LevelDebug})),
	}
}

// signedIn returns a world in which Anna has signed in; the client secret is in the
// record.
func signedIn(t *testing.T, life time.Duration, c exactsim.Config) (*world, *exactauth.Client) {
	t.Helper()
	w := newWorld(t, life, c)
	client := w.client()
	if err := client.SetClientSecret(t.Context(), fault.NewSecret(clientSecret), true); err != nil {
		t.Fatal(err)
	}
	if _, err := w.signIn(client, exactauth.LoginOptions{}); err != nil {
		t.Fatal(err)
	}
	return w, client
}

// signIn signs in by pasting the browser's last address.
func (w *world) signIn(c *exactauth.Client, o exactauth.LoginOptions) (exactauth.Login, error) {
	w.t.Helper()
	out, in := io.Pipe()
	defer out.Close()
	o.Paste = out
	o.Show = func(i exactauth.Invitation) {
		go func() { fmt.Fprintln(in, w.approve(i.URL)) }()
	}
	login, err := c.Login(w.t.Context(), o)
	return login, w.tell(err)
}

// approve opens the address and returns the one that Exact sends the browser to.
func (w *world) approve(address string) string {
	client := http.Client{CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	resp, err := client.Get(address)
	if err != nil {
		return err.Error()
	}
	resp.Body.Close()
	return resp.Header.Get("Location")
}

// tell has the error checked for secrets, and returns it.
func (w *world) tell(err error) error {
	if err != nil {
		fmt.Fprintf(w, "%v\n%+v\n", err, err)
	}
	return err
}

// token asks c for a token.
func (w *world) token(c *exactauth.Client, want exactauth.Want) (record.Token, error) {
	w.t.Helper()
	ctx, cancel := context.WithTimeout(w.t.Context(), 30*time.Second)
	defer cancel()
	tok, err := c.Token(ctx, want)
	return tok, w.tell(err)
}

// live asks c for a token, which the server must accept.
func (w *world) live(c *exactauth.Client) record.Token {
	w.t.Helper()
	tok, err := w.token(c, exactauth.Want{})
	if err != nil {
		w.t.Fatal("no token:", err)
	}
	if !w.AccessTokenLive(tok.Access.Reveal()) {
		w.t.Fatal("the server does not accept the token")
	}
	return tok
}

// refused asks c for a token, which must fail with kind.
func (w *world) refused(c *exactauth.Client, kind error) error {
	w.t.Helper()
	tok, err := w.token(c, exactauth.Want{})
	if !errors.Is(err, kind) {
		w.t.Fatalf("got %v, %v; want the error %v", tok, err, kind)
	}
	return err
}

// asks reports how many refreshes f makes.
func (w *world) asks(f func()) int {
	before := w.Counters().Refreshes
	f()
	return w.Counters().Refreshes - before
}

// quiet runs f, which must send no request.
func (w *world) quiet(f func()) {
	w.t.Helper()
	before := w.Counters()
	f()
	if after := w.Counters(); after != before {
		w.t.Fatalf("requests were made: before %+v, after %+v", before, after)
	}
}

func (w *world) path() string { return filepath.Join(w.dir, profileName) }

// record returns the stored record's text.
func (w *world) record() string {
	w.t.Helper()
	b, err := os.ReadFile(w.path())
	if err != nil {
		w.t.Fatal(err)
	}
	return string(b)
}

func (w *world) putRecord(text string) {
	w.t.Helper()
	if err := os.WriteFile(w.path(), []byte(text), 0o600); err != nil {
		w.t.Fatal(err)
	}
}

// field returns a field of the stored record, or "".
func (w *world) field(name string) string {
	w.t.Helper()
	_, rest, _ := strings.Cut(w.record(), "\n"+name+" ")
	value, _, _ := strings.Cut(rest, "\n")
	return value
}

// refreshState returns the server's state of the stored refresh token.
func (w *world) refreshState() exactsim.TokenState {
	w.t.Helper()
	return w.RefreshTokenState(w.field("refresh_token"))
}

// untilHeld moves the clock to the time that the error names for the next attempt.
func (w *world) untilHeld(err error) time.Time {
	w.t.Helper()
	held := (*fault.WaitError)(nil)
	if !errors.As(err, &held) {
		w.t.Fatalf("%v names no time for the next attempt", err)
	}
	if !held.Until.After(w.clock.now()) {
		w.t.Fatalf("%v: that time is past", err)
	}
	w.clock.set(held.Until)
	return held.Until
}

var (
	errCrash = errors.New("the process was killed")
	errBoom  = errors.New("boom")
)

// crashing is a store whose process ends at one of its updates: before the change, or
// between the change and the save.
type crashing struct {
	record.Store
	at     int
	before bool
	n      int
}

func (s *crashing) Update(ctx context.Context, name string, change func(context.Context, []byte) ([]byte, error)) error {
	s.n++
	if s.n < s.at {
		return s.Store.Update(ctx, name, change)
	}
	return s.Store.Update(ctx, name, func(ctx context.Context, old []byte) ([]byte, error) {
		if !s.before {
			if _, err := change(ctx, old); err != nil {
				return nil, err
			}
		}
		return nil, errCrash
	})
}

// blockWrites makes writes of the record fail, also for root, until unblock.
func blockWrites(t *testing.T, w *world) (unblock func()) {
	t.Helper()
	inTheWay := w.path() + ".tmp"
	if err := os.MkdirAll(filepath.Join(inTheWay, "x"), 0o700); err != nil {
		t.Fatal(err)
	}
	return func() { os.RemoveAll(inTheWay) }
}

func giveSecret(s string) func(context.Context) (fault.Secret, error) {
	return func(context.Context) (fault.Secret, error) { return fault.NewSecret(s), nil }
}

// closedAddress returns an address that refuses connections.
func closedAddress(t *testing.T) string { return "127.0.0.1:" + callbacktest.Port() }

// dialTo connects to addr, whatever the address of the request.
func dialTo(addr string) func(context.Context, string, string) (net.Conn, error) {
	return func(ctx context.Context, network, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, network, addr)
	}
}

// newTLSFront serves the simulator with an untrusted certificate.
func newTLSFront(t *testing.T, w *world) string {
	t.Helper()
	s := httptest.NewUnstartedServer(w.Sim)
	s.Config.ErrorLog = log.New(io.Discard, "", 0)
	s.StartTLS()
	t.Cleanup(s.Close)
	return s.URL
}
