package exactapi_test

import (
	"context"
	"errors"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/exactauth/exactauth/internal/exactapi"
	"github.com/exactauth/exactauth/internal/exactsim"
	"github.com/exactauth/exactauth/internal/fault"
	"github.com/exactauth/exactauth/internal/record"
)

// transport returns a transport that ends with the test, and a client that uses it.
func transport(t testing.TB, cfg exactapi.TransportConfig) (*exactapi.Transport, *exactapi.Client) {
	t.Helper()
	next, err := exactapi.NewTransport(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(next.Close)
	return next, &exactapi.Client{BaseURL: cfg.BaseURL, HTTP: &http.Client{Transport: next}}
}

// The transport and the pages work together, without a handler.
func TestPagesThroughATransport(t *testing.T) {
	t.Parallel()
	e := newExact(t, exactsim.Config{DailyLimit: 4})
	began := time.Now()
	_, c := transport(t, exactapi.TransportConfig{BaseURL: e.base, Token: e.token})
	if all, err := divisions(t, c, 123456); err != nil || len(all) != 130 {
		t.Errorf("%d divisions, %v", len(all), err)
	}
	e.login(t) // which ends the current token
	n, last := 0, error(nil)
	for _, err := range exactapi.Records[struct{ Code int }](t.Context(), c, divisionsPath) {
		if last = err; err == nil {
			n++
		}
	}
	var limit *exactapi.Refusal
	if n != 60 || !errors.As(last, &limit) || limit.Code != "daily_limit" || !errors.Is(last, fault.ErrTemporary) || time.Until(limit.Until) > 24*time.Hour+5*time.Second {
		t.Errorf("%d records, then %v", n, last)
	}
	kept := time.Since(began) < time.Second // the transport asks for a token again after that
	if got := e.sim.Counters(); got.Unauthorized > 1 || kept && got.Unauthorized != 1 || got.RateLimited != 0 {
		t.Errorf("Exact refused a token %d times, and %d calls", got.Unauthorized, got.RateLimited)
	}
}

// Errors of the token source keep their kind.
func TestTransportWithoutAToken(t *testing.T) {
	t.Parallel()
	for _, kind := range []error{fault.ErrLoginNeeded, fault.ErrTemporary, fault.ErrConfig} {
		_, c := transport(t, exactapi.TransportConfig{BaseURL: "http://127.0.0.1:1", Token: func(context.Context) (record.Token, error) {
			return record.Token{}, fault.New(kind, "no token")
		}})
		for _, err := range exactapi.Records[struct{}](t.Context(), c, mePath) {
			if !errors.Is(err, kind) || err.Error() != "no token" {
				t.Errorf("%v: got %v", kind, err)
			}
		}
	}
}

// watched is a body that notes whether it was closed.
type watched struct {
	io.Reader
	closed bool
}

func (w *watched) Close() error {
	w.closed = true
	return nil
}

// No other server gets the token, and the request is left unchanged.
func TestTransportElsewhere(t *testing.T) {
	t.Parallel()
	elsewhere, own := newEcho(t, nil), newEcho(t, nil)
	next, _ := transport(t, exactapi.TransportConfig{BaseURL: own.URL, Token: constant("t")})
	for _, address := range []string{elsewhere.URL + mePath, strings.Replace(own.URL, "http://", "http://u:p@", 1) + mePath, own.URL + mePath} {
		body := &watched{Reader: strings.NewReader("{}")}
		req, err := http.NewRequest(http.MethodPost, address, body)
		if err != nil {
			t.Fatal(err)
		}
		resp, err := next.RoundTrip(req)
		isOwn := address == own.URL+mePath
		if (err == nil) != isOwn || !body.closed || len(req.Header) != 0 {
			t.Errorf("%s: %v, body closed %t, headers %v", address, err, body.closed, req.Header)
		}
		if err == nil {
			resp.Body.Close()
		}
	}
	if n := len(elsewhere.requests()); n != 0 || len(own.requests()) != 1 {
		t.Errorf("%d requests elsewhere, %d here", n, len(own.requests()))
	}
}
