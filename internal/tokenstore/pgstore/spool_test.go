package pgstore_test

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/exactauth/exactauth/internal/record"
	"github.com/exactauth/exactauth/internal/tokenstore"
	"github.com/exactauth/exactauth/internal/tokenstore/spool"
	"github.com/exactauth/exactauth/internal/tokenstore/storetest"
	"github.com/exactauth/exactauth/tools/pgtest"
)

// further takes the longer record for the later one.
func further(kept, shared []byte) []byte {
	if len(kept) > len(shared) {
		return kept
	}
	return shared
}

func TestKept(t *testing.T) {
	cluster := pgtest.Start(t)
	storetest.Run(t, func(t *testing.T) func() record.Store {
		address, _ := database(t, cluster)
		dir := t.TempDir()
		return func() record.Store {
			return spool.New(open(t, address), tokenstore.NewFiles(dir, nil), further, nil)
		}
	})
}

// What a database that went away did not take is on this machine when Update
// returns, is read from there, and is in the database after the next Update.
func TestKeptUntilTheDatabaseIsBack(t *testing.T) {
	cluster := pgtest.Start(t)
	ctx := t.Context()
	address, _ := database(t, cluster)
	dir := t.TempDir()
	var told []string
	machine := func() *spool.Store {
		return spool.New(open(t, address), tokenstore.NewFiles(dir, nil), further, func(text string) { told = append(told, text) })
	}
	other := func() *spool.Store {
		return spool.New(open(t, address), tokenstore.NewFiles(t.TempDir(), nil), further, nil)
	}
	same := func(_ context.Context, old []byte) ([]byte, error) { return old, nil }
	lose := func(s *spool.Store, text string) {
		t.Helper()
		hurry, end := context.WithCancel(ctx)
		err := s.Update(hurry, "a", func(context.Context, []byte) ([]byte, error) {
			cluster.Stop(t, pgtest.Immediate)
			end() // else Update offers it for ten seconds more
			return []byte(text), nil
		})
		if err != nil {
			t.Fatal(err)
		}
	}

	lose(machine(), "first.") // a record that the database has never seen
	want(t, machine(), "a", "first.")
	called := false
	err := machine().Update(ctx, "a", func(_ context.Context, old []byte) ([]byte, error) { called = true; return old, nil })
	var fault *tokenstore.Error
	if called || !errors.As(err, &fault) || fault.Kind != tokenstore.Database {
		t.Errorf("Update without a database: %v, change called %v", err, called)
	}
	cluster.Start(t)
	if err := machine().Update(ctx, "a", same); err != nil {
		t.Fatal(err)
	}
	want(t, other(), "a", "first.")

	lose(machine(), "second..")
	cluster.Start(t)
	want(t, other(), "a", "first.") // it does not know better
	if err := other().Update(ctx, "a", set("theirs!")); err != nil {
		t.Fatal(err)
	}
	want(t, machine(), "a", "second..") // still the later one, and now it is
	want(t, other(), "a", "second..")   // for all to see

	lose(machine(), "third....")
	cluster.Start(t)
	if err := other().Update(ctx, "a", set("their later one")); err != nil {
		t.Fatal(err)
	}
	want(t, machine(), "a", "their later one")
	if err := machine().Update(ctx, "a", same); err != nil {
		t.Fatal(err)
	}
	want(t, other(), "a", "their later one")
	if left, err := os.ReadFile(filepath.Join(dir, "a.kept")); err != nil || strings.Contains(string(left), "third") {
		t.Errorf("%q is left on the machine, %v", left, err)
	}
	if len(told) != 3 || !strings.Contains(told[0], "kept on this machine") {
		t.Errorf("told %q", told)
	}
}

// The database is back in time: the call itself sees to it that all machines
// have its result.
func TestKeptAndTakenUpAtOnce(t *testing.T) {
	cluster := pgtest.Start(t)
	address, _ := database(t, cluster)
	s := spool.New(open(t, address), tokenstore.NewFiles(t.TempDir(), nil), further, func(string) { cluster.Start(t) })
	err := s.Update(t.Context(), "a", func(context.Context, []byte) ([]byte, error) {
		cluster.Stop(t, pgtest.Fast)
		return []byte("new"), nil
	})
	if err != nil {
		t.Fatal(err)
	}
	want(t, open(t, address), "a", "new")
}

// Without a place to keep a result nothing is changed.
func TestKeptNeedsAPlace(t *testing.T) {
	cluster := pgtest.Start(t)
	address, _ := database(t, cluster)
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	s := spool.New(open(t, address), tokenstore.NewFiles(filepath.Join(file, "state"), nil), further, nil)
	called := false
	err := s.Update(t.Context(), "a", func(context.Context, []byte) ([]byte, error) { called = true; return []byte("x"), nil })
	var fault *tokenstore.Error
	if called || !errors.As(err, &fault) {
		t.Errorf("Update: %v, change called %v", err, called)
	}
}
