package exactapi_test

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"runtime/pprof"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/exactauth/exactauth/internal/config"
	"github.com/exactauth/exactauth/internal/exactapi"
	"github.com/exactauth/exactauth/internal/exactauth"
	"github.com/exactauth/exactauth/internal/exactsim"
	"github.com/exactauth/exactauth/internal/fault"
	"github.com/exactauth/exactauth/internal/record"
	"github.com/exactauth/exactauth/internal/tokenstore"
)

// served is a handler on a port of its own, with a client that keeps connections.
type served struct {
	*exactapi.Handler
	*exactapi.Transport
	t      testing.TB
	origin string // http://127.0.0.1:PORT
	secret string
	client *http.Client
	log    *lockedBuffer
	ahead  atomic.Int64 // of the transport's clock
	writes atomic.Int64 // to connections of clients
}

// counted is a listener that counts the writes to its connections.
type counted struct {
	net.Listener
	writes *atomic.Int64
}

func (l counted) Accept() (net.Conn, error) {
	c, err := l.Listener.Accept()
	return countedConn{c, l.writes}, err
}

type countedConn struct {
	net.Conn
	writes *atomic.Int64
}

func (c countedConn) Write(p []byte) (int, error) {
	c.writes.Add(1)
	return c.Conn.Write(p)
}

// serve starts a handler, with the options that a test changes, and ends it with
// the test.
func serve(t testing.TB, to exactapi.TransportConfig, options ...func(*exactapi.HandlerConfig)) *served {
	t.Helper()
	server := httptest.NewUnstartedServer(nil)
	addr := server.Listener.Addr().String()
	_, port, _ := strings.Cut(addr, ":")
	s := &served{t: t, origin: "http://" + addr, secret: rand.Text(), log: &lockedBuffer{}}
	server.Listener = counted{server.Listener, &s.writes}
	to.Now = func() time.Time { return time.Now().Add(time.Duration(s.ahead.Load())) }
	if to.Token == nil {
		to.Token = constant("upstream-token")
	}
	cfg := exactapi.HandlerConfig{Secret: fault.NewSecret(s.secret), Hosts: []string{addr, "localhost:" + port}, Log: slog.New(slog.NewTextHandler(s.log, nil))}
	for _, option := range options {
		option(&cfg)
	}
	var err error
	if s.Transport, err = exactapi.NewTransport(to); err != nil {
		t.Fatal(err)
	}
	if s.Handler, err = exactapi.NewHandler(s.Transport, cfg); err != nil {
		t.Fatal(err)
	}
	server.Config.Handler = s.Handler
	server.Start()
	s.client = &http.Client{
		Transport:     &http.Transport{MaxIdleConnsPerHost: 200},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	t.Cleanup(func() {
		s.client.CloseIdleConnections()
		server.CloseClientConnections()
		server.Close()
		s.Close()
	})
	return s
}

// TestMain fails if goroutines of the package are left when all tests have ended.
func TestMain(m *testing.M) {
	code := m.Run()
	var all bytes.Buffer
	for end := time.Now().Add(10 * time.Second); ; time.Sleep(10 * time.Millisecond) {
		all.Reset()
		if err := pprof.Lookup("goroutine").WriteTo(&all, 1); err != nil {
			panic(err)
		}
		if !strings.Contains(all.String(), "internal/exactapi.") {
			break
		}
		if time.Now().After(end) {
			fmt.Fprintf(os.Stderr, "goroutines of the proxy are left:\n%s", all.String())
			code = 1
			break
		}
	}
	os.Exit(code)
}

func constant(token string) func(context.Context) (record.Token, error) {
	return func(context.Context) (record.Token, error) {
		return record.Token{Access: fault.NewSecret(token), ExpiresAt: time.Now().Add(10 * time.Minute)}, nil
	}
}

// url is an address with the secret in it.
func (s *served) url(path string) string { return s.origin + "/" + s.secret + path }

// get requests a path and returns status, headers and body.
func (s *served) get(path string) (int, http.Header, string) {
	s.t.Helper()
	status, h, body, err := s.try(context.Background(), http.MethodGet, path, nil, nil)
	if err != nil {
		s.t.Fatal(err)
	}
	return status, h, body
}

func (s *served) try(ctx context.Context, method, path string, body io.Reader, header http.Header) (int, http.Header, string, error) {
	req, err := http.NewRequestWithContext(ctx, method, s.url(path), body)
	if err != nil {
		return 0, nil, "", err
	}
	for name, values := range header {
		req.Header[name] = values
	}
	if req.Header.Get("Accept") == "" {
		req.Header.Set("Accept", "application/json")
	}
	resp, err := s.client.Do(req)
	if err != nil {
		return 0, nil, "", err
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	return resp.StatusCode, resp.Header, string(b), err
}

// refusal is the body of a Refusal.
type refusal struct {
	Code, Message, Hint string
	Retryable           bool
	RetryAt             time.Time `json:"retry_at"`
}

func readRefusal(t testing.TB, body string) refusal {
	t.Helper()
	var r struct{ Error refusal }
	if err := json.Unmarshal([]byte(body), &r); err != nil || r.Error.Code == "" || r.Error.Message == "" {
		t.Fatalf("not a refusal: %q", body)
	}
	return r.Error
}

type lockedBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *lockedBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *lockedBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

const (
	redirect = "http://127.0.0.1:19999/callback"

	mePath        = "/api/v1/current/Me"
	divisionsPath = "/api/v1/123456/system/Divisions"
)

// exact is a simulated Exact Online, and a proxy to it with a login of the real
// client.
type exact struct {
	*served
	sim    *exactsim.Sim
	base   string
	client *exactauth.Client
	calls  atomic.Int64 // of the token source
}

func newExact(t testing.TB, cfg exactsim.Config) *exact {
	t.Helper()
	e := &exact{}
	e.sim = exactsim.New(cfg)
	anna := e.sim.AddCast(redirect).Anna
	anna.Divisions = exactsim.Divisions(130) // three pages
	e.sim.AddUser(anna)
	server := httptest.NewServer(e.sim)
	t.Cleanup(server.Close)
	e.base = server.URL
	e.client = &exactauth.Client{
		Profile:      config.Settings{Name: "p", BaseURL: e.base, ClientID: exactsim.ClientID, RedirectURI: redirect, Listen: "none"},
		Store:        tokenstore.NewFiles(t.TempDir(), nil),
		ClientSecret: func(context.Context) (fault.Secret, error) { return fault.NewSecret(exactsim.ClientSecret), nil },
	}
	e.login(t)
	e.served = serve(t, exactapi.TransportConfig{BaseURL: e.base, Token: e.token})
	return e
}

// login signs in as a person who pastes the code.
func (e *exact) login(t testing.TB) {
	t.Helper()
	code := e.sim.NewCode(exactsim.ClientID, exactsim.AnnaID, redirect)
	_, err := e.client.Login(t.Context(), exactauth.LoginOptions{Paste: strings.NewReader(code + "\n")})
	if err != nil {
		t.Fatal(err)
	}
}

func (e *exact) token(ctx context.Context) (record.Token, error) {
	e.calls.Add(1)
	t, err := e.client.Token(ctx, exactauth.Want{})
	var later *fault.WaitError
	if errors.As(err, &later) {
		err = &exactapi.Refusal{Status: http.StatusServiceUnavailable, Code: "temporary", Message: err.Error(), Until: later.Until}
	} else if err != nil {
		err = &exactapi.Refusal{Status: http.StatusBadGateway, Code: "token", Message: err.Error()}
	}
	return t, err
}

// atOnce runs n requests at the same moment and counts the answers by status.
func atOnce(n int, request func(i int) (int, error)) (statuses map[int]int, failed error) {
	statuses = map[int]int{}
	var all sync.WaitGroup
	var mu sync.Mutex
	start := make(chan struct{})
	for i := range n {
		all.Go(func() {
			<-start
			status, err := request(i)
			mu.Lock()
			defer mu.Unlock()
			statuses[status]++
			if err != nil {
				failed = err
			}
		})
	}
	close(start)
	all.Wait()
	return statuses, failed
}
