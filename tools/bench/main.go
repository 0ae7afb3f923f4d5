//go:build linux

// Command bench measures what a call of exactauth costs, beside other programs
// that print a token, and writes what docs/performance.md shows.
//
//	go run ./tools/bench                                   one call: a table, some minutes
//	go run ./tools/bench -load                             200 calls at once
//	go run ./tools/bench -parts                            where the time of a call goes
//	go run ./tools/bench -imports                          what libraries cost; fetches them
//	go run ./tools/bench -all -peers build -write          everything, into docs
//
// It compares with whatever of gh, kubelogin, oauth2l, oidc-token, jq and age it
// finds in PATH. Everything runs on loopback and in one temporary directory.
//
// What is measured are whole processes from outside, by measure.c, in turns. Times
// never decide the exit status; it is 1 if a call that should not have spoke to the
// server, if one failed, if there was more than one refresh, or if a program has
// grown beyond its limit.
package main

import (
	"context"
	_ "embed"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
)

//go:embed measure.c
var measureSource []byte

// bench is one run of this program.
type bench struct {
	ctx     context.Context
	root    string // of the repository
	dir     string // of all that is made
	measure string // the compiled measure.c
	rounds  int
	bursts  int
	write   bool

	programs programs
	world    *world
	caption  string   // when and where
	faults   []string // what is wrong whatever the machine was doing
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	b := &bench{ctx: ctx}
	err := b.run()
	stop()
	for _, fault := range b.faults {
		fmt.Fprintln(os.Stderr, "bench: WRONG:", fault)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
	}
	if err != nil || len(b.faults) > 0 {
		os.Exit(1)
	}
}

func (b *bench) run() (err error) {
	var load, parts, imports, all bool
	var peers string
	flag.IntVar(&b.rounds, "rounds", 200, "how often each command runs")
	flag.IntVar(&b.bursts, "bursts", 15, "how often each burst of -load runs")
	flag.BoolVar(&load, "load", false, "measure many calls at once instead")
	flag.BoolVar(&parts, "parts", false, "take one call apart instead")
	flag.BoolVar(&imports, "imports", false, "measure libraries instead, which are fetched")
	flag.BoolVar(&all, "all", false, "measure all of it")
	flag.BoolVar(&b.write, "write", false, "write what was measured into docs")
	flag.StringVar(&peers, "peers", "installed", "other programs to compare with: installed, build (those written in Go, from the module proxy) or none")
	flag.Parse()
	if flag.NArg() > 0 || b.rounds < 3 || b.bursts < 1 || peers != "installed" && peers != "build" && peers != "none" {
		flag.Usage()
		os.Exit(2)
	}

	out, err := exec.CommandContext(b.ctx, "go", "list", "-m", "-f", "{{.Dir}}").Output()
	if err != nil {
		return fmt.Errorf("go list -m: %w", err)
	}
	b.root = strings.TrimSpace(string(out))
	if b.dir, err = os.MkdirTemp("", "exactauth-bench-"); err != nil {
		return err
	}
	defer os.RemoveAll(b.dir)
	if err := os.Chmod(b.dir, 0o711); err != nil { // PostgreSQL may be another account's
		return err
	}
	var busy bool
	if b.caption, busy = machine(b.dir); busy {
		say("the machine is busy: take the times for a rehearsal")
	}
	if err := b.prepare(); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, b.world.close()) }()

	if all || !load && !parts && !imports {
		if err := b.startup(peers); err != nil {
			return err
		}
	}
	if all || load {
		if err := b.load(); err != nil {
			return err
		}
	}
	if all || parts {
		if err := b.parts(); err != nil {
			return err
		}
	}
	if all || imports {
		return b.libraries()
	}
	return nil
}

// prepare compiles what measures and what is measured, and signs in.
func (b *bench) prepare() (err error) {
	cc, err := exec.LookPath("cc")
	if err != nil {
		return fmt.Errorf("there is no C compiler: measure.c has to be compiled, because a process that a Go program starts seems as large as that: %w", err)
	}
	source := filepath.Join(b.dir, "measure.c")
	b.measure = filepath.Join(b.dir, "measure")
	if err := os.WriteFile(source, measureSource, 0o600); err != nil {
		return err
	}
	if err := b.tool("", nil, cc, "-O2", "-o", b.measure, source); err != nil {
		return err
	}
	if b.programs, err = b.build(); err != nil {
		return err
	}
	b.world, err = newWorld(filepath.Join(b.dir, "world"), b.programs.whole)
	return err
}

// tool runs a command that must work, in a directory of its own unless that is
// empty, with these variables beside ours.
func (b *bench) tool(dir string, env []string, name string, args ...string) error {
	cmd := exec.CommandContext(b.ctx, name, args...)
	cmd.Dir = dir
	if dir == "" {
		cmd.Dir = b.root
	}
	cmd.Env = append(os.Environ(), env...)
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("%s: %w\n%s", strings.Join(cmd.Args, " "), err, out)
	}
	return nil
}

// wrong notes what no busy machine excuses.
func (b *bench) wrong(format string, args ...any) {
	b.faults = append(b.faults, fmt.Sprintf(format, args...))
}

// say prints what is going on; the tables go to standard output.
func say(format string, args ...any) { fmt.Fprintf(os.Stderr, "bench: "+format+"\n", args...) }
