package spool_test

import (
	"bytes"
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/exactauth/exactauth/internal/record"
	"github.com/exactauth/exactauth/internal/tokenstore"
	"github.com/exactauth/exactauth/internal/tokenstore/spool"
	"github.com/exactauth/exactauth/internal/tokenstore/storetest"
)

// shared is a store that machines share, and that can go away: before it is called, or
// between a change and its save.
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

func (s *shared) Update(ctx context.Context, name string, change record.Change) error {
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

// longer returns the longer record, which counts as the later one.
func longer(kept, shared []byte) []byte {
	if len(kept) > len(shared) {
		return kept
	}
	return shared
}

// machines returns two machines that share the store s, and the spool of the first.
func machines(t *testing.T) (one, two *spool.Store, s *shared, dir string) {
	s = &shared{Files: tokenstore.NewFiles(t.TempDir(), nil)}
	dir = t.TempDir()
	one = spool.New(s, tokenstore.NewFiles(dir, nil), longer, nil)
	two = spool.New(s, tokenstore.NewFiles(t.TempDir(), nil), longer, nil)
	return one, two, s, dir
}

func set(t *testing.T, s record.Store, text string) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	err := s.Update(ctx, "a", func(context.Context, []byte) ([]byte, error) {
		cancel() // otherwise Update retries for ten seconds
		return []byte(text), nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

// keep sets a text that the shared store does not take.
func keep(t *testing.T, s *shared, one record.Store, text string) {
	t.Helper()
	s.loses = true
	set(t, one, text)
	s.loses = false
}

func has(t *testing.T, machine string, s record.Store, text string) {
	t.Helper()
	if b, err := s.Read(t.Context(), "a"); err != nil || string(b) != text {
		t.Errorf("%s: %q, %v; want %q", machine, b, err, text)
	}
}

// nothingWaits reads what this machine has. Nothing in it waits for the shared store.
func nothingWaits(t *testing.T, dir, want string) {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(dir, "a.kept"))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		t.Fatal(err)
	}
	if waiting, _ := spool.Waiting(b); waiting != nil || want == "" && bytes.Contains(b, []byte("secret")) || want != "" && string(b) != "saved in the shared store\n"+want {
		t.Errorf("%q is on the machine; want %q, saved", b, want)
	}
}

func TestStore(t *testing.T) {
	storetest.Run(t, func(t *testing.T) func() record.Store {
		there, here := t.TempDir(), t.TempDir()
		return func() record.Store {
			return spool.New(tokenstore.NewFiles(there, nil), tokenstore.NewFiles(here, nil), longer, nil)
		}
	})
}

// A read brings the spooled record to the others, which would continue from the old one.
func TestReadSettles(t *testing.T) {
	one, two, s, dir := machines(t)
	set(t, one, "secret 1")
	s.loses = true
	set(t, one, "secret 2.")
	has(t, "one", one, "secret 2.")
	has(t, "two", two, "secret 1")
	s.away = true
	has(t, "one", one, "secret 2.")
	if _, err := two.Read(t.Context(), "a"); !errors.Is(err, errAway) {
		t.Errorf("two: %v", err)
	}
	s.loses, s.away = false, false
	has(t, "one", one, "secret 2.")
	has(t, "two", two, "secret 2.")
	nothingWaits(t, dir, "secret 2.")
}

// An update that changes nothing still brings the spooled record to the shared store.
func TestUnchangedSettles(t *testing.T) {
	one, two, s, dir := machines(t)
	unchanged := func(context.Context, []byte) ([]byte, error) { return nil, record.ErrUnchanged }
	set(t, one, "secret 1")
	keep(t, s, one, "secret 2.")
	if err := one.Update(t.Context(), "a", unchanged); err != nil {
		t.Error(err)
	}
	has(t, "two", two, "secret 2.")
	nothingWaits(t, dir, "secret 2.")
}

// If another machine has changed the record since, the spooled one is dropped.
func TestSpooledTooLate(t *testing.T) {
	one, two, s, dir := machines(t)
	set(t, one, "secret 1")
	keep(t, s, one, "secret 2.")
	set(t, two, "secret 3..")
	has(t, "one", one, "secret 3..")
	set(t, one, "secret 4...")
	has(t, "two", two, "secret 4...")
	nothingWaits(t, dir, "secret 4...")
}

// A read within a change, as in a refresh, does not wait for the Update that runs the
// change.
func TestReadWithinUpdate(t *testing.T) {
	one, _, s, _ := machines(t)
	set(t, one, "secret 1")
	keep(t, s, one, "secret 2.")
	err := one.Update(t.Context(), "a", func(ctx context.Context, old []byte) ([]byte, error) {
		if string(old) != "secret 2." {
			t.Errorf("change was called with %q", old)
		}
		has(t, "one", one, "secret 2.")
		return old, nil
	})
	if err != nil {
		t.Error(err)
	}
}

// unready is a store that answers no read before the caller gives up, as a database without
// free connections does.
type unready struct{ record.Store }

func (unready) Read(ctx context.Context, _ string) ([]byte, error) {
	<-ctx.Done()
	return nil, context.Cause(ctx)
}

// What waits for such a store is read without it.
func TestReadWaitsForTheSharedStoreBriefly(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		one, _, s, dir := machines(t)
		set(t, one, "record")
		keep(t, s, one, "record, changed")
		one = spool.New(unready{s}, tokenstore.NewFiles(dir, nil), longer, nil)
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		if b, err := one.Read(ctx, "a"); string(b) != "record, changed" || ctx.Err() != nil {
			t.Errorf("%q, %v; the caller's time is over: %v", b, err, ctx.Err())
		}
	})
}

func TestSettle(t *testing.T) {
	one, two, s, dir := machines(t)
	if err := one.Settle(t.Context(), "a"); err != nil {
		t.Errorf("no spool: %v", err)
	}
	set(t, one, "secret 1")
	if err := one.Settle(t.Context(), "a"); err != nil {
		t.Errorf("an empty spool: %v", err)
	}
	s.loses = true
	set(t, one, "secret 2.")
	for _, away := range []bool{false, true} { // it stays in the spool
		s.away = away
		if err := one.Settle(t.Context(), "a"); err == nil {
			t.Error("Settle succeeded though the shared store did not take the record")
		}
	}
	has(t, "one", one, "secret 2.")
	s.loses, s.away = false, false
	if err := one.Settle(t.Context(), "a"); err != nil {
		t.Error(err)
	}
	has(t, "two", two, "secret 2.")
	if _, err := os.Stat(filepath.Join(dir, "a.kept")); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("a record is spooled: %v", err)
	}
}

// errFull is the error of a store that cannot save the result of a change.
var errFull = &tokenstore.Error{Op: "write", Name: "kept", Err: errors.New("full"), Kind: tokenstore.Late}

// If neither store takes the record, the error has both reasons, in one line.
func TestSettleNowhere(t *testing.T) {
	one, _, s, dir := machines(t)
	s.loses = true
	set(t, one, "secret 1")
	k := spool.New(s, refusing{tokenstore.NewFiles(dir, nil), errFull}, longer, nil)
	err := k.Settle(t.Context(), "a")
	var fault *tokenstore.Error
	if !errors.As(err, &fault) || err.Error() != "write shared: away; write kept: full" {
		t.Errorf("Settle: %q", err)
	}
	has(t, "one", one, "secret 1")
}

// Settle does not bring back a record that another machine has deleted.
func TestSettleDeleted(t *testing.T) {
	one, two, s, dir := machines(t)
	set(t, two, "secret 1")
	keep(t, s, one, "secret 2, longer")
	if err := s.Delete(t.Context(), "a"); err != nil {
		t.Fatal(err)
	}
	if err := one.Settle(t.Context(), "a"); err != nil {
		t.Errorf("Settle: %v", err)
	}
	nothingWaits(t, dir, "")
}

// A spooled record that another machine has deleted does not come back; a spooled
// record of which the shared store never had one does.
func TestSpooledAndDeleted(t *testing.T) {
	ctx := t.Context()
	one, two, s, _ := machines(t)
	put := func(k *spool.Store, text string) {
		t.Helper()
		hurry, end := context.WithCancel(ctx)
		err := k.Update(hurry, "a", func(context.Context, []byte) ([]byte, error) {
			end() // Update does not retry
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

// watched is a store that another process uses after each deletion.
type watched struct {
	record.Store
	deleted func()
}

func (s watched) Delete(ctx context.Context, name string) error {
	defer s.deleted()
	return s.Store.Delete(ctx, name)
}

// Another process of this machine that reads during a deletion does not bring the
// spooled record back.
func TestReadWithinDelete(t *testing.T) {
	_, two, s, dir := machines(t)
	here := tokenstore.NewFiles(dir, nil)
	other := spool.New(s, here, longer, nil)
	reads := 0
	read := func() {
		reads++
		if _, err := other.Read(t.Context(), "a"); err != nil && !errors.Is(err, fs.ErrNotExist) {
			t.Error(err)
		}
	}
	one := spool.New(watched{s, read}, watched{here, read}, longer, nil)
	keep(t, s, one, "secret spooled alone")
	if err := one.Delete(t.Context(), "a"); err != nil || reads == 0 {
		t.Fatalf("%v, read %d times meanwhile", err, reads)
	}
	for name, k := range map[string]*spool.Store{"one": one, "another process there": other, "two": two} {
		if b, err := k.Read(t.Context(), "a"); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("%s reads %q, %v", name, b, err)
		}
	}
	nothingWaits(t, dir, "")
}

// A deletion that fails keeps the spooled record: the one in the shared store may be
// used up.
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
	has(t, "one", one, "secret 2.")
	has(t, "two", two, "secret 2.")
	if err := one.Delete(t.Context(), "a"); err != nil {
		t.Error(err)
	}
	for name, k := range map[string]*spool.Store{"one": one, "two": two} {
		if b, err := k.Read(t.Context(), "a"); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("%s reads %q, %v", name, b, err)
		}
	}
	nothingWaits(t, dir, "")
}

// A shared store that has lost what it had taken, as a failover can, gets it back: by a
// read, or by the next update, which begins with it.
func TestTakenAndLost(t *testing.T) {
	unchanged := func(context.Context, []byte) ([]byte, error) { return nil, record.ErrUnchanged }
	for name, next := range map[string]func(t *testing.T, one *spool.Store) string{
		"read": func(t *testing.T, one *spool.Store) string {
			has(t, "one", one, "secret 2.")
			return "secret 2."
		},
		"an update without a change": func(t *testing.T, one *spool.Store) string {
			if err := one.Update(t.Context(), "a", unchanged); err != nil {
				t.Error(err)
			}
			return "secret 2."
		},
		"an update": func(t *testing.T, one *spool.Store) string {
			err := one.Update(t.Context(), "a", func(_ context.Context, old []byte) ([]byte, error) {
				return append(bytes.Clone(old), " and 3"...), nil
			})
			if err != nil {
				t.Error(err)
			}
			return "secret 2. and 3"
		},
		"settle": func(t *testing.T, one *spool.Store) string {
			if err := one.Settle(t.Context(), "a"); err != nil {
				t.Error(err)
			}
			return "secret 2."
		},
	} {
		t.Run(name, func(t *testing.T) {
			_, two, s, dir := machines(t)
			var warnings []string
			one := spool.New(s, tokenstore.NewFiles(dir, nil), longer, func(text string) { warnings = append(warnings, text) })
			set(t, one, "secret 1")
			set(t, one, "secret 2.")
			set(t, s, "secret 1") // by the failover
			has(t, "two", two, "secret 1")
			if len(warnings) > 0 {
				t.Errorf("warnings %q", warnings)
			}
			want := next(t, one)
			has(t, "two", two, want)
			has(t, "one", one, want)
			if len(warnings) != 1 || !strings.Contains(warnings[0], "had lost changes of record a") {
				t.Errorf("warnings %q", warnings)
			}
		})
	}
}

// What was taken is not printed while the shared store is away, since other machines may
// have changed it; and it is not brought back where it was deleted.
func TestTakenIsNotAuthority(t *testing.T) {
	one, two, s, dir := machines(t)
	set(t, one, "secret 1")
	s.away = true
	if b, err := one.Read(t.Context(), "a"); !errors.Is(err, errAway) {
		t.Errorf("Read = %q, %v", b, err)
	}
	s.away = false
	if err := two.Delete(t.Context(), "a"); err != nil {
		t.Fatal(err)
	}
	if b, err := one.Read(t.Context(), "a"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("Read of what was deleted = %q, %v", b, err)
	}
	nothingWaits(t, dir, "")
	set(t, one, "secret 1")
	if err := two.Delete(t.Context(), "a"); err != nil {
		t.Fatal(err)
	}
	err := one.Update(t.Context(), "a", func(_ context.Context, old []byte) ([]byte, error) {
		if old != nil {
			t.Errorf("change was called with %q", old)
		}
		return nil, record.ErrUnchanged
	})
	if err != nil {
		t.Error(err)
	}
	nothingWaits(t, dir, "")
}

// What the shared record has made useless does not stay on the machine.
func TestUselessIsDropped(t *testing.T) {
	one, two, _, dir := machines(t)
	one.Drop(func(mine, shared []byte) bool {
		return string(mine) == "secret 1" && bytes.HasPrefix(shared, []byte("ended"))
	})
	set(t, one, "secret 1")
	set(t, two, "other, longer")
	has(t, "one", one, "other, longer")
	nothingWaits(t, dir, "secret 1") // it is no longer of use, but costs a read nothing
	set(t, two, "ended, longer than both")
	has(t, "one", one, "ended, longer than both")
	nothingWaits(t, dir, "")
}

// The shared store has the result, so a copy that cannot be saved is no error.
func TestCopyCannotBeSaved(t *testing.T) {
	one, _, s, dir := machines(t)
	set(t, one, "secret 1")
	k := spool.New(s, refusing{tokenstore.NewFiles(dir, nil), errFull}, longer, nil)
	set(t, k, "secret 2.")
	has(t, "one", one, "secret 2.")
}

// A save that the shared store has refused for sure leaves nothing on the machine: the
// change has failed, and its caller knows.
func TestRefusedSaveIsNotKept(t *testing.T) {
	one, _, s, dir := machines(t)
	set(t, one, "secret 1")
	boom := errors.New("boom")
	for _, failure := range []error{boom, &tokenstore.Error{Kind: tokenstore.Database, Op: "write", Name: "shared", Err: boom}} {
		k := spool.New(refusing{s, failure}, tokenstore.NewFiles(dir, nil), longer, nil)
		err := k.Update(t.Context(), "a", func(context.Context, []byte) ([]byte, error) { return []byte("secret 2."), nil })
		if !errors.Is(err, boom) {
			t.Errorf("Update: %v", err)
		}
		nothingWaits(t, dir, "secret 1")
		has(t, "one", one, "secret 1")
	}
}

// refusing is a store that refuses every result.
type refusing struct {
	record.Store
	why error
}

func (s refusing) Update(ctx context.Context, name string, change record.Change) error {
	return s.Store.Update(ctx, name, func(ctx context.Context, old []byte) ([]byte, error) {
		if _, err := change(ctx, old); err != nil {
			return nil, err
		}
		return nil, s.why
	})
}

// The call whose result the shared store did not take offers it again.
func TestOfferedAgain(t *testing.T) {
	s := &shared{Files: tokenstore.NewFiles(t.TempDir(), nil), loses: true}
	dir := t.TempDir()
	warned := 0
	one := spool.New(s, tokenstore.NewFiles(dir, nil), longer, func(string) {
		warned++
		s.loses = false
	})
	err := one.Update(t.Context(), "a", func(context.Context, []byte) ([]byte, error) { return []byte("secret 1"), nil })
	if err != nil {
		t.Fatal(err)
	}
	has(t, "the shared store", s, "secret 1")
	nothingWaits(t, dir, "secret 1")
	if warned != 1 {
		t.Errorf("%d warnings", warned)
	}
}

// A spooled record is not the later one because it is spooled.
func TestSpooledIsCompared(t *testing.T) {
	one, two, s, dir := machines(t)
	set(t, one, "secret 1")
	keep(t, s, one, "secret 2.")
	set(t, two, "secret 3..")
	err := one.Update(t.Context(), "a", func(_ context.Context, old []byte) ([]byte, error) {
		if string(old) != "secret 3.." {
			t.Errorf("change was called with %q", old)
		}
		return nil, record.ErrUnchanged
	})
	if err != nil {
		t.Error(err)
	}
	has(t, "two", two, "secret 3..")
	nothingWaits(t, dir, "")
}
