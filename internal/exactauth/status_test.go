package exactauth_test

import (
	"errors"
	"io/fs"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/exactauth/exactauth/internal/exactauth"
	"github.com/exactauth/exactauth/internal/exactsim"
	"github.com/exactauth/exactauth/internal/fault"
)

// Status sends no request, and says what a call of Token would return.
func TestStatus(t *testing.T) {
	for _, test := range []struct {
		name     string
		do       func(*world, *exactauth.Client)
		signedIn bool
		problem  error
	}{
		{"signed in", func(*world, *exactauth.Client) {}, true, nil},
		{"access token over", func(w *world, _ *exactauth.Client) { w.clock.advance(time.Hour) }, true, nil},
		{"refresh token over", func(w *world, _ *exactauth.Client) { w.clock.advance(31 * 24 * time.Hour) }, false, fault.ErrLoginNeeded},
		{"revoked", func(w *world, c *exactauth.Client) {
			w.Revoke(clientID, annaID)
			w.clock.advance(time.Hour)
			w.refused(c, fault.ErrLoginNeeded)
		}, false, fault.ErrLoginNeeded},
		{"revoked, and signed in again by a process that was killed", func(w *world, c *exactauth.Client) {
			w.Revoke(clientID, annaID)
			w.clock.advance(time.Hour)
			w.refused(c, fault.ErrLoginNeeded)
			w.killedSignIn(annaID)
			w.clock.advance(time.Hour)
		}, true, fault.ErrTemporary},
		{"wrong secret", func(w *world, c *exactauth.Client) {
			w.register("other", redirectURI)
			w.clock.advance(time.Hour)
			w.refused(c, fault.ErrConfig)
		}, true, fault.ErrConfig},
		{"wrong secret, then the right one", func(w *world, c *exactauth.Client) {
			w.register("other", redirectURI)
			w.clock.advance(time.Hour)
			w.refused(c, fault.ErrConfig)
			c.ClientSecret = giveSecret("other")
		}, true, nil},
		{"server down", func(w *world, c *exactauth.Client) {
			w.Inject(exactsim.Fault{Kind: exactsim.Status, RetryAfter: "600"})
			w.clock.advance(time.Hour)
			w.refused(c, fault.ErrTemporary)
		}, true, fault.ErrTemporary},
		{"another client's", func(_ *world, c *exactauth.Client) { c.Profile.ClientID = "99999999-2222-3333-4444-555555555555" }, false, fault.ErrLoginNeeded},
		{"signed out", func(w *world, c *exactauth.Client) {
			if was, err := c.Logout(w.t.Context()); !was || err != nil {
				w.t.Error(was, err)
			}
		}, false, fault.ErrLoginNeeded},
		{"forgotten", func(w *world, c *exactauth.Client) {
			if err := c.Forget(w.t.Context()); err != nil {
				w.t.Error(err)
			}
		}, false, fault.ErrLoginNeeded},
	} {
		t.Run(test.name, func(t *testing.T) {
			w, c := signedIn(t, exactLife, exactsim.Config{})
			test.do(w, c)
			w.quiet(func() {
				s, err := c.Status(t.Context())
				w.tell(s.Problem)
				if err != nil || s.SignedIn != test.signedIn || (s.Problem == nil) != (test.problem == nil) || !errors.Is(s.Problem, test.problem) {
					t.Errorf("got %+v, %v", s, err)
				}
				if s.SignedIn && (s.User.FullName != "Anna de Vries" || s.RefreshExpiresAt.Sub(s.AccessExpiresAt).Round(time.Hour) != 30*24*time.Hour) {
					t.Errorf("got %+v", s)
				}
			})
		})
	}
}

func TestLogout(t *testing.T) {
	w, c := signedIn(t, exactLife, exactsim.Config{})
	access, refresh := w.field("access_token"), w.field("refresh_token")
	for _, signedIn := range []bool{true, false} {
		if was, err := c.Logout(t.Context()); was != signedIn || err != nil {
			t.Error(was, err)
		}
	}
	if rec := w.record(); strings.Contains(rec, access) || strings.Contains(rec, refresh) || !strings.Contains(rec, clientSecret) {
		t.Error("the record after a sign-out")
	}
	if _, err := w.signIn(c, exactauth.LoginOptions{}); err != nil {
		t.Error("without another set-up:", err)
	}
	if err := c.Forget(t.Context()); err != nil {
		t.Error(err)
	}
	if _, err := os.Stat(w.path()); !errors.Is(err, fs.ErrNotExist) {
		t.Error(err)
	}
	if was, err := c.Logout(t.Context()); was || err != nil {
		t.Error(was, err)
	}
}

func TestSetClientSecretKeepsTheLogin(t *testing.T) {
	w, c := signedIn(t, exactLife, exactsim.Config{})
	tok := w.live(c)
	if err := c.SetClientSecret(t.Context(), fault.NewSecret("new one"), true); err != nil {
		t.Fatal(err)
	}
	if got := w.live(c); got.Access.Reveal() != tok.Access.Reveal() {
		t.Error("the login is gone")
	}
	c.Profile.ClientID = "99999999-2222-3333-4444-555555555555"
	before := w.record()
	if err := c.SetClientSecret(t.Context(), fault.NewSecret("of another"), true); !errors.Is(w.tell(err), fault.ErrConfig) || w.record() != before {
		t.Error(err)
	}
}
