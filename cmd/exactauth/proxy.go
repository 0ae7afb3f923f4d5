package main

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"time"

	"github.com/spf13/cobra"

	"github.com/exactauth/exactauth/internal/config"
	"github.com/exactauth/exactauth/internal/exactapi"
	"github.com/exactauth/exactauth/internal/exactauth"
	"github.com/exactauth/exactauth/internal/fault"
	"github.com/exactauth/exactauth/internal/record"
	"github.com/exactauth/exactauth/internal/term"
)

type proxyOptions struct {
	port     int
	socket   string
	readOnly bool
}

func (a *app) proxyCmd() *cobra.Command {
	var o proxyOptions
	cmd := &cobra.Command{
		Use:   "proxy [flags] [-- CMD [ARG...]]",
		Short: "A local address of Exact Online that adds a live token",
		Long: `Listens on 127.0.0.1 and passes requests on to Exact Online with a live access
token, for programs that cannot sign in (Excel, Power Query, curl, Postman) and for
jobs that outlive a token. It keeps Exact's limits: when the calls of a minute are
used up it waits for the next minute; when those of the day are, it answers 429 with
the time to retry; and it stops requests to an endpoint before their errors block the
app.

Without CMD it prints an address with a secret in it, which is all that a client
needs, and serves until Ctrl-C. With CMD it runs that command with EXACT_BASE_URL set
to the address and EXACT_DIVISION set to the pinned division, if there is one, and
ends with the command's exit code; the command gets no token.

A client sends the secret as the first part of the path or, to the address without
it, as "Authorization: Bearer SECRET". Requests of web pages, and those to other names
of this machine, are refused. --timeout limits each wait for a token, not the proxy.

When the login ends, requests are answered with 502 until you sign in again.`,
		Example: `  exactauth proxy
  exactauth proxy --read-only -- python3 export.py
  (umask 077; exactauth proxy --json --port 8765 >proxy.json) &
  jq -r '"url=\(.url)/api/v1/current/Me"' proxy.json | # once it has its line
      curl -H "Accept: application/json" -K -`,
		RunE: withCommand(func(ctx context.Context, command []string) error { return a.proxy(ctx, o, command) }),
	}
	f := cmd.Flags()
	f.IntVar(&o.port, "port", 0, "port of 127.0.0.1 to listen on; 0 takes a free one")
	f.StringVar(&o.socket, "socket", "", "listen on a Unix socket of this path, mode 0600, instead of a port")
	f.BoolVar(&o.readOnly, "read-only", false, "allow only GET and HEAD")
	return cmd
}

// proxyGrace is how long requests in flight may go on when the proxy ends: less than
// the ten seconds that container engines allow.
const proxyGrace = 8 * time.Second

func (a *app) proxy(ctx context.Context, o proxyOptions, command []string) error {
	switch {
	case o.port < 0 || o.port > 65535:
		return usagef("--port %d: want 0 to 65535", o.port)
	case o.socket != "" && o.port != 0:
		return usagef("--socket and --port: use one of them")
	case o.socket != "" && len(command) > 0:
		return usagef("--socket and a command: a command gets an address with a port")
	}
	var path string
	var err error
	if len(command) > 0 {
		if path, err = findCommand(command[0], command[1:]...); err != nil {
			return err
		}
	}
	p, c, err := a.current(ctx)
	if err != nil {
		return err
	}
	a.Shared = true // with the proxy's messages, or with the command
	source := &tokenSource{app: a, client: c}
	c.Notice = source.notice
	c.WaitUnlocked = nil // what waits on after its time would add up in a process that lives for months
	// Without a login nothing listens.
	if _, err := source.token(ctx); err != nil {
		return err
	}
	r := proxyReady{Secret: rand.Text(), PID: os.Getpid()}
	listener, err := r.listen(o)
	if err != nil {
		return err
	}
	defer listener.Close()
	server, err := newProxyServer(exactapi.TransportConfig{BaseURL: p.BaseURL, Token: source.forProxy},
		exactapi.HandlerConfig{Secret: fault.NewSecret(r.Secret), Hosts: r.hosts, ReadOnly: o.readOnly, Log: a.logger()})
	if err != nil {
		return err
	}
	grace := time.Duration(0)
	defer func() { server.end(grace) }()
	served := make(chan error, 1)
	go func() { served <- server.Serve(listener) }()

	if len(command) > 0 {
		return a.runChild(ctx, path, command, envWith(map[string]string{
			envBaseURL:   r.URL,
			envDivision:  divisionText(p.Division),
			envToken:     "",
			envExpiresAt: "",
		}))
	}
	if err := a.printReady(p, r); err != nil {
		return err
	}
	select {
	case <-ctx.Done():
		if n := server.handler.Active(); n > 0 {
			a.Say("exactauth: ending within %s; requests in flight: %d", proxyGrace, n)
		}
		grace = proxyGrace
		return context.Cause(ctx)
	case err := <-served:
		return fmt.Errorf("the listener: %w", err)
	}
}

// proxyReady is what a client of the proxy must know.
type proxyReady struct {
	URL    string `json:"url"` // usable as it is: the secret is in its path
	Secret string `json:"secret"`
	PID    int    `json:"pid"`
	Socket string `json:"socket,omitempty"`

	origin string   // the URL without the secret
	hosts  []string // names that clients use for the listener; nil for any
}

// listen listens on the IPv4 loopback address, which only this machine reaches, or
// on a socket, which only this user reaches.
func (r *proxyReady) listen(o proxyOptions) (l net.Listener, err error) {
	address := "localhost" // means nothing on a socket, but a URL needs a name
	if o.socket != "" {
		if r.Socket, err = filepath.Abs(o.socket); err != nil { // clients may run in another directory
			return nil, usagef("--socket: %w", err)
		}
		l, err = listenSocket(r.Socket)
	} else if l, err = net.Listen("tcp4", net.JoinHostPort("127.0.0.1", strconv.Itoa(o.port))); err == nil {
		port := strconv.Itoa(l.Addr().(*net.TCPAddr).Port)
		address = "127.0.0.1:" + port
		r.hosts = []string{address, "localhost:" + port}
	} else {
		err = &hinted{usagef("--port %d: %w", o.port, withoutAddress(err)), "use another port, or omit --port to take a free one"}
	}
	r.origin = "http://" + address
	r.URL = r.origin + "/" + r.Secret
	return l, err
}

// withoutAddress returns the cause of a network error, without the address in its
// text.
func withoutAddress(err error) error {
	if op := (*net.OpError)(nil); errors.As(err, &op) {
		return op.Err
	}
	return err
}

// printReady prints how to reach the proxy, once that is possible. Nothing else
// prints the secret: whoever can read it can use the login.
func (a *app) printReady(p config.Settings, r proxyReady) error {
	if a.JSON {
		line, _ := json.Marshal(r)          // never fails for strings and a number
		return a.Print(string(line) + "\n") // one line, because a program reads a line, not a file
	}
	var ways term.Table
	if r.Socket != "" {
		ways.Add("Socket", r.Socket)
	}
	ways.Add("Address", r.URL)
	ways.Add("or address", r.origin)
	ways.Add("with header", "Authorization: Bearer "+r.Secret)
	return a.Print(fmt.Sprintf("Passing requests on to %s with the login of profile %s, until Ctrl-C.\n\n%s", p.BaseURL, p.Name, ways))
}

// proxyServer is a running proxy.
type proxyServer struct {
	http.Server
	transport *exactapi.Transport
	handler   *exactapi.Handler
}

func newProxyServer(to exactapi.TransportConfig, cfg exactapi.HandlerConfig) (s *proxyServer, err error) {
	s = &proxyServer{Server: http.Server{
		ReadHeaderTimeout: 10 * time.Second,
		IdleTimeout:       2 * time.Minute,
		// No time limit for bodies: a gigabyte takes as long as it takes.
		ErrorLog: log.New(io.Discard, "", 0), // it would have a line for each stranger's broken request
	}}
	if s.transport, err = exactapi.NewTransport(to); err == nil {
		s.handler, err = exactapi.NewHandler(s.transport, cfg)
	}
	s.Handler = s.handler
	return s, err
}

// end stops listening, gives requests in flight some time, and waits for a refresh
// that is under way: its answer is the only copy of the next refresh token.
func (s *proxyServer) end(grace time.Duration) {
	s.transport.Drain()
	if grace > 0 {
		ctx, cancel := context.WithTimeout(context.Background(), grace)
		defer cancel()
		_ = s.Shutdown(ctx) // Close ends what is left after that
	}
	_ = s.Close()
	s.transport.Close()
}

// tokenSource gets the proxy's tokens. It reports on stderr, once each, when there
// is no token any more and when there is one again. The proxy calls it from one
// goroutine at a time.
type tokenSource struct {
	app     *app
	client  *exactauth.Client
	failing bool      // the last call got no token
	noted   time.Time // when a notice was last passed on
}

func (s *tokenSource) token(ctx context.Context) (record.Token, error) {
	return s.app.liveToken(ctx, s.client, exactauth.Want{})
}

// notice prints a note, but not one for every second in which there are requests.
func (s *tokenSource) notice(text string) {
	if now := time.Now(); now.Sub(s.noted) >= time.Minute {
		s.noted = now
		s.app.Note(text)
	}
}

// forProxy is the Token of exactapi.TransportConfig.
func (s *tokenSource) forProxy(ctx context.Context) (record.Token, error) {
	t, err := s.token(ctx)
	if ctx.Err() != nil { // the proxy is ending
		return t, err
	}
	failed := s.failing
	s.failing = err != nil
	if err != nil {
		refusal := s.refusal(err)
		if !failed {
			hint := refusal.Hint
			if hint != "" {
				hint = ": " + hint
			}
			s.app.Say("exactauth: %s", fault.Line(err.Error()))
			s.app.Say("exactauth: hint: requests are answered with %d until that is fixed%s", refusal.Status, fault.Line(hint))
		}
		return t, refusal
	}
	if failed {
		s.app.Note("there is a live token again")
	}
	return t, nil
}

// refusal is the HTTP answer that corresponds to the exit code and the words on
// stderr. What only a person can fix is a 502, because a client takes a 401 for a
// fault of its own and asks for another password; what ends by itself is a 503, with
// the time to retry.
func (s *tokenSource) refusal(err error) *exactapi.Refusal {
	code := codeOf(err)
	name, _ := code.words()
	r := &exactapi.Refusal{Status: http.StatusBadGateway, Code: name, Message: err.Error()}
	if !retryable(err) {
		r.Hint = s.app.hint(err)
		return r
	}
	// How long a network is away is unknown; the client has tried more than once already.
	const unknown = 30 * time.Second
	r.Status, r.Until = http.StatusServiceUnavailable, time.Now().Add(unknown)
	if later := (*fault.WaitError)(nil); errors.As(err, &later) {
		r.Until = later.Until
	}
	return r
}
