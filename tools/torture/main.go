//go:build unix

// Command torture tries to lose a login. It runs many real exactauth processes
// against the simulator of Exact Online, thousands of rounds with a fault or
// several in each, and asks the simulator afterwards: does the login still yield
// a token, and if not, does the simulator's own log explain why no program could
// have kept it?
//
//	go run ./tools/torture -rounds 10000 -seed 1
//	go run ./tools/torture -rounds 10000 -seed 1 -front
//	go run ./tools/torture -rounds 10000 -seed 1 -store postgres -seal age
//
// With -store postgres each login is shared by two machines, which are two state
// directories, and lies in a PostgreSQL that this program starts for itself. Then
// sessions and servers are ended, too.
//
// The table at the end says what happened. The exit status is 1 if its last two
// columns are not all 0. What is drawn for a round depends on -seed and the
// round's number alone; what then happens depends on the machine's timing, too.
//
// Everything runs on loopback and in one temporary directory. On Linux, as root
// or where user namespaces are allowed, the rounds run in namespaces of their own,
// so that their small file systems and processes end with them however they end.
// PostgreSQL does not run as root, so with -store postgres that takes a real root,
// who can make it somebody else's.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
)

// options are the flags, and what is made of them.
type options struct {
	rounds  int
	seed    uint64
	worlds  int
	binary  string
	front   bool // the binary is exactauth's front, the whole program behind it
	race    bool
	verbose bool
	only    string
	repeat  int // this round's draw in every round; -1 for none
	store   string
	seal    string

	dir    string // all files are in here
	mounts bool   // this process may mount
}

// The rounds run in a child in namespaces of its own, which finds in the
// environment that it is that child, and where.
const insideEnv = "EXACTAUTH_TORTURE_INSIDE"

func main() { os.Exit(torture(os.Args[1:], os.Stdout, os.Stderr)) }

// torture is the program: the part outside, which cleans up whatever becomes of
// the part inside.
func torture(args []string, out, errOut io.Writer) int {
	o, err := parse(args, errOut)
	if err != nil {
		return 2
	}
	if o.dir = os.Getenv(insideEnv); o.dir != "" {
		o.mounts = true
		return run(o, out, errOut)
	}
	if o.dir, err = os.MkdirTemp("", "exactauth-torture-"); err != nil {
		fmt.Fprintln(errOut, "torture:", err)
		return 2
	}
	defer os.RemoveAll(o.dir)
	if o.binary == "" {
		if o.binary, err = build(o); err != nil {
			fmt.Fprintln(errOut, "torture:", err)
			return 2
		}
		args = append([]string{"-binary", o.binary}, args...)
	}
	if !o.shared() || os.Geteuid() == 0 {
		if code, ok := runInside(o.dir, args, out, errOut); ok {
			return code
		}
	}
	return run(o, out, errOut)
}

func parse(args []string, errOut io.Writer) (o options, err error) {
	f := flag.NewFlagSet("torture", flag.ContinueOnError)
	f.SetOutput(errOut)
	f.IntVar(&o.rounds, "rounds", 1000, "how many rounds")
	f.Uint64Var(&o.seed, "seed", 0, "seed of what is drawn; 0 draws one")
	f.IntVar(&o.worlds, "worlds", 16*runtime.NumCPU(), "how many logins are tortured at a time; rounded up to a multiple of 16, which is how many sorts there are")
	f.StringVar(&o.binary, "binary", "", "the exactauth to torture (default: build it)")
	f.BoolVar(&o.front, "front", false, "build it as packages have it, with the front before the whole program")
	f.BoolVar(&o.race, "race", false, "build it with the race detector")
	f.BoolVar(&o.verbose, "v", false, "say every round")
	f.StringVar(&o.only, "only", "", "only scenarios whose name has this in it")
	f.IntVar(&o.repeat, "repeat", -1, "draw for every round what is drawn for this one")
	f.StringVar(&o.store, "store", "file", "where the logins are kept: file or postgres")
	f.StringVar(&o.seal, "seal", "none", "how they are sealed there: none or age")
	if err := f.Parse(args); err != nil {
		return o, err
	}
	if o.store != "file" && o.store != "postgres" || o.seal != "none" && o.seal != "age" {
		fmt.Fprintln(errOut, "torture: want -store file or postgres, -seal none or age")
		return o, errors.New("usage")
	}
	if o.front && (o.store != "file" || o.seal != "none") {
		fmt.Fprintln(errOut, "torture: the front leaves all but unsealed files to the whole program")
		return o, errors.New("usage")
	}
	o.worlds = (max(o.worlds, 1) + sorts - 1) / sorts * sorts
	if len(matching(o)) == 0 || f.NArg() > 0 {
		fmt.Fprintf(errOut, "torture: no such scenario; there are: %s\n", strings.Join(scenarioNames(o), ", "))
		return o, errors.New("usage")
	}
	if o.binary != "" {
		o.binary, err = filepath.Abs(o.binary)
	}
	return o, err
}

// shared reports whether several machines share each login.
func (o options) shared() bool { return o.store == "postgres" }

// place says where the logins are, if not where they usually are.
func (o options) place() string {
	text := ""
	if o.front {
		text = ", behind the front"
	}
	if o.shared() {
		text = ", two machines each, in PostgreSQL"
	}
	if o.seal != "none" {
		text += ", sealed"
	}
	return text
}

func build(o options) (string, error) {
	path := filepath.Join(o.dir, "exactauth")
	programs := map[string]string{path: "exactauth"}
	if o.front {
		programs = map[string]string{path: "exactauth-front", path + "-whole": "exactauth"}
		// What the front would not take itself reaches the whole program behind its back.
		script := "#!/bin/sh\nexec " + path + "-whole \"$@\" $" + flagsEnv + "\n"
		if err := os.WriteFile(path+"-full", []byte(script), 0o755); err != nil {
			return "", err
		}
	}
	for path, name := range programs {
		args := []string{"build", "-o", path}
		if o.race {
			args = append(args, "-race")
		}
		text, err := exec.Command("go", append(args, "github.com/exactauth/exactauth/cmd/"+name)...).CombinedOutput()
		if err != nil {
			return "", fmt.Errorf("go build: %w\n%s", err, text)
		}
	}
	return path, nil
}

// flagsEnv has the flags that a call has only for the torture's sake: with them the
// front would not answer it.
const flagsEnv = "TORTURE_FLAGS"

// run tortures and reports.
func run(o options, out, errOut io.Writer) int {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	context.AfterFunc(ctx, stop) // a second signal ends at once

	if o.seed == 0 {
		o.seed = rand.Uint64N(1_000_000) + 1
	}
	fmt.Fprintf(out, "torture: seed %d, %d rounds in %d worlds on %d CPUs%s\n", o.seed, o.rounds, o.worlds, runtime.NumCPU(), o.place())
	began := time.Now()
	var db *database
	if o.shared() {
		var err error
		if db, err = newDatabase(o); err != nil {
			fmt.Fprintln(errOut, "torture:", err)
			return 2
		}
		defer db.close(errOut)
	}
	usual := new(atomic.Int64)
	usual.Store(int64(40 * time.Millisecond))
	var worlds []*world
	defer func() {
		for _, w := range worlds {
			w.close()
		}
	}()
	for i := range o.worlds {
		w, err := newWorld(o, i, usual, db)
		if err != nil {
			fmt.Fprintln(errOut, "torture:", err)
			return 2
		}
		worlds = append(worlds, w)
	}
	t := &table{options: o, worlds: worlds}
	for _, small := range []bool{false, true} {
		if err := t.measureSaves(small); err != nil {
			fmt.Fprintln(errOut, "torture:", err)
			return 2
		}
	}

	var all sync.WaitGroup
	var output sync.Mutex
	for i, w := range worlds {
		all.Go(func() {
			// Apart from each other, or they would all wait and all work at once.
			sleep(ctx, time.Duration(i)*life/time.Duration(o.worlds))
			for n := i; n < o.rounds && ctx.Err() == nil; n += o.worlds {
				v := w.round(ctx, n)
				if ctx.Err() != nil && v.fate != survived {
					return // the signal may have reached the processes, too
				}
				output.Lock()
				t.add(v)
				if o.verbose || len(v.wrong) > 0 {
					v.print(out)
				}
				output.Unlock()
				if v.abandon {
					return
				}
			}
		})
	}
	all.Wait()
	t.took = time.Since(began)
	t.print(out)
	leaked := db.leaks(o, out)
	switch {
	case t.failed() || leaked:
		return 1
	case ctx.Err() != nil:
		return 130
	case t.rounds() < o.rounds:
		fmt.Fprintf(errOut, "torture: only %d of %d rounds were run\n", t.rounds(), o.rounds)
		return 1
	}
	return 0
}

func sleep(ctx context.Context, d time.Duration) {
	select {
	case <-time.After(d):
	case <-ctx.Done():
	}
}
