package exactapi

import (
	"context"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/exactauth/exactauth/internal/fault"
)

const (
	// assumedMinute is the number of calls a minute until Exact has told its own
	// (Exact KB "API limits": 60; other customers have been seen with 100).
	assumedMinute = 60

	// errorsBefore is the number of errors within an hour at which an endpoint
	// is not asked any more. Exact blocks the app for an hour, and longer each
	// time, at more than ten replies of status 400, 401, 403 or 404 per API key,
	// user, company and endpoint (Exact KB "API limits"). Two are left for the
	// person who looks what is wrong.
	errorsBefore = 8
	errorHour    = time.Hour

	// mostAtOnce is how many requests to one endpoint may be without an answer.
	// When a token ends before its time, as by another sign-in, that many are
	// refused with it, and the endpoint must not be given up for that. It is
	// enough for 60 calls a minute of 5 s each.
	mostAtOnce = 5

	// longestQueue is how long a request may have to wait for its turn.
	longestQueue = 5 * time.Minute

	// unnamedHold is how long an endpoint rests after a 429 that tells neither a
	// limit nor a time, as the block for errors may be.
	unnamedHold = time.Minute
)

// gate lets requests go as Exact's limits allow: per division and minute, per
// division and day, per endpoint and error. Within an endpoint, and within
// what a minute allows, the first to come is the first to go.
type gate struct {
	now func() time.Time

	mu        sync.Mutex
	closed    *Refusal
	divisions map[string]*division
	endpoints map[string]*endpoint
}

// division is a company's share of the limits. Calls without a division in their
// address, as current/Me, are not counted by Exact and have one of their own
// here, which is nameless.
type division struct {
	name        string
	minute, day window
	inFlight    int // requests whose answer has not begun
	queue       []*waiter
	timer       *time.Timer // for the turn of the minute; nil if nobody waits for it
}

// endpoint is what Exact counts errors by.
type endpoint struct {
	key      string
	users    int         // requests that wait or are in flight
	inFlight int         // of them
	errors   []time.Time // of the last hour, oldest first
	heldTill time.Time
}

// window is a span for which Exact has told how many calls it allows.
type window struct {
	limit  int       // 0 if it has never been told
	left   int       // the least that was told of this window
	mark   int64     // its end as Exact wrote it: epoch milliseconds by Exact's clock
	end    time.Time // by our clock; zero if it is over or has not been told
	behind time.Duration
}

// waiter is a request before it is sent.
type waiter struct {
	division *division
	endpoint *endpoint
	ready    chan error // gets one value: nil to go
}

func newGate(now func() time.Time) *gate {
	return &gate{now: now, divisions: map[string]*division{}, endpoints: map[string]*endpoint{}}
}

// place names the division and the endpoint of a path, whatever record of it is
// meant. There may be "beta" before the division.
func place(path string) (divisionName, endpointKey string) {
	path = strings.ToLower(path)
	if rest, ok := strings.CutPrefix(path, "/api/v1/"); ok {
		first, rest, _ := strings.Cut(rest, "/")
		if first != "" && strings.Trim(first, "abcdefghijklmnopqrstuvwxyz") == "" {
			first, _, _ = strings.Cut(rest, "/")
		}
		if strings.Trim(first, "0123456789") == "" {
			divisionName = first
		}
	}
	// One record is Accounts(guid'…').
	for {
		before, key, _ := strings.Cut(path, "(")
		_, after, closed := strings.Cut(key, ")")
		if !closed {
			return divisionName, strings.TrimRight(path, "/")
		}
		path = before + after
	}
}

// wait returns when a request to path may be sent; done must then be called with
// what came of it. It waits for the minute's turn and for other requests to the
// same endpoint whose end may be an error too many. The error is a *Refusal, or
// the cause of ctx's end. A request that goes again goes before those that came
// after it.
func (g *gate) wait(ctx context.Context, path string, again bool) (*waiter, error) {
	name, key := place(path)
	g.mu.Lock()
	w := &waiter{division: g.division(name), endpoint: g.endpoint(key), ready: make(chan error, 1)}
	d := w.division
	if minutes := d.turnsAhead(); minutes > int(longestQueue/time.Minute) && !again {
		until := g.now().Add(time.Duration(minutes) * time.Minute)
		g.forget(w.endpoint)
		g.mu.Unlock()
		return nil, &Refusal{Status: http.StatusTooManyRequests, Code: "minute_limit", Until: until,
			Message: fmt.Sprintf("%s: %d requests wait already, and Exact allows %d a minute", d, len(d.queue), d.minute.limit)}
	}
	w.endpoint.users++
	if again {
		d.queue = slices.Insert(d.queue, 0, w)
	} else {
		d.queue = append(d.queue, w)
	}
	g.dispatch(d)
	g.mu.Unlock()

	select {
	case err := <-w.ready:
		if err != nil {
			return nil, err
		}
		return w, nil
	case <-ctx.Done():
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	select {
	case err := <-w.ready:
		if err == nil { // its turn came at the same moment
			g.release(w)
		}
	default:
		d.queue = slices.DeleteFunc(d.queue, func(other *waiter) bool { return other == w })
		g.leave(w)
		g.dispatch(d)
	}
	return nil, context.Cause(ctx)
}

// turnsAhead is how many minutes must turn before one more request has its turn.
func (d *division) turnsAhead() int {
	if d.minute.mark == 0 { // nobody has told a limit
		return 0
	}
	return len(d.queue) / d.minute.limit
}

// outcome is what came of a request: an answer has begun, or none came.
type outcome struct {
	status   int // 0 if none came
	header   http.Header
	received time.Time
}

// done takes note of an answer. It returns what is left of the limits, -1 if that
// is not known.
func (g *gate) done(w *waiter, o outcome) (minuteLeft, dayLeft int) {
	g.mu.Lock()
	defer g.mu.Unlock()
	d, e := w.division, w.endpoint
	told := d.observe(o, g.now())
	switch o.status {
	case http.StatusBadRequest, http.StatusUnauthorized, http.StatusForbidden, http.StatusNotFound:
		e.errors = append(e.errors, o.received)
	case http.StatusTooManyRequests:
		if !told {
			hold := unnamedHold
			if after := fault.RetryAfter(o.header.Get("Retry-After"), o.received); after > 0 {
				hold = after
			}
			e.heldTill = o.received.Add(hold)
		}
	}
	g.release(w)
	return d.minute.told(), d.day.told()
}

// give takes back a turn that was not used.
func (g *gate) give(w *waiter) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.release(w)
}

func (g *gate) release(w *waiter) {
	w.division.inFlight--
	w.endpoint.inFlight--
	g.leave(w)
	g.dispatch(w.division)
}

func (g *gate) leave(w *waiter) {
	w.endpoint.users--
	g.forget(w.endpoint)
}

// close refuses all who wait or come.
func (g *gate) close(why *Refusal) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.closed = why
	for _, d := range g.divisions {
		g.dispatch(d)
	}
}

// dispatch lets go whoever may, in the order in which they came.
func (g *gate) dispatch(d *division) {
	if len(d.queue) == 0 {
		d.stopTimer()
		return
	}
	now := g.now()
	d.turn(now)
	var stay []*waiter
	for _, w := range d.queue {
		e := w.endpoint
		if refusal := g.refusal(d, e, now); refusal != nil {
			g.leave(w)
			w.ready <- refusal
			continue
		}
		// Each request in flight may end in an error: together they must not be
		// too many.
		if d.full() || e.inFlight >= mostAtOnce || len(e.errors)+e.inFlight >= errorsBefore {
			stay = append(stay, w)
			continue
		}
		d.inFlight++
		e.inFlight++
		w.ready <- nil
	}
	d.queue = stay
	d.stopTimer()
	if len(stay) > 0 && d.full() && !d.minute.end.IsZero() {
		d.timer = time.AfterFunc(d.minute.end.Sub(now), func() {
			g.mu.Lock()
			defer g.mu.Unlock()
			g.dispatch(d)
		})
	}
}

func (d *division) stopTimer() {
	if d.timer != nil {
		d.timer.Stop()
		d.timer = nil
	}
}

// refusal says why a request must not be sent at all, or nil.
func (g *gate) refusal(d *division, e *endpoint, now time.Time) error {
	if g.closed != nil {
		return g.closed
	}
	if d.day.limit > 0 && d.day.left <= 0 && !d.day.end.IsZero() {
		return d.dayUsedUp()
	}
	e.errors = slices.DeleteFunc(e.errors, func(at time.Time) bool { return now.Sub(at) >= errorHour })
	if n := len(e.errors); n >= errorsBefore {
		return &Refusal{Status: http.StatusTooManyRequests, Code: "error_limit", Until: e.errors[n-errorsBefore].Add(errorHour),
			Message: fmt.Sprintf("%s: Exact refused %d requests within an hour and would block the app at more than 10; it is not asked any more", e.key, n),
			Hint:    "mend the request first: the answers to the last ones, 400, 401, 403 or 404, say what is wrong with it"}
	}
	if now.Before(e.heldTill) {
		return &Refusal{Status: http.StatusTooManyRequests, Code: "held", Until: e.heldTill,
			Message: e.key + ": Exact answered 429 and named no limit; it is left alone for a while"}
	}
	return nil
}

// exceeded says which limit of a path's division is used up, or nil.
func (g *gate) exceeded(path string) *Refusal {
	name, _ := place(path)
	g.mu.Lock()
	defer g.mu.Unlock()
	d := g.division(name)
	d.turn(g.now())
	switch {
	case d.day.limit > 0 && d.day.left <= 0 && !d.day.end.IsZero():
		return d.dayUsedUp()
	case d.minute.left <= 0 && !d.minute.end.IsZero():
		return &Refusal{Status: http.StatusTooManyRequests, Code: "minute_limit", Until: d.minute.end,
			Message: fmt.Sprintf("%s: the %d calls of the minute are used up", d, d.minute.limit)}
	}
	return nil
}

// String names the division for people.
func (d *division) String() string {
	if d.name == "" {
		return "calls without a division"
	}
	return "division " + d.name
}

func (d *division) dayUsedUp() *Refusal {
	return &Refusal{Status: http.StatusTooManyRequests, Code: "daily_limit", Until: d.day.end,
		Message: fmt.Sprintf("%s: the %d calls of the day are used up; Exact allows more from %s", d, d.day.limit, d.day.end.UTC().Format(time.RFC3339))}
}

// full reports whether the minute allows no more. What was told is reduced by
// what is under way, some of which may be counted in it already: as answers come
// in, the two draw level. A window that has not been told, with all its requests
// answered, holds nobody back.
func (d *division) full() bool {
	return d.minute.limit > 0 && d.minute.left-d.inFlight <= 0 && (d.inFlight > 0 || !d.minute.end.IsZero())
}

// turn opens new windows for those that are over.
func (d *division) turn(now time.Time) {
	for _, w := range []*window{&d.minute, &d.day} {
		if !w.end.IsZero() && !now.Before(w.end) {
			w.left, w.end = w.limit, time.Time{}
		}
	}
}

// observe reads the limits from an answer and reports whether there were any. An
// ordinary answer has both, a 429 only those that were exceeded (Exact KB "API
// limits", picqer/exact-php-client#646).
func (d *division) observe(o outcome, now time.Time) bool {
	if o.header == nil {
		return false
	}
	minute := d.minute.observe("X-Ratelimit-Minutely-", o, now, time.Minute)
	day := d.day.observe("X-Ratelimit-", o, now, 24*time.Hour)
	return minute || day
}

// observe reads one set of three headers, whose end of the window is in epoch
// milliseconds, and reports whether it was there.
func (w *window) observe(prefix string, o outcome, now time.Time, span time.Duration) bool {
	number := func(name string) (int64, bool) {
		n, err := strconv.ParseInt(strings.TrimSpace(o.header.Get(prefix+name)), 10, 64)
		return n, err == nil && n >= 0
	}
	limit, ok1 := number("Limit")
	left, ok2 := number("Remaining")
	mark, ok3 := number("Reset")
	if !ok1 || !ok2 || !ok3 || limit == 0 || mark < w.mark {
		return ok1 && ok2 && ok3 // an answer that was long under way tells of a window that is over
	}
	behind := time.Duration(0) // how far Exact's clock is behind ours, and never less
	if date, err := http.ParseTime(o.header.Get("Date")); err == nil {
		behind = o.received.Sub(date)
	}
	if mark > w.mark {
		w.mark, w.left, w.behind = mark, int(left), behind
	}
	w.limit = int(limit)
	w.left = min(w.left, int(left)) // answers come out of order; what is left only gets less
	// A Date tells whole seconds, and comes late: the least of several differences is nearest.
	w.behind = min(w.behind, behind)
	w.end = time.UnixMilli(mark).Add(w.behind)
	if most := o.received.Add(span + 2*time.Second); w.end.After(most) {
		w.end = most // whatever the clocks say
	}
	if soon := now.Add(500 * time.Millisecond); o.status == http.StatusTooManyRequests && w.end.Before(soon) {
		w.end = soon // it has turned here and not there: not at once again
	}
	return true
}

func (w *window) told() int {
	if w.end.IsZero() {
		return -1
	}
	return max(0, w.left)
}

// mostKnown bounds what a client can make the gate remember by asking for ever
// new addresses.
const mostKnown = 4096

func (g *gate) division(name string) *division {
	d := g.divisions[name]
	if d == nil {
		if len(g.divisions) >= mostKnown {
			for n, old := range g.divisions {
				if old.inFlight == 0 && len(old.queue) == 0 {
					delete(g.divisions, n)
				}
			}
		}
		d = &division{name: name}
		if name != "" {
			d.minute.limit, d.minute.left = assumedMinute, assumedMinute
		}
		g.divisions[name] = d
	}
	return d
}

func (g *gate) endpoint(key string) *endpoint {
	e := g.endpoints[key]
	if e == nil {
		if now := g.now(); len(g.endpoints) >= mostKnown {
			for k, old := range g.endpoints {
				if n := len(old.errors); old.users == 0 && (n == 0 || now.Sub(old.errors[n-1]) >= errorHour) {
					delete(g.endpoints, k)
				}
			}
		}
		e = &endpoint{key: key}
		g.endpoints[key] = e
	}
	return e
}

// forget drops an endpoint of which there is nothing to remember.
func (g *gate) forget(e *endpoint) {
	if e.users == 0 && len(e.errors) == 0 && !g.now().Before(e.heldTill) {
		delete(g.endpoints, e.key)
	}
}
