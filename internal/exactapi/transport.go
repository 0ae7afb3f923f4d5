// Package exactapi sends requests to Exact Online's REST API with a live access
// token and within Exact's limits. Its three parts work without each other:
//
//   - [Transport] is an [http.RoundTripper] that adds the token, waits for Exact's
//     limits, gets another token once when Exact refuses the first one, and can repeat
//     a GET.
//   - [Client] and [Records] read collections, page after page.
//   - [Handler] is a reverse proxy on a loopback address, for programs that cannot
//     sign in and for jobs that outlive a token.
//
// Facts about Exact are cited where they are used. "Exact KB" is Exact's
// knowledge base; a name with a number is an issue of a public client library,
// such as picqer/exact-php-client#646.
package exactapi

import (
	"context"
	"errors"
	"io"
	"maps"
	"net/http"
	"net/url"
	"time"

	"github.com/exactauth/exactauth/internal/fault"
	"github.com/exactauth/exactauth/internal/network"
	"github.com/exactauth/exactauth/internal/record"
)

// TransportConfig has what a [Transport] needs.
type TransportConfig struct {
	// BaseURL is the one server that gets requests, as scheme and host:
	// "https://start.exactonline.nl".
	BaseURL string

	// Token returns a live access token. One goroutine at a time calls it, as
	// often as once a second while there are requests, because only the source
	// knows when a token is due and whether the user has signed in or out. Its
	// context ends with [Transport.Close] and not with a request: a request that
	// is cancelled must not cancel the token of the others. If the error is a
	// *Refusal whose Until is seconds away, Token is called again at that time,
	// and requests wait for it.
	Token func(ctx context.Context) (record.Token, error)

	// Agent is the User-Agent of requests that name none.
	Agent string

	// Repeat sends a GET or HEAD twice more, after pauses, if the answer is a 408 or a
	// 5xx or does not come, and later if it is a 429 with a Retry-After. Other methods
	// are never repeated: Exact may have carried them out. A proxy leaves this to its
	// clients.
	Repeat bool

	// Waiting is called before each wait, and over after it: for a limit that ends at
	// until, or for an answer if until is zero. Nil is allowed.
	Waiting func(ctx context.Context, until time.Time) (over func())

	// Now is the clock; nil is time.Now.
	Now func() time.Time
}

// Transport sends requests to one server, each with a live token and when Exact's
// limits allow it. It is safe for concurrent use.
type Transport struct {
	base    string
	next    *network.Transport
	now     func() time.Time
	waiting func(ctx context.Context, until time.Time) (over func())
	tokens  *tokens
	gate    *gate
	pauses  []time.Duration // before each repetition of a GET
}

// NewTransport returns a transport, or an error if the base URL is not scheme and
// host.
func NewTransport(cfg TransportConfig) (*Transport, error) {
	if u, err := url.Parse(cfg.BaseURL); err != nil || u.Host == "" || u.Scheme+"://"+u.Host != cfg.BaseURL {
		return nil, errors.New("base URL: want scheme and host only")
	}
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	if cfg.Waiting == nil {
		cfg.Waiting = inSilence
	}
	next := network.New(cfg.Agent)               // which limits the time to a first byte alone, and not that of a body
	next.ResponseHeaderTimeout = 5 * time.Minute // Exact works on a broad query for minutes, then answers 408
	next.MaxIdleConnsPerHost = 64
	t := &Transport{base: cfg.BaseURL, next: next, now: cfg.Now, waiting: cfg.Waiting, tokens: newTokens(cfg.Token, cfg.Now), gate: newGate(cfg.Now, cfg.Waiting)}
	if cfg.Repeat {
		t.pauses = []time.Duration{time.Second, 3 * time.Second}
	}
	return t, nil
}

// Client returns a client that sends its requests with t.
func (t *Transport) Client() *Client {
	return &Client{BaseURL: t.base, HTTP: &http.Client{Transport: t}, pauses: t.pauses, gate: t.gate}
}

func inSilence(context.Context, time.Time) (over func()) { return func() {} }

// Drain refuses, with 503, every request that has not been sent yet: new ones and
// those that wait for a limit. Requests that have been sent are completed.
func (t *Transport) Drain() { t.gate.close() }

func ending() *Refusal {
	return &Refusal{Status: http.StatusServiceUnavailable, Code: "ending", Message: "the proxy is ending"}
}

// Close drains the transport, ends the context of a call of Token that is under
// way, and waits for that call: it may be about to save the only copy of the next
// refresh token.
func (t *Transport) Close() {
	t.Drain()
	t.tokens.close()
	t.next.CloseIdleConnections()
}

// report is what a transport notes about one request.
type report struct {
	waited              time.Duration // for a limit
	minuteLeft, dayLeft int           // calls that Exact still allows; -1 if unknown
}

// sourceError is an error of the token source, as opposed to one of the network.
type sourceError struct{ error }

func (e sourceError) Unwrap() error { return e.error }

// RoundTrip returns Exact's answer. The error is a *Refusal if a limit forbids the
// request, the error of the token source, or that of the network.
//
// A refused token (401) is followed by a second try only if there is another token
// by now: the first one has expired on the way, or the user has signed in again.
// Exact would refuse the same token again, and each refusal counts towards a block
// (Exact KB "API limits"). The caller then gets the 401, which may be about what it
// asked for. If the source has no token at all, the caller gets the source's error.
func (t *Transport) RoundTrip(req *http.Request) (*http.Response, error) {
	return t.roundTrip(req, &report{})
}

// mostMinutes limits how often a request is sent because other programs had used up
// the minute before.
const mostMinutes = 4

func (t *Transport) roundTrip(req *http.Request, r *report) (*http.Response, error) {
	sent := 0
	defer func() {
		if sent == 0 && req.Body != nil {
			req.Body.Close() // as http.RoundTripper demands
		}
	}()
	if !below(t.base, req.URL) {
		return nil, fault.New(fault.ErrConfig, "an address that is not below %s gets no token", t.base)
	}
	ctx := req.Context()
	renewed, pauses := false, t.pauses
	for minutes := 1; ; {
		began := time.Now()
		turn, err := t.gate.wait(ctx, req.URL.Path, sent > 0)
		r.waited += time.Since(began)
		if err != nil {
			return nil, err
		}
		token, err := t.token(ctx)
		if err != nil {
			t.gate.done(turn, nil, time.Time{})
			return nil, err
		}
		sent++
		over := t.waiting(ctx, time.Time{})
		resp, limit, err := t.once(req, sent > 1, token, turn, r)
		over()
		if len(pauses) > 0 && IsRead(req.Method) && repeatable(req) {
			if pause := t.pause(resp, err, pauses[0]); pause > 0 && lastsFor(ctx, pause) && ctx.Err() == nil {
				pauses = pauses[1:]
				if resp != nil {
					discard(resp)
				}
				if err := fault.Pause(ctx, pause); err != nil {
					return nil, err
				}
				continue
			}
		}
		if err != nil {
			return nil, err
		}
		switch {
		case resp.StatusCode == http.StatusSwitchingProtocols:
			discard(resp)
			return nil, errors.New("switched protocols without being asked")
		case resp.StatusCode == http.StatusUnauthorized && !renewed && repeatable(req):
			next, err := t.token(ctx)
			if err != nil {
				discard(resp)
				return nil, err
			}
			if next.Access.Reveal() == token.Access.Reveal() {
				return resp, nil
			}
			renewed = true
		case limit == nil, limit.Code == held && t.pauses == nil: // a proxy's client gets Exact's own answer
			return resp, nil
		case minutes == mostMinutes || !repeatable(req) || limit.Code != minuteLimit && !limit.named:
			discard(resp)
			return nil, limit
		default:
			minutes++
		}
		discard(resp)
		if limit != nil && limit.named {
			if err := t.await(ctx, limit); err != nil {
				return nil, err
			}
		}
	}
}

// await waits until a limit ends. It returns the limit at once if that would be too
// late.
func (t *Transport) await(ctx context.Context, limit *Refusal) error {
	wait := limit.Until.Sub(t.now())
	if wait > longestQueue || !lastsFor(ctx, wait) {
		return limit
	}
	defer t.waiting(ctx, limit.Until)()
	return fault.Pause(ctx, wait)
}

// lastsFor reports whether ctx lasts for d.
func lastsFor(ctx context.Context, d time.Duration) bool {
	end, ends := ctx.Deadline()
	return !ends || time.Until(end) > d
}

// longestPause limits how long a server can ask a GET to wait before it is repeated.
const longestPause = 10 * time.Second

// pause returns how long to wait before a GET is repeated, at least usual, or 0 if its
// answer or error is one to return.
func (t *Transport) pause(resp *http.Response, err error, usual time.Duration) time.Duration {
	if err != nil {
		if network.Lasts(err) {
			return 0
		}
		return usual
	}
	if resp.StatusCode != http.StatusRequestTimeout && resp.StatusCode/100 != 5 {
		return 0
	}
	pause := max(usual, fault.RetryAfter(resp.Header.Get("Retry-After"), t.now()))
	if pause > longestPause {
		return 0
	}
	return pause
}

// IsRead reports whether a method changes nothing at Exact.
func IsRead(method string) bool { return method == http.MethodGet || method == http.MethodHead }

// once sends the request and ends its turn. The refusal is the limit that an
// answer 429 is about; it is nil for other answers.
func (t *Transport) once(req *http.Request, again bool, token record.Token, turn *turn, r *report) (*http.Response, *Refusal, error) {
	out := req.WithContext(req.Context()) // a copy
	out.Header = maps.Clone(req.Header)
	if again && req.GetBody != nil {
		body, err := req.GetBody()
		if err != nil {
			t.gate.done(turn, nil, time.Time{})
			return nil, nil, err
		}
		out.Body = body
	}
	out.Header.Set("Authorization", "Bearer "+token.Access.Reveal())
	resp, err := t.next.RoundTrip(out)
	received := t.now()
	if err == nil {
		resp.Request = req // without the token: the answer keeps its request
		// Before done, which lets the next request go: that must not take the same token.
		if resp.StatusCode == http.StatusUnauthorized {
			t.tokens.refused(token)
		}
	}
	var limit *Refusal
	r.minuteLeft, r.dayLeft, limit = t.gate.done(turn, resp, received)
	return resp, limit, err
}

// repeatable reports whether the request can be sent a second time: it has no
// body, or a body that can be read again.
func repeatable(req *http.Request) bool {
	return req.Body == nil || req.Body == http.NoBody || req.GetBody != nil
}

// below reports whether u is an address of the server with the base URL.
func below(base string, u *url.URL) bool {
	return u.Scheme+"://"+u.Host == base && u.User == nil
}

func (t *Transport) token(ctx context.Context) (record.Token, error) {
	token, err := t.tokens.get(ctx)
	var refusal *Refusal
	switch {
	case err == nil, ctx.Err() != nil:
		return token, err
	case errors.As(err, &refusal):
		return record.Token{}, refusal
	case t.tokens.ctx.Err() != nil:
		return record.Token{}, ending()
	}
	return record.Token{}, sourceError{err}
}

// discard reads the rest of an answer, so that its connection can be used again.
func discard(resp *http.Response) {
	_, _ = io.CopyN(io.Discard, resp.Body, 64<<10) // a longer one costs the connection
	resp.Body.Close()
}
