package exactauth_test

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/exactauth/exactauth/internal/exactauth"
	"github.com/exactauth/exactauth/internal/exactsim"
	"github.com/exactauth/exactauth/internal/fault"
	"github.com/exactauth/exactauth/internal/record"
	"github.com/exactauth/exactauth/internal/tokenstore"
)

const (
	exactLife = 600 * time.Second
	shortLife = 5 * time.Second // where the client pauses: no pause is longer than 0.1 s
)

// share is a part of a life, in thousandths.
func share(life time.Duration, thousandths int) time.Duration {
	return life / 1000 * time.Duration(thousandths)
}

func TestFreshTokenCostsNothing(t *testing.T) {
	w, c := signedIn(t, exactLife, exactsim.Config{})
	first := w.live(c)
	before := w.record()
	for _, age := range []time.Duration{0, 300 * time.Second, 274 * time.Second} {
		w.clock.advance(age)
		w.quiet(func() {
			if got := w.live(c); got.Access.Reveal() != first.Access.Reveal() || !got.ExpiresAt.Equal(first.ExpiresAt) {
				t.Error("another token")
			}
		})
	}
	if w.record() != before {
		t.Error("the record was written")
	}
	if first.BaseURL != w.url || first.Division != 0 {
		t.Errorf("got %+v", first)
	}
}

func TestFreshTokenNeedsNoWritableStoreAndNoSecret(t *testing.T) {
	w, c := signedIn(t, exactLife, exactsim.Config{})
	blockWrites(t, w)
	c.ClientSecret = func(context.Context) (fault.Secret, error) {
		t.Error("the client secret was asked for")
		return fault.Secret{}, nil
	}
	w.live(c)
}

func TestPinnedDivisionGoesWithTheToken(t *testing.T) {
	w, c := signedIn(t, exactLife, exactsim.Config{})
	c.Profile.Division = 4711
	if got := w.live(c).Division; got != 4711 {
		t.Errorf("division %d", got)
	}
}

// A token is replaced when a twenty-fourth of its life is left, and not before.
func TestRefreshIsDueShortlyBeforeExpiry(t *testing.T) {
	for _, life := range []time.Duration{exactLife, 24 * time.Second} {
		t.Run(life.String(), func(t *testing.T) {
			w, c := signedIn(t, life, exactsim.Config{})
			old := w.live(c)
			due := old.ExpiresAt.Add(-life / 24)

			w.clock.set(due.Add(-10 * time.Millisecond))
			w.quiet(func() { w.live(c) })

			w.clock.set(due)
			if n := w.asks(func() {
				got := w.live(c)
				if got.Access.Reveal() == old.Access.Reveal() {
					t.Error("Token returned the old token")
				}
				if left := got.ExpiresAt.Sub(w.clock.now()); left > life || left < life-time.Second/2 {
					t.Errorf("the new token has %s left", left)
				}
			}); n != 1 {
				t.Errorf("%d refreshes, want 1", n)
			}
			if got := w.refreshState(); got != exactsim.Current {
				t.Errorf("the stored refresh token is %s", got)
			}
			if w.field("previous_refresh_token") == "" {
				t.Error("the previous refresh token was not kept")
			}
			if strings.Contains(w.record(), "spent_at") {
				t.Error("the record is still marked")
			}
		})
	}
}

// A login that is used once in 30 days never lapses.
func TestLoginLivesOn(t *testing.T) {
	w, c := signedIn(t, exactLife, exactsim.Config{})
	for range 24 {
		w.clock.advance(29 * 24 * time.Hour)
		w.live(c)
	}
	if n := w.Counters(); n.RefreshesIssued != 24 || n.TokenErrors != 0 {
		t.Errorf("%+v", n)
	}
}

// "Not expired" shortly before expiry means that this server refreshes only after
// expiry: the record remembers it, and Token returns the stored token.
func TestLearnsToWaitForExpiry(t *testing.T) {
	for _, status := range []int{http.StatusBadRequest, http.StatusUnauthorized} {
		t.Run(http.StatusText(status), func(t *testing.T) {
			w, c := signedIn(t, shortLife, exactsim.Config{})
			old := w.live(c)
			w.clock.advance(share(shortLife, 970))
			w.Inject(exactsim.Fault{Kind: exactsim.Raw, Status: status, Body: tooEarlyBody})
			if got := w.live(c); got.Access.Reveal() != old.Access.Reveal() {
				t.Error("not the stored token")
			}
			if !strings.Contains(w.record(), "wait_for_expiry true") {
				t.Error("the record does not remember it")
			}
			w.clock.advance(share(shortLife, 20))
			w.quiet(func() { w.live(c) }) // live: no request

			w.clock.advance(share(shortLife, 12)) // expired, but by less than a second at Exact
			waits := 0
			c.Waiting = waited(func(_ string, until time.Time) { waits++; w.clock.set(until) })
			w.live(c)
			if waits != 1 {
				t.Errorf("%d waits, want 1", waits)
			}

			// It holds for later tokens too.
			w.clock.advance(share(shortLife, 980))
			w.quiet(func() { w.live(c) })
		})
	}
}

const (
	tooEarlyBody = `{"error":"access_denied","error_description":"Rate limit exceeded: access_token not expired"}`
	oldTokenBody = `{"error":"unauthorized_client","error_description":"Old refresh token used."}`
)

// forbidden is Exact's own refusal, as its API sends it, on every request.
func forbidden(reason string) exactsim.Fault {
	return exactsim.Fault{
		Kind: exactsim.Raw, Status: http.StatusForbidden, Times: -1, Reason: reason,
		Body: `{"error":{"code":"","message":{"lang":"","value":"Forbidden"}}}`,
	}
}

// What Exact does not allow counts as an error there: the server is asked once in a call,
// the error has Exact's words, and its kind says that a person must change it at Exact.
// The login is kept, and the next attempt finds out whether it was changed.
func TestForbidden(t *testing.T) {
	for _, reason := range []string{"BlockedUser", "InactiveUser", "BlockedCustomer", "LicenseExpired"} {
		t.Run(reason, func(t *testing.T) {
			w, c := signedIn(t, exactLife, exactsim.Config{})
			old := w.live(c)
			w.clock.advance(share(exactLife, 970))
			w.Inject(forbidden(reason))
			if n := w.asks(func() {
				if got := w.live(c); got.Access.Reveal() != old.Access.Reveal() {
					t.Error("another token")
				}
			}); n != 1 {
				t.Errorf("the server was asked %d times", n)
			}
			w.clock.advance(share(exactLife, 31))
			var err error
			w.quiet(func() { err = w.refused(w.client(), fault.ErrForbidden) })
			if errors.Is(err, fault.ErrTemporary) || !strings.Contains(err.Error(), "HTTP 403: "+reason+": Forbidden") {
				t.Errorf("got %v", err)
			}
			if s, err := c.Status(t.Context()); err != nil || !s.SignedIn || !errors.Is(s.Problem, fault.ErrForbidden) {
				t.Errorf("status: %+v, %v", s, err)
			}
			w.ClearFaults()
			w.untilHeld(err)
			w.live(c)
			if w.field("forbidden") != "" {
				t.Error("the refusal is still in the record")
			}
			before := uncounted(w.record())
			w.Inject(forbidden(reason))
			if _, err := w.signIn(c, exactauth.LoginOptions{}); !errors.Is(err, fault.ErrForbidden) || uncounted(w.record()) != before {
				t.Error("sign-in:", err)
			}
		})
	}
}

// After an answer that says nothing about the tokens, nothing is lost: Token returns the
// old token while that lives, the server is not asked for a while, and the next refresh
// succeeds.
func TestUselessAnswersLoseNothing(t *testing.T) {
	for _, test := range []struct {
		name  string
		fault exactsim.Fault
		asked int // in one call
	}{
		{"no reply", exactsim.Fault{Kind: exactsim.Drop}, 2},
		{"empty", exactsim.Fault{Kind: exactsim.Empty}, 2},
		{"gateway fault", exactsim.Fault{Kind: exactsim.Gateway}, 2},
		{"gateway fault 500", exactsim.Fault{Kind: exactsim.Gateway, Status: 500}, 2},
		{"500", exactsim.Fault{Kind: exactsim.Status, Status: 500}, 2},
		{"502 page", exactsim.Fault{Kind: exactsim.HTML, Status: 502}, 2},
		{"503", exactsim.Fault{Kind: exactsim.Status}, 2},
		{"500 with an OAuth error", exactsim.Fault{Kind: exactsim.Raw, Status: 500, Body: `{"error":"server_error"}`}, 2},
		{"429", exactsim.Fault{Kind: exactsim.Status, Status: 429}, 2},
		{"429 that says when", exactsim.Fault{Kind: exactsim.Status, Status: 429, RetryAfter: "30"}, 1},
		{"page", exactsim.Fault{Kind: exactsim.HTML}, 2},
		{"10 MB", exactsim.Fault{Kind: exactsim.Huge}, 2},
		{"empty object", exactsim.Fault{Kind: exactsim.Raw, Body: `{}`}, 2},
		{"list", exactsim.Fault{Kind: exactsim.Raw, Body: `[]`}, 2},
		{"null", exactsim.Fault{Kind: exactsim.Raw, Body: `null`}, 2},
		{"access token that is no string", exactsim.Fault{Kind: exactsim.Raw, Body: `{"access_token":{},"refresh_token":null}`}, 2},
		{"307", exactsim.Fault{Kind: exactsim.Redirect}, 1},
		{"302", exactsim.Fault{Kind: exactsim.Redirect, Status: 302}, 1},
		{"308", exactsim.Fault{Kind: exactsim.Redirect, Status: 308}, 1},
		{"unknown error", exactsim.Fault{Kind: exactsim.Raw, Status: 400, Body: `{"error":"something_new","error_description":"\u001b[2Jwell"}`}, 1},
		{"malformed request", exactsim.Fault{Kind: exactsim.Raw, Status: 400, Body: `{"error":"invalid_request"}`}, 1},
		{"message 401", exactsim.Fault{Kind: exactsim.Raw, Status: 401, Body: `{"message":"Unauthorized"}`}, 1},
		{"OData error 403", exactsim.Fault{Kind: exactsim.Raw, Status: 403, Body: `{"error":{"code":"","message":{"lang":"","value":"Forbidden"}}}`, Reason: "NoDivisionAccess"}, 1},
		{"OData error 503", exactsim.Fault{Kind: exactsim.Raw, Status: 503, Body: `{"error":{"code":"","message":{"lang":"","value":"Maintenance"}}}`}, 2},
		{"200 with an error", exactsim.Fault{Kind: exactsim.Raw, Body: `{"error":"something_new","access_token":"a","refresh_token":""}`}, 1},
	} {
		t.Run(test.name, func(t *testing.T) {
			w, c := signedIn(t, shortLife, exactsim.Config{})
			old, refresh := w.live(c), w.field("refresh_token")
			w.clock.advance(share(shortLife, 970)) // alive, and due
			test.fault.Times = -1
			w.Inject(test.fault)

			if n := w.asks(func() {
				if got := w.live(c); got.Access.Reveal() != old.Access.Reveal() {
					t.Error("another token")
				}
			}); n != test.asked {
				t.Errorf("the server was asked %d times, want %d", n, test.asked)
			}
			if !strings.Contains(w.heard(), "this token ends in") {
				t.Error("no notice says that the token ends soon")
			}
			// Another process does not ask either: the pause is in the record.
			other := w.client()
			w.quiet(func() { w.live(other) })
			w.clock.advance(share(shortLife, 32)) // past expiry
			var err error
			w.quiet(func() { err = w.refused(other, fault.ErrTemporary) })
			if text := err.Error(); strings.ContainsAny(text, "\x1b\n") {
				t.Errorf("%q is not one line", text)
			}
			if got := w.field("refresh_token"); got != refresh || w.refreshState() != exactsim.Current {
				t.Error("the refresh token is lost")
			}

			w.ClearFaults()
			w.untilHeld(err)
			w.live(c)
			if n := w.Counters(); n.RedirectsFollowed != 0 || n.RefreshesIssued != 1 {
				t.Errorf("%+v", n)
			}
			if rec := w.record(); strings.Contains(rec, "retry_at") || strings.Contains(rec, "failures") || strings.Contains(rec, "lost_at") {
				t.Error("the failure is still in the record")
			}
		})
	}
}

// Pauses get longer, so that a server that is down for hours is asked less and less, but
// they have a limit.
func TestPausesGrow(t *testing.T) {
	w, c := signedIn(t, shortLife, exactsim.Config{})
	w.clock.advance(shortLife)
	w.Inject(exactsim.Fault{Kind: exactsim.Status, Times: -1})
	last := time.Duration(0)
	for range 8 {
		before := w.clock.now()
		held := w.untilHeld(w.refused(c, fault.ErrTemporary)).Sub(before)
		if held < last-time.Second/10 || held > shortLife+time.Second/10 {
			t.Errorf("held for %s after %s", held, last)
		}
		last = held
	}
	if last < share(shortLife, 900) {
		t.Errorf("held for no more than %s in the end", last)
	}
}

func TestHonoursRetryAfter(t *testing.T) {
	for _, test := range []struct {
		name, value string
		held        time.Duration
	}{
		{"seconds", "1800", 1800 * time.Second},
		{"date", newClock().t.Add(exactLife + 1800*time.Second).Format(http.TimeFormat), 1800 * time.Second},
		{"a day", "86400", time.Hour}, // no server's mistake ends the work of a day
		{"a date in 2099", "Thu, 01 Jan 2099 00:00:00 GMT", time.Hour},
	} {
		t.Run(test.name, func(t *testing.T) {
			w, c := signedIn(t, exactLife, exactsim.Config{})
			w.clock.advance(exactLife)
			w.Inject(exactsim.Fault{Kind: exactsim.Status, Status: 429, RetryAfter: test.value})
			before := w.clock.now()
			if held := w.untilHeld(w.refused(c, fault.ErrTemporary)).Sub(before); held.Round(5*time.Second) != test.held {
				t.Errorf("held for %s, want %s", held, test.held)
			}
			w.live(c)
		})
	}
	t.Run("a short one", func(t *testing.T) {
		w, c := signedIn(t, 100*time.Second, exactsim.Config{})
		w.clock.advance(100 * time.Second)
		w.Inject(exactsim.Fault{Kind: exactsim.Status, Status: 503, RetryAfter: "1"})
		w.live(c)
	})
	t.Run("nonsense", func(t *testing.T) {
		for _, value := range []string{"-1", "soon", "99999999999999999999", "Mon, 01 Jan 0001 00:00:00 GMT"} {
			t.Run(value, func(t *testing.T) {
				w, c := signedIn(t, shortLife, exactsim.Config{})
				w.clock.advance(shortLife)
				w.Inject(exactsim.Fault{Kind: exactsim.Status, RetryAfter: value})
				w.live(c)
			})
		}
	})
}

// A single failure is retried within the call.
func TestOneFailureIsRetried(t *testing.T) {
	for _, kind := range []exactsim.FaultKind{exactsim.Drop, exactsim.Empty, exactsim.Gateway, exactsim.Status, exactsim.HTML} {
		t.Run(fmt.Sprint(kind), func(t *testing.T) {
			w, c := signedIn(t, shortLife, exactsim.Config{})
			w.clock.advance(shortLife)
			w.Inject(exactsim.Fault{Kind: kind})
			if n := w.asks(func() { w.live(c) }); n != 2 {
				t.Errorf("%d refreshes", n)
			}
		})
	}
}

// If the server cannot be reached, nothing is spent, and the next call tries again at
// once.
func TestUnreachableServerSpendsNothing(t *testing.T) {
	w, c := signedIn(t, shortLife, exactsim.Config{})
	old, refresh := w.live(c), w.field("refresh_token")
	reach := c.Transport
	c.Transport = &http.Transport{DialContext: dialTo(closedAddress(t))}

	w.clock.advance(share(shortLife, 970))
	w.quiet(func() {
		if got := w.live(c); got.Access.Reveal() != old.Access.Reveal() {
			t.Error("another token")
		}
	})
	w.clock.advance(share(shortLife, 40))
	w.quiet(func() { w.refused(c, fault.ErrTemporary) })
	if rec := w.record(); w.field("refresh_token") != refresh || strings.Contains(rec, "spent_at") || strings.Contains(rec, "lost_at") || strings.Contains(rec, "retry_at") {
		t.Error("the record has a refresh that was never sent")
	}
	c.Transport = reach
	w.live(c)
}

// An untrusted server gets no request.
func TestUntrustedServerIsSentNothing(t *testing.T) {
	w, c := signedIn(t, shortLife, exactsim.Config{})
	front := newTLSFront(t, w)
	c.Profile.BaseURL = front
	w.putRecord(strings.ReplaceAll(w.record(), w.url, front))
	w.clock.advance(shortLife)
	w.quiet(func() { w.refused(c, fault.ErrTemporary) })
}

// The answer to a refresh is lost and the previous refresh token has ended: only a new
// sign-in helps, and the error says why.
func TestLostAnswerInStrict(t *testing.T) {
	for _, kind := range []exactsim.FaultKind{exactsim.Drop, exactsim.Empty, exactsim.Truncated, exactsim.CutBody, exactsim.HTML, exactsim.Huge} {
		t.Run(fmt.Sprint(kind), func(t *testing.T) {
			w, c := signedIn(t, shortLife, exactsim.Config{Rotation: exactsim.Strict})
			w.clock.advance(shortLife)
			w.Inject(exactsim.Fault{Kind: kind, Commit: true})
			err := w.refused(c, fault.ErrLoginNeeded)
			if !strings.Contains(err.Error(), "answer was lost") {
				t.Errorf("%v does not say that an answer was lost", err)
			}
			for range 3 {
				w.clock.advance(time.Hour)
				w.quiet(func() { w.refused(w.client(), fault.ErrLoginNeeded) })
			}
			if _, err := w.signIn(c, exactauth.LoginOptions{}); err != nil {
				t.Fatal(err)
			}
			w.live(c)
		})
	}
}

// The answer is lost and the server accepts the previous refresh token: it says "not
// expired" about the token that never arrived, and 570 s later a refresh succeeds.
func TestLostAnswerInGrace(t *testing.T) {
	for _, early := range []bool{false, true} {
		t.Run(fmt.Sprint("too early first ", early), func(t *testing.T) {
			w, c := signedIn(t, shortLife, exactsim.Config{Rotation: exactsim.Grace, TooEarlyFirst: early})
			w.clock.advance(shortLife)
			w.Inject(exactsim.Fault{Kind: exactsim.Drop, Commit: true})
			lost := w.clock.now()
			err := w.refused(c, fault.ErrTemporary)
			w.clock.advance(shortLife / 2)
			w.quiet(func() { w.refused(w.client(), fault.ErrTemporary) })
			if wait := w.untilHeld(err).Sub(lost); wait < share(shortLife, 950) || wait > share(shortLife, 990) {
				t.Errorf("the next attempt is after %s of %s", wait, shortLife)
			}
			w.live(c)
			if n := w.Counters(); n.TooEarly != 1 || n.OldToken != 0 {
				t.Errorf("%+v", n)
			}
		})
	}
}

// A lost answer shortly before expiry says nothing about when the server refreshes: "not
// expired" is about the token that never arrived.
func TestLostAnswerIsNoLesson(t *testing.T) {
	w, c := signedIn(t, shortLife, exactsim.Config{Rotation: exactsim.Grace})
	w.clock.advance(share(shortLife, 965))
	w.Inject(exactsim.Fault{Kind: exactsim.Drop, Commit: true})
	w.live(c)
	if strings.Contains(w.record(), "wait_for_expiry") {
		t.Error("the record says that the server refreshes only after expiry, which is wrong")
	}
}

// Nor does a refresh by a clock that was set forward: the server's own dates show that
// its token is new.
func TestForwardClockIsNoLesson(t *testing.T) {
	w, c := signedIn(t, exactLife, exactsim.Config{})
	skew := 5 * time.Minute
	c.Now = func() time.Time { return w.clock.now().Add(skew) }
	w.clock.advance(280 * time.Second) // 580 s by our clock
	w.live(c)
	if strings.Contains(w.record(), "wait_for_expiry") {
		t.Error("the record says that the server refreshes only after expiry, which is wrong")
	}
}

// A process that is killed between sending and saving leaves a mark in the record, by
// which the next process knows what happened.
func TestKilledWhileRefreshing(t *testing.T) {
	kill := func(w *world) {
		w.t.Helper()
		c := w.client()
		c.Store = &crashing{Store: w.store(), at: 2}
		if _, err := w.token(c, exactauth.Want{}); !errors.Is(err, errCrash) {
			w.t.Fatal(err)
		}
		if w.field("spent_at") == "" {
			w.t.Fatal("the record is not marked")
		}
	}
	t.Run("before sending", func(t *testing.T) {
		w, c := signedIn(t, exactLife, exactsim.Config{})
		w.clock.advance(exactLife)
		crash := w.client()
		crash.Store = &crashing{Store: w.store(), at: 2, before: true}
		w.quiet(func() { w.refused(crash, errCrash) })
		w.live(c)
	})
	for _, later := range []time.Duration{time.Second, time.Minute} {
		t.Run(fmt.Sprint("strict, next call after ", later), func(t *testing.T) {
			w, c := signedIn(t, exactLife, exactsim.Config{})
			w.clock.advance(exactLife)
			kill(w)
			w.clock.advance(later)
			err := w.refused(c, fault.ErrLoginNeeded)
			if !strings.Contains(err.Error(), "answer was lost") {
				t.Errorf("%v does not say that an answer was lost", err)
			}
			w.quiet(func() { w.refused(c, fault.ErrLoginNeeded) })
		})
		t.Run(fmt.Sprint("grace, next call after ", later), func(t *testing.T) {
			w, c := signedIn(t, exactLife, exactsim.Config{Rotation: exactsim.Grace})
			w.clock.advance(exactLife)
			kill(w)
			w.clock.advance(later)
			began := w.clock.now()
			// A script that keeps asking gets a token in the end, and causes far fewer than
			// the ten errors an hour that block the app.
			for {
				if _, err := w.token(c, exactauth.Want{}); err == nil {
					break
				} else if !errors.Is(err, fault.ErrTemporary) {
					t.Fatal(err)
				}
				if w.clock.advance(5*time.Second).Sub(began) > 2*exactLife {
					t.Fatal("no token ever came")
				}
			}
			if n := w.Counters(); n.TokenErrors > 3 || n.Blocked > 0 {
				t.Errorf("%d errors at the token endpoint, %d requests refused for them", n.TokenErrors, n.Blocked)
			}
		})
	}
}

// The same app and user signed in elsewhere, which ends this login: the error says so.
func TestAnotherLoginOfTheSameUser(t *testing.T) {
	w, c := signedIn(t, exactLife, exactsim.Config{})
	elsewhere := w.client()
	elsewhere.Store = tokenstore.NewFiles(t.TempDir(), nil)
	elsewhere.ClientSecret = giveSecret(clientSecret)
	if _, err := w.signIn(elsewhere, exactauth.LoginOptions{}); err != nil {
		t.Fatal(err)
	}
	w.clock.advance(exactLife)
	err := w.refused(c, fault.ErrLoginNeeded)
	for _, words := range []string{"signed in somewhere else", profileName} {
		if !strings.Contains(err.Error(), words) {
			t.Errorf("%q lacks %q", err, words)
		}
	}
	w.clock.advance(time.Hour)
	w.quiet(func() { w.refused(w.client(), fault.ErrLoginNeeded) })
	if w.field("refresh_token") == "" {
		t.Error("the record has lost its tokens")
	}
}

// "Old refresh token used" can be wrong, so the previous token is tried, once.
func TestTriesThePreviousTokenOnce(t *testing.T) {
	t.Run("and it works", func(t *testing.T) {
		w, c := signedIn(t, exactLife, exactsim.Config{Rotation: exactsim.Grace})
		w.clock.advance(exactLife)
		w.live(c)
		w.clock.advance(exactLife)
		w.Inject(exactsim.Fault{Kind: exactsim.Raw, Status: 401, Body: oldTokenBody})
		if n := w.asks(func() { w.live(c) }); n != 2 {
			t.Errorf("%d refreshes, want 2", n)
		}
		if got := w.refreshState(); got != exactsim.Current {
			t.Errorf("the stored refresh token is %s", got)
		}
	})
	t.Run("and it does not", func(t *testing.T) {
		w, c := signedIn(t, exactLife, exactsim.Config{})
		w.clock.advance(exactLife)
		w.live(c)
		refresh := w.field("refresh_token")
		w.Revoke(clientID, annaID)
		w.clock.advance(exactLife)
		if n := w.asks(func() { w.refused(c, fault.ErrLoginNeeded) }); n != 2 {
			t.Errorf("%d refreshes, want 2", n)
		}
		if w.field("refresh_token") != refresh || w.field("previous_refresh_token") != "" {
			t.Error("the record has another refresh token, or one that was refused")
		}
	})
}

// "Too early" for the previous token says that the server knows it, and when to use it.
func TestPreviousTokenIsTooEarly(t *testing.T) {
	w, c := signedIn(t, exactLife, exactsim.Config{Rotation: exactsim.Grace})
	w.clock.advance(exactLife)
	w.live(c)
	previous := w.field("previous_refresh_token")
	w.clock.advance(exactLife)
	w.Inject(exactsim.Fault{Kind: exactsim.Raw, Status: 401, Body: oldTokenBody})
	w.Inject(exactsim.Fault{Kind: exactsim.Raw, Status: 400, Body: tooEarlyBody})
	err := w.refused(c, fault.ErrTemporary)
	if w.field("refresh_token") != previous {
		t.Error("the record has not changed to the previous token")
	}
	w.untilHeld(err)
	w.live(c)
}

// One of two refresh tokens was refused and the other has no answer: that is no reason to
// give up, and none to use up the error allowance.
func TestPreviousTokenHasNoAnswer(t *testing.T) {
	for name, c := range map[string]struct {
		second *exactsim.Fault // nil: there is no connection for it
		most   int             // requests in an hour
	}{
		"not sent":     {nil, 9},
		"no answer":    {&exactsim.Fault{Kind: exactsim.Drop}, 10},
		"503":          {&exactsim.Fault{Kind: exactsim.Status}, 10},
		"401 unknown":  {&exactsim.Fault{Kind: exactsim.Raw, Status: 401, Body: `{"message":"Unauthorized"}`}, 10},
		"redirect 302": {&exactsim.Fault{Kind: exactsim.Redirect, Status: 302}, 10},
	} {
		t.Run(name, func(t *testing.T) {
			w, client := signedIn(t, exactLife, exactsim.Config{})
			w.clock.advance(exactLife)
			w.live(client)
			w.clock.advance(exactLife)
			previous := w.field("previous_refresh_token")
			var broken atomic.Bool
			reach := client.Transport.(*http.Transport)
			reach.DialContext = func(ctx context.Context, network, address string) (net.Conn, error) {
				if broken.Load() {
					return nil, errBoom
				}
				return new(net.Dialer).DialContext(ctx, network, address)
			}
			ask := func() (record.Token, error) {
				w.ClearFaults()
				w.Inject(exactsim.Fault{Kind: exactsim.Raw, Status: 401, Body: oldTokenBody})
				if c.second != nil {
					w.Inject(*c.second)
				}
				return w.token(client, exactauth.Want{})
			}
			if c.second == nil {
				w.inFront(func(rw http.ResponseWriter, r *http.Request) {
					broken.Store(true)
					w.Sim.ServeHTTP(rw, r)
				})
			}
			var err error
			if n := w.asks(func() {
				for range 60 {
					broken.Store(false)
					if _, err = ask(); !errors.Is(err, fault.ErrTemporary) {
						t.Fatal("got", err)
					}
					w.clock.advance(time.Minute)
				}
			}); n > c.most {
				t.Errorf("%d requests in an hour", n)
			}
			if w.field("previous_refresh_token") != previous || w.refreshState() != exactsim.Current {
				t.Error("a refresh token is lost")
			}
			if c.second == nil && w.field("lost_at") != "" {
				t.Error("the record says that an answer was lost")
			}
			w.ClearFaults()
			broken.Store(false)
			w.untilHeld(err)
			w.live(client)
		})
	}
}

// An unknown refusal may hide that the server did issue a token, whose age "not expired" is
// then about. Without a note of that request, each further one would be an error.
func TestUnknownRefusalMayHaveSpentTheToken(t *testing.T) {
	unknown := exactsim.Fault{Kind: exactsim.Raw, Status: 400, Commit: true, Body: `{"error":"something_new"}`}
	t.Run("strict", func(t *testing.T) {
		w, c := signedIn(t, exactLife, exactsim.Config{Rotation: exactsim.Strict})
		w.clock.advance(exactLife)
		w.Inject(unknown)
		w.untilHeld(w.refused(c, fault.ErrTemporary))
		if err := w.refused(c, fault.ErrLoginNeeded); !strings.Contains(err.Error(), "answer was lost") {
			t.Errorf("%v does not say that an answer was lost", err)
		}
	})
	t.Run("grace", func(t *testing.T) {
		w, c := signedIn(t, exactLife, exactsim.Config{Rotation: exactsim.Grace})
		w.clock.advance(exactLife)
		w.Inject(unknown)
		w.untilHeld(w.refused(c, fault.ErrTemporary))
		w.untilHeld(w.refused(c, fault.ErrTemporary))
		w.live(c)
		if n := w.Counters(); n.TooEarly != 1 {
			t.Errorf("%+v", n)
		}
	})
}

// What surely was not sent is sent again in the same call: a refresh, and the code of a
// sign-in, which a person would have to give again.
func TestNotSentIsTriedAgain(t *testing.T) {
	refused := func() (net.Conn, error) { return nil, errBoom }
	broken := func() (net.Conn, error) { // before the TLS handshake
		near, far := net.Pipe()
		far.Close()
		return near, nil
	}
	for name, fail := range map[string]func() (net.Conn, error){"no connection": refused, "no TLS": broken} {
		t.Run(name, func(t *testing.T) {
			w, c := signedIn(t, shortLife, exactsim.Config{})
			front := newTLSFront(t, w)
			c.Profile.BaseURL = front
			w.putRecord(strings.ReplaceAll(w.record(), w.url, front))
			var failures atomic.Int32
			c.Transport = &http.Transport{
				TLSClientConfig: &tls.Config{InsecureSkipVerify: true},
				DialContext: func(ctx context.Context, network, address string) (net.Conn, error) {
					if failures.Add(-1) >= 0 {
						return fail()
					}
					return new(net.Dialer).DialContext(ctx, network, address)
				},
			}
			w.clock.advance(shortLife)
			failures.Store(2)
			if n := w.asks(func() { w.live(c) }); n != 1 {
				t.Errorf("%d refreshes", n)
			}
			failures.Store(1)
			s := w.sit(t.Context(), c, exactauth.LoginOptions{Paste: strings.NewReader(w.NewCode(clientID, annaID, redirectURI) + "\n")})
			if _, err := s.end(); err != nil {
				t.Error("sign-in:", err)
			}
		})
	}
}

// What was learned of the server holds for the next sign-in, too.
func TestSignInKeepsWaitForExpiry(t *testing.T) {
	for _, replace := range []bool{false, true} {
		t.Run(fmt.Sprint("replace ", replace), func(t *testing.T) {
			w, c := signedIn(t, exactLife, exactsim.Config{})
			w.clock.advance(share(exactLife, 970))
			w.Inject(exactsim.Fault{Kind: exactsim.Raw, Status: 400, Body: tooEarlyBody})
			w.live(c)
			if w.field("wait_for_expiry") == "" {
				t.Fatal("nothing was learned")
			}
			if _, err := w.signIn(c, exactauth.LoginOptions{Replace: replace}); err != nil {
				t.Fatal(err)
			}
			w.clock.advance(share(exactLife, 970))
			w.quiet(func() { w.live(c) })
		})
	}
}

// If a restored backup replaced the record in spite of the lock, Token goes on from the
// restored record.
func TestRecordReplacedBehindTheLock(t *testing.T) {
	w, c := signedIn(t, exactLife, exactsim.Config{})
	elsewhere := w.client()
	dir := t.TempDir()
	elsewhere.Store = tokenstore.NewFiles(dir, nil)
	elsewhere.ClientSecret = giveSecret(clientSecret)
	w.clock.advance(exactLife)
	if _, err := w.signIn(elsewhere, exactauth.LoginOptions{}); err != nil {
		t.Fatal(err)
	}
	restored, err := os.ReadFile(filepath.Join(dir, profileName))
	if err != nil {
		t.Fatal(err)
	}
	w.inFront(func(rw http.ResponseWriter, r *http.Request) {
		if strings.HasSuffix(r.URL.Path, "/token") {
			w.putRecord(string(restored))
		}
		w.Sim.ServeHTTP(rw, r)
	})
	if n := w.asks(func() { w.live(c) }); n != 1 {
		t.Errorf("%d refreshes, want 1", n)
	}
	if got := w.refreshState(); got != exactsim.Current {
		t.Errorf("the stored refresh token is %s", got)
	}
}

func TestRefreshTokenUnusedFor30Days(t *testing.T) {
	w, c := signedIn(t, exactLife, exactsim.Config{})
	w.clock.advance(30*24*time.Hour + time.Second)
	err := w.refused(c, fault.ErrLoginNeeded)
	if !strings.Contains(err.Error(), "expired at") {
		t.Errorf("%v does not have Exact's reason", err)
	}
	w.quiet(func() { w.refused(c, fault.ErrLoginNeeded) })
}

func TestWrongClientIsLatchedUntilItChanges(t *testing.T) {
	w, c := signedIn(t, exactLife, exactsim.Config{})
	w.register("another-secret", redirectURI)
	w.clock.advance(exactLife)
	if n := w.asks(func() { w.refused(c, fault.ErrConfig) }); n != 1 {
		t.Errorf("%d refreshes", n)
	}
	w.quiet(func() { w.refused(w.client(), fault.ErrConfig) })

	t.Run("by a secret from elsewhere", func(t *testing.T) {
		wrong := w.client()
		wrong.ClientSecret = giveSecret("still wrong")
		w.refused(wrong, fault.ErrConfig) // another secret, so it is tried
		w.quiet(func() { w.refused(wrong, fault.ErrConfig) })
	})
	t.Run("by the stored secret", func(t *testing.T) {
		if err := c.SetClientSecret(t.Context(), fault.NewSecret("another-secret"), true); err != nil {
			t.Fatal(err)
		}
		w.live(c)
	})
}

// A refusal that Exact sends by mistake, or until a person corrects something there, is
// lifted for one request: by Force, once in a token's life, and by the client secret when
// it is given again, even the same.
func TestRefusalIsLifted(t *testing.T) {
	app := func(w *world) { w.register(clientSecret, redirectURI) }
	for _, refusal := range []struct {
		name    string
		make    func(w *world, times int)
		correct func(*world)
		kind    error
	}{
		{"false invalid_client", func(w *world, times int) {
			w.Inject(exactsim.Fault{Kind: exactsim.Raw, Times: times, Status: 400, Body: `{"error":"invalid_client"}`})
		}, app, fault.ErrConfig},
		{"false invalid_grant", func(w *world, times int) {
			w.Inject(exactsim.Fault{Kind: exactsim.Raw, Times: times, Status: 400, Body: `{"error":"invalid_grant"}`})
		}, app, fault.ErrLoginNeeded},
		{"false old token", func(w *world, times int) {
			w.Inject(exactsim.Fault{Kind: exactsim.Raw, Times: times, Status: 401, Body: oldTokenBody})
		}, app, fault.ErrLoginNeeded},
		{"app removed and registered again", func(w *world, _ int) { w.RemoveApp(clientID) }, app, fault.ErrConfig},
	} {
		for name, lift := range map[string]func(*world, *exactauth.Client) (record.Token, error){
			"force": func(w *world, c *exactauth.Client) (record.Token, error) {
				return w.token(c, exactauth.Want{Force: true})
			},
			"secret": func(w *world, c *exactauth.Client) (record.Token, error) {
				if err := c.SetClientSecret(t.Context(), fault.NewSecret(clientSecret), true); err != nil {
					t.Error(err)
				}
				return w.token(c, exactauth.Want{})
			},
		} {
			t.Run(refusal.name+" by "+name, func(t *testing.T) {
				w, c := signedIn(t, exactLife, exactsim.Config{})
				w.clock.advance(exactLife)
				refusal.make(w, 1)
				w.refused(c, refusal.kind)
				refusal.correct(w)
				w.clock.advance(time.Second)
				w.quiet(func() { w.refused(c, refusal.kind) })
				if tok, err := lift(w, c); err != nil || !w.AccessTokenLive(tok.Access.Reveal()) {
					t.Errorf("got %v, %v", tok, err)
				}
				if w.field("refused_text") != "" || w.field("lifted_at") != "" {
					t.Error("the refusal is still in the record")
				}
			})
		}
		for name, ask := range map[string]func(t *testing.T, w *world, c *exactauth.Client){
			"forced": func(t *testing.T, w *world, _ *exactauth.Client) {
				if _, err := w.token(w.client(), exactauth.Want{Force: true}); !errors.Is(err, refusal.kind) {
					t.Error("got", err)
				}
			},
			"setup is repeated": func(t *testing.T, _ *world, c *exactauth.Client) {
				if err := c.SetClientSecret(t.Context(), fault.NewSecret(clientSecret), true); err != nil {
					t.Error(err)
				}
			},
		} {
			t.Run(refusal.name+" lasts, "+name, func(t *testing.T) {
				w, c := signedIn(t, exactLife, exactsim.Config{})
				for range 2 { // so that there is a previous token
					w.clock.advance(exactLife)
					w.live(c)
				}
				w.clock.advance(exactLife)
				refusal.make(w, -1)
				w.refused(c, refusal.kind)
				if n := w.asks(func() {
					for range 60 {
						ask(t, w, c)
						w.refused(c, refusal.kind)
						w.clock.advance(time.Minute)
					}
				}); n < 2 || n > 6 {
					t.Errorf("%d requests in an hour", n)
				}
			})
		}
	}
	for name, lift := range map[string]func(*world, *exactauth.Client) exactauth.Want{
		"force": func(*world, *exactauth.Client) exactauth.Want { return exactauth.Want{Force: true} },
		"secret": func(w *world, c *exactauth.Client) exactauth.Want {
			if err := c.SetClientSecret(t.Context(), fault.NewSecret(clientSecret), true); err != nil {
				t.Error(err)
			}
			return exactauth.Want{}
		},
	} {
		t.Run("blocked user, by "+name, func(t *testing.T) {
			w, c := signedIn(t, exactLife, exactsim.Config{})
			w.clock.advance(exactLife)
			f := forbidden("BlockedUser")
			f.Times = 2
			w.Inject(f)
			w.refused(c, fault.ErrForbidden)
			for range 3 { // one of these asks, and none of them twice
				_, err := w.token(c, lift(w, c))
				if !errors.Is(err, fault.ErrForbidden) {
					t.Errorf("got %v", err)
				}
			}
			w.clock.advance(exactLife)
			before := w.Counters().Refreshes
			if _, err := w.token(c, lift(w, c)); err != nil || w.Counters().Refreshes != before+1 {
				t.Errorf("%v after %d requests", err, w.Counters().Refreshes-before)
			}
			if w.field("lifted_at") != "" {
				t.Error("lifted_at is still in the record")
			}
		})
	}
	t.Run("the server is down", func(t *testing.T) {
		w, c := signedIn(t, shortLife, exactsim.Config{})
		w.clock.advance(shortLife)
		w.Inject(exactsim.Fault{Kind: exactsim.Raw, Status: 400, Body: `{"error":"invalid_grant"}`})
		w.refused(c, fault.ErrLoginNeeded)
		w.Inject(exactsim.Fault{Kind: exactsim.Status, Times: 2})
		_, err := w.token(c, exactauth.Want{Force: true})
		if !errors.Is(err, fault.ErrTemporary) {
			t.Fatal("got", err)
		}
		w.quiet(func() { w.refused(c, fault.ErrLoginNeeded) })
		w.untilHeld(err)
		w.clock.advance(shortLife)
		if _, err := w.token(c, exactauth.Want{Force: true}); err != nil {
			t.Error(err)
		}
	})
	t.Run("too early", func(t *testing.T) {
		w, c := signedIn(t, exactLife, exactsim.Config{})
		w.clock.advance(share(exactLife, 970))
		w.Inject(exactsim.Fault{Kind: exactsim.Raw, Status: 400, Body: `{"error":"invalid_client"}`})
		w.live(c) // the token at hand
		w.Inject(exactsim.Fault{Kind: exactsim.Raw, Status: 400, Body: tooEarlyBody})
		w.clock.advance(time.Second)
		c.Waiting = waited(func(_ string, until time.Time) { w.clock.set(until) })
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if _, err := c.Token(ctx, exactauth.Want{Force: true}); !errors.Is(err, fault.ErrTemporary) {
			t.Error("got", err)
		}
		if w.field("refused_text") != "" {
			t.Error("the refusal is still in the record")
		}
	})
}

func TestInvalidGrantNeedsALogin(t *testing.T) {
	w, c := signedIn(t, exactLife, exactsim.Config{})
	w.clock.advance(exactLife)
	w.Inject(exactsim.Fault{Kind: exactsim.Raw, Status: 400, Body: `{"error":"invalid_grant"}`})
	w.refused(c, fault.ErrLoginNeeded)
	w.quiet(func() { w.refused(c, fault.ErrLoginNeeded) })
}

// An error can have a new refresh token, which is then the only valid one.
func TestRefreshTokenInAnErrorIsKept(t *testing.T) {
	w, c := signedIn(t, exactLife, exactsim.Config{})
	w.clock.advance(exactLife)
	w.Inject(exactsim.Fault{Kind: exactsim.RefreshTokenInError})
	before := w.field("refresh_token")
	err := w.refused(c, fault.ErrTemporary)
	if w.field("refresh_token") == before || w.refreshState() != exactsim.Current {
		t.Fatal("the new refresh token was not kept")
	}
	if w.field("previous_refresh_token") != before {
		t.Error("the previous refresh token was not kept")
	}
	w.untilHeld(err)
	w.live(c)
}

func TestAnswerWithoutRefreshTokenKeepsTheOldOne(t *testing.T) {
	for _, kind := range []exactsim.FaultKind{exactsim.NoRefreshToken, exactsim.EmptyRefreshToken} {
		t.Run(fmt.Sprint(kind), func(t *testing.T) {
			w, c := signedIn(t, exactLife, exactsim.Config{Rotation: exactsim.Grace})
			before := w.field("refresh_token")
			w.clock.advance(exactLife)
			w.Inject(exactsim.Fault{Kind: kind})
			w.live(c)
			if w.field("refresh_token") != before {
				t.Error("the refresh token changed")
			}
			w.clock.advance(exactLife)
			w.live(c) // the server knows it as the previous one, and accepts it in Grace
		})
	}
}

func TestExpiresInOfEitherType(t *testing.T) {
	for _, test := range []struct {
		name, value string
		life        time.Duration
	}{
		{"string", `"300"`, 300 * time.Second},
		{"number", `300`, 300 * time.Second},
		{"fraction", `300.0`, 300 * time.Second},
		{"missing", `null`, exactLife},
		{"empty", `""`, exactLife},
		{"words", `"soon"`, exactLife},
		{"zero", `0`, exactLife},
		{"negative", `-5`, exactLife},
	} {
		t.Run(test.name, func(t *testing.T) {
			w, c := signedIn(t, exactLife, exactsim.Config{})
			w.clock.advance(exactLife)
			w.Inject(exactsim.Fault{Kind: exactsim.Raw, Body: `{"access_token":"a1","token_type":"bearer","expires_in":` + test.value + `,"refresh_token":"r1"}`})
			tok, err := w.token(c, exactauth.Want{})
			if err != nil {
				t.Fatal(err)
			}
			if left := tok.ExpiresAt.Sub(w.clock.now()).Round(time.Second); left != test.life {
				t.Errorf("it lives %s, want %s", left, test.life)
			}
			if tok.Access.Reveal() != "a1" || w.field("refresh_token") != "r1" {
				t.Error("the tokens are not in the record")
			}
		})
	}
}

// An answer that is cut off after both tokens counts as whole.
func TestAnswerCutBehindTheTokens(t *testing.T) {
	w, c := signedIn(t, exactLife, exactsim.Config{})
	w.clock.advance(exactLife)
	w.Inject(exactsim.Fault{Kind: exactsim.Raw, Body: `{"access_token":"a1","expires_in":"600","refresh_token":"r1","tok`})
	if tok, err := w.token(c, exactauth.Want{}); err != nil || tok.Access.Reveal() != "a1" || w.field("refresh_token") != "r1" {
		t.Errorf("got %v, %v", tok, err)
	}
}

// Tokens are found however the answer is dressed, and in an answer whose connection broke
// once both had arrived. The server rotated the refresh token: the old one is dead.
func TestTokensInUnusualAnswers(t *testing.T) {
	for _, kind := range []exactsim.FaultKind{exactsim.Form, exactsim.ByteOrderMark, exactsim.CutLate} {
		t.Run(fmt.Sprint(kind), func(t *testing.T) {
			w, c := signedIn(t, exactLife, exactsim.Config{Rotation: exactsim.Strict})
			for range 2 {
				w.clock.advance(exactLife)
				w.Inject(exactsim.Fault{Kind: kind})
				if n := w.asks(func() { w.live(c) }); n != 1 {
					t.Errorf("%d refreshes, want 1", n)
				}
				if got := w.refreshState(); got != exactsim.Current {
					t.Fatalf("the stored refresh token is %s", got)
				}
			}
			w.Inject(exactsim.Fault{Kind: kind})
			if _, err := w.signIn(c, exactauth.LoginOptions{}); err != nil {
				t.Error("sign-in:", err)
			}
			w.clock.advance(exactLife)
			w.live(c)
		})
	}
	for name, test := range map[string]exactsim.Fault{
		"other case":        {Kind: exactsim.Raw, Body: `{"Access_Token":"a1","Expires_In":"600","Refresh_Token":"r1"}`},
		"form as JSON":      {Kind: exactsim.Raw, Body: "refresh_token=r1&access_token=a1&expires_in=600\r\n"},
		"mark and form":     {Kind: exactsim.Raw, Body: "\ufeffrefresh_token=r1&access_token=a1"},
		"mark, no refresh":  {Kind: exactsim.Raw, Body: "\ufeff" + `{"access_token":"a1","expires_in":"600"}`},
		"blanks before it":  {Kind: exactsim.Raw, Body: "\r\n\t " + `{"access_token":"a1","refresh_token":"r1"}`},
		"more behind it":    {Kind: exactsim.Raw, Body: `{"access_token":"a1","refresh_token":"r1"}` + "\n<!-- x -->"},
		"mark and cut":      {Kind: exactsim.Raw, Body: "\ufeff" + `{"access_token":"a1","refresh_token":"r1"`},
		"200 with a reason": {Kind: exactsim.Raw, Reason: "BlockedUser", Body: `{"access_token":"a1","refresh_token":"r1"`},
	} {
		t.Run(name, func(t *testing.T) {
			w, c := signedIn(t, exactLife, exactsim.Config{})
			before := w.field("refresh_token")
			w.clock.advance(exactLife)
			w.Inject(test)
			tok, err := w.token(c, exactauth.Want{})
			if err != nil || tok.Access.Reveal() != "a1" {
				t.Fatalf("got %v, %v", tok, err)
			}
			if got := w.field("refresh_token"); got != "r1" && (got != before || strings.Contains(test.Body, "r1")) {
				t.Error("the new refresh token is lost")
			}
		})
	}
}

// Tokens consist of printable ASCII (RFC 6749, A.12 and A.17). Anything else would reach a
// terminal, or make a second line of a header.
func TestTokensOfOtherCharacters(t *testing.T) {
	for name, bad := range map[string]string{
		"escape": `a\u001b[2J`, "line break": `a\r\nX-Header: y`, "delete": `a\u007f`, "zero": `a\u0000`,
		"right to left": `a\u202eb`, "accent": `\u00e9`, "no UTF-8": "a\xff",
	} {
		t.Run("access token, "+name, func(t *testing.T) {
			w, c := signedIn(t, shortLife, exactsim.Config{})
			w.clock.advance(shortLife)
			w.Inject(exactsim.Fault{Kind: exactsim.Raw, Times: -1, Body: `{"access_token":"` + bad + `","expires_in":"600","refresh_token":"r1"}`})
			err := w.refused(c, fault.ErrTemporary)
			if text := err.Error(); strings.ContainsAny(text, "\x1b\r\n\u202e") || !strings.Contains(text, "characters that no token has") {
				t.Errorf("got %q", text)
			}
			if got := w.field("refresh_token"); got != "r1" {
				t.Error("the new refresh token is lost")
			}
		})
		t.Run("refresh token, "+name, func(t *testing.T) {
			w, c := signedIn(t, exactLife, exactsim.Config{})
			before := w.field("refresh_token")
			w.clock.advance(exactLife)
			w.Inject(exactsim.Fault{Kind: exactsim.Raw, Body: `{"access_token":"a1","expires_in":"600","refresh_token":"` + bad + `"}`})
			if tok, err := w.token(c, exactauth.Want{}); err != nil || tok.Access.Reveal() != "a1" {
				t.Errorf("got %v, %v", tok, err)
			}
			if got := w.field("refresh_token"); got != before {
				t.Errorf("the refresh token is %q", got)
			}
			w.Inject(exactsim.Fault{Kind: exactsim.Raw, Body: `{"access_token":"a1","expires_in":"600","refresh_token":"` + bad + `"}`})
			if _, err := w.signIn(c, exactauth.LoginOptions{}); !errors.Is(err, fault.ErrTemporary) {
				t.Error("sign-in:", err)
			}
		})
	}
	t.Run("form", func(t *testing.T) {
		w, c := signedIn(t, shortLife, exactsim.Config{})
		w.clock.advance(shortLife)
		w.inFront(func(rw http.ResponseWriter, r *http.Request) {
			rw.Header().Set("Content-Type", "application/x-www-form-urlencoded")
			fmt.Fprint(rw, "access_token=a%1B&refresh_token=r%0D%0A")
		})
		w.refused(c, fault.ErrTemporary)
		if w.refreshState() != exactsim.Current {
			t.Error("the refresh token is lost")
		}
	})
}

// A form has no end that shows whether it is whole: if its connection broke, its last
// token may be half of one, and is none.
func TestBrokenFormIsNoAnswer(t *testing.T) {
	w, c := signedIn(t, shortLife, exactsim.Config{})
	refresh := w.field("refresh_token")
	w.clock.advance(shortLife)
	w.inFront(func(rw http.ResponseWriter, r *http.Request) {
		rw.Header().Set("Content-Type", "application/x-www-form-urlencoded")
		rw.Header().Set("Content-Length", "100")
		fmt.Fprint(rw, "access_token=a1&refresh_token=r")
	})
	w.refused(c, fault.ErrTemporary)
	if w.field("refresh_token") != refresh {
		t.Error("half a refresh token was stored")
	}
}

// If this machine's clock was set, the server's "not expired" and its dates show the
// token's real age.
func TestClockThatWasSet(t *testing.T) {
	for _, skew := range []time.Duration{time.Hour, -time.Hour, 40 * 24 * time.Hour, -40 * 24 * time.Hour} {
		t.Run(skew.String(), func(t *testing.T) {
			w, c := signedIn(t, exactLife, exactsim.Config{})
			c.Now = func() time.Time { return w.clock.now().Add(skew) }
			old := w.live(w.client())
			w.clock.advance(200 * time.Second)
			got := w.live(c)
			if got.Access.Reveal() != old.Access.Reveal() {
				t.Error("another token")
			}
			if left := got.ExpiresAt.Sub(c.Now()); left < 395*time.Second || left > 400*time.Second {
				t.Errorf("it has %s left by the record, want 400 s", left)
			}
			w.quiet(func() { w.live(c) })
			w.clock.advance(390 * time.Second)
			if n := w.asks(func() { w.live(c) }); n != 1 {
				t.Errorf("%d refreshes at the due time", n)
			}
			if n := w.Counters(); n.TokenErrors > 1 {
				t.Errorf("%d errors", n.TokenErrors)
			}
		})
	}
	t.Run("after expiry", func(t *testing.T) {
		w, c := signedIn(t, exactLife, exactsim.Config{})
		c.Now = func() time.Time { return w.clock.now().Add(-time.Hour) }
		w.clock.advance(exactLife)
		if n := w.asks(func() { w.live(c) }); n != 1 {
			t.Errorf("%d refreshes", n)
		}
	})
}

// A new token that has expired before it is seen, because the answer was slow or the
// machine slept meanwhile, is replaced within the same call as soon as Exact allows that.
func TestNewTokenArrivesExpired(t *testing.T) {
	// late moves the clock by d during the first requests, before or after they are served.
	late := func(w *world, requests int, d time.Duration, before bool) {
		w.inFront(func(rw http.ResponseWriter, r *http.Request) {
			if requests--; requests >= 0 && before {
				w.clock.advance(d)
			}
			w.Sim.ServeHTTP(rw, r)
			if requests >= 0 && !before {
				w.clock.advance(d)
			}
		})
	}
	for _, test := range []struct {
		name         string
		life, asleep time.Duration
		before       bool
		asked, early int
		waits        int
	}{
		{"asleep after the server has the request", exactLife, 8 * time.Hour, false, 2, 0, 0},
		{"asleep before the server has the request", exactLife, 8 * time.Hour, true, 2, 1, 0},
		{"slow answer", time.Second, 3 * time.Second, false, 2, 0, 1},
		{"slow server", time.Second, 3 * time.Second, true, 2, 0, 1},
	} {
		t.Run(test.name, func(t *testing.T) {
			w, c := signedIn(t, test.life, exactsim.Config{})
			w.clock.advance(test.life)
			late(w, 1, test.asleep, test.before)
			waits := 0
			c.Waiting = waited(func(_ string, until time.Time) { waits++; w.clock.set(until) })
			if n := w.asks(func() { w.live(c) }); n != test.asked || waits != test.waits {
				t.Errorf("%d refreshes and %d waits, want %d and %d", n, waits, test.asked, test.waits)
			}
			if n := w.Counters(); n.TooEarly != test.early || n.TokenErrors != test.early {
				t.Errorf("%+v", n)
			}
			if said := w.heard(); !strings.Contains(said, "has expired") || !strings.Contains(said, "slept") {
				t.Error("no notice says what happened")
			}
			if strings.Contains(w.record(), "wait_for_expiry") {
				t.Error("the record says that the server refreshes only after expiry, which is wrong")
			}
			if got := w.refreshState(); got != exactsim.Current {
				t.Errorf("the stored refresh token is %s", got)
			}
		})
	}
	t.Run("each one", func(t *testing.T) {
		w, c := signedIn(t, exactLife, exactsim.Config{})
		w.clock.advance(exactLife)
		late(w, 1000, 8*time.Hour, false)
		if n := w.asks(func() {
			if err := w.refused(c, fault.ErrTemporary); !strings.Contains(err.Error(), "expired before it arrived") {
				t.Errorf("%v does not say what happened", err)
			}
		}); n != 3 {
			t.Errorf("%d refreshes", n)
		}
		late(w, 0, 0, false)
		w.live(w.client()) // the next process does not wait either
	})
}

func TestMinValid(t *testing.T) {
	t.Run("the stored token suffices", func(t *testing.T) {
		w, c := signedIn(t, exactLife, exactsim.Config{})
		w.clock.advance(290 * time.Second)
		w.quiet(func() {
			if _, err := w.token(c, exactauth.Want{MinValid: 300 * time.Second}); err != nil {
				t.Error(err)
			}
		})
	})
	t.Run("a new token is available", func(t *testing.T) {
		w, c := signedIn(t, exactLife, exactsim.Config{})
		w.clock.advance(572 * time.Second) // not due by itself
		if n := w.asks(func() {
			if _, err := w.token(c, exactauth.Want{MinValid: exactLife}); err != nil {
				t.Error(err)
			}
		}); n != 1 {
			t.Errorf("%d refreshes", n)
		}
	})
	t.Run("a new token is available later", func(t *testing.T) {
		w, c := signedIn(t, shortLife, exactsim.Config{})
		old := w.live(c)
		w.clock.advance(share(shortLife, 940))
		var waits []string
		c.Waiting = waited(func(what string, until time.Time) {
			waits = append(waits, what)
			if d := until.Sub(w.clock.now()); d > share(shortLife, 10) {
				t.Errorf("a wait of %s", d)
			}
			w.clock.set(until)
		})
		tok, err := w.token(c, exactauth.Want{MinValid: shortLife / 2})
		if err != nil || tok.Access.Reveal() == old.Access.Reveal() || tok.ExpiresAt.Sub(w.clock.now()) < shortLife/2 {
			t.Errorf("got %v, %v", tok, err)
		}
		if len(waits) != 1 || waits[0] == "" {
			t.Errorf("waits %q", waits)
		}
		if n := w.Counters(); n.TooEarly != 0 {
			t.Error("the request came too early")
		}
	})
	t.Run("the wait is longer than the caller's time", func(t *testing.T) {
		w, c := signedIn(t, exactLife, exactsim.Config{})
		w.clock.advance(400 * time.Second)
		c.Waiting = waited(func(string, time.Time) { t.Error("a wait began that ends too late") })
		w.quiet(func() {
			_, err := w.token(c, exactauth.Want{MinValid: 300 * time.Second})
			if !errors.Is(err, fault.ErrTemporary) {
				t.Fatal(err)
			}
			at := w.clock.now()
			if left := w.untilHeld(err).Sub(at); left < 165*time.Second || left > 175*time.Second {
				t.Errorf("%s", err)
			}
		})
		if _, err := w.token(c, exactauth.Want{MinValid: 300 * time.Second}); err != nil {
			t.Error("at the time that the error names:", err)
		}
	})
	t.Run("the wait is cancelled", func(t *testing.T) {
		w, c := signedIn(t, exactLife, exactsim.Config{})
		ctx, cancel := context.WithCancelCause(t.Context())
		c.Waiting = waited(func(string, time.Time) { cancel(errBoom) })
		if _, err := c.Token(ctx, exactauth.Want{MinValid: exactLife}); !errors.Is(err, errBoom) {
			t.Error(w.tell(err))
		}
	})
	t.Run("no token lives that long", func(t *testing.T) {
		w, c := signedIn(t, exactLife, exactsim.Config{})
		w.quiet(func() {
			if _, err := w.token(c, exactauth.Want{MinValid: exactLife + time.Second}); !errors.Is(err, fault.ErrConfig) {
				t.Error(err)
			}
		})
	})
}

// Force accepts no token that was issued before the call.
func TestForce(t *testing.T) {
	for name, f := range map[string]exactsim.Fault{
		"invalid_client": {Kind: exactsim.Raw, Status: 400, Body: `{"error":"invalid_client"}`},
		"a blocked user": forbidden("BlockedUser"),
	} {
		t.Run("does not lift its own refusal: "+name, func(t *testing.T) {
			w, c := signedIn(t, exactLife, exactsim.Config{})
			w.clock.advance(exactLife)
			w.Inject(f)
			if n := w.asks(func() {
				if _, err := w.token(c, exactauth.Want{Force: true}); err == nil {
					t.Error("a token")
				}
			}); n != 1 {
				t.Errorf("%d requests", n)
			}
		})
	}
	t.Run("waits for the server", func(t *testing.T) {
		w, c := signedIn(t, shortLife, exactsim.Config{})
		old := w.live(c)
		w.clock.advance(share(shortLife, 940))
		waits := 0
		c.Waiting = waited(func(_ string, until time.Time) { waits++; w.clock.set(until) })
		tok, err := w.token(c, exactauth.Want{Force: true})
		if err != nil || tok.Access.Reveal() == old.Access.Reveal() || waits != 1 {
			t.Errorf("got %v, %v after %d waits", tok, err, waits)
		}
	})
	t.Run("accepts a token that another process got meanwhile", func(t *testing.T) {
		w, c := signedIn(t, shortLife, exactsim.Config{})
		w.clock.advance(share(shortLife, 940))
		var other record.Token
		c.Waiting = waited(func(_ string, until time.Time) {
			w.clock.set(until)
			other, _ = w.token(w.client(), exactauth.Want{Force: true})
		})
		tok, err := w.token(c, exactauth.Want{Force: true})
		if err != nil || tok.Access.Reveal() != other.Access.Reveal() {
			t.Errorf("got %v, %v", tok, err)
		}
		if n := w.Counters().RefreshesIssued; n != 1 {
			t.Errorf("%d refreshes", n)
		}
	})
	t.Run("on a clock that stands still", func(t *testing.T) {
		w, c := signedIn(t, exactLife, exactsim.Config{})
		w.clock.advance(580 * time.Second)
		w.clock.tick = 0
		if _, err := w.token(c, exactauth.Want{Force: true}); err != nil {
			t.Error(err)
		}
	})
}

// A second or two by the real clock, which the other tests replace.
func TestRealTime(t *testing.T) {
	w, c := signedIn(t, time.Second, exactsim.Config{Now: time.Now})
	// The sign-in has the time of the test's clock; sign in again by the real one.
	c.Now = nil
	if _, err := w.signIn(c, exactauth.LoginOptions{}); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if _, err := w.token(c, exactauth.Want{Force: true}); err != nil {
			t.Fatal(err)
		}
	}
	if n := w.Counters(); n.RefreshesIssued != 2 || n.TokenErrors != 0 {
		t.Errorf("%+v", n)
	}
}

// A caller that gives up during the request does not stop it: the new tokens are saved,
// because they cannot be had a second time.
func TestCancelledDuringTheRequest(t *testing.T) {
	t.Run("cancelled", func(t *testing.T) {
		w, c := signedIn(t, exactLife, exactsim.Config{})
		w.clock.advance(exactLife)
		ctx, cancel := context.WithCancelCause(t.Context())
		w.inFront(func(rw http.ResponseWriter, r *http.Request) {
			cancel(errBoom)
			w.Sim.ServeHTTP(rw, r)
		})
		w.Inject(exactsim.Fault{Kind: exactsim.Slow, Commit: true, Delay: 200 * time.Millisecond})
		if _, err := c.Token(ctx, exactauth.Want{}); !errors.Is(err, errBoom) {
			t.Fatal(w.tell(err))
		}
		if got := w.refreshState(); got != exactsim.Current {
			t.Fatalf("the stored refresh token is %s", got)
		}
		w.quiet(func() { w.live(c) })
	})
	t.Run("out of time", func(t *testing.T) {
		w, c := signedIn(t, exactLife, exactsim.Config{})
		w.clock.advance(exactLife)
		ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
		defer cancel()
		w.Inject(exactsim.Fault{Kind: exactsim.Slow, Commit: true, Delay: 300 * time.Millisecond})
		c.Token(ctx, exactauth.Want{}) // with or without a token
		if got := w.refreshState(); got != exactsim.Current {
			t.Fatalf("the stored refresh token is %s", got)
		}
		w.quiet(func() { w.live(c) })
	})
	t.Run("before it", func(t *testing.T) {
		w, c := signedIn(t, exactLife, exactsim.Config{})
		w.clock.advance(exactLife)
		ctx, cancel := context.WithCancelCause(t.Context())
		cancel(errBoom)
		w.quiet(func() {
			if _, err := c.Token(ctx, exactauth.Want{}); !errors.Is(err, errBoom) {
				t.Error(w.tell(err))
			}
		})
		w.live(c)
	})
}

// Without room for the answer nothing is sent.
func TestUnwritableStoreSpendsNothing(t *testing.T) {
	w, c := signedIn(t, exactLife, exactsim.Config{})
	before := w.record()
	unblock := blockWrites(t, w)
	w.clock.advance(580 * time.Second)
	w.quiet(func() { w.live(c) }) // the stored token suffices
	w.clock.advance(20 * time.Second)
	w.quiet(func() {
		_, err := w.token(c, exactauth.Want{})
		if stored := (*tokenstore.Error)(nil); !errors.As(err, &stored) {
			t.Errorf("got %v, want the store's error", err)
		}
	})
	if w.record() != before {
		t.Error("the record changed")
	}
	unblock()
	w.live(c)
}

// Secrets of another client or another server are never sent here.
func TestRecordOfAnother(t *testing.T) {
	for _, test := range []struct {
		name   string
		change func(*world, *exactauth.Client)
	}{
		{"client", func(_ *world, c *exactauth.Client) { c.Profile.ClientID = "99999999-2222-3333-4444-555555555555" }},
		{"server", func(w *world, c *exactauth.Client) {
			c.Profile.BaseURL = strings.Replace(w.url, "127.0.0.1", "localhost", 1)
		}},
	} {
		t.Run(test.name, func(t *testing.T) {
			w, c := signedIn(t, exactLife, exactsim.Config{})
			test.change(w, c)
			for range 2 { // with a fresh token, and with one that is due
				w.quiet(func() { w.refused(c, fault.ErrLoginNeeded) })
				w.clock.advance(exactLife)
			}
		})
	}
}

func TestNotSignedIn(t *testing.T) {
	t.Run("no record", func(t *testing.T) {
		w := newWorld(t, exactLife, exactsim.Config{})
		w.quiet(func() { w.refused(w.client(), fault.ErrLoginNeeded) })
		if entries, _ := os.ReadDir(w.dir); len(entries) != 0 {
			t.Error("files were made")
		}
	})
	t.Run("only a client secret", func(t *testing.T) {
		w := newWorld(t, exactLife, exactsim.Config{})
		c := w.client()
		if err := c.SetClientSecret(t.Context(), fault.NewSecret("s"), true); err != nil {
			t.Fatal(err)
		}
		w.quiet(func() { w.refused(c, fault.ErrLoginNeeded) })
	})
	t.Run("signed out during a wait", func(t *testing.T) {
		w, c := signedIn(t, shortLife, exactsim.Config{})
		w.clock.advance(share(shortLife, 940))
		c.Waiting = waited(func(_ string, until time.Time) {
			w.clock.set(until)
			if _, err := c.Logout(t.Context()); err != nil {
				t.Error(err)
			}
		})
		if _, err := w.token(c, exactauth.Want{Force: true}); !errors.Is(err, fault.ErrLoginNeeded) {
			t.Error(err)
		}
	})
}

func TestNoClientSecretIsReportedBeforeARequest(t *testing.T) {
	w, c := signedIn(t, exactLife, exactsim.Config{})
	w.putRecord(strings.Replace(w.record(), "client_secret "+clientSecret+"\n", "", 1))
	w.clock.advance(exactLife)
	w.quiet(func() { w.refused(c, fault.ErrConfig) })
	c.ClientSecret = func(context.Context) (fault.Secret, error) { return fault.Secret{}, errBoom }
	w.quiet(func() { w.refused(c, errBoom) })
	c.ClientSecret = giveSecret(clientSecret)
	w.live(c)
	if strings.Contains(w.record(), clientSecret) {
		t.Error("a client secret from elsewhere was stored")
	}
}

// A damaged record is reported, and stays unchanged.
func TestDamagedRecord(t *testing.T) {
	for _, test := range []struct {
		name   string
		damage func(string) string
	}{
		{"empty", func(string) string { return "" }},
		{"blank", func(string) string { return " \n" }},
		{"cut", func(s string) string { return s[:len(s)/2] }},
		{"cut by a byte", func(s string) string { return s[:len(s)-1] }},
		{"zeros", func(s string) string { return strings.Repeat("\x00", len(s)) }},
		{"two in one", func(s string) string { return s + s }},
		{"null", func(string) string { return "null" }},
		{"list", func(string) string { return "[]" }},
		{"sealed", func(string) string { return "age-encryption.org/v1" }},
		{"newer", func(s string) string { return strings.Replace(s, "record 1", "record 2", 1) }},
		{"no version", func(s string) string { return strings.Replace(s, "exactauth record 1\n", "", 1) }},
		{"wrong type", func(s string) string { return strings.Replace(s, "life_seconds ", "life_seconds x", 1) }},
		{"no access token", func(s string) string { return strings.Replace(s, "\naccess_token", "\nx", 1) }},
		{"no refresh token", func(s string) string { return strings.Replace(s, "\nrefresh_token", "\nx", 1) }},
		{"no life", func(s string) string { return strings.Replace(s, "\nlife_seconds", "\nx", 1) }},
		{"no date", func(s string) string { return strings.Replace(s, "\nrequested_at", "\nx", 1) }},
		{"no client", func(s string) string { return strings.Replace(s, "\nclient_id", "\nx", 1) }},
	} {
		t.Run(test.name, func(t *testing.T) {
			w, c := signedIn(t, exactLife, exactsim.Config{})
			damaged := test.damage(w.record())
			w.putRecord(damaged)
			w.clock.advance(exactLife)
			w.quiet(func() {
				err := w.refused(c, fault.ErrRecord)
				if !strings.Contains(err.Error(), profileName) {
					t.Errorf("%v does not name the profile", err)
				}
				if _, err := c.Status(t.Context()); !errors.Is(err, fault.ErrRecord) {
					t.Error("status:", err)
				}
				if err := c.SetClientSecret(t.Context(), fault.NewSecret("s"), true); !errors.Is(err, fault.ErrRecord) {
					t.Error("client secret:", err)
				}
				if _, err := c.Logout(t.Context()); !errors.Is(err, fault.ErrRecord) {
					t.Error("logout:", err)
				}
				if _, err := w.signIn(c, exactauth.LoginOptions{Show: func(exactauth.Invitation) { t.Error("shown") }}); !errors.Is(err, fault.ErrRecord) {
					t.Error("login:", err)
				}
			})
			if w.record() != damaged {
				t.Error("the record was changed")
			}
			if err := c.Forget(t.Context()); err != nil {
				t.Error("forget:", err)
			}
		})
	}
}

// Of many callers at once, each with a client and a store of its own as processes have,
// one refreshes and all get its token.
func TestManyAtExpiry(t *testing.T) {
	for _, age := range []int{970, 1001} {
		t.Run(fmt.Sprintf("at %d thousandths", age), func(t *testing.T) {
			w, _ := signedIn(t, exactLife, exactsim.Config{})
			w.clock.advance(share(exactLife, age))
			tokens := make([]string, 24)
			var all sync.WaitGroup
			for i := range tokens {
				c := w.client()
				all.Go(func() {
					tok, err := w.token(c, exactauth.Want{})
					if err != nil {
						t.Error(err)
					}
					tokens[i] = tok.Access.Reveal()
				})
			}
			all.Wait()
			for _, tok := range tokens {
				if tok != tokens[0] || tok == "" {
					t.Fatal("they got different tokens")
				}
			}
			if n := w.Counters(); n.Refreshes != 1 || n.RefreshesIssued != 1 {
				t.Errorf("%+v", n)
			}
			if got := w.refreshState(); got != exactsim.Current {
				t.Errorf("the stored refresh token is %s", got)
			}
		})
	}
}

// A cron job that keeps calling does not use up the hourly error allowance.
func TestCronStaysBelowTheErrorLimit(t *testing.T) {
	for _, test := range []struct {
		name string
		do   func(*world)
		kind error
		most int // requests in an hour
	}{
		{"revoked", func(w *world) { w.Revoke(clientID, annaID) }, fault.ErrLoginNeeded, 2},
		{"wrong secret", func(w *world) { w.register("another-secret", redirectURI) }, fault.ErrConfig, 2},
		{"app deleted", func(w *world) { w.RemoveApp(clientID) }, fault.ErrConfig, 2},
		{"unknown error", func(w *world) {
			w.Inject(exactsim.Fault{Kind: exactsim.Raw, Status: 400, Times: -1, Body: `{"error":"something_new"}`})
		}, fault.ErrTemporary, 9},
		{"user without rights", func(w *world) { w.AddUser(exactsim.User{ID: annaID, Inactive: true}) }, nil, 9},
		{"blocked user", func(w *world) { w.Inject(forbidden("BlockedUser")) }, fault.ErrForbidden, 9},
		{"OData error without a reason", func(w *world) { w.Inject(forbidden("")) }, fault.ErrTemporary, 9},
		{"message 401", func(w *world) {
			w.Inject(exactsim.Fault{Kind: exactsim.Raw, Status: 401, Times: -1, Body: `{"message":"Unauthorized"}`})
		}, fault.ErrTemporary, 9},
		{"ASP.NET error 404", func(w *world) {
			w.Inject(exactsim.Fault{Kind: exactsim.Raw, Status: 404, Times: -1, Body: `{"Message":"No HTTP resource was found"}`})
		}, fault.ErrTemporary, 9},
		{"empty object 401", func(w *world) {
			w.Inject(exactsim.Fault{Kind: exactsim.Raw, Status: 401, Times: -1, Body: `{}`})
		}, fault.ErrTemporary, 9},
		{"empty 400", func(w *world) { w.Inject(exactsim.Fault{Kind: exactsim.Status, Status: 400, Times: -1}) }, nil, 9},
		{"refusal that is cut off", func(w *world) { w.Inject(exactsim.Fault{Kind: exactsim.CutBody, Times: -1}) }, fault.ErrTemporary, 9}, // once the first has issued
		{"answers lost on the way", func(w *world) { w.Inject(exactsim.Fault{Kind: exactsim.Drop, Commit: true, Times: -1}) }, fault.ErrTemporary, 10},
		{"page 401", func(w *world) { w.Inject(exactsim.Fault{Kind: exactsim.HTML, Status: 401, Times: -1}) }, nil, 9},
	} {
		t.Run(test.name, func(t *testing.T) {
			// Pauses and the hour are in proportion to the life of a token.
			w, c := signedIn(t, shortLife, exactsim.Config{})
			test.do(w)
			w.clock.advance(shortLife + time.Second)
			n := w.asks(func() {
				for range 60 {
					_, err := w.token(c, exactauth.Want{})
					if err == nil || test.kind != nil && !errors.Is(err, test.kind) {
						t.Fatal("got", err)
					}
					w.clock.advance(shortLife / 10)
				}
			})
			if n > test.most {
				t.Errorf("%d requests in an hour of 60 calls, want at most %d", n, test.most)
			}
		})
	}
}

// A refresh opens a connection of its own: the server may close an idle one just then,
// and it would be unknown whether the token was spent.
func TestRefreshUsesNoIdleConnection(t *testing.T) {
	w, c := signedIn(t, exactLife, exactsim.Config{})
	var mu sync.Mutex
	seen := map[string]string{}
	w.inFront(func(rw http.ResponseWriter, r *http.Request) {
		mu.Lock()
		if before, again := seen[r.RemoteAddr]; again && strings.HasSuffix(r.URL.Path, "/token") {
			t.Errorf("the refresh came over the connection of %s", before)
		}
		seen[r.RemoteAddr] = r.URL.Path
		mu.Unlock()
		w.Sim.ServeHTTP(rw, r)
	})
	if _, err := c.Me(t.Context(), w.live(c)); err != nil {
		t.Fatal(err)
	}
	w.clock.advance(exactLife)
	w.live(c)
}

// Cookies are not kept.
func TestKeepsNoCookies(t *testing.T) {
	w, c := signedIn(t, exactLife, exactsim.Config{})
	w.inFront(func(rw http.ResponseWriter, r *http.Request) {
		if len(r.Cookies()) > 0 {
			t.Errorf("a cookie was sent to %s", r.URL.Path)
		}
		http.SetCookie(rw, &http.Cookie{Name: "AWSALB", Value: "x"})
		w.Sim.ServeHTTP(rw, r)
	})
	for range 2 {
		w.clock.advance(exactLife)
		w.live(c)
	}
}
