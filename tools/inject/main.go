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
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strings"
	"sync"
	"text/tabwriter"
	"time"

	"golang.org/x/sys/unix"
)

type options struct {
	commands string
	sample   int
	seed     uint64
	workers  int
	verbose  bool
	known    *regexp.Regexp // of a test: what is wrong, known, and not to fail it
}

func main() {
	if len(os.Args) > 2 && os.Args[1] == installCommand {
		fmt.Fprintln(os.Stderr, "inject:", install(os.Args[2:]))
		os.Exit(2)
	}
	var o options
	flag.StringVar(&o.commands, "commands", "", "only these, separated by semicolons: "+strings.Join(names(), "; "))
	flag.IntVar(&o.sample, "sample", 0, "how many faults to draw; 0 injects all")
	flag.Uint64Var(&o.seed, "seed", 0, "seed of the sample; 0 draws one")
	flag.IntVar(&o.workers, "workers", 2*runtime.NumCPU(), "how many calls at a time")
	flag.BoolVar(&o.verbose, "v", false, "print every fault, and what the program said")
	flag.Parse()
	failed, err := inject(o)
	if err != nil {
		fmt.Fprintln(os.Stderr, "inject:", err)
		os.Exit(2)
	}
	if failed {
		os.Exit(1)
	}
}

func names() (all []string) {
	for _, s := range scenarios() {
		all = append(all, s.name)
	}
	return all
}

// row counts what became of the faults in a command.
type row struct{ calls, faults, survived, explained, wrong, missed int }

func (r row) cells(name string) string {
	return fmt.Sprintf("%s\t%d\t%d\t%d\t%d\t%d\t%d\t\n", name, r.calls, r.faults, r.survived, r.explained, r.wrong, r.missed)
}

// inject plays all trials, or a sample of them, and prints what came of them.
func inject(o options) (failed bool, _ error) {
	dir, err := os.MkdirTemp("", "exactauth-inject-")
	if err != nil {
		return false, err
	}
	defer os.RemoveAll(dir)
	if err := build(dir); err != nil {
		return false, err
	}
	if o.seed == 0 {
		o.seed = rand.Uint64N(1_000_000) + 1
	}
	began := time.Now()
	rows := map[string]*row{}
	var trials []*trial
	for _, s := range scenarios() {
		if o.commands != "" && !slices.Contains(strings.Split(o.commands, ";"), s.name) {
			continue
		}
		counted := &trial{scenario: s, n: -1, programs: dir}
		if err := counted.play(dir); err != nil {
			return false, err
		}
		if len(counted.wrong) > 0 {
			return false, fmt.Errorf("without a fault:\n%s", counted.story())
		}
		rows[s.name] = &row{calls: len(counted.calls)}
		for n, c := range counted.calls {
			for _, f := range faults(c) {
				trials = append(trials, &trial{scenario: s, fault: f, at: c, n: n, programs: dir})
			}
		}
	}
	if o.sample > 0 {
		r := rand.New(rand.NewPCG(o.seed, 0))
		r.Shuffle(len(trials), func(i, j int) { trials[i], trials[j] = trials[j], trials[i] })
		trials = trials[:min(o.sample, len(trials))]
	}
	fmt.Printf("inject: %d faults, seed %d\n", len(trials), o.seed)

	var output sync.Mutex
	var all sync.WaitGroup
	queue := make(chan *trial)
	for range o.workers {
		all.Go(func() {
			for t := range queue {
				playErr := t.play(dir)
				if t.disregard(o.known) {
					t.explained = "known"
				}
				output.Lock()
				rows[t.name].add(t)
				err = cmp.Or(err, playErr)
				if len(t.wrong) > 0 || o.verbose {
					fmt.Println(t.story())
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

	table := tabwriter.NewWriter(os.Stdout, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(table, "command\tcalls\tfaults\tsurvived\texplained\twrong\tnot reached\t")
	var total row
	for _, name := range names() {
		if r := rows[name]; r != nil {
			fmt.Fprint(table, r.cells(name))
			total = row{total.calls + r.calls, total.faults + r.faults, total.survived + r.survived,
				total.explained + r.explained, total.wrong + r.wrong, total.missed + r.missed}
		}
	}
	fmt.Fprint(table, total.cells("all"))
	table.Flush()
	fmt.Printf("\nseed %d, %s\n", o.seed, time.Since(began).Round(time.Second))
	return total.wrong > 0, err
}

// build builds the two programs as they are released.
func build(dir string) error {
	_, source, _, _ := runtime.Caller(0) // this file, in the module that this program was built from
	for program, name := range map[string]string{whole: "exactauth", front: "exactauth-front"} {
		cmd := exec.Command("go", "build", "-o", filepath.Join(dir, program), "github.com/exactauth/exactauth/cmd/"+name)
		cmd.Dir, cmd.Env = filepath.Dir(source), append(os.Environ(), "CGO_ENABLED=0")
		if text, err := cmd.CombinedOutput(); err != nil {
			return fmt.Errorf("go build: %w\n%s", err, text)
		}
	}
	return nil
}

// faults are what can happen at a call.
func faults(c call) []fault {
	all := []fault{{}}
	for i, errno := range c.errnos {
		if c.on == "socket" && c.name == "write" {
			errno = []unix.Errno{unix.ECONNRESET, unix.EPIPE}[i]
		}
		all = append(all, fault{errno: errno})
		if errno != unix.EINTR { // which a signal causes, once
			all = append(all, fault{errno: errno, stays: true})
		}
	}
	return all
}

func (r *row) add(t *trial) {
	r.faults++
	switch {
	case len(t.wrong) > 0:
		r.wrong++
	case t.struck == nil:
		r.missed++
	case t.explained != "":
		r.explained++
	default:
		r.survived++
	}
}

// disregard drops what is wrong and known, and reports whether there was any.
func (t *trial) disregard(known *regexp.Regexp) bool {
	all := len(t.wrong)
	if known != nil {
		t.wrong = slices.DeleteFunc(t.wrong, func(w string) bool { return known.MatchString(t.title() + ": " + w) })
	}
	return len(t.wrong) < all
}

// title says what struck where.
func (t *trial) title() string {
	if t.struck == nil {
		return t.name + ": no fault"
	}
	return fmt.Sprintf("%s: %s at call %d, %s", t.name, t.fault, t.n+1, t.struck)
}

// story is what a person needs to repeat and understand a trial.
func (t *trial) story() string {
	s := t.title() + "\n"
	for _, w := range t.wrong {
		s += "  WRONG: " + w + "\n"
	}
	if t.explained != "" {
		s += "  explained: " + t.explained + "\n"
	}
	s += fmt.Sprintf("  %d token requests, tokens issued: %t\n", len(t.requests), t.issued())
	for _, o := range append([]outcome{t.result}, t.after...) {
		lines := strings.Split(strings.TrimSpace(o.String()), "\n")
		s += "  | " + strings.Join(lines[:min(len(lines), 40)], "\n  |   ") + "\n" // a program that hung prints more
	}
	return strings.ReplaceAll(s, t.dir, "DIR")
}
