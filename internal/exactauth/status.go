package exactauth

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"time"

	"github.com/exactauth/exactauth/internal/fault"
	"github.com/exactauth/exactauth/internal/record"
)

// Status is what the record says of a profile's login; no server was asked.
type Status struct {
	SignedIn         bool        // there is a login, and nothing says that it is dead
	AccessExpiresAt  time.Time   // zero without a login
	RefreshExpiresAt time.Time   // when the login lapses if no token is fetched
	User             record.User // zero if it is not known
	Problem          error       // why a call of Token would fail or soon will; nil if nothing is known
}

// Status reads the profile's record. A record that cannot be read is an error;
// one that does not exist is not.
func (c *Client) Status(ctx context.Context) (Status, error) {
	rec, err := c.load(ctx)
	switch {
	case errors.Is(err, fault.ErrLoginNeeded):
		return Status{Problem: err}, nil
	case err != nil:
		return Status{}, err
	case !rec.SignedIn():
		return Status{Problem: c.nobody()}, nil
	}
	now := c.now()
	s := Status{
		SignedIn:         true,
		AccessExpiresAt:  rec.ExpiresAt(),
		RefreshExpiresAt: rec.RefreshExpiresAt(),
		User:             rec.User,
	}
	if rec.Unproven {
		s.User = record.User{}
	}
	call := &tokenCall{Client: c}
	if rec.Refused != nil { // it is lifted by another secret
		if err := call.findSecret(ctx); err != nil {
			return s, err
		}
	}
	switch err := call.blocked(rec, now); {
	case err != nil:
		s.Problem = err
		s.SignedIn = !errors.Is(err, fault.ErrLoginNeeded)
	case now.After(s.RefreshExpiresAt):
		s.SignedIn = false
		s.Problem = fault.New(fault.ErrLoginNeeded, "profile %s: its refresh token was not used for 30 days and has expired", c.Profile.Name)
	}
	return s, nil
}

// SetClientSecret keeps the client secret in the profile's record, where the
// store seals it like the tokens. Without a secret the one there is stays if keep
// is set, and goes if not. The login in the record stays, unless it is of another
// client: then fault.ErrConfig is wrapped and nothing is changed.
func (c *Client) SetClientSecret(ctx context.Context, secret fault.Secret, keep bool) error {
	return c.Store.Update(ctx, c.Profile.Name, func(_ context.Context, old []byte) ([]byte, error) {
		rec := &record.Record{}
		if old != nil {
			var err error
			if rec, err = c.open(old); errors.Is(err, fault.ErrLoginNeeded) {
				return nil, fault.Wrap(fault.ErrConfig, err, "the login of before would be lost")
			} else if err != nil {
				return nil, err
			}
		}
		if secret.IsZero() && keep && c.owns(rec) {
			secret = rec.ClientSecret
		}
		rec.BaseURL, rec.ClientID, rec.ClientSecret = c.Profile.BaseURL, c.Profile.ClientID, secret
		return rec.Encode()
	})
}

// Logout removes the tokens and keeps the client secret, so that the next login
// needs no set-up. It reports whether there was a login, and nothing more: Exact
// has no call that revokes a token, so what was handed out lives on until it
// expires, and the user's consent until it is revoked in Exact Online.
func (c *Client) Logout(ctx context.Context) (wasSignedIn bool, err error) {
	if _, err := c.Store.Read(ctx, c.Profile.Name); errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	err = c.Store.Update(ctx, c.Profile.Name, func(_ context.Context, old []byte) ([]byte, error) {
		rec, err := record.Decode(old) // whatever client's it is
		if err != nil {
			return nil, err
		}
		if rec.MovedTo != "" {
			return nil, c.elsewhere(rec)
		}
		wasSignedIn = rec.SignedIn()
		return (&record.Record{
			BaseURL: rec.BaseURL, ClientID: rec.ClientID, ClientSecret: rec.ClientSecret, Generation: rec.Generation + 1,
		}).Encode()
	})
	return wasSignedIn, err
}

// Known reports whether there is a record, sound or not.
func (c *Client) Known(ctx context.Context) (bool, error) {
	_, err := c.Store.Read(ctx, c.Profile.Name)
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	return err == nil, err
}

// Forget removes the profile's record whole, client secret included, even if it
// is damaged.
func (c *Client) Forget(ctx context.Context) error { return c.Store.Delete(ctx, c.Profile.Name) }

// HasClientSecret reports whether the record holds the secret of this client.
func (c *Client) HasClientSecret(ctx context.Context) (bool, error) {
	b, err := c.Store.Read(ctx, c.Profile.Name)
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	} else if err != nil {
		return false, err
	}
	rec, err := record.Decode(b)
	if err != nil {
		return false, fmt.Errorf("profile %s: %w", c.Profile.Name, err)
	}
	return c.owns(rec) && !rec.ClientSecret.IsZero(), nil
}
