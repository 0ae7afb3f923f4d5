//go:build linux

package main

import (
	"bytes"
	"errors"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"strings"

	"github.com/exactauth/exactauth/internal/config"
	"github.com/exactauth/exactauth/internal/record"
	"github.com/exactauth/exactauth/tools/program"
)

// steep is the exponent above which a cost is called more than linear. A linear one is
// at most 1, and measured with some noise.
const steep = 1.3

// scale measures how the cost of a call grows with what there is: with the other
// processes that want the same new token, the profiles, the files beside the record and
// the size of the record. Each is doubled three times.
func (b *bench) scale() error {
	t := &table{head: []string{"CPU time in ms", "with up to", "1/8", "1/4", "1/2", "all", "exponent"}}
	worst := 0.0
	for _, growth := range []struct {
		of   string
		most int
		cost func(w *world, n int) ([]string, []float64, error)
	}{
		{"processes at once, expired token", 2000, b.crowded},
		{"profiles", 500, b.profiles},
		{"files in the state directory", 100_000, b.beside},
		{"bytes of a record", 1 << 20, b.long},
	} {
		say("%d %s", growth.most, growth.of)
		var names []string
		var costs [][]float64 // of each size
		for n := growth.most / 8; n <= growth.most; n *= 2 {
			dir := filepath.Join(b.dir, "scale")
			w, err := newWorld(b.ctx, dir, b.whole)
			if err != nil {
				return err
			}
			var cost []float64
			names, cost, err = growth.cost(w, n)
			w.close()
			if err = errors.Join(err, os.RemoveAll(dir)); err != nil {
				return fmt.Errorf("%d %s: %w", n, growth.of, err)
			}
			costs = append(costs, cost)
		}
		for i, name := range names {
			cells := []string{name, fmt.Sprintf("%d %s", growth.most, growth.of)}
			var of []float64
			for _, cost := range costs {
				of = append(of, cost[i])
				cells = append(cells, fmt.Sprintf("%.1f", cost[i]))
			}
			worst = max(worst, exponent(of))
			t.add(append(cells, fmt.Sprintf("%.2f", exponent(of)))...)
		}
	}
	how := fmt.Sprintf("User and system time, medians of %d calls; of a crowd all of its processes together. The exponent is the slope of the logarithms", scaleRounds)
	b.show(how, t)
	b.showGoals(how, []goal{{"the largest exponent", worst, steep, "%.2f"}})
	return nil
}

// exponent returns the slope of the logarithms, by least squares, of costs at sizes
// that double: 0 is a constant cost, 1 a linear and 2 a quadratic one.
func exponent(costs []float64) float64 {
	var slope, square float64
	for i, cost := range costs {
		x := float64(i) - float64(len(costs)-1)/2
		slope += x * math.Log2(cost)
		square += x * x
	}
	return slope / square
}

const scaleRounds = 7

// crowded starts n processes at once that all want a new token.
func (b *bench) crowded(w *world, n int) ([]string, []float64, error) {
	c := &crowd{name: fmt.Sprintf("%d at once", n), world: w, args: []string{b.packaged, "token"}, n: n, expired: true}
	err := b.burst(c, true)
	cpu := 0.0
	for _, o := range c.runs {
		cpu += float64(o.cpu) / 1e6
	}
	return []string{"`token` of all, as packaged", "until the last has ended (wall)"}, []float64{cpu, c.bursts.wall() / 1e6}, err
}

// profiles are n that are signed in.
func (b *bench) profiles(w *world, n int) ([]string, []float64, error) {
	file := filepath.Join(w.dir, "config", config.FileName)
	conf, err := os.ReadFile(file)
	if err != nil {
		return nil, nil, err
	}
	rec, err := w.store.Read(b.ctx, profile)
	if err != nil {
		return nil, nil, err
	}
	_, table, ok := bytes.Cut(conf, []byte("[profiles."+profile+"]\n"))
	if !ok {
		return nil, nil, errors.New("the configuration has another form")
	}
	for i := range n - 1 {
		name := fmt.Sprintf("other%d", i)
		conf = fmt.Appendf(conf, "\n[profiles.%s]\n%s", name, table)
		if err := os.WriteFile(filepath.Join(w.dir, "state", name), rec, 0o600); err != nil {
			return nil, nil, err
		}
	}
	if err := os.WriteFile(file, conf, 0o600); err != nil {
		return nil, nil, err
	}
	return b.costs(w, "token", "status", "use "+profile)
}

// beside are n files in the state directory that are not the profile's.
func (b *bench) beside(w *world, n int) ([]string, []float64, error) {
	for i := range n {
		if err := os.WriteFile(filepath.Join(w.dir, "state", fmt.Sprintf("other%d", i)), nil, 0o600); err != nil {
			return nil, nil, err
		}
	}
	return b.costs(w, "token", "status", "")
}

// long is a record of about n bytes.
func (b *bench) long(w *world, n int) ([]string, []float64, error) {
	err := program.Update(b.ctx, w.store, profile, func(r *record.Record) { r.User.FullName = strings.Repeat("x", n) })
	if err != nil {
		return nil, nil, err
	}
	return b.costs(w, "token", "status", "")
}

// costs returns the CPU time of calls, of which an empty one is a refresh.
func (b *bench) costs(w *world, calls ...string) (names []string, ms []float64, err error) {
	for _, call := range calls {
		name, program, args := "`"+call+"`", b.packaged, strings.Fields(call)
		if call == "" {
			name, args = "`token`, which refreshes", []string{"token"}
		}
		var all runs
		for range scaleRounds {
			if call == "" {
				if err := w.expire(b.ctx); err != nil {
					return nil, nil, err
				}
			}
			one, _, err := b.measured(w.env(), append([]string{"turns", "1", "0", "1", os.DevNull, "--", program}, args...), 1)
			if err != nil {
				return nil, nil, err
			}
			all = append(all, one[0]...)
		}
		if n := all.failed(); n > 0 {
			return nil, nil, fmt.Errorf("%s failed %d times of %d", call, n, len(all))
		}
		names, ms = append(names, name), append(ms, all.cpu()/1e6)
	}
	return names, ms, nil
}
