//go:build linux

package main

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"strings"

	"github.com/exactauth/exactauth/internal/config"
	"github.com/exactauth/exactauth/internal/exactsim"
	"github.com/exactauth/exactauth/internal/record"
	"github.com/exactauth/exactauth/tools/pgtest"
	"github.com/exactauth/exactauth/tools/program"
)

// steep is the exponent above which a cost is called more than linear. A linear one is
// 1, and measured with some noise.
const steep = 1.3

// growth is what there can be more of. sizes ends with three doublings; what the first
// costs is the cost of the call itself.
type growth struct {
	of     string
	sizes  []int
	rounds int
	calls  []string                     // "" is a refresh
	grow   func(w *world, n int) error  // makes n of them
	crowd  func(w *world, n int) *crowd // calls at once, instead of calls
	world  func(dir string) (*world, error)
}

// scale measures how the cost of a call grows with what there is: with the other
// processes that want the same new token, the machines on one database, the profiles, the
// files beside the record, and the sizes of a record and of a list.
func (b *bench) scale() error {
	shared, stop, err := b.sharedWorld()
	defer stop()
	if err != nil && !errors.Is(err, pgtest.ErrUnavailable) {
		return err
	}
	all := []growth{
		{of: "profiles", sizes: []int{1, 50, 125, 250, 500}, rounds: 7, grow: b.profiles,
			calls: []string{"token", "status", "profiles", "__complete token -p x", "use " + profile}},
		{of: "bytes of a record", sizes: []int{2 << 10, 128 << 10, 256 << 10, 512 << 10, 1 << 20}, rounds: 7, grow: b.long, calls: []string{"token", "status", ""}},
		{of: "files in the state directory", sizes: []int{0, 12_500, 25_000, 50_000, 100_000}, rounds: 7, grow: beside, calls: []string{"token", "status", ""}},
		{of: "divisions", sizes: []int{1, 1_500, 3_000, 6_000, 12_000}, rounds: 5, grow: divisions, calls: []string{"whoami --divisions", "whoami --divisions --json"}},
		{of: "processes at once, expired token", sizes: []int{1, 250, 500, 1_000, 2_000}, rounds: 1, crowd: func(w *world, n int) *crowd {
			return &crowd{name: fmt.Sprintf("%d at once", n), world: w, args: []string{b.packaged, "token"}, n: n, expired: true}
		}},
	}
	if err != nil {
		say("%v", err)
	} else {
		shared.machines = filepath.Join(shared.dir, "state")
		all = append(all, growth{of: "machines on one PostgreSQL row, expired token", sizes: []int{1, 3, 6, 12, 24}, rounds: 7,
			world: func(string) (*world, error) { return shared, nil }, crowd: func(w *world, n int) *crowd {
				return &crowd{name: fmt.Sprintf("%d machines", n), world: w, args: []string{b.packaged, "token"}, n: n, expired: true}
			}})
	}
	t := &table{head: []string{"CPU time in ms", "with", "the first", "1/8", "1/4", "1/2", "the last", "exponent"}}
	worst := 0.0
	for _, g := range all {
		say("%d %s", g.sizes[len(g.sizes)-1], g.of)
		names, costs, err := b.growing(g)
		if err != nil {
			return fmt.Errorf("%s: %w", g.of, err)
		}
		for i, name := range names {
			cells := []string{name, fmt.Sprintf("%d to %d %s", g.sizes[0], g.sizes[len(g.sizes)-1], g.of)}
			for _, cost := range costs[i] {
				cells = append(cells, fmt.Sprintf("%.1f", cost))
			}
			slope := "flat"
			if e, ok := exponent(g.sizes, costs[i]); ok {
				slope, worst = fmt.Sprintf("%.2f", e), max(worst, e)
			}
			t.add(append(cells, slope)...)
		}
	}
	const how = "User and system time, medians of calls in turns with all sizes; of a crowd all of its processes together. " +
		"The exponent is the slope of the logarithms of what a size adds to the first; a cost is flat if the last is less than 1.5 times the first"
	b.show(how, t)
	b.showGoals(how, []goal{{"the largest exponent", worst, steep, "%.2f"}})
	return nil
}

// exponent returns the slope of the logarithms, by least squares, of what the sizes add
// to the cost of the first: 1 is a linear cost and 2 a quadratic one. Additions that are
// no more than noise are left out.
func exponent(sizes []int, costs []float64) (slope float64, ok bool) {
	var xs, ys []float64
	base := costs[0]
	if costs[len(costs)-1] < 1.5*base {
		return 0, false
	}
	x, y := 0.0, 0.0
	for i, cost := range costs {
		if cost > 1.15*base {
			xs, ys = append(xs, math.Log(float64(sizes[i]-sizes[0]))), append(ys, math.Log(cost-base))
			x, y = x+xs[len(xs)-1], y+ys[len(ys)-1]
		}
	}
	if len(xs) < 2 {
		return 0, false
	}
	x, y = x/float64(len(xs)), y/float64(len(xs))
	square := 0.0
	for i := range xs {
		slope += (xs[i] - x) * (ys[i] - y)
		square += (xs[i] - x) * (xs[i] - x)
	}
	return slope / square, true
}

// growing returns what is measured of a growth, and its median at each size.
func (b *bench) growing(g growth) (names []string, costs [][]float64, err error) {
	worlds := make([]*world, len(g.sizes))
	for i, n := range g.sizes {
		if g.world != nil {
			worlds[i], err = g.world("")
		} else {
			dir := filepath.Join(b.dir, "scale", fmt.Sprint(n))
			worlds[i], err = newWorld(b.ctx, dir, b.whole)
			if err == nil {
				defer os.RemoveAll(dir)
				defer worlds[i].close()
			}
		}
		if err == nil && g.grow != nil {
			err = g.grow(worlds[i], n)
		}
		if err != nil {
			return nil, nil, err
		}
	}
	all := make([][]runs, max(len(g.calls), 1)) // of each name, at each size
	for i := range all {
		all[i] = make([]runs, len(g.sizes))
	}
	for _, call := range g.calls {
		names = append(names, cmp.Or(strings.TrimSuffix("`"+call+"`", "``"), "`token`, which refreshes"))
	}
	if g.crowd != nil {
		names = []string{"`token` of all, as packaged"}
	}
	for range g.rounds {
		for at, n := range g.sizes {
			if g.crowd != nil {
				c := g.crowd(worlds[at], n)
				if err := b.burst(c, true); err != nil {
					return nil, nil, err
				}
				var sum once
				for _, o := range c.runs {
					sum.cpu += o.cpu
				}
				all[0][at] = append(all[0][at], sum)
			}
			for i, call := range g.calls {
				o, err := b.costs(worlds[at], call)
				if err != nil {
					return nil, nil, err
				}
				all[i][at] = append(all[i][at], o)
			}
		}
	}
	for i := range names {
		var of []float64
		for _, r := range all[i] {
			of = append(of, r.cpu()/1e6)
		}
		costs = append(costs, of)
	}
	return names, costs, nil
}

// costs is one run of a call, of which an empty one is a refresh.
func (b *bench) costs(w *world, call string) (o once, err error) {
	args := strings.Fields(cmp.Or(call, "token"))
	if call == "" {
		if err := w.expire(b.ctx); err != nil {
			return o, err
		}
	}
	return b.single(w.env(), append([]string{b.packaged}, args...)...)
}

// profiles are n that are signed in.
func (b *bench) profiles(w *world, n int) error {
	file := filepath.Join(w.dir, "config", config.FileName)
	conf, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	rec, err := w.store.Read(b.ctx, profile)
	if err != nil {
		return err
	}
	_, table, ok := bytes.Cut(conf, []byte("[profiles."+profile+"]\n"))
	if !ok {
		return errors.New("the configuration has another form")
	}
	for i := range n - 1 {
		name := fmt.Sprintf("other%d", i)
		conf = fmt.Appendf(conf, "\n[profiles.%s]\n%s", name, table)
		if err := os.WriteFile(filepath.Join(w.dir, "state", name), rec, 0o600); err != nil {
			return err
		}
	}
	return os.WriteFile(file, conf, 0o600)
}

// beside are n files in the state directory that are not the profile's.
func beside(w *world, n int) error {
	for i := range n {
		if err := os.WriteFile(filepath.Join(w.dir, "state", fmt.Sprintf("other%d", i)), nil, 0o600); err != nil {
			return err
		}
	}
	return nil
}

// divisions are n that the user can open.
func divisions(w *world, n int) error {
	anna := exactsim.Anna()
	anna.Divisions = exactsim.Divisions(n)
	w.sim.AddUser(anna)
	return nil
}

// long is a record of about n bytes.
func (b *bench) long(w *world, n int) error {
	return program.Update(b.ctx, w.store, profile, func(r *record.Record) { r.User.FullName = strings.Repeat("x", max(0, n-2<<10)) })
}
