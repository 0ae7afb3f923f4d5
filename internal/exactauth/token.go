package exactauth

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"time"

	"github.com/exactauth/exactauth/internal/fault"
	"github.com/exactauth/exactauth/internal/record"
)

// Want says what a token must be good for. The zero value takes what is there.
type Want struct {
	// MinValid is the life that the token must still have. It can be no more
	// than the server gives a new token (600 s at Exact).
	MinValid time.Duration
	// Force asks for a token that was issued after the call.
	Force bool
}

// Token returns a live access token. It reads the record without a lock; only
// a token that is due to be replaced costs a lock and a request. A wait for the
// moment from which the server refreshes ends, at the latest, with ctx; a request
// that was sent is seen through and its answer saved even if ctx ends meanwhile,
// since its refresh token works once.
//
// Errors wrap fault.ErrLoginNeeded, fault.ErrTemporary, fault.ErrConfig or fault.ErrRecord, or are the
// store's.
func (c *Client) Token(ctx context.Context, want Want) (record.Token, error) {
	call := &tokenCall{Client: c, want: want, began: c.now()}
	rec, err := c.load(ctx)
	if err != nil {
		return record.Token{}, err
	}
	for {
		step := call.next(rec)
		if step.do != handOut && !call.secretKnown {
			if err := call.findSecret(ctx); err != nil {
				return record.Token{}, err
			}
			step = call.next(rec) // another secret lifts a refusal
		}
		switch step.do {
		case handOut:
			if step.why != "" {
				c.notice(step.why)
			}
			if c.Log != nil { // a clock time costs the time zone's file
				c.Log.Debug("token at hand", "profile", c.Profile.Name, "expires", rec.ExpiresAt())
			}
			return c.token(rec.Tokens), nil
		case giveUp:
			return record.Token{}, step.err
		case wait:
			if err := c.wait(ctx, step.why, step.until); err != nil {
				return record.Token{}, err
			}
			rec, err = c.load(ctx)
		case prove:
			rec, err = call.prove(ctx, rec)
		case refresh:
			var next *record.Record
			if next, err = call.refresh(ctx); err == nil {
				rec = next
			} else if ctx.Err() == nil && call.serves(rec) {
				call.failed, err = err, nil // the token there is still does
			}
			if errors.Is(ctx.Err(), context.Canceled) {
				return record.Token{}, context.Cause(ctx) // what came is saved
			}
		}
		if err != nil {
			return record.Token{}, err
		}
	}
}

// token returns what is handed out of these tokens.
func (c *Client) token(t record.Tokens) record.Token {
	return record.Token{Access: t.Access, ExpiresAt: t.ExpiresAt(), BaseURL: c.Profile.BaseURL, Profile: c.Profile.Name, Division: c.Profile.Division}
}

// load reads the record without a lock and holds it against the profile.
func (c *Client) load(ctx context.Context) (*record.Record, error) {
	b, err := c.Store.Read(ctx, c.Profile.Name)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, c.nobody()
	} else if err != nil {
		return nil, err
	}
	return c.open(b)
}

func (c *Client) open(b []byte) (*record.Record, error) {
	r, err := record.Decode(b)
	if err != nil {
		return nil, fmt.Errorf("profile %s: %w", c.Profile.Name, err)
	}
	if r.MovedTo != "" {
		return nil, c.elsewhere(r)
	}
	if r.SignedIn() && !c.owns(r) {
		return nil, fault.New(fault.ErrLoginNeeded, "profile %s: its login belongs to client id %s at %s, not to %s at %s",
			c.Profile.Name, r.ClientID, r.BaseURL, c.Profile.ClientID, c.Profile.BaseURL)
	}
	return r, nil
}

// owns reports whether the record is of the profile's client. What belongs
// elsewhere must never be sent here.
func (c *Client) owns(r *record.Record) bool {
	return r.BaseURL == c.Profile.BaseURL && r.ClientID == c.Profile.ClientID
}

func (c *Client) nobody() error {
	return fault.New(fault.ErrLoginNeeded, "profile %s: nobody is signed in", c.Profile.Name)
}

// tokenCall is one call of Token: what decides besides the record.
type tokenCall struct {
	*Client
	want  Want
	began time.Time

	secretKnown bool
	secret      fault.Secret // of the client, if it does not come from the record

	noted   time.Time // when this call noted that it is about to refresh
	foreign time.Time // when somebody else had, and no answer was there as this call sent
	granted bool      // it then got new tokens
	failed  error     // why it could not; nothing was spent
}

// step is what to do next with a record.
type step struct {
	do    action
	why   string    // what is waited for, or a word to go with a token
	until time.Time // the end of a wait
	err   error     // of giving up
}

type action int

const (
	handOut action = iota
	wait
	prove
	refresh
	giveUp
)

// next decides, from the record and the clock alone, so that whoever looks at
// the same record decides alike.
func (c *tokenCall) next(r *record.Record) step {
	if !r.SignedIn() {
		return step{do: giveUp, err: c.nobody()}
	}
	if c.want.MinValid > r.Life {
		return step{do: giveUp, err: fault.Wrap(fault.ErrConfig, &LifeError{r.Life}, "none can have %s left", c.want.MinValid)}
	}
	now := c.now()
	serves := c.serves(r)
	if serves && now.Before(r.RefreshDueAt()) {
		return step{do: handOut}
	}
	// It is to be replaced. What speaks against asking the server?
	if err := c.blocked(r, now); err != nil {
		if serves {
			return step{do: handOut, why: fmt.Sprintf("this token ends in %s and there is no new one: %v", r.ExpiresAt().Sub(now).Round(time.Second), err)}
		}
		return step{do: giveUp, err: err}
	}
	if r.Unproven && r.Alive(now) {
		return step{do: prove}
	}
	if may := r.MayRefreshAt(); now.Before(may) && !r.ClockWentBack(now) {
		return step{do: wait, why: "Exact allows a refresh", until: may}
	}
	return step{do: refresh}
}

// serves reports whether the access token there is does for this call. One that
// came while the call was under way does: there is no better one.
func (c *tokenCall) serves(r *record.Record) bool {
	now := c.now()
	if !r.Alive(now) || r.Unproven {
		return false
	}
	return c.granted || r.RequestedAt.After(c.began) || !c.want.Force && r.ExpiresAt().Sub(now) >= c.want.MinValid
}

// blocked says why the server is not to be asked, or nil.
func (c *tokenCall) blocked(r *record.Record, now time.Time) error {
	if f := r.Refused; f != nil && f.Client == c.fingerprint(r) {
		kind := fault.ErrLoginNeeded
		if f.Config {
			kind = fault.ErrConfig
		}
		return fault.New(kind, "profile %s: %s (since %s)", c.Profile.Name, f.Text, fault.Clock(f.At))
	}
	if c.failed != nil {
		return c.failed
	}
	if r.Held(now) {
		return fault.Wrap(fault.ErrTemporary, &fault.WaitError{For: "the next attempt is due", Until: r.RetryAt}, "no new token: %s; the login is kept", r.Failure)
	}
	if c.granted && !(r.Unproven && r.Alive(now)) { // it ended before it arrived, or the clock jumped
		return fault.New(fault.ErrTemporary, "the new token is not valid by this machine's clock, which says %s", fault.Clock(now))
	}
	return nil
}

func (c *tokenCall) findSecret(ctx context.Context) (err error) {
	c.secretKnown = true
	if c.ClientSecret != nil {
		c.secret, err = c.ClientSecret(ctx)
	}
	return err
}

// useSecret is the client secret for requests about r.
func (c *tokenCall) useSecret(r *record.Record) fault.Secret {
	if !c.secret.IsZero() {
		return c.secret
	}
	return r.ClientSecret
}

func (c *tokenCall) fingerprint(r *record.Record) string {
	return fingerprint(r.BaseURL, r.ClientID, c.useSecret(r))
}

// refresh takes the record one step nearer to a live token under the store's
// lock. First it notes that a refresh is about to be sent; then, in an update of
// its own because only the end of one makes anything durable, it sends it. The
// record is judged again each time, since somebody else may have refreshed while
// this process waited. Whoever comes upon a fresh note sends: its writer has
// either lost the lock to us or was killed, and the note tells of both alike.
func (c *tokenCall) refresh(ctx context.Context) (*record.Record, error) {
	var rec *record.Record
	spent := false
	waiting, end := context.WithCancelCause(ctx)
	defer end(nil)
	stop := c.unlessServed(waiting, end)
	defer stop()
	over := c.tellIfLong(waiting, "this login is free")
	defer over()
	err := c.Store.Update(waiting, c.Profile.Name, func(_ context.Context, old []byte) (_ []byte, err error) {
		stop() // the lock is ours; from here only ctx counts
		over()
		if old == nil {
			return nil, c.nobody()
		}
		if rec, err = c.open(old); err != nil {
			return nil, err
		}
		if c.next(rec).do != refresh {
			return old, nil
		}
		if c.useSecret(rec).IsZero() {
			return nil, fault.New(fault.ErrConfig, "profile %s: the client secret is missing", c.Profile.Name)
		}
		if c.mustNote(rec) {
			if !rec.SpentAt.IsZero() {
				rec.LostAt = rec.SpentAt // its writer never came back with an answer
				c.foreign = rec.SpentAt
			}
			c.noted = c.now()
			rec.SpentAt = c.noted
		} else {
			if !rec.SpentAt.Equal(c.noted) {
				c.foreign = rec.SpentAt
			}
			c.spend(ctx, rec)
			spent = c.granted
		}
		return rec.Encode()
	})
	if errors.Is(err, errServed) {
		return c.load(ctx)
	}
	if err == nil && spent {
		// How long a kill would have lost the login: from the reply's last byte to durable.
		c.log().Debug("saved the new tokens", "after", c.now().Sub(rec.RepliedAt))
	}
	return rec, err
}

// mustNote reports whether it is not noted yet that a refresh is about to be
// sent: by this call, or a moment ago by another.
func (c *tokenCall) mustNote(r *record.Record) bool {
	if !c.noted.IsZero() {
		return r.SpentAt.Before(c.noted)
	}
	age := c.now().Sub(r.SpentAt)
	return age < 0 || age > r.Life/50
}

var errServed = errors.New("somebody else has refreshed")

// unlessServed ends the wait for the lock as soon as the record has a token that
// serves this call, so that of many waiting processes each goes on at once instead
// of one after the other. Once the lock is ours, stop has it look no more; what
// the store still has to do then is not cut short.
func (c *tokenCall) unlessServed(waiting context.Context, end context.CancelCauseFunc) (stop context.CancelFunc) {
	looking, stop := context.WithCancel(waiting)
	judge := *c // the change may alter c while the last look is under way
	go func() {
		look := 20 * time.Millisecond
		for fault.Pause(looking, look) == nil {
			began := time.Now()
			rec, err := c.load(looking)
			if err == nil && looking.Err() == nil && judge.next(rec).do == handOut {
				end(errServed)
			}
			look = max(look, 10*time.Since(began)) // a shared store is not to be flooded
		}
	}()
	return stop
}

// spend sends the refresh token and writes into rec what came of it. The server
// acts when it receives the request, so from here to the saved answer nothing
// that happens to the caller intervenes: ctx only keeps a second attempt from
// being made.
func (c *tokenCall) spend(ctx context.Context, rec *record.Record) {
	bounded, cancel := context.WithTimeout(context.WithoutCancel(ctx), requestLimit)
	defer cancel()
	secret := c.useSecret(rec)

	a := c.renew(bounded, secret, rec.Refresh)
	c.settle(rec, rec.Refresh, a)
	for attempt := 1; ; attempt++ {
		pause, again := retryPause(a, rec.Life, attempt)
		if !again || ctx.Err() != nil || fault.Pause(bounded, pause) != nil {
			break
		}
		a = c.renew(bounded, secret, rec.Refresh)
		c.settle(rec, rec.Refresh, a)
	}
	if a.verdict == deadToken {
		rec.UsePending()
	}
	if a.verdict != oldToken {
		return
	}
	// A sign-in may have ended this login and been killed before it took its place.
	if rec.UsePending() {
		return
	}
	if rec.Refused == nil {
		return // another machine's answer is waited for
	}
	// The record may have been replaced behind the lock, by a restored backup.
	if b, err := c.Store.Read(bounded, c.Profile.Name); err == nil {
		if other, err := c.open(b); err == nil && other.SignedIn() && other.Refresh.Reveal() != rec.Refresh.Reveal() {
			*rec = *other
			return
		}
	}
	// Exact has been seen to honour the token before until the new one is used
	// (forums.invantive.com 1419, 2903), and to contradict itself.
	if !rec.Previous.IsZero() {
		if b := c.renew(bounded, secret, rec.Previous); b.verdict == granted || b.verdict == tooEarly {
			used := rec.Previous
			rec.Refresh, rec.Previous, rec.Refused = used, rec.Refresh, nil
			c.settle(rec, used, b)
		}
	}
}

// prove asks whose the tokens are that nobody has vouched for, and writes it down.
// Those of another user, or of one who is not told, are refused until somebody
// signs in: they would have scripts work in another's name.
func (c *tokenCall) prove(ctx context.Context, r *record.Record) (*record.Record, error) {
	asking, cancel := context.WithTimeout(ctx, meLimit)
	defer cancel()
	user, meErr := c.Me(asking, c.token(r.Tokens))
	switch {
	case errors.Is(ctx.Err(), context.Canceled):
		return nil, context.Cause(ctx)
	case errors.Is(meErr, fault.ErrTemporary):
		return nil, fault.Wrap(fault.ErrTemporary, meErr, "profile %s: its login has ended, and whose the sign-in after it was cannot be asked now", c.Profile.Name)
	}
	var rec *record.Record
	err := c.Store.Update(ctx, c.Profile.Name, func(_ context.Context, old []byte) (_ []byte, err error) {
		if old == nil {
			return nil, c.nobody()
		}
		if rec, err = c.open(old); err != nil {
			return nil, err
		}
		if !rec.Unproven || rec.Refresh.Reveal() != r.Refresh.Reveal() {
			return old, nil // somebody else has
		}
		switch {
		case meErr != nil:
			rec.Refused = &record.Refusal{Config: false, Text: fmt.Sprintf("the login of %s has ended, and Exact does not say whose the sign-in after it was (%v)", rec.User, meErr), At: c.now(), Client: c.fingerprint(rec)}
		case user.Differs(rec.User):
			rec.Refused = &record.Refusal{Config: false, Text: fmt.Sprintf("the login of %s has ended, and the sign-in after it was another user's, %s", rec.User, user), At: c.now(), Client: c.fingerprint(rec)}
		default:
			rec.User, rec.Unproven = user, false
		}
		return rec.Encode()
	})
	return rec, err
}

// retryPause says whether, in the same call, the server is asked again after
// this answer, and how long after. Pauses follow the token's life and come to
// no more than 10 s.
func retryPause(a answer, life time.Duration, attempt int) (time.Duration, bool) {
	most := min(life/50, 10*time.Second)
	switch {
	case a.verdict == notSent && attempt <= 2: // nothing was spent, so more than once does no harm
		return (most/8)<<attempt + rand.N(most/8), true
	case a.verdict == unanswered && attempt == 1:
		if a.retryAfter > 0 {
			return a.retryAfter, a.retryAfter <= most
		}
		return most/4 + rand.N(most/4), true
	}
	return 0, false
}

// settle writes into rec what the answer to a refresh with the token used means.
func (c *tokenCall) settle(rec *record.Record, used fault.Secret, a answer) {
	now := c.now()
	spentAt := rec.SpentAt
	rec.SpentAt = time.Time{}
	c.failed = nil
	if (a.verdict == tooEarly || a.verdict == oldToken) && rec.LostAt.IsZero() && !spentAt.Equal(c.noted) {
		rec.LostAt = spentAt // who noted that did send, and was killed
	}
	if !a.refresh.IsZero() && a.refresh.Reveal() != used.Reveal() {
		rec.Previous, rec.Refresh = used, a.refresh
		if a.verdict != granted { // that one counts below
			rec.Generation++
		}
	}
	hold := func(text string, pause time.Duration) {
		rec.Failure, rec.FailedAt, rec.RetryAt = text, now, now.Add(pause)
	}
	refuse := func(config bool, text string) {
		rec.Refused = &record.Refusal{Config: config, Text: text, At: now, Client: c.fingerprint(rec)}
	}
	switch a.verdict {
	case granted:
		rec.Access, rec.Life = a.access, a.life
		rec.RequestedAt, rec.RepliedAt, rec.ServerDate = a.sentAt, a.repliedAt, a.serverDate
		rec.LostAt, rec.AwaitedAt, rec.RetryAt, rec.FailedAt = time.Time{}, time.Time{}, time.Time{}, time.Time{}
		rec.Failures, rec.Failure, rec.Refused = 0, "", nil
		// A sign-in of the same user would have ended this login.
		rec.Pending = nil
		rec.Generation++
		c.granted = true

	case notSent:
		c.failed = fault.Wrap(fault.ErrTemporary, a.err, "cannot reach %s, the login is untouched", c.Profile.BaseURL)

	case unanswered, redirected:
		rec.Failures++
		text := fmt.Sprintf("%s did not answer as it should (%v)", c.Profile.BaseURL, a.err)
		if a.verdict == redirected {
			text = fmt.Sprintf("%s redirects to elsewhere, which is not followed (%v)", c.Profile.BaseURL, a.err)
		} else {
			rec.LostAt = a.sentAt
		}
		hold(text, max(a.retryAfter, backoff(rec.Life/20, rec.Failures, rec.Life)))

	case unknownNo:
		// Each of these counts towards the ten errors an hour.
		rec.Failures++
		rec.LostAt = a.sentAt
		hold(fmt.Sprintf("%s refuses the refresh (%v)", c.Profile.BaseURL, a.err), max(a.retryAfter, backoff(rec.Life/10, rec.Failures, 6*rec.Life)))

	case tooEarly:
		redate(rec, now, a.serverDate)
		switch {
		case rec.Alive(now) && rec.LostAt.IsZero():
			// Unless our clock ran ahead, the window is not what it is said to be.
			if !now.Before(rec.MayRefreshAt()) {
				rec.WaitForExpiry = true
			}
		case rec.LostAt.IsZero() && now.Before(rec.RepliedAt.Add(rec.Life+rec.Life/5)):
			// The server's clock for expiry runs behind ours a little.
			hold("Exact says that the expired token has not expired", rec.Life/50)
		default:
			// The server did issue a token, and we never saw it.
			from := rec.LostAt
			if from.IsZero() {
				from = spentAt
			}
			open := from.Add(rec.Life/20*19 + rec.Life/50)
			if !open.After(now) {
				open = now.Add(rec.Life / 20 * 19)
			}
			hold(fmt.Sprintf("the answer to a refresh was lost at %s and Exact allows the next one later", fault.Clock(from)), open.Sub(now))
		}

	case oldToken:
		// Who noted that may be alive: the server of a shared store can end a session,
		// and with it the lock, while the answer is under way to its machine.
		if until := c.foreign.Add(rec.Life / 8); c.Shared && !c.foreign.IsZero() && now.Before(until) && rec.AwaitedAt.IsZero() {
			rec.AwaitedAt, rec.Refused = now, nil
			hold(fmt.Sprintf("its refresh token was used up by a refresh at %s whose answer may still be under way to another machine", fault.Clock(c.foreign)), until.Sub(now))
			return
		}
		text := "Exact says that its refresh token was used before: the same app and user signed in somewhere else, or a copy of this login was used"
		if !rec.LostAt.IsZero() {
			text = fmt.Sprintf("its refresh token was used up by a refresh at %s whose answer was lost", fault.Clock(rec.LostAt))
		}
		refuse(false, text)

	case deadToken:
		refuse(false, fmt.Sprintf("Exact does not take its refresh token any more (%v)", a.err))

	case badClient:
		refuse(true, fmt.Sprintf("Exact does not accept the client id and client secret (%v)", a.err))
	}
}

// backoff doubles from base with each failure, up to most.
func backoff(base time.Duration, failures int, most time.Duration) time.Duration {
	return min(base<<min(failures-1, 10), most)
}

// redate dates the access token anew if the clock was set since it came: its age
// is the difference of two of the server's own dates. Those count in seconds, so
// tokens that live for seconds are left alone.
func redate(r *record.Record, now, serverNow time.Time) {
	if r.Life < time.Minute || r.ServerDate.IsZero() || serverNow.IsZero() {
		return
	}
	age := serverNow.Sub(r.ServerDate) + time.Second
	set := now.Sub(r.RequestedAt) - age // by how much, slow answers aside
	if age < 0 || age > r.Life || set.Abs() < r.Life/24 {
		return
	}
	r.RequestedAt = now.Add(-age)
	r.RepliedAt = r.RequestedAt.Add(min(2*time.Second, age))
}

// wait waits for the moment until, unless ctx ends before that: then it does not
// begin to.
func (c *Client) wait(ctx context.Context, what string, until time.Time) error {
	d := until.Sub(c.now())
	if end, ok := ctx.Deadline(); ok && time.Until(end) < d {
		return fault.Wrap(fault.ErrTemporary, &fault.WaitError{For: what, Until: until, Waits: true}, "this token does not do, and it takes %s to get another", d.Round(time.Second))
	}
	if c.Waiting != nil {
		defer c.Waiting(ctx, what, until)()
	}
	return fault.Pause(ctx, d)
}

// tellIfLong tells of a wait that has gone on for so long that a person notices,
// until over is called, which may be more than once.
func (c *Client) tellIfLong(ctx context.Context, what string) (over func()) {
	if c.Waiting == nil {
		return func() {}
	}
	ctx, cancel := context.WithCancel(ctx)
	told := make(chan struct{})
	go func() {
		defer close(told)
		if fault.Pause(ctx, 300*time.Millisecond) == nil {
			defer c.Waiting(ctx, what, time.Time{})()
			<-ctx.Done()
		}
	}()
	return func() {
		cancel()
		<-told
	}
}

// fingerprint identifies a client without its secret.
func fingerprint(baseURL, clientID string, secret fault.Secret) string {
	sum := sha256.Sum256([]byte(baseURL + "\n" + clientID + "\n" + secret.Reveal()))
	return hex.EncodeToString(sum[:8])
}
