package auth0

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"net/url"
	"strconv"
	"time"

	"github.com/exactauth/exactauth/internal/fault"
)

const (
	requestLimit = 30 * time.Second // for one request
	maxAnswer    = 4 << 20          // 1000 clients with their callbacks
	maxTries     = 3                // of a request that meets the limit of requests
	maxPause     = 30 * time.Second // before one of them; a free tenant's limit is per second
)

// wire makes requests to one domain.
type wire struct {
	domain  Domain
	client  *http.Client // nil for the default
	clock   func() time.Time
	waiting func(what string, until time.Time)
	logger  *slog.Logger
}

func (w wire) now() time.Time {
	if w.clock != nil {
		return w.clock()
	}
	return time.Now()
}

// request is one call of an endpoint. Body is encoded by contentType already; it
// and bearer may hold secrets.
type request struct {
	method, path string // path begins with "/" and holds the query
	bearer       fault.Secret
	contentType  string
	body         fault.Secret
}

func formRequest(path string, form url.Values) request {
	return request{method: http.MethodPost, path: path, contentType: "application/x-www-form-urlencoded", body: fault.NewSecret(form.Encode())}
}

// send returns the body of an answer with status 2xx, or an *APIError. When the
// limit of requests is met, it waits until Auth0 says that it is over
// (X-RateLimit-Reset, in seconds of the epoch; Auth0 docs, "Rate limits"), twice
// at most: a request that was refused so was not carried out.
func (w wire) send(ctx context.Context, r request) ([]byte, error) {
	for try := 1; ; try++ {
		answer, body, err := w.once(ctx, r)
		if err != nil {
			return nil, err
		}
		status := answer.StatusCode
		if status/100 == 2 {
			return body, nil
		}
		refused := parseAPIError(status, body)
		switch {
		case status == http.StatusTooManyRequests:
			until := w.resetOf(answer.Header)
			pause := until.Sub(w.now())
			end, limited := ctx.Deadline()
			if try == maxTries || pause > maxPause || limited && time.Until(end) < pause {
				return nil, fault.With(fault.Wrap(fault.ErrTemporary, &fault.WaitError{For: "Auth0's limit of requests is over", Until: until}, "%s takes no more requests now", w.domain), refused)
			}
			if w.waiting != nil {
				w.waiting("Auth0 takes requests again", until)
			}
			if err := fault.Pause(ctx, pause); err != nil {
				return nil, err
			}
		case status/100 == 5:
			return nil, fault.Wrap(fault.ErrTemporary, refused, "%s did not answer as it should", w.domain)
		case status/100 == 3:
			// A redirect would be sent token or secret, too.
			return nil, fault.Wrap(fault.ErrTemporary, refused, "%s answered with a redirect, which is not followed", w.domain)
		default:
			return nil, refused
		}
	}
}

func (w wire) once(ctx context.Context, r request) (*http.Response, []byte, error) {
	req, err := http.NewRequestWithContext(ctx, r.method, w.domain.origin+r.path, bytes.NewReader([]byte(r.body.Reveal())))
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
	client := http.Client{Timeout: requestLimit, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	if w.client != nil {
		client.Transport = w.client.Transport
	}
	resp, err := client.Do(req)
	if err != nil {
		if errors.Is(ctx.Err(), context.Canceled) {
			return nil, nil, context.Cause(ctx)
		}
		return nil, nil, fault.Wrap(fault.ErrTemporary, fault.Transport(err), "cannot reach %s", w.domain)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswer)) // what is cut off is no JSON
	if w.logger != nil {
		w.logger.Debug("asked Auth0", "method", r.method, "path", req.URL.Path, "status", resp.StatusCode)
	}
	switch {
	case err != nil && errors.Is(ctx.Err(), context.Canceled):
		return nil, nil, context.Cause(ctx)
	case err != nil:
		return nil, nil, fault.Wrap(fault.ErrTemporary, fault.Transport(err), "the answer of %s broke off", w.domain)
	}
	return resp, body, nil
}

// resetOf is when Auth0 takes requests again, by the local clock: the moment is
// the server's, so it counts from the server's own date.
func (w wire) resetOf(h http.Header) time.Time {
	now := w.now()
	if seconds, err := strconv.ParseInt(h.Get("X-RateLimit-Reset"), 10, 64); err == nil {
		then := time.Unix(seconds, 0)
		if date, err := http.ParseTime(h.Get("Date")); err == nil {
			return now.Add(max(then.Sub(date), 0) + time.Second) // both are cut to seconds
		}
		return then
	}
	if seconds, err := strconv.Atoi(h.Get("Retry-After")); err == nil && seconds >= 0 && seconds < 1<<20 {
		return now.Add(time.Duration(seconds) * time.Second)
	}
	return now.Add(time.Second)
}

func parseAPIError(status int, body []byte) *APIError {
	var b struct {
		Error, ErrorCode, Message any
		Description               any `json:"error_description"`
	}
	_ = json.Unmarshal(body, &b) // what is no JSON has no words
	word := func(candidates ...any) string {
		for _, c := range candidates {
			if s, ok := c.(string); ok && s != "" {
				return fault.Printable(s)
			}
		}
		return ""
	}
	return &APIError{status, word(b.ErrorCode, b.Error), word(b.Message, b.Description)}
}

// decode reads an answer's JSON.
func (w wire) decode(body []byte, into any) error {
	if json.Unmarshal(body, into) != nil {
		return fault.New(fault.ErrTemporary, "the answer of %s cannot be read", w.domain)
	}
	return nil
}
