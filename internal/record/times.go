package record

import "time"

// This file is the arithmetic of a token's life. All of it scales with the life that
// the server stated.

// refreshIdle is how long an unused refresh token stays good, since July 2021 (Exact
// KB, OAuth step 3; "API limits").
const refreshIdle = 30 * 24 * time.Hour

// ExpiresAt counts from when the request was sent: never too long.
func (t *Tokens) ExpiresAt() time.Time { return t.RequestedAt.Add(t.Life) }

// RefreshExpiresAt is when the refresh token lapses if it stays unused.
func (t *Tokens) RefreshExpiresAt() time.Time { return t.RepliedAt.Add(refreshIdle) }

// ClockWentBack reports whether now is before the token was requested, by more than
// the small corrections that every clock gets.
func (t *Tokens) ClockWentBack(now time.Time) bool {
	return now.Before(t.RequestedAt.Add(-t.Life / 24))
}

// Alive reports whether the access token is good at now. After the clock went back
// that is unknown.
func (t *Tokens) Alive(now time.Time) bool {
	return !t.Access.IsZero() && !t.ClockWentBack(now) && now.Before(t.ExpiresAt())
}

// MayRefreshAt counts from when the reply was there: never too early. "You can
// only request for a new access token after 570 seconds from the time you
// successfully received the previous access token" (Exact KB, API limits).
func (r *Record) MayRefreshAt() time.Time {
	replied := r.RepliedAt
	// No request takes that long: the machine slept until the reply was read, and the
	// server did not. If it slept before the request was sent, the server says so.
	if latest := r.RequestedAt.Add(longestRequest); replied.After(latest) {
		replied = latest
	}
	if r.WaitForExpiry {
		return replied.Add(r.Life + r.Life/200) // not on the very second
	}
	return replied.Add(r.Life / 20 * 19)
}

// longestRequest is longer than a request to the token endpoint may take.
const longestRequest = 2 * time.Minute

// RefreshDueAt is when the token is replaced even if no caller asks for more life.
func (r *Record) RefreshDueAt() time.Time {
	due := r.ExpiresAt().Add(-r.Life / 24)
	if may := r.MayRefreshAt(); may.After(due) {
		return may
	}
	return due
}

// Fresh reports whether the access token can be handed out at now and need not be
// replaced yet.
func (r *Record) Fresh(now time.Time) bool {
	return r.Alive(now) && now.Before(r.RefreshDueAt())
}

// Held reports whether the server must not be asked at now. A clock that was set back
// does not prolong that.
func (r *Record) Held(now time.Time) bool {
	return now.Before(r.RetryAt) && !now.Before(r.FailedAt)
}
