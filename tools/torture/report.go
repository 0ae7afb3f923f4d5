//go:build linux || windows

package main

import (
	"bytes"
	"crypto/sha256"
	"fmt"
	"io"
	"maps"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/exactauth/exactauth/internal/exactsim"
	"github.com/exactauth/exactauth/tools/program"
)

// print writes what a round came to: a line, and all there is if it went wrong.
func (t *trial) print(w io.Writer) {
	outcome := t.fate
	if t.reason != "" {
		outcome += ": " + t.reason
	}
	fmt.Fprintf(w, "round %d (%s%s): %s\n", t.number, t.scenario, t.rotation(), outcome)
	for _, text := range t.wrong {
		fmt.Fprintf(w, "  WRONG: %s\n", text)
	}
	fmt.Fprint(w, t.story)
}

func (t traits) rotation() string {
	if t.strict {
		return "  where used tokens are dead at once"
	}
	return "  where they live until the next is used"
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
		fmt.Fprintf(&b, "  process %d: machine %d: exactauth %s: %s to %s, exit %d", i+1, p.machine, strings.Join(p.Args[1:], " "), t.at(p.started), t.at(p.ended), p.Code)
		for _, s := range p.signals {
			fmt.Fprintf(&b, ", %s at %s", s.Signal, t.at(s.at))
		}
		if token := p.token(); token != "" {
			fmt.Fprintf(&b, ", printed %s", token)
		}
		b.WriteByte('\n')
		for line := range strings.Lines(p.Err.String()) {
			fmt.Fprintf(&b, "    | %s\n", strings.TrimRight(line, "\n"))
		}
	}
	b.WriteString("  events:\n")
	for _, e := range t.events {
		fmt.Fprintf(&b, "    %s %s\n", t.at(e.at), e.what)
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
	return masked(b.String())
}

type report struct {
	*program.Table
	notes   map[string]int
	errors  int           // the most that the server counted in one round
	longest time.Duration // that a process took
}

// Rows and columns of the table.
const (
	allRounds      = "all"
	rounds         = "rounds"
	wrongOtherwise = "wrong otherwise"
)

func (r *report) add(t *trial) {
	for _, row := range []string{t.scenario, allRounds, t.rotation()} {
		r.Count(row, rounds, 1)
		r.Count(row, t.fate, 1)
		if t.fate != unexplained && len(t.wrong) > 0 {
			r.Count(row, wrongOtherwise, 1)
		}
	}
	if t.fate == explained {
		t.count("lost: "+t.reason, 1)
	}
	for note, n := range t.notes {
		r.notes[note] += n
	}
	r.errors, r.longest = max(r.errors, t.errors), max(r.longest, t.longest)
}

func (r *report) print(out io.Writer, o options, took time.Duration) {
	var rows []string
	for _, s := range o.scenarios() {
		rows = append(rows, s.name)
	}
	r.Print(out, "scenario", append(rows, allRounds, traits{strict: true}.rotation(), traits{}.rotation()))
	fmt.Fprintf(out, "\nseed %d, %s, %.1f rounds a second\n", o.seed, took.Round(time.Second), float64(r.Count(allRounds, rounds, 0))/took.Seconds())
	for _, note := range slices.Sorted(maps.Keys(r.notes)) {
		fmt.Fprintf(out, "%7d  %s\n", r.notes[note], note)
	}
	fmt.Fprintf(out, "The longest that a process took: %s. The most errors that the server counted in one round: %d.\n", r.longest.Round(time.Millisecond), r.errors)
}
