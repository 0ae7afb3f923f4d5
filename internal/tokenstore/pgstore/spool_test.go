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

// longer returns the longer record, which counts as the later one.
func longer(kept, shared []byte) []byte {
	if len(kept) > len(shared) {
		return kept
	}
	return shared
}

func TestSpool(t *testing.T) {
	cluster := pgtest.Start(t)
	storetest.Run(t, func(t *testing.T) func() record.Store {
		address, _ := database(t, cluster)
		dir := t.TempDir()
		return func() record.Store {
			return spool.New(open(t, address), tokenstore.NewFiles(dir, nil), longer, nil)
		}
	})
}

// When the database goes away before the commit, the record is on this machine when
// Update returns, Read returns it, and the next Update brings it to the database.
func TestSpooledUntilTheDatabaseIsBack(t *testing.T) {
	cluster := pgtest.Start(t)
	ctx := t.Context()
	address, _ := database(t, cluster)
	dir := t.TempDir()
	var warnings []string
	machine := func() *spool.Store {
		return spool.New(open(t, address), tokenstore.NewFiles(dir, nil), longer, func(text string) { warnings = append(warnings, text) })
	}
	other := func() *spool.Store {
		return spool.New(open(t, address), tokenstore.NewFiles(t.TempDir(), nil), longer, nil)
	}
	lose := func(s *spool.Store, text string) {
		t.Helper()
		hurry, end := context.WithCancel(ctx)
		err := s.Update(hurry, "a", func(context.Context, []byte) ([]byte, error) {
			pgtest.Check(t, cluster.Stop(pgtest.Immediate))
			end() // otherwise Update retries for ten seconds
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
	pgtest.Check(t, cluster.Start())
	if err := machine().Update(ctx, "a", same); err != nil {
		t.Fatal(err)
	}
	want(t, other(), "a", "first.")

	lose(machine(), "second..")
	pgtest.Check(t, cluster.Start())
	want(t, other(), "a", "first.") // the other machine cannot know of it
	if err := other().Update(ctx, "a", set("theirs!")); err != nil {
		t.Fatal(err)
	}
	want(t, machine(), "a", "second..") // still the later one, which the read brought
	want(t, other(), "a", "second..")   // to the database

	lose(machine(), "third....")
	pgtest.Check(t, cluster.Start())
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
	if len(warnings) != 3 || !strings.Contains(warnings[0], "kept on this machine") {
		t.Errorf("warnings %q", warnings)
	}
}

// If the database is back in time, the same call brings its result there.
func TestSpooledAndCommittedAtOnce(t *testing.T) {
	cluster := pgtest.Start(t)
	address, _ := database(t, cluster)
	s := spool.New(open(t, address), tokenstore.NewFiles(t.TempDir(), nil), longer, func(string) { pgtest.Check(t, cluster.Start()) })
	err := s.Update(t.Context(), "a", func(context.Context, []byte) ([]byte, error) {
		pgtest.Check(t, cluster.Stop(pgtest.Fast))
		return []byte("new"), nil
	})
	if err != nil {
		t.Fatal(err)
	}
	want(t, open(t, address), "a", "new")
}

// Where the spool cannot be written, nothing is changed.
func TestSpoolMustBeWritable(t *testing.T) {
	cluster := pgtest.Start(t)
	address, _ := database(t, cluster)
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	s := spool.New(open(t, address), tokenstore.NewFiles(filepath.Join(file, "state"), nil), longer, nil)
	called := false
	err := s.Update(t.Context(), "a", func(context.Context, []byte) ([]byte, error) { called = true; return []byte("x"), nil })
	var fault *tokenstore.Error
	if called || !errors.As(err, &fault) {
		t.Errorf("Update: %v, change called %v", err, called)
	}
}
