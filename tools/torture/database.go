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
	for i := 0; i < max(2, o.worlds/8) && err == nil; i++ {
		var c *pgtest.Cluster
		if c, err = pgtest.New(o.dir); err == nil {
			d.all = append(d.all, c)
			err = c.Exec("postgres", "CREATE DATABASE torture")
		}
	}
	if err == nil { // each process has two connections, and each world's judge has one
		d.calm = d.all[0]
		err = errors.Join(d.calm.Exec("postgres", fmt.Sprintf("ALTER SYSTEM SET max_connections = %d", 100+12*o.worlds)),
			d.calm.Stop(pgtest.Fast), d.calm.Start())
	}
	if err != nil {
		d.close()
		return nil, err
	}
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

// place is where a world's login is in the database.
type place struct {
	db       *database
	role     string // its schema has the same name, so it finds its own table
	tls      bool
	admitted map[*pgtest.Cluster]bool // where the role exists
	cluster  *pgtest.Cluster
	address  string         // EXACTAUTH_STORE
	pg       *pgstore.Store // what the judge reads with
}

func (p *place) close() {
	if p.pg != nil {
		p.pg.Close()
	}
}

// settleIn moves the world's record to a cluster.
func (p *place) settleIn(c *pgtest.Cluster) error {
	if !p.admitted[c] {
		err := c.Exec("torture", "CREATE ROLE "+p.role+" LOGIN PASSWORD '"+rolePassword+"'", "CREATE SCHEMA "+p.role+" AUTHORIZATION "+p.role)
		if err != nil {
			return err
		}
		p.admitted[c] = true
	}
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

// endSessions ends the sessions of a connection's role that are in a transaction and wait
// for the client, as the session of a process that refreshes does. It returns their number.
func endSessions(c *pgconn.PgConn) (int, error) {
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	result := c.ExecParams(ctx, `SELECT pg_terminate_backend(pid) FROM pg_stat_activity
		WHERE usename = current_user AND state = 'idle in transaction' AND pid <> pg_backend_pid()`, nil, nil, nil, nil).Read()
	return len(result.Rows), result.Err
}

// disturb plays what the plan has for the database's server until ended is closed. restored
// waits until that is over and the server is back.
func (t *trial) disturb(s *stage, ended <-chan struct{}) (restored func()) {
	var moments, all sync.WaitGroup
	// at runs f at a moment; with the first request in the server's hands, before the
	// simulator sees it, if that is the moment.
	at := func(m moment, f func()) {
		if m.point == onRequest && m.after == 0 {
			s.first[onRequest] = append(s.first[onRequest], f)
			return
		}
		moments.Go(func() {
			if s.wait(m, ended) {
				f()
			}
		})
	}
	over := func() { // no f runs any more
		<-ended
		moments.Wait()
		t.quiesce()
	}
	for _, m := range t.cuts {
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		session, err := pgconn.Connect(ctx, t.address+"&passfile="+t.db.passFile)
		cancel()
		if err != nil {
			continue // the server may be stopped
		}
		at(m, func() {
			if n, err := endSessions(session); err == nil && n > 0 { // the server may be stopped
				t.did(sessionsEnded)
				t.count(string(sessionsEnded), n)
			}
		})
		all.Go(func() {
			over()
			session.Close(context.Background())
		})
	}
	if t.stop.mode == "" {
		return all.Wait
	}
	stopped := make(chan struct{})
	halt := func() {
		err := t.cluster.Stop(t.stop.mode)
		t.must(databaseStopped, err)
		close(stopped)
	}
	if t.stop.first {
		halt()
	} else {
		at(t.stop.moment, halt)
	}
	all.Go(func() {
		select {
		case <-stopped:
		case <-ended:
			over()
			select {
			case <-stopped:
			default:
				return // its moment did not come
			}
		}
		time.Sleep(t.stop.lasts)
		t.did(databaseStarting)
		err := t.cluster.Start()
		t.must(databaseBack, err)
		t.abandon = t.abandon || err != nil
	})
	return all.Wait
}
