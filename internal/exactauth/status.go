package exactauth

import (
	"cmp"
	"context"
	"errors"
	"io/fs"
	"time"

	"github.com/exactauth/exactauth/internal/fault"
	"github.com/exactauth/exactauth/internal/record"
)

// Status is what the record says about a profile's login; no server was asked.
type Status struct {
	SignedIn         bool        // there is a login, and nothing says that it has ended
	AccessExpiresAt  time.Time   // zero without a login
	RefreshExpiresAt time.Time   // when the login lapses if no token is fetched
	SignedInAt       time.Time   // when the person signed in; zero if unknown
	User             record.User // zero if unknown
	Problem          error       // why a call of Token would fail or soon will; nil if nothing is known
}

// Status reads the profile's record. A record that cannot be read is an error;
// a missing record is not.
func (c *Client) Status(ctx context.Context) (s Status, err error) {
	defer c.named(&err)
	defer c.named(&s.Problem)
	rec, err := c.load(ctx)
	switch {
	case errors.Is(err, fault.ErrLoginNeeded):
		return Status{Problem: err}, nil
	case err != nil:
		return Status{}, err
	case !rec.SignedIn():
		return Status{Problem: ErrNotSignedIn}, nil
	}
	now := c.now()
	s = Status{
		SignedIn:         true,
		AccessExpiresAt:  rec.ExpiresAt(),
		RefreshExpiresAt: rec.RefreshExpiresAt(),
		SignedInAt:       rec.SignedInAt,
	}
	if rec.Former == nil {
		s.User = rec.User
	}
	call := &tokenCall{Client: c}
	if rec.Refused != nil { // another secret lifts it
		if err := call.fetchSecret(ctx); err != nil {
			return s, err
		}
	}
	switch err := call.blocked(rec, now); {
	case rec.PendingFirst(now) && rec.Held(now):
		s.Problem = heldError(rec)
	case rec.PendingFirst(now):
		s.Problem = errPending
	case err != nil:
		s.Problem = err
		s.SignedIn = !errors.Is(err, fault.ErrLoginNeeded)
	case !rec.CodeAt.IsZero() && rec.Alive(now):
		s.Problem = fault.New(fault.ErrTemporary, "a sign-in at %s was interrupted, and it is not known yet whether it has ended this login", fault.Clock(rec.CodeAt))
	case now.After(s.RefreshExpiresAt):
		s.SignedIn = false
		s.Problem = fault.New(fault.ErrLoginNeeded, "its refresh token was not used for 30 days and has expired")
	}
	return s, nil
}

// SetClientSecret stores the client secret in the profile's record, where the store
// seals it like the tokens. Without a secret, keep says whether the stored secret stays.
// The login in the record stays, unless it is another client's: then fault.ErrConfig is
// wrapped and nothing is changed. A secret that is given lifts a stored refusal, even if it
// is the same: the person who enters it may have put something right at Exact. As with
// Want.Force, that is one request in the life of a token.
func (c *Client) SetClientSecret(ctx context.Context, secret fault.Secret, keep bool) (err error) {
	defer c.named(&err)
	return c.update(ctx, func(_ context.Context, rec *record.Record) (*record.Record, error) {
		if rec == nil {
			rec = &record.Record{}
		} else if err := c.mayUse(rec); errors.Is(err, fault.ErrLoginNeeded) {
			return nil, fault.Wrap(fault.ErrConfig, err, "the existing login would be lost")
		} else if err != nil {
			return nil, err
		}
		if !secret.IsZero() {
			lift(rec, c.now())
		} else if keep && c.owns(rec) {
			secret = rec.ClientSecret
		}
		rec.BaseURL, rec.ClientID, rec.ClientSecret = c.Profile.BaseURL, c.Profile.ClientID, secret
		return rec, nil
	})
}

// Logout removes the tokens and keeps the client secret, so that the next login needs
// no set-up. It reports whether there was a login. It cannot revoke anything, since
// Exact has no call for that: an access token stays valid until it expires, and the
// user's consent until it is revoked in Exact Online.
func (c *Client) Logout(ctx context.Context) (wasSignedIn bool, err error) {
	defer c.named(&err)
	if known, err := c.Known(ctx); err == nil && !known {
		return false, nil
	}
	err = c.update(ctx, func(_ context.Context, rec *record.Record) (*record.Record, error) {
		switch {
		case rec == nil:
			return nil, record.ErrUnchanged
		case rec.MovedTo != "":
			return nil, movedError(rec)
		}
		wasSignedIn = rec.SignedIn() // also another client's
		return &record.Record{
			BaseURL: rec.BaseURL, ClientID: rec.ClientID, ClientSecret: rec.ClientSecret, Generation: rec.Generation + 1,
		}, nil
	})
	return wasSignedIn, err
}

// Known reports whether there is a record, readable or not.
func (c *Client) Known(ctx context.Context) (bool, error) {
	_, err := c.Store.Read(ctx, c.Profile.Name)
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	return err == nil, fault.In(c.Profile.Name, err)
}

// Forget removes the profile's whole record, client secret included, even if the record
// is damaged.
func (c *Client) Forget(ctx context.Context) error {
	return fault.In(c.Profile.Name, c.Store.Delete(ctx, c.Profile.Name))
}

// HasClientSecret reports whether the record holds the secret of this client.
func (c *Client) HasClientSecret(ctx context.Context) (_ bool, err error) {
	defer c.named(&err)
	rec, err := c.read(ctx)
	return rec != nil && c.owns(rec) && !rec.ClientSecret.IsZero(), err
}

// TryStore says why the profile's record cannot be changed, or returns nil. It takes
// the lock, makes room as for a refresh, and changes nothing.
func (c *Client) TryStore(ctx context.Context) (err error) {
	defer c.named(&err)
	return c.update(ctx, func(_ context.Context, rec *record.Record) (*record.Record, error) {
		if rec == nil {
			return nil, record.ErrUnchanged
		}
		return nil, cmp.Or(c.mayUse(rec), record.ErrUnchanged)
	})
}
