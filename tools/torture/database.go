//go:build linux || windows

package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"time"

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
	for _, m := range t.cuts {
		at(m, func() {
			// As the session of a process that refreshes is. There may be none, or the server may be stopped.
			if t.cluster.Exec("torture", `DO $$ BEGIN
				PERFORM pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = '`+t.role+`' AND state = 'idle in transaction';
				IF NOT FOUND THEN RAISE 'none'; END IF;
			END $$`) == nil {
				t.count("sessions ended that held the record", 1)
			}
		})
	}
	if t.stop.mode != "" {
		at(t.stop.moment, func() {
			err := t.cluster.Stop(t.stop.mode)
			t.must(databaseStopped, err)
			starts.Go(func() {
				time.Sleep(t.stop.lasts)
				t.did(databaseStarting)
				err := t.cluster.Start()
				t.must("database back", err)
				t.abandon = t.abandon || err != nil
			})
		})
	}
	return func() {
		moments.Wait()
		t.quiesce() // a request may have been a moment
		starts.Wait()
	}
}
