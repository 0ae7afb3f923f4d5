package exactauth_test

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/exactauth/exactauth/internal/exactauth"
	"github.com/exactauth/exactauth/internal/exactsim"
	"github.com/exactauth/exactauth/internal/fault"
	"github.com/exactauth/exactauth/internal/record"
	"github.com/exactauth/exactauth/internal/tokenstore"
)

const elsewhere = "postgres://exact@db.test/exact"

// made returns a record with a login.
func made(clientID, baseURL, login string, generation int, at time.Time) record.Record {
	r := record.Record{BaseURL: baseURL, ClientID: clientID, ClientSecret: fault.NewSecret("secret of " + login), ID: "an id", Generation: generation}
	r.Tokens = record.Tokens{Access: fault.NewSecret("a-" + login), Refresh: fault.NewSecret("r-" + login), Life: exactLife, RequestedAt: at, RepliedAt: at}
	return r
}

func encoded(t *testing.T, r record.Record) []byte {
	t.Helper()
	b, err := r.Encode()
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func TestLatest(t *testing.T) {
	t.Parallel()
	at := time.Date(2026, 10, 28, 16, 15, 50, 0, time.UTC)
	base := func(name string, generation int) record.Record {
		return made(clientID, "https://start.exactonline.nl", name, generation, at)
	}
	but := func(r record.Record, change func(*record.Record)) record.Record { change(&r); return r }
	signedOut := func(r *record.Record) { r.Tokens = record.Tokens{} }
	for _, c := range []struct {
		name         string
		kept, shared record.Record
		want         string // whose tokens
	}{
		{"the kept one is newer", base("kept", 6), base("shared", 5), "kept"},
		{"much newer", base("kept", 9), base("shared", 5), "kept"},
		{"the same", base("kept", 5), base("shared", 5), "shared"},
		{"the kept one is older", base("kept", 4), base("shared", 5), "shared"},
		{"newer by the clock only", but(base("kept", 5), func(r *record.Record) { r.RepliedAt = at.Add(time.Hour) }), base("shared", 5), "shared"},
		{"another record of that name", but(base("kept", 6), func(r *record.Record) { r.ID = "other" }), base("shared", 5), "shared"},
		{"the shared one was moved", base("kept", 6), but(base("shared", 5), func(r *record.Record) { r.MovedTo = elsewhere }), "shared"},
		{"the shared one was moved and emptied", base("kept", 6), but(base("shared", 5), func(r *record.Record) { r.MovedTo = elsewhere; signedOut(r) }), ""},
		{"signed out meanwhile", base("kept", 6), but(base("shared", 6), signedOut), ""},
		{"signed out before", base("kept", 7), but(base("shared", 6), signedOut), "kept"},
		{"without generations", base("kept", 0), base("shared", 0), "shared"},
	} {
		shared := encoded(t, c.shared)
		got := exactauth.Latest(encoded(t, c.kept), shared)
		r, err := record.Decode(got)
		if err != nil {
			t.Fatal(c.name, err)
		}
		if _, whose, _ := strings.Cut(r.Refresh.Reveal(), "-"); whose != c.want {
			t.Errorf("%s: the tokens of %q; want %q", c.name, whose, c.want)
		}
		if secret := r.ClientSecret.Reveal(); secret != "secret of shared" {
			t.Errorf("%s: %s; the shared record's may have been changed since", c.name, secret)
		}
		if c.want != "kept" && string(got) != string(shared) {
			t.Errorf("%s: the shared record is changed", c.name)
		}
	}
	sound := encoded(t, base("shared", 5))
	newer := strings.Replace(string(encoded(t, base("kept", 6))), "record 1", "record 99", 1)
	for _, damaged := range []string{"", "nothing is kept\n", "exactauth", newer, newer[len("exactauth record 99\n"):], "age-encryption.org/v1\n"} {
		if got := exactauth.Latest([]byte(damaged), sound); string(got) != string(sound) {
			t.Errorf("kept %q: %s", damaged, got)
		}
		if got := exactauth.Latest(sound, []byte(damaged)); string(got) != damaged {
			t.Errorf("shared %q: %s; want it unchanged, so that it is reported", damaged, got)
		}
		if is, err := exactauth.Newer([]byte(damaged), sound); is || err == nil {
			t.Errorf("%q is newer: %v, %v; want that it cannot be judged", damaged, is, err)
		}
	}
	// What has tokens that the record has not waits in a second place. A mark or a sign-out
	// can be made again, and a move leaves the login where it was.
	for _, c := range []struct {
		name string
		a    record.Record
		want bool
	}{
		{"new tokens", base("a", 6), true},
		{"a mark", but(base("shared", 5), func(r *record.Record) { r.SpentAt, r.Revision = at, 9 }), false},
		{"a sign-out", but(base("a", 6), signedOut), false},
		{"another record", but(base("a", 6), func(r *record.Record) { r.ID = "other" }), false},
	} {
		if is, err := exactauth.Issued(encoded(t, c.a), sound); is != c.want || err != nil {
			t.Errorf("%s: issued %v, %v", c.name, is, err)
		}
	}
	if is, _ := exactauth.Issued(sound, nil); is {
		t.Error("a first record has no second place: nothing could say whether it is still wanted")
	}
}

// moving is a login on its way from the world's store to another one.
type moving struct {
	*world
	here, there *exactauth.Client
	files       *tokenstore.Files // of there
}

func newMove(t *testing.T, c exactsim.Config) *moving {
	t.Helper()
	w, here := signedIn(t, exactLife, c)
	m := &moving{world: w, here: here, there: w.client(), files: tokenstore.NewFiles(t.TempDir(), nil)}
	m.there.Store = m.files
	return m
}

// look returns both stored records.
func (m *moving) look() (here, there record.Record) {
	m.t.Helper()
	read := func(store record.Store) record.Record {
		b, err := store.Read(m.t.Context(), profileName)
		if errors.Is(err, fs.ErrNotExist) {
			return record.Record{}
		}
		r, err := record.Decode(b)
		if err != nil {
			m.t.Fatal(err)
		}
		return *r
	}
	return read(m.store()), read(m.files)
}

// oneLives checks what must be true at every moment of a move: at least one record has
// the login's current refresh token, and at most one record would use it.
func (m *moving) oneLives(when string) {
	m.t.Helper()
	here, there := m.look()
	usable, current := 0, 0
	for _, r := range []record.Record{here, there} {
		if !r.SignedIn() {
			continue
		}
		if r.MovedTo == "" {
			usable++
		}
		if m.RefreshTokenState(r.Refresh.Reveal()) == exactsim.Current {
			current++
		}
	}
	if usable > 1 {
		m.t.Errorf("%s: both copies would be refreshed", when)
	}
	if current == 0 {
		m.t.Errorf("%s: the login is lost", when)
	}
}

// arrived checks what must be true after a move: the login is there and is refreshed
// there, and only a note is left here.
func (m *moving) arrived() {
	m.t.Helper()
	here, there := m.look()
	if here.SignedIn() || !here.ClientSecret.IsZero() || here.MovedTo != elsewhere {
		m.t.Errorf("what is left behind is %+v", here)
	}
	if there.MovedTo != "" || there.ClientSecret.Reveal() != clientSecret {
		m.t.Errorf("what arrived is %+v", there)
	}
	m.clock.advance(exactLife)
	if n := m.asks(func() { m.live(m.there) }); n != 1 {
		m.t.Errorf("%d refreshes, want 1", n)
	}
	m.quiet(func() {
		err := m.refused(m.here, fault.ErrConfig)
		moved := (*exactauth.MovedError)(nil)
		if !errors.As(err, &moved) || moved.Where != elsewhere {
			m.t.Errorf("%v; want a MovedError", err)
		}
	})
}

// steps counts the updates of several stores. The process ends before or right after the
// n-th of them, and does nothing more.
type steps struct {
	at    int
	after bool
	n     int
	ended bool
}

func (s *steps) of(store record.Store) record.Store { return &cutStore{store, s} }

type cutStore struct {
	record.Store
	*steps
}

func (s *cutStore) Update(ctx context.Context, name string, change func(context.Context, []byte) ([]byte, error)) error {
	s.n++
	if s.ended || s.n == s.at && !s.after {
		s.ended = true
		return errCrash
	}
	err := s.Store.Update(ctx, name, change)
	if s.n == s.at {
		s.ended = true
		return errCrash
	}
	return err
}

// move moves the login as setup does.
func (m *moving) move(s *steps) error {
	here := m.client()
	here.Store = s.of(m.store())
	if err := here.MoveTo(m.t.Context(), s.of(m.files), elsewhere); err != nil {
		return m.tell(err)
	}
	m.oneLives("moved, not cleared")
	return m.tell(here.Moved(m.t.Context()))
}

func TestMove(t *testing.T) {
	m := newMove(t, exactsim.Config{})
	before, _ := m.look()
	m.quiet(func() {
		if err := m.move(&steps{}); err != nil {
			t.Fatal(err)
		}
	})
	if _, there := m.look(); there.Generation != before.Generation || there.Refresh.Reveal() != before.Refresh.Reveal() || there.User != before.User {
		t.Errorf("it was %+v and is %+v", before, there)
	}
	m.quiet(func() { // a repeated move changes nothing
		if err := m.move(&steps{}); err != nil {
			t.Error(err)
		}
	})
	m.arrived()
}

// A move that is killed at any step can be continued.
func TestMoveIsKilled(t *testing.T) {
	for at := 1; at <= 3; at++ {
		for _, after := range []bool{false, true} {
			t.Run(fmt.Sprintf("step %d, after it %v", at, after), func(t *testing.T) {
				m := newMove(t, exactsim.Config{})
				s := &steps{at: at, after: after}
				if err := m.move(s); !errors.Is(err, errCrash) || s.n < at {
					t.Fatalf("%v after %d updates", err, s.n)
				}
				m.oneLives("killed")
				// Meanwhile the old store has the login, or says to wait, or names the new store.
				m.quiet(func() {
					_, err := m.token(m.here, exactauth.Want{})
					switch here, _ := m.look(); {
					case here.MovedTo == "" && err != nil:
						t.Error(err)
					case here.MovedTo != "" && here.SignedIn() && !errors.Is(err, fault.ErrTemporary):
						t.Errorf("%v; want ErrTemporary", err)
					case here.MovedTo != "" && !here.SignedIn() && !errors.Is(err, fault.ErrConfig):
						t.Errorf("%v; want ErrConfig", err)
					}
				})
				if err := m.move(&steps{}); err != nil {
					t.Fatal(err)
				}
				m.arrived()
			})
		}
	}
}

// The move is killed after the login has arrived, and other machines refresh it: moving
// again must not replace it by the used-up copy.
func TestMoveIsKilledAndOthersGoOn(t *testing.T) {
	for refreshes := range 3 {
		for _, renewed := range []bool{false, true} {
			t.Run(fmt.Sprintf("%d refreshes, another sign-in %v", refreshes, renewed), func(t *testing.T) {
				m := newMove(t, exactsim.Config{})
				if err := m.move(&steps{at: 2, after: true}); !errors.Is(err, errCrash) {
					t.Fatal(err)
				}
				for range refreshes {
					m.clock.advance(exactLife)
					m.live(m.there)
					m.oneLives("went on")
				}
				if renewed {
					m.clock.advance(exactLife)
					if _, err := m.signIn(m.there, exactauth.LoginOptions{}); err != nil {
						t.Fatal(err)
					}
				}
				_, before := m.look()
				if err := m.move(&steps{}); err != nil {
					t.Fatal(err)
				}
				if _, there := m.look(); there.Refresh.Reveal() != before.Refresh.Reveal() {
					t.Error("the login there was replaced")
				}
				m.arrived()
			})
		}
	}
}

// If the other store fails, the login stays here, unless the other store may have it.
func TestMoveIsRefused(t *testing.T) {
	for _, c := range []struct {
		name        string
		saved, late bool
	}{{"not taken", false, false}, {"perhaps taken, and it was not", false, true}, {"perhaps taken, and it was", true, true}} {
		t.Run(c.name, func(t *testing.T) {
			m := newMove(t, exactsim.Config{})
			to := &failing{Store: m.files, saved: c.saved, late: c.late}
			err := m.tell(m.here.MoveTo(t.Context(), to, elsewhere))
			if fault := (*tokenstore.Error)(nil); !errors.As(err, &fault) {
				t.Fatal(err)
			}
			m.oneLives("refused")
			if !c.late {
				m.clock.advance(exactLife)
				m.live(m.here)
			} else {
				m.quiet(func() { m.refused(m.here, fault.ErrTemporary) })
			}
			if err := m.move(&steps{}); err != nil {
				t.Fatal(err)
			}
			m.arrived()
		})
	}
}

// The mark of a refused move is taken back even if the caller's time is over: with it,
// no call uses the login.
func TestMoveIsRefusedAtTheEndOfItsTime(t *testing.T) {
	m := newMove(t, exactsim.Config{})
	ctx, cancel := context.WithCancelCause(t.Context())
	if err := m.tell(m.here.MoveTo(ctx, &failing{Store: m.files, first: func() { cancel(errBoom) }}, elsewhere)); err == nil {
		t.Fatal("it was moved")
	}
	m.clock.advance(exactLife)
	m.live(m.here)
}

// The login has arrived when the move is cut off, and another user's replaces it there.
// Going on with the move, the copy here is not another login that needs a decision.
func TestMoveIsKilledAndTheLoginReplaced(t *testing.T) {
	m := newMove(t, exactsim.Config{})
	if err := m.move(&steps{at: 2, after: true}); !errors.Is(err, errCrash) {
		t.Fatal(err)
	}
	m.clock.advance(exactLife)
	m.SetAutoApproveUser(bobID)
	if _, err := m.signIn(m.there, exactauth.LoginOptions{Replace: true}); err != nil {
		t.Fatal(err)
	}
	if err := m.move(&steps{}); err != nil {
		t.Fatal(err)
	}
	m.arrived()
}

// failing is a store that fails to save a result, or does not know whether it did.
type failing struct {
	record.Store
	saved, late bool
	first       func() // if set, it is called before anything else
}

func (s *failing) Update(ctx context.Context, name string, change func(context.Context, []byte) ([]byte, error)) error {
	if s.first != nil {
		s.first()
	}
	fault := &tokenstore.Error{Op: "write", Name: "there", Err: errBoom}
	if s.late {
		fault.Kind = tokenstore.Late
	}
	if !s.late {
		return fault
	}
	err := s.Store.Update(ctx, name, func(ctx context.Context, old []byte) ([]byte, error) {
		b, err := change(ctx, old)
		if err == nil && !s.saved {
			err = errBoom
		}
		return b, err
	})
	return errors.Join(fault, err)
}

// During a move, no call here refreshes, signs in, signs out or changes the secret.
// Afterwards each call says where the login is, and only a sign-in with Replace uses this
// store again.
func TestMovedHere(t *testing.T) {
	m := newMove(t, exactsim.Config{})
	if err := m.move(&steps{at: 2}); !errors.Is(err, errCrash) {
		t.Fatal(err)
	}
	calls := func(kind error) {
		t.Helper()
		m.quiet(func() {
			m.refused(m.here, kind)
			if _, err := m.here.Logout(t.Context()); !errors.Is(m.tell(err), kind) {
				t.Errorf("Logout: %v", err)
			}
			if err := m.here.SetClientSecret(t.Context(), fault.NewSecret("xyzXYZ789012"), true); !errors.Is(m.tell(err), kind) {
				t.Errorf("SetClientSecret: %v", err)
			}
			if _, err := m.here.Status(t.Context()); !errors.Is(m.tell(err), kind) {
				t.Errorf("Status: %v", err)
			}
			if _, err := m.signIn(m.here, exactauth.LoginOptions{}); !errors.Is(err, kind) {
				t.Errorf("Login: %v", err)
			}
		})
	}
	before := m.record()
	m.clock.advance(exactLife) // the token would be due
	calls(fault.ErrTemporary)
	if m.record() != before {
		t.Error("the record was changed")
	}
	if err := m.move(&steps{}); err != nil {
		t.Fatal(err)
	}
	before = m.record()
	calls(fault.ErrConfig)
	if m.record() != before {
		t.Error("the record was changed")
	}
	m.arrived()

	m.clock.advance(exactLife)
	m.here.ClientSecret = giveSecret(clientSecret)
	if _, err := m.signIn(m.here, exactauth.LoginOptions{Replace: true}); err != nil {
		t.Fatal(err)
	}
	m.live(m.here)
}

// A login that is in another store, or being moved there, is not moved to a third.
func TestMoveToTwoPlaces(t *testing.T) {
	for at, kind := range []error{fault.ErrConfig, fault.ErrTemporary} {
		t.Run(kind.Error(), func(t *testing.T) {
			m := newMove(t, exactsim.Config{})
			if err := m.move(&steps{at: 2 * at}); (err != nil) != (at > 0) {
				t.Fatal(err)
			}
			third := tokenstore.NewFiles(t.TempDir(), nil)
			if err := m.tell(m.here.MoveTo(t.Context(), third, "postgres://third.test/exact")); !errors.Is(err, kind) {
				t.Errorf("%v; want %v", err, kind)
			}
			if _, err := third.Read(t.Context(), profileName); !errors.Is(err, fs.ErrNotExist) {
				t.Errorf("the third place: %v", err)
			}
			if err := m.move(&steps{}); err != nil {
				t.Fatal(err)
			}
			m.arrived()
		})
	}
}

func TestMoveOfNothing(t *testing.T) {
	w := newWorld(t, exactLife, exactsim.Config{})
	c := w.client()
	files := tokenstore.NewFiles(t.TempDir(), nil)
	for _, f := range []func() error{
		func() error { return c.MoveTo(t.Context(), files, elsewhere) },
		func() error { return c.Moved(t.Context()) },
	} {
		if err := f(); err != nil {
			t.Error(err)
		}
	}
	for _, s := range []record.Store{w.store(), files} {
		if _, err := s.Read(t.Context(), profileName); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("a record was made: %v", err)
		}
	}
	// Without a move, Moved does nothing.
	if err := c.SetClientSecret(t.Context(), fault.NewSecret(clientSecret), true); err != nil {
		t.Fatal(err)
	}
	before := w.record()
	if err := c.Moved(t.Context()); err != nil || w.record() != before {
		t.Errorf("%v", err)
	}
	// A client secret without a login is moved too.
	if err := c.MoveTo(t.Context(), files, elsewhere); err != nil {
		t.Fatal(err)
	}
	if err := c.Moved(t.Context()); err != nil || strings.Contains(w.record(), clientSecret) {
		t.Errorf("%v; left is %s", err, w.record())
	}
	there := w.client()
	there.Store = files
	if _, err := w.signIn(there, exactauth.LoginOptions{}); err != nil {
		t.Error(err)
	}
}

// The login can be moved back.
func TestMoveThereAndBack(t *testing.T) {
	m := newMove(t, exactsim.Config{})
	if err := m.move(&steps{}); err != nil {
		t.Fatal(err)
	}
	m.arrived()
	if err := m.there.MoveTo(t.Context(), m.store(), "this machine's files"); err != nil {
		t.Fatal(err)
	}
	m.oneLives("on its way back")
	if err := m.there.Moved(t.Context()); err != nil {
		t.Fatal(err)
	}
	if here, note := m.look(); note.Generation < here.Generation {
		t.Errorf("the note there has generation %d, less than %d", note.Generation, here.Generation) // a copy of the login would count as later
	}
	m.clock.advance(exactLife)
	m.live(m.here)
	m.refused(m.there, fault.ErrConfig)
}

// Another client's login in the other store is not touched, and the login here still
// works.
func TestMoveOntoAnotherClient(t *testing.T) {
	m := newMove(t, exactsim.Config{})
	theirs := made("22222222-2222-3333-4444-555555555555", m.url, "another", 3, m.clock.now())
	text := string(encoded(t, theirs))
	for _, c := range []struct {
		name string
		kind error
		text string
	}{
		{"another client", fault.ErrConfig, text},
		{"another server", fault.ErrConfig, strings.Replace(text, m.url, "https://start.exactonline.be", 1)},
		{"damaged", fault.ErrRecord, "exactauth"},
		{"sealed", fault.ErrRecord, "age-encryption.org/v1\n"},
	} {
		if err := m.files.Update(t.Context(), profileName, func(context.Context, []byte) ([]byte, error) { return []byte(c.text), nil }); err != nil {
			t.Fatal(err)
		}
		before, _ := record.Decode([]byte(m.record()))
		if err := m.move(&steps{}); !errors.Is(err, c.kind) {
			t.Errorf("%s: %v; want %v", c.name, err, c.kind)
		}
		if b, _ := m.files.Read(t.Context(), profileName); string(b) != c.text {
			t.Errorf("%s: the record there is %s", c.name, b)
		}
		after, err := record.Decode([]byte(m.record()))
		if err != nil {
			t.Fatal(err)
		}
		if after.Revision != before.Revision+2 { // marked, and unmarked
			t.Errorf("%s: revision %d after %d", c.name, after.Revision, before.Revision)
		}
		if after.Revision = before.Revision; !reflect.DeepEqual(after, before) {
			t.Errorf("%s: the record here is %s", c.name, m.record())
		}
	}
	m.clock.advance(exactLife)
	m.live(m.here)

	// A client that is set up there and not signed in does not prevent the move.
	theirs.Tokens = record.Tokens{}
	if err := m.files.Update(t.Context(), profileName, func(context.Context, []byte) ([]byte, error) { return encoded(t, theirs), nil }); err != nil {
		t.Fatal(err)
	}
	if err := m.move(&steps{}); err != nil {
		t.Fatal(err)
	}
	m.arrived()
}

// Both stores have a login of the same client. At Exact the later sign-in has ended the
// earlier login, however often that was refreshed.
func TestMoveOntoALogin(t *testing.T) {
	for _, c := range []struct {
		name        string
		hereIsLater bool
		refreshes   int // of the earlier login, before the later one's sign-in
		after       int // of the later one
	}{
		{"the later one is there", false, 0, 0},
		{"the later one is there, refreshed more often", false, 1, 3},
		{"the later one is there, refreshed less often", false, 5, 1},
		{"the later one is here", true, 0, 0},
		{"the later one is here, refreshed more often", true, 1, 3},
		{"the later one is here, refreshed less often", true, 5, 1},
	} {
		t.Run(c.name, func(t *testing.T) {
			m := newMove(t, exactsim.Config{})
			if err := m.there.SetClientSecret(t.Context(), fault.NewSecret(clientSecret), true); err != nil {
				t.Fatal(err)
			}
			earlier, later := m.here, m.there
			if c.hereIsLater {
				earlier, later = m.there, m.here
				m.clock.advance(exactLife)
				if _, err := m.signIn(earlier, exactauth.LoginOptions{}); err != nil {
					t.Fatal(err)
				}
			}
			for range c.refreshes {
				m.clock.advance(exactLife)
				m.live(earlier)
			}
			m.clock.advance(exactLife)
			if _, err := m.signIn(later, exactauth.LoginOptions{}); err != nil {
				t.Fatal(err)
			}
			for range c.after {
				m.clock.advance(exactLife)
				m.live(later)
			}
			if err := m.move(&steps{}); err != nil {
				t.Fatal(err)
			}
			m.oneLives("moved")
			m.arrived()
		})
	}
}

// A sign-in whose user is unknown does not decide which of two logins is the later one.
func TestMoveWithASignInOfAnUnknownUser(t *testing.T) {
	for _, where := range []string{"here", "there"} {
		t.Run(where, func(t *testing.T) {
			m := newMove(t, exactsim.Config{})
			if err := m.there.SetClientSecret(t.Context(), fault.NewSecret(clientSecret), true); err != nil {
				t.Fatal(err)
			}
			if _, err := m.signIn(m.there, exactauth.LoginOptions{}); err != nil {
				t.Fatal(err)
			}
			crash := m.client()
			crash.Store = &crashing{Store: m.store(), at: 4, before: true}
			if where == "there" {
				m.clock.advance(time.Minute)
				if _, err := m.signIn(m.here, exactauth.LoginOptions{}); err != nil {
					t.Fatal(err)
				}
				crash.Store = &crashing{Store: m.files, at: 4, before: true}
			}
			m.clock.advance(exactLife)
			m.SetAutoApproveUser(bobID)
			if _, err := m.signIn(crash, exactauth.LoginOptions{}); !errors.Is(err, errCrash) {
				t.Fatal(err)
			}
			if err := m.move(&steps{}); !errors.Is(err, fault.ErrTemporary) || !errors.Is(err, exactauth.ErrSaved) {
				t.Errorf("got %v", err)
			}
			for _, c := range []*exactauth.Client{m.here, m.there} { // one of them is settled by it
				m.token(c, exactauth.Want{})
			}
			if err := m.move(&steps{}); err != nil {
				t.Fatal(err)
			}
			m.arrived()
		})
	}
}

// Two users' logins do not end each other, so neither may replace the other.
func TestMoveOntoAnotherUser(t *testing.T) {
	m := newMove(t, exactsim.Config{})
	if err := m.there.SetClientSecret(t.Context(), fault.NewSecret(clientSecret), true); err != nil {
		t.Fatal(err)
	}
	m.SetAutoApproveUser(bobID)
	if _, err := m.signIn(m.there, exactauth.LoginOptions{}); err != nil {
		t.Fatal(err)
	}
	_, before := m.look()
	err := m.move(&steps{})
	if taken := (*exactauth.TakenError)(nil); !errors.Is(err, fault.ErrConfig) || !errors.As(err, &taken) || !strings.Contains(err.Error(), "Bob") || !strings.Contains(err.Error(), "Anna") {
		t.Errorf("%v; want a TakenError", err)
	}
	if _, after := m.look(); !after.SignedIn() || after.Refresh.Reveal() != before.Refresh.Reveal() {
		t.Error("Bob's login is gone")
	}
	m.clock.advance(exactLife)
	m.live(m.here)
	m.live(m.there)
}

// A move that is killed before it looks at the other store, where another user's login is:
// going on with it, as at first, neither login replaces the other.
func TestMoveOntoAnotherUserIsKilled(t *testing.T) {
	for _, after := range []bool{false, true} {
		t.Run(fmt.Sprint("after it ", after), func(t *testing.T) {
			m := newMove(t, exactsim.Config{})
			m.there.ClientSecret = giveSecret(clientSecret)
			m.SetAutoApproveUser(bobID)
			if _, err := m.signIn(m.there, exactauth.LoginOptions{}); err != nil {
				t.Fatal(err)
			}
			m.move(&steps{at: 1, after: after})
			for range 2 {
				if err := m.move(&steps{}); !errors.As(err, new(*exactauth.TakenError)) {
					t.Errorf("%v; want a TakenError", err)
				}
			}
			m.clock.advance(exactLife)
			m.live(m.here)
			m.live(m.there)
		})
	}
}
