package exactauth

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/exactauth/exactauth/internal/fault"
	"github.com/exactauth/exactauth/internal/network"
	"github.com/exactauth/exactauth/internal/record"
)

// refresh takes the record one step nearer to a live token, under the store's lock.
// The first step marks the record (SpentAt) because a refresh is about to be sent. The
// second step sends it, in an update of its own because only the end of an update makes
// anything durable. Each step decides again, since another process may have refreshed
// while this one waited. If another process's mark is recent, this one sends: the other
// has lost the lock or died, and the mark serves both.
//
// The first step uses nothing up, so it may be repeated after a power cut; that saves two
// syncs, but it must never send.
//
// One update that holds the lock throughout is not simpler: each store would have to
// make the mark durable within an update. In PostgreSQL, where record and lock are one
// row and one transaction, that is a commit, which releases the lock all the same.
func (c *tokenCall) refresh(ctx context.Context, seen *record.Record) (*record.Record, error) {
	var rec *record.Record
	sent, looking := false, !c.prepared
	waiting, endWait := context.WithCancelCause(ctx)
	defer endWait(nil)
	over := func() {}
	if c.Waiting != nil {
		over = fault.Announce(waiting, 300*time.Millisecond, func(ctx context.Context) (over func()) {
			return c.Waiting(ctx, "this login is free", time.Time{})
		})
	}
	defer over()
	if c.slept(waiting, seen) {
		return c.load(ctx)
	}
	stopWatching := c.watchRecord(waiting, endWait)
	defer stopWatching()
	if looking {
		waiting = record.Repeatable(waiting)
	}
	err := c.update(waiting, func(_ context.Context, old *record.Record) (*record.Record, error) {
		stopWatching() // the lock is ours; from here on only ctx counts
		over()
		if err := c.mayUse(old); err != nil {
			return nil, err
		}
		rec = old
		switch {
		case c.next(rec).do != refresh:
			return nil, record.ErrUnchanged
		case c.secretFor(rec).IsZero():
			return nil, errNoSecret
		}
		if c.lifts(rec, c.now()) {
			rec.LiftedAt, c.lifting = c.now(), true
		}
		switch {
		case c.mustMark(rec):
			if !rec.SpentAt.IsZero() {
				rec.LostAt = rec.SpentAt // the process that marked it never got an answer
			}
			c.marked = c.now()
			rec.SpentAt = c.marked
			c.prepared = true
		case looking:
			c.prepared = true
			return nil, record.ErrUnchanged
		default:
			c.sentUnder = rec.SpentAt
			c.send(ctx, rec)
			sent, c.lifted = true, c.lifting
		}
		return rec, nil
	})
	if errors.Is(err, errRenewed) {
		return c.load(ctx)
	}
	if err != nil && sent {
		err = fault.With(err, ErrUnsaved)
	}
	if err == nil && sent && c.renewed {
		// In this time a kill would have lost the login: from the reply's last byte to durable.
		c.log().Debug("saved the new tokens", "after", c.now().Sub(rec.RepliedAt))
	}
	return rec, err
}

var errNoSecret = fault.New(fault.ErrConfig, "the client secret is missing")

// mustMark reports whether the record is not marked yet: by this call, or a moment ago
// by another one.
func (c *tokenCall) mustMark(r *record.Record) bool {
	if !c.marked.IsZero() {
		return r.SpentAt.Before(c.marked)
	}
	age := c.now().Sub(r.SpentAt)
	return age < 0 || age > r.Life/50
}

var errRenewed = errors.New("another process has refreshed")

// watchRecord ends the wait for the lock as soon as the record has a token for this
// call, so that many waiting processes go on at once instead of one after the other.
// With the lock held, stop ends the watch, so that what the store still has to do is
// not cut short.
func (c *tokenCall) watchRecord(waiting context.Context, endWait context.CancelCauseFunc) (stop context.CancelFunc) {
	watching, stop := context.WithCancel(waiting)
	judge := *c // the update may change c during the last look
	go func() {
		pause := 20 * time.Millisecond
		for fault.Pause(watching, pause) == nil {
			began := time.Now()
			rec, err := c.load(watching)
			if err == nil && watching.Err() == nil && judge.next(rec).do == handOut {
				endWait(errRenewed)
			}
			pause = max(pause, 10*time.Since(began)) // spare a shared store
		}
	}()
	return stop
}

// slept waits for another process that refreshes the record r, for at most a second from
// the first call, and reports whether there may be one. Most refreshes take less. A process
// that sleeps leaves the processor to that one, as 200 processes that look every few
// milliseconds do not. One that has little time left looks, so that it can say in time why
// it waits.
func (c *tokenCall) slept(ctx context.Context, r *record.Record) bool {
	if end, ok := ctx.Deadline(); c.WaitUnlocked == nil || c.prepared || ok && time.Until(end) < 3*time.Second {
		return false
	}
	if c.sleepUntil.IsZero() {
		c.sleepUntil = time.Now().Add(min(r.Life/50, time.Second))
	}
	left := time.Until(c.sleepUntil)
	if left > 0 && c.WaitUnlocked(ctx, c.Profile.Name, left) {
		return true
	}
	// Between the two updates of a refresh the lock is free.
	age := c.now().Sub(r.SpentAt)
	return left > 0 && age >= 0 && age < time.Second && fault.Pause(ctx, 10*time.Millisecond) == nil
}

// send sends the refresh token and writes the outcome into rec. The server acts when it
// receives the request, so nothing that happens to the caller intervenes from here to
// the saved answer: ctx only prevents a second attempt.
func (c *tokenCall) send(ctx context.Context, rec *record.Record) {
	bounded, cancel := context.WithTimeout(context.WithoutCancel(ctx), requestLimit)
	defer cancel()
	secret := c.secretFor(rec)

	var a answer
	attempt := 1
	for ; ; attempt++ {
		a = c.renew(bounded, secret, rec.Refresh)
		c.apply(rec, rec.Refresh, a)
		pause, again := c.retryPause(a, rec.Life, attempt)
		// The server can have received what it did not seem to answer, and count each as an error.
		again = again && (a.outcome == notSent || rec.Failures == 1)
		if !again || ctx.Err() != nil || fault.Pause(bounded, pause) != nil {
			break
		}
	}
	// Connecting fails sooner: the process stood still before it sent anything. It begins
	// again, by what is in the record now.
	if a.outcome == notSent && attempt == 1 && bounded.Err() != nil && ctx.Err() == nil && !c.stoodStill {
		c.stoodStill, c.failed = true, nil
	}
	// A sign-in may have ended this login and been killed before it replaced the login.
	if a.outcome != oldToken || rec.UsePending() {
		return
	}
	if rec.Refused == nil {
		return // another machine's answer is awaited
	}
	// A restored backup may have replaced the record in spite of the lock.
	if other, err := c.load(bounded); err == nil && other.SignedIn() && other.Refresh.Reveal() != rec.Refresh.Reveal() {
		*rec = *other
		return
	}
	// Exact has been seen to accept the previous token until the new one is used
	// (forums.invantive.com 1419, 2903), and to contradict itself.
	if rec.Previous.IsZero() {
		return
	}
	switch p := c.renew(bounded, secret, rec.Previous); p.outcome {
	case granted, tooEarly:
		used := rec.Previous
		rec.Refresh, rec.Previous, rec.Refused = used, rec.Refresh, nil
		c.apply(rec, used, p)
	case oldToken, deadToken:
		rec.Previous = fault.Secret{} // not tried again when the refusal is lifted
	default: // the refusal of one of the two is no reason to give up
		if p.outcome == notSent {
			p.sentAt = rec.LostAt
		} else {
			rec.Failures++ // its answer may count as an error, too
		}
		p.outcome, rec.Refused = refused, nil
		p.err = fmt.Errorf("old refresh token used; of the token before it: %w", p.err)
		c.apply(rec, rec.Previous, p)
	}
}

// retryPause says whether the same call asks the server again after this answer, and
// after how long. Pauses follow the token's life and add up to 10 s at most.
func (c *Client) retryPause(a answer, life time.Duration, attempt int) (time.Duration, bool) {
	most := min(life/50, 10*time.Second)
	switch {
	case a.outcome == notSent && network.Lasts(a.err): // such as a proxy that may count wrong passwords
	case a.outcome == notSent && attempt <= 2: // nothing was spent, so more than one retry does no harm
		return (most/8)<<attempt + c.jitter(most/8), true
	case a.outcome == unanswered && attempt == 1:
		if a.retryAfter > 0 {
			return a.retryAfter, a.retryAfter <= most
		}
		return most/4 + c.jitter(most/4), true
	}
	return 0, false
}

// apply writes into rec what the answer to a refresh with the token used means.
func (c *tokenCall) apply(rec *record.Record, used fault.Secret, a answer) {
	now := c.now()
	spentAt := rec.SpentAt
	rec.SpentAt = time.Time{}
	c.failed = nil
	if (a.outcome == tooEarly || a.outcome == oldToken) && rec.LostAt.IsZero() {
		// The process that marked the record did send, and was killed. Of one that sent under
		// this call's own mark and was killed nothing is in the record: then the refusal does
		// not say that an answer was lost, and the time of the next attempt counts from now.
		if rec.LostAt = rec.CodeAt; rec.LostAt.IsZero() && !spentAt.Equal(c.marked) {
			rec.LostAt = spentAt
		}
	}
	if !a.refresh.IsZero() && a.refresh.Reveal() != used.Reveal() {
		rec.Previous, rec.Refresh = used, a.refresh
		if a.outcome != granted { // which is counted below
			rec.Generation++
		}
	}
	hold := func(text string, pause time.Duration) {
		rec.Failure, rec.FailedAt, rec.RetryAt = text, now, now.Add(pause)
		rec.Forbidden = a.outcome == forbidden
	}
	refuse := func(config bool, text string) {
		rec.RetryAt, rec.FailedAt, rec.Failure, rec.Forbidden = time.Time{}, time.Time{}, "", false
		rec.Refused = &record.Refusal{Config: config, Text: text, At: now, Client: c.fingerprint(rec)}
	}
	switch a.outcome {
	case granted:
		rec.Access, rec.Life = a.access, a.life
		rec.RequestedAt, rec.RepliedAt, rec.ServerDate = a.sentAt, a.repliedAt, a.serverDate
		rec.LostAt, rec.AwaitedAt, rec.RetryAt, rec.FailedAt = time.Time{}, time.Time{}, time.Time{}, time.Time{}
		rec.Failures, rec.Failure, rec.Forbidden = 0, "", false
		rec.Refused, rec.LiftedAt, rec.AlertedAt, rec.CodeAt = nil, time.Time{}, time.Time{}, time.Time{}
		if rec.Former == nil { // a sign-in of the same user would have ended this login
			rec.Pending = nil
		}
		rec.Generation++
		c.renewed = true
		c.renewals++

	case notSent:
		c.failed = fault.Wrap(fault.ErrTemporary, a.err, "cannot reach %s, the login is untouched", c.Profile.BaseURL)

	case unanswered, redirected:
		rec.Failures++
		text := fmt.Sprintf("%s did not answer as it should (%v)", c.Profile.BaseURL, a.err)
		if a.outcome == redirected {
			text = fmt.Sprintf("%s redirects to another address, which is not followed (%v)", c.Profile.BaseURL, a.err)
		} else {
			rec.LostAt = a.sentAt
		}
		hold(text, max(a.retryAfter, backoff(rec.Life/20, rec.Failures, rec.Life)))

	case refused, forbidden:
		// Each of these counts towards the ten errors an hour.
		rec.Failures++
		rec.LostAt = a.sentAt
		hold(fmt.Sprintf("%s refuses the refresh (%v)", c.Profile.BaseURL, a.err), max(a.retryAfter, backoff(rec.Life/10, rec.Failures, 6*rec.Life)))

	case tooEarly:
		rec.Refused, rec.AlertedAt = nil, time.Time{} // it knows client and token
		redate(rec, now, a)
		switch {
		case rec.Alive(now) && rec.LostAt.IsZero():
			// Unless our clock was fast, the server's window differs from its documentation.
			if !now.Before(rec.MayRefreshAt()) {
				rec.WaitForExpiry = true
			}
		case rec.LostAt.IsZero() && now.Before(rec.RepliedAt.Add(rec.Life+rec.Life/5)):
			// The server's clock for expiry is a little behind ours.
			hold("Exact says that the expired token has not expired", rec.Life/50)
		default:
			// The server did issue a token, and we never saw it.
			from := rec.LostAt
			if from.IsZero() {
				from = spentAt
			}
			open := from.Add(rec.Life/20*19 + rec.Life/50)
			if !open.After(now) || from.After(now) { // in vain so far, or the clock was set back since
				open = now.Add(rec.Life / 20 * 19)
			}
			hold(fmt.Sprintf("the answer to a refresh or sign-in was lost at %s and Exact allows the next one later", fault.Clock(from)), open.Sub(now))
		}

	case oldToken:
		// A process that sent under this mark, whoever made it, may be alive: the server of a
		// shared store can end its session, and with it the lock, while its answer is on the way.
		longest := rec.Life / 8
		if left := min(c.sentUnder.Add(longest).Sub(now), longest); c.Shared && left > 0 && rec.AwaitedAt.IsZero() {
			rec.AwaitedAt, rec.Refused = now, nil
			hold("its refresh token was used before, and the answer to that refresh may still be under way to another machine", left)
			return
		}
		text := "Exact says that its refresh token was used before: the same app and user signed in somewhere else, or a copy of this login was used"
		if !rec.LostAt.IsZero() {
			text = fmt.Sprintf("its refresh token was used up by a refresh at %s whose answer was lost", fault.Clock(rec.LostAt))
		}
		if !rec.CodeAt.IsZero() {
			text = fmt.Sprintf("a sign-in at %s, whose answer was lost, has ended it", fault.Clock(rec.CodeAt))
		}
		refuse(false, text)

	case deadToken:
		refuse(false, fmt.Sprintf("Exact does not accept its refresh token any more (%v)", a.err))

	case badClient:
		refuse(true, fmt.Sprintf("Exact does not accept the client id and client secret (%v)", a.err))
	}
}

// backoff doubles from base with each failure, up to most.
func backoff(base time.Duration, failures int, most time.Duration) time.Duration {
	return min(base<<min(failures-1, 10), most)
}

// redate corrects the times of the access token if the clock was set since it came: its
// age is the difference of two of the server's own dates. Those count in seconds, so a
// token that lives for seconds keeps its times. So it does after a slow answer, whose date
// says little of now.
func redate(r *record.Record, now time.Time, a answer) {
	slow := a.repliedAt.Sub(a.sentAt) >= r.Life/24
	if r.Life < time.Minute || r.ServerDate.IsZero() || a.serverDate.IsZero() || slow {
		return
	}
	age := a.serverDate.Sub(r.ServerDate) + time.Second
	set := now.Sub(r.RequestedAt) - age // by how much
	if age < 0 || age > r.Life || set.Abs() < r.Life/24 {
		return
	}
	r.RequestedAt = now.Add(-age)
	r.RepliedAt = r.RequestedAt.Add(min(2*time.Second, age))
}

// identify asks whose the pending or unproven tokens in r are, and stores the answer.
// Scripts would work in another user's name with tokens that are not proved to be the
// same user's. Beside a login, such tokens are dropped if they are another user's. In
// place of one that has ended, they are refused until a person signs in.
func (c *tokenCall) identify(ctx context.Context, r *record.Record) (*record.Record, error) {
	unknown, why := &r.Tokens, "its login has ended"
	if r.PendingFirst(c.now()) {
		unknown, why = r.Pending, "a newer sign-in is saved"
	}
	if !unknown.Alive(c.now()) { // it can be asked after a refresh
		return c.replaceEnded(ctx)
	}
	asking, cancel := context.WithTimeout(ctx, userLimit)
	defer cancel()
	user, askErr := c.user(asking, c.token(*unknown))
	switch {
	case errors.Is(ctx.Err(), context.Canceled):
		return nil, context.Cause(ctx)
	case errors.Is(askErr, fault.ErrLoginNeeded) && !unknown.Alive(c.now()):
		return r, nil // the token expired while Exact was asked
	case errors.Is(askErr, fault.ErrTemporary):
		return nil, fault.Wrap(fault.ErrTemporary, askErr, "%s, and Exact cannot be asked now whose it is", why)
	}
	var rec *record.Record
	err := c.update(ctx, func(_ context.Context, old *record.Record) (*record.Record, error) {
		if err := c.mayUse(old); err != nil {
			return nil, err
		}
		rec = old
		if p := rec.Pending; p != nil && p.Refresh.Reveal() == unknown.Refresh.Reveal() {
			switch {
			case askErr != nil:
				rec.Failures++
				rec.Failure = fmt.Sprintf("a newer sign-in is saved, and Exact does not say whose it is (%v)", askErr)
				rec.FailedAt, rec.Forbidden = c.now(), errors.Is(askErr, fault.ErrForbidden)
				rec.RetryAt = rec.FailedAt.Add(backoff(rec.Life/10, rec.Failures, rec.Life))
			case user.Differs(rec.User):
				c.notice(fmt.Sprintf("a sign-in of another user, %s, is not used", user))
				rec.Pending = nil // the generation still counts it
			default:
				rec.UsePending()
				rec.User, rec.Former = user, nil
			}
			return rec, nil
		}
		if rec.Former == nil || rec.Refresh.Reveal() != unknown.Refresh.Reveal() {
			return nil, record.ErrUnchanged // another process was faster
		}
		text := ""
		if rec.Refused != nil {
			rec.LiftedAt, c.lifted = c.now(), true
		}
		switch {
		case askErr != nil:
			text = fmt.Sprintf("the login of %s has ended, and Exact does not say whose the sign-in after it was (%v)", rec.User, askErr)
		case user.Differs(rec.User):
			text = fmt.Sprintf("the login of %s has ended, and the sign-in after it was another user's, %s", rec.User, user)
			rec.UseFormer()
			c.lifting, c.lifted, c.sentUnder = false, false, time.Time{} // this call has not asked about that login
		default:
			rec.User, rec.Former, rec.Refused, rec.AlertedAt = user, nil, nil, time.Time{}
			if rec.Pending != nil && !rec.Pending.Alive(c.now()) {
				rec.Pending = nil // another user's: it did not end these tokens, which are newer
			}
			return rec, nil
		}
		rec.Refused = &record.Refusal{Text: text, At: c.now(), Client: c.fingerprint(rec)}
		return rec, nil
	})
	return rec, err
}

// confirm asks whether Exact still takes the token in r, because a sign-in whose outcome is
// unknown may have ended the login. If Exact does not, the next refresh shows whether the
// login has ended. That is a request to Exact's API: a refresh would count as an error now.
func (c *tokenCall) confirm(ctx context.Context, r *record.Record) (*record.Record, error) {
	began := fault.Clock(r.CodeAt)
	age := c.now().Sub(r.CodeAt)
	asking, cancel := context.WithTimeout(ctx, userLimit)
	defer cancel()
	_, askErr := c.user(asking, c.token(r.Tokens))
	ended := errors.Is(askErr, fault.ErrLoginNeeded)
	switch {
	case errors.Is(ctx.Err(), context.Canceled):
		return nil, context.Cause(ctx)
	case errors.Is(askErr, fault.ErrTemporary):
		return nil, fault.Wrap(fault.ErrTemporary, askErr, "a sign-in at %s was interrupted, and Exact cannot be asked now whether it has ended this login", began)
	case !ended:
		c.confirmed = r.Access.Reveal()
		if age >= 0 && age < longestSignIn { // the sign-in may be going on, and end the login a moment later
			return r, nil
		}
	}
	rec := r
	err := c.update(ctx, func(_ context.Context, old *record.Record) (*record.Record, error) {
		if err := c.mayUse(old); err != nil {
			return nil, err
		}
		if rec = old; !rec.CodeAt.Equal(r.CodeAt) || rec.Access.Reveal() != r.Access.Reveal() || ended && !rec.Alive(c.now()) {
			return nil, record.ErrUnchanged
		}
		if !ended {
			rec.CodeAt = time.Time{}
			return rec, nil
		}
		rec.Failure = fmt.Sprintf("a sign-in at %s was interrupted, and Exact does not take this login's token any more (%v)", began, askErr)
		rec.FailedAt, rec.RetryAt, rec.Forbidden = c.now(), rec.MayRefreshAt(), false
		return rec, nil
	})
	if err != nil && !ended {
		return r, nil // a token that is good needs no store
	}
	return rec, err
}

// replaceEnded replaces a login that Exact has refused by the sign-in after it, whose
// access token has expired, too. If it is unknown whose the refused tokens are, they are
// refreshed once more before that: they may have been refused only because Exact did not
// say it.
func (c *tokenCall) replaceEnded(ctx context.Context) (rec *record.Record, err error) {
	err = c.update(ctx, func(_ context.Context, old *record.Record) (*record.Record, error) {
		if err := c.mayUse(old); err != nil {
			return nil, err
		}
		if rec = old; !rec.Ended() {
			return nil, record.ErrUnchanged
		}
		if rec.Pending != nil && rec.Former != nil && mayLift(rec, c.now()) {
			lift(rec, c.now())
		} else if !rec.UsePending() {
			return nil, record.ErrUnchanged
		}
		return rec, nil
	})
	return rec, err
}
