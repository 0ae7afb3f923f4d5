package exactapi

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/exactauth/exactauth/internal/fault"
)

const (
	// assumedMinute is the number of calls a minute until Exact reports its own
	// (Exact KB "API limits": 60; 100 has been seen for other customers).
	assumedMinute = 60

	// errorsBefore is the number of errors within an hour after which an endpoint
	// gets no more requests. Exact blocks the app for an hour, and longer each
	// time, at more than ten replies of status 400, 401, 403 or 404 per API key,
	// user, company and endpoint (Exact KB "API limits"). Two are left for the
	// person who searches for the cause.
	errorsBefore = 8
	errorHour    = time.Hour

	// mostAtOnce limits the requests to one endpoint that have no answer yet.
	// When a token ends early, as by another sign-in, Exact refuses all of them,
	// and that must not use up the endpoint's errors. Five are enough for 60 calls
	// a minute that take 5 s each.
	mostAtOnce = 5

	// longestQueue is how long a request may have to wait for its turn.
	longestQueue = 5 * time.Minute

	// unnamedHold is how long an endpoint gets no requests after a 429 that names
	// neither a limit nor a time, as the block for errors may do.
	unnamedHold = time.Minute

	// mostKnown limits the divisions, and the endpoints, that a gate remembers.
	mostKnown = 4096

	minuteLimit, held = "minute_limit", "held" // codes of a Refusal
)

// gate lets requests go as Exact's limits allow: per division and minute, per
// division and day, per endpoint and error. Requests to one endpoint, and those
// that wait for the same minute, go in the order in which they came.
type gate struct {
	now     func() time.Time
	waiting func(ctx context.Context, until time.Time) (over func())

	mu        sync.Mutex
	closed    bool
	divisions map[string]*division
	endpoints map[string]*endpoint
}

// division is a company's share of the limits. Exact does not count calls without
// a division in their address, such as current/Me; they share a division without
// a name.
type division struct {
	name        string
	minute, day window
	inFlight    int // requests whose answer has not begun
	queue       []*turn
	timer       *time.Timer // for the end of the minute; nil if no request waits for it
}

// endpoint is what Exact counts errors by.
type endpoint struct {
	key      string
	users    int         // requests that wait or are in flight
	inFlight int         // of them
	errors   []time.Time // of the last hour, oldest first
	heldTill time.Time
}

// window is a span of time for which Exact has reported how many calls it allows.
type window struct {
	limit  int           // 0 if never reported
	left   int           // the least that was reported for this window
	mark   int64         // its end as Exact wrote it: epoch milliseconds by Exact's clock
	end    time.Time     // by our clock; zero if it is over or was not reported
	behind time.Duration // how far Exact's clock is behind ours
}

// turn is a request's place in the queue, and then its permission to be sent.
type turn struct {
	division *division
	endpoint *endpoint
	ready    chan error // gets one value: nil is the permission
}

func newGate(now func() time.Time, waiting func(context.Context, time.Time) func()) *gate {
	return &gate{now: now, waiting: waiting, divisions: map[string]*division{}, endpoints: map[string]*endpoint{}}
}

// countedBy returns the division and the endpoint that a path counts for. "beta"
// can precede the division, and all records of a collection are one endpoint.
func countedBy(path string) (divisionName, endpointKey string) {
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

// wait returns when a request to path may be sent; done must then be called. It waits
// for the next minute, and for other requests to the same endpoint whose end may be
// an error too many. The error is a *Refusal, at once if the minute ends after ctx, or
// the cause of ctx's end. A request that is sent again goes before those that came
// after it.
func (g *gate) wait(ctx context.Context, path string, again bool) (*turn, error) {
	name, key := countedBy(path)
	g.mu.Lock()
	now := g.now()
	d := remember(g.divisions, name, now, newDivision)
	// The minutes that must end before one more request can go.
	if d.minute.mark != 0 && !again {
		if minutes := len(d.queue) / d.minute.limit; minutes > int(longestQueue/time.Minute) {
			defer g.mu.Unlock()
			return nil, tooMany(minuteLimit, now.Add(time.Duration(minutes)*time.Minute),
				"%s: %d requests wait already, and Exact allows %d a minute", d, len(d.queue), d.minute.limit)
		}
	}
	e := remember(g.endpoints, key, now, func(key string) *endpoint { return &endpoint{key: key} })
	t := &turn{d, e, make(chan error, 1)}
	e.users++
	if again {
		d.queue = slices.Insert(d.queue, 0, t)
	} else {
		d.queue = append(d.queue, t)
	}
	g.dispatch(d)
	var until time.Time
	if d.full() && slices.Contains(d.queue, t) {
		until = d.minute.end
	}
	limit := d.exceeded(now)
	g.mu.Unlock()

	if !until.IsZero() {
		if !lastsFor(ctx, until.Sub(now)) && limit != nil {
			g.leave(t)
			return nil, limit
		}
		defer g.waiting(ctx, until)()
	}
	select {
	case err := <-t.ready:
		return t, err
	case <-ctx.Done():
		g.leave(t)
		return nil, context.Cause(ctx)
	}
}

func (g *gate) leave(t *turn) {
	g.mu.Lock()
	defer g.mu.Unlock()
	d := t.division
	if i := slices.Index(d.queue, t); i >= 0 {
		d.queue = slices.Delete(d.queue, i, i+1)
		t.endpoint.users--
		g.dispatch(d)
	} else if <-t.ready == nil { // its turn came at the same moment
		g.release(t)
	}
}

// done ends a turn: resp came at the time received, or is nil if no answer came. It
// returns the calls that Exact still allows, -1 if that is not known, and the limit
// that an answer 429 is about. That answer has an empty body
// (picqer/exact-php-client#528), so the caller can replace it.
func (g *gate) done(t *turn, resp *http.Response, received time.Time) (minuteLeft, dayLeft int, exceeded *Refusal) {
	g.mu.Lock()
	defer g.mu.Unlock()
	d, e := t.division, t.endpoint
	if resp != nil {
		now := g.now()
		reported := d.observe(resp, received, now)
		switch resp.StatusCode {
		case http.StatusBadRequest, http.StatusUnauthorized, http.StatusForbidden, http.StatusNotFound:
			e.errors = append(e.errors, received)
		case http.StatusTooManyRequests:
			if !reported {
				named := fault.RetryAfter(resp.Header.Get("Retry-After"), received)
				e.heldTill = received.Add(cmp.Or(named, unnamedHold))
				exceeded = e.hold()
				exceeded.named = named > 0
			} else if exceeded = d.exceeded(now); exceeded != nil {
				exceeded.also = maps.Clone(resp.Header)
				maps.DeleteFunc(exceeded.also, func(name string, _ []string) bool { return !isLimit(name) })
			}
		}
	}
	g.release(t)
	return d.minute.allows(), d.day.allows(), exceeded
}

func (g *gate) release(t *turn) {
	t.division.inFlight--
	t.endpoint.inFlight--
	t.endpoint.users--
	g.dispatch(t.division)
}

// left is [Client.Left] for the name of a division.
func (g *gate) left(name string) (minute, day int) {
	g.mu.Lock()
	defer g.mu.Unlock()
	d := g.divisions[name]
	if d == nil {
		return -1, -1
	}
	d.renew(g.now())
	return d.minute.allows(), d.day.allows()
}

// close refuses all requests that wait, and all that come.
func (g *gate) close() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.closed = true
	for _, d := range g.divisions {
		g.dispatch(d)
	}
}

// dispatch answers the requests in the queue that can go or must be refused, in the
// order in which they came.
func (g *gate) dispatch(d *division) {
	if d.timer != nil {
		d.timer.Stop()
		d.timer = nil
	}
	if len(d.queue) == 0 {
		return
	}
	now := g.now()
	d.renew(now)
	var stay []*turn
	for _, t := range d.queue {
		e := t.endpoint
		if refusal := g.refusal(d, e, now); refusal != nil {
			e.users--
			t.ready <- refusal
			continue
		}
		// Each request in flight may end in an error: together they must not be
		// too many.
		if d.full() || e.inFlight >= mostAtOnce || len(e.errors)+e.inFlight >= errorsBefore {
			stay = append(stay, t)
			continue
		}
		d.inFlight++
		e.inFlight++
		t.ready <- nil
	}
	d.queue = stay
	if len(stay) > 0 && d.full() && !d.minute.end.IsZero() {
		d.timer = time.AfterFunc(d.minute.end.Sub(now), func() {
			g.mu.Lock()
			defer g.mu.Unlock()
			g.dispatch(d)
		})
	}
}

// refusal returns why a request must not be sent at all, or nil.
func (g *gate) refusal(d *division, e *endpoint, now time.Time) *Refusal {
	if g.closed {
		return ending()
	}
	if d.day.usedUp() {
		return d.exceeded(now)
	}
	e.errors = slices.DeleteFunc(e.errors, func(at time.Time) bool { return now.Sub(at) >= errorHour })
	if n := len(e.errors); n >= errorsBefore {
		r := tooMany("error_limit", e.errors[n-errorsBefore].Add(errorHour),
			"%s: Exact refused %d requests within an hour and would block the app at more than 10; no more are sent", e.key, n)
		r.Hint = "fix the request first: the last answers, 400, 401, 403 or 404, say what is wrong with it"
		return r
	}
	if now.Before(e.heldTill) {
		return e.hold()
	}
	return nil
}

func (e *endpoint) hold() *Refusal {
	return tooMany(held, e.heldTill, "%s: Exact answered 429 and named no limit; no requests are sent for a while", e.key)
}

func tooMany(code string, until time.Time, format string, args ...any) *Refusal {
	return &Refusal{Status: http.StatusTooManyRequests, Code: code, Until: until, Message: fmt.Sprintf(format, args...)}
}

// exceeded returns which limit of the division is used up, or nil.
func (d *division) exceeded(now time.Time) *Refusal {
	d.renew(now)
	switch {
	case d.day.usedUp():
		return tooMany("daily_limit", d.day.end, "%s: the %d calls of the day are used up; Exact allows more from %s",
			d, d.day.limit, d.day.end.UTC().Format(time.RFC3339))
	case d.minute.usedUp():
		return tooMany(minuteLimit, d.minute.end, "%s: the %d calls of the minute are used up", d, d.minute.limit)
	}
	return nil
}

// isLimit reports whether a header, in net/http's spelling, is of the six with limits.
func isLimit(name string) bool { return strings.HasPrefix(name, "X-Ratelimit-") }

// String names the division for people.
func (d *division) String() string {
	if d.name == "" {
		return "calls without a division"
	}
	return "division " + d.name
}

// full reports whether the minute allows no more requests. What Exact reported is
// reduced by the requests in flight, some of which Exact may have counted already:
// the difference vanishes as answers come in. A window that was not reported, with
// all its requests answered, is not full.
func (d *division) full() bool {
	return d.minute.limit > 0 && d.minute.left-d.inFlight <= 0 && (d.inFlight > 0 || !d.minute.end.IsZero())
}

// renew opens new windows for those that are over.
func (d *division) renew(now time.Time) {
	for _, w := range []*window{&d.minute, &d.day} {
		if !w.end.IsZero() && !now.Before(w.end) {
			w.left, w.end = w.limit, time.Time{}
		}
	}
}

// observe reads the limits from an answer and reports whether there were any. An
// ordinary answer has both, a 429 only those that were exceeded (Exact KB "API
// limits", picqer/exact-php-client#646).
func (d *division) observe(resp *http.Response, received, now time.Time) bool {
	behind := time.Duration(0)
	if date, err := http.ParseTime(resp.Header.Get("Date")); err == nil {
		behind = received.Sub(date)
	}
	minute := d.minute.observe("X-Ratelimit-Minutely-", resp, received, now, behind, time.Minute)
	day := d.day.observe("X-Ratelimit-", resp, received, now, behind, 24*time.Hour)
	return minute || day
}

// observe reads one set of three headers, in which the end of the window is in
// epoch milliseconds, and reports whether it was there.
func (w *window) observe(prefix string, resp *http.Response, received, now time.Time, behind, span time.Duration) bool {
	var number [3]int64
	for i, name := range []string{"Limit", "Remaining", "Reset"} {
		n, err := strconv.ParseInt(strings.TrimSpace(resp.Header.Get(prefix+name)), 10, 64)
		if err != nil || n < 0 {
			return false
		}
		number[i] = n
	}
	limit, left, mark := int(number[0]), int(number[1]), number[2]
	if limit == 0 || mark < w.mark {
		return true // an answer that was long under way is about a window that is over
	}
	if mark > w.mark {
		w.mark, w.left, w.behind = mark, left, behind
	}
	w.limit = limit
	w.left = min(w.left, left) // answers come out of order; what is left only decreases
	// A Date has whole seconds and arrives late, so the least difference is the nearest.
	w.behind = min(w.behind, behind)
	w.end = time.UnixMilli(mark).Add(w.behind)
	if most := received.Add(span + 2*time.Second); w.end.After(most) {
		w.end = most // whatever the clocks say
	}
	if soon := now.Add(500 * time.Millisecond); resp.StatusCode == http.StatusTooManyRequests && w.end.Before(soon) {
		w.end = soon // the window has ended here and not there: do not send again at once
	}
	return true
}

// usedUp reports whether Exact has reported that the window allows no more calls.
func (w *window) usedUp() bool { return !w.end.IsZero() && w.left <= 0 }

// allows returns the calls that the window still allows, or -1 if Exact has not
// reported them.
func (w *window) allows() int {
	if w.end.IsZero() {
		return -1
	}
	return max(0, w.left)
}

// remember returns known[key], which it makes if it is missing. A client that
// requests ever new addresses must not fill the memory: a full map first loses the
// idle entries.
func remember[T interface{ idle(time.Time) bool }](known map[string]T, key string, now time.Time, fresh func(key string) T) T {
	v, ok := known[key]
	if !ok {
		if len(known) >= mostKnown {
			maps.DeleteFunc(known, func(_ string, old T) bool { return old.idle(now) })
		}
		v = fresh(key)
		known[key] = v
	}
	return v
}

func newDivision(name string) *division {
	d := &division{name: name}
	if name != "" {
		d.minute.limit, d.minute.left = assumedMinute, assumedMinute
	}
	return d
}

func (d *division) idle(time.Time) bool { return d.inFlight == 0 && len(d.queue) == 0 }

func (e *endpoint) idle(now time.Time) bool {
	n := len(e.errors)
	return e.users == 0 && (n == 0 || now.Sub(e.errors[n-1]) >= errorHour) && !now.Before(e.heldTill)
}
