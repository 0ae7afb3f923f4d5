package exactapi_test

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/exactauth/exactauth/internal/exactapi"
	"github.com/exactauth/exactauth/internal/exactsim"
)

// before sets the simulator's clock to the time left before the end of a span.
func (e *exact) before(span, left time.Duration) {
	now := time.Now()
	e.sim.Advance(now.UTC().Truncate(span).Add(span - left).Sub(now))
}

func TestMinuteIsKept(t *testing.T) {
	t.Parallel()
	e := newExact(t, exactsim.Config{MinuteLimit: 5, TokenLife: time.Hour})
	e.before(time.Minute, 2*time.Second)
	e.get(divisionsPath + "?$top=1") // reports the limit
	// Nine calls, five a minute: if Exact refuses none, some have waited.
	statuses, err := atOnce(8, func(int) (int, error) {
		status, _, _, err := e.try(context.Background(), http.MethodGet, divisionsPath+"?$top=1", nil, nil)
		return status, err
	})
	if n := e.sim.Counters(); err != nil || statuses[http.StatusOK] != 8 || n.RateLimited != 0 {
		t.Errorf("answers %v, %d refused by Exact, %v", statuses, n.RateLimited, err)
	}
	if log := e.log.String(); !strings.Contains(log, "minute_left=0") || !strings.Contains(log, "day_left=4991") || !strings.Contains(log, "waited_ms=") {
		t.Errorf("the log: %s", log)
	}
}

// Another program uses the minute up: a request that gets 429 is sent again.
func TestMinuteUsedUpByOthers(t *testing.T) {
	t.Parallel()
	e := newExact(t, exactsim.Config{MinuteLimit: 1, TokenLife: time.Hour})
	e.before(time.Minute, time.Second)
	other := serve(t, exactapi.TransportConfig{BaseURL: e.base, Token: e.token})
	if status, _, body := other.get(divisionsPath + "?$top=1"); status != http.StatusOK {
		t.Fatalf("status %d: %s", status, body)
	}
	if status, _, body := e.get(divisionsPath + "?$top=1"); status != http.StatusOK {
		t.Errorf("status %d: %s", status, body)
	}
	if n := e.sim.Counters(); n.RateLimited == 0 || n.RateLimited > 3 {
		t.Errorf("refused %d times by Exact", n.RateLimited)
	}
}

func TestDayIsKept(t *testing.T) {
	t.Parallel()
	e := newExact(t, exactsim.Config{DailyLimit: 3, TokenLife: 48 * time.Hour})
	e.before(24*time.Hour, time.Hour)
	midnight := time.Now().Add(time.Hour)
	for range 3 {
		if status, _, body := e.get(divisionsPath + "?$top=1"); status != http.StatusOK {
			t.Fatalf("status %d: %s", status, body)
		}
	}
	status, h, body := e.get(divisionsPath)
	r := readRefusal(t, body)
	if status != http.StatusTooManyRequests || r.Code != "daily_limit" || !r.Retryable || r.RetryAt.Sub(midnight).Abs() > 5*time.Second {
		t.Errorf("status %d: %s, want a time about %s", status, body, midnight)
	}
	t.Logf("status %d, Retry-After %s: %s", status, h.Get("Retry-After"), body)
	if s, err := strconv.Atoi(h.Get("Retry-After")); err != nil || s < 3590 || s > 3605 {
		t.Errorf("Retry-After %q", h.Get("Retry-After"))
	}
	if n := e.sim.Counters(); n.RateLimited != 0 {
		t.Errorf("Exact had to refuse %d", n.RateLimited)
	}
	// Another company has its own day.
	if status, _, body := e.get("/api/v1/123457/system/Divisions?$top=1"); status != http.StatusOK {
		t.Errorf("another division: status %d: %s", status, body)
	}
	// A new proxy gets one refusal from Exact, and answers in the same words.
	fresh := serve(t, exactapi.TransportConfig{BaseURL: e.base, Token: e.token})
	for range 3 {
		status, _, body := fresh.get(divisionsPath)
		if r := readRefusal(t, body); status != http.StatusTooManyRequests || r.Code != "daily_limit" || r.RetryAt.Sub(midnight).Abs() > 5*time.Second {
			t.Errorf("status %d: %s", status, body)
		}
	}
	if n := e.sim.Counters(); n.RateLimited != 1 {
		t.Errorf("Exact had to refuse %d", n.RateLimited)
	}
	e.ahead.Store(int64(time.Hour + 10*time.Second))
	e.sim.Advance(time.Hour + 10*time.Second)
	if status, _, body := e.get(divisionsPath + "?$top=1"); status != http.StatusOK {
		t.Errorf("the next day: status %d: %s", status, body)
	}
}

// However many wrong requests come at once, Exact gets fewer than would block.
func TestErrorsDoNotBlock(t *testing.T) {
	t.Parallel()
	e := newExact(t, exactsim.Config{MinuteLimit: -1, DailyLimit: -1, TokenLife: 3 * time.Hour})
	wrong := func(i int) (int, error) {
		status, _, _, err := e.try(context.Background(), http.MethodGet, fmt.Sprintf("/api/v1/123456/crm/Nothing(guid'%d')", i), nil, nil)
		return status, err
	}
	statuses, err := atOnce(100, wrong)
	if err != nil || statuses[http.StatusNotFound] != 8 || statuses[http.StatusTooManyRequests] != 92 {
		t.Errorf("answers %v, %v", statuses, err)
	}
	status, _, body := e.get("/api/v1/123456/crm/Nothing")
	if r := readRefusal(t, body); status != http.StatusTooManyRequests || r.Code != "error_limit" || time.Until(r.RetryAt) < 55*time.Minute || time.Until(r.RetryAt) > time.Hour {
		t.Errorf("status %d: %s", status, body)
	}
	t.Logf("100 at once: %v; then status %d: %s", statuses, status, body)
	for _, other := range []string{"/api/v1/123456/crm/Contacts", "/api/v1/123457/crm/Nothing"} {
		if status, _, _ := e.get(other); status != http.StatusNotFound {
			t.Errorf("%s: status %d", other, status)
		}
	}
	if status, _, _ := e.get(divisionsPath + "?$top=1"); status != http.StatusOK {
		t.Errorf("a good request: status %d", status)
	}
	if n := e.sim.Counters(); n.Blocked != 0 {
		t.Errorf("Exact blocked %d", n.Blocked)
	}
	// An hour later requests are sent again.
	e.ahead.Store(int64(time.Hour))
	e.sim.Advance(time.Hour)
	if statuses, err := atOnce(20, wrong); err != nil || statuses[http.StatusNotFound] != 8 {
		t.Errorf("an hour later: answers %v, %v", statuses, err)
	}
	if n := e.sim.Counters(); n.Blocked != 0 {
		t.Errorf("Exact blocked %d", n.Blocked)
	}
}

// limits writes the six headers as Exact does.
func limits(h http.Header, minute, day int) {
	now := time.Now().UTC()
	h["X-RateLimit-Minutely-Limit"] = []string{"60"}
	h["X-RateLimit-Minutely-Remaining"] = []string{strconv.Itoa(minute)}
	h["X-RateLimit-Minutely-Reset"] = []string{strconv.FormatInt(now.Truncate(time.Minute).Add(time.Minute).UnixMilli(), 10)}
	if day >= 0 {
		h["X-RateLimit-Limit"] = []string{"5000"}
		h["X-RateLimit-Remaining"] = []string{strconv.Itoa(day)}
		h["X-RateLimit-Reset"] = []string{strconv.FormatInt(now.Truncate(24*time.Hour).Add(24*time.Hour).UnixMilli(), 10)}
	}
}

// A request that cannot be sent again is answered at once, with the time to retry.
func TestStreamIsNotSentTwice(t *testing.T) {
	t.Parallel()
	upstream := newEcho(t, func(w http.ResponseWriter, r *http.Request) {
		limits(w.Header(), 0, -1)
		w.WriteHeader(http.StatusTooManyRequests)
	})
	s := serve(t, exactapi.TransportConfig{BaseURL: upstream.URL})
	status, h, body, err := s.try(context.Background(), http.MethodPost, "/api/v1/1/x", io.LimitReader(zeros{}, 100<<10), nil)
	if err != nil {
		t.Fatal(err)
	}
	r := readRefusal(t, body)
	if status != http.StatusTooManyRequests || r.Code != "minute_limit" || time.Until(r.RetryAt) > 62*time.Second || h.Get("Retry-After") == "" || h.Get("X-RateLimit-Minutely-Remaining") != "0" {
		t.Errorf("status %d, headers %v: %s", status, h, body)
	}
	if n := len(upstream.requests()); n != 1 {
		t.Errorf("%d requests", n)
	}
}

// A 429 that names no limit can be the block for errors, which each further request
// could make longer.
func TestUnnamedLimit(t *testing.T) {
	t.Parallel()
	upstream := newEcho(t, func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/docs/named" {
			w.Header().Set("Retry-After", "1800")
		}
		w.WriteHeader(http.StatusTooManyRequests)
	})
	s := serve(t, exactapi.TransportConfig{BaseURL: upstream.URL})
	for path, wait := range map[string]time.Duration{"/docs/named": 30 * time.Minute, "/docs/unnamed": time.Minute} {
		before := len(upstream.requests())
		if status, _, body := s.get(path); status != http.StatusTooManyRequests || body != "" {
			t.Errorf("%s: status %d: %q", path, status, body)
		}
		_, _, body := s.get(path)
		if r := readRefusal(t, body); r.Code != "held" || time.Until(r.RetryAt) > wait || time.Until(r.RetryAt) < wait-10*time.Second {
			t.Errorf("%s: %+v", path, r)
		}
		if n := len(upstream.requests()) - before; n != 1 {
			t.Errorf("%s: %d requests", path, n)
		}
	}
}

// Requests wait for the minute in their order. One leaves the queue when its client
// goes, and all do when the proxy ends.
func TestQueue(t *testing.T) {
	t.Parallel()
	var left atomic.Int64
	left.Store(1)
	var mu sync.Mutex
	var order []string
	var turned atomic.Bool // the first minute is over
	end := time.Now().Add(time.Minute)
	const turn = 63 * time.Second // more than a minute, because Date has whole seconds
	upstream := newEcho(t, func(w http.ResponseWriter, r *http.Request) {
		mu.Lock()
		defer mu.Unlock()
		order = append(order, r.URL.Query().Get("n"))
		now, reset := time.Now(), end
		if turned.Load() {
			now, reset = now.Add(turn), end.Add(time.Minute)
			left.CompareAndSwap(0, 3)
		}
		h := w.Header()
		h.Set("Date", now.UTC().Format(http.TimeFormat))
		h.Set("X-RateLimit-Minutely-Limit", "3")
		h.Set("X-RateLimit-Minutely-Remaining", strconv.FormatInt(left.Add(-1), 10))
		h.Set("X-RateLimit-Minutely-Reset", strconv.FormatInt(reset.UnixMilli(), 10))
	})
	s := serve(t, exactapi.TransportConfig{BaseURL: upstream.URL})
	ask := func(ctx context.Context, n string) (int, string) {
		status, _, body, _ := s.try(ctx, http.MethodGet, "/api/v1/1/x?n="+n, nil, nil)
		return status, body
	}
	wait := func(queued int) {
		for {
			if n, inFlight := s.Waiting("1"); n == queued && inFlight == 0 {
				return
			}
			time.Sleep(time.Millisecond)
		}
	}
	ask(context.Background(), "first") // uses the minute up
	leaving, leave := context.WithCancel(t.Context())
	type answer struct {
		status int
		body   string
	}
	answers := map[string]chan answer{}
	for i, n := range []string{"a", "gone", "b", "c", "d", "e"} {
		answers[n] = make(chan answer, 1)
		ctx := context.Background()
		if n == "gone" {
			ctx = leaving
		}
		go func() {
			status, body := ask(ctx, n)
			answers[n] <- answer{status, body}
		}()
		wait(i + 1)
	}
	leave()
	if a := <-answers["gone"]; a.status != 0 {
		t.Errorf("the one that left: %+v", a)
	}
	wait(5)
	turned.Store(true)
	s.ahead.Store(int64(turn))
	s.Turn("1")
	for _, n := range []string{"a", "b", "c"} {
		if a := <-answers[n]; a.status != http.StatusOK {
			t.Errorf("%s: %+v", n, a)
		}
	}
	// The next minute is used up too, and the proxy ends.
	wait(2)
	s.Drain()
	for _, n := range []string{"d", "e"} {
		if a := <-answers[n]; a.status != http.StatusServiceUnavailable || readRefusal(t, a.body).Code != "ending" {
			t.Errorf("%s: %+v", n, a)
		}
	}
	mu.Lock()
	defer mu.Unlock()
	// Requests that go at the same time can overtake each other.
	slices.Sort(order[1:])
	if !slices.Equal(order, []string{"first", "a", "b", "c"}) {
		t.Errorf("asked: %v", order)
	}
}
