package pgstore_test

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/exactauth/exactauth/internal/fault"
	"github.com/exactauth/exactauth/internal/record"
	"github.com/exactauth/exactauth/internal/tokenstore"
	"github.com/exactauth/exactauth/internal/tokenstore/pgstore"
	"github.com/exactauth/exactauth/internal/tokenstore/spool"
	"github.com/exactauth/exactauth/tools/pgtest"
)

// machine is a machine's whole store, with a spool in dir.
func machine(shared *pgstore.Store, dir string) *spool.Store {
	return spool.New(shared, tokenstore.NewFiles(dir, nil), later, nil)
}

// update must succeed.
func update(t *testing.T, s record.Store, change record.Change) {
	t.Helper()
	if err := s.Update(t.Context(), "a", change); err != nil {
		t.Error(err)
	}
}

// same is a change that brings what is kept on the machine to the database.
func same(_ context.Context, old []byte) ([]byte, error) { return old, nil }

// hurried updates the record and does not offer the result again, for which Update takes
// ten seconds.
func hurried(t *testing.T, s *spool.Store, change func() []byte) {
	t.Helper()
	ctx, end := context.WithCancel(t.Context())
	err := s.Update(ctx, "a", func(context.Context, []byte) ([]byte, error) {
		defer end()
		return change(), nil
	})
	if err != nil {
		t.Error(err)
	}
}

// refused checks that an Update fails because of the database, before it runs the change.
func refused(ctx context.Context, t *testing.T, s *spool.Store, says string) {
	t.Helper()
	called := false
	err := s.Update(ctx, "a", func(context.Context, []byte) ([]byte, error) { called = true; return []byte("x"), nil })
	var failed *tokenstore.Error
	if called || !errors.As(err, &failed) || failed.Kind != tokenstore.Database || !strings.Contains(err.Error(), says) {
		t.Errorf("Update: %v, change called %v; want an error that says %q", err, called, says)
	}
}

// kept checks that a result waits on the machine.
func kept(t *testing.T, dir, text string) {
	t.Helper()
	if b, err := os.ReadFile(filepath.Join(dir, "a.kept")); err != nil || !strings.Contains(string(b), text) {
		t.Errorf("kept on the machine: %.40q, %v; want %.40q", b, err, text)
	}
}

// until waits for a condition of the server, which it checks every 10 ms.
func until(t *testing.T, cluster *pgtest.Cluster, condition string) {
	t.Helper()
	pgtest.Check(t, cluster.Exec("postgres", `DO $$ BEGIN
		WHILE NOT (`+condition+`) LOOP PERFORM pg_stat_clear_snapshot(), pg_sleep(0.01); END LOOP;
	END $$`))
}

// configure changes a setting of the server at once.
func configure(t *testing.T, cluster *pgtest.Cluster, name, value string) {
	t.Helper()
	pgtest.Check(t, cluster.Exec("postgres", `ALTER SYSTEM SET `+name+` = '`+value+`'`, `SELECT pg_reload_conf()`))
	until(t, cluster, `current_setting('`+name+`') = '`+value+`'`)
}

// replicated starts a primary and its standby. pair is the address of both.
func replicated(t *testing.T) (primary, standby *pgtest.Cluster, pair, second string) {
	t.Helper()
	primary = pgtest.Start(t)
	address, db := database(t, primary)
	standby = primary.Standby(t)
	host := func(address string) string {
		u, err := url.Parse(address)
		pgtest.Check(t, err)
		return u.Host
	}
	second = via(t, address, host(standby.URL(roleOf(address), db)))
	return primary, standby, via(t, address, host(address)+","+host(second)) + "&target_session_attrs=read-write", second
}

// The primary is killed while a change runs, and a synchronous standby takes its place: the
// result is there when Update returns.
func TestFailover(t *testing.T) {
	t.Parallel()
	primary, standby, pair, second := replicated(t)
	configure(t, primary, "synchronous_standby_names", "*")
	s := machine(open(t, pair), t.TempDir())
	update(t, s, set("1"))
	called := 0
	update(t, s, func(_ context.Context, old []byte) ([]byte, error) {
		called++
		pgtest.Check(t, primary.Stop(pgtest.Crash))
		pgtest.Check(t, standby.Promote())
		configure(t, standby, "synchronous_standby_names", "")
		if string(old) != "1" {
			t.Errorf("the change was called with %q", old)
		}
		return []byte("2"), nil
	})
	if called != 1 {
		t.Errorf("change called %d times", called)
	}
	want(t, open(t, second), "a", "2")
}

// A commit counts once a synchronous standby has it, whatever the role's default is. The
// result of one that does not confirm in time is kept on the machine, and offered again.
// If the standby takes over without having got it, the machine brings it back.
func TestStandbyIsBehind(t *testing.T) {
	t.Parallel()
	primary, standby, pair, second := replicated(t)
	pgtest.Check(t, primary.Exec("postgres", `ALTER ROLE `+roleOf(pair)+` SET synchronous_commit = 'local'`))
	configure(t, primary, "synchronous_standby_names", "*")
	dir := t.TempDir()
	update(t, machine(open(t, pair), dir), set("1"))
	configure(t, standby, "primary_conninfo", "")
	until(t, primary, `NOT EXISTS (SELECT FROM pg_stat_replication)`)
	notes := 0
	update(t, spool.New(open(t, pair), tokenstore.NewFiles(dir, nil), later, func(string) {
		notes++
		kept(t, dir, "2")
		configure(t, primary, "synchronous_standby_names", "")
	}), set("2"))
	if notes != 1 {
		t.Errorf("%d notes that the result is kept on the machine; want 1", notes)
	}
	want(t, open(t, pair), "a", "2")
	update(t, machine(open(t, pair), dir), set("3"))
	pgtest.Check(t, primary.Stop(pgtest.Crash))
	pgtest.Check(t, standby.Promote())
	want(t, open(t, second), "a", "1")
	want(t, machine(open(t, pair), dir), "a", "3")
	update(t, machine(open(t, pair), dir), same)
	want(t, open(t, second), "a", "3")
}

// The server restarts again and again while the processes of a machine change the record:
// each change counts once, and those whose change does not run may fail.
func TestRestarts(t *testing.T) {
	t.Parallel()
	cluster := pgtest.Start(t)
	address, _ := database(t, cluster)
	dir := t.TempDir()
	modes := []pgtest.Mode{pgtest.Fast, pgtest.Immediate, pgtest.Crash, pgtest.Immediate}
	last := 2*len(modes) + 2
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	var mu sync.Mutex
	seen := 0 // the record before the latest change
	started := make(chan error, 1)
	started <- nil
	change := func(_ context.Context, old []byte) ([]byte, error) {
		mu.Lock()
		defer mu.Unlock()
		n, _ := strconv.Atoi(string(old))
		if n >= last {
			return nil, record.ErrUnchanged
		}
		if n != seen {
			t.Errorf("a change was called with %q after %d changes", old, seen)
		}
		seen = n + 1
		if i := n/2 - 1; n%2 == 0 && 0 <= i && i < len(modes) {
			if err := errors.Join(<-started, cluster.Stop(modes[i])); err != nil {
				t.Error(err)
			}
			go func() { started <- cluster.Start() }()
		}
		return fmt.Appendf(nil, "%04d", n+1), nil
	}
	process := func() {
		s := machine(open(t, address), dir)
		for done := false; !done && !t.Failed(); {
			ran := false
			err := s.Update(ctx, "a", func(ctx context.Context, old []byte) (b []byte, err error) {
				b, err = change(ctx, old)
				ran, done = err == nil, err != nil
				return b, err
			})
			if err != nil && (ran || fault.Pause(ctx, 10*time.Millisecond) != nil) {
				t.Errorf("Update: %v; its change ran: %v", err, ran)
			}
		}
	}
	var processes sync.WaitGroup
	for range 3 {
		processes.Go(process)
	}
	processes.Wait()
	pgtest.Check(t, <-started)
	s := machine(open(t, address), dir)
	update(t, s, same)
	want(t, open(t, address), "a", fmt.Sprintf("%04d", last))
}

// All connections are taken, before a change and while it runs.
func TestMaxConnections(t *testing.T) {
	t.Parallel()
	cluster := pgtest.Start(t)
	address, _ := database(t, cluster)
	pgtest.Check(t, cluster.Exec("postgres", `ALTER SYSTEM SET max_connections = 7`, `ALTER SYSTEM SET max_wal_senders = 0`))
	pgtest.Check(t, cluster.Stop(pgtest.Fast))
	pgtest.Check(t, cluster.Start())
	ctx := t.Context()
	take := func() (free func()) {
		t.Helper()
		var taken []*pgconn.PgConn
		for {
			c, err := pgconn.Connect(ctx, address)
			var said *pgconn.PgError
			switch {
			case err == nil:
				taken = append(taken, c)
				continue
			case !errors.As(err, &said) || said.Code != "53300":
				t.Fatal(err)
			}
			return func() {
				for _, c := range taken {
					c.Close(ctx)
				}
			}
		}
	}
	dir := t.TempDir()
	s := machine(open(t, address), dir)
	update(t, s, set("1"))
	free := take()
	short, cancel := context.WithTimeout(ctx, time.Second)
	defer cancel()
	refused(short, t, machine(open(t, address), t.TempDir()), "(53300)")
	free()
	hurried(t, s, func() []byte {
		pgtest.Check(t, cluster.Exec("postgres", `SELECT pg_terminate_backend(pid, 10000) FROM pg_stat_activity WHERE state = 'idle in transaction'`))
		free = take()
		return []byte("2")
	})
	kept(t, dir, "2")
	free()
	update(t, s, same)
	want(t, open(t, address), "a", "2")
}

// The role's own limit for idle transactions is shorter than a refresh: it does not count.
// PgBouncer's does: the result is saved on a new connection.
func TestIdleTransaction(t *testing.T) {
	t.Parallel()
	cluster := pgtest.Start(t)
	address, _ := database(t, cluster)
	pgtest.Check(t, cluster.Exec("postgres", `ALTER ROLE `+roleOf(address)+` SET idle_in_transaction_session_timeout = '100ms'`))
	update(t, open(t, address), func(context.Context, []byte) ([]byte, error) {
		pgtest.Check(t, cluster.Exec("postgres", `SELECT pg_sleep(0.5)`))
		return []byte("1"), nil
	})
	want(t, open(t, address), "a", "1")

	host := cluster.Bouncer(t, "pool_mode = transaction", "idle_transaction_timeout = 1")
	update(t, machine(open(t, via(t, address, host)), t.TempDir()), func(context.Context, []byte) ([]byte, error) {
		until(t, cluster, `NOT EXISTS (SELECT FROM pg_stat_activity WHERE state = 'idle in transaction')`)
		return []byte("2"), nil
	})
	want(t, open(t, address), "a", "2")
}
