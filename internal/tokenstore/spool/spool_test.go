package spool_test

import (
	"bytes"
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"testing"

	"github.com/exactauth/exactauth/internal/record"
	"github.com/exactauth/exactauth/internal/tokenstore"
	"github.com/exactauth/exactauth/internal/tokenstore/spool"
	"github.com/exactauth/exactauth/internal/tokenstore/storetest"
)

// shared is a store that machines share, and can go away: before anything is
// asked of it, or between a change and its save.
type shared struct {
	*tokenstore.Files
	away, loses bool
}

var errAway = &tokenstore.Error{Kind: tokenstore.Database, Op: "read", Name: "shared", Err: errors.New("away")}

func (s *shared) Read(ctx context.Context, name string) ([]byte, error) {
	if s.away {
		return nil, errAway
	}
	return s.Files.Read(ctx, name)
}

func (s *shared) Update(ctx context.Context, name string, change func(context.Context, []byte) ([]byte, error)) error {
	switch {
	case s.away:
		return errAway
	case s.loses:
		return s.Files.Update(ctx, name, func(ctx context.Context, old []byte) ([]byte, error) {
			if _, err := change(ctx, old); err != nil {
				return nil, err
			}
			return nil, &tokenstore.Error{Op: "write", Name: "shared", Err: errors.New("away"), Kind: tokenstore.Late}
		})
	}
	return s.Files.Update(ctx, name, change)
}

func (s *shared) Delete(ctx context.Context, name string) error {
	if s.away {
		return errAway
	}
	return s.Files.Delete(ctx, name)
}

// further takes the longer record for the later one.
func further(kept, shared []byte) []byte {
	if len(kept) > len(shared) {
		return kept
	}
	return shared
}

// machines are two that share a store, and what the first one keeps.
func machines(t *testing.T) (one, two *spool.Store, s *shared, dir string) {
	s = &shared{Files: tokenstore.NewFiles(t.TempDir(), nil)}
	dir = t.TempDir()
	one = spool.New(s, tokenstore.NewFiles(dir, nil), further, nil)
	two = spool.New(s, tokenstore.NewFiles(t.TempDir(), nil), further, nil)
	return one, two, s, dir
}

func set(t *testing.T, s record.Store, text string) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	err := s.Update(ctx, "a", func(context.Context, []byte) ([]byte, error) {
		cancel() // else Update offers what is kept for ten seconds
		return []byte(text), nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

func has(t *testing.T, who string, s record.Store, text string) {
	t.Helper()
	if b, err := s.Read(t.Context(), "a"); err != nil || string(b) != text {
		t.Errorf("%s: %q, %v; want %q", who, b, err, text)
	}
}

// nothingKept looks for secrets, which all texts here begin with "secret".
func nothingKept(t *testing.T, dir string) {
	t.Helper()
	if b, err := os.ReadFile(filepath.Join(dir, "a.kept")); !errors.Is(err, fs.ErrNotExist) && (err != nil || bytes.Contains(b, []byte("secret"))) {
		t.Errorf("%q is kept, %v", b, err)
	}
}

func TestKeptIsWhole(t *testing.T) {
	storetest.Run(t, func(t *testing.T) func() record.Store {
		there, here := t.TempDir(), t.TempDir()
		return func() record.Store {
			return spool.New(tokenstore.NewFiles(there, nil), tokenstore.NewFiles(here, nil), further, nil)
		}
	})
}

// A read brings what is kept to the others: they would go on from the old record.
func TestReadBringsWhatIsKept(t *testing.T) {
	one, two, s, dir := machines(t)
	set(t, one, "secret 1")
	s.loses = true
	set(t, one, "secret 2.")
	has(t, "the one", one, "secret 2.")
	has(t, "the other", two, "secret 1")
	s.away = true
	has(t, "the one", one, "secret 2.")
	if _, err := two.Read(t.Context(), "a"); !errors.Is(err, errAway) {
		t.Errorf("the other: %v", err)
	}
	s.loses, s.away = false, false
	has(t, "the one", one, "secret 2.")
	has(t, "the other", two, "secret 2.")
	nothingKept(t, dir)
}

// An update that changes nothing still takes up what is kept.
func TestUnchangedTakesUpWhatIsKept(t *testing.T) {
	one, two, s, dir := machines(t)
	unchanged := func(context.Context, []byte) ([]byte, error) { return nil, record.ErrUnchanged }
	set(t, one, "secret 1")
	s.loses = true
	set(t, one, "secret 2.")
	s.loses = false
	if err := one.Update(t.Context(), "a", unchanged); err != nil {
		t.Error(err)
	}
	has(t, "the other", two, "secret 2.")
	nothingKept(t, dir)
}

// What the others have changed since is not undone, and what is kept is no use.
func TestKeptTooLate(t *testing.T) {
	one, two, s, dir := machines(t)
	set(t, one, "secret 1")
	s.loses = true
	set(t, one, "secret 2.")
	s.loses = false
	set(t, two, "secret 3..")
	has(t, "the one", one, "secret 3..")
	set(t, one, "secret 4...")
	has(t, "the other", two, "secret 4...")
	nothingKept(t, dir)
}

// A read in the middle of an Update, as the refresh makes one, does not wait for
// that very Update.
func TestReadWithinUpdate(t *testing.T) {
	one, _, s, _ := machines(t)
	set(t, one, "secret 1")
	s.loses = true
	set(t, one, "secret 2.")
	s.loses = false
	err := one.Update(t.Context(), "a", func(ctx context.Context, old []byte) ([]byte, error) {
		if string(old) != "secret 2." {
			t.Errorf("it begins with %q", old)
		}
		has(t, "the one", one, "secret 2.")
		return old, nil
	})
	if err != nil {
		t.Error(err)
	}
}

func TestSettle(t *testing.T) {
	one, two, s, dir := machines(t)
	if err := one.Settle(t.Context(), "a"); err != nil {
		t.Errorf("nothing at all: %v", err)
	}
	set(t, one, "secret 1")
	if err := one.Settle(t.Context(), "a"); err != nil {
		t.Errorf("nothing is kept: %v", err)
	}
	s.loses = true
	set(t, one, "secret 2.")
	for _, away := range []bool{false, true} { // what cannot be brought there stays
		s.away = away
		if err := one.Settle(t.Context(), "a"); err == nil {
			t.Error("it was brought to where it was not taken")
		}
	}
	has(t, "the one", one, "secret 2.")
	s.loses, s.away = false, false
	if err := one.Settle(t.Context(), "a"); err != nil {
		t.Error(err)
	}
	has(t, "the other", two, "secret 2.")
	if _, err := os.Stat(filepath.Join(dir, "a.kept")); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("something is kept: %v", err)
	}
}

// full is a store that takes nothing of what a change gives.
type full struct{ record.Store }

func (s full) Update(ctx context.Context, name string, change func(context.Context, []byte) ([]byte, error)) error {
	return s.Store.Update(ctx, name, func(ctx context.Context, old []byte) ([]byte, error) {
		if _, err := change(ctx, old); err != nil {
			return nil, err
		}
		return nil, &tokenstore.Error{Op: "write", Name: "kept", Err: errors.New("full"), Kind: tokenstore.Late}
	})
}

// Where neither store takes it, both reasons are told, in one line.
func TestSettleNowhere(t *testing.T) {
	one, _, s, dir := machines(t)
	s.loses = true
	set(t, one, "secret 1")
	k := spool.New(s, full{tokenstore.NewFiles(dir, nil)}, further, nil)
	err := k.Settle(t.Context(), "a")
	var fault *tokenstore.Error
	if !errors.As(err, &fault) || err.Error() != "write shared: away; write kept: full" {
		t.Errorf("Settle: %q", err)
	}
	has(t, "the one", one, "secret 1")
}

// What another machine has deleted is not to be brought anywhere.
func TestSettleWhatIsDeleted(t *testing.T) {
	one, two, s, dir := machines(t)
	set(t, two, "secret 1")
	s.loses = true
	set(t, one, "secret 2, further")
	s.loses = false
	if err := s.Delete(t.Context(), "a"); err != nil {
		t.Fatal(err)
	}
	if err := one.Settle(t.Context(), "a"); err != nil {
		t.Errorf("Settle: %v", err)
	}
	nothingKept(t, dir)
}

// What is kept of a record that another machine deletes meanwhile does not come
// back; what is kept where there never was one does.
func TestKeptOfWhatIsDeleted(t *testing.T) {
	ctx := t.Context()
	one, two, s, _ := machines(t)
	put := func(k *spool.Store, text string) {
		t.Helper()
		hurry, end := context.WithCancel(ctx)
		err := k.Update(hurry, "a", func(context.Context, []byte) ([]byte, error) {
			end() // it is not offered again
			return []byte(text), nil
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	s.loses = true
	put(one, "the first")
	s.loses = false
	if b, err := one.Read(ctx, "a"); err != nil || string(b) != "the first" {
		t.Fatalf("Read = %q, %v", b, err)
	}
	if b, err := two.Read(ctx, "a"); err != nil || string(b) != "the first" {
		t.Fatalf("the other machine reads %q, %v", b, err)
	}

	s.loses = true
	put(one, "the second one")
	s.loses = false
	if err := two.Delete(ctx, "a"); err != nil {
		t.Fatal(err)
	}
	if b, err := one.Read(ctx, "a"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("Read of what was deleted = %q, %v", b, err)
	}
	put(one, "new")
	for name, k := range map[string]*spool.Store{"one": one, "two": two} {
		if b, err := k.Read(ctx, "a"); err != nil || string(b) != "new" {
			t.Errorf("%s reads %q, %v", name, b, err)
		}
	}
}

// watched is a store that another process uses whenever something was deleted.
type watched struct {
	record.Store
	deleted func()
}

func (s watched) Delete(ctx context.Context, name string) error {
	defer s.deleted()
	return s.Store.Delete(ctx, name)
}

// Another process of the machine that reads in the middle of a deletion brings
// nothing back that is kept.
func TestReadWithinDelete(t *testing.T) {
	_, two, s, dir := machines(t)
	here := tokenstore.NewFiles(dir, nil)
	other := spool.New(s, here, further, nil)
	reads := 0
	read := func() {
		reads++
		if _, err := other.Read(t.Context(), "a"); err != nil && !errors.Is(err, fs.ErrNotExist) {
			t.Error(err)
		}
	}
	one := spool.New(watched{s, read}, watched{here, read}, further, nil)
	s.loses = true
	set(t, one, "secret kept alone")
	s.loses = false
	if err := one.Delete(t.Context(), "a"); err != nil || reads == 0 {
		t.Fatalf("%v, read %d times meanwhile", err, reads)
	}
	for who, k := range map[string]*spool.Store{"the one": one, "its other process": other, "the other": two} {
		if b, err := k.Read(t.Context(), "a"); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("%s reads %q, %v", who, b, err)
		}
	}
	nothingKept(t, dir)
}

// A deletion that fails has not thrown away what only this machine knows: what the
// shared store has may be of no use any more.
func TestDeleteWhileAway(t *testing.T) {
	one, two, s, dir := machines(t)
	set(t, one, "secret 1")
	s.loses = true
	set(t, one, "secret 2.")
	s.loses, s.away = false, true
	if err := one.Delete(t.Context(), "a"); !errors.Is(err, errAway) {
		t.Errorf("Delete: %v", err)
	}
	s.away = false
	has(t, "the one", one, "secret 2.")
	has(t, "the other", two, "secret 2.")
	if err := one.Delete(t.Context(), "a"); err != nil {
		t.Error(err)
	}
	for who, k := range map[string]*spool.Store{"the one": one, "the other": two} {
		if b, err := k.Read(t.Context(), "a"); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("%s reads %q, %v", who, b, err)
		}
	}
	nothingKept(t, dir)
}
