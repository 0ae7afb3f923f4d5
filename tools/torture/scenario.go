//go:build linux || windows

package main

import (
	"math"
	"math/rand/v2"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/exactauth/exactauth/internal/exactsim"
	"github.com/exactauth/exactauth/tools/pgtest"
)

// plan is everything that happens in one round, drawn before the round begins.
type plan struct {
	*rand.Rand
	scenario string

	begin     float64 // how much of the access token's life is over when the calls start
	calls     []call
	faults    []exactsim.Fault
	disk      diskFault
	down      bool          // no server listens at the port
	clock     time.Duration // the step of every machine's clock
	elsewhere time.Duration // after the start another program signs in; zero: none does
	quiet     bool          // nothing goes wrong, so that every call must succeed
	signsIn   bool          // a call signs out or in

	// With a store that machines share:
	twoMachines bool
	cuts        []moment // the database's server ends the session that holds the record
	stop        stop     // the database's server stops
	dies        bool     // the calls of the first machine are killed, those of the other go on
}

type call struct {
	machine  int
	login    bool // sign in; otherwise args name the command
	args     []string
	timeout  time.Duration // --timeout; patience if zero
	after    time.Duration // the start of the round
	then     *call         // starts when this one has ended
	fileSize int           // ulimit -f, in 512 bytes; 0 is unlimited
	blows    []blow
}

type blow struct {
	signal syscall.Signal
	moment
}

// moment is a time in a round: so long after a point. Without a delay it comes before
// anything else that the point sets off.
type moment struct {
	point point
	after time.Duration
}

// point is what a moment counts from. The first token request of a round may be that of
// another process than the one that is struck.
type point int

const (
	onStart   point = iota // of the calls
	onRequest              // the first token request has arrived
	onReply                // its reply has been sent
	points
)

func (p point) String() string { return [...]string{"start", "request", "reply"}[p] }

type diskFault struct {
	machine int
	kind    diskKind
	spare   int           // pages or files that are still free
	at      point         // onStart: before the calls
	lasts   time.Duration // zero: until all calls have ended
}

type diskKind string

const (
	diskSound    diskKind = ""
	diskFull     diskKind = "full"
	diskNoInodes diskKind = "no inodes"
	diskReadOnly diskKind = "read-only"
)

type stop struct {
	moment
	mode  pgtest.Mode // empty: it does not stop
	lasts time.Duration
}

func (s stop) first() bool { return s.mode != "" && s.moment == moment{} }

// scenario is a row of the table: how many calls of token there are, and what happens to
// them.
type scenario struct {
	name        string
	weight      int // how often it is drawn
	least, most int // calls
	draw        func(*plan)
}

var fileScenarios = []scenario{
	{"calls at once", 12, 2, 8, func(p *plan) {
		p.quiet = true
		p.stagger()
	}},
	{"forced and demanding calls", 6, 2, 6, func(p *plan) {
		p.quiet = true
		p.begin = p.Float64() * 1.1
		for i := range p.calls {
			switch p.IntN(3) {
			case 0:
				p.calls[i].args = append(p.calls[i].args, "--force-refresh")
			case 1:
				p.calls[i].args = append(p.calls[i].args, "--min-valid", pick(p, "100ms", "500ms", "900ms"))
			}
		}
		p.stagger()
	}},
	{"killed", 16, 1, 4, func(p *plan) { p.strike(p.IntN(3) > 0, syscall.SIGKILL) }},
	{"interrupted once", 8, 1, 4, func(p *plan) {
		p.strike(p.IntN(3) > 0, p.interrupt())
		p.maybe(30, p.slow)
	}},
	{"interrupted twice", 8, 1, 4, func(p *plan) {
		p.strike(p.IntN(3) > 0, p.interrupt(), p.interrupt())
		p.maybe(50, p.slow)
	}},
	{"disk full", 8, 1, 4, func(p *plan) {
		// A request that was sent must not be affected.
		p.disk = diskFault{kind: pick(p, diskFull, diskFull, diskNoInodes), spare: p.IntN(9), at: pick(p, onStart, onRequest)}
		p.maybe(30, func() { p.disk.lasts = p.between(0, 60*time.Millisecond) })
	}},
	{"file size limited", 3, 1, 3, func(p *plan) {
		for i := range p.calls {
			p.calls[i].fileSize = 1 << p.IntN(7)
		}
	}},
	{"directory read-only", 4, 1, 3, func(p *plan) {
		p.disk.kind = diskReadOnly
		p.maybe(30, func() { p.disk.lasts = p.between(0, 60*time.Millisecond) })
	}},
	{"reply lost", 14, 1, 4, (*plan).loseReply},
	{"reply slow", 10, 1, 4, func(p *plan) {
		p.slow()
		switch p.IntN(4) {
		case 0:
			p.strike(true, syscall.SIGKILL)
		case 1:
			p.strike(true, syscall.SIGINT)
		case 2:
			for i := range p.calls {
				p.calls[i].timeout = p.between(10*time.Millisecond, 300*time.Millisecond)
			}
		}
	}},
	{"reply useless", 12, 1, 4, (*plan).useless},
	{"server down", 5, 1, 4, func(p *plan) { p.down = true }},
	{"clock stepped", 6, 1, 4, func(p *plan) {
		p.begin = p.Float64() * 1.3
		p.stepClock()
	}},
	{"signed in elsewhere", 4, 1, 4, func(p *plan) { p.elsewhere = pick(p, 1, p.between(1, 60*time.Millisecond)) }},
	{"logout and login between calls", 5, 2, 5, func(p *plan) {
		p.signsIn = true
		for i := range p.calls {
			p.calls[i].after = p.between(0, 150*time.Millisecond)
		}
		p.calls = append(p.calls, call{args: []string{"logout"}, after: p.between(0, 50*time.Millisecond), then: &call{login: true}})
	}},
	{"login again, spoilt", 5, 0, 2, func(p *plan) {
		p.signsIn = true
		again := call{login: true}
		switch p.IntN(4) {
		case 0:
			again.blows = p.blows(syscall.SIGKILL)
		case 1:
			again.blows = p.blows(p.interrupt())
		case 2:
			p.useless()
		case 3:
			p.faults = append(p.faults, exactsim.Fault{On: exactsim.MeEndpoint, Kind: pick(p, exactsim.Slow, exactsim.Drop), Delay: p.between(0, 300*time.Millisecond)})
			p.maybe(50, func() { again.blows = p.blows(syscall.SIGKILL) })
		}
		p.calls = append(p.calls, again)
	}},
	{"several at a time", 14, 1, 5, func(p *plan) {
		some := []func(){p.loseReply, p.slow, p.useless, p.kill, p.interruptSome, p.fillDisk, p.stepClock, p.stagger}
		if p.twoMachines {
			some = append(some, p.cutSessions, p.cutSessions)
			p.maybe(25, func() { some = append(some, p.stopServer) })
		}
		p.Shuffle(len(some), func(i, j int) { some[i], some[j] = some[j], some[i] })
		for _, f := range some[:2+p.IntN(2)] {
			f()
		}
	}},
}

// sharedScenarios happen only to a login that machines share.
var sharedScenarios = []scenario{
	{"a machine killed", 10, 2, 6, func(p *plan) {
		p.dies = true
		p.maybe(40, p.slow)
	}},
	{"session ended", 16, 2, 6, func(p *plan) {
		p.cutSessions()
		p.maybe(50, p.slow)
		p.maybe(10, p.stagger)
	}},
	{"session ended, worse", 10, 2, 6, func(p *plan) {
		p.cutSessions()
		p.maybe(70, p.slow)
		p.worse()
	}},
	{"database stopped", 14, 1, 6, func(p *plan) {
		p.stopServer()
		p.maybe(40, p.slow)
		p.maybe(20, p.stagger)
	}},
	{"database stopped, worse", 8, 1, 5, func(p *plan) {
		p.stopServer()
		p.maybe(50, p.slow)
		p.worse()
	}},
}

func (o options) scenarios() (some []scenario) {
	all := fileScenarios
	if o.shared() {
		all = slices.Concat(fileScenarios, sharedScenarios)
	}
	for _, s := range all {
		if strings.Contains(s.name, o.only) && !slices.Contains(impossible, s.name) {
			some = append(some, s)
		}
	}
	return some
}

// draw draws the plan of round n. The seed and n decide everything in it.
func draw(o options, n int) *plan {
	p := &plan{Rand: rand.New(rand.NewPCG(o.seed, uint64(n))), twoMachines: o.shared()}
	// In the last 5 % of the token's life, around its end, or after it.
	p.begin = pick(p, 0.95+p.Float64()*0.05, 0.93+p.Float64()*0.12, 1+p.Float64()*0.3)
	choice := o.scenarios()
	sum := 0
	for _, s := range choice {
		sum += s.weight
	}
	at := p.IntN(sum)
	for _, s := range choice {
		if at -= s.weight; at < 0 {
			p.scenario = s.name
			for range s.least + p.IntN(s.most-s.least+1) {
				p.calls = append(p.calls, call{args: []string{"token"}})
			}
			s.draw(p)
			break
		}
	}
	if !p.twoMachines {
		return p
	}
	for i := range p.calls {
		for c := &p.calls[i]; c != nil; c = c.then {
			c.machine = p.IntN(machines)
		}
	}
	p.disk.machine = p.IntN(machines)
	if p.dies {
		p.calls[0].machine, p.calls[1].machine = 0, 1
		blows := p.blows(syscall.SIGKILL)
		for i := range p.calls {
			if p.calls[i].machine == 0 {
				p.calls[i].blows = blows
			}
		}
	}
	return p
}

func pick[T any](p *plan, of ...T) T { return of[p.IntN(len(of))] }

func (p *plan) maybe(percent int, f func()) {
	if p.IntN(100) < percent {
		f()
	}
}

func (p *plan) between(lo, hi time.Duration) time.Duration {
	return lo + time.Duration(p.Float64()*float64(hi-lo))
}

// near draws a duration that is more often short than long.
func (p *plan) near(hi time.Duration) time.Duration {
	const lo = 20 * time.Microsecond
	return time.Duration(float64(lo) * math.Pow(float64(hi)/float64(lo), p.Float64()))
}

func (p *plan) interrupt() syscall.Signal { return pick(p, syscall.SIGINT, syscall.SIGTERM) }

func (p *plan) stagger() {
	for i := range p.calls {
		p.calls[i].after = p.between(0, 60*time.Millisecond)
	}
}

func (p *plan) kill() { p.strike(p.IntN(2) == 0, syscall.SIGKILL) }

func (p *plan) interruptSome() { p.strike(p.IntN(2) == 0, p.interrupt()) }

func (p *plan) strike(all bool, signals ...syscall.Signal) {
	one := p.IntN(len(p.calls))
	blows := p.blows(signals...)
	for i := range p.calls {
		if all || i == one {
			p.calls[i].blows = append(p.calls[i].blows, blows...)
		}
	}
}

// blows spreads signals over a call and a while after it, and densely over what follows
// the request and the reply.
func (p *plan) blows(signals ...syscall.Signal) []blow {
	var blows []blow
	for i, s := range signals {
		b := blow{possible(s), moment{point: pick(p, onStart, onRequest, onReply, onReply)}}
		switch {
		case i > 0: // soon after the first
			b.point, b.after = onStart, p.near(30*time.Millisecond)
		case b.point == onStart:
			b.after = p.between(0, aCall)
		default:
			b.after = p.near(20 * time.Millisecond)
		}
		blows = append(blows, b)
	}
	return blows
}

// moment draws one that is more often near a request than not.
func (p *plan) moment() (m moment) {
	switch m.point = pick(p, onStart, onRequest, onRequest, onReply, onReply); m.point {
	case onStart:
		m.after = p.between(0, aCall)
	case onReply:
		m.after = p.near(10 * time.Millisecond)
	}
	return m
}

// cutSessions has the database's server end the session that holds the record, once or
// more.
func (p *plan) cutSessions() {
	for range pick(p, 1, 1, 2, 3) {
		m := p.moment()
		p.maybe(30, func() { m.after += p.near(100 * time.Millisecond) })
		p.cuts = append(p.cuts, m)
	}
}

// stopServer has the database's server stop and come back after a while.
func (p *plan) stopServer() {
	p.stop = stop{moment: p.moment(), mode: pick(p, pgtest.Fast, pgtest.Immediate, pgtest.Crash)}
	p.maybe(30, func() { p.stop.moment = moment{} }) // before the calls
	p.stop.lasts = pick(p, p.between(0, 300*time.Millisecond), p.between(0, 1500*time.Millisecond), p.between(2*time.Second, 6*time.Second))
}

// worse adds something that makes an ended session or a stopped server dangerous.
func (p *plan) worse() { pick(p, p.useless, p.loseReply, p.kill, p.interruptSome, p.fillDisk)() }

func (p *plan) fillDisk() { p.disk = diskFault{kind: diskFull, spare: p.IntN(9), at: onRequest} }

// loseReply has the server do its work and the reply not arrive.
func (p *plan) loseReply() {
	f := exactsim.Fault{Kind: pick(p, exactsim.Drop, exactsim.Drop, exactsim.CutBody, exactsim.Truncated, exactsim.Empty, exactsim.Gateway,
		exactsim.Status, exactsim.HTML, exactsim.NoRefreshToken, exactsim.EmptyRefreshToken), Commit: true}
	p.maybe(30, func() { f.Times = 2 })
	p.maybe(30, func() { f.Delay = p.between(0, 100*time.Millisecond) })
	p.faults = append(p.faults, f)
}

// slow delays the reply by up to more than half of a token's life.
func (p *plan) slow() {
	p.faults = append(p.faults, exactsim.Fault{Kind: exactsim.Slow, Commit: p.IntN(2) == 0, Delay: p.between(20*time.Millisecond, 600*time.Millisecond)})
}

// useless has the server answer without having done anything.
func (p *plan) useless() {
	f := pick(p,
		exactsim.Fault{Kind: exactsim.Status, Status: 429, RetryAfter: pick(p, "", "1")},
		exactsim.Fault{Kind: exactsim.Status, Status: 503, RetryAfter: pick(p, "", "1")},
		exactsim.Fault{Kind: exactsim.Status, Status: 500},
		exactsim.Fault{Kind: exactsim.Empty},
		exactsim.Fault{Kind: exactsim.Gateway},
		exactsim.Fault{Kind: exactsim.HTML},
		exactsim.Fault{Kind: exactsim.Drop},
		exactsim.Fault{Kind: exactsim.Raw, Body: `{"access_token":"half`},
		exactsim.Fault{Kind: exactsim.Raw, Status: 400, Body: `{"error":"access_denied"}`},
		exactsim.Fault{Kind: exactsim.Redirect},
		exactsim.Fault{Kind: exactsim.RefreshTokenInError},
	)
	f.Times = pick(p, 1, 1, 2, -1)
	p.faults = append(p.faults, f)
}

func (p *plan) stepClock() {
	p.clock = pick(p, -time.Hour, time.Hour, -time.Hour, time.Hour, p.between(-life, life))
}

func (p *plan) disturbed() bool { return len(p.cuts) > 0 || p.stop.mode != "" }
