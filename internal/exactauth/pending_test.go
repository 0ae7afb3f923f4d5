package exactauth_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/exactauth/exactauth/internal/callback/callbacktest"
	"github.com/exactauth/exactauth/internal/exactauth"
	"github.com/exactauth/exactauth/internal/exactsim"
	"github.com/exactauth/exactauth/internal/fault"
	"github.com/exactauth/exactauth/internal/record"
	"github.com/exactauth/exactauth/internal/tokenstore"
)

// A sign-in is killed after its tokens were saved and before their user is known. At Exact
// the stored token has expired the earlier login, and nothing is lost.
func TestKilledBeforeItIsKnownWhoSignedIn(t *testing.T) {
	killed := func(t *testing.T, user string) (*world, *exactauth.Client) {
		t.Helper()
		w, c := signedIn(t, exactLife, exactsim.Config{})
		w.killedSignIn(user)
		return w, c
	}
	t.Run("the same user", func(t *testing.T) {
		w, c := killed(t, annaID)
		w.clock.advance(exactLife)
		w.live(c)
		if w.refreshState() != exactsim.Current {
			t.Error("the refresh token is not the current one")
		}
		if me, err := c.Me(t.Context(), w.live(c)); err != nil || me.ID != annaID {
			t.Errorf("%v, %v", me, err)
		}
	})
	t.Run("the same user, at once", func(t *testing.T) {
		w, c := killed(t, annaID)
		w.live(c) // not the earlier login's token, which the server has ended
		if strings.Contains(w.record(), "pending") {
			t.Error("the sign-in is still pending")
		}
	})
	t.Run("the same user, after a refusal", func(t *testing.T) {
		w, c := signedIn(t, exactLife, exactsim.Config{})
		w.Revoke(clientID, annaID)
		w.clock.advance(exactLife)
		w.refused(c, fault.ErrLoginNeeded)
		w.killedSignIn(annaID)
		w.clock.advance(exactLife) // its access token has expired, too
		w.live(c)
	})
	t.Run("the same user, and the token expires while Exact is asked for the user", func(t *testing.T) {
		w, c := killed(t, annaID)
		w.clock.advance(exactLife - 20*time.Second) // a refresh is due, and the pending token is still valid
		w.inFront(func(rw http.ResponseWriter, r *http.Request) {
			if strings.Contains(r.URL.Path, "current/Me") {
				w.clock.advance(time.Minute)
			}
			w.Sim.ServeHTTP(rw, r)
		})
		w.live(c)
		if w.refreshState() != exactsim.Current {
			t.Error("the refresh token is not the current one")
		}
	})
	t.Run("another user, the earlier login still valid", func(t *testing.T) {
		w, c := killed(t, bobID)
		w.clock.advance(exactLife)
		w.live(c)
		if strings.Contains(w.record(), "pending") {
			t.Error("tokens of another user are still pending beside a valid login")
		}
		if me, err := c.Me(t.Context(), w.live(c)); err != nil || me.ID != annaID {
			t.Errorf("%v, %v; want Anna", me, err)
		}
	})
	t.Run("another user, the earlier login ended", func(t *testing.T) {
		w, c := killed(t, bobID)
		w.Revoke(clientID, annaID)
		w.clock.advance(exactLife)
		w.Inject(exactsim.Fault{On: exactsim.MeEndpoint, Kind: exactsim.Drop, Times: -1})
		w.refused(c, fault.ErrTemporary)
		w.ClearFaults()
		if s, err := c.Status(t.Context()); err != nil || s.User != (record.User{}) {
			t.Errorf("status: %+v, %v; want an unknown user", s, err)
		}
		err := w.refused(c, fault.ErrLoginNeeded)
		if !strings.Contains(err.Error(), "Anna de Vries") || !strings.Contains(err.Error(), "Bob Jansen") {
			t.Error(err)
		}
		w.quiet(func() { w.refused(c, fault.ErrLoginNeeded) })
		w.clock.advance(exactLife)
		w.quiet(func() { w.refused(c, fault.ErrLoginNeeded) })
		w.SetAutoApproveUser(annaID)
		if _, err := w.signIn(c, exactauth.LoginOptions{}); err != nil {
			t.Fatal(err)
		}
		if me, err := c.Me(t.Context(), w.live(c)); err != nil || me.ID != annaID {
			t.Errorf("%v, %v; want Anna", me, err)
		}
	})
	t.Run("an unknown user, the earlier login ended", func(t *testing.T) {
		w, c := killed(t, bobID)
		w.Revoke(clientID, annaID)
		w.clock.advance(exactLife)
		w.Inject(exactsim.Fault{On: exactsim.MeEndpoint, Kind: exactsim.Status, Status: 403, Times: -1})
		w.refused(c, fault.ErrLoginNeeded)
		w.quiet(func() { w.refused(c, fault.ErrLoginNeeded) })
	})
	t.Run("the first sign-in", func(t *testing.T) {
		w := newWorld(t, exactLife, exactsim.Config{})
		c := w.client()
		if err := c.SetClientSecret(t.Context(), fault.NewSecret(clientSecret), true); err != nil {
			t.Fatal(err)
		}
		crash := w.client()
		crash.Store = &crashing{Store: w.store(), at: 4, before: true}
		if login, err := w.signIn(crash, exactauth.LoginOptions{}); err != nil || !errors.Is(login.UserError, errCrash) {
			t.Fatal(login.UserError, err) // only the name is not saved
		}
		w.live(c)
		w.clock.advance(exactLife)
		w.live(c)
	})
}

// The guard against another user's tokens must not depend on an answer that whoever brings
// the code can prevent. While Exact does not say whose they are, no token is handed out:
// if they are the same user's, the stored one is dead.
func TestUnknownUserDoesNotReplaceALogin(t *testing.T) {
	for name, fail := range map[string]exactsim.Fault{
		"403":     {Kind: exactsim.Status, Status: 403},
		"429":     {Kind: exactsim.Status, Status: 429},
		"dropped": {Kind: exactsim.Drop},
		"no user": {Kind: exactsim.Raw, Body: `{"d":{"results":[{"UserID":""}]}}`},
	} {
		for _, user := range []string{annaID, bobID} {
			t.Run(name+" "+user[:4], func(t *testing.T) {
				w, c := signedIn(t, exactLife, exactsim.Config{})
				w.SetAutoApproveUser(user)
				always := fail
				always.On, always.Times = exactsim.MeEndpoint, -1
				w.Inject(always)
				_, err := w.signIn(c, exactauth.LoginOptions{})
				if !errors.Is(err, exactauth.ErrSaved) || !strings.Contains(err.Error(), "the sign-in is saved") {
					t.Fatalf("login: %v", err)
				}
				if w.field("user_id") != annaID {
					t.Error("the record does not say any more whose login it is")
				}
				for range 20 {
					if _, err := w.token(c, exactauth.Want{}); err == nil {
						t.Error("a token is handed out while its user is unknown")
					}
					w.clock.advance(10 * time.Second)
				}
				if n := w.Counters().MeRequests; name == "403" && n > 10 {
					t.Errorf("%d requests were refused", n)
				}
				if s, err := c.Status(t.Context()); err != nil || !s.SignedIn || s.Problem == nil {
					t.Errorf("status: %+v, %v", s, err)
				}
				w.ClearFaults()
				if _, err := w.token(c, exactauth.Want{}); err != nil {
					w.untilHeld(err) // a refusal is not repeated at once
				}
				if me, err := c.Me(t.Context(), w.live(c)); err != nil || me.ID != annaID {
					t.Errorf("%v, %v; want Anna", me, err)
				}
				if strings.Contains(w.record(), "pending") {
					t.Error("tokens are still pending")
				}
				w.clock.advance(exactLife)
				w.live(c)
			})
		}
	}
}

// A process is killed during a refresh while the stored token is live, and the answer is
// lost. The server is asked once, says "not expired" about the lost token, and is not
// asked again until that token can be replaced.
func TestLostAnswerWhileTheTokenLivesIsNoFlood(t *testing.T) {
	w, c := signedIn(t, exactLife, exactsim.Config{Rotation: exactsim.Grace})
	w.clock.advance(exactLife - 20*time.Second)
	crash := w.client()
	crash.Store = &crashing{Store: w.store(), at: 2}
	w.live(crash) // without the kill this returns the stored token
	if w.field("spent_at") == "" {
		t.Fatal("the record is not marked")
	}
	w.clock.advance(time.Second)
	if n := w.asks(func() { w.live(c) }); n != 1 {
		t.Errorf("the server was asked %d times, want once", n)
	}
	w.quiet(func() { w.live(c) })
	w.clock.advance(30 * time.Second) // the stored token has expired
	w.quiet(func() { w.refused(c, fault.ErrTemporary) })
	w.clock.advance(exactLife)
	w.live(c)
}

// A shared store can end a lock while the answer to a refresh is under way to the machine
// that held it. So a machine that gets "old refresh token" waits for that answer, but only
// once: two machines that call at the same time always find each other's mark, and each
// attempt costs two errors.
func TestAnswerUnderWayElsewhereIsAwaitedOnce(t *testing.T) {
	w, c := signedIn(t, exactLife, exactsim.Config{})
	c.Shared = true
	elsewhere := w.client()
	elsewhere.Store = tokenstore.NewFiles(t.TempDir(), nil)
	if err := elsewhere.SetClientSecret(t.Context(), fault.NewSecret(clientSecret), true); err != nil {
		t.Fatal(err)
	}
	if _, err := w.signIn(elsewhere, exactauth.LoginOptions{}); err != nil {
		t.Fatal(err)
	}
	notes := func() {
		t.Helper()
		other := w.client()
		other.Shared = true
		other.Store = &crashing{Store: w.store(), at: 2, before: true}
		if _, err := w.token(other, exactauth.Want{}); !errors.Is(err, errCrash) || w.field("spent_at") == "" {
			t.Fatalf("the record is not marked: %v", err)
		}
	}
	w.clock.advance(exactLife)
	notes()
	if n := w.asks(func() {
		if err := w.refused(c, fault.ErrTemporary); !strings.Contains(err.Error(), "under way to another machine") {
			t.Error(err)
		}
	}); n != 1 {
		t.Errorf("the server was asked %d times, want once", n)
	}
	w.quiet(func() { w.refused(c, fault.ErrTemporary) })
	w.clock.advance(exactLife / 4)
	notes()
	w.refused(c, fault.ErrLoginNeeded)
	w.clock.advance(exactLife)
	w.quiet(func() { w.refused(c, fault.ErrLoginNeeded) })
	if _, err := w.signIn(c, exactauth.LoginOptions{}); err != nil {
		t.Fatal(err)
	}
	if w.live(c); strings.Contains(w.record(), "awaited_at") {
		t.Error("the record of a new login says that an answer is awaited")
	}
}

// The machine whose answer is under way can have sent under this call's own mark.
func TestAnswerUnderWayElsewhereUnderOwnMark(t *testing.T) {
	w, c := signedIn(t, exactLife, exactsim.Config{})
	other, there := w.client(), tokenstore.NewFiles(t.TempDir(), nil)
	other.Store = there
	replace := func(with string) record.Change {
		return func(context.Context, []byte) ([]byte, error) { return []byte(with), nil }
	}
	c.Shared = true
	c.Store = &between{Store: w.store(), at: 2, do: func() { // its session ends when it has the answer
		if err := there.Update(t.Context(), profileName, replace(w.record())); err != nil {
			t.Fatal(err)
		}
		w.live(other)
	}}
	w.clock.advance(exactLife)
	w.refused(c, fault.ErrTemporary)
	saved, err := there.Read(t.Context(), profileName)
	if err != nil {
		t.Fatal(err)
	}
	if err := w.store().Update(t.Context(), profileName, replace(string(saved))); err != nil {
		t.Fatal(err)
	}
	w.quiet(func() { w.live(c) })
}

// between is a store that has something happen right before one of its updates.
type between struct {
	record.Store
	at int
	do func()
}

func (s *between) Update(ctx context.Context, name string, change record.Change) error {
	if s.at--; s.at == 0 {
		s.do()
	}
	return s.Store.Update(ctx, name, change)
}

// Two people sign in at the same time, and it is not known yet whose the login of the first
// is. The record then names the user of the tokens that it has.
func TestSignInThatAnotherOvertook(t *testing.T) {
	w := newWorld(t, exactLife, exactsim.Config{})
	c := w.client()
	if err := c.SetClientSecret(t.Context(), fault.NewSecret(clientSecret), true); err != nil {
		t.Fatal(err)
	}
	overtaken := false
	w.inFront(func(rw http.ResponseWriter, r *http.Request) {
		if strings.Contains(r.URL.Path, "current/Me") && !overtaken {
			overtaken = true
			w.SetAutoApproveUser(bobID)
			if _, err := w.signIn(w.client(), exactauth.LoginOptions{}); err != nil {
				t.Error(err)
			}
		}
		w.Sim.ServeHTTP(rw, r)
	})
	if login, err := w.signIn(w.client(), exactauth.LoginOptions{}); err != nil || login.User.ID != annaID {
		t.Errorf("%v, %v", login.User, err)
	}
	me, err := c.Me(t.Context(), w.live(c))
	if err != nil || w.field("user_id") != me.ID {
		t.Errorf("the record names the user %q, and its tokens are those of %q (%v)", w.field("user_id"), me.ID, err)
	}
}

// Other calls settle a pending sign-in while the process that made it still asks Exact.
func TestAnotherCallConfirmsASignIn(t *testing.T) {
	for _, user := range []string{annaID, bobID} {
		t.Run(user, func(t *testing.T) {
			w, c := signedIn(t, exactLife, exactsim.Config{})
			w.clock.advance(time.Minute)
			w.SetAutoApproveUser(user)
			first := true
			w.inFront(func(rw http.ResponseWriter, r *http.Request) {
				if strings.Contains(r.URL.Path, "current/Me") && first {
					first = false
					w.live(w.client())
				}
				w.Sim.ServeHTTP(rw, r)
			})
			login, err := w.signIn(c, exactauth.LoginOptions{})
			taken := (*exactauth.TakenError)(nil)
			switch {
			case user == annaID && (err != nil || login.User.ID != annaID || w.refreshState() != exactsim.Current):
				t.Errorf("Anna: %+v, %v", login.User, err)
			case user == bobID && !errors.As(err, &taken):
				t.Errorf("Bob: %v; want a TakenError", err)
			}
			if w.field("user_id") != annaID {
				t.Error("the record names " + w.field("user_id"))
			}
		})
	}
}

// A sign-in that is saved has ended the login's own tokens. A second one, at the wrong
// account, must not take its place.
func TestWrongAccountAfterASignInThatIsSaved(t *testing.T) {
	for name, after := range map[string]time.Duration{"at once": 0, "when its access token has expired": exactLife} {
		t.Run(name, func(t *testing.T) {
			w, c := signedIn(t, exactLife, exactsim.Config{})
			w.Inject(exactsim.Fault{On: exactsim.MeEndpoint, Kind: exactsim.Status, Status: 403})
			if _, err := w.signIn(c, exactauth.LoginOptions{}); !errors.Is(err, exactauth.ErrSaved) {
				t.Fatal(err)
			}
			w.clock.advance(after)
			w.SetAutoApproveUser(bobID)
			if _, err := w.signIn(c, exactauth.LoginOptions{}); !errors.As(err, new(*exactauth.TakenError)) {
				t.Fatal(err)
			}
			w.clock.advance(exactLife)
			if me, err := c.Me(t.Context(), w.live(c)); err != nil || me.ID != annaID {
				t.Errorf("%v, %v; want Anna", me, err)
			}
		})
	}
}

// killedSignIn signs user in by a process that is killed before the user is known, which
// leaves the tokens pending.
func (w *world) killedSignIn(user string) {
	w.t.Helper()
	w.SetAutoApproveUser(user)
	crash := w.client()
	crash.Store = &crashing{Store: w.store(), at: 4, before: true} // readyToLogin, redeem twice, saveUser
	if _, err := w.signIn(crash, exactauth.LoginOptions{}); !errors.Is(err, errCrash) || w.field("pending_refresh_token") == "" {
		w.t.Fatalf("no tokens are pending: %v", err)
	}
}

// A refusal of whatever kind ends a login for which a sign-in is pending, in the same call.
func TestRefusalUsesThePendingSignIn(t *testing.T) {
	for _, body := range []string{`{"error":"invalid_grant"}`, `{"error":"invalid_request","error_description":"The refresh token expired at 10/11/2022 9:18:20 PM"}`, oldTokenBody} {
		t.Run(body, func(t *testing.T) {
			w, c := signedIn(t, exactLife, exactsim.Config{})
			w.clock.advance(exactLife)
			w.live(c) // so that there is a previous token, which the sign-in has ended, too
			w.killedSignIn(annaID)
			w.clock.advance(exactLife)
			w.Inject(exactsim.Fault{Kind: exactsim.Raw, Status: 400, Body: body})
			if n := w.asks(func() { w.live(c) }); n != 2 {
				t.Errorf("%d refreshes, want 2", n)
			}
			if w.refreshState() != exactsim.Current || w.field("user_id") != annaID {
				t.Error("the record does not have Anna's sign-in")
			}
		})
	}
}

// Exact refuses a login that is alive, or its client, before or after a sign-in at the
// wrong account is killed. That sign-in does not displace the login, which works again once
// a call has lifted the refusal, whatever it learns of the sign-in first.
func TestMistakenRefusalAndASignInOfAnotherUser(t *testing.T) {
	for _, body := range []string{`{"error":"invalid_client"}`, `{"error":"invalid_grant"}`, oldTokenBody} {
		for _, first := range []string{"refusal", "sign-in"} {
			t.Run(first+" first "+body, func(t *testing.T) {
				w, c := signedIn(t, exactLife, exactsim.Config{})
				if first == "sign-in" {
					w.killedSignIn(bobID)
				}
				w.clock.advance(exactLife)
				w.Inject(exactsim.Fault{Kind: exactsim.Raw, Status: 400, Body: body})
				w.token(c, exactauth.Want{})
				if first == "refusal" {
					w.killedSignIn(bobID)
				}
				w.clock.advance(exactLife)
				w.token(c, exactauth.Want{Force: true})
				if me, err := c.Me(t.Context(), w.live(c)); err != nil || me.ID != annaID || w.refreshState() != exactsim.Current {
					t.Errorf("%v, %v; want Anna", me, err)
				}
				if w.field("pending_refresh_token") != "" || w.field("former_refresh_token") != "" {
					t.Error("Bob's tokens are still in the record")
				}
			})
		}
	}
}

// A refusal of the client does not prevent a sign-in while an earlier one is pending.
func TestSignInAfterARefusalOfTheClient(t *testing.T) {
	for _, user := range []string{annaID, bobID} {
		t.Run(user, func(t *testing.T) {
			w, c := signedIn(t, exactLife, exactsim.Config{})
			w.killedSignIn(user)
			w.clock.advance(exactLife)
			w.Inject(exactsim.Fault{Kind: exactsim.Raw, Status: 400, Body: `{"error":"invalid_client"}`})
			w.refused(c, fault.ErrConfig)
			w.clock.advance(exactLife)
			w.quiet(func() { w.refused(c, fault.ErrConfig) }) // it is the client that was refused, so nothing else is tried
			w.SetAutoApproveUser(annaID)
			if _, err := w.signIn(c, exactauth.LoginOptions{}); err != nil {
				t.Fatal(err)
			}
			if me, err := c.Me(t.Context(), w.live(c)); err != nil || me.ID != annaID {
				t.Errorf("%v, %v; want Anna", me, err)
			}
		})
	}
}

// The clock was set back behind a sign-in whose user is unknown: the token before it looks
// alive, and the server has ended it.
func TestPendingSignInAndAClockThatWasSetBack(t *testing.T) {
	w, c := signedIn(t, exactLife, exactsim.Config{})
	w.clock.advance(exactLife / 2)
	w.killedSignIn(annaID)
	skew := -exactLife / 4
	c.Now = func() time.Time { return w.clock.now().Add(skew) }
	if tok, err := w.token(c, exactauth.Want{}); err == nil && !w.AccessTokenLive(tok.Access.Reveal()) {
		t.Error("a dead token was returned")
	}
	w.clock.advance(2 * exactLife)
	w.live(c)
}

// The clock was set back after the answer to a refresh was lost. The time of the loss is
// then no measure for when Exact allows the next refresh.
func TestLostAnswerAndAClockThatWasSetBack(t *testing.T) {
	w, c := signedIn(t, exactLife, exactsim.Config{Rotation: exactsim.Grace})
	w.clock.advance(exactLife)
	crash := w.client()
	crash.Store = &crashing{Store: w.store(), at: 2}
	if _, err := w.token(crash, exactauth.Want{}); !errors.Is(err, errCrash) {
		t.Fatal(err)
	}
	c.Now = func() time.Time { return w.clock.now().Add(-23 * time.Hour) }
	w.refused(c, fault.ErrTemporary)
	w.clock.advance(exactLife)
	w.live(c)
}

// Another user signs in while it is unknown whose an earlier sign-in is. At Exact that one
// has ended the login, so it must not be lost.
func TestSignInOfAnotherUserBesideAPendingOne(t *testing.T) {
	hers := func(t *testing.T, w *world, c *exactauth.Client) {
		t.Helper()
		for range 2 {
			if me, err := c.Me(t.Context(), w.live(c)); err != nil || me.ID != annaID || w.field("user_id") != annaID {
				t.Errorf("%v, %v; want Anna", me, err)
			}
			w.clock.advance(exactLife)
		}
	}
	t.Run("Exact says whose it is", func(t *testing.T) {
		w, c := signedIn(t, exactLife, exactsim.Config{})
		w.killedSignIn(annaID)
		w.SetAutoApproveUser(bobID)
		if _, err := w.signIn(c, exactauth.LoginOptions{}); !errors.As(err, new(*exactauth.TakenError)) {
			t.Errorf("got %v, want a TakenError", err)
		}
		hers(t, w, c)
	})
	t.Run("Exact says it later", func(t *testing.T) {
		w, c := signedIn(t, exactLife, exactsim.Config{})
		w.killedSignIn(annaID)
		before := w.record()
		w.Inject(exactsim.Fault{On: exactsim.MeEndpoint, Kind: exactsim.Drop, Times: -1})
		exchanges := w.Counters().Exchanges
		_, err := c.Login(t.Context(), exactauth.LoginOptions{Paste: strings.NewReader(""), Show: func(exactauth.Invitation) { t.Error("the address was shown") }})
		if !errors.Is(w.tell(err), fault.ErrTemporary) || !errors.Is(err, exactauth.ErrSaved) {
			t.Errorf("got %v", err)
		}
		if w.record() != before || w.Counters().Exchanges != exchanges {
			t.Error("something was spent or changed")
		}
		w.ClearFaults()
		hers(t, w, c)
	})
	t.Run("both at a time", func(t *testing.T) {
		w, c := signedIn(t, exactLife, exactsim.Config{})
		sitting := w.onLoopback("http://127.0.0.1:%s/callback")
		s := w.sit(t.Context(), sitting, exactauth.LoginOptions{})
		w.register(clientSecret, redirectURI)
		w.killedSignIn(annaID)
		w.register(clientSecret, s.RedirectURI)
		w.SetAutoApproveUser(bobID)
		page, err := callbacktest.Browser{}.Open(t, http.MethodGet, s.answer())
		if err != nil {
			t.Fatal(page, err)
		}
		if _, err := s.end(); !errors.As(err, new(*exactauth.TakenError)) {
			t.Errorf("got %v, want a TakenError", err)
		}
		hers(t, w, c)
	})
	t.Run("with Replace", func(t *testing.T) {
		w, c := signedIn(t, exactLife, exactsim.Config{})
		w.killedSignIn(annaID)
		w.SetAutoApproveUser(bobID)
		w.Inject(exactsim.Fault{On: exactsim.MeEndpoint, Kind: exactsim.Drop, Times: -1})
		if _, err := w.signIn(c, exactauth.LoginOptions{Replace: true}); err != nil || w.field("pending_refresh_token") != "" {
			t.Errorf("got %v", err)
		}
		w.live(c)
	})
}

// A sign-in at the wrong account has taken the place of a login that was lost, and Exact
// does not say whose it is. So its refresh does not show that the next sign-in, whose user
// Exact does not say either, is another user's.
func TestSignInBesideOneOfAnUnknownUser(t *testing.T) {
	for name, displaced := range map[string]string{"of another user": bobID, "of the same user": annaID} {
		t.Run(name, func(t *testing.T) {
			w, c := signedIn(t, exactLife, exactsim.Config{})
			w.Inject(exactsim.Fault{On: exactsim.MeEndpoint, Kind: exactsim.Drop, Times: -1})
			saved := func(user string) {
				w.SetAutoApproveUser(user)
				if _, err := w.signIn(c, exactauth.LoginOptions{}); !errors.Is(err, exactauth.ErrSaved) {
					t.Fatal(err)
				}
				w.clock.advance(exactLife)
				w.refused(c, fault.ErrTemporary)
			}
			w.Revoke(clientID, annaID)
			saved(displaced)
			if w.field("former_refresh_token") == "" || w.field("pending_refresh_token") != "" {
				t.Fatal("the sign-in has not taken the place of the login")
			}
			saved(annaID)
			w.ClearFaults()
			for range 3 {
				if me, err := c.Me(t.Context(), w.live(c)); err != nil || me.ID != annaID {
					t.Errorf("%v, %v; want Anna", me, err)
				}
				w.clock.advance(exactLife)
			}
			if w.field("pending_refresh_token") != "" || w.field("former_refresh_token") != "" {
				t.Error("a sign-in is still pending")
			}
		})
	}
}

// Exact does not say whose the sign-in after an ended login is, and the next one, at the
// wrong account, is killed. That one does not take the place of the first, which is all
// that is left of the login.
func TestWrongAccountAfterASignInOfAnUnknownUser(t *testing.T) {
	for name, next := range map[string]struct {
		after, behind time.Duration // of the clock
		refused       int           // times that Exact again does not say whose a token is
	}{
		"at once":                              {},
		"when both tokens have expired":        {after: exactLife},
		"by a clock before the second sign-in": {behind: 30 * time.Second},
		"and Exact again does not say whose":   {after: exactLife, refused: 2},
	} {
		t.Run(name, func(t *testing.T) {
			w, c := signedIn(t, exactLife, exactsim.Config{})
			w.Revoke(clientID, annaID)
			w.clock.advance(exactLife)
			w.refused(c, fault.ErrLoginNeeded)
			w.killedSignIn(annaID)
			w.clock.advance(exactLife)
			w.Inject(exactsim.Fault{On: exactsim.MeEndpoint, Kind: exactsim.Status, Status: 403})
			w.refused(c, fault.ErrLoginNeeded)
			if w.field("former_refresh_token") == "" {
				t.Fatal("the sign-in has not taken the place of the login")
			}
			w.clock.advance(time.Minute)
			w.killedSignIn(bobID)
			w.clock.advance(next.after)
			c.Now = func() time.Time { return w.clock.now().Add(-next.behind) }
			for range next.refused {
				w.Inject(exactsim.Fault{On: exactsim.MeEndpoint, Kind: exactsim.Status, Status: 403})
			}
			for range 3 {
				w.token(c, exactauth.Want{Force: true})
				w.clock.advance(exactLife)
			}
			if me, err := c.Me(t.Context(), w.live(c)); err != nil || me.ID != annaID || w.field("user_id") != annaID {
				t.Errorf("%v, %v; want Anna", me, err)
			}
			if w.field("pending_refresh_token") != "" || w.field("former_refresh_token") != "" {
				t.Error("a sign-in is still pending")
			}
		})
	}
}

// What Exact says of one sign-in is not taken for what it says of another: while it is
// asked about Anna's, another process confirms that one, and Bob's becomes pending.
func TestConfirmsTheSignInThatItAskedAbout(t *testing.T) {
	bobMeanwhile := func(w *world) {
		first := true
		w.inFront(func(rw http.ResponseWriter, r *http.Request) {
			if strings.Contains(r.URL.Path, "current/Me") && first {
				first = false
				w.live(w.client())
				w.killedSignIn(bobID)
			}
			w.Sim.ServeHTTP(rw, r)
		})
	}
	t.Run("a call", func(t *testing.T) {
		w, c := signedIn(t, exactLife, exactsim.Config{})
		w.killedSignIn(annaID)
		bobMeanwhile(w)
		if me, err := c.Me(t.Context(), w.live(c)); err != nil || me.ID != annaID || w.field("user_id") != annaID {
			t.Errorf("%v, %v; want Anna", me, err)
		}
	})
	t.Run("a sign-in", func(t *testing.T) {
		w, c := signedIn(t, exactLife, exactsim.Config{})
		bobMeanwhile(w)
		if login, err := w.signIn(c, exactauth.LoginOptions{}); err != nil || login.User.ID != annaID {
			t.Errorf("%v, %v; want Anna", login.User, err)
		}
		if me, err := c.Me(t.Context(), w.live(c)); err != nil || me.ID != annaID || w.field("user_id") != annaID {
			t.Errorf("%v, %v; want Anna", me, err)
		}
	})
}

// The time that Exact may take to name the user is not taken from the time to save the
// answer.
func TestSavingTheUserHasItsOwnTime(t *testing.T) {
	w, c := signedIn(t, exactLife, exactsim.Config{})
	deadlines := &deadlines{Store: c.Store, next: c.Transport}
	c.Store, c.Transport = deadlines, deadlines
	check := func(what string) {
		t.Helper()
		if deadlines.me.IsZero() || !deadlines.save.IsZero() && !deadlines.save.After(deadlines.me) {
			t.Errorf("%s: Exact may take until %s, and the save until %s", what, deadlines.me, deadlines.save)
		}
		deadlines.me = time.Time{}
	}
	if _, err := w.signIn(c, exactauth.LoginOptions{}); err != nil {
		t.Fatal(err)
	}
	check("sign-in")
	w.killedSignIn(annaID)
	w.live(c)
	check("token")
}

// deadlines notes until when the last request for the user and the last update may take.
type deadlines struct {
	record.Store
	next     http.RoundTripper
	me, save time.Time
}

func (d *deadlines) RoundTrip(r *http.Request) (*http.Response, error) {
	if strings.Contains(r.URL.Path, "current/Me") {
		d.me, _ = r.Context().Deadline()
	}
	return d.next.RoundTrip(r)
}

func (d *deadlines) Update(ctx context.Context, name string, change record.Change) error {
	d.save, _ = ctx.Deadline()
	return d.Store.Update(ctx, name, change)
}

// While a call waits for the lock, another process signs the user in, and then the store
// fails: the token that the call has read before is dead.
func TestSignInDuringAWaitThatFails(t *testing.T) {
	for _, killed := range []bool{false, true} {
		t.Run(fmt.Sprint("killed ", killed), func(t *testing.T) {
			w, c := signedIn(t, exactLife, exactsim.Config{})
			w.clock.advance(share(exactLife, 970)) // alive, and due
			c.Store = &failsOnce{Store: w.store(), first: func() {
				if killed {
					w.killedSignIn(annaID)
				} else if _, err := w.signIn(w.client(), exactauth.LoginOptions{}); err != nil {
					t.Error(err)
				}
			}}
			w.live(c)
		})
	}
}

// failsOnce is a store whose first update fails, after first was called.
type failsOnce struct {
	record.Store
	first func()
}

func (s *failsOnce) Update(ctx context.Context, name string, change record.Change) error {
	if first := s.first; first != nil {
		s.first = nil
		first()
		return &tokenstore.Error{Op: "lock", Name: name, Err: errBoom}
	}
	return s.Store.Update(ctx, name, change)
}
