//go:build linux

package main

import (
	"bufio"
	"cmp"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"runtime/debug"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// warmUps is how many rounds do not count.
const warmUps = 5

// command is something to measure.
type command struct {
	name string
	args []string // variables of its own as NAME=VALUE, then a program and its arguments
	want string   // its output; empty: any

	before func() error                    // prepares a run
	after  func(*once)                     // corrects what was measured
	do     func() (cpu float64, err error) // instead of a process; returns the processor time in ns
}

// program is the path of the command's program.
func (c command) program() string {
	for _, arg := range c.args {
		if !strings.Contains(arg, "=") {
			return arg
		}
	}
	return ""
}

// once is one run of a command, as measure.c saw it.
type once struct {
	wall, cpu time.Duration
	rss       int // KiB
	faults    int // of pages
	code      int
}

// runs are all runs of one command.
type runs []once

func (r runs) median(of func(once) float64) float64 {
	all := make([]float64, len(r))
	for i, o := range r {
		all[i] = of(o)
	}
	slices.Sort(all)
	n := len(all)
	return (all[(n-1)/2] + all[n/2]) / 2
}

func (r runs) wall() float64   { return r.median(func(o once) float64 { return float64(o.wall) }) }
func (r runs) cpu() float64    { return r.median(func(o once) float64 { return float64(o.cpu) }) }
func (r runs) faults() float64 { return r.median(func(o once) float64 { return float64(o.faults) }) }
func (r runs) rss() float64    { return r.median(func(o once) float64 { return float64(o.rss) / 1024 }) }

// failed is how many runs did not end with exit code 0.
func (r runs) failed() (n int) {
	for _, o := range r {
		if o.code != 0 {
			n++
		}
	}
	return n
}

// meter is a measure.c that runs commands when it is asked to.
type meter struct {
	process *exec.Cmd
	to      io.WriteCloser
	from    *bufio.Reader
}

func (b *bench) meter(env []string, commands []command) (_ *meter, err error) {
	args := []string{"serve", os.DevNull}
	for _, c := range commands {
		if args = append(append(args, "--"), c.args...); c.do != nil {
			args = append(args, "never")
		}
	}
	m := &meter{process: exec.CommandContext(b.ctx, b.measure, args...)}
	m.process.Env, m.process.Stderr = env, os.Stderr
	if m.to, err = m.process.StdinPipe(); err != nil {
		return nil, err
	}
	from, err := m.process.StdoutPipe()
	if err != nil {
		return nil, err
	}
	m.from = bufio.NewReader(from)
	return m, m.process.Start()
}

func (m *meter) run(i int) (o once, err error) {
	if _, err := fmt.Fprintln(m.to, i); err != nil {
		return o, err
	}
	line, err := m.from.ReadString('\n')
	if err == nil {
		_, o, err = parse(line)
	}
	return o, err
}

func (m *meter) end() error {
	m.to.Close()
	return m.process.Wait()
}

func parse(line string) (i int, o once, err error) {
	var cpu int
	if _, err := fmt.Sscan(line, &i, &o.wall, &cpu, &o.rss, &o.faults, &o.code); err != nil {
		return 0, o, fmt.Errorf("measure printed %q: %w", line, err)
	}
	o.cpu = time.Duration(cpu) * time.Microsecond
	return i, o, nil
}

// inTurns runs each command in each round, in another random order each round, after
// warmUps rounds that do not count. A run that fails is an error.
func (b *bench) inTurns(env []string, rounds int, commands []command) (all []runs, err error) {
	order := make([]int, len(commands))
	for i, c := range commands {
		order[i] = i
		if c.do == nil {
			if err := dropFromCache(c.program()); err != nil {
				return nil, err
			}
		}
	}
	m, err := b.meter(env, commands)
	if err != nil {
		return nil, err
	}
	defer func() { err = cmp.Or(err, m.end()) }()
	all = make([]runs, len(commands))
	defer debug.SetGCPercent(debug.SetGCPercent(-1)) // it would run beside what is measured
	for round := -warmUps; round < rounds; round++ {
		runtime.GC()
		if round%20 == 0 {
			say("round %d of %d", round, rounds)
		}
		rand.Shuffle(len(order), func(i, j int) { order[i], order[j] = order[j], order[i] })
		for _, i := range order {
			o, err := m.turn(i, commands[i])
			if err != nil {
				return nil, fmt.Errorf("%s: %w", commands[i].name, err)
			}
			if round >= 0 {
				all[i] = append(all[i], o)
			}
		}
	}
	return all, nil
}

func (m *meter) turn(i int, c command) (o once, err error) {
	if c.before != nil {
		if err := c.before(); err != nil {
			return o, err
		}
	}
	if c.do != nil {
		cpu, err := c.do()
		return once{cpu: time.Duration(cpu)}, err
	}
	if o, err = m.run(i); err == nil && o.code != 0 {
		err = fmt.Errorf("exit code %d", o.code)
	}
	if err == nil && c.after != nil {
		c.after(&o)
	}
	return o, err
}

// single runs a command once.
func (b *bench) single(env []string, args ...string) (o once, err error) {
	m, err := b.meter(env, []command{{args: args}})
	if err != nil {
		return o, err
	}
	o, err = m.turn(0, command{})
	return o, cmp.Or(err, m.end())
}

// measured runs a burst of measure.c and returns its runs, and how long all took.
func (b *bench) measured(env, args []string) (all runs, total time.Duration, err error) {
	out, err := output(b.ctx, env, "", append([]string{b.measure, "burst"}, args...)...)
	if err != nil {
		return nil, 0, err
	}
	for line := range strings.Lines(out) {
		if _, err := fmt.Sscanf(line, "all %d", &total); err == nil {
			continue
		}
		_, o, err := parse(line)
		if err != nil {
			return nil, 0, err
		}
		all = append(all, o)
	}
	return all, total, nil
}

// works runs a command once and checks what it prints.
func (b *bench) works(env []string, c command) error {
	got, err := output(b.ctx, env, "", append([]string{"env"}, c.args...)...)
	if err == nil && c.want != "" && got != c.want {
		err = fmt.Errorf("%s printed %.60q, want %.60q", strings.Join(c.args, " "), got, c.want)
	}
	return err
}

// dropFromCache has a program read from the disk at its next start, as after a boot.
// Otherwise a program that a linker or cp has just written takes up to a fifth more or
// less time than one that was read, and other memory.
func dropFromCache(program string) error {
	path, err := filepath.EvalSymlinks(program)
	if err != nil {
		return err
	}
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	if err := f.Sync(); err != nil {
		return err
	}
	return unix.Fadvise(int(f.Fd()), 0, 0, unix.FADV_DONTNEED)
}
