package exactapi

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"testing"
	"time"
)

func TestCountedBy(t *testing.T) {
	for path, want := range map[string][2]string{
		"/api/v1/current/Me":                                {"", "/api/v1/current/me"},
		"/api/v1/123456/crm/Accounts":                       {"123456", "/api/v1/123456/crm/accounts"},
		"/api/v1/123456/crm/Accounts(guid'2b5a')":           {"123456", "/api/v1/123456/crm/accounts"},
		"/api/v1/123456/crm/Accounts(guid'2b5a')/Contacts/": {"123456", "/api/v1/123456/crm/accounts/contacts"},
		"/api/v1/beta/123456/x":                             {"123456", "/api/v1/beta/123456/x"},
		"/api/v1/123456":                                    {"123456", "/api/v1/123456"},
		"/api/v1/123456x/y":                                 {"", "/api/v1/123456x/y"},
		"/api/v1/1/a(b)(c)/d(":                              {"1", "/api/v1/1/a/d("},
		"/docs/XMLDownload.aspx":                            {"", "/docs/xmldownload.aspx"},
		"/":                                                 {"", ""},
	} {
		if name, key := countedBy(path); name != want[0] || key != want[1] {
			t.Errorf("%s: %q, %q; want %q", path, name, key, want)
		}
	}
}

// reporting returns an answer with the limits of a minute in it.
func reporting(status, limit, left int, reset, date time.Time) *http.Response {
	h := http.Header{}
	h.Set("X-RateLimit-Minutely-Limit", strconv.Itoa(limit))
	h.Set("X-RateLimit-Minutely-Remaining", strconv.Itoa(left))
	h.Set("X-RateLimit-Minutely-Reset", strconv.FormatInt(reset.UnixMilli(), 10))
	h.Set("Date", date.UTC().Format(http.TimeFormat))
	return &http.Response{StatusCode: status, Header: h}
}

// Answers arrive in another order than they were made, and have the time of another
// clock.
func TestWindow(t *testing.T) {
	now := time.Date(2026, 11, 30, 12, 0, 30, 0, time.UTC)
	turn := time.Date(2026, 11, 30, 12, 1, 0, 0, time.UTC)
	d := &division{name: "1", minute: window{limit: assumedMinute, left: assumedMinute}}

	d.observe(reporting(200, 100, 41, turn, now), now.Add(900*time.Millisecond), now)
	if w := d.minute; w.limit != 100 || w.left != 41 || !w.end.Equal(turn.Add(900*time.Millisecond)) {
		t.Errorf("first: %+v", w)
	}
	d.observe(reporting(200, 100, 43, turn, now), now.Add(100*time.Millisecond), now)
	if w := d.minute; w.left != 41 || !w.end.Equal(turn.Add(100*time.Millisecond)) {
		t.Errorf("out of order: %+v", w)
	}
	// Exact's clock is seven minutes ahead.
	ahead := 7 * time.Minute
	d.observe(reporting(200, 100, 99, turn.Add(ahead), now.Add(ahead)), now, now)
	if w := d.minute; w.left != 99 || !w.end.Equal(turn) {
		t.Errorf("another clock: %+v", w)
	}
	// A late answer about the previous window changes nothing.
	d.observe(reporting(429, 100, 0, turn, now), now, now)
	if w := d.minute; w.left != 99 || !w.end.Equal(turn) {
		t.Errorf("late: %+v", w)
	}
	// A minute cannot be longer than a minute.
	d.observe(reporting(200, 100, 98, turn.Add(time.Hour), now), now, now)
	if w := d.minute; !w.end.Equal(now.Add(62 * time.Second)) {
		t.Errorf("too long: %+v", w)
	}
	d.renew(now.Add(2 * time.Minute))
	if w := d.minute; w.left != 100 || !w.end.IsZero() {
		t.Errorf("turned: %+v", w)
	}
	// The window has ended here and not there.
	later := now.Add(2 * time.Minute)
	d.observe(reporting(429, 100, 0, turn.Add(time.Hour), now.Add(time.Hour)), later, later)
	if w := d.minute; w.left != 0 || !w.end.After(later) {
		t.Errorf("refused: %+v", w)
	}
	for _, broken := range []http.Header{
		nil, {}, {"X-Ratelimit-Minutely-Limit": {"60"}},
		{"X-Ratelimit-Minutely-Limit": {"60"}, "X-Ratelimit-Minutely-Remaining": {"-1"}, "X-Ratelimit-Minutely-Reset": {"1"}},
		{"X-Ratelimit-Minutely-Limit": {"x"}, "X-Ratelimit-Minutely-Remaining": {"1"}, "X-Ratelimit-Minutely-Reset": {"99999999999999999999"}},
	} {
		before := d.minute
		if d.observe(&http.Response{StatusCode: 200, Header: broken}, now, now) || d.minute != before {
			t.Errorf("%v: changed the window", broken)
		}
	}
}

// until waits until division 1 is in a state.
func (g *gate) until(reached func(*division) bool) {
	for {
		g.mu.Lock()
		ok := reached(g.divisions["1"])
		g.mu.Unlock()
		if ok {
			return
		}
		time.Sleep(time.Millisecond)
	}
}

// A request that would wait too long is refused at once.
func TestQueueIsBounded(t *testing.T) {
	now := time.Now()
	g := newGate(func() time.Time { return now }, inSilence)
	w, err := g.wait(t.Context(), "/api/v1/1/a", false)
	if err != nil {
		t.Fatal(err)
	}
	g.done(w, reporting(200, 2, 0, now.Add(30*time.Second), now), now)
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 100)
	for i := range 12 {
		go func() {
			_, err := g.wait(ctx, fmt.Sprintf("/api/v1/1/%d", i), false)
			done <- err
		}()
	}
	g.until(func(d *division) bool { return len(d.queue) == 12 })
	_, err = g.wait(ctx, "/api/v1/1/b", false)
	var refused *Refusal
	if !errors.As(err, &refused) || refused.Code != "minute_limit" || refused.Until.Sub(now) != 6*time.Minute {
		t.Errorf("the thirteenth: %v", err)
	}
	if w, err := g.wait(ctx, "/api/v1/2/b", false); err != nil {
		t.Errorf("another division: %v", err)
	} else {
		g.done(w, nil, now)
	}
	cancel()
	for range 12 {
		if err := <-done; !errors.Is(err, context.Canceled) {
			t.Errorf("one that waited: %v", err)
		}
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	if d := g.divisions["1"]; len(d.queue) != 0 || d.inFlight != 0 || d.timer != nil {
		t.Errorf("left behind: %+v", d)
	}
	for key, e := range g.endpoints {
		if !e.idle(now) {
			t.Errorf("left behind: %s: %+v", key, e)
		}
	}
}

func TestFirstComeFirstServed(t *testing.T) {
	now := time.Now()
	g := newGate(func() time.Time { return now }, inSilence)
	first, err := g.wait(t.Context(), "/api/v1/1/a", false)
	if err != nil {
		t.Fatal(err)
	}
	g.done(first, reporting(200, 1, 0, now.Add(40*time.Second), now), now)
	served := make(chan string, 10)
	arrive := func(name string, again bool) {
		g.mu.Lock()
		queued := len(g.divisions["1"].queue)
		g.mu.Unlock()
		go func() {
			w, err := g.wait(t.Context(), "/api/v1/1/"+name, again)
			if err != nil {
				t.Error(err)
				return
			}
			served <- name
			g.done(w, reporting(200, 1, 0, now.Add(time.Minute), now), now)
		}()
		g.until(func(d *division) bool { return len(d.queue) > queued })
	}
	arrive("b", false)
	arrive("c", false)
	arrive("d", false)
	arrive("a", true)
	for _, want := range []string{"a", "b", "c", "d"} {
		g.mu.Lock()
		now = now.Add(62 * time.Second)
		g.dispatch(g.divisions["1"])
		g.mu.Unlock()
		if got := <-served; got != want {
			t.Errorf("%s is served, want %s", got, want)
		}
		g.until(func(d *division) bool { return d.inFlight == 0 }) // the answer is noted
	}
}

// A client that requests ever new addresses does not fill the memory.
func TestMemoryIsBounded(t *testing.T) {
	now := time.Now()
	g := newGate(func() time.Time { return now }, inSilence)
	for i := range 3 * mostKnown {
		w, err := g.wait(t.Context(), fmt.Sprintf("/api/v1/%d/x%d", i, i), false)
		if err != nil {
			t.Fatal(err)
		}
		g.done(w, &http.Response{StatusCode: 404}, now)
		now = now.Add(time.Second)
	}
	if len(g.divisions) > mostKnown || len(g.endpoints) > mostKnown+3600 {
		t.Errorf("%d divisions and %d endpoints are kept", len(g.divisions), len(g.endpoints))
	}
}
