//go:build linux

package main

import (
	"bytes"
	"crypto/sha256"
	"fmt"
	"io"
	"maps"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/exactauth/exactauth/internal/exactsim"
)

// print writes what a round came to: a line, and all there is if it went wrong.
func (t *trial) print(w io.Writer) {
	outcome := t.fate
	if t.reason != "" {
		outcome += ": " + t.reason
	}
	fmt.Fprintf(w, "round %d (%s, %s): %s\n", t.number, t.scenario, t.rotation(), outcome)
	for _, text := range t.wrong {
		fmt.Fprintf(w, "  WRONG: %s\n", text)
	}
	fmt.Fprint(w, t.story)
}

func (t traits) rotation() string {
	if t.strict {
		return "used tokens dead at once"
	}
	return "kept until the next is used"
}

// at is a time, counted from the start of the round.
func (t *trial) at(x time.Time) string {
	return fmt.Sprintf("%+.1fms", float64(x.Sub(t.when(roundStarted)).Microseconds())/1000)
}

var secrets = regexp.MustCompile(`stampNL001\.[A-Za-z0-9._!-]+`)

// masked replaces each token by a name of its own.
func masked(text string) string {
	text = secrets.ReplaceAllStringFunc(text, func(s string) string {
		sum := sha256.Sum256([]byte(s))
		return fmt.Sprintf("<%x>", sum[:4])
	})
	return strings.ReplaceAll(text, exactsim.ClientSecret, "<client secret>")
}

// describe returns what happened in a round, for a developer. It has no secret.
func (t *trial) describe() string {
	var b bytes.Buffer
	fmt.Fprintf(&b, "  seed %d, round %d, %+v\n  %+v\n", t.seed, t.number, t.traits, *t.plan)
	number := map[*process]string{nil: "a process that had ended", outsider: "another program"}
	for i, p := range t.all {
		number[p] = fmt.Sprintf("process %d", i+1)
		fmt.Fprintf(&b, "  process %d: machine %d: exactauth %s: %s to %s, exit %d", i+1, p.machine, strings.Join(p.cmd.Args[1:], " "), t.at(p.started), t.at(p.ended), p.code)
		for _, s := range p.signals {
			fmt.Fprintf(&b, ", %s at %s", s.Signal, t.at(s.at))
		}
		if token := p.token(); token != "" {
			fmt.Fprintf(&b, ", printed %s", token)
		}
		b.WriteByte('\n')
		for line := range strings.Lines(p.stderr.String()) {
			fmt.Fprintf(&b, "    | %s\n", strings.TrimRight(line, "\n"))
		}
	}
	b.WriteString("  events:\n")
	for _, o := range t.events {
		fmt.Fprintf(&b, "    %s %s\n", t.at(o.at), o.event)
	}
	for _, q := range t.since(t.when(roundStarted).Add(-3 * life)) {
		fmt.Fprintf(&b, "    %s to %s %s %s by %s: %s, then fault %q, status %d, whole %t, client gave up %t, reply had %s\n",
			t.at(q.arrived), t.at(q.replied), q.GrantType, q.used, number[q.sender], q.Outcome, q.Fault, q.Status, q.whole, q.GaveUp, q.refresh)
	}
	g, _ := t.sim.Grant(exactsim.ClientID, exactsim.AnnaID)
	fmt.Fprintf(&b, "  at the simulator: generation %d, issued %s\n", g.Generation, t.at(g.IssuedAt))
	r, kept, _ := t.look()
	for _, r := range append([]state{r}, kept...) {
		fmt.Fprintf(&b, "  record (of machine %d; the round started at %s):\n    %s\n", r.machine, t.when(roundStarted).UTC().Format("15:04:05.000000"), strings.ReplaceAll(string(r.raw), "\n", "\n    "))
		for _, token := range r.refreshTokens() {
			fmt.Fprintf(&b, "  its %s is %s\n", token, t.sim.RefreshTokenState(token))
		}
	}
	for _, m := range t.machines {
		files, _ := filepath.Glob(filepath.Join(m.state, "*"))
		fmt.Fprintf(&b, "  files: %v\n", files)
	}
	return masked(b.String())
}

// table adds the rounds up.
type table struct {
	cells   map[cell]int
	reasons map[string]int
	notes   map[string]int
	errors  int           // the most that the server counted in one round
	longest time.Duration // that a process took
	waited  time.Duration // that a process was held up by a machine that had died
	held    time.Duration // that a transaction outlived its process
}

// cell is a number in the table. A row is a scenario, a rotation or allRounds.
type cell struct{ row, column string }

const (
	allRounds      = "all"
	rounds         = "rounds"
	wrongOtherwise = "wrong otherwise"
)

func (t *table) add(r *trial) {
	columns := []string{rounds, r.fate}
	if r.fate != unexplained && len(r.wrong) > 0 {
		columns = append(columns, wrongOtherwise)
	}
	for _, row := range []string{r.scenario, r.rotation(), allRounds} {
		for _, column := range columns {
			t.cells[cell{row, column}]++
		}
	}
	if r.fate == explained {
		t.reasons[r.reason]++
	}
	for note, n := range r.notes {
		t.notes[note] += n
	}
	t.errors, t.longest = max(t.errors, r.errors), max(t.longest, r.longest)
	t.waited, t.held = max(t.waited, r.waited), max(t.held, r.held)
}

func (t *table) failed() bool {
	return t.cells[cell{allRounds, unexplained}]+t.cells[cell{allRounds, wrongOtherwise}] > 0
}

func (t *table) print(out io.Writer, o options, took time.Duration) {
	tw := tabwriter.NewWriter(out, 0, 0, 2, ' ', tabwriter.AlignRight)
	columns := []string{rounds, survived, explained, unexplained, wrongOtherwise}
	fmt.Fprintf(tw, "\n%-40s\t%s\t\n", "scenario", strings.Join(columns, "\t"))
	line := func(name, row string) {
		if t.cells[cell{row, rounds}] == 0 {
			return
		}
		fmt.Fprintf(tw, "%-40s\t", name)
		for _, column := range columns {
			fmt.Fprintf(tw, "%d\t", t.cells[cell{row, column}])
		}
		fmt.Fprintln(tw)
	}
	for _, s := range o.scenarios() {
		line(s.name, s.name)
	}
	line(allRounds, allRounds)
	for _, strict := range []bool{true, false} {
		name := traits{strict: strict}.rotation()
		line("  of them, "+name, name)
	}
	tw.Flush()
	fmt.Fprintf(out, "\nseed %d, %s, %.1f rounds a second\n", o.seed, took.Round(time.Second), float64(t.cells[cell{allRounds, rounds}])/took.Seconds())
	for _, part := range []struct {
		title  string
		counts map[string]int
	}{{"Logins lost and explained:", t.reasons}, {"On the way:", t.notes}} {
		if len(part.counts) > 0 {
			fmt.Fprintln(out, part.title)
		}
		for _, what := range slices.Sorted(maps.Keys(part.counts)) {
			fmt.Fprintf(out, "  %5d  %s\n", part.counts[what], what)
		}
	}
	if t.waited > 0 {
		fmt.Fprintf(out, "The longest that a process went on after the other machine's were killed: %s, and a transaction after its process: %s.\n",
			t.waited.Round(time.Millisecond), t.held.Round(time.Millisecond))
	}
	fmt.Fprintf(out, "The longest that a process took: %s. The most errors that the server counted in one round: %d.\n", t.longest.Round(time.Millisecond), t.errors)
}
