//go:build linux

package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/exactauth/exactauth/internal/exactsim"
	"github.com/exactauth/exactauth/internal/tokenstore/pgstore"
	"github.com/exactauth/exactauth/tools/pgtest"
)

// machines is how many machines share a login with -store postgres.
const machines = 2

// rolePassword is the password of every world's role, in clusters of this program only.
const rolePassword = "iK7pB2vQx9"

// database is where the logins are with -store postgres.
type database struct {
	calm     *pgtest.Cluster      // every world's, and never stopped
	spare    chan *pgtest.Cluster // each lent to one round at a time, which may stop it
	all      []*pgtest.Cluster
	passFile string
}

func newDatabase(o options) (*database, error) {
	d := &database{passFile: filepath.Join(o.dir, "pgpass")}
	err := errors.Join(os.WriteFile(d.passFile, []byte("*:*:*:*:"+rolePassword+"\n"), 0o600),
		os.Chmod(o.dir, 0o711)) // the server may run as another account
	var roles []string // each has a schema of its name, so it finds its own table
	for i := range o.worlds {
		roles = append(roles, fmt.Sprintf("CREATE ROLE %s LOGIN PASSWORD '%s'; CREATE SCHEMA AUTHORIZATION %[1]s", role(i), rolePassword))
	}
	for i := 0; i < max(2, o.worlds/8) && err == nil; i++ {
		var c *pgtest.Cluster
		// Each process has two connections, and each world's judge has one.
		if c, err = pgtest.New(o.dir, fmt.Sprintf("max_connections = %d", 100+12*o.worlds)); err == nil {
			d.all = append(d.all, c)
			err = errors.Join(c.Exec("postgres", "CREATE DATABASE torture"), c.Exec("torture", roles...))
		}
	}
	if err != nil {
		d.close()
		return nil, err
	}
	d.calm = d.all[0]
	d.spare = make(chan *pgtest.Cluster, len(d.all)-1)
	for _, c := range d.all[1:] {
		d.spare <- c
	}
	return d, nil
}

func (d *database) close() {
	for _, c := range d.all {
		if err := c.Close(); err != nil {
			fmt.Fprintln(os.Stderr, "torture:", err)
		}
	}
}

// leaks looks for secrets in the database's log and, with a seal, in all of its files,
// the write-ahead log among them.
func (d *database) leaks(sealed bool) (found bool) {
	looked, plain := 0, 0
	for _, c := range d.all {
		_ = filepath.WalkDir(c.Dir, func(path string, e fs.DirEntry, err error) error {
			if err != nil || !e.Type().IsRegular() {
				return nil
			}
			b, err := os.ReadFile(path)
			if err != nil {
				return nil // it was just removed
			}
			looked++
			if hasSecret(b) {
				plain++
				if sealed || filepath.Base(path) == "log" {
					fmt.Printf("WRONG: a secret in plain in %s\n", path)
					found = true
				}
			}
			return nil
		})
	}
	fmt.Printf("Of %d files of PostgreSQL (log, tables, write-ahead log) %d have a secret in plain.\n", looked, plain)
	if !sealed && plain == 0 {
		fmt.Println("WRONG: without a seal some must have one; this search finds nothing")
		return true
	}
	return found
}

// hasSecret reports whether there is a token or the client secret in b.
func hasSecret(b []byte) bool {
	return bytes.Contains(b, []byte(tokenMark)) || bytes.Contains(b, []byte(exactsim.ClientSecret))
}

// role is the name of a world's role.
func role(world int) string { return fmt.Sprintf("world%d", world) }

// place is where a world's login is in the database.
type place struct {
	db      *database
	role    string
	tls     bool
	cluster *pgtest.Cluster
	address string         // EXACTAUTH_STORE
	pg      *pgstore.Store // what the judge reads with
}

func (p *place) close() {
	if p.pg != nil {
		p.pg.Close()
	}
}

// settleIn moves the world's record to a cluster.
func (p *place) settleIn(c *pgtest.Cluster) error {
	address := c.URL(p.role, "torture") + "?sslmode=disable"
	if p.tls {
		address = c.URL(p.role, "torture") + "?sslmode=verify-full&sslrootcert=" + c.CAFile()
	}
	to, err := pgstore.New(address + "&passfile=" + p.db.passFile)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	if p.pg != nil { // the bytes as they are, sealed or not
		raw, err := p.pg.Read(ctx, profileName)
		if err == nil {
			err = to.Update(ctx, profileName, func(context.Context, []byte) ([]byte, error) { return raw, nil })
		}
		if err != nil {
			return err
		}
		p.pg.Close()
	}
	p.cluster, p.address, p.pg = c, address, to
	return nil
}

// ask returns the first column of what a query finds among the sessions of the
// connection's own role, without this one.
func ask(c *pgconn.PgConn, column, where string) (found []string, err error) {
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	result := c.ExecParams(ctx, "SELECT "+column+" FROM pg_stat_activity WHERE usename = current_user AND pid <> pg_backend_pid() AND "+where, nil, nil, nil, nil).Read()
	for _, row := range result.Rows {
		found = append(found, string(row[0]))
	}
	return found, result.Err
}

// watch measures until ended is closed how long a transaction outlives its process: for
// that time a machine that died can hold the row. A slow answer makes it no longer.
func (t *trial) watch(session *pgconn.PgConn, ended <-chan struct{}) {
	orphaned := map[string]time.Time{}
	for {
		asked := time.Now()
		ports, _ := ask(session, "client_port", "xact_start IS NOT NULL")
		for _, port := range ports {
			if t.sender("127.0.0.1:"+port) != nil {
				continue
			}
			if since, known := orphaned[port]; known {
				t.held = max(t.held, asked.Sub(since))
			} else {
				orphaned[port] = time.Now()
			}
		}
		select {
		case <-time.After(life / 100):
		case <-ended:
			return
		}
	}
}

// disturb plays what the plan has for the database's server until ended is closed. After
// that restored waits until it is over and the server is back.
func (t *trial) disturb(s *stage, ended <-chan struct{}) (restored func()) {
	var moments, starts sync.WaitGroup
	// at runs f at a moment. With the first request that is before the simulator sees it.
	at := func(m moment, f func()) {
		if m.after == 0 {
			s.first[m.point] = append(s.first[m.point], f)
			return
		}
		moments.Go(func() {
			if s.wait(m, ended) {
				f()
			}
		})
	}
	var sessions []*pgconn.PgConn
	session := func() *pgconn.PgConn {
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		defer cancel()
		c, err := pgconn.Connect(ctx, t.address+"&passfile="+t.db.passFile)
		if err == nil {
			sessions = append(sessions, c)
		} else {
			t.blame("cannot connect to the database: %v", err)
		}
		return c
	}
	for _, m := range t.cuts {
		if c := session(); c != nil {
			at(m, func() {
				// As the session of a process that refreshes is.
				cut, err := ask(c, "pg_terminate_backend(pid)", "state = 'idle in transaction'")
				if err == nil && len(cut) > 0 { // the server may be stopped
					t.did(sessionsEnded)
					t.count(string(sessionsEnded), len(cut))
				}
			})
		}
	}
	if t.dies {
		if c := session(); c != nil {
			moments.Go(func() { t.watch(c, ended) })
		}
	}
	if t.stop.mode != "" {
		at(t.stop.moment, func() {
			err := t.cluster.Stop(t.stop.mode)
			t.must(databaseStopped, err)
			starts.Go(func() {
				time.Sleep(t.stop.lasts)
				t.did(databaseStarting)
				err := t.cluster.Start()
				t.must(databaseBack, err)
				t.abandon = t.abandon || err != nil
			})
		})
	}
	return func() {
		moments.Wait()
		t.quiesce() // a request may have been a moment
		starts.Wait()
		for _, c := range sessions {
			c.Close(context.Background())
		}
	}
}
