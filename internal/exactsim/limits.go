package exactsim

import (
	"net/http"
	"strconv"
	"time"
)

// caller is whom errors are counted against.
type caller struct {
	grantKey
	endpoint string
}

// limits counts calls and errors. Sim.mu guards it.
type limits struct {
	errors     map[caller]*errorCount
	calls      map[divisionKey]*callCount
	tokenCalls map[grantKey]*window
}

type divisionKey struct {
	client   string
	division int
}

type errorCount struct {
	since        time.Time // of the first error of the hour
	n            int
	blockedUntil time.Time
}

type callCount struct{ minute, day window }

// window counts within a span of UTC that starts at a multiple of its length.
type window struct {
	start time.Time
	n     int
}

func (w *window) at(now time.Time, span time.Duration) *window {
	if start := now.UTC().Truncate(span); !start.Equal(w.start) {
		*w = window{start: start}
	}
	return w
}

func newLimits() limits {
	return limits{
		errors:     map[caller]*errorCount{},
		calls:      map[divisionKey]*callCount{},
		tokenCalls: map[grantKey]*window{},
	}
}

func (l *limits) blocked(who caller, now time.Time) bool {
	e := l.errors[who]
	return e != nil && now.Before(e.blockedUntil)
}

// count adds a reply to the errors of who, if it is one of those that Exact
// counts (Exact KB "API limits"). Errors of nobody in particular count nowhere.
func (l *limits) count(who caller, status, limit int, now time.Time) {
	switch status {
	case http.StatusBadRequest, http.StatusUnauthorized, http.StatusForbidden, http.StatusNotFound:
	default:
		return
	}
	if who.client == "" || limit < 0 {
		return
	}
	e := l.errors[who]
	if e == nil || now.Sub(e.since) >= time.Hour {
		e = &errorCount{since: now}
		l.errors[who] = e
	}
	if e.n++; e.n >= limit {
		e.blockedUntil = now.Add(time.Hour)
	}
}

// tokenCall spends one of perDay token requests and reports whether there was
// one left.
func (l *limits) tokenCall(k grantKey, perDay int, now time.Time) bool {
	w := l.tokenCalls[k]
	if w == nil {
		w = &window{}
		l.tokenCalls[k] = w
	}
	if w.at(now, 24*time.Hour).n >= perDay {
		return false
	}
	w.n++
	return true
}

func (s *Sim) block() answer {
	return reply(s.cfg.BlockStatus, Blocked, "", nil)
}

// spendCall spends an API call on a division. It returns the headers to send
// and whether the call may be made. A call has six headers, resets being epoch
// milliseconds; a refused one has only those of the limit that was exceeded
// (picqer/exact-php-client#646).
func (s *Sim) spendCall(k divisionKey, now time.Time) (http.Header, bool) {
	calls := s.limits.calls[k]
	if calls == nil {
		calls = &callCount{}
		s.limits.calls[k] = calls
	}
	limits := []struct {
		*window
		span   time.Duration
		limit  int
		prefix string
	}{
		{&calls.minute, time.Minute, s.cfg.MinuteLimit, "X-RateLimit-Minutely-"},
		{&calls.day, 24 * time.Hour, s.cfg.DailyLimit, "X-RateLimit-"},
	}
	// Names as Exact writes them; Set would write X-Ratelimit.
	write := func(h http.Header, w *window, span time.Duration, limit int, prefix string) {
		h[prefix+"Limit"] = []string{strconv.Itoa(limit)}
		h[prefix+"Remaining"] = []string{strconv.Itoa(limit - w.n)}
		h[prefix+"Reset"] = []string{strconv.FormatInt(w.start.Add(span).UnixMilli(), 10)}
	}
	h := http.Header{}
	for _, l := range limits {
		if l.limit >= 0 && l.at(now, l.span).n >= l.limit {
			write(h, l.window, l.span, l.limit, l.prefix)
			return h, false
		}
	}
	for _, l := range limits {
		if l.limit >= 0 {
			l.n++
			write(h, l.window, l.span, l.limit, l.prefix)
		}
	}
	return h, true
}
