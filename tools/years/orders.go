package main

import (
	"fmt"
	"io"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/exactauth/exactauth/internal/exactauth"
	"github.com/exactauth/exactauth/internal/exactsim"
)

// turns lets one process at a time take a step, in an order that choices give: the number
// of the process among those that could go on. Time passes only if none can.
type turns struct {
	mu      sync.Mutex
	waiting []*turn

	choices []int // where they end, the first goes on
	could   []int // how many could go on, at each choice
	dies    int   // at this choice, counted from 1, the process is killed instead; 0: none is
	stops   int   // after this choice the process is stopped for longer than a token lives
}

type turn struct {
	p     *process
	at    string
	taken chan struct{}
}

func (t *turns) wait(p *process, at string) {
	mine := &turn{p, at, make(chan struct{})}
	t.mu.Lock()
	t.waiting = append(t.waiting, mine)
	t.mu.Unlock()
	select {
	case <-mine.taken:
	case <-p.killed:
	}
}

// drive gives turns until the processes have ended.
func (t *turns) drive(w *world, all ...*process) {
	ended := func(p *process) bool {
		select {
		case <-p.done:
			return true
		default:
			return false
		}
	}
	for {
		synctest.Wait()
		t.mu.Lock()
		t.waiting = slices.DeleteFunc(t.waiting, func(u *turn) bool { return ended(u.p) || u.p.isOver() && u.at != "wire" })
		slices.SortStableFunc(t.waiting, func(a, b *turn) int { return a.p.id - b.p.id })
		n := len(t.waiting)
		if n == 0 {
			t.mu.Unlock()
			if !slices.ContainsFunc(all, func(p *process) bool { return !ended(p) }) {
				return
			}
			time.Sleep(25 * time.Millisecond)
			continue
		}
		i, at := 0, len(t.could)
		if at < len(t.choices) {
			i = t.choices[at]
		}
		t.could = append(t.could, n)
		next := t.waiting[i]
		t.waiting = slices.Delete(t.waiting, i, i+1)
		t.mu.Unlock()
		if at+1 == t.dies && next.at != "wire" {
			w.mu.Lock()
			w.note(next.p, next.at, string(crash))
			w.kill(next.p)
			w.mu.Unlock()
			continue
		}
		if at+1 == t.stops && next.at != "wire" {
			w.mu.Lock()
			w.note(next.p, next.at, string(stalled))
			w.stop(next.p, time.Now().Add(life+time.Minute))
			w.mu.Unlock()
			time.Sleep(life + time.Minute) // the other is stopped, too
		}
		close(next.taken)
	}
}

// after returns the choices that come after those that were made, nil if they were the
// last. At most so many of them differ from the first.
func (t *turns) after(most int) []int {
	made := make([]int, len(t.could))
	copy(made, t.choices)
	for i := len(made) - 1; i >= 0; i-- {
		other := 0
		for _, c := range made[:i] {
			other += min(c, 1)
		}
		if made[i]+1 < t.could[i] && other < most {
			return append(made[:i:i], made[i]+1)
		}
	}
	return nil
}

// expiry has two processes meet at one expiry, and then a call each minute, as cron would
// make it, which must have a token again within the life of one.
func (w *world) expiry(t *turns) {
	time.Sleep(time.Until(w.begin))
	m := w.machines[0]
	<-w.setUp(m).done
	<-w.signIn(m, exactsim.AnnaID, false).done
	time.Sleep(life)
	<-w.call(m, 0, exactauth.Want{}, time.Minute).done // so that there is a token before
	time.Sleep(life)
	w.armed, w.turns = slices.Clone(w.steps), t
	a, b := w.call(m, 0, exactauth.Want{}, time.Hour), w.call(w.machines[len(w.machines)-1], 1, exactauth.Want{}, time.Hour)
	t.drive(w, a, b)
	w.turns = nil
	good, until := false, time.Now().Add(life+time.Minute)
	for !good && time.Now().Before(until) {
		time.Sleep(time.Minute)
		p := w.call(m, 0, exactauth.Want{}, time.Minute/2)
		<-p.done
		good = p.good
	}
	w.mu.Lock()
	if !good && w.alive() && !w.memory.person {
		w.blame("a live login has no token %s later", life+time.Minute)
	}
	w.mu.Unlock()
	w.all.Wait() // for the person, too, who must succeed
}

// orders tries the orders of the steps of two processes in which not more than so many
// turns are out of turn, and fewer with a death or a stop at each step, with each answer
// of the list, and with a database that ends the session in a refresh.
func orders(t *testing.T, lenient bool, calm, spoilt int, out io.Writer) (runs, wrong int) {
	play := func(p *plan, turn *turns, tracing bool) (w *world) {
		synctest.Test(t, func(*testing.T) {
			w = newWorld(p, tracing)
			w.expiry(turn)
		})
		return w
	}
	begin := time.Date(2026, 10, 25, 1, 0, 0, 0, time.UTC)
	explore := func(most, dies, stops, machines int, steps ...trouble) (longest int) {
		p := &plan{seed: 1, machines: machines, lenient: lenient, begin: begin, steps: steps}
		for choices := []int{}; choices != nil; {
			turn := &turns{choices: choices, dies: dies, stops: stops}
			runs++
			if w := play(p, turn, false); w.memory.how != "" {
				if wrong++; wrong == 1 {
					fmt.Fprintf(out, "WRONG in an order of steps: %s\n", w.memory.wrong[0])
					play(p, &turns{choices: choices, dies: dies, stops: stops}, true).print(out, false)
				}
			}
			longest = max(longest, len(turn.could))
			choices = turn.after(most)
		}
		return longest
	}
	longest := explore(calm, 0, 0, 1)
	for at := range longest {
		explore(spoilt, at+1, 0, 1)
		explore(0, 0, at+1, 1)
	}
	for answer := range answers {
		explore(spoilt, 0, 0, 1, trouble{kind: answerSpoilt, point: "send", answer: answer, at: begin})
	}
	for _, point := range []string{"send", "reply"} {
		explore(0, 0, 0, 2, trouble{kind: sessionEnds, point: point, at: begin})
	}
	return runs, wrong
}
