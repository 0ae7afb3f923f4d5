//go:build linux && (amd64 || arm64)

// Command inject fails the system calls of exactauth, one at a time, or kills it there,
// and finds out what becomes of the login: docs/reliability.md has a run of it.
//
//	go run ./tools/inject              # every call of every command
//	go run ./tools/inject -sample 300  # a part, drawn by -seed
//
// The kernel reports the system calls to this program (seccomp user notification), so
// that they are counted over all threads of the program, which strace -e inject does not.
package main

import (
	"cmp"
	"flag"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/exactauth/exactauth/tools/program"
)

type options struct {
	commands string
	sample   int
	seed     uint64
	workers  int
	verbose  bool
}

func main() {
	if len(os.Args) > 2 && os.Args[1] == installCommand {
		fmt.Fprintln(os.Stderr, "inject:", install(os.Args[2:]))
		os.Exit(2)
	}
	var names []string
	for _, s := range scenarios() {
		names = append(names, s.name)
	}
	var o options
	flag.StringVar(&o.commands, "commands", strings.Join(names, ";"), "only these, separated by semicolons")
	flag.IntVar(&o.sample, "sample", 0, "how many faults to draw; 0 injects all")
	flag.Uint64Var(&o.seed, "seed", rand.Uint64N(1_000_000)+1, "seed of the sample")
	flag.IntVar(&o.workers, "workers", 2*runtime.NumCPU(), "how many calls at a time")
	flag.BoolVar(&o.verbose, "v", false, "print every fault, and what the program said")
	flag.Parse()
	failed, err := inject(o, os.Stdout)
	if err != nil {
		fmt.Fprintln(os.Stderr, "inject:", err)
		os.Exit(2)
	}
	if failed {
		os.Exit(1)
	}
}

// inject plays all trials, or a sample of them, and prints what came of them.
func inject(o options, out io.Writer) (failed bool, _ error) {
	dir, err := os.MkdirTemp("", "exactauth-inject-")
	if err != nil {
		return false, err
	}
	defer os.RemoveAll(dir)
	if err := program.Build(map[string]string{filepath.Join(dir, whole): "exactauth", filepath.Join(dir, front): "exactauth-front"}); err != nil {
		return false, err
	}
	began := time.Now()
	var trials []*trial
	var rows []string
	table := program.NewTable("calls", "faults", "survived", "explained", "wrong", "not reached")
	for _, s := range scenarios() {
		if o.commands != "" && !slices.Contains(strings.Split(o.commands, ";"), s.name) {
			continue
		}
		sound := &trial{scenario: s, programs: dir}
		if err := sound.play(dir); err != nil {
			return false, err
		} else if len(sound.wrong) > 0 {
			return false, fmt.Errorf("without a fault:\n%s", sound.story())
		}
		rows = append(rows, s.name)
		table.Count(s.name, "calls", len(sound.calls))
		table.Count("all", "calls", len(sound.calls))
		for i, c := range sound.calls {
			nth := 0
			for _, earlier := range sound.calls[:i] {
				if earlier.alike(c) {
					nth++
				}
			}
			for _, f := range faults(c) {
				trials = append(trials, &trial{scenario: s, fault: f, at: c, nth: nth, programs: dir})
			}
		}
	}
	if o.sample > 0 {
		r := rand.New(rand.NewPCG(o.seed, 0))
		r.Shuffle(len(trials), func(i, j int) { trials[i], trials[j] = trials[j], trials[i] })
		trials = trials[:min(o.sample, len(trials))]
	}
	fmt.Fprintf(out, "inject: %d faults, seed %d\n", len(trials), o.seed)

	var output sync.Mutex
	var all sync.WaitGroup
	queue := make(chan *trial)
	for range o.workers {
		all.Go(func() {
			for t := range queue {
				playErr := t.play(dir)
				output.Lock()
				err = cmp.Or(err, playErr)
				for _, row := range []string{t.name, "all"} {
					table.Count(row, "faults", 1)
					table.Count(row, t.outcome(), 1)
				}
				if len(t.wrong) > 0 || o.verbose {
					fmt.Fprintln(out, t.story())
				}
				output.Unlock()
			}
		})
	}
	for _, t := range trials {
		queue <- t
	}
	close(queue)
	all.Wait()

	table.Print(out, "command", append(rows, "all"))
	fmt.Fprintf(out, "\nseed %d, %s\n", o.seed, time.Since(began).Round(time.Second))
	return table.Count("all", "wrong", 0) > 0, err
}

// outcome is the column of the table that a trial counts in.
func (t *trial) outcome() string {
	switch {
	case len(t.wrong) > 0:
		return "wrong"
	case t.struck == nil:
		return "not reached"
	case t.explained != "":
		return "explained"
	}
	return "survived"
}

// story is what a person needs to repeat and understand a trial.
func (t *trial) story() string {
	s := t.name + ": no fault\n"
	if t.struck != nil {
		s = fmt.Sprintf("%s: %s at call %d of its kind, %s\n", t.name, t.fault, t.nth+1, t.struck)
	}
	for _, w := range t.wrong {
		s += "  WRONG: " + w + "\n"
	}
	if t.explained != "" {
		s += "  explained: " + t.explained + "\n"
	}
	s += fmt.Sprintf("  %d token requests, %d granted\n", t.sent, t.issued)
	for _, p := range append([]*program.Process{t.result}, t.after...) {
		s += "  | " + strings.ReplaceAll(shown(p), "\n", "\n  |   ") + "\n"
	}
	return strings.ReplaceAll(s, t.dir, "DIR")
}

// shown is how a call ended, in its first lines: a program that hung prints more.
func shown(p *program.Process) string {
	lines := strings.SplitN(strings.TrimSpace(p.Err.String()), "\n", 41)
	return fmt.Sprintf("%s: exit %d\n%s", strings.Join(p.Args[1:], " "), p.Code, strings.Join(lines[:min(len(lines), 40)], "\n"))
}
