//go:build linux

package main

import (
	"errors"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/exactauth/exactauth/internal/exactsim"
	"github.com/exactauth/exactauth/internal/tokenstore/pgstore"
	"github.com/exactauth/exactauth/tools/pgtest"
)

const (
	many    = 200
	some    = 24                     // with PostgreSQL, where each process has a connection or two
	delay   = 300 * time.Millisecond // of the simulator's answers
	allowed = 350 * time.Millisecond // the goal is a p99 of delay + allowed
)

// crowd is a command that starts many times at once.
type crowd struct {
	name    string
	world   *world
	args    []string
	n       int
	expired bool // the token has expired

	runs      runs
	bursts    runs // each burst as a whole
	refreshes []int
}

// load measures many processes at once.
func (b *bench) load() error {
	crowds := []*crowd{
		{name: "Go, hello world", args: []string{b.hello}, n: many},
		{name: "live token, as packaged", world: b.world, args: []string{b.packaged, "token"}, n: many},
		{name: "live token, whole program alone", world: b.world, args: []string{b.whole, "token"}, n: many},
		{name: "expired token, as packaged", world: b.world, args: []string{b.packaged, "token"}, n: many, expired: true},
		{name: "expired token, whole program alone", world: b.world, args: []string{b.whole, "token"}, n: many, expired: true},
	}
	shared, stop, err := b.sharedWorld()
	defer stop()
	switch {
	case errors.Is(err, pgtest.ErrUnavailable):
		say("%v", err)
	case err != nil:
		return err
	default:
		crowds = append(crowds,
			&crowd{name: "live token in PostgreSQL", world: shared, args: []string{b.packaged, "token"}, n: some},
			&crowd{name: "expired token in PostgreSQL", world: shared, args: []string{b.packaged, "token"}, n: some, expired: true})
	}
	say("%d bursts of %d crowds", b.bursts, len(crowds))
	for burst := -1; burst < b.bursts; burst++ { // the first does not count
		for _, c := range crowds {
			if err := b.burst(c, burst >= 0); err != nil {
				return fmt.Errorf("%s: %w", c.name, err)
			}
		}
	}

	t := &table{head: []string{"at once", "processes", "failed", "refreshes a burst", "p50 ms", "p99 ms", "slowest ms", "all done ms", "CPU ms each"}}
	var goals []goal
	for _, c := range crowds {
		walls, cpu := make([]float64, len(c.runs)), 0.0
		for i, o := range c.runs {
			walls[i] = float64(o.wall) / 1e6
			cpu += float64(o.cpu)
		}
		slices.Sort(walls)
		at := func(share float64) float64 { return walls[max(0, int(math.Ceil(share*float64(len(walls))))-1)] }
		text := func(ms float64) string { return fmt.Sprintf("%.0f", ms) }
		refreshes := "-"
		if c.world != nil {
			refreshes = fmt.Sprint(slices.Max(c.refreshes))
		}
		t.add(c.name, fmt.Sprint(c.n), fmt.Sprint(c.runs.failed()), refreshes, text(at(0.5)), text(at(0.99)), text(at(1)), text(c.bursts.wall()/1e6), fmt.Sprintf("%.1f", cpu/1e6/float64(len(c.runs))))
		if c.expired && c.n == many {
			goals = append(goals, goal{c.name + ", p99 ms", at(0.99), float64((delay + allowed).Milliseconds()), "%.0f"})
		}
	}
	how := fmt.Sprintf("%d bursts of each after one that does not count; time from each start to its end; the server answers a refresh after %d ms", b.bursts, delay.Milliseconds())
	b.show(how, t)
	b.showGoals(how, goals)
	return nil
}

// burst runs one burst and checks what was printed and requested.
func (b *bench) burst(c *crowd, counts bool) error {
	env := b.world.env()
	var before exactsim.Counters
	var asked int64
	if w := c.world; w != nil {
		env = w.env()
		if c.expired {
			if err := w.expire(b.ctx); err != nil {
				return err
			}
		}
		w.sim.ClearFaults()
		w.sim.Inject(exactsim.Fault{On: exactsim.TokenEndpoint, Kind: exactsim.Slow, Delay: delay, Times: -1})
		before, asked = w.sim.Counters(), w.asked.Load()
	}
	out := filepath.Join(b.dir, "out")
	if err := os.WriteFile(out, nil, 0o600); err != nil {
		return err
	}
	all, total, err := b.measured(env, append([]string{strconv.Itoa(c.n), out, "--"}, c.args...))
	if err != nil {
		return err
	}
	if counts {
		c.runs = append(c.runs, all...)
		c.bursts = append(c.bursts, once{wall: total})
	}
	if n := all.failed(); n > 0 {
		b.wrong("%s: %d of %d failed", c.name, n, c.n)
	}
	if c.world == nil {
		return nil
	}
	printed, err := os.ReadFile(out)
	if err != nil {
		return err
	}
	tokens := strings.Fields(string(printed))
	slices.Sort(tokens)
	tokens = slices.Compact(tokens)
	now := c.world.sim.Counters()
	refreshes := now.Refreshes - before.Refreshes
	c.refreshes = append(c.refreshes, refreshes)
	want := 0
	if c.expired {
		want = 1
	}
	if refreshes != want || now.TokenErrors != before.TokenErrors || c.world.asked.Load()-asked != int64(want) {
		b.wrong("%s: %d refreshes, %d errors, %d requests", c.name, refreshes, now.TokenErrors-before.TokenErrors, c.world.asked.Load()-asked)
	}
	if len(tokens) != 1 || !c.world.sim.AccessTokenLive(tokens[0]) {
		b.wrong("%s: %d different tokens, or one that is not live", c.name, len(tokens))
	}
	return nil
}

// sharedWorld is a world with its record in a PostgreSQL of its own.
func (b *bench) sharedWorld() (w *world, stop func(), err error) {
	say("starting a PostgreSQL")
	const role, password = "bench", "iK7pB2vQx9"
	cluster, err := pgtest.New(b.dir)
	if err != nil {
		return nil, func() {}, err
	}
	var store *pgstore.Store
	stop = func() {
		if w != nil {
			w.close()
		}
		if store != nil {
			store.Close()
		}
		if err := cluster.Close(); err != nil {
			say("%v", err)
		}
	}
	passFile := filepath.Join(b.dir, "pgpass")
	address := cluster.URL(role, "bench") + "?sslmode=disable"
	err = errors.Join(os.WriteFile(passFile, []byte("*:*:*:*:"+password+"\n"), 0o600),
		cluster.Exec("postgres", "CREATE ROLE "+role+" LOGIN PASSWORD '"+password+"'", "CREATE DATABASE bench OWNER "+role))
	if err == nil {
		store, err = pgstore.New(address + "&passfile=" + passFile)
	}
	if err != nil {
		return nil, stop, err
	}
	if w, err = newWorld(b.ctx, filepath.Join(b.dir, "shared"), b.whole, "EXACTAUTH_STORE="+address, "PGPASSFILE="+passFile); err == nil {
		w.store = store
	}
	return w, stop, err
}
