//go:build linux || windows

// Command torture tries to lose a login. It runs many real exactauth processes against
// the simulator of Exact Online, thousands of rounds with a fault or several in each. After
// each round it asks the simulator: does the login still yield a token, and if not, do the
// simulator's events explain why no program could have kept it?
//
//	go run ./tools/torture -rounds 10000 -seed 1
//	go run ./tools/torture -rounds 10000 -seed 1 -front
//	go run ./tools/torture -rounds 10000 -seed 1 -store postgres -seal age
//
// With -store postgres two machines, which are two state directories, share each login in
// a PostgreSQL that this program starts for itself. Then sessions and servers are ended,
// too.
//
// The exit status is 1 if the last two columns of the table at the end are not all 0. The
// seed and a round's number decide what is drawn for the round (scenario.go); what then
// happens (play.go) depends on the machine's timing, too. judge.go says what is wrong.
//
// On Windows, where processes cannot be interrupted and disks not be spoilt, it plays what
// is left and says what is not: "go run ./tools/wine -torture 40" runs it there under Wine.
//
// Everything runs on loopback and in one temporary directory. As root, or where user
// namespaces are allowed, the rounds run in a mount namespace with small file systems.
// PostgreSQL does not run as root, so with -store postgres that takes a real root, who
// can run it as another account.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"os/signal"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/exactauth/exactauth/internal/fault"
	"github.com/exactauth/exactauth/tools/program"
)

// options are the flags, and what is made of them.
type options struct {
	rounds  int
	seed    uint64
	worlds  int
	front   bool
	verbose bool
	only    string
	repeat  int
	storage string
	seal    string
	binary  string // the exactauth to torture

	dir    string // of all files
	mounts bool   // this process may mount
}

// insideEnv says that this is the process in the namespace.
const insideEnv = "EXACTAUTH_TORTURE_INSIDE"

// flagsEnv has flags that the front would not answer: the whole program behind it gets them.
const flagsEnv = "TORTURE_FLAGS"

func main() {
	o, err := parse(os.Args[1:])
	if err != nil {
		os.Exit(2)
	}
	o.mounts = os.Getenv(insideEnv) != ""
	if !o.mounts && (!o.shared() || os.Geteuid() == 0) {
		enterNamespace()
	}
	os.Exit(run(o))
}

func fail(err error) int {
	fmt.Fprintln(os.Stderr, "torture:", err)
	return 2
}

func parse(args []string) (o options, err error) {
	f := flag.NewFlagSet("torture", flag.ContinueOnError)
	f.IntVar(&o.rounds, "rounds", 1000, "how many rounds")
	f.Uint64Var(&o.seed, "seed", 0, "seed of what is drawn; 0 draws one")
	f.IntVar(&o.worlds, "worlds", worlds*runtime.NumCPU(), fmt.Sprintf("how many logins at a time; rounded up to a multiple of %d, the number of sorts of servers and disks", sorts))
	f.BoolVar(&o.front, "front", false, "build it as packages have it, the front before the whole program")
	f.BoolVar(&o.verbose, "v", false, "print every round")
	f.StringVar(&o.only, "only", "", "only scenarios whose name contains this")
	f.IntVar(&o.repeat, "repeat", -1, "in every round draw what is drawn for this one")
	f.StringVar(&o.storage, "store", "file", "where the logins are: file or postgres")
	f.StringVar(&o.seal, "seal", "none", "how they are sealed there: none or age")
	f.StringVar(&o.binary, "exactauth", "", "the `program` to torture; without it one is built")
	if err := f.Parse(args); err != nil {
		return o, err
	}
	o.worlds = (max(o.worlds, 1) + sorts - 1) / sorts * sorts
	switch {
	case o.storage != "file" && o.storage != "postgres", o.seal != "none" && o.seal != "age", f.NArg() > 0:
		err = errors.New("want -store file or postgres, -seal none or age, and no argument")
	case o.front && o.binary != "":
		err = errors.New("-front builds what it runs")
	case o.front && (o.shared() || o.seal != "none"):
		err = errors.New("the front serves unsealed files only")
	case len(o.scenarios()) == 0:
		err = fmt.Errorf("scenario.go has no scenario with %q in its name", o.only)
	}
	if err != nil {
		fail(err)
	}
	return o, err
}

func (o options) shared() bool { return o.storage == "postgres" }

func build(o options) (string, error) {
	path := filepath.Join(o.dir, "exactauth")
	programs := map[string]string{path: "exactauth"}
	if o.front {
		programs = map[string]string{path: "exactauth-front", path + "-whole": "exactauth"}
		script := "#!/bin/sh\nexec " + path + "-whole \"$@\" $" + flagsEnv + "\n"
		if err := os.WriteFile(path+"-full", []byte(script), 0o755); err != nil {
			return "", err
		}
	}
	return path, program.Build(programs)
}

func run(o options) int {
	var err error
	if o.dir, err = os.MkdirTemp("", "exactauth-torture-"); err != nil {
		return fail(err)
	}
	defer os.RemoveAll(o.dir)
	if o.binary == "" {
		o.binary, err = build(o)
	}
	if err != nil {
		return fail(err)
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	context.AfterFunc(ctx, stop) // a second signal ends at once

	if o.seed == 0 {
		o.seed = rand.Uint64N(1_000_000) + 1
	}
	fmt.Printf("torture: seed %d, %d rounds in %d worlds on %d CPUs, store %s, seal %s, front %t\n",
		o.seed, o.rounds, o.worlds, runtime.NumCPU(), o.storage, o.seal, o.front)
	began := time.Now()
	var db *database
	if o.shared() {
		if db, err = newDatabase(o); err != nil {
			return fail(err)
		}
		defer db.close()
	}
	var worlds []*world
	defer func() {
		for _, w := range worlds {
			w.close()
		}
	}()
	for i := range o.worlds {
		w, err := newWorld(o, i, db)
		if err != nil {
			return fail(err)
		}
		worlds = append(worlds, w)
	}

	t := &report{Table: program.NewTable(rounds, survived, explained, unexplained, wrongOtherwise), notes: map[string]int{}}
	var all sync.WaitGroup
	var output sync.Mutex
	for i, w := range worlds {
		all.Go(func() {
			// Apart from each other, or all would wait and all would work at the same time.
			_ = fault.Pause(ctx, time.Duration(i)*life/time.Duration(o.worlds))
			for n := i; n < o.rounds && ctx.Err() == nil; n += o.worlds {
				r := w.round(ctx, n)
				if ctx.Err() != nil && r.fate != survived {
					return // the signal may have reached the processes, too
				}
				output.Lock()
				t.add(r)
				if o.verbose || len(r.wrong) > 0 {
					r.print(os.Stdout)
				}
				output.Unlock()
				if r.abandon {
					return
				}
			}
		})
	}
	all.Wait()
	t.print(os.Stdout, o, time.Since(began))
	if len(impossible) > 0 {
		fmt.Printf("Not played on %s: %s.\n", runtime.GOOS, strings.Join(impossible, ", "))
	}
	switch {
	case t.Count(allRounds, unexplained, 0)+t.Count(allRounds, wrongOtherwise, 0) > 0:
		return 1
	case ctx.Err() != nil:
		return 130
	}
	if n := t.Count(allRounds, rounds, 0); n < o.rounds {
		return fail(fmt.Errorf("only %d of %d rounds were run", n, o.rounds))
	}
	return 0
}
