//go:build unix

package main

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"maps"
	"path/filepath"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/exactauth/exactauth/internal/exactauth"
	"github.com/exactauth/exactauth/internal/tokenstore"
	"github.com/exactauth/exactauth/internal/tokenstore/spool"
)

// table adds the rounds up.
type table struct {
	options
	took    time.Duration
	rows    map[string]*row // by scenario, and by rotation
	reasons map[string]int
	longest time.Duration
	errors  map[string]int // the most of one round, by scenario
	tally   map[string]int // what happened how often, beside the fates
	waited  time.Duration  // the longest that somebody was held up by a machine that had died
	saves   []saves
	worlds  []*world
}

type row struct{ rounds, survived, explained, unexplained, wrong int }

func (t *table) add(v *verdict) {
	if t.rows == nil {
		t.rows, t.reasons, t.errors = map[string]*row{}, map[string]int{}, map[string]int{}
		t.tally = map[string]int{}
	}
	for _, name := range []string{v.scenario, v.against.rotation()} {
		r := t.rows[name]
		if r == nil {
			r = &row{}
			t.rows[name] = r
		}
		r.rounds++
		switch v.fate {
		case survived:
			r.survived++
		case explained:
			r.explained++
		case unexplained:
			r.unexplained++
		}
		if v.fate != unexplained && len(v.wrong) > 0 {
			r.wrong++
		}
	}
	if v.fate == explained {
		t.reasons[v.reason]++
	}
	for what, n := range v.tally {
		t.tally[what] += n
	}
	t.waited = max(t.waited, v.waited)
	t.longest = max(t.longest, v.longest)
	t.errors[v.scenario] = max(t.errors[v.scenario], v.errors)
}

// sum adds the rows of the two rotations, which is all of them.
func (t *table) sum() (all row) {
	for _, name := range []string{"strict", "grace"} {
		if r := t.rows[name]; r != nil {
			all.rounds += r.rounds
			all.survived += r.survived
			all.explained += r.explained
			all.unexplained += r.unexplained
			all.wrong += r.wrong
		}
	}
	return all
}

func (t *table) rounds() int { return t.sum().rounds }

func (t *table) failed() bool {
	all := t.sum()
	return all.unexplained+all.wrong > 0
}

func (t *table) print(out io.Writer) {
	var b bytes.Buffer
	tw := tabwriter.NewWriter(&b, 0, 0, 2, ' ', tabwriter.AlignRight)
	line := func(name string, r row) {
		fmt.Fprintf(tw, "%s\t%d\t%d\t%d\t%d\t%d\t\n", name, r.rounds, r.survived, r.explained, r.unexplained, r.wrong)
	}
	const dead, kept = "  of them, used tokens dead at once", "  of them, kept until the next is used"
	width := len(kept)
	for _, name := range scenarioNames(t.options) {
		width = max(width, len(name))
	}
	pad := func(name string) string { return fmt.Sprintf("%-*s", width, name) }
	fmt.Fprintf(tw, "%s\trounds\tsurvived\tlost, explained\tlost, unexplained\twrong otherwise\t\n", pad("scenario"))
	for _, name := range append(scenarioNames(t.options), "strict", "grace") {
		if name == "strict" {
			line(pad("all"), t.sum())
		}
		if r := t.rows[name]; r != nil {
			line(pad(strings.NewReplacer("strict", dead, "grace", kept).Replace(name)), *r)
		}
	}
	tw.Flush()
	fmt.Fprintf(out, "\n%s\nseed %d, %s, %.1f rounds a second\n", b.String(), t.seed, t.took.Round(time.Second), float64(t.rounds())/t.took.Seconds())

	if len(t.reasons) > 0 {
		fmt.Fprintln(out, "Logins lost and explained:")
		for _, reason := range slices.Sorted(maps.Keys(t.reasons)) {
			fmt.Fprintf(out, "  %5d  %s\n", t.reasons[reason], reason)
		}
	}
	if len(t.tally) > 0 {
		fmt.Fprintln(out, "On the way:")
		for _, what := range slices.Sorted(maps.Keys(t.tally)) {
			fmt.Fprintf(out, "  %5d  %s\n", t.tally[what], what)
		}
	}
	if t.waited > 0 {
		fmt.Fprintf(out, "The longest that a process went on after the other machine's were killed: %s.\n", t.waited.Round(time.Millisecond))
	}
	fmt.Fprintf(out, "The longest that a process took: %s. The most errors that the server counted in one round:", t.longest.Round(time.Millisecond))
	for i, name := range slices.SortedFunc(maps.Keys(t.errors), func(a, b string) int { return t.errors[b] - t.errors[a] }) {
		if i < 3 {
			fmt.Fprintf(out, " %d (%s)", t.errors[name], name)
		}
	}
	fmt.Fprintln(out, "\nFrom the end of the server's reply until it is safe:")
	for _, s := range t.saves {
		fmt.Fprintf(out, "  %s  %s\n", quantiles(s.took), s.what)
	}
	var windows []time.Duration
	for _, w := range t.worlds {
		w.mu.Lock()
		windows = append(windows, w.windows...)
		w.mu.Unlock()
	}
	switch {
	case len(windows) == 0:
	case t.shared():
		fmt.Fprintf(out, "  %s  %d refreshes of quiet rounds, all worlds busy: from the reply's last byte in exactauth\n"+
			"                            until it has seen the commit (what token -v says)\n", quantiles(windows), len(windows))
	default:
		fmt.Fprintf(out, "  %s  %d refreshes of quiet rounds, all worlds busy: from the reply's last byte in the server's\n"+
			"                            socket until the new record is seen in the old one's place (looked for every 50µs)\n", quantiles(windows), len(windows))
	}
}

// saves are times from the return of the change to that of Update.
type saves struct {
	what string
	took []time.Duration
}

// measureSaves times saves in this process before the rounds begin: from when the
// answer is known to when the store says that it is durable, which is the time in
// which a SIGKILL loses it. What the answer takes from the socket to there is not
// in it.
func (t *table) measureSaves(small bool) error {
	if t.options.rounds < 100 {
		return nil // no run for figures
	}
	worlds := t.worlds
	n, called := 1000, "tokenstore.Files"
	i := slices.IndexFunc(worlds, func(w *world) bool { return w.machines[0].mounted == small })
	if i < 0 {
		return nil
	}
	m := worlds[i].machines[0]
	store := sealed(tokenstore.NewFiles(filepath.Join(m.fs, "measured"), nil), worlds[i].key)
	if t.shared() {
		n, called = 100, "spool.Store"
		store = spool.New(sealed(worlds[i].pg, worlds[i].key), store, exactauth.Latest, nil)
	}
	s := saves{what: fmt.Sprintf("%d calls of %s.Update on %s, before the rounds: from the return of the change,\n"+
		"                            which takes no time, to that of Update", n, called, fileSystem(m.state))}
	for i := range n {
		record := bytes.Repeat([]byte{byte('a' + i%26)}, 4000) // as large as a login's
		var answered time.Time
		err := store.Update(context.Background(), "save", func(context.Context, []byte) ([]byte, error) {
			answered = time.Now()
			return record, nil
		})
		if err != nil {
			return err
		}
		s.took = append(s.took, time.Since(answered))
	}
	t.saves = append(t.saves, s)
	return store.Delete(context.Background(), "save")
}

func quantiles(d []time.Duration) string {
	slices.Sort(d)
	at := func(share float64) string {
		return d[min(len(d)-1, int(share*float64(len(d))))].Round(time.Microsecond).String()
	}
	return fmt.Sprintf("p50 %-8s p99 %-8s", at(0.5), at(0.99))
}
