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

// underErrorLimit serves a request of who and counts an error in the answer, if its status
// is one that Exact counts (Exact KB "API limits"). Errors without a known app count
// nowhere. What Exact sends to a blocked caller is unknown; here it is an empty 429.
func (s *Sim) underErrorLimit(who caller, c *call, serve func(*call) answer) answer {
	e := s.errors[who]
	if e != nil && c.now.Before(e.blockedUntil) {
		return empty(http.StatusTooManyRequests, Blocked)
	}
	a := serve(c)
	switch a.status {
	case http.StatusBadRequest, http.StatusUnauthorized, http.StatusForbidden, http.StatusNotFound:
	default:
		return a
	}
	if who.client == "" || s.cfg.ErrorLimit < 0 {
		return a
	}
	if e == nil || c.now.Sub(e.since) >= time.Hour {
		e = &errorCount{since: c.now}
		s.errors[who] = e
	}
	if e.n++; e.n >= s.cfg.ErrorLimit {
		e.blockedUntil = c.now.Add(time.Hour)
	}
	return a
}

const day = 24 * time.Hour

// window is a span of UTC, which starts at a multiple of its length, in which the calls
// of an app on a division are counted.
type window struct {
	client   string
	division int
	span     time.Duration
	start    int64 // Unix time
}

// spendCall spends an API call on a division. It returns the headers to send and whether
// the call may be made. A call has six headers, resets being epoch milliseconds; a refused
// one has only those of the limit that was exceeded (picqer/exact-php-client#646).
func (s *Sim) spendCall(client string, division int, now time.Time) (http.Header, bool) {
	h := http.Header{}
	var open []window
	for _, limit := range []struct {
		prefix string
		most   int
		span   time.Duration
	}{
		{"X-RateLimit-Minutely-", s.cfg.MinuteLimit, time.Minute},
		{"X-RateLimit-", s.cfg.DailyLimit, day},
	} {
		if limit.most < 0 {
			continue
		}
		start := now.UTC().Truncate(limit.span)
		w := window{client, division, limit.span, start.Unix()}
		left := limit.most - s.calls[w] - 1
		if left < 0 {
			clear(h)
		}
		// Names as Exact writes them: Set would write X-Ratelimit.
		h[limit.prefix+"Limit"] = []string{strconv.Itoa(limit.most)}
		h[limit.prefix+"Remaining"] = []string{strconv.Itoa(max(left, 0))}
		h[limit.prefix+"Reset"] = []string{strconv.FormatInt(start.Add(limit.span).UnixMilli(), 10)}
		if left < 0 {
			return h, false
		}
		open = append(open, w)
	}
	for _, w := range open {
		s.calls[w]++
	}
	return h, true
}
