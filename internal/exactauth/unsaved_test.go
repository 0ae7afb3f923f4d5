package exactauth_test

import (
	"context"
	"errors"
	"testing"

	"github.com/exactauth/exactauth/internal/exactauth"
	"github.com/exactauth/exactauth/internal/exactsim"
	"github.com/exactauth/exactauth/internal/record"
)

// forgetful is a store that loses the results of its updates from the one numbered at on.
type forgetful struct {
	record.Store
	at, n int
}

func (s *forgetful) Update(ctx context.Context, name string, change record.Change) error {
	return s.Store.Update(ctx, name, func(ctx context.Context, old []byte) ([]byte, error) {
		changed, err := change(ctx, old)
		if s.n++; err == nil && s.n >= s.at {
			return nil, errBoom
		}
		return changed, err
	})
}

// Only an error after Exact's answer to a refresh or a code says that an answer could not
// be saved.
func TestUnsaved(t *testing.T) {
	token := func(w *world, c *exactauth.Client) error { _, err := w.token(c, exactauth.Want{}); return err }
	login := func(w *world, c *exactauth.Client) error {
		_, err := w.signIn(c, exactauth.LoginOptions{})
		return err
	}
	lost := func(at int) func(record.Store) record.Store {
		return func(s record.Store) record.Store { return &forgetful{Store: s, at: at} }
	}
	unlocked := func(at int) func(record.Store) record.Store {
		return func(s record.Store) record.Store { return &crashing{Store: s, at: at, before: true} }
	}
	for name, c := range map[string]struct {
		store func(record.Store) record.Store
		call  func(*world, *exactauth.Client) error
		want  bool
	}{
		"the mark of a refresh":        {lost(1), token, false},
		"the answer to a refresh":      {lost(2), token, true},
		"no second lock for a refresh": {unlocked(2), token, false},
		"the answer to a code":         {lost(3), login, true},
		"the mark of a sign-in":        {lost(2), login, false},
		"no second lock for a code":    {unlocked(3), login, false},
		"a sign-out":                   {lost(1), func(w *world, c *exactauth.Client) error { _, err := c.Logout(w.t.Context()); return err }, false},
	} {
		t.Run(name, func(t *testing.T) {
			w, client := signedIn(t, exactLife, exactsim.Config{})
			w.clock.advance(exactLife)
			client.Store = c.store(w.store())
			if err := c.call(w, client); !errors.Is(err, errBoom) && !errors.Is(err, errCrash) || errors.Is(err, exactauth.ErrUnsaved) != c.want {
				t.Errorf("%v, an unsaved answer: %v; want %v", err, !c.want, c.want)
			}
		})
	}
}
