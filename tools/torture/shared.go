//go:build unix

package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/exactauth/exactauth/internal/tokenstore/pgstore"
	"github.com/exactauth/exactauth/tools/pgtest"
)

// machines is how many share a login with -store postgres.
const machines = 2

// rolePassword is that of every world's role; only this program's own clusters
// have them.
const rolePassword = "iK7pB2vQx9"

// database is where logins are kept with -store postgres.
type database struct {
	calm     *pgtest.Cluster      // all worlds' at once, and never stopped
	spare    chan *pgtest.Cluster // each lent to one round at a time, which may stop it
	all      []*pgtest.Cluster
	passFile string
}

func newDatabase(o options) (_ *database, err error) {
	d := &database{spare: make(chan *pgtest.Cluster, max(1, o.worlds/8-1)), passFile: filepath.Join(o.dir, "pgpass")}
	defer func() {
		if err != nil {
			d.close(io.Discard)
		}
	}()
	err = errors.Join(os.WriteFile(d.passFile, []byte("*:*:*:*:"+rolePassword+"\n"), 0o600),
		os.Chmod(o.dir, 0o711)) // the server may be another account's
	if err != nil {
		return nil, err
	}
	made := make([]*pgtest.Cluster, cap(d.spare)+1)
	errs := make([]error, len(made))
	var all sync.WaitGroup
	for i := range made {
		all.Go(func() {
			if made[i], errs[i] = pgtest.New(o.dir); errs[i] == nil {
				errs[i] = made[i].Exec("postgres", "CREATE DATABASE torture")
			}
		})
	}
	all.Wait()
	for _, c := range made {
		if c != nil {
			d.all = append(d.all, c)
		}
	}
	if err := errors.Join(errs...); err != nil {
		return nil, err
	}
	for _, c := range made[1:] {
		d.spare <- c
	}
	// Each process has two connections, and each world's judge one.
	d.calm = made[0]
	return d, errors.Join(d.calm.Exec("postgres", fmt.Sprintf("ALTER SYSTEM SET max_connections = %d", 100+12*o.worlds)),
		d.calm.Halt(pgtest.Fast), d.calm.Launch())
}

func (d *database) close(errOut io.Writer) {
	for _, c := range d.all {
		if err := c.Close(); err != nil {
			fmt.Fprintln(errOut, "torture:", err)
		}
	}
}

// address is where a world finds its records in a cluster. That they are in a
// schema of its own is because that has the name of its role.
func (d *database) address(c *pgtest.Cluster, role string, tls bool) string {
	mode := "?sslmode=disable"
	if tls {
		mode = "?sslmode=verify-full&sslrootcert=" + c.CAFile()
	}
	return c.URL(role, "torture") + mode
}

// admit makes a role for a world, and its schema.
func (d *database) admit(c *pgtest.Cluster, role string) error {
	return c.Exec("torture", "CREATE ROLE "+role+" LOGIN PASSWORD '"+rolePassword+"'", "CREATE SCHEMA "+role+" AUTHORIZATION "+role)
}

// settleIn has the world's records in a cluster from now on.
func (w *world) settleIn(c *pgtest.Cluster) error {
	if !w.admitted[c] {
		if err := w.db.admit(c, w.role); err != nil {
			return err
		}
		w.admitted[c] = true
	}
	address := w.db.address(c, w.role, w.older)
	to, err := pgstore.New(address + "&passfile=" + w.db.passFile)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	if w.pg != nil { // as it lies there, under its seal
		raw, err := w.pg.Read(ctx, profileName)
		if err == nil {
			err = to.Update(ctx, profileName, func(context.Context, []byte) ([]byte, error) { return raw, nil })
		}
		if err != nil {
			return err
		}
		w.pg.Close()
	}
	w.cluster, w.address, w.pg = c, address, to
	return nil
}

// session is a connection of the world's role, ready to end that role's others.
func (w *world) session() (*pgconn.PgConn, error) {
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	return pgconn.Connect(ctx, w.address+"&passfile="+w.db.passFile)
}

// endSessions ends the sessions that are in a transaction and at nothing just
// now, as the holder's is while it refreshes. It gives their number.
func endSessions(c *pgconn.PgConn) (int, error) {
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	result := c.ExecParams(ctx, `SELECT pg_terminate_backend(pid) FROM pg_stat_activity
		WHERE usename = current_user AND state = 'idle in transaction' AND pid <> pg_backend_pid()`, nil, nil, nil, nil).Read()
	return len(result.Rows), result.Err
}

// disturb plays what the plan has for the database's server. What it gives waits
// until that is over and the server is there again; ended is closed when all calls
// have ended.
func (t *trial) disturb(s *stage, ended <-chan struct{}) (wait func()) {
	var all sync.WaitGroup
	due := func(c cut) bool {
		select {
		case <-s.moment(c.at):
		case <-ended:
			return false
		}
		select {
		case <-time.After(c.after + time.Duration(c.share*float64(t.usual.Load()))):
		case <-ended:
			return false
		}
		return true
	}
	for _, c := range t.cuts {
		session, err := t.session()
		if err != nil {
			t.event("cannot connect to end sessions: %v", err) // the server may be stopped
			continue
		}
		end := func() {
			n, err := endSessions(session)
			t.event("%d sessions ended, %v", n, err)
			if n > 0 {
				t.count("sessions ended that held a record", n)
			}
		}
		if c.at == onArrival && c.after == 0 {
			s.arriving(end) // with the request in the server's hands, not yet looked at
			all.Go(func() { <-ended; session.Close(context.Background()) })
			continue
		}
		all.Go(func() {
			if due(c) {
				end()
			}
			session.Close(context.Background())
		})
	}
	if t.stop != nil {
		halt := func() {
			t.event("stopping the database")
			if err := t.cluster.Halt(t.stop.mode); err != nil {
				t.blame("cannot stop the database: %v", err)
			}
			t.away = time.Now()
			t.event("the database is stopped")
		}
		launch := func() {
			time.Sleep(t.stop.lasts)
			t.back = time.Now()
			t.event("starting the database")
			if err := t.cluster.Launch(); err != nil {
				t.blame("cannot start the database again: %v", err)
				t.abandon = true
			}
			t.event("the database is back")
		}
		switch {
		case t.stop.cut == cut{}: // before the calls begin
			halt()
			all.Go(launch)
		case t.stop.at == onArrival && t.stop.after == 0:
			halted := make(chan struct{})
			s.arriving(func() { halt(); close(halted) })
			all.Go(func() {
				select {
				case <-halted:
				case <-ended:
					t.quiesce() // its handler may still be at it
					select {
					case <-halted:
					default:
						return // no request came
					}
				}
				launch()
			})
		default:
			all.Go(func() {
				if due(t.stop.cut) {
					halt()
					launch()
				}
			})
		}
	}
	return all.Wait
}

// judgeShared judges what only a login that machines share can go wrong with.
func (t *trial) judgeShared() {
	for _, p := range t.all {
		text := p.stderr.String()
		if strings.Contains(text, keptWords) {
			t.count("calls that kept the new tokens on their machine", 1)
		}
		asked := strings.Contains(text, askedWords)
		// Who began and ended while the database was away cannot have made room.
		if asked && !t.away.IsZero() && p.started.After(t.away) && (t.back.IsZero() || p.ended.Before(t.back)) {
			t.blame("%q sent a request while there was no database", strings.Join(p.args, " "))
		}
	}
	if t.stop != nil && t.stop.cut == (cut{}) {
		for _, q := range t.since(t.began) {
			if !q.elsewhere && q.arrived.Before(t.back) {
				t.blame("a request was sent at %s while there was no database", t.at(q.arrived))
			}
		}
	}
	if !t.dies {
		return
	}
	var last time.Time
	for _, p := range t.all {
		for _, s := range p.signals {
			if s.at.After(last) {
				last = s.at
			}
		}
	}
	for _, p := range t.all {
		if over := p.ended.Sub(last); !last.IsZero() && p.machine != 0 && over > 0 {
			slow := time.Duration(0) // of the simulator, which is not counted
			for _, f := range t.faults {
				slow += f.Delay
			}
			t.waited = max(t.waited, over-slow)
			if over-slow > 2*time.Second+4*time.Duration(t.usual.Load()) { // which is more on a busy machine
				t.blame("%q went on only %s after the other machine's processes were killed", strings.Join(p.args, " "), over)
			}
		}
	}
}

const (
	keptWords    = "are kept on this machine"
	askedWords   = "asked the token endpoint"
	awaitedWords = "may still be under way to another machine"
)

// leaks looks for secrets where the database keeps more than the table: in its
// log, and with a seal in all of its files, the write-ahead log among them.
func (d *database) leaks(o options, out io.Writer) (found bool) {
	if d == nil {
		return false
	}
	looked, plain := 0, 0
	for _, c := range d.all {
		_ = filepath.WalkDir(filepath.Dir(c.DataDir()), func(path string, e fs.DirEntry, err error) error {
			if err != nil || !e.Type().IsRegular() {
				return nil
			}
			b, err := os.ReadFile(path)
			if err != nil {
				return nil // it was just removed
			}
			looked++
			if !bytes.Contains(b, []byte(tokenMark)) && !bytes.Contains(b, []byte(clientSecret)) {
				return nil
			}
			plain++
			if o.seal != "none" || filepath.Base(path) == "log" {
				fmt.Fprintf(out, "WRONG: a secret lies open in %s\n", path)
				found = true
			}
			return nil
		})
	}
	fmt.Fprintf(out, "Of %d files of PostgreSQL (log, tables, write-ahead log) %d have a secret in plain.\n", looked, plain)
	if o.seal == "none" && plain == 0 {
		fmt.Fprintln(out, "WRONG: without a seal there should be some; this search finds nothing")
		return true
	}
	return found
}
