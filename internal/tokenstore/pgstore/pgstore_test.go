package pgstore_test

import (
	"context"
	"errors"
	"io/fs"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/exactauth/exactauth/internal/record"
	"github.com/exactauth/exactauth/internal/tokenstore"
	"github.com/exactauth/exactauth/internal/tokenstore/pgstore"
	"github.com/exactauth/exactauth/internal/tokenstore/storetest"
	"github.com/exactauth/exactauth/tools/pgtest"
)

// database makes a database with a role of its own, and returns its URL, which
// contains the password, and its name.
func database(t *testing.T, cluster *pgtest.Cluster) (address, name string) {
	t.Helper()
	role := cluster.NewRole(t)
	name = cluster.NewDatabase(t, role.Name)
	address = strings.Replace(cluster.URL(role.Name, name), "@", ":"+role.Password+"@", 1)
	return address + "?sslmode=require", name
}

func open(t *testing.T, address string) *pgstore.Store {
	t.Helper()
	s, err := pgstore.New(address)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Close)
	return s
}

func set(text string) record.Change {
	return func(context.Context, []byte) ([]byte, error) { return []byte(text), nil }
}

func want(t *testing.T, s interface {
	Read(context.Context, string) ([]byte, error)
}, name, text string) {
	t.Helper()
	if b, err := s.Read(t.Context(), name); err != nil || string(b) != text {
		t.Errorf("Read(%s) = %q, %v; want %q", name, b, err, text)
	}
}

func TestStore(t *testing.T) {
	cluster := pgtest.Start(t)
	storetest.Run(t, func(t *testing.T) func() record.Store {
		address, _ := database(t, cluster)
		return func() record.Store { return open(t, address) }
	})
}

func TestRoles(t *testing.T) {
	cluster := pgtest.Start(t)
	ctx := t.Context()

	t.Run("a role that may not make tables", func(t *testing.T) {
		address, db := database(t, cluster)
		owner := open(t, address)
		clerk := cluster.NewRole(t)
		s := open(t, strings.Replace(cluster.URL(clerk.Name, db), "@", ":"+clerk.Password+"@", 1))
		if _, err := s.Read(ctx, "a"); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("Read without a table: %v", err)
		}
		var failed *tokenstore.Error
		called := false
		err := s.Update(ctx, "a", func(context.Context, []byte) ([]byte, error) { called = true; return []byte("x"), nil })
		if called || !errors.As(err, &failed) || !strings.Contains(err.Error(), "permission denied") {
			t.Errorf("Update: %v, change called %v", err, called)
		}
		if err := owner.Update(ctx, "a", set("1")); err != nil {
			t.Fatal(err)
		}
		pgtest.Check(t, cluster.Exec(db, `GRANT SELECT ON exactauth_records TO `+clerk.Name))
		want(t, s, "a", "1")
		if err := s.Update(ctx, "a", set("2")); err == nil || !strings.Contains(err.Error(), "permission denied") {
			t.Errorf("Update with SELECT only: %v", err)
		}
		pgtest.Check(t, cluster.Exec(db, `GRANT INSERT, UPDATE, DELETE ON exactauth_records TO `+clerk.Name))
		if err := s.Update(ctx, "a", set("2")); err != nil {
			t.Error(err)
		}
		want(t, owner, "a", "2")
	})

	t.Run("a table of another schema", func(t *testing.T) {
		address, db := database(t, cluster)
		role, _, _ := strings.Cut(strings.TrimPrefix(address, "postgres://"), ":")
		pgtest.Check(t, cluster.Exec(db, `CREATE SCHEMA finance AUTHORIZATION `+role))
		s := open(t, address+"&search_path=finance")
		if err := s.Update(ctx, "a", set("1")); err != nil {
			t.Fatal(err)
		}
		want(t, s, "a", "1")
		if _, err := open(t, address).Read(ctx, "a"); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("the public schema has the record, too: %v", err)
		}
	})

	t.Run("a role that may only add", func(t *testing.T) {
		address, db := database(t, cluster)
		s := open(t, address)
		if err := s.Update(ctx, "a", set("1")); err != nil {
			t.Fatal(err)
		}
		// Update finds this out when it makes room, before it calls change.
		pgtest.Check(t, cluster.Exec(db, `REVOKE UPDATE ON exactauth_records FROM PUBLIC, `+roleOf(address)))
		called := false
		err := open(t, address).Update(ctx, "a", func(context.Context, []byte) ([]byte, error) { called = true; return []byte("2"), nil })
		if err == nil || called {
			t.Errorf("Update: %v, change called %v", err, called)
		}
		want(t, s, "a", "1")
	})

	t.Run("a wrong password", func(t *testing.T) {
		address, _ := database(t, cluster)
		password, _, _ := strings.Cut(strings.SplitN(address, ":", 3)[2], "@")
		s := open(t, strings.Replace(address, password, "not-the-password", 1))
		_, err := s.Read(ctx, "a")
		var failed *tokenstore.Error
		if !errors.As(err, &failed) || strings.Contains(err.Error(), "not-the-password") || strings.Contains(err.Error(), "\n") {
			t.Errorf("Read: %q", err)
		}
	})
}

func roleOf(address string) string {
	role, _, _ := strings.Cut(strings.TrimPrefix(address, "postgres://"), ":")
	return role
}

// A commit is flushed even if the server's own settings would lose it in a crash.
func TestCommitIsFlushed(t *testing.T) {
	cluster := pgtest.Start(t)
	pgtest.Check(t, cluster.Exec("postgres", `ALTER SYSTEM SET synchronous_commit = off`, `ALTER SYSTEM SET wal_writer_delay = '10s'`, `SELECT pg_reload_conf()`))
	address, _ := database(t, cluster)
	s := open(t, address)
	for _, text := range []string{"one", "two", "three"} {
		if err := s.Update(t.Context(), "a", set(text)); err != nil {
			t.Fatal(err)
		}
		pgtest.Check(t, cluster.Stop(pgtest.Immediate))
		pgtest.Check(t, cluster.Start())
		want(t, s, "a", text) // on a new connection: the idle one has died
	}
}

// If the database goes away before the call, change is not called; if it goes away
// while change runs, the error is Late, or the result is committed after all.
func TestDatabaseGoesAway(t *testing.T) {
	cluster := pgtest.Start(t)
	ctx := t.Context()

	t.Run("before", func(t *testing.T) {
		address, _ := database(t, cluster)
		s := open(t, address)
		if err := s.Update(ctx, "a", set("old")); err != nil {
			t.Fatal(err)
		}
		pgtest.Check(t, cluster.Stop(pgtest.Fast))
		defer func() { pgtest.Check(t, cluster.Start()) }()
		called := false
		err := s.Update(ctx, "a", func(context.Context, []byte) ([]byte, error) { called = true; return []byte("new"), nil })
		var failed *tokenstore.Error
		if called || !errors.As(err, &failed) || failed.Kind != tokenstore.Database {
			t.Errorf("Update: %v, change called %v", err, called)
		}
		if _, err := s.Read(ctx, "a"); !errors.As(err, &failed) {
			t.Errorf("Read: %v", err)
		}
	})

	for _, mode := range []pgtest.Mode{pgtest.Fast, pgtest.Immediate, pgtest.Crash} {
		t.Run("during", func(t *testing.T) {
			address, _ := database(t, cluster)
			s := open(t, address)
			if err := s.Update(ctx, "a", set("old")); err != nil {
				t.Fatal(err)
			}
			err := s.Update(ctx, "a", func(context.Context, []byte) ([]byte, error) {
				pgtest.Check(t, cluster.Stop(mode))
				return []byte("new"), nil
			})
			stored := "old"
			var failed *tokenstore.Error
			switch {
			case err == nil && mode == pgtest.Crash:
				stored = "new" // the session committed before it noticed
			case !errors.As(err, &failed) || failed.Kind != tokenstore.Late:
				t.Errorf("Update: %v; want a Late error", err)
			}
			pgtest.Check(t, cluster.Start())
			want(t, s, "a", stored)
			if err := s.Update(ctx, "a", set("new")); err != nil {
				t.Error(err)
			}
		})
	}

	t.Run("during, and another machine was faster", func(t *testing.T) {
		address, db := database(t, cluster)
		s := open(t, address)
		if err := s.Update(ctx, "a", set("old")); err != nil {
			t.Fatal(err)
		}
		err := s.Update(ctx, "a", func(context.Context, []byte) ([]byte, error) {
			pgtest.Check(t, cluster.Exec(db, `SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '`+db+`' AND pid <> pg_backend_pid()`))
			if err := open(t, address).Update(ctx, "a", set("theirs")); err != nil {
				t.Error(err)
			}
			return []byte("ours"), nil
		})
		var failed *tokenstore.Error
		if !errors.As(err, &failed) || failed.Kind != tokenstore.Late {
			t.Errorf("Update: %v; want a Late error", err)
		}
		want(t, s, "a", "theirs")
	})
}

// The row is free again as soon as its holder's connection is gone, and the server ends
// the transaction of a client that sends nothing.
func TestLockEnds(t *testing.T) {
	cluster := pgtest.Start(t)
	address, db := database(t, cluster)
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	if err := open(t, address).Update(ctx, "a", set("old")); err != nil {
		t.Fatal(err)
	}
	held := make(chan struct{})
	release := make(chan struct{})
	var holder sync.WaitGroup
	holder.Go(func() {
		_ = open(t, address).Update(ctx, "a", func(context.Context, []byte) ([]byte, error) {
			close(held)
			<-release
			return nil, errors.New("given up")
		})
	})
	<-held
	pgtest.Check(t, cluster.Exec(db, `DO $$ BEGIN
		IF NOT EXISTS (SELECT FROM pg_stat_activity WHERE state = 'idle in transaction' AND application_name = 'exactauth') THEN
			RAISE 'no transaction holds the row';
		END IF;
	END $$`, `SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE state = 'idle in transaction'`))
	if err := open(t, address).Update(ctx, "a", set("new")); err != nil {
		t.Error(err)
	}
	close(release)
	holder.Wait()
	want(t, open(t, address), "a", "new")
}

func TestTooManyConnections(t *testing.T) {
	cluster := pgtest.Start(t)
	address, db := database(t, cluster)
	if err := open(t, address).Update(t.Context(), "n", set("0")); err != nil {
		t.Fatal(err)
	}
	pgtest.Check(t, cluster.Exec(db, `ALTER ROLE `+roleOf(address)+` CONNECTION LIMIT 3`))
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	var all sync.WaitGroup
	for range 12 {
		all.Go(func() {
			s := open(t, address)
			defer s.Close()
			if err := s.Update(ctx, "n", func(_ context.Context, old []byte) ([]byte, error) { return append(old, '.'), nil }); err != nil {
				t.Error(err)
			}
		})
	}
	all.Wait()
	want(t, open(t, address), "n", "0"+strings.Repeat(".", 12))
}

func TestAddresses(t *testing.T) {
	const secret = "hunter2-hunter2"
	for _, c := range []struct{ address, shown, fault string }{
		{"postgres://ann:" + secret + "@db.example:5433/exact?sslmode=verify-full", "postgres://ann@db.example:5433/exact", ""},
		{"postgresql://db/exact?password=" + secret, "postgres://db/exact", ""},
		{"postgres://ann@a:5432,b:5432/exact?target_session_attrs=read-write", "postgres://ann@a:5432,b:5432/exact", ""},
		{"postgres:///exact?host=/run/postgresql", "postgres://%2Frun%2Fpostgresql/exact", ""},
		{"postgres://ann:" + secret + "@db/exact?sslmode=never", "", "sslmode"},
		{"postgres://ann:" + secret + "@db:port/exact", "", "well-formed"},
		{"mysql://ann:" + secret + "@db/exact", "", "postgres://"},
		{"host=db password=" + secret, "", "postgres://"},
	} {
		s, err := pgstore.New(c.address)
		switch {
		case c.fault == "" && (err != nil || s.String() != c.shown):
			t.Errorf("New(%q) = %v, %v; want %s", c.address, s, err, c.shown)
		case c.fault != "" && (err == nil || !strings.Contains(err.Error(), c.fault)):
			t.Errorf("New(%q): %v; want an error about %s", c.address, err, c.fault)
		case err != nil && strings.Contains(err.Error(), secret):
			t.Errorf("the error contains the password: %v", err)
		}
	}
}

// What another role has put into the table does not fill this machine's memory.
func TestLongRowIsNotReadWhole(t *testing.T) {
	cluster := pgtest.Start(t)
	address, name := database(t, cluster)
	s := open(t, address)
	if err := s.Update(t.Context(), "a", set("one")); err != nil {
		t.Fatal(err)
	}
	if err := cluster.Exec(name, `UPDATE exactauth_records SET record = convert_to(repeat('x', 64 << 20), 'UTF8')`); err != nil {
		t.Fatal(err)
	}
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	_, err := s.Read(t.Context(), "a")
	runtime.ReadMemStats(&after)
	if err == nil || !strings.Contains(err.Error(), "it has more than 4194304 bytes") {
		t.Error(err)
	}
	if used := after.TotalAlloc - before.TotalAlloc; used > 32<<20 {
		t.Errorf("reading took %d bytes", used)
	}
	err = s.Update(t.Context(), "a", set("two"))
	if err == nil || !strings.Contains(err.Error(), "it has more than 4194304 bytes") {
		t.Error(err)
	}
}
