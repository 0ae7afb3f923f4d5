package exactauth_test

import (
	"context"
	"errors"
	"net/http"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/exactauth/exactauth/internal/exactauth"
	"github.com/exactauth/exactauth/internal/exactsim"
	"github.com/exactauth/exactauth/internal/fault"
	"github.com/exactauth/exactauth/internal/record"
)

// interrupted kills a second sign-in before its code is sent, or after Exact's answer and
// before the save.
func (w *world) interrupted(sent bool) {
	w.t.Helper()
	c := w.client()
	c.Store = &crashing{Store: w.store(), at: 3, before: !sent} // readyToLogin, the mark, the answer
	exchanges := w.Counters().Exchanges
	if _, err := w.signIn(c, exactauth.LoginOptions{}); !errors.Is(err, errCrash) || (w.Counters().Exchanges > exchanges) != sent || w.field("code_at") == "" {
		w.t.Fatalf("%v\n%s", err, w.record())
	}
}

// A sign-in that was killed between Exact's answer and the save has ended the earlier
// login. Its token is not handed out, and the login asks for a sign-in as soon as that is
// certain.
func TestSignInKilledBeforeTheSave(t *testing.T) {
	for name, c := range map[string]struct {
		later time.Duration // than the kill the first call is made
		early bool          // Exact says first that a refresh comes too early after that sign-in
	}{
		"while the earlier token looks alive": {time.Minute, false},
		"at once":                             {0, false},
		"once it has expired":                 {exactLife, false},
		"when Exact allows no refresh yet":    {exactLife - time.Minute, true},
	} {
		t.Run(name, func(t *testing.T) {
			w, client := signedIn(t, exactLife, exactsim.Config{})
			w.clock.advance(time.Minute)
			w.interrupted(true)
			w.clock.advance(c.later)
			if c.early {
				w.Inject(exactsim.Fault{Kind: exactsim.Raw, Status: 400, Body: tooEarlyBody})
			}
			_, err := w.token(client, exactauth.Want{})
			for n := 0; errors.Is(err, fault.ErrTemporary) && n < 3; n++ {
				if !strings.Contains(err.Error(), "sign-in") {
					t.Error(err)
				}
				w.quiet(func() { w.refused(client, fault.ErrTemporary) }) // it is remembered
				if until := w.untilHeld(err); c.early && until.Before(newClock().t.Add(time.Minute+exactLife/20*19)) {
					t.Errorf("Exact is asked again at %s", until)
				}
				_, err = w.token(client, exactauth.Want{})
			}
			if !errors.Is(err, fault.ErrLoginNeeded) || !strings.Contains(err.Error(), fault.Clock(newClock().t.Add(time.Minute))+", whose answer was lost, has ended it") {
				t.Errorf("got %v; want that a sign-in is needed", err)
			}
			if n := w.Counters().TokenErrors; n > 2 {
				t.Errorf("%d errors", n)
			}
			if _, err := w.signIn(client, exactauth.LoginOptions{}); err != nil {
				t.Fatal(err)
			}
			w.quiet(func() { w.live(client) })
		})
	}
}

// A code that never reached Exact has not ended the earlier login: its token is handed out
// once Exact has taken it, and nothing is lost.
func TestSignInKilledBeforeTheCodeIsSent(t *testing.T) {
	apis := func(w *world, f func()) int {
		before := w.Counters().APIRequests
		f()
		return w.Counters().APIRequests - before
	}
	t.Run("while the token lives", func(t *testing.T) {
		w, c := signedIn(t, exactLife, exactsim.Config{})
		w.interrupted(false)
		if s, err := c.Status(t.Context()); err != nil || !s.SignedIn || !errors.Is(s.Problem, fault.ErrTemporary) {
			t.Errorf("status: %+v, %v", s, err)
		}
		if n := apis(w, func() { w.live(c) }); n != 1 || w.field("code_at") == "" {
			t.Errorf("%d requests; the sign-in may be going on:\n%s", n, w.record())
		}
		w.clock.advance(3 * time.Minute)
		if n := apis(w, func() { w.live(c) }); n != 1 || w.field("code_at") != "" {
			t.Errorf("%d requests; the sign-in is over:\n%s", n, w.record())
		}
		w.quiet(func() { w.live(c) })
		w.clock.advance(exactLife)
		w.live(c)
	})
	t.Run("when it has expired", func(t *testing.T) {
		w, c := signedIn(t, exactLife, exactsim.Config{})
		w.interrupted(false)
		w.clock.advance(exactLife)
		refreshes := 0
		if n := apis(w, func() { refreshes = w.asks(func() { w.live(c) }) }); n != 0 || refreshes != 1 || w.field("code_at") != "" {
			t.Errorf("%d refreshes and %d other requests\n%s", refreshes, n, w.record())
		}
	})
	t.Run("while Exact cannot be asked", func(t *testing.T) {
		w, c := signedIn(t, exactLife, exactsim.Config{})
		w.interrupted(false)
		w.Inject(exactsim.Fault{On: exactsim.MeEndpoint, Kind: exactsim.Drop, Times: -1})
		if err := w.refused(c, fault.ErrTemporary); !strings.Contains(err.Error(), fault.Clock(newClock().t)+" was interrupted") {
			t.Error(err)
		}
		w.ClearFaults()
		w.live(c)
	})
	t.Run("beside a store that cannot be written", func(t *testing.T) {
		w, c := signedIn(t, exactLife, exactsim.Config{})
		w.interrupted(false)
		w.clock.advance(3 * time.Minute)
		defer blockWrites(t, w)()
		w.live(c)
	})
}

// A code that Exact refuses settles the outcome of its own sign-in, not that of an earlier
// one that was killed.
func TestRefusedCodeBesideAKilledSignIn(t *testing.T) {
	refuse := func(w *world, c *exactauth.Client) {
		w.t.Helper()
		s := w.sit(w.t.Context(), c, exactauth.LoginOptions{Paste: strings.NewReader(strings.Repeat("stampNL001.", 20) + "\n")})
		if _, err := s.end(); !errors.Is(err, fault.ErrLoginNeeded) {
			w.t.Fatal(err)
		}
	}
	w, c := signedIn(t, exactLife, exactsim.Config{})
	refuse(w, c)
	w.quiet(func() { w.live(c) })
	w.interrupted(true)
	refuse(w, c)
	if w.field("code_at") == "" {
		t.Fatal("the sign-in that was killed is forgotten")
	}
	w.refused(c, fault.ErrTemporary)
}

// unmarking removes the mark of a sign-in before one of its updates, as a process does that
// finds the mark of an earlier one.
type unmarking struct {
	record.Store
	w     *world
	at, n int
}

func (s *unmarking) Update(ctx context.Context, name string, change record.Change) error {
	if s.n++; s.n == s.at {
		s.w.putRecord(regexp.MustCompile(`\ncode_at .*`).ReplaceAllString(s.w.record(), ""))
	}
	return s.Store.Update(ctx, name, change)
}

// transport is a http.RoundTripper.
type transport func(*http.Request) (*http.Response, error)

func (f transport) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

// While a code is sent, the record is marked.
func TestRecordIsMarkedWhileACodeIsSent(t *testing.T) {
	for _, at := range []int{0, 3} {
		t.Run(strconv.Itoa(at), func(t *testing.T) {
			w, c := signedIn(t, exactLife, exactsim.Config{})
			c.Store = &unmarking{Store: w.store(), w: w, at: at}
			next, sent := c.Transport, 0
			c.Transport = transport(func(r *http.Request) (*http.Response, error) {
				if strings.HasSuffix(r.URL.Path, "/token") {
					if sent++; w.field("code_at") == "" {
						t.Error("the code is sent without a mark")
					}
				}
				return next.RoundTrip(r)
			})
			if _, err := w.signIn(c, exactauth.LoginOptions{}); err != nil || sent != 1 {
				t.Fatal(sent, err)
			}
			if w.field("code_at") != "" {
				t.Error("the mark stays after a sign-in")
			}
		})
	}
}
