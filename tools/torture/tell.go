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
func (v *verdict) print(w io.Writer) {
	outcome := string(v.fate)
	if v.reason != "" {
		outcome += ": " + v.reason
	}
	fmt.Fprintf(w, "round %d (%s, %s): %s\n", v.number, v.scenario, v.against.rotation(), outcome)
	for _, text := range v.wrong {
		fmt.Fprintf(w, "  WRONG: %s\n", text)
	}
	fmt.Fprint(w, v.story)
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

// tell is the story of a round, for a developer. It has no secret.
func (t *trial) tell() string {
	var b bytes.Buffer
	fmt.Fprintf(&b, "  seed %d, round %d, %+v\n  %+v\n", t.seed, t.number, t.against, *t.plan)
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
	rows    map[string]*row // by scenario, and by rotation
	all     row
	reasons map[string]int
	errors  int // the most that the server counted in one round
	notes   map[string]int
	longest time.Duration // that a process took
	waited  time.Duration // that a process was held up by a machine that had died
}

type row struct {
	rounds, wrong int
	fates         map[fate]int
}

func newTable() *table {
	return &table{rows: map[string]*row{}, reasons: map[string]int{}, notes: map[string]int{}, all: row{fates: map[fate]int{}}}
}

func (t *table) add(v *verdict) {
	for _, name := range []string{v.scenario, v.against.rotation()} {
		if t.rows[name] == nil {
			t.rows[name] = &row{fates: map[fate]int{}}
		}
	}
	for _, r := range []*row{t.rows[v.scenario], t.rows[v.against.rotation()], &t.all} {
		r.rounds++
		r.fates[v.fate]++
		if v.fate != unexplained && len(v.wrong) > 0 {
			r.wrong++
		}
	}
	if v.fate == explained {
		t.reasons[v.reason]++
	}
	for note, n := range v.notes {
		t.notes[note] += n
	}
	t.errors, t.longest, t.waited = max(t.errors, v.errors), max(t.longest, v.longest), max(t.waited, v.waited)
}

func (t *table) failed() bool { return t.all.fates[unexplained]+t.all.wrong > 0 }

func (t *table) print(out io.Writer, o options, took time.Duration, saves []time.Duration) {
	tw := tabwriter.NewWriter(out, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintf(tw, "\n%-40s\trounds\t%s\t%s\t%s\twrong otherwise\t\n", "scenario", survived, explained, unexplained)
	line := func(name string, r *row) {
		if r != nil {
			fmt.Fprintf(tw, "%-40s\t%d\t%d\t%d\t%d\t%d\t\n", name, r.rounds, r.fates[survived], r.fates[explained], r.fates[unexplained], r.wrong)
		}
	}
	for _, s := range o.scenarios() {
		line(s.name, t.rows[s.name])
	}
	line("all", &t.all)
	for _, strict := range []bool{true, false} {
		name := traits{strict: strict}.rotation()
		line("  of them, "+name, t.rows[name])
	}
	tw.Flush()
	fmt.Fprintf(out, "\nseed %d, %s, %.1f rounds a second\n", o.seed, took.Round(time.Second), float64(t.all.rounds)/took.Seconds())
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
		fmt.Fprintf(out, "The longest that a process went on after the other machine's were killed: %s.\n", t.waited.Round(time.Millisecond))
	}
	fmt.Fprintf(out, "The longest that a process took: %s. The most errors that the server counted in one round: %d.\n", t.longest.Round(time.Millisecond), t.errors)
	if n := len(saves); n > 0 {
		slices.Sort(saves)
		fmt.Fprintf(out, "From the server's last byte to the end of the process, the save between them: p50 %s, p99 %s of %d refreshes of quiet rounds.\n",
			saves[n/2].Round(time.Microsecond), saves[n*99/100].Round(time.Microsecond), n)
	}
}
