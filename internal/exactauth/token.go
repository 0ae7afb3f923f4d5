package exactauth

import (
	"bytes"
	"cmp"
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"time"

	"github.com/exactauth/exactauth/internal/exactapi"
	"github.com/exactauth/exactauth/internal/fault"
	"github.com/exactauth/exactauth/internal/record"
)

// Want says what a token must be good for. The zero value accepts any live token.
type Want struct {
	// MinValid is the life that the token must still have: from 0 to the life of a new
	// token (600 s at Exact).
	MinValid time.Duration
	// Force asks for a token that was issued after the call. It lifts a refusal that is in
	// the record, for one request, once in the life of a token.
	Force bool
}

// Token returns a live access token. It reads the record without a lock; only a token
// that must be replaced costs a lock and a request. A wait until the server allows a
// refresh ends, at the latest, with ctx. A request that was sent is completed and its
// answer saved even if ctx ends meanwhile, because its refresh token works once.
//
// Errors wrap fault.ErrLoginNeeded, fault.ErrTemporary, fault.ErrConfig,
// fault.ErrForbidden or fault.ErrRecord, or are the store's.
func (c *Client) Token(ctx context.Context, want Want) (_ record.Token, err error) {
	defer c.named(&err)
	call := &tokenCall{Client: c, want: want, began: c.now()}
	rec, err := c.load(ctx)
	if err != nil {
		return record.Token{}, err
	}
	for {
		step := call.next(rec)
		if step.do != handOut && !call.secretFetched {
			if c.Begin != nil {
				ctx = c.Begin(ctx)
			}
			if err := call.fetchSecret(ctx); err != nil {
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
			call.alert(ctx, rec, step.err)
			return record.Token{}, step.err
		case wait:
			if err := c.wait(ctx, step.why, step.until, "this token is not good enough; the next one is available"); err != nil {
				return record.Token{}, err
			}
			rec, err = c.load(ctx)
		case identify:
			rec, err = call.identify(ctx, rec)
		case confirm:
			rec, err = call.confirm(ctx, rec)
		case refresh:
			var next *record.Record
			had := call.renewals
			if next, err = call.refresh(ctx, rec); err == nil {
				if now := c.now(); call.renewals > had && !next.Alive(now) && !next.ClockWentBack(now) {
					c.notice(fmt.Sprintf("the new token was requested %s ago and has expired: the answer was slow, or this machine slept", now.Sub(next.RequestedAt).Round(time.Second)))
				}
				rec = next
			} else if ctx.Err() == nil {
				// A sign-in may have been saved during the wait for the lock; or the stored
				// token is still good enough.
				if newer, loadErr := c.load(ctx); loadErr == nil {
					rec, call.failed, err = newer, err, nil
				} else if call.suffices(rec) {
					call.failed, err = err, nil
				}
			}
			if errors.Is(ctx.Err(), context.Canceled) {
				return record.Token{}, context.Cause(ctx) // new tokens are saved
			}
		}
		if err != nil {
			return record.Token{}, err
		}
	}
}

// alert calls Ended if the login in rec has ended, and no process has taken that on
// itself. That is recorded first: a process that is killed after that does not report,
// but many processes that find the same ending must not all do.
func (c *tokenCall) alert(ctx context.Context, rec *record.Record, why error) {
	if c.Ended == nil || !rec.Ended() || !rec.AlertedAt.IsZero() {
		return
	}
	ours := false
	err := c.update(ctx, func(_ context.Context, old *record.Record) (*record.Record, error) {
		if c.mayUse(old) != nil || old.Refused == nil || !old.Refused.At.Equal(rec.Refused.At) || !old.AlertedAt.IsZero() {
			return nil, record.ErrUnchanged
		}
		old.AlertedAt, ours = c.now(), true
		return old, nil
	})
	if err != nil {
		c.notice(fmt.Sprintf("the end of the login cannot be reported: %v", err))
	} else if ours {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), max(rec.Life/20, time.Second))
		defer cancel()
		c.Ended(ctx, why)
	}
}

// Live returns the stored access token if it is live, and sends nothing.
func (c *Client) Live(ctx context.Context) (record.Token, bool) {
	rec, err := c.load(ctx)
	if err != nil || !(&tokenCall{Client: c, began: c.now()}).suffices(rec) {
		return record.Token{}, false
	}
	return c.token(rec.Tokens), true
}

// token returns what callers get of these tokens.
func (c *Client) token(t record.Tokens) record.Token {
	return record.Token{Access: t.Access, ExpiresAt: t.ExpiresAt(), BaseURL: c.Profile.BaseURL, Profile: c.Profile.Name, Division: c.Profile.Division}
}

// named adds the profile to the error that an exported method returns.
func (c *Client) named(err *error) { *err = fault.In(c.Profile.Name, *err) }

// read reads the record without a lock. It returns nil if there is none.
func (c *Client) read(ctx context.Context) (*record.Record, error) {
	b, err := c.Store.Read(ctx, c.Profile.Name)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	} else if err != nil {
		return nil, err
	}
	return record.Decode(b)
}

// update changes the record under the store's lock. change is called as a record.Change
// is, with the decoded record, or nil if there is none.
func (c *Client) update(ctx context.Context, change func(ctx context.Context, old *record.Record) (*record.Record, error)) error {
	return c.Store.Update(ctx, c.Profile.Name, func(ctx context.Context, text []byte) ([]byte, error) {
		var old *record.Record
		id, revision := "", 0
		if text != nil {
			var err error
			if old, err = record.Decode(text); err != nil {
				return nil, err
			}
			id, revision = old.ID, old.Revision
		}
		r, err := change(ctx, old)
		if err != nil {
			return nil, err
		}
		r.ID, r.Revision = cmp.Or(id, r.ID, rand.Text()), max(revision, r.Revision)
		if same, err := r.Encode(); err != nil {
			return nil, err
		} else if bytes.Equal(same, text) {
			return nil, record.ErrUnchanged
		}
		r.Revision++
		return r.Encode()
	})
}

// load is read for a login. Its error says why this client has none.
func (c *Client) load(ctx context.Context) (*record.Record, error) {
	r, err := c.read(ctx)
	if err != nil {
		return nil, err
	}
	return r, c.mayUse(r)
}

// ErrNotSignedIn is wrapped by the error of a profile without a login. One whose login has
// ended has another.
var ErrNotSignedIn = fault.Kind(fault.ErrLoginNeeded, "not signed in")

// mayUse says why the login in r, which is nil if there is no record, must not be used
// by this client, or returns nil.
func (c *Client) mayUse(r *record.Record) error {
	switch {
	case r == nil:
		return ErrNotSignedIn
	case r.MovedTo != "":
		return movedError(r)
	case r.SignedIn() && !c.owns(r):
		return fault.New(fault.ErrLoginNeeded, "its login belongs to client id %s at %s, not to %s at %s",
			r.ClientID, r.BaseURL, c.Profile.ClientID, c.Profile.BaseURL)
	}
	return nil
}

// owns reports whether the record is of the profile's client. Secrets of another
// client, or of another server, must never be sent here.
func (c *Client) owns(r *record.Record) bool {
	return r.BaseURL == c.Profile.BaseURL && r.ClientID == c.Profile.ClientID
}

// tokenCall is one call of Token: everything but the record that decisions depend on.
type tokenCall struct {
	*Client
	want  Want
	began time.Time

	secretFetched bool
	secret        fault.Secret // of the client, if it does not come from the record

	marked    time.Time // when this call marked the record because it is about to refresh
	prepared  bool      // the record is marked, by this call or another process: the next update sends
	sentUnder time.Time // the mark, its own or another process's, when this call sent
	renewed   bool      // this call got new tokens
	renewals  int       // how often
	failed    error     // why this call got none; nothing was spent

	sleepUntil time.Time // when this call no longer waits for another process only

	stoodStill bool // until the time of its request was over, before it was sent

	confirmed string // an access token that Exact has taken during this call

	lifting, lifted bool // this call is about to ask, or has asked, in spite of a refusal
}

// step is what to do next with a record.
type step struct {
	do    action
	why   string    // what is awaited, or the notice to go with a token
	until time.Time // the end of a wait
	err   error     // of giving up
}

type action int

const (
	handOut action = iota
	wait
	identify
	confirm
	refresh
	giveUp
)

// next decides by the record and the clock alone, so that every process that looks at
// the same record decides the same.
func (c *tokenCall) next(r *record.Record) step {
	if !r.SignedIn() {
		return step{do: giveUp, err: ErrNotSignedIn}
	}
	if c.want.MinValid < 0 || c.want.MinValid > r.Life {
		return step{do: giveUp, err: fault.Wrap(fault.ErrConfig, &LifeError{r.Life}, "none can have %s left", c.want.MinValid)}
	}
	now := c.now()
	if r.PendingFirst(now) {
		if r.Held(now) {
			return step{do: giveUp, err: heldError(r)}
		}
		return step{do: identify}
	}
	if c.doubtful(r) && r.Alive(now) && now.Before(r.MayRefreshAt()) {
		if r.Held(now) && r.FailedAt.After(r.CodeAt) {
			return step{do: giveUp, err: heldError(r)}
		}
		return step{do: confirm}
	}
	suffices := c.suffices(r)
	if suffices && now.Before(r.RefreshDueAt()) {
		return step{do: handOut}
	}
	if err := c.blocked(r, now); err != nil {
		if suffices {
			return step{do: handOut, why: fmt.Sprintf("this token ends in %s and there is no new one: %v", r.ExpiresAt().Sub(now).Round(time.Second), err)}
		}
		return step{do: giveUp, err: err}
	}
	if r.Former != nil && r.Alive(now) {
		return step{do: identify}
	}
	if may := r.MayRefreshAt(); now.Before(may) && !r.ClockWentBack(now) {
		return step{do: wait, why: "Exact allows a refresh", until: may}
	}
	return step{do: refresh}
}

// suffices reports whether the stored access token is good enough for this call. A
// token that was issued during the call is: there is no better one.
func (c *tokenCall) suffices(r *record.Record) bool {
	now := c.now()
	if !r.Alive(now) || r.Unsettled() || c.doubtful(r) {
		return false
	}
	return c.renewed || r.RequestedAt.After(c.began) || !c.want.Force && r.ExpiresAt().Sub(now) >= c.want.MinValid
}

// doubtful reports whether a sign-in may have ended the login in r.
func (c *tokenCall) doubtful(r *record.Record) bool {
	return !r.CodeAt.IsZero() && c.confirmed != r.Access.Reveal()
}

// blocked says why the server must not be asked, or returns nil.
func (c *tokenCall) blocked(r *record.Record, now time.Time) error {
	lifted := c.lifts(r, now) || c.lifted && (c.failed != nil || r.Held(now)) // what happened then is more to the point
	if f := r.Refused; f != nil && f.Client == c.fingerprint(r) && !lifted {
		kind := fault.ErrLoginNeeded
		if f.Config {
			kind = fault.ErrConfig
		}
		return fault.With(fault.New(kind, "%s (since %s)", f.Text, fault.Clock(f.At)), ErrRemembered)
	}
	if c.failed != nil {
		return c.failed
	}
	if r.Held(now) && !c.lifts(r, now) {
		return heldError(r)
	}
	switch {
	case !c.renewed, r.Former != nil && r.Alive(now):
		return nil
	case r.Alive(now):
		return fault.New(fault.ErrTemporary, "the new token came late")
	case r.ClockWentBack(now):
		return fault.New(fault.ErrTemporary, "the new token is not valid by this machine's clock, which was set back to %s", fault.Clock(now))
	case c.renewals >= 3:
		return fault.New(fault.ErrTemporary, "each new token expired before it arrived: the answers are slow, or this machine slept or its clock was set; it is %s by that", fault.Clock(now))
	}
	return nil // another one, when that is allowed
}

// heldError says why the server is not asked yet.
func heldError(r *record.Record) error {
	kind := fault.ErrTemporary
	if r.Forbidden {
		_, kind = exactapi.Forbidden(r.Failure)
	}
	return fault.Wrap(kind, &fault.WaitError{For: "the next attempt is due", Until: r.RetryAt}, "no new token: %s; the login is kept", r.Failure)
}

// lifts reports whether this call asks the server in spite of a refusal, since what was
// wrong may have been put right at Exact: a forced one does, for one request, and once in
// the life of a token, so that a script that forces does not use up the error allowance.
// It does not lift what it was answered itself.
func (c *tokenCall) lifts(r *record.Record, now time.Time) bool {
	refused := r.Refused != nil || r.Forbidden && r.Held(now)
	return c.want.Force && refused && !c.lifted && c.sentUnder.IsZero() && (c.lifting || mayLift(r, now))
}

// mayLift reports whether no refusal was lifted during the life of a token.
func mayLift(r *record.Record, now time.Time) bool { return now.Sub(r.LiftedAt).Abs() >= r.Life }

// lift has the next call ask in spite of a refusal.
func lift(r *record.Record, now time.Time) {
	if refused := r.Refused != nil || r.Forbidden; refused && mayLift(r, now) {
		r.Refused, r.RetryAt, r.LiftedAt = nil, time.Time{}, now
	}
}

func (c *tokenCall) fetchSecret(ctx context.Context) (err error) {
	c.secretFetched = true
	if c.ClientSecret != nil {
		c.secret, err = c.ClientSecret(ctx)
	}
	return err
}

// secretFor returns the client secret for requests about r.
func (c *tokenCall) secretFor(r *record.Record) fault.Secret {
	return cmp.Or(c.secret, r.ClientSecret)
}

// fingerprint identifies the client of requests about r, and hides its secret.
func (c *tokenCall) fingerprint(r *record.Record) string {
	sum := sha256.Sum256([]byte(r.BaseURL + "\n" + r.ClientID + "\n" + c.secretFor(r).Reveal()))
	return hex.EncodeToString(sum[:8])
}

// wait waits until a moment. If ctx ends before that, it does not begin to wait, and short
// begins the error.
func (c *Client) wait(ctx context.Context, what string, until time.Time, short string) error {
	d := until.Sub(c.now())
	if end, ok := ctx.Deadline(); ok && time.Until(end) < d {
		return fault.With(fault.New(fault.ErrTemporary, "%s in %s", short, d.Round(time.Second)), &fault.WaitError{For: what, Until: until, Waits: true})
	}
	if c.Waiting != nil {
		defer c.Waiting(ctx, what, until)()
	}
	return fault.Pause(ctx, d)
}
