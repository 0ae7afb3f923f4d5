package exactauth

import (
	"bytes"
	"context"
	"errors"

	"github.com/exactauth/exactauth/internal/fault"
	"github.com/exactauth/exactauth/internal/record"
)

// Latest returns the record to continue from if this machine has a record, mine, and the
// store has one: mine only if it is the stored one in a later state. A client secret that
// the stored one got since stays, and so does a move. If they cannot be compared, Latest
// returns stored.
func Latest(mine, stored []byte) []byte {
	r, other, err := decode(mine, stored)
	if err != nil || !r.Later(other) {
		return stored
	}
	if other.Revision >= r.Revision { // they have continued from one state
		if other.MovedTo != "" {
			return stored
		}
		if sameClient(r, other) {
			r.ClientSecret = other.ClientSecret
		}
	}
	b, err := r.Encode()
	if err != nil {
		return stored
	}
	return b
}

// Newer reports whether left is a whole record, and one to continue from instead of
// stored, which is nil if there is no record.
func Newer(left, stored []byte) (bool, error) {
	if stored == nil {
		rec, err := record.Decode(left)
		return err == nil && rec.SignedIn() && rec.MovedTo == "", err
	}
	_, _, err := decode(left, stored)
	return err == nil && !bytes.Equal(Latest(left, stored), stored), err
}

// Issued reports whether a is a state of the record b that has tokens which b has not, so
// that nothing but a has them.
func Issued(a, b []byte) (bool, error) {
	after, before, err := decode(a, b)
	return err == nil && after.SignedIn() && after.ID == before.ID && after.Generation > before.Generation, err
}

func decode(a, b []byte) (_, _ *record.Record, err error) {
	var r [2]*record.Record
	for i, text := range [][]byte{a, b} {
		if r[i], err = record.Decode(text); err != nil {
			return nil, nil, err
		}
	}
	return r[0], r[1], nil
}

// Ended reports whether what a machine has of a record, mine, is of no use any more,
// since the stored record was made again or its login has ended.
func Ended(mine, stored []byte) bool {
	r, other, err := decode(mine, stored)
	return err == nil && (r.ID != other.ID || !other.SignedIn() && !r.Later(other))
}

func sameClient(a, b *record.Record) bool {
	return a.BaseURL == b.BaseURL && a.ClientID == b.ClientID
}

// MoveTo moves the profile's login, client secret included, into another store. where
// names that store for people, without any secret. At most one of the two copies can be
// refreshed at each moment: first the one here is marked, then the other is written.
// After MoveTo the caller calls [Client.Moved], and has the profile use the other store.
// If anything interrupts this, calling MoveTo again continues the move.
//
// A profile without a record is no error. If the other store has a login of the same
// client, the login that Exact issued later stays, since a later sign-in ends the
// earlier one; but if it has another client's login, or another user's, fault.ErrConfig
// is wrapped and nothing is changed.
func (c *Client) MoveTo(ctx context.Context, to record.Store, where string) (err error) {
	defer c.named(&err)
	var moving *record.Record
	resumed := false // after an earlier call was interrupted
	err = c.update(ctx, func(_ context.Context, rec *record.Record) (*record.Record, error) {
		switch {
		case rec == nil:
			return nil, record.ErrUnchanged
		case rec.MovedTo != "" && rec.MovedTo != where:
			return nil, movedError(rec)
		case isNote(rec):
			return nil, record.ErrUnchanged // all of it has arrived
		}
		resumed = rec.MovedTo != ""
		rec.MovedTo = where
		moving = rec
		return rec, nil
	})
	if err != nil || moving == nil {
		return err
	}

	decided := false
	err = (&Client{Profile: c.Profile, Store: to}).update(ctx, func(_ context.Context, there *record.Record) (*record.Record, error) {
		moving.MovedTo = ""
		if there != nil {
			mine := sameClient(there, moving)
			if there.SignedIn() && !mine {
				return nil, fault.New(fault.ErrConfig, "%s holds the login of another client, %s at %s", where, there.ClientID, there.BaseURL)
			}
			if mine && there.MovedTo == "" && there.SignedIn() {
				later := moving.SignedIn() && moving.IssuedAfter(there)
				// An earlier call has brought it there if it was the record's first login.
				arrived := resumed && there.ID == moving.ID
				if moving.SignedIn() && moving.User.Differs(there.User) && (later || !arrived) {
					return nil, fault.Wrap(fault.ErrConfig, takenBy(there.User, moving.User), "in %s", where)
				}
				if !arrived && (moving.Unsettled() || there.Unsettled()) {
					return nil, fault.With(errPending, ErrSaved) // it may be another user's, and later than either login
				}
				// Other machines have refreshed since it arrived; or a whole team has signed
				// in there already.
				if !later {
					decided = true
					return nil, record.ErrUnchanged
				}
				there.Generation++ // what a machine has spooled of that login is useless now
			}
			moving.Generation = max(moving.Generation, there.Generation)
		}
		decided = true // the record may be there even if the store reports an error
		return moving, nil
	})
	if err == nil || decided {
		return err
	}
	return errors.Join(err, c.unmark(context.WithoutCancel(ctx)))
}

// unmark removes the mark of a move that failed.
func (c *Client) unmark(ctx context.Context) error {
	return c.update(ctx, func(_ context.Context, rec *record.Record) (*record.Record, error) {
		if rec == nil {
			return nil, record.ErrUnchanged
		}
		rec.MovedTo = ""
		return rec, nil
	})
}

// Moved removes the secrets that a move has left behind. It leaves a note that names
// the login's new store, for callers that still look here.
func (c *Client) Moved(ctx context.Context) (err error) {
	defer c.named(&err)
	return c.update(ctx, func(_ context.Context, rec *record.Record) (*record.Record, error) {
		if rec == nil || rec.MovedTo == "" {
			return nil, record.ErrUnchanged
		}
		return &record.Record{BaseURL: rec.BaseURL, ClientID: rec.ClientID, Generation: rec.Generation, MovedTo: rec.MovedTo}, nil
	})
}

// IsNote reports whether a record is the note that Moved leaves, which has no secret.
func IsNote(b []byte) bool {
	rec, err := record.Decode(b)
	return err == nil && isNote(rec)
}

func isNote(r *record.Record) bool {
	return r.MovedTo != "" && !r.SignedIn() && r.ClientSecret.IsZero()
}

// movedError says that the login in r must not be used from here.
func movedError(r *record.Record) error {
	if !isNote(r) {
		return fault.With(&MovedError{r.MovedTo, true}, fault.ErrTemporary)
	}
	return fault.With(&MovedError{Where: r.MovedTo}, fault.ErrConfig)
}

// MovedError is wrapped by a fault.ErrConfig: the login was moved to another store; or by
// a fault.ErrTemporary, while it is being moved.
type MovedError struct {
	Where    string // as it was given to MoveTo
	Underway bool
}

func (e *MovedError) Error() string {
	if e.Underway {
		return "its login is being moved to " + fault.Printable(e.Where)
	}
	return "its login was moved to " + fault.Printable(e.Where)
}
