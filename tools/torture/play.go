//go:build linux || windows

package main

import (
	"context"
	"os"
	"slices"
	"sync"
	"time"

	"github.com/exactauth/exactauth/internal/record"
	"github.com/exactauth/exactauth/tools/program"
)

// These events are looked for by name.
const (
	roundStarted     = "round started"
	databaseStopped  = "database stopped"
	databaseStarting = "database starting"
)

// event is something that the play does to a login, and its time. The simulator's events
// are exactsim.Event.
type event struct {
	what string
	at   time.Time
}

// stage connects a round's faults with the points of that round.
type stage struct {
	once  [points]sync.Once
	first [points][]func()      // run when the point is reached, before anything else
	at    [points]chan struct{} // closed after that
}

func newStage() *stage {
	s := &stage{}
	for i := range s.at {
		s.at[i] = make(chan struct{})
	}
	return s
}

func (s *stage) reach(p point) {
	s.once[p].Do(func() {
		for _, f := range s.first[p] {
			f()
		}
		close(s.at[p])
	})
}

// wait waits for a moment. It returns false if ended is closed first.
func (s *stage) wait(m moment, ended <-chan struct{}) bool {
	select {
	case <-s.at[m.point]:
	case <-ended:
		return false
	}
	select {
	case <-time.After(m.after):
		return true
	case <-ended:
		return false
	}
}

// trial is a round, and what it came to.
type trial struct {
	*world
	*plan
	number int
	noRoom bool // from the first call to the last there is none on the disk's machine

	noting sync.Mutex // guards the next four
	all    []*process // once they have ended in the order of their start
	events []event
	wrong  []string // whatever should not have happened, beside the fate
	notes  map[string]int

	fate    string
	reason  string        // of a loss that is explained
	errors  int           // that the server counted
	longest time.Duration // that a process took
	abandon bool          // the world cannot go on

	story string // for a developer, if anything is wrong
}

func (t *trial) did(what string) {
	t.noting.Lock()
	defer t.noting.Unlock()
	t.events = append(t.events, event{what, time.Now()})
}

// when returns the time of the first such event, zero if there was none.
func (t *trial) when(what string) time.Time {
	t.noting.Lock()
	defer t.noting.Unlock()
	for _, e := range t.events {
		if e.what == what {
			return e.at
		}
	}
	return time.Time{}
}

// play carries out the plan. When it returns all faults are cleared and all processes of
// the plan have ended.
func (t *trial) play() {
	w, p := t.world, t.plan
	s := newStage()
	t.did(roundStarted)
	for _, f := range p.faults {
		w.sim.Inject(f)
	}
	if p.clock != 0 {
		step := func(r *record.Record) { program.Age(r, p.clock) } // on every machine
		t.must("clock stepped", program.Update(context.Background(), w.store(), profileName, step))
	}
	if p.disk.kind != diskSound {
		s.first[p.disk.at] = append(s.first[p.disk.at], func() {
			noRoom, err := w.spoilDisk(p.disk)
			t.must("disk spoilt", err)
			t.noRoom = noRoom && p.disk.at == onStart && p.disk.lasts == 0
		})
	}
	if p.down {
		w.server.Close()
		t.did("server closed")
	}
	ended := make(chan struct{})
	restored := t.disturb(s, ended)
	w.stage.Store(s)
	s.reach(onStart)

	var others sync.WaitGroup
	later := func(after time.Duration, f func()) {
		if after > 0 {
			others.Go(func() {
				time.Sleep(after)
				f()
			})
		}
	}
	later(p.elsewhere, func() { t.must("signed in elsewhere", w.signInElsewhere()) })
	later(p.disk.lasts, func() {
		w.healDisk()
		t.did("disk healed")
	})
	t.call(s)
	t.did("calls ended")
	close(ended)
	others.Wait()
	restored()

	w.sim.ClearFaults()
	w.stage.Store(nil)
	w.healDisk()
	if p.down {
		t.must("server back", w.listen())
	}
	w.quiesce()
	slices.SortStableFunc(t.all, func(a, b *process) int { return a.started.Compare(b.started) })
}

// must notes an event that the play could bring about, or blames the round.
func (t *trial) must(what string, err error) {
	t.did(what)
	if err != nil {
		t.blame("cannot play %q: %v", what, err)
	}
}

func (t *trial) call(s *stage) {
	var all sync.WaitGroup
	for _, c := range t.calls {
		m := t.machines[c.machine]
		if t.disk.kind != diskSound && c.machine == t.disk.machine && !m.mounted && c.fileSize == 0 && (t.disk.kind != diskReadOnly || os.Geteuid() == 0) {
			c.fileSize = 1 << (t.disk.spare % 5) // the next best
		}
		all.Go(func() {
			time.Sleep(c.after)
			for next := &c; next != nil; next = next.then {
				p := t.start(*next, s)
				t.noting.Lock()
				t.all = append(t.all, p)
				t.noting.Unlock()
				p.wait()
			}
		})
	}
	all.Wait()
}
