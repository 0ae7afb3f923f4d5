package auth0

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/exactauth/exactauth/internal/fault"
	"github.com/exactauth/exactauth/internal/network"
)

const (
	requestLimit = 30 * time.Second // for one request
	maxAnswer    = 4 << 20          // 1000 clients with their callbacks
	maxTries     = 3                // of a request that meets the rate limit
	maxPause     = 30 * time.Second // before one of them; a free tenant's limit is per second
)

// Server is one domain of a tenant, and how to send requests to it.
type Server struct {
	Domain Domain

	// HTTP makes every request; redirects are never followed. Optional.
	HTTP *http.Client

	// Now is the clock, also for the validity of tokens. Optional.
	Now func() time.Time

	// Waiting is called before a wait for Auth0's rate limit, with what is awaited and
	// when it ends. It returns a function that is called when the wait is over. Optional.
	Waiting func(ctx context.Context, what string, until time.Time) (over func())

	// Log records requests for debugging. It gets no secrets. Optional.
	Log *slog.Logger
}

func (s Server) now() time.Time {
	if s.Now != nil {
		return s.Now()
	}
	return time.Now()
}

// request is one call of an endpoint. Its body is encoded by contentType already; body
// and bearer may hold secrets.
type request struct {
	method, path string // path begins with "/" and includes the query
	bearer       fault.Secret
	contentType  string
	body         fault.Secret
}

func formRequest(path string, form url.Values) request {
	return request{method: http.MethodPost, path: path, contentType: "application/x-www-form-urlencoded", body: fault.NewSecret(form.Encode())}
}

// ask sends a request and decodes the answer's JSON into answer, unless that is nil. If
// the server refuses, the error is what refused makes of it.
func (s Server) ask(ctx context.Context, r request, answer any, refused func(*fault.ServerError) error) error {
	body, err := s.send(ctx, r)
	if refusal, ok := err.(*fault.ServerError); ok {
		return refused(refusal)
	}
	if err == nil && answer != nil && json.Unmarshal(body, answer) != nil {
		err = fault.New(fault.ErrTemporary, "the answer of %s cannot be read: it is %s", s.Domain,
			cmp.Or(network.Stranger(http.StatusOK, nil, body), "no JSON, or of an unknown form"))
	}
	return err
}

// send returns the body of an answer with status 2xx, or a bare *fault.ServerError if
// the server refuses. At the rate limit it waits until the reset that Auth0 names, twice
// at most: the server did not carry out a request that it refused for that reason.
func (s Server) send(ctx context.Context, r request) ([]byte, error) {
	for try := 1; ; try++ {
		answer, body, err := s.once(ctx, r)
		if err != nil {
			return nil, err
		}
		refusal := serverError(answer.StatusCode, body)
		refusal.Description = cmp.Or(refusal.Description, network.Stranger(answer.StatusCode, answer.Header, body))
		switch status := answer.StatusCode; {
		case status/100 == 2:
			return body, nil
		case status/100 == 5:
			return nil, fault.Wrap(fault.ErrTemporary, refusal, "%s failed to answer", s.Domain)
		case status/100 == 3:
			// The redirect's target would get the token or secret too.
			return nil, fault.Wrap(fault.ErrTemporary, refusal, "%s answered with a redirect, which is not followed", s.Domain)
		case status != http.StatusTooManyRequests:
			return nil, refusal
		}
		until := s.limitReset(answer.Header)
		pause := until.Sub(s.now())
		end, limited := ctx.Deadline()
		if try == maxTries || pause > maxPause || limited && time.Until(end) < pause {
			wait := &fault.WaitError{For: "Auth0's rate limit resets", Until: until}
			return nil, fault.With(fault.Wrap(fault.ErrTemporary, wait, "%s accepts no more requests now", s.Domain), refusal)
		}
		over := func() {}
		if s.Waiting != nil {
			over = s.Waiting(ctx, "Auth0 accepts requests again", until)
		}
		err = fault.Pause(ctx, pause)
		over()
		if err != nil {
			return nil, err
		}
	}
}

func (s Server) once(ctx context.Context, r request) (*http.Response, []byte, error) {
	req, err := http.NewRequestWithContext(ctx, r.method, s.Domain.origin+r.path, strings.NewReader(r.body.Reveal()))
	if err != nil {
		return nil, nil, err
	}
	req.Header.Set("Accept", "application/json")
	if r.contentType != "" {
		req.Header.Set("Content-Type", r.contentType)
	}
	if !r.bearer.IsZero() {
		req.Header.Set("Authorization", "Bearer "+r.bearer.Reveal())
	}
	client := *cmp.Or(s.HTTP, http.DefaultClient)
	client.Timeout = requestLimit
	client.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	what := "cannot reach %s"
	resp, err := client.Do(req)
	var body []byte
	if err == nil {
		defer resp.Body.Close()
		if s.Log != nil {
			s.Log.Debug("asked Auth0", "method", r.method, "path", req.URL.Path, "status", resp.StatusCode)
		}
		what = "the answer of %s broke off"
		body, err = io.ReadAll(io.LimitReader(resp.Body, maxAnswer)) // a body that is cut off is no valid JSON
	}
	switch {
	case err != nil && errors.Is(ctx.Err(), context.Canceled):
		return nil, nil, context.Cause(ctx)
	case err != nil:
		return nil, nil, fault.Wrap(fault.ErrTemporary, network.Explain(err), what, s.Domain)
	}
	return resp, body, nil
}

// limitReset returns when Auth0 accepts requests again, by the local clock
// (X-RateLimit-Reset, in seconds of the epoch; Auth0 docs, "Rate limits"). The header
// is by the server's clock, so it is compared with the server's own date.
func (s Server) limitReset(h http.Header) time.Time {
	now := s.now()
	if seconds, err := strconv.ParseInt(h.Get("X-RateLimit-Reset"), 10, 64); err == nil {
		then := time.Unix(seconds, 0)
		if date, err := http.ParseTime(h.Get("Date")); err == nil {
			return now.Add(max(then.Sub(date), 0) + time.Second) // both are cut to seconds
		}
		return then
	}
	return now.Add(max(fault.RetryAfter(h.Get("Retry-After"), now), time.Second))
}

// serverError reads the words of a refusal by the Management API (errorCode, error,
// message) or by an OAuth endpoint (error, error_description).
func serverError(status int, body []byte) *fault.ServerError {
	var b struct {
		Error, ErrorCode, Message any
		Description               any `json:"error_description"`
	}
	_ = json.Unmarshal(body, &b) // a body that is no JSON has no words
	word := func(candidates ...any) string {
		for _, c := range candidates {
			if s, ok := c.(string); ok && s != "" {
				return fault.Printable(s)
			}
		}
		return ""
	}
	return &fault.ServerError{Status: status, Code: word(b.ErrorCode, b.Error), Description: word(b.Message, b.Description)}
}
