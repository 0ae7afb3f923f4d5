package exactapi

import (
	"errors"
	"io"
	"net/http"
	"time"
)

// sender sends a request to Exact when its turn has come, with a live token, and
// once more where that is no second call for Exact: it did not act on the first.
type sender struct{ *Proxy }

// mostTurns is how often a request whose minute was used up by others waits for
// the next one.
const mostTurns = 4

// RoundTrip returns Exact's answer, or a *Refusal.
//
// A refused token (401) is followed by another try only if there is another
// token by now: this one has ended on its way, or somebody has signed in anew.
// The same token would be refused again, and each refusal counts towards a block
// (Exact KB "API limits"); the client gets the 401, which may be about what it
// asked for. If there is none, it gets the reason for that.
func (s sender) RoundTrip(req *http.Request) (*http.Response, error) {
	ctx := req.Context()
	x, ok := ctx.Value(exchangeKey{}).(*exchange)
	if !ok {
		return nil, errors.New("not a request of this proxy")
	}
	renewed := false
	for turn := 1; ; {
		began := time.Now()
		w, err := s.gate.wait(ctx, x.path, turn > 1 || renewed)
		x.waited += time.Since(began)
		if err != nil {
			return nil, err
		}
		token, err := s.tokens.get(ctx)
		if err != nil {
			s.gate.give(w)
			return nil, s.noToken(err)
		}
		resp, err := s.once(req, token, w, x)
		if err != nil {
			return nil, err
		}
		switch {
		case resp.StatusCode == http.StatusSwitchingProtocols:
			discard(resp)
			return nil, errors.New("switched protocols without being asked")
		case resp.StatusCode == http.StatusUnauthorized && !renewed && repeatable(req):
			next, err := s.tokens.get(ctx)
			if err != nil {
				discard(resp)
				return nil, s.noToken(err)
			}
			if next.Access.Reveal() == token.Access.Reveal() {
				return resp, nil
			}
			renewed = true
		case resp.StatusCode == http.StatusTooManyRequests:
			refusal := s.limitOf(resp, x)
			if refusal == nil {
				return resp, nil
			}
			if refusal.Code != "minute_limit" || turn == mostTurns || !repeatable(req) {
				discard(resp)
				return nil, refusal
			}
			turn++
		default:
			return resp, nil
		}
		discard(resp)
	}
}

// once sends the request one time.
func (s sender) once(req *http.Request, token Token, w *waiter, x *exchange) (*http.Response, error) {
	out := req.Clone(req.Context())
	if req.GetBody != nil {
		body, err := req.GetBody()
		if err != nil {
			s.gate.give(w)
			return nil, err
		}
		out.Body = body
	}
	out.Header.Set("Authorization", "Bearer "+token.Access.Reveal())
	resp, err := s.send.RoundTrip(out)
	o := outcome{received: s.cfg.Now()}
	if err == nil {
		o.status, o.header = resp.StatusCode, resp.Header
		// The answer keeps the request; what reads it has no use for the token.
		resp.Request = req
		// Before done lets the next one go, which would else go with the same token.
		if resp.StatusCode == http.StatusUnauthorized {
			s.tokens.refused(token)
		}
	}
	x.minuteLeft, x.dayLeft = s.gate.done(w, o)
	return resp, err
}

// repeatable reports whether the request can be sent a second time: it has no
// body, or one that was kept.
func repeatable(req *http.Request) bool {
	return req.Body == nil || req.Body == http.NoBody || req.GetBody != nil
}

// limitOf says which limit a 429 of Exact's is about, or nil. Its body is empty
// (picqer/exact-php-client#528), so a better one is no loss.
func (s sender) limitOf(resp *http.Response, x *exchange) *Refusal {
	refusal := s.gate.exceeded(x.path)
	if refusal == nil {
		return nil
	}
	refusal.also = http.Header{}
	for name, values := range resp.Header {
		if len(name) > len(limitHeaders) && name[:len(limitHeaders)] == limitHeaders {
			refusal.also[name] = values
		}
	}
	if len(refusal.also) == 0 {
		return nil // not about a limit that we know of
	}
	return refusal
}

// limitHeaders begins the names of six headers, as net/http writes them.
const limitHeaders = "X-Ratelimit-"

// noToken puts an error of Config.Token into an answer.
func (s sender) noToken(err error) error {
	var refusal *Refusal
	switch {
	case errors.As(err, &refusal):
		return refusal
	case s.tokens.ctx.Err() != nil:
		return ending()
	}
	return &Refusal{Status: http.StatusBadGateway, Code: "token", Message: "there is no live access token"}
}

// discard frees the connection of an answer that nobody gets.
func discard(resp *http.Response) {
	_, _ = io.CopyN(io.Discard, resp.Body, 64<<10) // a longer one costs the connection
	resp.Body.Close()
}
