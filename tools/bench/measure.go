//go:build linux

package main

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// command is something to measure.
type command struct {
	name string
	args []string
	want string // its output; empty: any
}

// once is one run of a command, as measure.c saw it.
type once struct {
	wall, cpu time.Duration
	rss       int // KiB
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

func (r runs) wall() float64 { return r.median(func(o once) float64 { return float64(o.wall) }) }
func (r runs) cpu() float64  { return r.median(func(o once) float64 { return float64(o.cpu) }) }
func (r runs) rss() float64  { return r.median(func(o once) float64 { return float64(o.rss) / 1024 }) }

// failed is how many runs did not end with exit code 0.
func (r runs) failed() (n int) {
	for _, o := range r {
		if o.code != 0 {
			n++
		}
	}
	return n
}

// inTurns runs each command b.rounds times, in another random order each round, after
// five rounds that do not count. A run that fails is an error.
func (b *bench) inTurns(env []string, commands []command) ([]runs, error) {
	args := []string{"turns", strconv.Itoa(b.rounds), "5", "1", os.DevNull}
	for _, c := range commands {
		if err := dropFromCache(c.args[0]); err != nil {
			return nil, err
		}
		args = append(append(args, "--"), c.args...)
	}
	all, _, err := b.measured(env, args, len(commands))
	if err != nil {
		return nil, err
	}
	for i, r := range all {
		if n := r.failed(); n > 0 {
			return nil, fmt.Errorf("%s failed %d times of %d", strings.Join(commands[i].args, " "), n, len(r))
		}
	}
	return all, nil
}

// measured runs measure.c and returns the runs of each command, and how long the whole
// burst took.
func (b *bench) measured(env, args []string, commands int) (all []runs, total time.Duration, err error) {
	out, err := output(b.ctx, env, "", append([]string{b.measure}, args...)...)
	if err != nil {
		return nil, 0, err
	}
	all = make([]runs, commands)
	for line := range strings.Lines(out) {
		if _, err := fmt.Sscanf(line, "all %d", &total); err == nil {
			continue
		}
		var i, cpu int
		var o once
		if _, err := fmt.Sscan(line, &i, &o.wall, &cpu, &o.rss, &o.code); err != nil {
			return nil, 0, fmt.Errorf("measure printed %q: %w", line, err)
		}
		o.cpu = time.Duration(cpu) * time.Microsecond
		all[i%commands] = append(all[i%commands], o)
	}
	return all, total, nil
}

// works runs a command once and checks what it prints.
func (b *bench) works(env []string, c command) error {
	got, err := output(b.ctx, env, "", c.args...)
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
