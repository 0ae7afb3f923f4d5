package exactauth_test

import (
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"net/http/httptrace"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/exactauth/exactauth/internal/exactauth"
	"github.com/exactauth/exactauth/internal/exactsim"
	"github.com/exactauth/exactauth/internal/fault"
	"github.com/exactauth/exactauth/internal/record"
)

// waited is a Client.Waiting that ignores the end of a wait.
func waited(f func(what string, until time.Time)) func(context.Context, string, time.Time) func() {
	return func(_ context.Context, what string, until time.Time) func() {
		f(what, until)
		return func() {}
	}
}

// telling counts the calls of Client.Waiting and of what it returns.
type telling struct{ began, over atomic.Int32 }

func (n *telling) to(c *exactauth.Client) {
	c.Waiting = func(context.Context, string, time.Time) func() {
		n.began.Add(1)
		return func() { n.over.Add(1) }
	}
}

// Waiting is called when a wait for the lock gets long, and the wait is over before Token
// returns, so that a spinner is gone before the token is printed.
func TestWaitForTheLockIsTold(t *testing.T) {
	w, c := signedIn(t, exactLife, exactsim.Config{})
	w.clock.advance(exactLife)
	var held telling
	held.to(c)
	locked, release := make(chan struct{}), make(chan struct{})
	go w.store().Update(t.Context(), profileName, func(_ context.Context, old []byte) ([]byte, error) {
		close(locked)
		<-release
		return old, nil
	})
	<-locked
	done := make(chan error, 1)
	go func() {
		_, err := w.token(c, exactauth.Want{})
		if began, over := held.began.Load(), held.over.Load(); began != 1 || over != 1 {
			t.Errorf("Token returned when %d waits had begun and %d were over", began, over)
		}
		done <- err
	}()
	for end := time.Now().Add(20 * time.Second); held.began.Load() == 0; time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal("Waiting was not called during a wait for the lock")
		}
	}
	if n := held.over.Load(); n != 0 {
		t.Errorf("%d waits are over while the lock is held", n)
	}
	close(release)
	if err := <-done; err != nil {
		t.Error(err)
	}
}

// A call that needs a new token sleeps until the process that refreshes is ready, and takes
// what that process got: it takes no lock. One with little time left does not sleep.
func TestSleepsWhileAnotherProcessRefreshes(t *testing.T) {
	w, c := signedIn(t, exactLife, exactsim.Config{})
	other := w.client()
	var locks, sleeps int
	c.Store = &counted{c.Store, &locks}
	c.WaitUnlocked = func(_ context.Context, name string, _ time.Duration) bool {
		sleeps++
		if name != profileName {
			t.Errorf("waits for %q", name)
		}
		w.live(other)
		return true
	}
	w.clock.advance(exactLife)
	if n := w.asks(func() { w.live(c) }); n != 1 || sleeps != 1 || locks != 0 {
		t.Errorf("%d requests, %d sleeps, %d locks; want 1, 1 and 0", n, sleeps, locks)
	}
	w.clock.advance(exactLife)
	ctx, cancel := context.WithTimeout(t.Context(), 2900*time.Millisecond)
	defer cancel()
	if _, err := c.Token(ctx, exactauth.Want{}); sleeps != 1 {
		t.Errorf("slept with little time left (%v)", err)
	}
}

// Begin is called once, before anything but the stored token is returned, and the context
// that it returns counts.
func TestBegin(t *testing.T) {
	w, c := signedIn(t, exactLife, exactsim.Config{})
	begun := 0
	ended, end := context.WithCancelCause(t.Context())
	end(errors.New("ended by a test"))
	c.Begin = func(ctx context.Context) context.Context {
		if begun++; begun > 1 {
			return ended
		}
		return ctx
	}
	if w.live(c); begun != 0 {
		t.Error("begun for a live token")
	}
	w.clock.advance(exactLife)
	if w.live(c); begun != 1 {
		t.Errorf("begun %d times for a refresh", begun)
	}
	w.clock.advance(exactLife)
	w.quiet(func() {
		if _, err := w.token(c, exactauth.Want{}); err == nil || !strings.Contains(err.Error(), "ended by a test") {
			t.Errorf("got %v", err)
		}
	})
}

type counted struct {
	record.Store
	updates *int
}

func (s *counted) Update(ctx context.Context, name string, change record.Change) error {
	*s.updates++
	return s.Store.Update(ctx, name, change)
}

// Without a wait, Waiting is not called.
func TestNoWaitIsTold(t *testing.T) {
	w, c := signedIn(t, exactLife, exactsim.Config{})
	var quiet telling
	quiet.to(c)
	if w.live(c); quiet.began.Load() != 0 {
		t.Error("Waiting was called for a live token")
	}
	w.clock.advance(exactLife)
	w.live(c) // a refresh, which can take long on a slow disk
	if began, over := quiet.began.Load(), quiet.over.Load(); began != over {
		t.Errorf("%d waits began, %d are over", began, over)
	}
}

// Waited is called once: before the code is redeemed, or when the sign-in fails.
func TestLoginTellsThatTheWaitIsOver(t *testing.T) {
	w := newWorld(t, exactLife, exactsim.Config{})
	c := w.client()
	c.ClientSecret = giveSecret(clientSecret)
	waited := 0
	o := exactauth.LoginOptions{Waited: func() {
		waited++
		if n := w.Counters().Exchanges; n != 0 {
			t.Errorf("%d exchanges before the wait was over", n)
		}
	}}
	if _, err := w.signIn(c, o); err != nil || waited != 1 {
		t.Errorf("%v, over %d times", err, waited)
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Millisecond)
	defer cancel()
	o.Waited = func() { waited++ }
	o.Paste = neverRead{ctx}
	if _, err := c.Login(ctx, o); w.tell(err) == nil || waited != 2 {
		t.Errorf("%v, over %d times", err, waited)
	}
}

type neverRead struct{ ctx context.Context }

func (r neverRead) Read([]byte) (int, error) {
	<-r.ctx.Done()
	return 0, context.Cause(r.ctx)
}

// standing is a network to which the first requests come after their time.
type standing struct {
	w     *world
	still int
}

func (s *standing) RoundTrip(r *http.Request) (*http.Response, error) {
	if s.still--; s.still >= 0 {
		time.Sleep(2 * time.Minute)
		return nil, r.Context().Err()
	}
	httptrace.ContextClientTrace(r.Context()).GotConn(httptrace.GotConnInfo{})
	answer := httptest.NewRecorder()
	s.w.ServeHTTP(answer, r)
	return answer.Result(), nil
}

// A process that stood still until the time of its request was over has sent nothing. It
// begins again, once, unless its caller's time is over as well.
func TestStoodStillBeforeTheRequest(t *testing.T) {
	for name, c := range map[string]struct {
		still   int
		timeout time.Duration
		want    error
	}{
		"once":                          {1, 5 * time.Minute, nil},
		"twice":                         {2, 5 * time.Minute, fault.ErrTemporary},
		"the caller's time is over too": {1, 90 * time.Second, fault.ErrTemporary},
	} {
		t.Run(name, func(t *testing.T) {
			w, client := signedIn(t, exactLife, exactsim.Config{})
			w.clock.advance(exactLife)
			client.Transport = &standing{w, c.still}
			synctest.Test(t, func(t *testing.T) {
				ctx, cancel := context.WithTimeout(t.Context(), c.timeout)
				defer cancel()
				if _, err := client.Token(ctx, exactauth.Want{}); !errors.Is(err, c.want) {
					t.Errorf("%v; want %v", err, c.want)
				}
			})
			w.live(w.client()) // nothing is spent
		})
	}
}
