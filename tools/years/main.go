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
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"text/tabwriter"
	"time"
)

type options struct {
	years  int
	seed   uint64
	run    int
	trace  bool
	orders bool
}

func main() {
	var o options
	flag.IntVar(&o.years, "years", 100, "how many years")
	flag.Uint64Var(&o.seed, "seed", 1, "seed of everything")
	flag.IntVar(&o.run, "run", -1, "only this run")
	flag.BoolVar(&o.trace, "trace", false, "print every step")
	flag.BoolVar(&o.orders, "orders", false, "try every order of the steps of two processes at one expiry, instead of years")
	flag.Parse()
	os.Args = os.Args[:1] // the rest is not for package testing
	// A bubble of synctest needs a *testing.T, and this is the way to one outside go test.
	testing.Main(func(string, string) (bool, error) { return true, nil },
		[]testing.InternalTest{{Name: "years", F: func(t *testing.T) { os.Exit(all(t, os.Stdout, o)) }}}, nil, nil)
}

func play(t *testing.T, p *plan, tracing bool, run func(*world)) (w *world) {
	synctest.Test(t, func(*testing.T) {
		w = newWorld(p)
		if tracing {
			w.log = []entry{}
		}
		run(w)
	})
	return w
}

func all(t *testing.T, out io.Writer, o options) (code int) {
	if o.orders {
		for _, lenient := range []bool{false, true} {
			_, wrong := orders(t, lenient, 3, 2, out)
			code = max(code, min(wrong, 1))
		}
		return code
	}
	next, last := 0, o.years
	if o.run >= 0 {
		next, last = o.run, o.run+1
	}
	began, years := time.Now(), last-next
	total, failed, trace := newMemory(), map[int][]string{}, uint64(0)
	var mu sync.Mutex
	var workers sync.WaitGroup
	for range runtime.NumCPU() {
		workers.Go(func() {
			mu.Lock()
			defer mu.Unlock()
			for next < last {
				n := next
				next++
				mu.Unlock()
				w := play(t, draw(o.seed, n), o.trace, (*world).run)
				mu.Lock()
				for what, n := range w.count {
					total.count[what] += n
				}
				maps.Copy(total.states, w.states)
				trace += w.sum.Sum64()
				if !w.fine() {
					failed[n] = w.wrong
				}
				if o.trace {
					w.print(out, true)
				}
			}
		})
	}
	workers.Wait()
	took := time.Since(began)
	fmt.Fprintf(out, "seed %d: %d years in %s, %.1f years a second, %d states, trace %016x\n", o.seed, years, took.Round(time.Millisecond), float64(years)/took.Seconds(), len(total.states), trace)
	for _, what := range slices.Sorted(maps.Keys(total.count)) {
		fmt.Fprintf(out, "%9d  %s\n", total.count[what], what)
	}
	numbers := slices.Sorted(maps.Keys(failed))
	for i, n := range numbers {
		fmt.Fprintf(out, "WRONG in run %d: %s: %s\n", n, failed[n][0], failed[n][1])
		if i == len(numbers)-1 {
			fmt.Fprintf(out, "The smallest plan that fails as run %d does:\n", numbers[0])
			play(t, shrink(t, draw(o.seed, numbers[0])), true, (*world).run).print(out, false)
		}
	}
	return min(len(failed), 1)
}

type entry struct {
	at          time.Time
	p           *process // nil: the world
	step, event string   // event is "" if nothing special happens
}

// shrink leaves out of a plan what its failure does not need: whatever comes after it, most
// of what comes before, event by event. A smaller plan must break the same rule.
func shrink(t *testing.T, p *plan) *plan {
	w := play(t, p, false, (*world).run)
	for tries, smaller := 400, true; smaller && tries > 0; {
		smaller = false
		for _, q := range p.smaller(w.failed) {
			if tries--; tries == 0 {
				break
			}
			if v := play(t, q, false, (*world).run); !v.fine() && v.wrong[0] == w.wrong[0] {
				p, w, smaller = q, v, true
				break
			}
		}
	}
	return p
}

// smaller lists plans that are a little smaller, those first that save most.
func (p *plan) smaller(failed time.Time) (all []*plan) {
	try := func(change func(*plan)) {
		q := *p
		q.events = slices.Clone(p.events)
		change(&q)
		all = append(all, &q)
	}
	if p.end.After(failed.Add(time.Second)) {
		try(func(q *plan) { q.end = failed.Add(time.Second) })
	}
	for _, part := range []time.Duration{2, 10, 100} {
		if d := p.end.Sub(p.begin) / part; d > hour {
			try(func(q *plan) { q.begin = q.begin.Add(d) })
		}
	}
	for i, e := range p.events {
		try(func(q *plan) { q.events = slices.Delete(q.events, i, i+1) })
		if e.kind == calls && e.n > 1 {
			try(func(q *plan) { q.events[i].n = 1 })
		}
	}
	return all
}

// print prints the plan and the trace. Of a process to which nothing happened it prints
// nothing, unless whole is set or it is one of the last.
func (w *world) print(out io.Writer, whole bool) {
	t := tabwriter.NewWriter(out, 0, 1, 2, ' ', 0)
	fmt.Fprintf(t, "run %d of seed %d: used refresh tokens dead at once %t, too early comes first %t, clocks %s\n", w.number, w.seed, !w.lenient, w.tooEarlyFirst, w.skews)
	fmt.Fprintln(t, "PLAN\tmachine\tat the first\twhat happens")
	for _, e := range w.events {
		fmt.Fprintf(t, "%s\t%d\t%s\t%s\n", stamp(e.at), e.machine, e.step, e)
	}
	special := map[*process]bool{nil: true}
	for i, e := range w.log {
		special[e.p] = special[e.p] || e.event != "" || i > len(w.log)-40
	}
	fmt.Fprintln(t, "TRACE\tmachine\tprocess\tstep\twhat happened")
	reading := map[*process]bool{}
	for _, e := range w.log {
		read := strings.HasSuffix(e.step, " read") && e.event == ""
		again := read && reading[e.p]
		if reading[e.p] = read; !whole && (!special[e.p] || again) {
			continue
		}
		who := "\t"
		if e.p != nil {
			who = fmt.Sprintf("%d\t%d %s", e.p.m.number, e.p.id, e.p.what)
		}
		fmt.Fprintf(t, "%s\t%s\t%s\t%s\n", stamp(e.at), who, e.step, e.event)
	}
	t.Flush()
}

func stamp(t time.Time) string { return t.UTC().Format("2006-01-02 15:04:05.000000") }
