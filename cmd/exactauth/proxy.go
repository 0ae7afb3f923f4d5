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
	"sync"
	"time"

	"github.com/spf13/cobra"

	"github.com/exactauth/exactauth/internal/config"
	"github.com/exactauth/exactauth/internal/exactapi"
	"github.com/exactauth/exactauth/internal/exactauth"
	"github.com/exactauth/exactauth/internal/fault"
)

type proxyOptions struct {
	port     int
	socket   string
	readOnly bool
}

func (a *app) proxyCmd() *cobra.Command {
	var o proxyOptions
	cmd := &cobra.Command{
		Use:     "proxy [flags] [-- CMD [ARG...]]",
		GroupID: "daily",
		Short:   "A local address of Exact Online that adds a live token",
		Long: `Listens on 127.0.0.1 and passes requests on to Exact Online with a live access
token, for programs that cannot sign in (Excel, Power Query, curl, Postman) and for
jobs that outlive a token. It keeps to Exact's limits: it waits for the next minute
when the calls of this one are used up, answers 429, with the time to come back,
when the day's are, and stops asking an endpoint before its errors block the app.

Alone it prints an address with a secret in it, which is all that a client needs, and
serves until Ctrl-C. With CMD it runs that, EXACT_BASE_URL being that address and
EXACT_DIVISION the profile's pinned division if there is one, and ends with it and
with its exit code; CMD gets no token.

A client shows the secret by the first part of the path, or on the bare address by
"Authorization: Bearer SECRET". Web pages and other names for this machine are
refused. --timeout is for each wait for a token, not for the proxy.

When the login ends, requests are answered with 502 until somebody signs in.`,
		Example: `  exactauth proxy
  exactauth proxy --read-only -- python3 export.py
  (umask 077; exactauth proxy --json --port 8765 >proxy.json) &
  jq -r '"url=\(.url)/api/v1/current/Me"' proxy.json | # once it is there
      curl -H "Accept: application/json" -K -`,
		RunE: func(cmd *cobra.Command, args []string) error {
			command, err := commandOf(cmd, args)
			if err != nil {
				return err
			}
			return a.proxy(cmd.Context(), o, command)
		},
	}
	f := cmd.Flags()
	f.IntVar(&o.port, "port", 0, "port of 127.0.0.1 to listen on; 0 is a free one")
	f.StringVar(&o.socket, "socket", "", "listen on a Unix socket of this path, mode 0600, instead of a port")
	f.BoolVar(&o.readOnly, "read-only", false, "let only GET and HEAD through")
	return cmd
}

// proxyGrace is how long requests that are under way may go on when the proxy is
// to end: less than the ten seconds that container engines give.
const proxyGrace = 8 * time.Second

func (a *app) proxy(ctx context.Context, o proxyOptions, command []string) error {
	switch {
	case o.port < 0 || o.port > 65535:
		return usagef("--port %d: want 0 to 65535", o.port)
	case o.socket != "" && o.port != 0:
		return usagef("--socket and --port: give one of them")
	case o.socket != "" && len(command) > 0:
		return usagef("--socket and a command: a command gets an address with a port")
	}
	if o.socket != "" { // clients may be in another directory
		var err error
		if o.socket, err = filepath.Abs(o.socket); err != nil {
			return usagef("--socket: %w", err)
		}
	}
	var path string
	if len(command) > 0 {
		var err error
		if path, err = findCommand(command[0]); err != nil {
			return err
		}
	}
	p, c, err := a.current()
	if err != nil {
		return err
	}
	a.Shared = true // with what the proxy tells, or with the command
	source := &tokenSource{app: a, client: c}
	c.Notice = source.notice
	// Without a login nothing listens.
	if _, err := source.token(ctx); err != nil {
		return err
	}
	listener, err := a.listenProxy(o)
	if err != nil {
		return err
	}
	defer listener.Close()
	secret := rand.Text()
	address := proxyAddress(listener)
	server, err := a.newProxyServer(source, p.BaseURL, o, address, secret)
	if err != nil {
		return err
	}
	served := make(chan error, 1)
	go func() { served <- server.Serve(listener) }()

	url := "http://" + address + "/" + secret
	if len(command) > 0 {
		err = a.runChild(ctx, path, command, withEnv(os.Environ(), map[string]string{
			envBaseURL:   url,
			envDivision:  divisionText(p.Division),
			envToken:     "",
			envExpiresAt: "",
		}))
		server.end(0) // its only client has ended
		return err
	}
	if err := a.announceProxy(p, url, address, secret, o.socket); err != nil {
		server.end(0)
		return err
	}
	select {
	case <-ctx.Done():
		if n := server.handler.Active(); n > 0 {
			a.Say("exactauth: ending; %d under way may take %s yet", n, proxyGrace)
		}
		server.end(proxyGrace)
		return context.Cause(ctx)
	case err := <-served:
		server.end(0)
		return fmt.Errorf("the listener: %w", err)
	}
}

// announceProxy tells how the proxy is reached, once it can be. This is the one
// place that shows the secret: whoever reads it is to use it.
func (a *app) announceProxy(p config.Settings, url, address, secret, socket string) error {
	if a.JSON {
		line, err := json.Marshal(struct {
			URL    string `json:"url"`
			Secret string `json:"secret"`
			PID    int    `json:"pid"`
			Socket string `json:"socket,omitempty"`
		}{url, secret, os.Getpid(), socket})
		if err != nil {
			return err
		}
		return a.Print(string(line) + "\n") // one line: a program reads that, not a file
	}
	where := ""
	if socket != "" {
		where = " on the socket " + socket
	}
	return a.Print(fmt.Sprintf("Profile %s at %s, until Ctrl-C%s: %s\nThe same with the header Authorization: Bearer %s: http://%s\n",
		p.Name, p.BaseURL, where, url, secret, address))
}

// proxyAddress is the authority by which clients reach the listener. On a socket
// the name means nothing, but addresses need one.
func proxyAddress(l net.Listener) string {
	if at, ok := l.Addr().(*net.TCPAddr); ok {
		return at.String()
	}
	return "localhost"
}

// listenProxy listens on the IPv4 loopback address, which only this machine
// reaches, or on a socket, which only this user does.
func (a *app) listenProxy(o proxyOptions) (net.Listener, error) {
	if o.socket != "" {
		return listenSocket(o.socket)
	}
	l, err := net.Listen("tcp4", net.JoinHostPort("127.0.0.1", strconv.Itoa(o.port)))
	var op *net.OpError
	if errors.As(err, &op) {
		err = op.Err
	}
	if err != nil {
		return nil, &hinted{usagef("--port %d: %w", o.port, err), "take another port, or leave --port out for a free one"}
	}
	return l, nil
}

// proxyServer is a running proxy.
type proxyServer struct {
	*http.Server
	transport *exactapi.Transport
	handler   *exactapi.Handler
}

func (a *app) newProxyServer(source *tokenSource, baseURL string, o proxyOptions, address, secret string) (*proxyServer, error) {
	transport, err := exactapi.NewTransport(exactapi.TransportConfig{BaseURL: baseURL, Token: source.forProxy})
	if err != nil {
		return nil, err
	}
	var hosts []string // any, on a socket: no browser can reach it
	if _, port, err := net.SplitHostPort(address); err == nil {
		hosts = []string{"127.0.0.1:" + port, "localhost:" + port}
	}
	handler, err := exactapi.NewHandler(transport, exactapi.HandlerConfig{
		Secret: fault.NewSecret(secret), Hosts: hosts, ReadOnly: o.readOnly, Log: a.logger()})
	if err != nil {
		return nil, err
	}
	return &proxyServer{&http.Server{
		Handler:           handler,
		ReadHeaderTimeout: 10 * time.Second,
		IdleTimeout:       2 * time.Minute,
		// No time limit for bodies: a gigabyte takes as long as it takes.
		ErrorLog: log.New(io.Discard, "", 0), // it would have a line for each stranger's broken request
	}, transport, handler}, nil
}

// end stops listening, lets requests in flight go on for the time of grace, and waits for
// a refresh that is under way, whose answer is the only copy of the next refresh token.
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

// tokenSource gives the proxy its tokens, and tells the person, once each, when
// there are none any more and when there are some again.
type tokenSource struct {
	app    *app
	client *exactauth.Client

	mu    sync.Mutex
	ill   bool      // the last token was not to be had
	noted time.Time // when a notice was passed on last
}

func (s *tokenSource) token(ctx context.Context) (t exactauth.Token, err error) {
	err = s.app.within(ctx, defaultTimeout, func(ctx context.Context) (err error) {
		t, err = s.client.Token(ctx, exactauth.Want{})
		return err
	})
	return t, err
}

// notice passes a note on, but not one for every second in which there are
// requests.
func (s *tokenSource) notice(text string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if now := time.Now(); now.Sub(s.noted) >= time.Minute {
		s.noted = now
		s.app.Note(text)
	}
}

// forProxy is exactapi's Config.Token.
func (s *tokenSource) forProxy(ctx context.Context) (exactapi.Token, error) {
	t, err := s.token(ctx)
	if ctx.Err() != nil { // the proxy is ending
		return exactapi.Token{}, err
	}
	s.mu.Lock()
	was := s.ill
	s.ill = err != nil
	s.mu.Unlock()
	if err != nil {
		refusal := s.refusal(err)
		if !was {
			s.app.Say("exactauth: %v", err)
			s.app.Say("exactauth: hint: requests are answered with %d until that is mended%s", refusal.Status, colon(refusal.Hint))
		}
		return exactapi.Token{}, refusal
	}
	if was {
		s.app.Note("there is a live token again")
	}
	return exactapi.Token{Access: t.AccessToken, Expires: t.ExpiresAt}, nil
}

// refusal says by HTTP what else the exit code and the words on stderr say. What
// only a person can mend is a 502, since a client takes a 401 for a fault of its
// own and asks for another password; what passes by itself is a 503, with the
// time to come back.
func (s *tokenSource) refusal(err error) *exactapi.Refusal {
	code := codeOf(err)
	name, _ := code.words()
	r := &exactapi.Refusal{Status: http.StatusBadGateway, Code: name, Message: err.Error()}
	if code != exitTemporary {
		r.Hint = s.app.hint(err)
		return r
	}
	// Nobody knows how long a network is away; each call has tried more than once.
	const unknown = 30 * time.Second
	r.Status, r.Until = http.StatusServiceUnavailable, time.Now().Add(unknown)
	var later *fault.WaitError
	if errors.As(err, &later) {
		r.Until = later.Until
	}
	return r
}

func colon(text string) string {
	if text == "" {
		return ""
	}
	return ": " + text
}
