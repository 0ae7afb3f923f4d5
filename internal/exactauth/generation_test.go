package exactauth_test

import (
	"context"
	"strconv"
	"testing"

	"github.com/exactauth/exactauth/internal/exactauth"
	"github.com/exactauth/exactauth/internal/exactsim"
	"github.com/exactauth/exactauth/internal/fault"
)

// Of two copies of a record the one with the higher generation is the live one, so each
// answer with tokens raises it.
func TestGenerationRises(t *testing.T) {
	w, c := signedIn(t, exactLife, exactsim.Config{})
	last := 0
	rises := func(what string) {
		t.Helper()
		n, _ := strconv.Atoi(w.field("generation"))
		if n <= last {
			t.Errorf("%s: the generation is %d after %d", what, n, last)
		}
		last = n
	}
	rises("a first sign-in")
	w.clock.advance(exactLife)
	w.live(c)
	rises("a refresh")
	w.Inject(exactsim.Fault{Kind: exactsim.Raw, Status: 400, Body: `{"error":"server_error","refresh_token":"stampNL001.other"}`})
	w.clock.advance(exactLife)
	if _, err := w.token(c, exactauth.Want{}); err == nil || w.field("refresh_token") != "stampNL001.other" {
		t.Fatalf("the refresh token is %s (%v)", w.field("refresh_token"), err)
	}
	rises("a token in an error")
	w.killedSignIn(annaID)
	rises("a pending sign-in")
}

// A login that moves onto an earlier one of the same client gets the larger generation of
// the two, so that no copy of either is taken for a later one.
func TestMoveKeepsTheLargerGeneration(t *testing.T) {
	for _, there := range []int{3, 9} {
		t.Run(strconv.Itoa(there), func(t *testing.T) {
			m := newMove(t, exactsim.Config{})
			earlier := made(clientID, m.url, "earlier", there, m.clock.now().Add(-exactLife))
			if err := m.files.Update(t.Context(), profileName, func(context.Context, []byte) ([]byte, error) { return encoded(t, earlier), nil }); err != nil {
				t.Fatal(err)
			}
			for range 5 {
				m.clock.advance(exactLife)
				m.live(m.here)
			}
			here, _ := m.look()
			if err := m.move(&steps{}); err != nil {
				t.Fatal(err)
			}
			if _, got := m.look(); got.Generation < max(here.Generation, there+1) {
				t.Errorf("generation %d; it was %d here and %d there", got.Generation, here.Generation, there)
			}
		})
	}
}

// Of two logins of one client the server's dates say which is the later one, since the
// clocks of two machines wrote the other times.
func TestMoveComparesTheServersDates(t *testing.T) {
	m := newMove(t, exactsim.Config{})
	here, _ := m.look()
	later := made(clientID, m.url, "later", 1, here.RepliedAt.Add(-exactLife)) // by a slow clock
	later.ServerDate = here.ServerDate.Add(exactLife)
	if err := m.files.Update(t.Context(), profileName, func(context.Context, []byte) ([]byte, error) { return encoded(t, later), nil }); err != nil {
		t.Fatal(err)
	}
	if err := m.here.MoveTo(t.Context(), m.files, elsewhere); err != nil {
		t.Fatal(err)
	}
	if _, there := m.look(); there.Refresh.Reveal() != "r-later" {
		t.Error("the later login was replaced by the earlier one")
	}
}

// Every change of a record raises its revision, and the record keeps its id until it is
// deleted.
func TestRevisionRises(t *testing.T) {
	w, c := signedIn(t, exactLife, exactsim.Config{})
	id, last := w.field("id"), 0
	changed := func(what string, by int) {
		t.Helper()
		n, _ := strconv.Atoi(w.field("revision"))
		if n != last+by || w.field("id") != id {
			t.Errorf("%s: revision %d after %d, id %s; it was %s", what, n, last, w.field("id"), id)
		}
		last = n
	}
	changed("setup and a sign-in", 4) // the secret, the mark, the tokens, the user
	w.Inject(exactsim.Fault{Kind: exactsim.Raw, Status: 403})
	w.clock.advance(exactLife)
	if _, err := w.token(c, exactauth.Want{}); err == nil {
		t.Fatal("a token without an answer")
	}
	changed("a mark and a failure", 2)
	if err := c.SetClientSecret(t.Context(), fault.Secret{}, true); err != nil {
		t.Fatal(err)
	}
	changed("nothing", 0)
	if _, err := c.Logout(t.Context()); err != nil {
		t.Fatal(err)
	}
	changed("a sign-out", 1)
	if _, err := w.signIn(c, exactauth.LoginOptions{}); err != nil {
		t.Fatal(err)
	}
	changed("another sign-in", 3)
	if err := c.Forget(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := c.SetClientSecret(t.Context(), fault.NewSecret(clientSecret), true); err != nil {
		t.Fatal(err)
	}
	if other := w.field("id"); id == "" || other == "" || other == id {
		t.Errorf("the id is %s after a record with %s", other, id)
	}
}
