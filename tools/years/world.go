package main

import (
	"cmp"
	"context"
	"encoding/binary"
	"fmt"
	"hash"
	"hash/fnv"
	"math/rand/v2"
	"runtime"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/exactauth/exactauth/internal/config"
	"github.com/exactauth/exactauth/internal/exactauth"
	"github.com/exactauth/exactauth/internal/exactsim"
	"github.com/exactauth/exactauth/internal/fault"
	"github.com/exactauth/exactauth/internal/record"
	"github.com/exactauth/exactauth/internal/tokenstore/spool"
)

const (
	profileName = "years"
	baseURL     = "https://start.exactonline.nl"
	redirectURI = "https://exactauth.test:8484/callback"

	life  = 600 * time.Second
	skew  = 3 * time.Second // at most, between a machine's clock and the server's
	slots = 997             // prime
)

// world is one login, and everything that happens to it in a run. Its clock is that of a
// synctest bubble: time passes only while everybody waits, so one process at a time does
// something. Each wakes in nanoseconds of its own, so no two wake at the same time.
type world struct {
	*plan
	sim      *exactsim.Sim
	machines []*machine
	shared   *disk          // nil if there is one machine
	all      sync.WaitGroup // of processes, and of requests on their way

	mu      sync.Mutex // guards all below; never held while time passes
	event   exactsim.Event
	living  map[*process]bool
	started int     // processes
	armed   []event // those that wait for a step
	steps   int
	wakes   map[time.Time]bool
	moved   bool // the login is in the shared store
	memory       // of the judge
	log     []entry
	sum     hash.Hash64 // of the trace
}

func (w *world) do(f func()) {
	w.mu.Lock()
	defer w.mu.Unlock()
	f()
}

type machine struct {
	number  int
	disk    *disk
	clock   time.Duration // fast by
	stepped time.Time     // when the clock was last set
}

func newWorld(p *plan) *world {
	w := &world{plan: p, memory: newMemory(), living: map[*process]bool{}, wakes: map[time.Time]bool{}, sum: fnv.New64a()}
	seed := binary.LittleEndian.AppendUint64(binary.LittleEndian.AppendUint64(nil, p.seed), uint64(p.number))
	c := exactsim.Config{Rand: rand.NewChaCha8([32]byte(append(seed, make([]byte, 16)...))), TooEarlyFirst: p.tooEarlyFirst, TooEarlyIs401: p.older,
		NumberExpiresIn: p.older, MinuteLimit: -1, DailyLimit: -1, Observe: w.observe}
	if p.lenient {
		c.Rotation = exactsim.Grace
	}
	w.sim = exactsim.New(c)
	w.sim.AddCast(redirectURI)
	local := "store"
	if len(p.skews) > 1 {
		local, w.shared, w.moved = "spool", newDisk("store", true), !p.moves
	}
	for i, fast := range p.skews {
		w.machines = append(w.machines, &machine{number: i, clock: fast, disk: newDisk(local, false)})
		w.machines[i].disk.second = newDisk(local, false)
	}
	return w
}

// during returns the event of a kind that lasts, on a machine; nil is any.
func (w *world) during(kind kind, m *machine) (event, bool) {
	i := slices.IndexFunc(w.events, func(e event) bool {
		return e.kind == kind && (m == nil || e.machine == m.number) && !time.Now().Before(e.at) && time.Now().Before(e.until())
	})
	if i < 0 || time.Now().After(w.end) {
		return event{}, false
	}
	return w.events[i], true
}

type process struct {
	w        *world
	m        *machine
	what     string
	nth      int // of those that start at the same time
	patience time.Duration
	want     exactauth.Want
	user     string // who signs in
	lifts    bool   // a person calls it because of a refusal in the record

	id      int
	started time.Time
	life    context.Context
	end     context.CancelFunc
	done    chan struct{} // closed when it has ended, however

	// Guarded by w.mu:
	rand     *rand.Rand
	reads    int
	asked    time.Time // the first request since it took the lock
	refusal  *request  // its last one, if that was refused
	dead     bool      // it was killed
	troubled bool      // something happened to it, or to what it did
	saving   bool      // new tokens, in files
	token    string    // that it printed
	err      error
}

func (w *world) start(m *machine, run process) *process {
	p := &run
	p.w, p.m, p.started, p.done = w, m, time.Now(), make(chan struct{})
	p.life, p.end = context.WithCancel(context.Background())
	p.patience = cmp.Or(p.patience, hour/4)
	// Not by its number: that is another one if an event is left out of the plan.
	p.rand = rand.New(rand.NewPCG(w.seed<<32+uint64(w.number), uint64(p.started.UnixNano()+int64(p.nth))))
	w.do(func() {
		if w.moves && !w.moved {
			p.m = w.machines[0] // which has the login alone
		}
		for q := range w.living {
			if p.user != "" && q.user != "" { // the sign-in that comes second ends the tokens of the first
				p.troubled, q.troubled, w.bad = true, true, time.Now()
			}
		}
		w.started++
		p.id = w.started
		w.living[p] = true
	})
	w.all.Go(func() {
		defer func() {
			w.do(func() { delete(w.living, p) })
			p.end() // what it had started ends with it
			close(p.done)
		}()
		p.step("start")
		ctx, cancel := context.WithTimeout(context.Background(), p.patience)
		defer cancel()
		token, err := commands[p.what](ctx, p, p.client())
		p.exitIfOver()
		w.do(func() {
			p.token, p.err = token.Access.Reveal(), err
			w.ended(p)
		})
	})
	return p
}

// slot is what a process adds to every time, so that it wakes alone.
func (p *process) slot() time.Duration { return time.Duration(1 + p.id%slots) }

// clock is the machine's clock, as the process reads it.
func (p *process) clock() (now time.Time) {
	p.w.do(func() { now = time.Now().Add(p.m.clock + p.slot()) })
	return now
}

func (p *process) client() *exactauth.Client {
	c := &exactauth.Client{
		Profile:   config.Settings{Name: profileName, BaseURL: baseURL, ClientID: exactsim.ClientID, RedirectURI: redirectURI, Listen: "none"},
		Transport: network{p}, Now: p.clock, Store: p.m.disk.open(p), Jitter: p.upTo,
	}
	if p.w.do(func() { c.Shared = p.w.moved }); c.Shared {
		c.Store = p.joined()
	}
	return c
}

// joined is the shared store as a process sees it.
func (p *process) joined() record.Store {
	s := spool.New(p.w.shared.open(p), p.m.disk.open(p), exactauth.Latest, nil)
	s.Drop(exactauth.Ended)
	return s
}

func (p *process) upTo(most time.Duration) (d time.Duration) {
	p.w.do(func() { d = between(p.rand, most/32, most) })
	return d
}

// latency draws how long a step takes: mostly a little, seldom long.
func (p *process) latency(at string) time.Duration {
	most := 3 * time.Millisecond
	switch {
	case at == wire:
		most *= 50
	case strings.HasSuffix(at, " read"):
		// A process that waits for the lock reads again after ten times as long.
		p.reads++
		most <<= min(p.reads/4, 12)
	}
	if p.upTo(hour) > hour/64*63 {
		most *= 128
	}
	return p.upTo(most)
}

// pass lets time pass until a moment that is this process's own, or ctx ends.
func (p *process) pass(ctx context.Context, d time.Duration) {
	w := p.w
	w.mu.Lock()
	wake := time.Now().Add(d).Truncate(time.Microsecond).Add(p.slot())
	for w.wakes[wake] || !wake.After(time.Now()) {
		wake = wake.Add(slots)
	}
	w.wakes[wake] = true
	w.mu.Unlock()
	select {
	case <-time.After(time.Until(wake)):
	case <-ctx.Done():
	}
	w.do(func() { delete(w.wakes, wake) })
}

// step is where a process calls out: it takes time, another process may go on, and what
// is planned happens. A process that has died ends here.
func (p *process) step(at string) event {
	w := p.w
	p.pass(p.life, p.latency(at))
	for sleep, on := w.during(asleep, p.m); on; sleep, on = w.during(asleep, p.m) {
		p.exitIfOver()
		p.stop(sleep.until())
	}
	p.exitIfOver()
	var e event
	w.do(func() {
		w.note(p, at, "")
		if strings.HasSuffix(at, " lock") {
			p.asked = time.Time{}
		}
		e = w.take(p, at)
	})
	if e.kind == stalled {
		p.stop(time.Now().Add(e.lasts))
	}
	p.exitIfOver()
	return e
}

// stop has a process stand still. The database ends the session of one that stays away for
// long. It is trouble when it begins and when it ends: meanwhile the others can work.
func (p *process) stop(until time.Time) {
	p.w.do(func() {
		if p.w.bad = time.Now(); time.Until(until) > 2*time.Minute {
			p.endSessions()
		}
	})
	p.pass(p.life, time.Until(until))
	p.w.do(func() { p.w.bad = time.Now() })
}

func (p *process) endSessions() {
	if p.w.shared != nil {
		p.w.shared.endSessions(p)
	}
}

func nth(n int) string { return fmt.Sprint("step ", n) }

// arm has the accidents of the plan wait for their steps.
func (w *world) arm() {
	w.steps = 0
	w.armed = slices.DeleteFunc(slices.Clone(w.events), func(e event) bool { return e.step == "" })
}

// take carries out the accident that waits for this step of p, and returns it.
func (w *world) take(p *process, at string) event {
	w.steps++
	i := slices.IndexFunc(w.armed, func(e event) bool {
		if late := at == "store write" || at == "store sync"; e.kind == storeFails && late && e.n%2 == 1 && !p.saving && w.shared == nil {
			return false // half of them wait until new tokens are saved
		}
		return (e.step == at || e.step == nth(w.steps)) && e.machine == p.m.number && !e.at.After(time.Now())
	})
	if i < 0 {
		return event{}
	}
	e := w.armed[i]
	w.armed = slices.Delete(w.armed, i, i+1)
	w.note(p, at, e.String())
	w.count["accidents"]++
	p.troubled, w.bad = e.kind != stalled, time.Now()
	switch e.kind {
	case sessionEnds:
		p.endSessions()
	case crash:
		p.kill()
	case powerCut:
		for q := range w.living {
			if q.m == p.m {
				q.kill()
			}
		}
		p.m.disk.losePower()
	}
	return e
}

func (p *process) kill() {
	p.dead, p.w.bad = true, time.Now()
	p.end()
}

// exitIfOver ends the goroutine of a process that is over. What the client has
// deferred still runs, but every call out of it ends here again.
func (p *process) exitIfOver() {
	if p.life.Err() != nil {
		runtime.Goexit()
	}
}

// run plays the plan. It runs in a bubble.
func (w *world) run() {
	w.begins()
	w.arm()
	for _, e := range w.agenda() {
		time.Sleep(time.Until(e.at))
		w.happen(e)
	}
	w.all.Wait()
	w.armed = nil
	// Hours without trouble pass, and then each machine must have a token.
	time.Sleep(max(time.Until(w.end), 0) + bound + hour)
	for range 3 { // the first may find a loss
		for _, m := range w.machines {
			<-w.start(m, process{what: "token"}).done
		}
		w.look()
	}
	w.all.Wait()
}

// begins sets up and signs in on the first machine.
func (w *world) begins() {
	time.Sleep(time.Until(w.begin))
	for _, k := range []kind{setsUp, signsIn} {
		<-w.start(w.machines[0], deeds[k]).done
	}
}

func (w *world) happen(e event) {
	m, over := w.machines[e.machine], false
	w.do(func() {
		if over = !w.fine(); e.every == 0 {
			w.note(nil, "", e.String())
		}
		switch e.kind {
		case clockSet:
			m.clock, m.stepped, w.bad = m.clock+e.lasts, time.Now(), time.Now()
		case elsewhere, revoked:
			w.outside, w.bad = time.Now(), time.Now()
		}
	})
	deed, found := deeds[e.kind]
	switch _, away := w.during(asleep, m); {
	case over: // what is wrong comes to no good
	case found:
		w.start(m, deed)
	case e.kind == calls && !away:
		for i := range e.n {
			w.start(m, process{what: "token", nth: i, want: e.want, patience: e.patience})
		}
	case e.kind == looks && time.Since(e.at) < hour: // not all the visits that a sleeping machine missed
		w.look()
	case e.kind == elsewhere:
		w.signInElsewhere()
	case e.kind == revoked:
		w.sim.Revoke(exactsim.ClientID, exactsim.AnnaID)
	}
}

var commands = map[string]func(context.Context, *process, *exactauth.Client) (record.Token, error){
	"token": func(ctx context.Context, p *process, c *exactauth.Client) (record.Token, error) {
		return c.Token(ctx, p.want)
	},
	// The person signs in at Exact as the user, and pastes the code.
	"login": func(ctx context.Context, p *process, c *exactauth.Client) (_ record.Token, err error) {
		_, err = c.Login(ctx, exactauth.LoginOptions{Paste: strings.NewReader(p.w.newCode(p.user) + "\n")})
		return record.Token{}, err
	},
	// With the secret that the record has already.
	"setup": func(ctx context.Context, _ *process, c *exactauth.Client) (record.Token, error) {
		return record.Token{}, c.SetClientSecret(ctx, fault.NewSecret(exactsim.ClientSecret), true)
	},
	// From the files of machine 0 to the shared store, until it is done.
	"move": func(ctx context.Context, p *process, c *exactauth.Client) (_ record.Token, err error) {
		c.Shared, c.Store = false, p.m.disk.open(p)
		if err = c.MoveTo(ctx, p.joined(), "the shared store"); err == nil {
			p.w.do(func() { p.w.moved = true }) // the configuration says so from here on
			err = c.Moved(ctx)
		}
		return record.Token{}, err
	},
}

var deeds = map[kind]process{
	signsIn:      {what: "login", user: exactsim.AnnaID},
	wrongAccount: {what: "login", user: exactsim.BobID},
	forces:       {what: "token", want: exactauth.Want{Force: true}},
	setsUp:       {what: "setup"},
	movesLogin:   {what: "move"},
}

// newCode is what Exact shows when a user has signed in.
func (w *world) newCode(user string) string {
	code := w.sim.NewCode(exactsim.ClientID, user, redirectURI)
	w.do(func() { w.whose[code] = user })
	return code
}

// note adds to the trace. event is "" if nothing special happens.
func (w *world) note(p *process, step, event string) {
	e := entry{time.Now(), p, step, event}
	id := 0
	if p != nil {
		id = p.id
	}
	fmt.Fprint(w.sum, e.at.UnixNano(), id, step, event)
	if w.log != nil {
		w.log = append(w.log, e)
	}
}
