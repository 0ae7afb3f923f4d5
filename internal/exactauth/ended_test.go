package exactauth_test

import (
	"context"
	"errors"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/exactauth/exactauth/internal/exactauth"
	"github.com/exactauth/exactauth/internal/exactsim"
	"github.com/exactauth/exactauth/internal/fault"
)

// reporting returns a client that counts the endings that it reports.
func (w *world) reporting(n *atomic.Int32) *exactauth.Client {
	c := w.client()
	c.Ended = func(_ context.Context, why error) {
		n.Add(1)
		if !errors.Is(why, fault.ErrLoginNeeded) {
			w.t.Errorf("the reason is %v", why)
		}
	}
	return c
}

// Many processes find that a login has ended, of some machines that report it and some
// that do not. One reports it.
func TestEndingIsReportedOnce(t *testing.T) {
	w, silent := signedIn(t, exactLife, exactsim.Config{})
	var reports atomic.Int32
	w.clock.advance(31 * 24 * time.Hour)
	w.refused(silent, fault.ErrLoginNeeded)
	var all sync.WaitGroup
	for i := range 24 {
		c := w.reporting(&reports)
		if i%3 == 0 {
			c = w.client()
		}
		all.Go(func() {
			if _, err := w.token(c, exactauth.Want{}); !errors.Is(err, fault.ErrLoginNeeded) {
				t.Error(err)
			}
		})
	}
	all.Wait()
	if n := reports.Load(); n != 1 {
		t.Fatalf("reported %d times", n)
	}
	// Exact is asked again, and refuses again.
	if _, err := w.token(w.reporting(&reports), exactauth.Want{Force: true}); !errors.Is(err, fault.ErrLoginNeeded) || reports.Load() != 1 {
		t.Fatalf("reported %d times, %v", reports.Load(), err)
	}
	for ending := range int32(2) {
		if _, err := w.signIn(silent, exactauth.LoginOptions{}); err != nil {
			t.Fatal(err)
		}
		w.live(silent)
		w.clock.advance(31 * 24 * time.Hour)
		for range 3 {
			w.refused(w.reporting(&reports), fault.ErrLoginNeeded)
		}
		if n := reports.Load(); n != 2+ending {
			t.Errorf("ending %d: reported %d times", 2+ending, n)
		}
	}
	if err := silent.SetClientSecret(t.Context(), fault.NewSecret(clientSecret), true); err != nil {
		t.Fatal(err)
	}
	w.refused(w.reporting(&reports), fault.ErrLoginNeeded)
	if n := reports.Load(); n != 3 {
		t.Errorf("reported %d times after the secret was given again", n)
	}
}

// A refusal that turns out to be false is no ending any more; a later one is another.
func TestEndingAfterAFalseOne(t *testing.T) {
	w, c := signedIn(t, exactLife, exactsim.Config{})
	var reports atomic.Int32
	reporting := w.reporting(&reports)
	w.clock.advance(exactLife)
	w.Inject(exactsim.Fault{Kind: exactsim.Raw, Status: 400, Body: `{"error":"invalid_grant"}`, Times: 1})
	w.refused(reporting, fault.ErrLoginNeeded)
	if _, err := w.token(c, exactauth.Want{Force: true}); err != nil || w.field("alerted_at") != "" {
		t.Fatalf("%v; alerted_at %q", err, w.field("alerted_at"))
	}
	w.clock.advance(31 * 24 * time.Hour)
	w.refused(reporting, fault.ErrLoginNeeded)
	if n := reports.Load(); n != 2 {
		t.Errorf("reported %d times", n)
	}
}

// What cannot be recorded is not reported: otherwise each call would report it.
func TestEndingThatCannotBeRecorded(t *testing.T) {
	w, c := signedIn(t, exactLife, exactsim.Config{})
	var reports atomic.Int32
	w.clock.advance(31 * 24 * time.Hour)
	w.refused(c, fault.ErrLoginNeeded)
	unblock := blockWrites(t, w)
	w.refused(w.reporting(&reports), fault.ErrLoginNeeded)
	if n := reports.Load(); n != 0 || !strings.Contains(w.heard(), "the end of the login cannot be reported: ") {
		t.Errorf("reported %d times; heard %s", n, w.heard())
	}
	unblock()
	w.refused(w.reporting(&reports), fault.ErrLoginNeeded)
	if n := reports.Load(); n != 1 {
		t.Errorf("then reported %d times", n)
	}
}

// A report has time of its own: the call may have little left when it finds the ending.
func TestReportOutlivesItsCall(t *testing.T) {
	w, c := signedIn(t, exactLife, exactsim.Config{})
	w.clock.advance(31 * 24 * time.Hour)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	called := false
	c.Ended = func(ctx context.Context, _ error) {
		called = true
		cancel()
		if end, limited := ctx.Deadline(); ctx.Err() != nil || !limited || time.Until(end) > exactLife/20 || time.Until(end) < exactLife/40 {
			t.Errorf("%v, until %s", ctx.Err(), end)
		}
	}
	if _, err := c.Token(ctx, exactauth.Want{}); !errors.Is(err, fault.ErrLoginNeeded) || !called {
		t.Errorf("called: %v; %v", called, err)
	}
}
