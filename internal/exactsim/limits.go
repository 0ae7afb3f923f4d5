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

type errorCount struct {
	since        time.Time // of the first error of the hour
	n            int
	blockedUntil time.Time
}

func (s *Sim) blocked(who caller, now time.Time) bool {
	e := s.errors[who]
	return e != nil && now.Before(e.blockedUntil)
}

func (s *Sim) block() answer { return empty(s.cfg.BlockStatus, Blocked) }

// countError adds a reply to the errors of who, if its status is one that Exact
// counts (Exact KB "API limits"). Errors without a known app count nowhere.
func (s *Sim) countError(who caller, status int, now time.Time) {
	switch status {
	case http.StatusBadRequest, http.StatusUnauthorized, http.StatusForbidden, http.StatusNotFound:
	default:
		return
	}
	if who.client == "" || s.cfg.ErrorLimit < 0 {
		return
	}
	e := s.errors[who]
	if e == nil || now.Sub(e.since) >= time.Hour {
		e = &errorCount{since: now}
		s.errors[who] = e
	}
	if e.n++; e.n >= s.cfg.ErrorLimit {
		e.blockedUntil = now.Add(time.Hour)
	}
}

const day = 24 * time.Hour

// quota is what calls are counted for within a span: an app and division, or, for
// token requests, an app and user.
type quota struct {
	grantKey
	division int
	span     time.Duration
}

// window counts the calls of a span of UTC, which starts at a multiple of its
// length.
type window struct {
	start time.Time
	n     int
}

func (s *Sim) quota(k grantKey, division int, span time.Duration, now time.Time) *window {
	q := quota{k, division, span}
	w, start := s.quotas[q], now.UTC().Truncate(span)
	if w == nil || !w.start.Equal(start) {
		w = &window{start: start}
		s.quotas[q] = w
	}
	return w
}

// limit is one of the two that Exact has for calls.
type limit struct {
	*window
	max    int
	span   time.Duration
	prefix string
}

// show writes the headers of l, with names as Exact writes them: Set would write
// X-Ratelimit.
func (l limit) show(h http.Header) {
	h[l.prefix+"Limit"] = []string{strconv.Itoa(l.max)}
	h[l.prefix+"Remaining"] = []string{strconv.Itoa(l.max - l.n)}
	h[l.prefix+"Reset"] = []string{strconv.FormatInt(l.start.Add(l.span).UnixMilli(), 10)}
}

// spendCall spends an API call on a division. It returns the headers to send
// and whether the call may be made. A call has six headers, resets being epoch
// milliseconds; a refused one has only those of the limit that was exceeded
// (picqer/exact-php-client#646).
func (s *Sim) spendCall(client string, division int, now time.Time) (http.Header, bool) {
	h := http.Header{}
	var limits []limit
	for _, l := range []limit{
		{max: s.cfg.MinuteLimit, span: time.Minute, prefix: "X-RateLimit-Minutely-"},
		{max: s.cfg.DailyLimit, span: day, prefix: "X-RateLimit-"},
	} {
		if l.max < 0 {
			continue
		}
		l.window = s.quota(grantKey{client: client}, division, l.span, now)
		if l.n >= l.max {
			l.show(h)
			return h, false
		}
		limits = append(limits, l)
	}
	for _, l := range limits {
		l.n++
		l.show(h)
	}
	return h, true
}
