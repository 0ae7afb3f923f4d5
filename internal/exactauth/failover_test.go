package exactauth_test

import (
	"context"
	"errors"
	"strings"
	"testing"

	"github.com/exactauth/exactauth/internal/exactauth"
	"github.com/exactauth/exactauth/internal/exactsim"
	"github.com/exactauth/exactauth/internal/fault"
	"github.com/exactauth/exactauth/internal/record"
	"github.com/exactauth/exactauth/internal/tokenstore"
	"github.com/exactauth/exactauth/internal/tokenstore/spool"
)

// pair is two machines that share the world's store.
type pair struct {
	*world
	a, b     *exactauth.Client
	warnings []string // on a
}

func newPair(t *testing.T) *pair {
	w, _ := signedIn(t, exactLife, exactsim.Config{})
	p := &pair{world: w}
	machine := func(warn func(string)) *exactauth.Client {
		c := w.client()
		s := spool.New(w.store(), tokenstore.NewFiles(t.TempDir(), nil), exactauth.Latest, warn)
		s.Drop(exactauth.Ended)
		c.Store, c.Shared = s, true
		return c
	}
	p.a, p.b = machine(func(text string) { p.warnings = append(p.warnings, text) }), machine(nil)
	return p
}

// copies returns where a has its copies from here on.
func (p *pair) copies() record.Store {
	local := tokenstore.NewFiles(p.t.TempDir(), nil)
	s := spool.New(p.store(), local, exactauth.Latest, nil)
	s.Drop(exactauth.Ended)
	p.a.Store = s
	return local
}

// failover replaces the record in the shared store by an earlier one.
func (p *pair) failover(earlier string) {
	p.t.Helper()
	err := p.store().Update(p.t.Context(), profileName, func(context.Context, []byte) ([]byte, error) { return []byte(earlier), nil })
	if err != nil {
		p.t.Fatal(err)
	}
}

// A failover to a standby that had not got the last commits loses no login: the machine
// that made them has them.
func TestFailoverLosesCommits(t *testing.T) {
	for _, lost := range []string{"a refresh", "a mark"} {
		t.Run(lost, func(t *testing.T) {
			p := newPair(t)
			p.live(p.a)
			p.clock.advance(exactLife)
			earlier := p.record()
			if lost == "a mark" {
				p.Inject(exactsim.Fault{Kind: exactsim.Raw, Status: 403})
				if _, err := p.token(p.a, exactauth.Want{}); err == nil {
					t.Fatal("a token")
				}
			} else {
				p.live(p.a)
			}
			had := p.record()
			p.failover(earlier)
			_, _ = p.a.Status(t.Context()) // any call
			if p.record() != had {
				t.Errorf("the record is\n%s", p.record())
			}
			if len(p.warnings) != 1 || !strings.Contains(p.warnings[0], "had lost changes") {
				t.Errorf("warnings %q", p.warnings)
			}
		})
	}
}

// If another machine is first to find what the failover left, Exact refuses its refresh,
// since the refresh token was used before. The answer to the refresh that used it up is
// awaited once, and then the refusal is remembered, until the machine that
// has the later tokens comes: they count more than changes.
func TestFailoverAndAnotherMachineFirst(t *testing.T) {
	p := newPair(t)
	p.clock.advance(exactLife)
	earlier := p.record()
	p.live(p.a)
	had := p.field("access_token")
	p.failover(earlier)
	_, err := p.token(p.b, exactauth.Want{})
	p.untilHeld(err)
	for range 2 {
		if _, err := p.token(p.b, exactauth.Want{}); !errors.Is(err, fault.ErrLoginNeeded) {
			t.Fatalf("b: %v", err)
		}
	}
	if p.field("refused_text") == "" {
		t.Fatalf("no refusal is remembered:\n%s", p.record())
	}
	for name, c := range map[string]*exactauth.Client{"a": p.a, "b": p.b} {
		if name == "b" {
			_, _ = p.token(p.a, exactauth.Want{})
		}
		if token, err := p.token(c, exactauth.Want{}); err != nil || token.Access.Reveal() != had {
			t.Errorf("%s: %v", name, err)
		}
	}
	p.clock.advance(exactLife)
	p.live(p.b)
	p.live(p.a)
}

// A person who signed out, or began again, is not overruled by what a machine has. What it
// has of that login does not stay there.
func TestSignOutCountsMoreThanACopy(t *testing.T) {
	for name, end := range map[string]func(p *pair) error{
		"signed out": func(p *pair) error { _, err := p.b.Logout(p.t.Context()); return err },
		"signed out after a failover": func(p *pair) error {
			earlier := p.record()
			p.clock.advance(exactLife)
			p.live(p.a)
			p.failover(earlier)
			_, err := p.b.Logout(p.t.Context())
			return err
		},
		"forgotten": func(p *pair) error { return p.b.Forget(p.t.Context()) },
		"forgotten and set up": func(p *pair) error {
			return errors.Join(p.b.Forget(p.t.Context()), p.b.SetClientSecret(p.t.Context(), fault.NewSecret(clientSecret), true))
		},
	} {
		t.Run(name, func(t *testing.T) {
			p := newPair(t)
			p.clock.advance(exactLife)
			local := p.copies()
			p.live(p.a)
			if b, err := local.Read(t.Context(), spool.Name(profileName)); err != nil || !strings.Contains(string(b), "refresh_token") {
				t.Fatalf("a has %q, %v", b, err)
			}
			if err := end(p); err != nil {
				t.Fatal(err)
			}
			for _, c := range []*exactauth.Client{p.a, p.b} {
				if _, err := p.token(c, exactauth.Want{}); !errors.Is(err, fault.ErrLoginNeeded) {
					t.Errorf("a token after the end: %v", err)
				}
			}
			if b, err := local.Read(t.Context(), spool.Name(profileName)); err != nil || strings.Contains(string(b), "refresh_token") {
				t.Errorf("a has %q, %v", b, err)
			}
		})
	}
}

// Nor does a copy of a login that was forgotten stay beside the login that came after it.
func TestForgottenCopy(t *testing.T) {
	p := newPair(t)
	p.clock.advance(exactLife)
	local := p.copies()
	p.live(p.a)
	forgotten := p.field("refresh_token")
	err := errors.Join(p.b.Forget(t.Context()), p.b.SetClientSecret(t.Context(), fault.NewSecret(clientSecret), true))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := p.signIn(p.b, exactauth.LoginOptions{}); err != nil {
		t.Fatal(err)
	}
	p.live(p.a)
	if b, err := local.Read(t.Context(), spool.Name(profileName)); err != nil || strings.Contains(string(b), forgotten) {
		t.Errorf("a has %q, %v", b, err)
	}
}
