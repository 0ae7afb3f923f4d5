//go:build linux

package main

import (
	"context"
	"errors"
	"fmt"
	"math"
	"net/http"
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
	some    = 24                     // on PostgreSQL, where each has a connection or two
	delay   = 300 * time.Millisecond // of the simulator's answers
	allowed = 350 * time.Millisecond // beyond that, for the slowest of a hundred
)

// crowd is one command that many start at once.
type crowd struct {
	name    string
	world   *world
	args    []string
	n       int
	expired bool // else the token lives

	runs      runs
	totals    runs // of each burst
	refreshes []int
}

// load measures many processes at once.
func (b *bench) load() error {
	p := b.programs
	crowds := []*crowd{
		{name: "Go, hello world", args: []string{p.hello}, n: many},
		{name: "live token, as packaged", world: b.world, args: []string{p.packaged, "token"}, n: many},
		{name: "live token, whole program alone", world: b.world, args: []string{p.whole, "token"}, n: many},
		{name: "expired token, as packaged", world: b.world, args: []string{p.packaged, "token"}, n: many, expired: true},
		{name: "expired token, whole program alone", world: b.world, args: []string{p.whole, "token"}, n: many, expired: true},
	}
	shared, close, err := b.sharedWorld()
	var after []string
	switch {
	case errors.Is(err, pgtest.ErrUnavailable):
		after = append(after, "There was no PostgreSQL to run.")
	case err != nil:
		return err
	default:
		defer close()
		crowds = append(crowds,
			&crowd{name: "live token in PostgreSQL", world: shared, args: []string{p.packaged, "token"}, n: some},
			&crowd{name: "expired token in PostgreSQL", world: shared, args: []string{p.packaged, "token"}, n: some, expired: true})
	}
	say("%d bursts of %d crowds", b.bursts, len(crowds))
	for burst := -1; burst < b.bursts; burst++ { // the first does not count
		for _, c := range crowds {
			if err := b.gather(c, burst >= 0); err != nil {
				return fmt.Errorf("%s: %w", c.name, err)
			}
		}
	}

	t := &table{head: []string{"at once", "processes", "failed", "refreshes a burst", "p50 ms", "p99 ms", "slowest ms", "all done ms"}}
	var goals []goal
	for _, c := range crowds {
		walls := make([]float64, len(c.runs))
		for i, o := range c.runs {
			walls[i] = float64(o.wall) / 1e6
		}
		slices.Sort(walls)
		at := func(share float64) string { return fmt.Sprintf("%.0f", walls[rank(share, len(walls))]) }
		refreshes := "-"
		if c.world != nil {
			refreshes = fmt.Sprint(slices.Min(c.refreshes))
			if most := slices.Max(c.refreshes); most != slices.Min(c.refreshes) {
				refreshes += fmt.Sprint(" to ", most)
			}
		}
		t.add(c.name, fmt.Sprint(c.n), fmt.Sprint(c.runs.failed()), refreshes, at(0.5), at(0.99), at(1), fmt.Sprintf("%.0f", c.totals.wall()/1e6))
		if c.expired && c.n == many {
			goals = append(goals, goal{c.name + ", p99 ms", walls[rank(0.99, len(walls))], float64((delay + allowed).Milliseconds()), "%.0f"})
		}
	}
	how := fmt.Sprintf("%d bursts of each after one that does not count; time from each start to its end; the server answers a refresh after %d ms", b.bursts, delay.Milliseconds())
	if err := b.show("load", how, t, after...); err != nil {
		return err
	}
	return b.showGoals("load-goals", how, goals)
}

// rank is the nearest one for a share of n in order.
func rank(share float64, n int) int { return max(0, int(math.Ceil(share*float64(n)))-1) }

// gather runs one burst, and looks at what was printed and asked.
func (b *bench) gather(c *crowd, counts bool) error {
	env := b.world.env()
	var before exactsim.Counters
	var asked int64
	if w := c.world; w != nil {
		env = w.env()
		if c.expired {
			if err := w.expire(); err != nil {
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
	all, total, err := b.measured(env, append([]string{"burst", strconv.Itoa(c.n), out, "--"}, c.args...), 1)
	if err != nil {
		return err
	}
	if counts {
		c.runs = append(c.runs, all[0]...)
		c.totals = append(c.totals, once{wall: total})
	}
	if n := all[0].failed(); n > 0 {
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
	if counts {
		c.refreshes = append(c.refreshes, refreshes)
	}
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
func (b *bench) sharedWorld() (_ *world, close func(), err error) {
	say("starting a PostgreSQL")
	const role, password = "bench", "iK7pB2vQx9"
	cluster, err := pgtest.New(b.dir)
	if err != nil {
		return nil, nil, err
	}
	var w *world
	close = func() {
		if w != nil {
			err := w.close()
			if err != nil && !errors.Is(err, http.ErrServerClosed) {
				say("%v", err)
			}
		}
		if err := cluster.Close(); err != nil {
			say("%v", err)
		}
	}
	defer func() {
		if err != nil {
			close()
		}
	}()
	if err := cluster.Exec("postgres", "CREATE ROLE "+role+" LOGIN PASSWORD '"+password+"'", "CREATE DATABASE bench OWNER "+role); err != nil {
		return nil, nil, err
	}
	passFile := filepath.Join(b.dir, "pgpass")
	if err := os.WriteFile(passFile, []byte("*:*:*:*:"+password+"\n"), 0o600); err != nil {
		return nil, nil, err
	}
	address := cluster.URL(role, "bench") + "?sslmode=disable"
	w, err = newWorld(filepath.Join(b.dir, "shared"), b.programs.whole, "EXACTAUTH_STORE="+address, "PGPASSFILE="+passFile)
	if err != nil {
		return nil, nil, err
	}
	store, err := pgstore.New(address + "&passfile=" + passFile)
	if err != nil {
		return nil, nil, err
	}
	w.alter = func(change func([]byte) ([]byte, error)) error {
		ctx, cancel := patient(b.ctx)
		defer cancel()
		defer store.Close()
		return store.Update(ctx, profile, func(_ context.Context, old []byte) ([]byte, error) { return change(old) })
	}
	return w, close, nil
}
