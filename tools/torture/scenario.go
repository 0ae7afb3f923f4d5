//go:build unix

package main

import (
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/exactauth/exactauth/internal/exactsim"
	"github.com/exactauth/exactauth/tools/pgtest"
)

// plan is all that is to happen in one round, drawn before it begins.
type plan struct {
	*rand.Rand
	scenario string

	begin     float64 // when: the share of the access token's life that is over
	calls     []call
	faults    []exactsim.Fault
	disk      diskFault
	diskAt    moment // onStart: before the calls
	diskFor   time.Duration
	down      bool // nobody listens at the server's port
	clock     time.Duration
	elsewhere *time.Duration // after the start of the calls

	// With a store that machines share:
	shared bool
	cuts   []cut // the server ends the session that holds the record
	stop   *stop // the server is stopped
	dies   bool  // the calls of the first machine are killed, those of the other go on
}

// call is one process of a plan.
type call struct {
	machine  int
	login    bool // sign in; else args name the command
	args     []string
	timeout  time.Duration // --timeout, patience if zero
	after    time.Duration // the start of the round
	behind   int           // waits for the end of this call, counted from 1
	fileSize int           // ulimit -f, in 512 bytes; 0 is none
	blows    []blow
	stdin    string
}

func (c call) limit() time.Duration {
	if c.timeout > 0 {
		return c.timeout
	}
	return patience
}

// blow is a signal and when it falls. A moment is the round's: the first request
// for a token that arrives may be another process's.
type blow struct {
	signal syscall.Signal
	at     moment
	after  time.Duration
	share  float64 // of the usual duration of a call, added to after
}

// cut is when the database's server ends a session.
type cut struct {
	at    moment
	after time.Duration
	share float64 // as a blow's
}

// stop is when and how the database's server is stopped.
type stop struct {
	cut
	mode  pgtest.Mode
	lasts time.Duration
}

type moment int

const (
	onStart moment = iota
	onArrival
	onReply
)

func (m moment) String() string { return [...]string{"start", "request", "reply"}[m] }

type diskFault struct {
	machine int
	kind    diskKind
	spare   int // pages or files that are still free
}

type diskKind int

const (
	diskSound diskKind = iota
	diskFull
	diskNoInodes
	diskReadOnly
)

func (k diskKind) String() string { return [...]string{"sound", "full", "no inodes", "read-only"}[k] }

// scenario is a row of the table: what befalls a login, and how often.
type scenario struct {
	name   string
	weight int
	draw   func(*plan)
}

var scenarios = []scenario{
	{"calls at once", 12, func(p *plan) {
		p.tokens(2, 8)
		p.stagger()
	}},
	{"forced and demanding calls", 6, func(p *plan) {
		p.begin = p.Float64() * 1.1
		p.tokens(2, 6)
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
	{"killed", 16, func(p *plan) {
		p.tokens(1, 4)
		p.strike(p.IntN(3) > 0, syscall.SIGKILL)
	}},
	{"interrupted once", 8, func(p *plan) {
		p.tokens(1, 4)
		p.strike(p.IntN(3) > 0, pick(p, syscall.SIGINT, syscall.SIGTERM))
		p.maybe(30, p.slow)
	}},
	{"interrupted twice", 8, func(p *plan) {
		p.tokens(1, 4)
		p.strike(p.IntN(3) > 0, pick(p, syscall.SIGINT, syscall.SIGTERM), pick(p, syscall.SIGINT, syscall.SIGTERM))
		p.maybe(50, p.slow)
	}},
	{"disk full", 8, func(p *plan) {
		p.tokens(1, 4)
		p.disk = diskFault{kind: pick(p, diskFull, diskFull, diskNoInodes), spare: p.IntN(9)}
		p.diskAt = pick(p, onStart, onArrival) // to a request that was sent it must not matter
		p.maybe(30, func() { p.diskFor = p.between(0, 60*time.Millisecond) })
	}},
	{"file size limited", 3, func(p *plan) {
		p.tokens(1, 3)
		for i := range p.calls {
			p.calls[i].fileSize = 1 << p.IntN(7)
		}
	}},
	{"directory read-only", 4, func(p *plan) {
		p.tokens(1, 3)
		p.disk.kind = diskReadOnly
		p.maybe(30, func() { p.diskFor = p.between(0, 60*time.Millisecond) })
	}},
	{"reply lost", 14, func(p *plan) {
		p.tokens(1, 4)
		p.loseReply()
	}},
	{"reply slow", 10, func(p *plan) {
		p.tokens(1, 4)
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
	{"reply useless", 12, func(p *plan) {
		p.tokens(1, 4)
		p.useless()
	}},
	{"server down", 5, func(p *plan) {
		p.tokens(1, 4)
		p.down = true
	}},
	{"clock stepped", 6, func(p *plan) {
		p.begin = p.Float64() * 1.3
		p.tokens(1, 4)
		p.stepClock()
	}},
	{"signed in elsewhere", 4, func(p *plan) {
		p.tokens(1, 4)
		p.elsewhere = new(time.Duration)
		p.maybe(60, func() { *p.elsewhere = p.between(0, 60*time.Millisecond) })
	}},
	{"logout and login between calls", 5, func(p *plan) {
		p.tokens(2, 5)
		for i := range p.calls {
			p.calls[i].after = p.between(0, 150*time.Millisecond)
		}
		out := call{args: []string{"logout", "-v"}, after: p.between(0, 50*time.Millisecond)}
		p.calls = append(p.calls, out, call{login: true, args: []string{"-v"}, behind: len(p.calls) + 1})
	}},
	{"login again, spoilt", 5, func(p *plan) {
		p.tokens(0, 2)
		again := call{login: true, args: []string{"-v"}}
		switch p.IntN(4) {
		case 0:
			again.blows = p.blows(syscall.SIGKILL)
		case 1:
			again.blows = p.blows(pick(p, syscall.SIGINT, syscall.SIGTERM))
		case 2:
			p.useless()
		case 3:
			p.faults = append(p.faults, exactsim.Fault{On: exactsim.MeEndpoint, Kind: pick(p, exactsim.Slow, exactsim.Drop), Delay: p.between(0, 300*time.Millisecond)})
			p.maybe(50, func() { again.blows = p.blows(syscall.SIGKILL) })
		}
		p.calls = append(p.calls, again)
	}},
	{"several at a time", 14, func(p *plan) {
		p.tokens(1, 5)
		some := []func(){p.loseReply, p.slow, p.useless,
			func() { p.strike(p.IntN(2) == 0, syscall.SIGKILL) },
			func() { p.strike(p.IntN(2) == 0, pick(p, syscall.SIGINT, syscall.SIGTERM)) },
			func() { p.disk, p.diskAt = diskFault{kind: diskFull, spare: p.IntN(9)}, onArrival },
			p.stepClock, p.stagger,
		}
		if p.shared {
			some = append(some, p.cutSessions, p.cutSessions)
			p.maybe(25, func() { some = append(some, p.stopServer) })
		}
		p.Shuffle(len(some), func(i, j int) { some[i], some[j] = some[j], some[i] })
		for _, f := range some[:2+p.IntN(2)] {
			f()
		}
	}},
}

// sharedScenarios are what befalls only a login that machines share.
var sharedScenarios = []scenario{
	{"a machine killed", 10, func(p *plan) {
		p.tokens(2, 6)
		p.dies = true
		p.maybe(40, p.slow)
	}},
	{"session ended", 16, func(p *plan) {
		p.tokens(2, 6)
		p.cutSessions()
		p.maybe(50, p.slow)
		p.maybe(10, p.stagger)
	}},
	{"session ended, worse", 10, func(p *plan) {
		p.tokens(2, 6)
		p.cutSessions()
		p.maybe(70, p.slow)
		p.worse()
	}},
	{"database stopped", 14, func(p *plan) {
		p.tokens(1, 6)
		p.stopServer()
		p.maybe(40, p.slow)
		p.maybe(20, p.stagger)
	}},
	{"database stopped, worse", 8, func(p *plan) {
		p.tokens(1, 5)
		p.stopServer()
		p.maybe(50, p.slow)
		p.worse()
	}},
}

// scenarios are those that can befall the logins of this run.
func (o options) scenarios() []scenario {
	if !o.shared() {
		return scenarios
	}
	return slices.Insert(slices.Clone(scenarios), len(scenarios)-1, sharedScenarios...)
}

func scenarioNames(o options) (names []string) {
	for _, s := range o.scenarios() {
		names = append(names, s.name)
	}
	return names
}

func matching(o options) (m []scenario) {
	for _, s := range o.scenarios() {
		if strings.Contains(s.name, o.only) {
			m = append(m, s)
		}
	}
	return m
}

// draw draws the plan of round n.
func draw(o options, n int) *plan {
	p := &plan{Rand: rand.New(rand.NewPCG(o.seed, uint64(n))), shared: o.shared()}
	// In the window, about expiry, or after it.
	p.begin = pick(p, 0.95+p.Float64()*0.05, 0.93+p.Float64()*0.12, 1+p.Float64()*0.3)
	choice := matching(o)
	sum := 0
	for _, s := range choice {
		sum += s.weight
	}
	at := p.IntN(sum)
	for _, s := range choice {
		if at -= s.weight; at < 0 {
			p.scenario = s.name
			s.draw(p)
			break
		}
	}
	for i := range p.calls {
		c := &p.calls[i]
		c.args = append(c.args, "--timeout", c.limit().String())
		if p.shared {
			c.machine = p.IntN(machines)
		}
	}
	if p.shared {
		p.disk.machine = p.IntN(machines)
	}
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

func (p *plan) between(lo, hi time.Duration) time.Duration {
	return lo + time.Duration(p.Float64()*float64(hi-lo))
}

// near draws a duration that is more often short than long.
func (p *plan) near(hi time.Duration) time.Duration {
	const lo = 20 * time.Microsecond
	return time.Duration(float64(lo) * math.Pow(float64(hi)/float64(lo), p.Float64()))
}

func (p *plan) maybe(percent int, f func()) {
	if p.IntN(100) < percent {
		f()
	}
}

func (p *plan) tokens(lo, hi int) {
	for range lo + p.IntN(hi-lo+1) {
		p.calls = append(p.calls, call{args: []string{"token", "-v"}})
	}
}

func (p *plan) stagger() {
	for i := range p.calls {
		p.calls[i].after = p.between(0, 60*time.Millisecond)
	}
}

// strike has the signals fall on all calls or on one of them.
func (p *plan) strike(all bool, signals ...syscall.Signal) {
	one := p.IntN(len(p.calls))
	blows := p.blows(signals...)
	for i := range p.calls {
		if all || i == one {
			p.calls[i].blows = append(p.calls[i].blows, blows...)
		}
	}
}

// blows spreads signals over a call and a while after it, and densely over what
// follows the request and the reply.
func (p *plan) blows(signals ...syscall.Signal) []blow {
	var blows []blow
	for i, s := range signals {
		b := blow{signal: s, at: pick(p, onStart, onArrival, onReply, onReply)}
		switch {
		case i > 0:
			b.at, b.after = onStart, p.near(30*time.Millisecond)
		case b.at == onStart:
			b.share = p.Float64() * 2
		default:
			b.after = p.near(20 * time.Millisecond)
		}
		blows = append(blows, b)
	}
	return blows
}

// moment draws one that is more often near a request than not.
func (p *plan) moment() (c cut) {
	switch c.at = pick(p, onStart, onArrival, onArrival, onReply, onReply); c.at {
	case onStart:
		c.share = p.Float64() * 1.5
	case onReply:
		c.after = p.near(10 * time.Millisecond)
	}
	return c
}

// cutSessions has the server end the session that holds the record, once or more.
func (p *plan) cutSessions() {
	for range pick(p, 1, 1, 2, 3) {
		c := p.moment()
		p.maybe(30, func() { c.after += p.near(100 * time.Millisecond) })
		p.cuts = append(p.cuts, c)
	}
}

// worse adds something that makes an ended session or a stopped server dangerous.
func (p *plan) worse() {
	pick(p, p.useless, p.loseReply,
		func() { p.strike(p.IntN(2) == 0, syscall.SIGKILL) },
		func() { p.strike(p.IntN(2) == 0, pick(p, syscall.SIGINT, syscall.SIGTERM)) },
		func() { p.disk, p.diskAt = diskFault{kind: diskFull, spare: p.IntN(9)}, onArrival })()
}

// stopServer has the database stop and come back after a while.
func (p *plan) stopServer() {
	p.stop = &stop{cut: p.moment(), mode: pick(p, pgtest.Fast, pgtest.Immediate, pgtest.Crash)}
	p.maybe(30, func() { p.stop.cut = cut{} }) // before the calls begin
	p.stop.lasts = pick(p, p.between(0, 300*time.Millisecond), p.between(0, 1500*time.Millisecond), p.between(2*time.Second, 6*time.Second))
}

// loseReply has the server do its work and the answer not arrive.
func (p *plan) loseReply() {
	f := exactsim.Fault{Kind: pick(p, exactsim.Drop, exactsim.Drop, exactsim.CutBody, exactsim.Truncated, exactsim.Empty, exactsim.Gateway,
		exactsim.Status, exactsim.HTML, exactsim.NoRefreshToken, exactsim.EmptyRefreshToken), Commit: true}
	p.maybe(30, func() { f.Times = 2 })
	p.maybe(30, func() { f.Delay = p.between(0, 100*time.Millisecond) })
	p.faults = append(p.faults, f)
}

// slow has the answer take up to more than half of what a token lives.
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

// quiet reports whether nothing is to go wrong, so that every call must succeed.
func (p *plan) quiet() bool {
	for _, c := range p.calls {
		if c.login || c.args[0] != "token" || c.timeout > 0 || c.fileSize > 0 || len(c.blows) > 0 {
			return false
		}
	}
	return len(p.cuts) == 0 && p.stop == nil && len(p.faults) == 0 && p.disk.kind == diskSound && !p.down && p.clock == 0 && p.elsewhere == nil
}

func (p *plan) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "begins at %.3f of the token's life", p.begin)
	for _, f := range p.faults {
		fmt.Fprintf(&b, "; fault %+v", f)
	}
	if p.disk.kind != diskSound {
		fmt.Fprintf(&b, "; disk of machine %d %s but for %d, from %s on, for %s", p.disk.machine, p.disk.kind, p.disk.spare, p.diskAt, p.diskFor)
	}
	for _, c := range p.cuts {
		fmt.Fprintf(&b, "; session ended at %s+%s+%.2f", c.at, c.after, c.share)
	}
	if p.stop != nil {
		fmt.Fprintf(&b, "; database stopped (%s) at %s+%s+%.2f for %s", p.stop.mode, p.stop.at, p.stop.after, p.stop.share, p.stop.lasts)
	}
	if p.down {
		b.WriteString("; server down")
	}
	if p.clock != 0 {
		fmt.Fprintf(&b, "; clock stepped by %s", p.clock)
	}
	if p.elsewhere != nil {
		fmt.Fprintf(&b, "; signed in elsewhere after %s", *p.elsewhere)
	}
	return b.String()
}
