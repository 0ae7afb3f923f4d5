//go:build linux

// Command bench measures what a call of exactauth costs, as a multiple of a Go hello
// world and beside other programs that print a token. docs/performance.md shows the
// results.
//
//	go run ./tools/bench                 all of it
//	go run ./tools/bench -counts         instructions, page faults, system calls, initialisation; two minutes
//	go run ./tools/bench -calls          one call at a time, all in turns: tokens, requests, proxies, peers; some minutes
//	go run ./tools/bench -load           200 calls at once
//	go run ./tools/bench -scale          up to 2,000 calls, 500 profiles, 100,000 files, records of 1 MB, 12,000 divisions, 24 machines
//	go run ./tools/bench -peers build    with peers from the module proxy
//
// Everything runs on loopback and in one temporary directory. measure.c times whole
// processes from outside. Times never decide the exit status. It is 1 if a call
// failed, printed a wrong token or sent a request that it should not, or if one of our
// programs is larger than its limit.
package main

import (
	"context"
	_ "embed"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
)

//go:embed measure.c
var measureSource []byte

// Limits of stripped programs for amd64, in bytes.
const (
	frontLimit = 3_000_000
	wholeLimit = 12_100_000
)

// bench is one run of this command.
type bench struct {
	ctx     context.Context
	dir     string // of everything that is made
	measure string // the compiled measure.c
	rounds  int
	bursts  int
	peers   string

	packaged string // exactauth as packages install it: the front, the whole program behind it
	whole    string // exactauth as "go install" makes it
	hello    string // a Go hello world
	cobra    string // the same as a command of cobra's
	plain    string // requests and a proxy with net/http alone
	world    *world
	caption  string   // when and where
	faults   []string // what is wrong on a machine of any speed
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
	type part struct {
		flag, what string
		run        func() error
		on         bool
	}
	parts := []part{
		{flag: "counts", what: "what a call executes, opens and initialises", run: b.counts},
		{flag: "calls", what: "one call at a time, all in turns", run: b.calls},
		{flag: "load", what: "many calls at once", run: b.load},
		{flag: "scale", what: "how the cost grows with what there is", run: b.scale},
	}
	flag.IntVar(&b.rounds, "rounds", 200, "how often each command runs")
	flag.IntVar(&b.bursts, "bursts", 15, "how often each burst of -load runs")
	for i := range parts {
		flag.BoolVar(&parts[i].on, parts[i].flag, false, "measure "+parts[i].what+"; without such a flag everything is measured")
	}
	flag.StringVar(&b.peers, "peers", "installed", "other programs to compare with: installed, build (from the module proxy) or none")
	flag.Parse()
	if flag.NArg() > 0 || b.rounds < 3 || b.bursts < 1 || b.peers != "installed" && b.peers != "build" && b.peers != "none" {
		flag.Usage()
		os.Exit(2)
	}
	if b.dir, err = os.MkdirTemp("", "exactauth-bench-"); err != nil {
		return err
	}
	defer os.RemoveAll(b.dir)
	if err := os.Chmod(b.dir, 0o711); err != nil { // PostgreSQL may run as another account
		return err
	}
	b.caption = machine()
	if err := b.prepare(); err != nil {
		return err
	}
	defer b.world.close()
	everything := !slices.ContainsFunc(parts, func(p part) bool { return p.on })
	for _, p := range parts {
		if p.on || everything {
			if err := p.run(); err != nil {
				return err
			}
		}
	}
	return nil
}

// prepare compiles what measures and what is measured, and signs in.
func (b *bench) prepare() (err error) {
	say("building")
	b.measure = filepath.Join(b.dir, "measure")
	source := b.measure + ".c"
	if err := os.WriteFile(source, measureSource, 0o600); err != nil {
		return err
	}
	if _, err := output(b.ctx, os.Environ(), "", "cc", "-O2", "-o", b.measure, source); err != nil {
		return fmt.Errorf("measure.c needs a C compiler: %w", err)
	}
	b.packaged = filepath.Join(b.dir, "packaged", "exactauth")
	b.whole = filepath.Join(b.dir, "whole", "exactauth")
	b.hello, b.cobra, b.plain = filepath.Join(b.dir, "hello"), filepath.Join(b.dir, "cobra"), filepath.Join(b.dir, "plain")
	for path, name := range map[string]string{b.packaged: "cmd/exactauth-front", b.whole: "cmd/exactauth",
		b.hello: "tools/bench/hello", b.cobra: "tools/bench/cobra", b.plain: "tools/bench/plain"} {
		// As .goreleaser.yaml does.
		if err := b.compile(nil, "build", "-o", path, "github.com/exactauth/exactauth/"+name); err != nil {
			return err
		}
	}
	if err := os.Link(b.whole, b.packaged+"-full"); err != nil {
		return err
	}
	for path, limit := range map[string]int64{b.packaged: frontLimit, b.whole: wholeLimit} {
		if n := size(path); n > limit {
			b.wrong("%s has %d bytes, more than %d", path, n, limit)
		}
	}
	b.world, err = newWorld(b.ctx, filepath.Join(b.dir, "world"), b.whole)
	return err
}

// compile runs "go build" or "go install" for a program that is measured.
func (b *bench) compile(env []string, verb string, args ...string) error {
	args = append([]string{"go", verb, "-trimpath", "-ldflags", "-s -w"}, args...)
	_, err := output(b.ctx, append(append(os.Environ(), "CGO_ENABLED=0"), env...), "", args...)
	return err
}

// output runs a command that must succeed and returns what it prints.
func output(ctx context.Context, env []string, stdin string, args ...string) (string, error) {
	cmd := exec.CommandContext(ctx, args[0], args[1:]...)
	var errs strings.Builder
	cmd.Env, cmd.Stdin, cmd.Stderr = env, strings.NewReader(stdin), &errs
	out, err := cmd.Output()
	if err != nil {
		return "", fmt.Errorf("%s: %w: %.2000s", strings.Join(args, " "), err, errs.String())
	}
	return strings.TrimSpace(string(out)), nil
}

// wrong notes a fault that a slow machine does not explain.
func (b *bench) wrong(format string, args ...any) {
	b.faults = append(b.faults, fmt.Sprintf(format, args...))
}

// say reports progress; the tables go to standard output.
func say(format string, args ...any) { fmt.Fprintf(os.Stderr, "bench: "+format+"\n", args...) }

// size is the size of a file, 0 if it cannot be read.
func size(path string) int64 {
	info, err := os.Stat(path)
	if err != nil {
		return 0
	}
	return info.Size()
}
