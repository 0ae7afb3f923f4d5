//go:build linux

package main

import (
	"cmp"
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

// counts counts what other work on the machine does not change, or hardly: what a call
// executes, maps, opens and initialises.
func (b *bench) counts() error {
	const times = 5
	alone, err := b.world.withoutFile()
	if err != nil {
		return err
	}
	commands := []command{
		{name: "Go hello", args: []string{b.hello}},
		{name: "cobra hello", args: []string{b.cobra, "hello"}},
		{name: "`token`, front", args: []string{b.packaged, "token"}},
		{name: "from the environment", args: append(alone, b.packaged, "token")},
		{name: "`token`, whole", args: []string{b.whole, "token"}},
		{name: "`version`, whole", args: []string{b.whole, "version"}},
	}
	say("counting")
	faults, err := b.inTurns(b.world.env(), 20, commands)
	if err != nil {
		return err
	}
	t := &table{head: []string{""}}
	rows := []string{"instructions, million", "page faults", "system calls", "threads", "files opened", "sockets and connections", "locks", "packages initialised", "their allocations", "their kB"}
	cells := make([][]string, len(rows))
	var opened []string
	var longest map[string]initialised
	for i, c := range commands {
		t.head = append(t.head, c.name)
		var instructions, calls, threads []float64
		var tr trace
		for range times {
			n, err := b.instructions(c.args)
			if err != nil {
				return err
			}
			if tr, err = b.trace(c.args); err != nil {
				return err
			}
			instructions, calls, threads = append(instructions, n), append(calls, tr.calls), append(threads, tr.threads)
		}
		inits, err := b.inits(c.args)
		if err != nil {
			return err
		}
		longest = inits
		var sum initialised
		for _, one := range inits {
			sum.allocs, sum.bytes = sum.allocs+one.allocs, sum.bytes+one.bytes
		}
		for j, n := range []float64{middle(instructions), faults[i].faults(), middle(calls), middle(threads), float64(len(tr.opened)),
			tr.sockets, tr.locks, float64(len(inits)), sum.allocs, sum.bytes / 1e3} {
			format := "%.0f"
			if j == 0 {
				format = "%.2f"
			}
			cells[j] = append(cells[j], fmt.Sprintf(format, n))
		}
		if len(tr.opened) > 0 {
			opened = append(opened, c.name+" opens "+strings.Join(tr.opened, ", "))
		}
	}
	for i, row := range rows {
		t.add(append([]string{row}, cells[i]...)...)
	}
	b.show(fmt.Sprintf("Medians of %d calls, of page faults 20; instructions in user mode, by callgrind; system calls by strace, without those of "+
		"the runtime that depend on the clock; what packages initialise by `GODEBUG=inittrace=1`. %s", times, strings.Join(opened, "; ")), t)

	names := slices.SortedFunc(maps.Keys(longest), func(x, y string) int {
		return cmp.Or(cmp.Compare(longest[y].allocs, longest[x].allocs), strings.Compare(x, y))
	})
	t = &table{head: []string{"package", "allocations", "bytes"}}
	for _, name := range names[:min(12, len(names))] {
		t.add("`"+name+"`", fmt.Sprint(longest[name].allocs), fmt.Sprint(longest[name].bytes))
	}
	b.show("`exactauth version` of the whole program with `GODEBUG=inittrace=1`", t)
	return nil
}

func middle(all []float64) float64 {
	slices.Sort(all)
	return all[len(all)/2]
}

// counting is a command below a tool, if that is installed.
func (b *bench) counting(tool string, flags, args []string) (*exec.Cmd, error) {
	path, err := exec.LookPath(tool)
	if err != nil {
		return nil, err
	}
	own := 0
	for strings.Contains(args[own], "=") {
		own++
	}
	cmd := exec.CommandContext(b.ctx, path, append(flags, args[own:]...)...)
	cmd.Env = append(b.world.env(), args[:own]...)
	return cmd, nil
}

var instructionRefs = regexp.MustCompile(`I\s+refs:\s+([0-9,]+)`)

// instructions returns millions of them; 0 without valgrind.
func (b *bench) instructions(args []string) (float64, error) {
	cmd, err := b.counting("valgrind", []string{"--tool=callgrind", "--callgrind-out-file=/dev/null"}, args)
	if err != nil {
		return 0, nil
	}
	cmd.Env = append(cmd.Env, "GODEBUG=asyncpreemptoff=1") // callgrind stumbles over its signals
	said, err := cmd.CombinedOutput()
	found := instructionRefs.FindSubmatch(said)
	if err != nil || found == nil {
		return 0, fmt.Errorf("valgrind: %v: %.500s", err, said)
	}
	n, err := strconv.ParseFloat(strings.ReplaceAll(string(found[1]), ",", ""), 64)
	return n / 1e6, err
}

// trace is what strace sees of a call.
type trace struct {
	calls, threads, sockets, locks float64
	opened                         []string // but what the runtime opens
}

var (
	systemCall = regexp.MustCompile(`(?m)^[0-9]+ +([a-z0-9_]+)\((.*)`)
	quoted     = regexp.MustCompile(`"([^"]*)"`)
)

func (b *bench) trace(args []string) (tr trace, err error) {
	out := filepath.Join(b.dir, "trace")
	cmd, err := b.counting("strace", []string{"-f", "-o", out}, args)
	if err != nil {
		return trace{}, nil // without strace
	}
	if said, err := cmd.CombinedOutput(); err != nil {
		return tr, fmt.Errorf("strace: %w: %.500s", err, said)
	}
	text, err := os.ReadFile(out)
	for _, call := range systemCall.FindAllStringSubmatch(string(text), -1) {
		tr.calls++
		switch name, rest := call[1], call[2]; name {
		case "nanosleep", "futex", "sched_yield", "tgkill", "getpid", "rt_sigreturn": // by the clock: the runtime's own
			tr.calls--
		case "clone", "clone3":
			tr.threads++
		case "socket", "connect", "sendto", "recvfrom":
			tr.sockets++
		case "flock":
			tr.locks++
		case "open", "openat", "openat2":
			if path := quoted.FindStringSubmatch(rest); path != nil && !strings.HasPrefix(path[1], "/sys/") && !strings.HasPrefix(path[1], "/proc/") {
				tr.opened = append(tr.opened, "`"+strings.TrimPrefix(path[1], b.world.dir+"/")+"`")
			}
		}
	}
	return tr, err
}

// initialised is what a package allocates before main.
type initialised struct{ allocs, bytes float64 }

var initLine = regexp.MustCompile(`(?m)^init (\S+) @.*, (\d+) bytes, (\d+) allocs$`)

func (b *bench) inits(args []string) (map[string]initialised, error) {
	cmd := exec.CommandContext(b.ctx, "env", args...)
	cmd.Env = append(b.world.env(), "GODEBUG=inittrace=1")
	said, err := cmd.CombinedOutput()
	all := map[string]initialised{}
	for _, line := range initLine.FindAllStringSubmatch(string(said), -1) {
		bytes, _ := strconv.ParseFloat(line[2], 64) // digits
		allocs, _ := strconv.ParseFloat(line[3], 64)
		all[line[1]] = initialised{allocs, bytes}
	}
	return all, err
}
