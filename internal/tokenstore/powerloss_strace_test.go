//go:build linux

package tokenstore_test

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// recordEnv makes TestPowerLoss the process that strace watches: it names the
// scenario and the directory.
const recordEnv = "TOKENSTORE_TEST_RECORD"

// successors, as the scenario, is the work of the successors of killed processes, each
// in a directory of its own.
const successors = "successors"

// recordedUmask is that process's.
const recordedUmask = 0o077

// The points that the watched process marks in each step, by a write to stderr.
const (
	markWord      = "powerloss"
	pointKilled   = "killed" // the step begins with what another process left
	pointCalled   = "called"
	pointChange   = "change"
	pointReturned = "returned"
)

// recordIfAsked does a scenario if this process is the one to be watched.
func recordIfAsked(t *testing.T) bool {
	name, base, asked := strings.Cut(os.Getenv(recordEnv), ":")
	if !asked {
		return false
	}
	mark := func(point, step string) {
		fmt.Fprintf(os.Stderr, "%s:%s:%s\n", markWord, point, step)
	}
	if name != successors {
		if err := scenarios[name].run(base, mark); err != nil {
			t.Error(err)
		}
		return true
	}
	dir := scenarios[interrupted].dir
	for _, id := range files(t, base) {
		found := current(func(name string) []byte {
			b, err := os.ReadFile(filepath.Join(base, id, dir, name))
			if err != nil && !errors.Is(err, fs.ErrNotExist) {
				t.Fatal(err)
			}
			return b
		})
		sc := scenario{dir: dir, steps: []step{successor(id, found)}}
		if err := sc.run(filepath.Join(base, id), mark); err != nil {
			t.Error(err)
		}
	}
	return true
}

// requireStrace skips where strace is absent or may not trace, unless
// EXACTAUTH_TEST_REQUIRE demands it.
func requireStrace(t *testing.T) {
	t.Helper()
	out, err := exec.Command("strace", "-f", "-o", os.DevNull, "true").CombinedOutput()
	if err == nil {
		return
	}
	if slices.Contains(strings.Split(os.Getenv("EXACTAUTH_TEST_REQUIRE"), ","), "strace") {
		t.Fatalf("EXACTAUTH_TEST_REQUIRE demands strace: %v\n%s", err, out)
	}
	t.Skipf("needs strace, to see what the store does in which order: %v\n%s", err, out)
}

// recordScenario does a scenario in a process of its own and returns what it did.
func recordScenario(t *testing.T, name string) []op {
	t.Helper()
	base := newBase(t)
	for _, dir := range scenarios[name].exist {
		if err := os.Mkdir(filepath.Join(base, dir), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	return watch(t, name, base)
}

// recordSuccessors has each successor go on from what was there before it.
func recordSuccessors(t *testing.T, before map[string]image) map[string][]op {
	t.Helper()
	base := newBase(t)
	for id, im := range before {
		dir := filepath.Join(base, id)
		if err := errors.Join(os.Mkdir(dir, 0o700), im.make(dir)); err != nil {
			t.Fatal(err)
		}
	}
	did := map[string][]op{}
	id := ""
	for _, o := range watch(t, successors, base) {
		if o.kind == opMark {
			id = o.to
		} else {
			for _, path := range []*string{&o.path, &o.to} {
				*path = strings.TrimPrefix(strings.TrimPrefix(*path, id), "/")
			}
			if o.path == "" {
				o.path = "."
			}
		}
		did[id] = append(did[id], o)
	}
	return did
}

// newBase returns a new directory, under the name that strace will show.
func newBase(t *testing.T) string {
	t.Helper()
	dir, err := filepath.EvalSymlinks(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	return dir
}

func watch(t *testing.T, scenario, base string) []op {
	t.Helper()
	log := filepath.Join(t.TempDir(), "log")
	cmd := exec.Command("strace", "-f", "-y", "-xx", "-s", "1000000", "-e", "trace=%file,%desc", "-e", "signal=none", "-o", log,
		os.Args[0], "-test.run=^TestPowerLoss$")
	cmd.Env = append(os.Environ(), recordEnv+"="+scenario+":"+base,
		"GORACE=atexit_sleep_ms=0") // otherwise a second each under -race
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("the recorded run: %v\n%s", err, out)
	}
	b, err := os.ReadFile(log)
	if err != nil {
		t.Fatal(err)
	}
	ops, err := parse(b, base)
	if err != nil {
		t.Fatal(err)
	}
	return ops
}

// harmless calls change neither files nor the place of the next write.
var harmless = []string{
	"access", "close", "epoll_ctl", "execve", "faccessat", "faccessat2", "fadvise64", "fcntl", "flock", "fstat", "fstatfs",
	"getdents64", "lstat", "newfstatat", "pread64", "read", "readlink", "readlinkat", "stat", "statfs", "statx",
}

// parse makes a list of operations below base of strace's log, in the order in
// which they were finished; they came from one goroutine, though from several
// threads. A call that names a file there and is not known to it is an error, so
// that nothing can be overlooked.
func parse(log []byte, base string) (ops []op, err error) {
	begun := map[string]string{} // by thread
	place := map[string]int{}    // of the next write, by file descriptor
	for line := range strings.Lines(string(log)) {
		thread, rest, _ := strings.Cut(strings.TrimSuffix(line, "\n"), " ")
		rest = strings.TrimLeft(rest, " ")
		if call, ok := strings.CutSuffix(rest, " <unfinished ...>"); ok {
			begun[thread] = call
			continue
		}
		if strings.HasPrefix(rest, "<... ") {
			_, more, _ := strings.Cut(rest, " resumed>")
			rest = begun[thread] + more
		}
		if strings.HasPrefix(rest, "+++ ") || strings.HasPrefix(rest, "--- ") {
			continue // the end of a thread, a signal
		}
		call, args, ok := strings.Cut(rest, "(")
		end := strings.LastIndex(args, " = ")
		if !ok || end < 0 {
			return nil, fmt.Errorf("strace: not understood: %.300s", line)
		}
		args, result := strings.TrimSuffix(strings.TrimRight(args[:end], " "), ")"), args[end+len(" = "):]
		if strings.HasPrefix(result, "-1 ") {
			continue // what failed changed nothing
		}
		more, err := parseCall(call, strings.Split(args, ", "), result, base, place)
		if err != nil {
			return nil, fmt.Errorf("strace: %w: %.300s", err, line)
		}
		ops = append(ops, more...)
	}
	return ops, nil
}

func parseCall(call string, args []string, result, base string, place map[string]int) (_ []op, err error) {
	// The parts of a call. A failure is kept in err and the part empty.
	text := func(i int) string {
		s, e := strconv.Unquote(args[i])
		if e != nil && err == nil {
			err = fmt.Errorf("argument %d is no whole string", i)
		}
		return s
	}
	data := func(i, n int) string {
		s := text(i)
		if len(s) < n && err == nil {
			err = fmt.Errorf("argument %d has %d bytes of %d", i, len(s), n)
		}
		return s[:min(n, len(s))]
	}
	number := func(s string, base int) int {
		n, e := strconv.ParseInt(s, base, 0)
		if e != nil && err == nil {
			err = e
		}
		return int(n)
	}
	below := func(path string) (string, bool) {
		rel, e := filepath.Rel(base, path)
		return rel, e == nil && filepath.IsLocal(rel)
	}
	fd := func(s string) (number, path string) {
		number, path, ok := strings.Cut(strings.TrimSuffix(s, ">"), "<")
		if !ok {
			return number, ""
		}
		if p, e := strconv.Unquote(`"` + path + `"`); e == nil { // newer ones escape it
			path = p
		}
		return number, path
	}
	at := func(i int) string { // the path that a directory and a name in it mean
		_, dir := fd(args[i])
		path := text(i + 1)
		if !filepath.IsAbs(path) {
			path = filepath.Join(dir, path)
		}
		return path
	}
	one := func(path string, o op) ([]op, error) {
		rel, ok := below(path)
		if !ok {
			return nil, nil
		}
		o.path = rel
		return []op{o}, err
	}

	num, path := fd(args[0])
	switch call {
	case "openat":
		path = at(0)
		flags := strings.Split(args[2], "|")
		num, _ = fd(result)
		place[num] = 0
		if _, ours := below(path); !ours {
			return nil, err
		}
		if slices.Contains(flags, "O_APPEND") {
			return nil, fmt.Errorf("appending is not modelled")
		}
		var ops []op
		if slices.Contains(flags, "O_CREAT") {
			ops, err = one(path, op{kind: opCreate, mode: fs.FileMode(number(args[3], 8)) &^ recordedUmask})
		}
		if slices.Contains(flags, "O_TRUNC") {
			more, _ := one(path, op{kind: opTruncate})
			ops = append(ops, more...)
		}
		return ops, err
	case "write":
		n, off := number(result, 10), place[num]
		place[num] += n
		if num == "2" {
			mark := strings.Split(strings.TrimSpace(text(1)), ":")
			if len(mark) == 3 && mark[0] == markWord {
				return []op{{kind: opMark, path: mark[1], to: mark[2]}}, nil
			}
		}
		if _, ours := below(path); !ours {
			return nil, nil
		}
		return one(path, op{kind: opWrite, off: off, data: data(1, n)})
	case "pwrite64":
		return one(path, op{kind: opWrite, off: number(args[3], 10), data: data(1, number(result, 10))})
	case "ftruncate":
		return one(path, op{kind: opTruncate, off: number(args[1], 10)})
	case "fallocate":
		if args[1] == "FALLOC_FL_KEEP_SIZE" && args[2] == "0" {
			return one(path, op{kind: opAllocate, off: number(args[3], 10)})
		}
	case "fchmod":
		return one(path, op{kind: opChmod, mode: fs.FileMode(number(args[1], 8))})
	case "fsync":
		return one(path, op{kind: opFsync})
	case "mkdirat":
		return one(at(0), op{kind: opMkdir, mode: fs.FileMode(number(args[2], 8)) &^ recordedUmask})
	case "unlinkat":
		if args[2] == "0" {
			return one(at(0), op{kind: opUnlink})
		}
	case "renameat", "renameat2":
		if len(args) == 4 || args[4] == "0" {
			to, ok := below(at(2))
			if !ok {
				return nil, err
			}
			return one(at(0), op{kind: opRename, to: to})
		}
	default:
		if slices.Contains(harmless, call) {
			return nil, nil
		}
	}
	all := strings.Join(args, ", ")
	if strings.Contains(all, base) || strings.Contains(all, hex(base)) {
		return nil, fmt.Errorf("%s is not modelled", call)
	}
	return nil, nil
}

// hex is s as strace -xx writes it.
func hex(s string) string {
	var b bytes.Buffer
	for _, c := range []byte(s) {
		fmt.Fprintf(&b, `\x%02x`, c)
	}
	return b.String()
}
