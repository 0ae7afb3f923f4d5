package main

import (
	"fmt"
	"io"
	"slices"
	"testing"
	"time"
)

// expiry has two processes meet at one expiry, and then a call each minute, as cron would
// make it, which must have a token again about the life of one later.
func (w *world) expiry() {
	first, last := w.machines[0], w.machines[len(w.machines)-1]
	w.begins()
	time.Sleep(life)
	<-w.start(first, process{what: "token"}).done // so that there is a token before
	time.Sleep(life)
	w.arm()
	a, b := w.start(first, process{what: "token", patience: hour}), w.start(last, process{what: "token", patience: hour, nth: 1})
	<-a.done
	<-b.done
	w.do(func() { w.count["steps"], w.armed = w.steps, nil })
	good, within := false, life+time.Minute
	if len(w.events) > 0 && w.events[0].kind == crash {
		within = 2 * life // whose answer was lost shows only later
	}
	for until := time.Now().Add(within); !good && time.Now().Before(until); {
		time.Sleep(time.Minute)
		p := w.start(first, process{what: "token", patience: time.Minute / 2})
		<-p.done
		good = p.token != ""
	}
	w.do(func() {
		onlyStopped := !slices.ContainsFunc(w.events, func(e event) bool { return e.kind != stalled })
		for _, p := range []*process{a, b} {
			if onlyStopped && !p.troubled && p.err != nil {
				w.blame("a call that was only stopped prints a token", p.err.Error())
			}
		}
		if !good && w.alive() && !w.person {
			w.blame("a live login has a token again about the life of one later", "it has none")
		}
	})
	time.Sleep(bound + hour)
	w.look() // which must succeed
	w.all.Wait()
}

// orders tries two processes at one expiry in every order of their steps in which so many
// times at most a process waits at a step until the other one can do no more; and with a
// death or a long stop at each step, each answer of the list, or a database that ends the
// session, in the orders with fewer waits.
func orders(t *testing.T, lenient bool, calm, spoilt int, out io.Writer) (runs, wrong int) {
	begin := time.Date(2026, 10, 25, 1, 0, 0, 0, time.UTC)
	undated := false
	var explore func(waits, from, machines int, events ...event) (steps int)
	explore = func(waits, from, machines int, events ...event) (steps int) {
		p := &plan{seed: 1, skews: make([]time.Duration, machines), lenient: lenient, undated: undated, begin: begin, end: begin.Add(aDay), events: events}
		w := play(t, p, false, (*world).expiry)
		runs++
		if !w.fine() {
			if wrong++; wrong == 1 {
				play(t, p, true, (*world).expiry).print(out, false)
			}
		}
		for at := from; waits > 0 && at <= w.count["steps"]; at++ {
			wait := event{kind: stalled, step: nth(at), at: begin, lasts: 3 * time.Second}
			explore(waits-1, at+1, machines, append(slices.Clip(events), wait)...)
		}
		return w.count["steps"]
	}
	for at := range explore(calm, 1, 1) {
		explore(spoilt, 1, 1, event{kind: crash, step: nth(at + 1), at: begin})
		explore(0, 1, 1, event{kind: stalled, step: nth(at + 1), at: begin, lasts: life + time.Minute})
	}
	for n, f := range answers {
		if f.RetryAfter != "" { // it delays the token by more than a life
			continue
		}
		explore(spoilt, 1, 1, event{kind: answerSpoilt, step: "send", n: n, at: begin})
	}
	for _, undated = range []bool{false, true} { // without dates the generation alone says which record is later
		for _, step := range []string{"send", "reply"} {
			explore(spoilt, 1, 2, event{kind: sessionEnds, step: step, at: begin})
		}
	}
	fmt.Fprintf(out, "used tokens dead at once %t: %d orders, %d wrong\n", !lenient, runs, wrong)
	return runs, wrong
}
