// Command years lives through a thousand years of a login in a minute, to find what loses
// it. It runs the real package exactauth in one process against the simulator of Exact
// Online with Exact's real constants, on a clock, a network and stores of its own. Each
// run is a year of one login:
//
//	go run ./tools/years -years 1000 -seed 1
//	go run ./tools/years -seed 1 -run 17 -trace
//
// The seed decides everything, and the same seed gives the same trace, byte for byte: each
// call out of the client (store, request, pause) takes time by a clock that stands still
// while anything runs (testing/synctest), and no two processes wake in the same
// nanosecond. plan.go says what happens in a year, judge.go what is wrong.
package main

import (
	"flag"
	"fmt"
	"io"
	"maps"
	"os"
	"runtime"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

type options struct {
	years int
	seed  uint64
	run   int
	trace bool
	first bool
	steps bool
}

func main() {
	var o options
	f := flag.NewFlagSet("years", flag.ExitOnError)
	f.IntVar(&o.years, "years", 100, "how many years")
	f.Uint64Var(&o.seed, "seed", 1, "seed of everything")
	f.IntVar(&o.run, "run", -1, "only this run")
	f.BoolVar(&o.trace, "trace", false, "print every step")
	f.BoolVar(&o.first, "first", false, "end with the first run that fails")
	f.BoolVar(&o.steps, "orders", false, "try every order of the steps of two processes at one expiry, instead of years")
	_ = f.Parse(os.Args[1:])
	os.Args = os.Args[:1] // the rest is not for package testing
	// A bubble of synctest needs a *testing.T, and this is the way to one outside go test.
	testing.Main(func(string, string) (bool, error) { return true, nil },
		[]testing.InternalTest{{Name: "years", F: func(t *testing.T) { os.Exit(all(t, os.Stdout, o)) }}}, nil, nil)
}

// play runs a plan in a bubble.
func play(t *testing.T, p *plan, tracing bool) (w *world) {
	synctest.Test(t, func(*testing.T) {
		w = newWorld(p, tracing)
		w.run()
	})
	return w
}

// all runs all years and reports.
func all(t *testing.T, out io.Writer, o options) int {
	if o.steps {
		return allOrders(t, out)
	}
	first, last := 0, o.years
	if o.run >= 0 {
		first, last = o.run, o.run+1
	}
	began := time.Now()
	total := tally{lost: map[string]int{}, states: map[uint64]struct{}{}}
	var mu sync.Mutex
	var sum uint64
	failed := map[int]string{}
	next := first
	var workers sync.WaitGroup
	for range runtime.NumCPU() {
		workers.Go(func() {
			for {
				mu.Lock()
				n := next
				next++
				enough := o.first && len(failed) > 0
				mu.Unlock()
				if n >= last || enough {
					return
				}
				w := play(t, draw(o.seed, n), o.trace)
				mu.Lock()
				total.add(w.count)
				sum += w.sum
				if len(w.memory.wrong) > 0 {
					failed[n] = w.memory.wrong[0]
				}
				if o.trace {
					w.print(out, true)
				}
				mu.Unlock()
			}
		})
	}
	workers.Wait()
	took := time.Since(began)
	fmt.Fprintf(out, "seed %d: %d years in %s, %.1f years a second, %d states, trace %016x\n", o.seed, last-first, took.Round(time.Millisecond), float64(last-first)/took.Seconds(), len(total.states), sum)
	fmt.Fprintf(out, "%d calls of token, %d refreshes, %d sign-ins, %d requests, %d troubles\n", total.calls, total.refreshes, total.logins, total.requests, total.troubles)
	for _, reason := range slices.Sorted(maps.Keys(total.lost)) {
		fmt.Fprintf(out, "%7d  %s\n", total.lost[reason], reason)
	}
	for _, n := range slices.Sorted(maps.Keys(failed)) {
		fmt.Fprintf(out, "WRONG in run %d: %s\n", n, failed[n])
	}
	if len(failed) == 0 {
		return 0
	}
	n := slices.Min(slices.Collect(maps.Keys(failed)))
	fmt.Fprintf(out, "The smallest plan that fails as run %d does:\n", n)
	play(t, shrink(t, draw(o.seed, n)), true).print(out, false)
	return 1
}

// allOrders tries every order, and with a death at each step or each answer those with one
// turn out of turn.
func allOrders(t *testing.T, out io.Writer) (code int) {
	for _, lenient := range []bool{false, true} {
		began := time.Now()
		runs, wrong := orders(t, lenient, 1000, 1, out)
		fmt.Fprintf(out, "used tokens dead at once %t: %d orders in %s, %d wrong\n", !lenient, runs, time.Since(began).Round(time.Second), wrong)
		code = max(code, min(wrong, 1))
	}
	return code
}

func (c *tally) add(o tally) {
	c.calls += o.calls
	c.requests += o.requests
	c.refreshes += o.refreshes
	c.troubles += o.troubles
	c.logins += o.logins
	for reason, n := range o.lost {
		c.lost[reason] += n
	}
	maps.Copy(c.states, o.states)
}
