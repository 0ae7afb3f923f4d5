//go:build linux

package tokenstore_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/exactauth/exactauth/internal/record"
	"github.com/exactauth/exactauth/internal/tokenstore"
)

// Power may fail between any two system calls, and data that was not synced may then
// be on the disk, or not, or in part. These tests record the system calls of a real
// run with strace (powerloss_strace_test.go), cut the recording off at every
// point, compute each disk that a power loss may leave there
// (powerloss_disk_test.go), put it into a directory and read it with a new store.
//
// A scenario is a sequence of steps, each an Update or a Delete. The rules, for
// every disk:
//
//   - Until change is called, the record is the old one. The record that change gets
//     is durable: it may contain a mark that is needed after a power loss, or a token
//     that change uses up. Not so if the step is repeatable: then that may be lost until
//     the step has returned.
//   - From the first write on, the record is the old one or the new one, whole: a result
//     that was synced and not renamed is taken up.
//   - After the step has returned, the record is the new one. After a Delete, only
//     empty files are left.
//   - When change is called, the disk has room for its result: blocks that were allocated,
//     or that were written and synced.
//   - An Update and a Delete succeed, whatever files are left.
//
// The same rules hold for a process that continues where another was killed, after any
// operation of that: the files that the system shows need not be on the disk.

const (
	recName = "rec"
	none    = "" // no record
)

type step struct {
	name  string
	found string // the record that the step finds
	left  string // and the one that it leaves

	// change is Update's; without one the step is a Delete.
	change func(old []byte) ([]byte, error)
	fails  string // Update's error, or what change panics with
	repeat bool   // it is repeatable

	// killed is what another process left, unsynced, when it was killed.
	killed func(dir string) error
}

type scenario struct {
	dir   string   // the store's, below the directory of the test
	exist []string // directories that are there, and durable, before the first step
	steps []step
}

// Each record is later than one with an earlier letter, and whole if it ends with a dot.
var (
	first   = strings.Repeat("a", 3000) + "."
	longer  = strings.Repeat("b", 20000) + "." // than the room that is made beside a first record
	shorter = strings.Repeat("c", 700) + "."
	last    = strings.Repeat("d", 3000) + "."
)

// supersedes is how the store judges what an earlier process left; stored is nil if there is no record.
func supersedes(left, stored []byte) bool {
	whole := func(record []byte) bool {
		letters, dotted := bytes.CutSuffix(record, []byte("."))
		return dotted && len(letters) > 0 && len(bytes.Trim(letters, string(letters[:1]))) == 0
	}
	return whole(left) && (stored == nil || whole(stored) && left[0] > stored[0])
}

func newStore(dir string, warn func(string)) *tokenstore.Files {
	s := tokenstore.NewFiles(dir, warn)
	s.TakeUp(func(_ string, left, stored []byte) (bool, error) { return supersedes(left, stored), nil })
	return s
}

func result(record string) func([]byte) ([]byte, error) {
	return func([]byte) ([]byte, error) { return []byte(record), nil }
}

// leave leaves the temporary file of a process that was killed.
func leave(content string) func(dir string) error {
	return func(dir string) error {
		return os.WriteFile(filepath.Join(dir, recName+".tmp"), []byte(content), 0o600)
	}
}

var scenarios = map[string]scenario{
	"records": {dir: "state", exist: []string{"state"}, steps: []step{
		{name: "create", left: first, change: result(first)},
		{name: "longer", found: first, left: longer, change: result(longer)},
		{name: "shorter", found: longer, left: shorter, change: result(shorter)},
		{name: "equal", found: shorter, left: shorter, change: result(shorter)},
		{name: "failing", found: shorter, left: shorter, fails: "no", change: func([]byte) ([]byte, error) {
			return nil, errors.New("no")
		}},
		{name: "panic", found: shorter, left: shorter, fails: "oh", change: func([]byte) ([]byte, error) { panic("oh") }},
		{name: "after a leftover", found: shorter, left: last, change: result(last), killed: leave(last[:700])},
		{name: "delete", found: last, left: none},
		{name: "delete nothing", found: none, left: none},
		{name: "create again", left: shorter, change: result(shorter)},
	}},

	"new directory": {dir: "made/on/demand", steps: []step{
		{name: "create", left: first, change: result(first)},
		{name: "shorter", found: first, left: shorter, change: result(shorter)},
		{name: "repeatable", found: shorter, left: last, repeat: true, change: result(last)},
		{name: "delete", found: last, left: none},
	}},

	"deletion after a leftover": {dir: "state", exist: []string{"state"}, steps: []step{
		{name: "create", left: first, change: result(first)},
		{name: "delete", found: longer, left: none, killed: leave(longer)},
	}},

	"whole leftover": {dir: "state", exist: []string{"state"}, steps: []step{
		{name: "create", left: first, change: result(first)},
		{name: "update", found: longer, left: shorter, change: result(shorter), killed: leave(longer)},
	}},
}

// interrupted is the scenario whose process is killed after each operation.
const interrupted = "new directory"

// successor returns the step of the process that continues where such a one was killed.
// It changes nothing, deletes, or is repeatable; the record that it finds must be durable when
// it has returned in any case.
func successor(id, found string) step {
	st := step{name: id, found: found, left: found}
	switch {
	case strings.HasSuffix(id, "delete"):
		st.left = none
	case strings.HasSuffix(id, "look"):
		st.repeat, st.change = true, func([]byte) ([]byte, error) { return nil, record.ErrUnchanged }
	case strings.HasSuffix(id, "repeat") && found != none:
		st.repeat, st.left, st.change = true, found+".", result(found+".")
	case found == none:
		st.left, st.change = longer, result(longer)
	default:
		st.change = result(found)
	}
	return st
}

// run does the steps, which strace records, and marks where it is.
func (sc scenario) run(base string, mark func(point, step string)) error {
	syscall.Umask(recordedUmask)
	dir := filepath.Join(base, sc.dir)
	s := newStore(dir, nil)
	for _, st := range sc.steps {
		mark(pointKilled, st.name)
		if st.killed != nil {
			if err := st.killed(dir); err != nil {
				return fmt.Errorf("%s: %w", st.name, err)
			}
		}
		mark(pointCalled, st.name)
		err := st.do(s, func() { mark(pointChange, st.name) })
		if err == nil && st.fails != "" || err != nil && err.Error() != st.fails {
			return fmt.Errorf("%s: got %v, want %q", st.name, err, st.fails)
		}
		mark(pointReturned, st.name)
	}
	return nil
}

func (st step) do(s *tokenstore.Files, changing func()) (err error) {
	if st.change == nil {
		return s.Delete(context.Background(), recName)
	}
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("%v", p)
		}
	}()
	ctx := context.Background()
	if st.repeat {
		ctx = record.Repeatable(ctx)
	}
	return s.Update(ctx, recName, func(_ context.Context, old []byte) ([]byte, error) {
		if string(old) != st.found {
			return nil, fmt.Errorf("change was called with %s", show(string(old)))
		}
		changing()
		return st.change(old)
	})
}

func TestPowerLoss(t *testing.T) {
	if recordIfAsked(t) {
		return
	}
	requireStrace(t)
	l := &lab{dir: t.TempDir(), recorded: map[string][]op{}, seen: map[string]finding{}}
	for _, name := range sortedKeys(scenarios) {
		t.Run(name, func(t *testing.T) {
			for _, p := range l.judge(t, scenarios[name], l.record(t, name), 0, 5) {
				t.Error(p)
			}
		})
	}
	var killed []succession
	t.Run("killed, then "+interrupted, func(t *testing.T) {
		killed = l.successions(t)
		for _, k := range killed {
			for _, p := range l.judge(t, k.sc, k.ops, k.at, 1) {
				t.Error(p)
			}
		}
	})
	t.Logf("%d points of power loss, %d disks, %d of them different", l.points, l.disks, len(l.seen))
	t.Run("found", func(t *testing.T) { l.findsDefects(t, killed) })
}

// succession is a run that was killed, and the run of its successor.
type succession struct {
	sc  scenario
	ops []op
	at  int // where the successor begins
}

func (l *lab) successions(t *testing.T) (all []succession) {
	sc, ops := scenarios[interrupted], l.record(t, interrupted)
	d := newDisk(sc.exist)
	before := map[string]image{}
	var done int // steps begun
	for i, o := range ops {
		if o.kind == opMark {
			if o.path == pointKilled {
				done++
			}
			continue
		}
		if err := d.do(o); err != nil {
			t.Fatal(err)
		}
		data := func(name string) []byte {
			if n := d.lookup(filepath.Join(sc.dir, name)); n != nil {
				return []byte(n.now.data)
			}
			return nil
		}
		found := current(data)
		for _, what := range []string{"update", "delete", "repeat", "look"} {
			id := fmt.Sprintf("%03d-%s", i, what)
			before[id] = d.now(d.root, ".")
			all = append(all, succession{
				sc:  scenario{dir: sc.dir, exist: sc.exist, steps: append(slices.Clone(sc.steps[:done]), successor(id, found))},
				ops: slices.Clone(ops[:i+1]),
				at:  i + 1,
			})
		}
	}
	then := recordSuccessors(t, before)
	for i := range all {
		k := &all[i]
		k.ops = append(k.ops, then[k.sc.steps[len(k.sc.steps)-1].name]...)
	}
	return all
}

// current returns the record that the next process finds.
func current(data func(name string) []byte) string {
	stored := data(recName)
	if left := data(recName + ".tmp"); supersedes(left, stored) {
		return string(left)
	}
	return string(stored)
}

// A check that cannot fail is a defect: this spoils one operation after the other in the
// recording, and each must be found.
func (l *lab) findsDefects(t *testing.T, killed []succession) {
	tmp, rec := "state/rec.tmp", "state/rec"

	try := func(scenario, step, what, from, to, want string, spoil func([]op) []op) {
		t.Run(scenario+"/"+step+"/"+what, func(t *testing.T) {
			ops := l.record(t, scenario)
			i := slices.Index(ops, op{kind: opMark, path: from, to: step})
			j := slices.Index(ops, op{kind: opMark, path: to, to: step})
			if i < 0 || j < i {
				t.Fatalf("no %s and %s in the recording", from, to)
			}
			spoilt := spoil(slices.Clone(ops[i:j]))
			if slices.Equal(spoilt, ops[i:j]) {
				t.Fatalf("there is nothing to spoil in\n%s", list(ops[i:j]))
			}
			problems := l.judge(t, scenarios[scenario], slices.Concat(ops[:i], spoilt, ops[j:]), i, 1)
			if len(problems) == 0 {
				t.Fatalf("not found:\n%s", list(spoilt))
			}
			if !strings.HasPrefix(problems[0], step+": ") || !strings.Contains(problems[0], want) {
				t.Errorf("found %q, want %q in step %q", problems[0], want, step)
			}
		})
	}

	for _, st := range scenarios["records"].steps {
		if st.change == nil || st.fails != "" {
			continue
		}
		allocated := index(l.record(t, "records"), opAllocate, tmp) >= 0 // otherwise the room is written
		if !allocated {
			try("records", st.name, "room not synced", pointCalled, pointChange, "no room", without(opFsync, tmp))
		}
		try("records", st.name, "no room", pointCalled, pointChange, "no room", func(ops []op) []op {
			return without(opAllocate, tmp)(without(opWrite, tmp)(ops))
		})
		if st.found == st.left {
			continue
		}
		commit := func(what, want string, spoil func([]op) []op) {
			try("records", st.name, what, pointChange, pointReturned, want, spoil)
		}
		commit("file not synced", "change was called", without(opFsync, tmp))
		if st.left != longer && !allocated {
			commit("not truncated", "change was called", without(opTruncate, tmp))
		}
		commit("file synced too early", "change was called", func(ops []op) []op {
			sync := remove(&ops, opFsync, tmp)
			return slices.Insert(ops, 1, sync) // after the mark
		})
		commit("renamed first", "change was called", func(ops []op) []op {
			return renameAt(ops, 1)
		})
		commit("renamed before the file is synced", "change was called", func(ops []op) []op {
			return renameAt(ops, index(ops, opFsync, tmp))
		})
		commit("directory not synced", "it had returned", without(opFsync, "state"))
		if st.found != none { // when the new one is synced, it is taken up without the old one
			commit("old record removed first", "change was called", func(ops []op) []op {
				return slices.Insert(ops, index(ops, opFsync, tmp), op{kind: opUnlink, path: rec})
			})
		}
	}
	try("records", "delete", "directory not synced", pointCalled, pointReturned, "it had returned", without(opFsync, "state"))
	try("whole leftover", "update", "not synced before it is taken up", pointCalled, pointChange, "it was called", func(ops []op) []op {
		remove(&ops, opFsync, tmp)
		return ops
	})
	try("whole leftover", "update", "taken up without a sync of the directory", pointCalled, pointChange, "change was called", without(opFsync, "state"))
	try("deletion after a leftover", "delete", "leftover not removed", pointCalled, pointReturned, "still on the disk", without(opUnlink, tmp))
	above := []string{".", "made", "made/on"}
	for _, dir := range above {
		try(interrupted, "create", "not synced: "+dir, pointCalled, pointReturned, "it had returned", without(opFsync, dir))
	}

	// The successor of a killed process that does not sync what it found.
	unsynced := func(dir, what string) {
		t.Run("killed/not synced: "+dir+" "+what, func(t *testing.T) {
			for _, k := range killed {
				if !strings.HasSuffix(k.sc.steps[len(k.sc.steps)-1].name, what) {
					continue
				}
				ops := slices.Concat(k.ops[:k.at], without(opFsync, dir)(slices.Clone(k.ops[k.at:])))
				if len(ops) < len(k.ops) && len(l.judge(t, k.sc, ops, k.at, 1)) > 0 {
					return
				}
			}
			t.Error("not found, or never synced")
		})
	}
	for _, dir := range append(above, scenarios[interrupted].dir) {
		unsynced(dir, "")
	}
	unsynced(scenarios[interrupted].dir, "look")
	unsynced(scenarios[interrupted].dir, "repeat")
}

func index(ops []op, kind opKind, path string) int {
	return slices.IndexFunc(ops, func(o op) bool { return o.kind == kind && o.path == path })
}

func remove(ops *[]op, kind opKind, path string) op {
	i := index(*ops, kind, path)
	o := (*ops)[i]
	*ops = slices.Delete(*ops, i, i+1)
	return o
}

func without(kind opKind, path string) func([]op) []op {
	return func(ops []op) []op {
		return slices.DeleteFunc(ops, func(o op) bool { return o.kind == kind && o.path == path })
	}
}

// renameAt moves the rename forward to at; what follows has the new name then.
func renameAt(ops []op, at int) []op {
	ren := remove(&ops, opRename, "state/rec.tmp")
	ops = slices.Insert(ops, at, ren)
	for i := at + 1; i < len(ops); i++ {
		if ops[i].path == ren.path {
			ops[i].path = ren.to
		}
	}
	return ops
}

// The model leaves exactly the states that its comment lists.
func TestDiskAfterPowerLoss(t *testing.T) {
	d := newDisk(nil)
	after := func(o op, want ...string) {
		t.Helper()
		if err := d.do(o); err != nil {
			t.Fatal(err)
		}
		var got []string
		for im := range d.afterPowerLoss() {
			var files []string
			for _, e := range im {
				files = append(files, fmt.Sprintf("%s=%q", e.path, e.data))
			}
			got = append(got, strings.Join(files, " "))
		}
		slices.Sort(got)
		slices.Sort(want)
		if !slices.Equal(got, want) {
			t.Fatalf("after %v:\n got %q\nwant %q", o, got, want)
		}
	}
	after(op{kind: opCreate, path: "f"}, ``, `f=""`)
	after(op{kind: opWrite, path: "f", data: "ab"},
		``, `f=""`, `f="\x00"`, `f="a"`, `f="\x00\x00"`, `f="a\x00"`, `f="\x00b"`, `f="ab"`)
	after(op{kind: opFsync, path: "f"}, ``, `f="ab"`)
	after(op{kind: opFsync, path: "."}, `f="ab"`)
	after(op{kind: opTruncate, path: "f", off: 1}, `f="ab"`, `f="a"`)
	after(op{kind: opWrite, path: "f", off: 1, data: "c"}, // in one half, so whole or zero
		`f="a"`, `f="ab"`, `f="a\x00"`, `f="ac"`)
	after(op{kind: opFsync, path: "f"}, `f="ac"`)
	after(op{kind: opRename, path: "f", to: "g"}, `f="ac"`, `f="ac" g="ac"`, `g="ac"`, ``)
	after(op{kind: opFsync, path: "."}, `g="ac"`)
	after(op{kind: opUnlink, path: "g"}, `g="ac"`, ``)
	after(op{kind: opCreate, path: "g"}, `g="ac"`, ``, `g=""`)
	after(op{kind: opFsync, path: "."}, `g=""`)
}

// Threads may interrupt each other in the log; a line that is not understood is an
// error.
func TestParseStrace(t *testing.T) {
	const log = `1 openat(AT_FDCWD</>, "\x2f\x62\x2f\x66", O_WRONLY|O_CREAT|O_TRUNC, 0666) = 9</b/f>
1 write(9</b/f>, "\x61\x62", 2) = 1
1 write(9</b/f>, "\x62", 1 <unfinished ...>
2 read(3</b/g>,  <unfinished ...>
1 <... write resumed>)                   = 1
1 fsync(9</b/f>)                         = -1 EIO (Input/output error)
2 <... read resumed>"\x41", 4)           = 1
1 pwrite64(8</c/f>, "\x61", 1, 0)        = 1
2 +++ exited with 0 +++
`
	want := []op{
		{kind: opCreate, path: "f", mode: 0o600},
		{kind: opTruncate, path: "f"},
		{kind: opWrite, path: "f", data: "a"},
		{kind: opWrite, path: "f", data: "b", off: 1},
	}
	if got, err := parse([]byte(log), "/b"); err != nil || !slices.Equal(got, want) {
		t.Errorf("got %v\n%s", err, list(got))
	}
	for _, line := range []string{
		`1 mmap(NULL, 3, PROT_WRITE, MAP_SHARED, 4</b/f>, 0) = 0x7`,
		`1 unlinkat(AT_FDCWD</>, "\x2f\x62\x2f\x66", AT_REMOVEDIR) = 0`,
		`1 openat(AT_FDCWD</>, "\x2f\x62\x2f\x66", O_WRONLY|O_APPEND) = 9</b/f>`,
		`1 pwrite64(9</b/f>, "\x61"..., 2, 0) = 2`,
		`fsync`,
	} {
		if got, err := parse([]byte(line), "/b"); err == nil {
			t.Errorf("%s: taken for %v", line, got)
		}
	}
}

// lab runs a new store on each disk, once.
type lab struct {
	dir           string
	recorded      map[string][]op
	seen          map[string]finding
	points, disks int
}

type finding struct {
	record string // or none
	wrong  string // what is wrong whatever the record should be
}

func (l *lab) record(t *testing.T, scenario string) []op {
	t.Helper()
	if l.recorded[scenario] == nil {
		l.recorded[scenario] = recordScenario(t, scenario)
	}
	return l.recorded[scenario]
}

// judge replays ops and returns up to limit violations of the rules above, if
// power is lost after operation from or a later one.
func (l *lab) judge(t *testing.T, sc scenario, ops []op, from, limit int) (problems []string) {
	t.Helper()
	d := newDisk(sc.exist)
	steps := slices.Clone(sc.steps)
	var st step
	allowed, when, returned := []string{none}, "nothing was done", false
	var before []string // what was allowed when change was called
	for i, o := range ops {
		if o.kind == opMark {
			returned = false
			switch o.path {
			case pointKilled:
				st, steps = steps[0], steps[1:]
				allowed, when = append(allowed, st.found), "another process was killed"
			case pointCalled:
				when = "it was called"
				if st.change == nil {
					allowed = append(allowed, st.left)
				}
			case pointChange:
				when = "change was called"
				if !st.repeat {
					allowed = []string{st.found}
				}
				before = allowed
				if p := d.lacksRoom(sc, st); p != "" && i >= from {
					problems = append(problems, fmt.Sprintf("%s: %s when change is called", st.name, p))
				}
			case pointReturned:
				allowed, when, returned = []string{st.left}, "it had returned", true
			}
		} else if err := d.do(o); err != nil {
			t.Fatalf("the model cannot do operation %d, %v: %v\n%s", i, o, err, list(ops[:i]))
		}
		if when == "change was called" && (o.kind == opWrite || o.kind == opRename) {
			allowed = append(slices.Clone(before), st.left) // before it, the new one is an error too
		}

		if i < from {
			continue
		}
		l.points++
		for im := range d.afterPowerLoss() {
			l.disks++
			f := l.find(t, sc, im)
			var p string
			switch {
			case f.wrong != "":
				p = f.wrong
			case !slices.Contains(allowed, f.record):
				p = fmt.Sprintf("reads %s, want %s", show(f.record), showAll(allowed))
			case returned && st.change == nil && im.hasData():
				p = "what was deleted is still on the disk"
			default:
				continue
			}
			problems = append(problems, fmt.Sprintf("%s: power lost when %s, after operation %d (%v): %s\nthe disk: %v", st.name, when, i, o, p, im))
			if len(problems) >= limit {
				return problems
			}
			break // one a point
		}
	}
	if len(steps) != 0 {
		t.Fatalf("%d steps are not in the recording", len(steps))
	}
	return problems
}

// lacksRoom returns what is wrong with the file that the result will go into: it
// must have its blocks before change spends anything.
func (d *disk) lacksRoom(sc scenario, st step) string {
	n := d.lookup(filepath.Join(sc.dir, recName+".tmp"))
	want := max(3*len(st.found), 4<<10)
	switch {
	case n == nil:
		return "no room was made"
	case n.allocated >= want:
		return ""
	case len(n.maybe) > 1:
		return "no room for sure, since it is not synced"
	case len(n.now.data) < want || strings.Contains(n.now.data, "\x00"):
		return fmt.Sprintf("no room for %d bytes", want)
	}
	return ""
}

// find makes the disk im and works with it.
func (l *lab) find(t *testing.T, sc scenario, im image) finding {
	t.Helper()
	key := sc.dir + "\n" + im.key()
	f, ok := l.seen[key]
	if !ok {
		f = l.work(t, sc, im)
		l.seen[key] = f
	}
	return f
}

func (l *lab) work(t *testing.T, sc scenario, im image) (f finding) {
	t.Helper()
	ctx := context.Background()
	fresh := func() (*tokenstore.Files, string) {
		base, err := os.MkdirTemp(l.dir, "disk")
		if err != nil {
			t.Fatal(err)
		}
		if err := im.make(base); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { os.RemoveAll(base) })
		dir := filepath.Join(base, sc.dir)
		return newStore(dir, func(w string) { f.wrong = "the store warns: " + w }), dir
	}
	read := func(s *tokenstore.Files) (string, error) {
		b, err := s.Read(ctx, recName)
		if errors.Is(err, fs.ErrNotExist) {
			return none, nil
		} else if err == nil && len(b) == 0 {
			err = errors.New("the record is empty")
		}
		return string(b), err
	}

	s, dir := fresh()
	got, err := read(s)
	if err != nil {
		return finding{wrong: err.Error()}
	}
	f.record = got

	next := []byte(got + "!")
	err = s.Update(ctx, recName, func(_ context.Context, old []byte) ([]byte, error) {
		if string(old) != got {
			return nil, fmt.Errorf("Read returned %s, and Update %s", show(got), show(string(old)))
		}
		return next, nil
	})
	if err != nil {
		f.wrong = "the next Update fails: " + err.Error()
		return f
	}
	if b, err := s.Read(ctx, recName); err != nil || !bytes.Equal(b, next) {
		f.wrong = fmt.Sprintf("after the next Update, reads %s, %v", show(string(b)), err)
	}
	if names := files(t, dir); !slices.Equal(names, []string{recName, recName + ".lock"}) {
		f.wrong = fmt.Sprintf("after the next Update there are %q", names)
	}

	s, _ = fresh()
	if err := s.Delete(ctx, recName); err != nil {
		f.wrong = "the next Delete fails: " + err.Error()
	}
	if got, err := read(s); err != nil || got != none {
		f.wrong = fmt.Sprintf("after the next Delete, reads %s, %v", show(got), err)
	}
	return f
}

func files(t *testing.T, dir string) (names []string) {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		names = append(names, e.Name())
	}
	return names
}

// show names a record in a message.
func show(record string) string {
	if record == none {
		return "no record"
	}
	var b strings.Builder
	for s := record; s != ""; {
		rest := strings.TrimLeft(s, s[:1])
		fmt.Fprintf(&b, "%q*%d ", s[:1], len(s)-len(rest))
		s = rest
	}
	return strings.TrimSpace(b.String())
}

func showAll(records []string) string {
	var all []string
	for _, r := range slices.Compact(slices.Clone(records)) {
		all = append(all, show(r))
	}
	return strings.Join(all, " or ")
}
