package main

import (
	"fmt"
	"io"
	"slices"
	"strings"
	"testing"
	"text/tabwriter"
	"time"
)

// shrink leaves out of a plan whatever the failure does not need. A smaller plan must fail
// in the same way.
func shrink(t *testing.T, p *plan) *plan {
	w := play(t, p, false)
	how := w.memory.how
	tries := 400
	for smaller := true; smaller; {
		smaller = false
		for _, q := range smallerThan(p, w.memory.when) {
			if tries--; tries < 0 {
				return p
			}
			if v := play(t, q, false); v.memory.how == how {
				p, w, smaller = q, v, true
				break
			}
		}
	}
	return p
}

// smallerThan lists plans that are a little smaller, those first that save most. failed is
// when the run failed.
func smallerThan(p *plan, failed time.Time) (all []*plan) {
	try := func(change func(*plan)) {
		q := *p
		q.crons, q.visits, q.spans = slices.Clone(p.crons), slices.Clone(p.visits), slices.Clone(p.spans)
		q.moments, q.steps = slices.Clone(p.moments), slices.Clone(p.steps)
		change(&q)
		all = append(all, &q)
	}
	if p.end.Sub(failed) > 2*time.Second {
		try(func(q *plan) { q.end = failed.Add(time.Second) })
	}
	for _, part := range []time.Duration{2, 10, 100} {
		if d := p.end.Sub(p.begin) / part; d > time.Hour {
			try(func(q *plan) { q.begin = q.begin.Add(d) })
		}
	}
	for i := range p.crons {
		try(func(q *plan) { q.crons = slices.Delete(q.crons, i, i+1) })
	}
	for i := range p.visits {
		try(func(q *plan) { q.visits = slices.Delete(q.visits, i, i+1) })
	}
	for i := range p.spans {
		try(func(q *plan) { q.spans = slices.Delete(q.spans, i, i+1) })
	}
	for i := range p.moments {
		try(func(q *plan) { q.moments = slices.Delete(q.moments, i, i+1) })
	}
	for i := range p.steps {
		try(func(q *plan) { q.steps = slices.Delete(q.steps, i, i+1) })
	}
	for i, c := range p.crons {
		if c.burst > 1 {
			try(func(q *plan) { q.crons[i].burst = 1 })
		}
		if d := min(c.to.Sub(p.begin), p.end.Sub(p.begin)) / 2; c.every < nightly && c.from.Before(p.begin.Add(d).Add(-time.Hour)) {
			try(func(q *plan) { q.crons[i].from = q.begin.Add(d) })
		}
		if c.patience != time.Minute/2 {
			try(func(q *plan) { q.crons[i].patience = time.Minute / 2 })
		}
	}
	if p.lenient || p.tooEarlyFirst || p.older {
		try(func(q *plan) { q.lenient, q.tooEarlyFirst, q.older = false, false, false })
	}
	if p.skews != [2]time.Duration{} {
		try(func(q *plan) { q.skews = [2]time.Duration{} })
	}
	return all
}

// print prints the plan and the trace. Of a process to which nothing happened it prints
// the end alone, unless whole is set.
func (w *world) print(out io.Writer, whole bool) {
	t := tabwriter.NewWriter(out, 0, 1, 2, ' ', 0)
	fmt.Fprintf(t, "# run %d of seed %d: %d machines; a used refresh token is dead at once: %t; too early comes first: %t\n", w.number, w.seed, w.plan.machines, !w.lenient, w.tooEarlyFirst)
	for _, c := range w.crons {
		fmt.Fprintf(t, "# %s\n", c)
	}
	for _, v := range w.visits {
		fmt.Fprintf(t, "# %s: on machine %d a person %s\n", clock(v.at), v.machine, v.what)
	}
	for _, s := range w.plan.spans {
		fmt.Fprintf(t, "# from %s to %s: %s (machine %d)\n", clock(s.at), clock(s.until()), s, s.machine)
	}
	special := map[int]bool{0: true}
	for _, e := range w.log {
		if e.event != "" && e.what != "ended" && e.what != "served" || e.what == "ended" && e.event != "ok" {
			special[e.process] = true
		}
	}
	if n := len(w.log); n > 0 {
		for _, e := range w.log[max(0, n-40):] {
			special[e.process] = true
		}
	}
	fmt.Fprintln(t, "time\tmachine\tprocess\tstep\twhat happened")
	reading := map[int]bool{}
	for _, e := range w.log {
		read := strings.HasSuffix(e.what, " read") && e.event == ""
		if !whole && (!special[e.process] && e.what != "ended" || read && reading[e.process]) {
			continue
		}
		reading[e.process] = read
		name := ""
		if e.process > 0 {
			name = fmt.Sprintf("%d %s", e.process, e.program)
		}
		machine := ""
		if e.machine >= 0 {
			machine = fmt.Sprint(e.machine)
		}
		fmt.Fprintf(t, "%s\t%s\t%s\t%s\t%s\n", clock(e.at), machine, name, e.what, e.event)
	}
	t.Flush()
}

func clock(t time.Time) string { return t.UTC().Format("2006-01-02 15:04:05.000000000") }
