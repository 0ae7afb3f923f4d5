package pgstore_test

import (
	"context"
	"errors"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/exactauth/exactauth/internal/record"
	"github.com/exactauth/exactauth/internal/tokenstore"
	"github.com/exactauth/exactauth/internal/tokenstore/spool"
	"github.com/exactauth/exactauth/internal/tokenstore/storetest"
	"github.com/exactauth/exactauth/tools/pgtest"
)

// via returns the address with another host.
func via(t *testing.T, address, host string) string {
	t.Helper()
	u, err := url.Parse(address)
	if err != nil {
		t.Fatal(err)
	}
	u.Host = host
	return u.String()
}

// hold updates the record and returns while the change runs. let ends the change.
func hold(t *testing.T, s record.Store, text string) (let func()) {
	t.Helper()
	held, release := make(chan struct{}), make(chan struct{})
	done := make(chan error, 1)
	go func() {
		done <- s.Update(t.Context(), "a", func(context.Context, []byte) ([]byte, error) {
			close(held)
			<-release
			return []byte(text), nil
		})
	}()
	select {
	case <-held:
	case err := <-done:
		t.Fatalf("Update ended before its change ran: %v", err)
	}
	return func() {
		close(release)
		if err := <-done; err != nil {
			t.Error(err)
		}
	}
}

// Through PgBouncer a machine's store does what every store does.
func TestPgBouncer(t *testing.T) {
	cluster := pgtest.Start(t)
	for _, mode := range []string{"session", "transaction"} {
		t.Run(mode, func(t *testing.T) {
			host := cluster.Bouncer(t, "pool_mode = "+mode)
			storetest.Run(t, func(t *testing.T) func() record.Store {
				address, _ := database(t, cluster)
				dir := t.TempDir()
				return func() record.Store {
					return spool.New(open(t, via(t, address, host)), tokenstore.NewFiles(dir, nil), longer, nil)
				}
			})
		})
	}
}

func TestPgBouncerSettings(t *testing.T) {
	cluster := pgtest.Start(t)
	ctx := t.Context()

	// The next client has the connection with the limits of its own role.
	t.Run("one connection for all", func(t *testing.T) {
		address, db := database(t, cluster)
		pgtest.Check(t, cluster.Exec(db, `ALTER ROLE `+roleOf(address)+` SET lock_timeout = '7s'`, `ALTER ROLE `+roleOf(address)+` SET synchronous_commit = off`))
		address = via(t, address, cluster.Bouncer(t, "pool_mode = transaction", "default_pool_size = 1"))
		s := open(t, address)
		if err := s.Update(ctx, "a", set("1")); err != nil {
			t.Fatal(err)
		}
		c, err := pgconn.Connect(ctx, address)
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close(ctx)
		got, err := c.Exec(ctx, `SELECT current_setting('lock_timeout'), current_setting('statement_timeout'),
			current_setting('idle_in_transaction_session_timeout'), current_setting('synchronous_commit')`).ReadAll()
		if err != nil {
			t.Fatal(err)
		}
		for i, want := range []string{"7s", "0", "0", "off"} {
			if text := string(got[0].Rows[0][i]); text != want {
				t.Errorf("setting %d is %s for the next client; want %s", i, text, want)
			}
		}

		// While one client has it, the others wait, and do not blame a lock.
		let := hold(t, s, "2")
		short, cancel := context.WithTimeout(ctx, 300*time.Millisecond)
		defer cancel()
		other := open(t, address)
		var failed *tokenstore.Error
		err = other.Update(short, "a", set("not now"))
		if !errors.As(err, &failed) || failed.Kind != tokenstore.Database || !strings.Contains(err.Error(), "did not answer in time") {
			t.Errorf("Update without a connection to the server: %v", err)
		}
		var all sync.WaitGroup
		all.Go(func() { want(t, other, "a", "2") })
		let()
		all.Wait()
	})

	for name, c := range map[string]struct{ setting, query, says string }{
		"statement pooling":          {"pool_mode = statement", "", "not allowed in statement pooling mode"},
		"a schema, which it refuses": {"pool_mode = transaction", "&search_path=finance", "unsupported startup parameter: search_path"},
	} {
		t.Run(name, func(t *testing.T) {
			address, _ := database(t, cluster)
			s := open(t, via(t, address, cluster.Bouncer(t, c.setting))+c.query)
			called := false
			err := s.Update(ctx, "a", func(context.Context, []byte) ([]byte, error) { called = true; return []byte("x"), nil })
			var failed *tokenstore.Error
			if called || !errors.As(err, &failed) || failed.Kind != tokenstore.Database || !strings.Contains(err.Error(), c.says) {
				t.Errorf("Update: %v, change called %v; want an error that says %q", err, called, c.says)
			}
		})
	}

	// PgBouncer refuses clients for a while after the server is back.
	t.Run("the server was away", func(t *testing.T) {
		address, _ := database(t, cluster)
		address = via(t, address, cluster.Bouncer(t, "pool_mode = transaction", "server_login_retry = 2"))
		if err := open(t, address).Update(ctx, "a", set("1")); err != nil {
			t.Fatal(err)
		}
		pgtest.Check(t, cluster.Stop(pgtest.Fast))
		var said *pgconn.PgError
		for said == nil || !strings.Contains(said.Message, "server_login_retry") { // until it has noticed
			c, err := pgconn.Connect(ctx, address+"&connect_timeout=1")
			if err == nil {
				c.Close(ctx)
			}
			errors.As(err, &said)
		}
		pgtest.Check(t, cluster.Start())
		want(t, open(t, address), "a", "1")
	})
}

// A client that ends a wait sends no cancel request, for which it would connect once
// more: some versions of PgBouncer end themselves then.
func TestNoCancelRequest(t *testing.T) {
	cluster := pgtest.Start(t)
	address, _ := database(t, cluster)
	if err := open(t, address).Update(t.Context(), "a", set("old")); err != nil {
		t.Fatal(err)
	}
	let := hold(t, open(t, address), "new")
	r := newRelay(t, address, [2]int64{})
	waiting, giveUp := context.WithCancelCause(t.Context())
	enough := errors.New("enough")
	ended := make(chan error)
	go func() { ended <- open(t, r.address).Update(waiting, "a", set("not this")) }()
	until(t, cluster, `EXISTS (SELECT FROM pg_stat_activity WHERE wait_event_type = 'Lock')`)
	giveUp(enough)
	if err := <-ended; err != enough {
		t.Errorf("Update: %v; want the cause", err)
	}
	let() // the driver ends its connection once the server has answered
	<-r.closed
	if n := r.connections.Load(); n != 1 {
		t.Errorf("%d connections; want 1", n)
	}
	want(t, open(t, address), "a", "new")
}
