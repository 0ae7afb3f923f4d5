package exactauth

import (
	"context"
	"errors"

	"github.com/exactauth/exactauth/internal/fault"
	"github.com/exactauth/exactauth/internal/record"
)

// Latest gives, of a copy of a record that a machine kept and the record in the
// store that it shares with others, the one to go on from: the kept one only if
// its tokens came after the shared one's, and even then with the shared one's
// client secret, which somebody may have changed since. What cannot be compared
// gives way to the shared record.
func Latest(kept, shared []byte) []byte {
	k, err := record.Decode(kept)
	if err != nil {
		return shared
	}
	s, err := record.Decode(shared)
	if err != nil || s.MovedTo != "" || k.BaseURL != s.BaseURL || k.ClientID != s.ClientID || k.Generation <= s.Generation {
		return shared
	}
	k.ClientSecret = s.ClientSecret
	b, err := k.Encode()
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
func (c *Client) MoveTo(ctx context.Context, to record.Store, where string) error {
	var moving *record.Record
	goingOn := false // from an earlier call that was cut off
	errNothing := errors.New("nothing to move")
	err := c.Store.Update(ctx, c.Profile.Name, func(_ context.Context, old []byte) (_ []byte, err error) {
		if old == nil {
			return nil, errNothing
		}
		if moving, err = record.Decode(old); err != nil {
			return nil, err
		}
		if moving.MovedTo != "" && moving.MovedTo != where {
			return nil, c.elsewhere(moving)
		}
		if moving.MovedTo != "" && !moving.SignedIn() && moving.ClientSecret.IsZero() {
			return nil, errNothing // all of it is there
		}
		goingOn = moving.MovedTo != ""
		moving.MovedTo = where
		return moving.Encode()
	})
	if err == errNothing {
		return nil
	} else if err != nil {
		return err
	}

	arrived := false
	err = to.Update(ctx, c.Profile.Name, func(_ context.Context, there []byte) ([]byte, error) {
		moving.MovedTo = ""
		if there != nil {
			other, err := record.Decode(there)
			if err != nil {
				return nil, err
			}
			mine := other.BaseURL == moving.BaseURL && other.ClientID == moving.ClientID
			if other.SignedIn() && !mine {
				return nil, fault.New(fault.ErrConfig, "profile %s: %s holds the login of another client, %s at %s", c.Profile.Name, where, other.ClientID, other.BaseURL)
			}
			if mine && other.MovedTo == "" && other.SignedIn() {
				later := moving.SignedIn() && issuedAfter(newest(moving), newest(other))
				if moving.SignedIn() && moving.User.Differs(other.User) && (later || !goingOn) {
					return nil, fault.Wrap(fault.ErrConfig, &TakenError{other.User.String(), moving.User.String()}, "profile %s in %s", c.Profile.Name, where)
				}
				// An earlier call may have got this far, and others gone on from there;
				// or a whole team has signed in there already.
				if !later {
					arrived = true
					return there, nil
				}
				other.Generation++ // what a machine keeps of that login is of no use
			}
			moving.Generation = max(moving.Generation, other.Generation)
		}
		arrived = true // unless the store says that it never took it
		return moving.Encode()
	})
	if err == nil || arrived {
		return err
	}
	return errors.Join(err, c.stay(context.WithoutCancel(ctx)))
}

// newest returns the tokens that Exact issued last.
func newest(r *record.Record) record.Tokens {
	if r.Pending != nil {
		return *r.Pending
	}
	return r.Tokens
}

// issuedAfter goes by the server's own dates, if there are any: two machines may
// have written these.
func issuedAfter(t, other record.Tokens) bool {
	if t.ServerDate.IsZero() || other.ServerDate.IsZero() {
		return t.RepliedAt.After(other.RepliedAt)
	}
	return t.ServerDate.After(other.ServerDate)
}

// stay takes back the mark of a move that did not happen.
func (c *Client) stay(ctx context.Context) error {
	return c.Store.Update(ctx, c.Profile.Name, func(_ context.Context, old []byte) ([]byte, error) {
		rec, err := record.Decode(old)
		if err != nil {
			return nil, err
		}
		rec.MovedTo = ""
		return rec.Encode()
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
		rec, err := record.Decode(old)
		if err != nil {
			return nil, err
		}
		if rec.MovedTo == "" {
			return nil, errNothing
		}
		return (&record.Record{BaseURL: rec.BaseURL, ClientID: rec.ClientID, Generation: rec.Generation, MovedTo: rec.MovedTo}).Encode()
	})
	if err == errNothing {
		return nil
	}
	return err
}

// IsNote reports whether a record is no more than the note that Moved leaves, which
// tells no secret.
func IsNote(b []byte) bool {
	rec, err := record.Decode(b)
	return err == nil && rec.MovedTo != "" && !rec.SignedIn() && rec.ClientSecret.IsZero()
}

// elsewhere says that the login in r must not be used from here.
func (c *Client) elsewhere(r *record.Record) error {
	if r.SignedIn() || !r.ClientSecret.IsZero() {
		return fault.New(fault.ErrTemporary, "profile %s: its login is being moved to %s", c.Profile.Name, fault.Printable(r.MovedTo))
	}
	return fault.Wrap(fault.ErrConfig, &MovedError{r.MovedTo}, "profile %s", c.Profile.Name)
}

// MovedError is wrapped by an fault.ErrConfig: the login was moved to another store.
type MovedError struct {
	Where string // as it was given to MoveTo
}

func (e *MovedError) Error() string { return "its login was moved to " + fault.Printable(e.Where) }
