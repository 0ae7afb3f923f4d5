package stored

import "time"

// Times is what the times of an access token follow from. All of them scale with
// the life that the server stated.
type Times struct {
	Life        time.Duration // as the server stated it; 600 s at Exact
	RequestedAt time.Time     // when the request for it was sent
	RepliedAt   time.Time     // when the answer was there; never before RequestedAt

	// WaitForExpiry has the token replaced only once it has expired, because the
	// server was seen to refuse a refresh before.
	WaitForExpiry bool
}

// ExpiresAt counts from when the request was sent: never too long.
func (t Times) ExpiresAt() time.Time { return t.RequestedAt.Add(t.Life) }

// MayRefreshAt counts from when the reply was there: never too early. "You can
// only request for a new access token after 570 seconds from the time you
// successfully received the previous access token" (Exact KB, API limits).
func (t Times) MayRefreshAt() time.Time {
	if t.WaitForExpiry {
		return t.RepliedAt.Add(t.Life + t.Life/200) // not on the very second
	}
	return t.RepliedAt.Add(t.Life / 20 * 19)
}

// RefreshDueAt is when the token is replaced without being asked to.
func (t Times) RefreshDueAt() time.Time {
	due := t.ExpiresAt().Add(-t.Life / 24)
	if may := t.MayRefreshAt(); may.After(due) {
		return may
	}
	return due
}

// Alive reports whether the token is good at now. If the clock went back behind
// the moment when it was asked for, nobody can tell.
func (t Times) Alive(now time.Time) bool {
	return !t.ClockWentBack(now) && now.Before(t.ExpiresAt())
}

// ClockWentBack reports whether now is before the token was asked for, by more
// than clocks are adjusted in passing.
func (t Times) ClockWentBack(now time.Time) bool {
	return now.Before(t.RequestedAt.Add(-t.Life / 24))
}

// Fresh reports whether the token is to be handed out at now without a thought of
// replacing it.
func (t Times) Fresh(now time.Time) bool {
	return t.Alive(now) && now.Before(t.RefreshDueAt())
}
