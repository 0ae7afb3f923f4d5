package main

import (
	"context"
	"encoding/binary"
	"fmt"
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
	"github.com/exactauth/exactauth/internal/tokenstore"
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
	shared   *disk // nil if there is one machine
	turns    *turns
	all      sync.WaitGroup // of processes, and of requests on their way

	mu       sync.Mutex // guards all below; never held while time passes
	started  int        // processes
	living   map[*process]bool
	armed    []trouble // those that wait for a step
	wakes    map[time.Time]bool
	requests []*request
	codes    map[string]string // code or refresh token: whose it is
	owner    string            // the user whose tokens may be handed out
	disabled bool              // the app, at the simulator
	moved    bool              // the login is in the shared store
	count    tally
	memory   memory // of the judge
	log      []entry
	sum      uint64 // of the trace
	tracing  bool
}

// machine is where processes run.
type machine struct {
	number  int
	disk    *disk
	clock   time.Duration // fast by
	stepped time.Time     // when the clock was last set
	asleep  time.Time     // until then
}

func newWorld(p *plan, tracing bool) *world {
	own := *p // settle changes it
	w := &world{plan: &own, tracing: tracing, living: map[*process]bool{}, wakes: map[time.Time]bool{}, codes: map[string]string{},
		owner: exactsim.AnnaID, sum: 14695981039346656037}
	w.count.states = map[uint64]struct{}{}
	var seed [32]byte
	binary.LittleEndian.PutUint64(seed[:], p.seed)
	binary.LittleEndian.PutUint64(seed[8:], uint64(p.number))
	c := exactsim.Config{Rand: rand.NewChaCha8(seed), TooEarlyFirst: p.tooEarlyFirst, TooEarlyIs401: p.older, NumberExpiresIn: p.older,
		MinuteLimit: -1, DailyLimit: -1, Observe: observe}
	if p.lenient {
		c.Rotation = exactsim.Grace
	}
	w.sim = exactsim.New(c)
	w.sim.AddCast(redirectURI)
	for i := range p.machines {
		m := &machine{number: i, clock: p.skews[i]}
		m.disk = newDisk("store", false)
		if p.machines > 1 {
			m.disk.name = "spool"
		}
		w.machines = append(w.machines, m)
	}
	if p.machines > 1 {
		w.shared, w.moved = newDisk("store", true), !p.moves
	}
	return w
}

// now reports whether such a span of time is on.
func (w *world) now(kind troubleKind) bool { _, on := w.during(kind, -1); return on }

// during returns the span of a kind that is on, on a machine; -1 is any.
func (w *world) during(kind troubleKind, machine int) (trouble, bool) {
	at := time.Now()
	for _, t := range w.spans {
		if t.kind == kind && (machine < 0 || t.machine == machine) && !at.Before(t.at) && at.Before(t.until()) {
			return t, true
		}
	}
	return trouble{}, false
}

// process is one run of the program.
type process struct {
	w        *world
	m        *machine
	id       int
	what     string
	nth      int // of those that start at the same time
	want     exactauth.Want
	patience time.Duration
	started  time.Time
	killed   chan struct{} // closed when it is over
	done     chan struct{} // closed when it has ended, however
	seed     uint64

	// Guarded by w.mu:
	steps    int
	reads    int
	over     bool // it has ended
	dead     bool // it was killed
	lost     bool // what it had could not be saved
	troubled bool // something happened to it, or to what it did
	taken    bool // its sign-in was refused as another user's
	good     bool // it printed a token
}

// start runs f as a process.
func (w *world) start(p *process, f func(context.Context, *process)) *process {
	p.w, p.started, p.killed, p.done = w, time.Now(), make(chan struct{}), make(chan struct{})
	h := fnv.New64a()
	fmt.Fprint(h, w.seed, w.number, p.started.UnixNano(), p.m.number, p.what, p.nth)
	p.seed = h.Sum64()
	w.mu.Lock()
	w.started++
	p.id = w.started
	w.living[p] = true
	w.mu.Unlock()
	w.all.Go(func() {
		defer func() {
			w.mu.Lock()
			delete(w.living, p)
			p.end() // what it had started ends with it
			w.mu.Unlock()
			close(p.done)
		}()
		p.step("start")
		ctx, cancel := context.WithTimeout(context.Background(), p.patience)
		defer cancel()
		f(ctx, p)
	})
	return p
}

// slot is what a process adds to every time, so that it wakes alone.
func (p *process) slot() time.Duration { return time.Duration(1 + p.id%slots) }

// clock is the machine's clock, as the process reads it.
func (p *process) clock() time.Time {
	p.w.mu.Lock()
	defer p.w.mu.Unlock()
	return time.Now().Add(p.m.clock + p.slot())
}

func (p *process) client() *exactauth.Client {
	c := &exactauth.Client{
		Profile:   config.Settings{Name: profileName, BaseURL: baseURL, ClientID: exactsim.ClientID, RedirectURI: redirectURI, Listen: "none"},
		Transport: network{p}, Now: p.clock, Store: p.m.disk.open(p),
		Jitter: func(most time.Duration) time.Duration { return p.between(0, most) },
	}
	if p.w.moved {
		c.Shared, c.Store = true, p.w.joined(p)
	}
	return c
}

// joined is the shared store as a process sees it.
func (w *world) joined(p *process) record.Store {
	return spool.New(w.shared.open(p), p.m.disk.open(p), exactauth.Latest, nil)
}

// draw draws a number for the next step of the process, the same in every run.
func (p *process) draw() uint64 {
	p.steps++
	x := p.seed + uint64(p.steps)*0x9e3779b97f4a7c15
	x = (x ^ x>>30) * 0xbf58476d1ce4e5b9
	x = (x ^ x>>27) * 0x94d049bb133111eb
	return x ^ x>>31
}

// between draws a duration in whole microseconds.
func (p *process) between(lo, hi time.Duration) time.Duration {
	p.w.mu.Lock()
	defer p.w.mu.Unlock()
	return spread(p.draw(), lo, hi)
}

func spread(x uint64, lo, hi time.Duration) time.Duration {
	return lo + time.Duration(x>>1%uint64(max(hi-lo, 1))).Truncate(time.Microsecond)
}

// latency draws how long a step takes: mostly a little, seldom long.
func (p *process) latency(at string) time.Duration {
	x := p.draw()
	rare := x % 64
	x >>= 6
	switch {
	case at == "wire" && rare == 0:
		return spread(x, 100*time.Millisecond, 20*time.Second)
	case at == "wire":
		return spread(x, 15*time.Millisecond, 150*time.Millisecond)
	case strings.HasSuffix(at, " read"):
		// A process that waits for the lock reads again after ten times as long.
		p.reads++
		return spread(x, 50*time.Microsecond, time.Millisecond) << min(p.reads/4, 14)
	case rare == 0:
		return spread(x, time.Millisecond, 500*time.Millisecond)
	}
	return spread(x, 50*time.Microsecond, 3*time.Millisecond)
}

// pass lets time pass until a moment that is this process's own.
func (p *process) pass(d time.Duration) {
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
	case <-p.killed:
	}
	w.mu.Lock()
	delete(w.wakes, wake)
	w.mu.Unlock()
}

// step is where a process calls out: it takes time, another process may go on, and what
// is planned happens. A process that has died ends here.
func (p *process) step(at string) trouble {
	w := p.w
	if w.turns != nil {
		w.turns.wait(p, at)
	} else {
		w.mu.Lock()
		d := p.latency(at)
		w.mu.Unlock()
		p.pass(d)
	}
	for {
		w.mu.Lock()
		until := p.m.asleep
		if t, on := w.during(asleep, p.m.number); on {
			until = t.until()
			w.stop(p, until)
		}
		w.mu.Unlock()
		if d := time.Until(until); d > 0 {
			p.pass(d)
			continue
		}
		break
	}
	p.exitIfDead()
	w.mu.Lock()
	w.note(p, at, "")
	t := w.take(p, at)
	if t.kind != none {
		w.strike(p, at, t)
	}
	w.mu.Unlock()
	p.exitIfDead()
	if t.kind == stalled {
		p.pass(t.lasts)
		p.exitIfDead()
	}
	return t
}

// take returns the trouble that waits for this step, or none.
func (w *world) take(p *process, at string) trouble {
	now := time.Now()
	for i, t := range w.armed {
		if t.at.After(now) {
			break
		}
		if t.point == at && t.machine == p.m.number {
			w.armed = slices.Delete(slices.Clone(w.armed), i, i+1)
			return t
		}
	}
	return trouble{}
}

// strike carries out a trouble at a step of p.
func (w *world) strike(p *process, at string, t trouble) {
	w.note(p, at, t.String())
	w.count.troubles++
	p.troubled = p.troubled || t.kind != stalled
	switch t.kind {
	case stalled: // nothing else is wrong
		w.stop(p, time.Now().Add(t.lasts))
		return
	case sessionEnds:
		if w.shared != nil {
			w.shared.free(p)
		}
	case crash:
		w.kill(p)
	case powerCut:
		for q := range w.living {
			if q.m == p.m {
				w.kill(q)
			}
		}
		p.m.disk.losePower()
	}
	w.trouble()
}

// stop notes that a process does not go on until then. The database ends the session of
// one that stays away for long.
func (w *world) stop(p *process, until time.Time) {
	if until.After(w.memory.slow) {
		w.memory.slow, w.memory.slowOne = until, p
	}
	if w.shared != nil && time.Until(until) > 2*time.Minute {
		w.shared.free(p)
	}
}

func (w *world) kill(p *process) {
	if p.dead {
		return
	}
	p.dead = true
	p.end()
	p.m.disk.free(p)
	if w.shared != nil {
		w.shared.free(p)
	}
	w.trouble()
}

func (p *process) end() {
	if !p.over {
		p.over = true
		close(p.killed)
	}
}

func (p *process) isOver() bool {
	p.w.mu.Lock()
	defer p.w.mu.Unlock()
	return p.over
}

// exitIfDead ends the goroutine of a process that is over. What the client has
// deferred still runs, but every call out of it ends here again.
func (p *process) exitIfDead() {
	if p.isOver() {
		runtime.Goexit()
	}
}

// failed notes that a store has failed a process.
func (p *process) failed(kind tokenstore.Kind, shared bool) {
	p.w.mu.Lock()
	defer p.w.mu.Unlock()
	p.troubled = true
	p.lost = p.lost || kind == tokenstore.Late && !shared // the spool keeps what the database does not take
	if kind != tokenstore.Lock {
		p.w.trouble()
	}
}

// entry is a line of the trace.
type entry struct {
	at                   time.Time
	process, machine     int
	program, what, event string
}

// note adds to the trace.
func (w *world) note(p *process, at, event string) {
	e := entry{time.Now(), 0, -1, "", at, event}
	if p != nil {
		e.process, e.machine, e.program = p.id, p.m.number, p.what
	}
	w.sum = mix(w.sum, uint64(e.at.UnixNano()), uint64(e.process))
	for _, s := range []string{at, event} {
		for i := range len(s) {
			w.sum = (w.sum ^ uint64(s[i])) * 1099511628211
		}
	}
	if w.tracing {
		w.log = append(w.log, e)
	}
}

func mix(sum uint64, values ...uint64) uint64 {
	for _, v := range values {
		sum = (sum ^ v) * 0x9e3779b97f4a7c15
		sum ^= sum >> 29
	}
	return sum
}

// records are the copies of the login that a machine can see: the one that it uses
// first.
func (w *world) records(m *machine) (all []*record.Record) {
	var texts [][]byte
	if own := m.disk.peek(profileName); own != nil {
		texts = append(texts, own)
	}
	if w.shared != nil {
		shared := w.shared.peek(profileName)
		kept, _ := spool.Waiting(m.disk.peek(spool.Name(profileName)))
		if kept != nil {
			texts = append(texts, kept)
		}
		if shared != nil {
			texts = append(texts, shared)
		}
	}
	for _, text := range texts {
		r, err := record.Decode(text)
		if err != nil {
			w.blame("a record is damaged: %v", err)
			continue
		}
		all = append(all, r)
	}
	slices.SortStableFunc(all, func(a, b *record.Record) int { return b.Generation - a.Generation })
	return all
}

// everyRecord are the copies of all machines.
func (w *world) everyRecord() (all []*record.Record) {
	for _, m := range w.machines {
		all = append(all, w.records(m)...)
	}
	return all
}

// run plays the plan. It runs in a bubble.
func (w *world) run() {
	time.Sleep(time.Until(w.begin))
	<-w.setUp(w.machines[0]).done
	<-w.signIn(w.machines[0], exactsim.AnnaID, false).done
	w.mu.Lock()
	w.armed = slices.Clone(w.steps)
	w.mu.Unlock()
	for w.fine() {
		e := w.next(time.Now())
		if e.at.After(w.end) {
			break
		}
		time.Sleep(time.Until(e.at))
		for _, happen := range e.what {
			happen(w)
		}
	}
	w.all.Wait()
	w.settle()
}

// fine reports whether nothing is wrong so far.
func (w *world) fine() bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return len(w.memory.wrong) == 0
}

// call runs token.
func (w *world) call(m *machine, nth int, want exactauth.Want, patience time.Duration) *process {
	return w.start(&process{m: m, what: "token", nth: nth, want: want, patience: patience}, func(ctx context.Context, p *process) {
		token, err := p.client().Token(ctx, p.want)
		w.judgeToken(p, token, err)
	})
}

// signIn runs login: the person signs in at Exact as the user, and pastes the code.
func (w *world) signIn(m *machine, user string, replace bool) *process {
	return w.start(&process{m: m, what: "login", patience: 5 * time.Minute}, func(ctx context.Context, p *process) {
		code := w.sim.NewCode(exactsim.ClientID, user, redirectURI)
		w.mu.Lock()
		w.codes[code] = user
		w.mu.Unlock()
		_, err := p.client().Login(ctx, exactauth.LoginOptions{Replace: replace, Paste: strings.NewReader(code + "\n")})
		w.judgeLogin(p, user, replace, err)
	})
}

// setUp runs setup with the secret that the record has already.
func (w *world) setUp(m *machine) *process {
	return w.start(&process{m: m, what: "setup", patience: 30 * time.Second}, func(ctx context.Context, p *process) {
		w.judgeOther(p, p.client().SetClientSecret(ctx, fault.NewSecret(exactsim.ClientSecret), true))
	})
}

// move moves the login from the files of machine 0 to the shared store, until it is done.
func (w *world) move() *process {
	return w.start(&process{m: w.machines[0], what: "move", patience: time.Minute}, func(ctx context.Context, p *process) {
		c := p.client()
		c.Shared, c.Store = false, p.m.disk.open(p)
		err := c.MoveTo(ctx, w.joined(p), "the shared store")
		if err == nil {
			w.mu.Lock()
			w.moved = true // the configuration says so from here on
			w.mu.Unlock()
			err = c.Moved(ctx)
		}
		w.judgeOther(p, err)
	})
}
