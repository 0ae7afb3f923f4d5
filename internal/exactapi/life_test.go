package exactapi_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/exactauth/exactauth/internal/exactapi"
	"github.com/exactauth/exactauth/internal/exactsim"
	"github.com/exactauth/exactauth/internal/fault"
	"github.com/exactauth/exactauth/internal/record"
)

// At Exact, a job of 25 minutes takes two and a half lives of a token; here it takes
// four.
func TestAJobOutlivesItsTokens(t *testing.T) {
	t.Parallel()
	const life, lives = 2 * time.Second, 4
	e := newExact(t, exactsim.Config{TokenLife: life})
	before := e.sim.Counters()
	end := time.Now().Add(lives * life)
	var mu sync.Mutex
	statuses := map[int]int{}
	var workers sync.WaitGroup
	for range 4 {
		workers.Go(func() {
			for time.Now().Before(end) {
				status, _, body, err := e.try(context.Background(), http.MethodGet, mePath, nil, nil)
				if err != nil || status != http.StatusOK {
					t.Errorf("status %d, %v: %s", status, err, body)
					return
				}
				mu.Lock()
				statuses[status]++
				mu.Unlock()
				time.Sleep(5 * time.Millisecond)
			}
		})
	}
	workers.Wait()
	n := e.sim.Counters()
	refreshes := n.RefreshesIssued - before.RefreshesIssued
	t.Logf("%v answers, %d refreshes, %d 401s at Exact's end", statuses, refreshes, n.Unauthorized)
	if refreshes < lives-1 || refreshes > lives+1 {
		t.Errorf("%d refreshes in %d lives", refreshes, lives)
	}
	if n.TokenErrors != 0 {
		t.Errorf("%d errors at the token endpoint", n.TokenErrors)
	}
}

func TestManyAtExpiryRefreshOnce(t *testing.T) {
	t.Parallel()
	const life = 2 * time.Second
	e := newExact(t, exactsim.Config{TokenLife: life, MinuteLimit: -1, DailyLimit: -1})
	if status, _, body := e.get(mePath); status != http.StatusOK {
		t.Fatalf("status %d: %s", status, body)
	}
	grant, _ := e.sim.Grant(exactsim.ClientID, exactsim.AnnaID)
	time.Sleep(time.Until(grant.AccessExpires))
	calls := e.calls.Load()
	statuses, err := atOnce(100, func(i int) (int, error) {
		status, _, _, err := e.try(context.Background(), http.MethodGet, fmt.Sprintf("/api/v1/%d/system/Divisions?$top=1", 123456+i%20), nil, nil)
		return status, err
	})
	if err != nil || statuses[http.StatusOK] != 100 {
		t.Errorf("answers %v, %v", statuses, err)
	}
	n := e.sim.Counters()
	most := 1 + int(time.Since(grant.AccessExpires)/(life/20*19)) // a slow machine needs more tokens, and is late with the first
	if n.Refreshes < 1 || n.Refreshes > most || n.RefreshesIssued != n.Refreshes || n.Refreshes == 1 && n.Unauthorized != 0 {
		t.Errorf("100 requests at expiry: %d refreshes, of at most %d, %d issued, %d refused", n.Refreshes, most, n.RefreshesIssued, n.Unauthorized)
	}
	if asked := e.calls.Load() - calls; asked > 30 { // again after each 24th of the time that is left
		t.Errorf("the source was asked %d times", asked)
	}
}

// A new sign-in ends the current token, long before it expires.
func TestNewLoginIsUsed(t *testing.T) {
	t.Parallel()
	e := newExact(t, exactsim.Config{})
	e.get(mePath)
	e.login(t)
	statuses, err := atOnce(100, func(int) (int, error) {
		status, _, _, err := e.try(context.Background(), http.MethodGet, mePath, nil, nil)
		return status, err
	})
	if err != nil || statuses[http.StatusOK] != 100 {
		t.Errorf("after another sign-in: %v, %v", statuses, err)
	}
	if n := e.sim.Counters(); n.Unauthorized > 5 {
		t.Errorf("%d requests were refused", n.Unauthorized)
	}
}

// A token that Exact refuses is not sent again and again.
func TestRevokedLoginCostsFewErrors(t *testing.T) {
	t.Parallel()
	e := newExact(t, exactsim.Config{})
	e.sim.Revoke(exactsim.ClientID, exactsim.AnnaID)
	seen := map[int]int{}
	for range 30 {
		status, _, body := e.get(mePath)
		seen[status]++
		if status == http.StatusTooManyRequests && readRefusal(t, body).Code != "error_limit" {
			t.Errorf("status %d: %s", status, body)
		}
	}
	if n := e.sim.Counters(); n.Unauthorized != 8 || n.Blocked != 0 || n.TokenRequests != 1 {
		t.Errorf("%v; at Exact %d errors, %d blocks, %d token requests", seen, n.Unauthorized, n.Blocked, n.TokenRequests)
	}
}

// After a refusal of the token, the request is sent again only with another token,
// and only if its whole body is still there.
func TestRefusedToken(t *testing.T) {
	t.Parallel()
	var good atomic.Value
	good.Store("first")
	var seen atomic.Int64
	upstream := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		seen.Add(1)
		body, _ := io.ReadAll(r.Body)
		if r.Header.Get("Authorization") != "Bearer "+good.Load().(string) {
			w.WriteHeader(http.StatusUnauthorized)
			return
		}
		fmt.Fprintf(w, "%s %d", r.Method, len(body))
	}))
	defer upstream.Close()
	var given atomic.Value
	given.Store("first")
	s := serve(t, exactapi.TransportConfig{BaseURL: upstream.URL, Token: func(context.Context) (record.Token, error) {
		return record.Token{Access: fault.NewSecret(given.Load().(string)), ExpiresAt: time.Now().Add(time.Hour)}, nil
	}})
	s.get("/docs/x")
	change := func(to string) {
		good.Store(to)
		given.Store(to)
		seen.Store(0)
	}
	change("second")
	if status, _, body := s.get("/docs/get"); status != http.StatusOK || seen.Load() != 2 {
		t.Errorf("GET: status %d after %d requests: %s", status, seen.Load(), body)
	}
	change("third")
	status, _, body, err := s.try(context.Background(), http.MethodPost, "/docs/post", strings.NewReader(`{"Name":"x"}`), nil)
	if status != http.StatusOK || body != "POST 12" || seen.Load() != 2 {
		t.Errorf("POST: status %d, %q after %d requests: %v", status, body, seen.Load(), err)
	}
	change("fourth")
	status, _, _, err = s.try(context.Background(), http.MethodPost, "/docs/stream", io.LimitReader(zeros{}, 100<<10), nil)
	if status != http.StatusUnauthorized || seen.Load() != 1 {
		t.Errorf("streamed POST: status %d after %d requests: %v", status, seen.Load(), err)
	}
	if status, _, _ := s.get("/docs/after"); status != http.StatusOK || seen.Load() != 2 {
		t.Errorf("GET after it: status %d after %d requests", status, seen.Load())
	}
	good.Store("fifth") // which the source does not have
	seen.Store(0)
	if status, _, _ := s.get("/docs/same"); status != http.StatusUnauthorized || seen.Load() != 1 {
		t.Errorf("same token: status %d after %d requests", status, seen.Load())
	}
}

func TestWithoutAToken(t *testing.T) {
	t.Parallel()
	until := time.Now().Add(90 * time.Second)
	for _, test := range []struct {
		err    error
		status int
		want   refusal
	}{
		{&exactapi.Refusal{Status: 502, Code: "login_needed", Message: "no user is signed in", Hint: "exactauth login"}, 502,
			refusal{Code: "login_needed", Message: "no user is signed in", Hint: "exactauth login"}},
		{fmt.Errorf("wrapped: %w", &exactapi.Refusal{Status: 503, Code: "temporary", Message: "later", Until: until}), 503,
			refusal{Code: "temporary", Message: "later", Retryable: true, RetryAt: until.UTC().Truncate(time.Second)}},
		{errors.New("something with a token in it"), 502, refusal{Code: "token", Message: "there is no live access token"}},
	} {
		s := serve(t, exactapi.TransportConfig{BaseURL: "http://127.0.0.1:1", Token: func(context.Context) (record.Token, error) { return record.Token{}, test.err }})
		status, h, body := s.get(mePath)
		if got := readRefusal(t, body); status != test.status || got != test.want {
			t.Errorf("%v: status %d, %+v", test.err, status, got)
		}
		if after := h.Get("Retry-After"); (after == "") == test.want.Retryable || test.want.Retryable && after != "90" {
			t.Errorf("%v: Retry-After %q", test.err, after)
		}
		if h.Get("WWW-Authenticate") != "" || h.Get("Exactauth-Error") != test.want.Code {
			t.Errorf("%v: headers %v", test.err, h)
		}
	}
}

// Requests wait for a token that the source announces for the next moment.
func TestAnnouncedTokenIsWaitedFor(t *testing.T) {
	t.Parallel()
	upstream := newEcho(t, nil)
	var calls atomic.Int64
	s := serve(t, exactapi.TransportConfig{BaseURL: upstream.URL, Token: func(ctx context.Context) (record.Token, error) {
		if calls.Add(1) < 3 {
			return record.Token{}, &exactapi.Refusal{Status: http.StatusServiceUnavailable, Code: "temporary", Message: "soon", Until: time.Now().Add(50 * time.Millisecond)}
		}
		return constant("t")(ctx)
	}})
	if status, _, body := s.get(mePath); status != http.StatusOK || calls.Load() != 3 {
		t.Errorf("status %d after %d calls: %s", status, calls.Load(), body)
	}
}

// A client that goes away must not cancel the token of the others.
func TestCancelledRequestLeavesTheTokenCall(t *testing.T) {
	t.Parallel()
	upstream := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
	defer upstream.Close()
	asked, go_ := make(chan struct{}), make(chan struct{})
	var calls, ended atomic.Int64
	s := serve(t, exactapi.TransportConfig{BaseURL: upstream.URL, Token: func(ctx context.Context) (record.Token, error) {
		if calls.Add(1) == 1 {
			close(asked)
		}
		<-go_
		if ctx.Err() != nil {
			ended.Add(1)
		}
		return constant("t")(ctx)
	}})
	ctx, cancel := context.WithCancel(t.Context())
	gone := make(chan error, 1)
	go func() {
		_, _, _, err := s.try(ctx, http.MethodGet, mePath, nil, nil)
		gone <- err
	}()
	<-asked
	stays := make(chan int, 1)
	go func() {
		status, _, _, _ := s.try(context.Background(), http.MethodGet, mePath, nil, nil)
		stays <- status
	}()
	cancel()
	if err := <-gone; !errors.Is(err, context.Canceled) {
		t.Errorf("the one that went away: %v", err)
	}
	for s.Active() > 1 { // until its request has ended here, too
		time.Sleep(time.Millisecond)
	}
	close(go_)
	if status := <-stays; status != http.StatusOK || calls.Load() != 1 || ended.Load() != 0 {
		t.Errorf("the one that stayed: status %d, %d calls, %d cancelled", status, calls.Load(), ended.Load())
	}
}

func TestCloseWaitsForTheToken(t *testing.T) {
	t.Parallel()
	asked, saved := make(chan struct{}), atomic.Bool{}
	s := serve(t, exactapi.TransportConfig{BaseURL: "http://127.0.0.1:1", Token: func(ctx context.Context) (record.Token, error) {
		close(asked)
		<-ctx.Done()
		time.Sleep(50 * time.Millisecond)
		saved.Store(true)
		return record.Token{}, ctx.Err()
	}})
	answer := make(chan string, 1)
	go func() {
		_, _, body, _ := s.try(context.Background(), http.MethodGet, mePath, nil, nil)
		answer <- body
	}()
	<-asked
	s.Close()
	if !saved.Load() {
		t.Error("closed before the refresh was saved")
	}
	if r := readRefusal(t, <-answer); r.Code != "ending" {
		t.Errorf("the request that waited: %+v", r)
	}
	if status, _, body := s.get(mePath); status != http.StatusServiceUnavailable {
		t.Errorf("after the end: status %d: %s", status, body)
	}
}

// zeros is an endless stream of zero bytes.
type zeros struct{}

func (zeros) Read(p []byte) (int, error) {
	clear(p)
	return len(p), nil
}
