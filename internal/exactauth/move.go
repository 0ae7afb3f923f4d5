package exactauth

import (
	"context"
	"errors"

	"github.com/exactauth/exactauth/internal/fault"
)

// Latest gives, of a copy of a record that a machine kept and the record in the
// store that it shares with others, the one to go on from: the kept one only if
// its tokens came after the shared one's, and even then with the shared one's
// client secret, which somebody may have changed since. What cannot be compared
// gives way to the shared record.
func Latest(kept, shared []byte) []byte {
	k, err := decodeRecord(kept)
	if err != nil {
		return shared
	}
	s, err := decodeRecord(shared)
	if err != nil || s.moved != "" || k.baseURL != s.baseURL || k.clientID != s.clientID || k.generation <= s.generation {
		return shared
	}
	k.clientSecret = s.clientSecret
	b, err := k.encode()
	if err != nil {
		return shared
	}
	return b
}

// MoveTo moves the profile's login, client secret included, into another store,
// which where names for people without any secret in it. At each moment no more
// than one of the two copies can be refreshed: first the one here is marked, then
// the other is written. The caller then calls [Client.Moved], and sees to it that
// the profile is looked for in its new place. Whatever happens in between, calling
// MoveTo again goes on where it ended.
//
// There may be nothing to move. If the other store has a login of the same client,
// the one that Exact issued later stays, since a later sign-in ends the one before;
// but if it has another client's login, or another user's, fault.ErrConfig is wrapped and
// everything is as before.
func (c *Client) MoveTo(ctx context.Context, to Store, where string) error {
	var moving *record
	goingOn := false // from an earlier call that was cut off
	errNothing := errors.New("nothing to move")
	err := c.Store.Update(ctx, c.Profile.Name, func(_ context.Context, old []byte) (_ []byte, err error) {
		if old == nil {
			return nil, errNothing
		}
		if moving, err = decodeRecord(old); err != nil {
			return nil, err
		}
		if moving.moved != "" && moving.moved != where {
			return nil, c.elsewhere(moving)
		}
		if moving.moved != "" && !moving.signedIn() && moving.clientSecret.IsZero() {
			return nil, errNothing // all of it is there
		}
		goingOn = moving.moved != ""
		moving.moved = where
		return moving.encode()
	})
	if err == errNothing {
		return nil
	} else if err != nil {
		return err
	}

	arrived := false
	err = to.Update(ctx, c.Profile.Name, func(_ context.Context, there []byte) ([]byte, error) {
		moving.moved = ""
		if there != nil {
			other, err := decodeRecord(there)
			if err != nil {
				return nil, err
			}
			mine := other.baseURL == moving.baseURL && other.clientID == moving.clientID
			if other.signedIn() && !mine {
				return nil, fault.New(fault.ErrConfig, "profile %s: %s holds the login of another client, %s at %s", c.Profile.Name, where, other.clientID, other.baseURL)
			}
			if mine && other.moved == "" && other.signedIn() {
				later := moving.signedIn() && moving.newest().issuedAfter(other.newest())
				if moving.signedIn() && moving.user.differs(other.user) && (later || !goingOn) {
					return nil, fault.Wrap(fault.ErrConfig, &TakenError{other.user.String(), moving.user.String()}, "profile %s in %s", c.Profile.Name, where)
				}
				// An earlier call may have got this far, and others gone on from there;
				// or a whole team has signed in there already.
				if !later {
					arrived = true
					return there, nil
				}
				other.generation++ // what a machine keeps of that login is of no use
			}
			moving.generation = max(moving.generation, other.generation)
		}
		arrived = true // unless the store says that it never took it
		return moving.encode()
	})
	if err == nil || arrived {
		return err
	}
	return errors.Join(err, c.stay(context.WithoutCancel(ctx)))
}

// newest is the tokens that Exact issued last.
func (r *record) newest() tokens {
	if r.pending != nil {
		return *r.pending
	}
	return r.tokens
}

// issuedAfter goes by the server's own dates, if there are any: two machines may
// have written these.
func (t tokens) issuedAfter(other tokens) bool {
	if t.serverDate.IsZero() || other.serverDate.IsZero() {
		return t.repliedAt.After(other.repliedAt)
	}
	return t.serverDate.After(other.serverDate)
}

// differs reports whether the two are known to be different users.
func (m Me) differs(other Me) bool {
	return m.UserID != "" && other.UserID != "" && m.UserID != other.UserID
}

// stay takes back the mark of a move that did not happen.
func (c *Client) stay(ctx context.Context) error {
	return c.Store.Update(ctx, c.Profile.Name, func(_ context.Context, old []byte) ([]byte, error) {
		rec, err := decodeRecord(old)
		if err != nil {
			return nil, err
		}
		rec.moved = ""
		return rec.encode()
	})
}

// Moved removes the secrets that a move has left behind and keeps a note of
// where the login is, for whoever still looks here.
func (c *Client) Moved(ctx context.Context) error {
	errNothing := errors.New("nothing moved")
	err := c.Store.Update(ctx, c.Profile.Name, func(_ context.Context, old []byte) ([]byte, error) {
		if old == nil {
			return nil, errNothing
		}
		rec, err := decodeRecord(old)
		if err != nil {
			return nil, err
		}
		if rec.moved == "" {
			return nil, errNothing
		}
		return (&record{baseURL: rec.baseURL, clientID: rec.clientID, generation: rec.generation, moved: rec.moved}).encode()
	})
	if err == errNothing {
		return nil
	}
	return err
}

// IsNote reports whether a record is no more than the note that Moved leaves, which
// tells no secret.
func IsNote(b []byte) bool {
	rec, err := decodeRecord(b)
	return err == nil && rec.moved != "" && !rec.signedIn() && rec.clientSecret.IsZero()
}

// elsewhere says that the login in r must not be used from here.
func (c *Client) elsewhere(r *record) error {
	if r.signedIn() || !r.clientSecret.IsZero() {
		return fault.New(fault.ErrTemporary, "profile %s: its login is being moved to %s", c.Profile.Name, fault.Printable(r.moved))
	}
	return fault.Wrap(fault.ErrConfig, &MovedError{r.moved}, "profile %s", c.Profile.Name)
}

// MovedError is wrapped by an fault.ErrConfig: the login was moved to another store.
type MovedError struct {
	Where string // as it was given to MoveTo
}

func (e *MovedError) Error() string { return "its login was moved to " + fault.Printable(e.Where) }
