//go:build linux

package main

import (
	"bufio"
	"bytes"
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// parts takes one call apart.
func (b *bench) parts() error {
	for _, part := range []func() error{b.steps, b.counts, b.inits, b.leftOut, b.inside} {
		if err := part(); err != nil {
			return err
		}
	}
	return nil
}

// steps measures programs that do the first step of a call, the first two, and so
// on: what is between two of them is what a step takes in a new process.
func (b *bench) steps() error {
	say("steps of a call")
	const done = "abcde"
	names := []string{"start: exec, runtime, packages", "read the configuration", "parse it", "read the record", "decode it, judge the times", "write the token"}
	var commands []command
	for i := range names {
		path := filepath.Join(b.dir, "steps"+strconv.Itoa(i)) // a program each, else those that run oftener are in the caches
		if err := b.goBuild("", path, "./tools/bench/steps"); err != nil {
			return err
		}
		commands = append(commands, command{args: []string{path, done[:i]}})
	}
	commands = append(commands, command{args: []string{b.programs.packaged, "token"}}, command{args: []string{b.programs.hello}})
	all, err := b.inTurns(b.world.env(), b.rounds, commands)
	if err != nil {
		return err
	}
	unit := all[len(all)-1].wall()
	cpu := all[len(all)-1].cpu()
	t := &table{head: []string{"up to here", "× Go hello", "this step", "× in CPU time", "this step", "page faults"}}
	var before, cpuBefore float64
	for i, name := range names {
		x, y := all[i].wall()/unit, all[i].cpu()/cpu
		t.add(name, ratio(x), ratio(x-before), ratio(y), ratio(y-cpuBefore), fmt.Sprintf("%.0f", all[i].faults()))
		before, cpuBefore = x, y
	}
	front := all[len(names)]
	t.add("the front itself", ratio(front.wall()/unit), "", ratio(front.cpu()/cpu), "", fmt.Sprintf("%.0f", front.faults()))
	t.add("Go, hello world", "1.00", "", "1.00", "", fmt.Sprintf("%.0f", all[len(all)-1].faults()))
	return b.show("steps", fmt.Sprintf("Medians of %d rounds in turns", b.rounds), t)
}

// overlay makes a file for go build's -overlay.
func (b *bench) overlay(replace map[string]string) (string, error) {
	text, err := json.Marshal(map[string]any{"Replace": replace})
	if err != nil {
		return "", err
	}
	f, err := os.CreateTemp(b.dir, "overlay-*.json")
	if err != nil {
		return "", err
	}
	defer f.Close()
	_, err = f.Write(text)
	return f.Name(), err
}

// counts counts what no other work on the machine changes, or next to nothing.
func (b *bench) counts() error {
	say("instructions and system calls")
	const times = 5
	p := b.programs
	t := &table{head: []string{"", "Go hello", "front", "whole program"}}
	rows := []string{"instructions, million", "system calls", "threads", "page faults", "files opened", "sockets and connections", "locks", "init of packages, ms"}
	cells := make([][]string, len(rows))
	var notes []string
	commands := []command{{args: []string{p.hello}}, {args: []string{p.packaged, "token"}}, {args: []string{p.whole, "token"}}}
	faults, err := b.inTurns(b.world.env(), 20, commands)
	if err != nil {
		return err
	}
	for i, c := range commands {
		instructions, err := b.instructions(c.args, times)
		if err != nil {
			return err
		}
		traces := make([]trace, times)
		for j := range traces {
			if traces[j], err = b.trace(c.args); err != nil {
				return err
			}
		}
		counted := func(what func(trace) int) string {
			all := make([]int, times)
			for j, tr := range traces {
				all[j] = what(tr)
			}
			slices.Sort(all)
			return fmt.Sprint(all[times/2])
		}
		_, sum, err := b.initTimes(c.args)
		if err != nil {
			return err
		}
		for j, cell := range []string{
			instructions, counted(func(t trace) int { return t.calls }), counted(func(t trace) int { return t.threads }),
			fmt.Sprintf("%.0f", faults[i].faults()), counted(func(t trace) int { return len(t.own) }), counted(func(t trace) int { return t.sockets }),
			counted(func(t trace) int { return t.locks }), fmt.Sprintf("%.2f", sum),
		} {
			cells[j] = append(cells[j], cell)
		}
		if i > 0 {
			notes = append(notes, "The "+t.head[i+1]+" opens "+strings.Join(traces[0].own, ", ")+".")
			if traces[0].sockets+traces[0].locks > 0 {
				b.wrong("%s: %d calls for sockets, %d for locks", strings.Join(c.args, " "), traces[0].sockets, traces[0].locks)
			}
		}
	}
	for i, row := range rows {
		t.add(append([]string{row}, cells[i]...)...)
	}
	return b.show("counts", fmt.Sprintf("Medians of %d calls; instructions in user mode, by callgrind; system calls by strace, of all threads, which differ by some dozens from call to call", times), t, strings.Join(notes, " "))
}

// instructions counts those of a command, or gives "-" where there is no valgrind.
func (b *bench) instructions(args []string, times int) (string, error) {
	valgrind, err := exec.LookPath("valgrind")
	if err != nil {
		return "-", nil
	}
	var all []float64
	refs := regexp.MustCompile(`I\s+refs:\s+([0-9,]+)`)
	for range times {
		cmd := exec.CommandContext(b.ctx, valgrind, append([]string{"--tool=callgrind", "--callgrind-out-file=/dev/null"}, args...)...)
		cmd.Env = append(b.world.env(), "GODEBUG=asyncpreemptoff=1") // callgrind stumbles over its signals
		var errs bytes.Buffer
		cmd.Stderr = &errs
		if err := cmd.Run(); err != nil {
			return "", fmt.Errorf("valgrind: %w: %.500s", err, errs.Bytes())
		}
		m := refs.FindSubmatch(errs.Bytes())
		if m == nil {
			return "-", nil
		}
		n, err := strconv.ParseFloat(strings.ReplaceAll(string(m[1]), ",", ""), 64)
		if err != nil {
			return "", err
		}
		all = append(all, n/1e6)
	}
	slices.Sort(all)
	return fmt.Sprintf("%.2f", all[times/2]), nil
}

// trace is what strace sees of a call.
type trace struct {
	calls, threads, sockets, locks int
	own                            []string // what is opened beside what the runtime opens
}

func (b *bench) trace(args []string) (tr trace, err error) {
	strace, err := exec.LookPath("strace")
	if err != nil {
		return trace{}, nil // zeros tell it
	}
	out := filepath.Join(b.dir, "trace")
	cmd := exec.CommandContext(b.ctx, strace, append([]string{"-f", "-o", out}, args...)...)
	cmd.Env = b.world.env()
	if said, err := cmd.CombinedOutput(); err != nil {
		return trace{}, fmt.Errorf("strace: %w: %.500s", err, said)
	}
	f, err := os.Open(out)
	if err != nil {
		return trace{}, err
	}
	defer f.Close()
	call := regexp.MustCompile(`^[0-9]+ +([a-z0-9_]+)\((.*)`)
	quoted := regexp.MustCompile(`"([^"]*)"`)
	for lines := bufio.NewScanner(f); lines.Scan(); {
		m := call.FindStringSubmatch(lines.Text())
		if m == nil {
			continue // the rest of one, or an exit
		}
		tr.calls++
		switch name, rest := m[1], m[2]; name {
		case "clone", "clone3":
			tr.threads++
		case "socket", "connect", "sendto", "recvfrom":
			tr.sockets++
		case "flock":
			tr.locks++
		case "fcntl":
			if strings.Contains(rest, "_SETLK") {
				tr.locks++
			}
		case "open", "openat", "openat2":
			if q := quoted.FindStringSubmatch(rest); q != nil && !strings.HasPrefix(q[1], "/sys/") && !strings.HasPrefix(q[1], "/proc/") {
				tr.own = append(tr.own, "`"+strings.Replace(q[1], b.world.dir+"/", "", 1)+"`")
			}
		}
	}
	return tr, nil
}

// initTimes gives the time that each package's initialisation takes, and all of
// them, in milliseconds: medians.
func (b *bench) initTimes(args []string) (map[string]float64, float64, error) {
	const times = 21
	each := map[string][]float64{}
	var sums []float64
	line := regexp.MustCompile(`(?m)^init (\S+) @.*?, ([0-9.]+) ms clock`)
	for range times {
		cmd := exec.CommandContext(b.ctx, args[0], args[1:]...)
		cmd.Env = append(b.world.env(), "GODEBUG=inittrace=1")
		var errs bytes.Buffer
		cmd.Stderr = &errs
		if err := cmd.Run(); err != nil {
			return nil, 0, err
		}
		sum := 0.0
		for _, m := range line.FindAllStringSubmatch(errs.String(), -1) {
			took, err := strconv.ParseFloat(m[2], 64)
			if err != nil {
				return nil, 0, err
			}
			each[m[1]] = append(each[m[1]], took)
			sum += took
		}
		sums = append(sums, sum)
	}
	medians := map[string]float64{}
	for name, all := range each {
		slices.Sort(all)
		medians[name] = all[len(all)/2]
	}
	slices.Sort(sums)
	return medians, sums[times/2], nil
}

// inits shows what takes longest to be initialised.
func (b *bench) inits() error {
	say("initialisation of packages")
	times, sum, err := b.initTimes([]string{b.programs.whole, "version"})
	if err != nil {
		return err
	}
	names := slices.SortedFunc(maps.Keys(times), func(x, y string) int {
		return cmp.Or(cmp.Compare(times[y], times[x]), strings.Compare(x, y))
	})
	t := &table{head: []string{"package", "ms", "share of all"}}
	for _, name := range names[:min(12, len(names))] {
		t.add("`"+name+"`", fmt.Sprintf("%.3f", times[name]), fmt.Sprintf("%.0f %%", 100*times[name]/sum))
	}
	t.add(fmt.Sprintf("all %d that have something to initialise", len(names)), fmt.Sprintf("%.2f", sum), "")
	return b.show("init", "Medians of 21 calls of `exactauth version` of the whole program with `GODEBUG=inittrace=1`, which itself takes some of the time", t)
}

// leftOut measures the whole program without one or another part of it.
func (b *bench) leftOut() error {
	parts := []struct {
		name string
		dirs []string
	}{
		{"the PostgreSQL store", []string{"internal/tokenstore/pgstore"}},
		{"seals", []string{"internal/tokenstore/seal"}},
		{"Auth0", []string{"internal/auth0"}},
		{"the proxy", []string{"internal/exactapi"}},
		{"the sandbox's simulator", []string{"internal/exactsim"}},
	}
	everything := parts[0]
	everything.name, everything.dirs = "all of these", nil
	for _, p := range parts {
		everything.dirs = append(everything.dirs, p.dirs...)
	}
	commands := []command{{args: []string{b.programs.whole, "version"}}}
	names := []string{"nothing"}
	for i, p := range append(parts, everything) {
		say("without %s", p.name)
		replace := map[string]string{}
		for _, dir := range p.dirs {
			if err := hollow(filepath.Join(b.root, dir), filepath.Join(b.dir, "hollow", strconv.Itoa(i), filepath.Base(dir)), replace); err != nil {
				return err
			}
		}
		overlay, err := b.overlay(replace)
		if err != nil {
			return err
		}
		path := filepath.Join(b.dir, "without"+strconv.Itoa(i))
		if err := b.goBuild("", path, "./cmd/exactauth", "-overlay", overlay); err != nil {
			return errors.Join(fmt.Errorf("without %s", p.name), err)
		}
		names = append(names, p.name)
		commands = append(commands, command{args: []string{path, "version"}})
	}
	commands = append(commands, command{args: []string{b.programs.hello}})
	all, err := b.inTurns(b.world.env(), b.rounds, commands)
	if err != nil {
		return err
	}
	unit := all[len(all)-1].wall()
	t := &table{head: []string{"whole program without", "× Go hello", "less by", "instructions, million", "init ms", "peak RSS MiB", "binary MB"}}
	for i, name := range names {
		c := commands[i]
		instructions, sum, err := b.counted(c.args)
		if err != nil {
			return err
		}
		x := all[i].wall() / unit
		t.add(name, ratio(x), ratio(all[0].wall()/unit-x), instructions, fmt.Sprintf("%.2f", sum), fmt.Sprintf("%.1f", all[i].rss()), mb2(size(c.args[0])))
	}
	return b.show("leftout", fmt.Sprintf("`exactauth version`: medians of %d rounds in turns, of 21 calls for init, of 3 for instructions", b.rounds), t)
}

// counted gives how many millions of instructions a call takes, and for how many
// milliseconds its packages say that they initialised.
func (b *bench) counted(args []string) (instructions string, initMS float64, err error) {
	_, initMS, err = b.initTimes(args)
	if err == nil {
		instructions, err = b.instructions(args, 3)
	}
	return instructions, initMS, err
}
