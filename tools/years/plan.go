package main

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"time"
	_ "time/tzdata" // for machines without it

	"github.com/exactauth/exactauth/internal/exactauth"
	"github.com/exactauth/exactauth/internal/exactsim"
)

// plan is all that a run is made of: a server, one or two machines, and what happens. To
// shrink a failure, events are left out; the others happen at the same times.
type plan struct {
	seed   uint64
	number int

	lenient, tooEarlyFirst, older, undated bool            // what the server is like; undated: its answers have no Date
	skews                                  []time.Duration // of the machines' clocks
	moves                                  bool            // the login is in files at first, and moves to the shared store

	begin, end time.Time
	events     []event
}

type event struct {
	kind    kind
	at      time.Time
	machine int
	lasts   time.Duration // or how far a clock is set
	n       int           // which answer, or how many calls at once
	step    string        // it happens at the first such step of a process after its time, "" if at its time

	// Of a habit:
	every    time.Duration
	patience time.Duration
	want     exactauth.Want
}

type kind string

const (
	calls        kind = "cron calls token"
	signsIn      kind = "a person signs in"
	wrongAccount kind = "a person signs in at the wrong account"
	forces       kind = "a person calls token --force-refresh"
	setsUp       kind = "a person runs setup again"
	movesLogin   kind = "a person moves the login to the shared store"
	looks        kind = "a person looks after the login"

	crash        kind = "killed"
	powerCut     kind = "power cut"
	stalled      kind = "stopped"
	storeFails   kind = "the store fails"
	sessionEnds  kind = "the database ends the session"
	notConnected kind = "no connection"
	answerSpoilt kind = "the answer is"
	slowRequest  kind = "the request is slow"
	slowReply    kind = "the answer is slow"

	serverDown   kind = "the server is down"
	refusing     kind = "the server answers everything with"
	databaseDown kind = "the database is down"
	asleep       kind = "the machine sleeps or is off"
	clockSet     kind = "the clock is set"
	elsewhere    kind = "the user signs in with another program"
	revoked      kind = "the user revokes the app"
)

const (
	hour  = time.Hour
	aDay  = 24 * hour
	year  = 365 * aDay
	month = 30 * aDay
)

// habit is how a crontab calls: how often, how many at once, for how long.
type habit struct {
	every time.Duration
	n     int
	lasts time.Duration
}

// A login is used seldom all the year, and much for a while. What is idle costs no time, so
// the years are long and the busy times short.
var (
	allYear = []habit{{7 * aDay, 1, year}, {7 * aDay, 1, year}, {7 * aDay, 2, year}, {7 * aDay, 1, year}, {aDay, 1, year}, {aDay, 2, year}, {month, 1, year}}
	busy    = [][]habit{
		{{aDay, 1, month}, {aDay, 3, month}},
		{{hour / 4, 1, 2 * aDay}, {hour / 4, 3, aDay}},
		{{hour / 60, 1, aDay}, {hour, 1, aDay}},
		{{hour, 24, aDay / 2}},
	}
)

// The steps of a process at which accidents happen; a store has them, and the place for
// what it does not take.
var (
	storeSteps = []string{"store read", "store lock", "store room", "store write", "store sync"}
	spoolSteps = []string{"spool read", "spool lock", "spool room", "spool write", "spool sync"}
	sending    = []string{"send"}
	requests   = []string{"send", "reply"}
	asking     = []string{"ask"} // whose a sign-in is
	anyStep    = [][]string{storeSteps, {"store saved"}, spoolSteps, {"spool saved"}, requests, {"reply", "start", "ask"}}
)

// accidents are drawn by their weights. What people do is one of them.
var accidents = []struct {
	kind
	weight int
	steps  [][]string      // where, in one of these groups; none if at once
	lasts  []time.Duration // up to one of these times
}{
	{signsIn, 12, nil, nil},
	{wrongAccount, 6, nil, nil},
	{forces, 6, nil, nil},
	{setsUp, 3, nil, nil},
	{crash, 10, anyStep, nil},
	{powerCut, 5, anyStep, nil},
	{stalled, 10, anyStep, []time.Duration{time.Minute, hour / 3, aDay / 2}},
	{storeFails, 10, [][]string{storeSteps, storeSteps, spoolSteps}, nil},
	{sessionEnds, 5, [][]string{storeSteps[1:], requests}, nil},
	{notConnected, 5, [][]string{sending, asking}, nil},
	{answerSpoilt, 20, [][]string{sending, sending, sending, asking}, nil},
	{slowRequest, 5, [][]string{sending}, []time.Duration{10 * time.Second, 100 * time.Second}},
	{slowReply, 5, [][]string{sending}, []time.Duration{10 * time.Second, 100 * time.Second}},
	{serverDown, 3, nil, []time.Duration{time.Minute, hour, aDay / 2}},
	{refusing, 10, nil, []time.Duration{time.Minute, hour, aDay / 2}},
	{databaseDown, 3, nil, []time.Duration{time.Minute, hour, aDay / 2}},
	{asleep, 5, nil, []time.Duration{time.Minute, hour, aDay / 2, 40 * aDay}},
	{clockSet, 6, nil, []time.Duration{hour / 6, hour, 2 * aDay}},
	{elsewhere, 3, nil, nil},
	{revoked, 2, nil, nil},
}

// answers are what can become of an answer of the server, or of all for a while: each kind
// of fault, with and without the request carried out, and answers that Exact has given.
var answers = func() (all []exactsim.Fault) {
	for _, k := range exactsim.FaultKinds() {
		if !slices.Contains([]exactsim.FaultKind{exactsim.Slow, exactsim.Huge, exactsim.Redirect, exactsim.Raw}, k) {
			all = append(all, exactsim.Fault{Kind: k}, exactsim.Fault{Kind: k, Commit: true})
		}
	}
	raw := func(status int, body string, commit bool) exactsim.Fault {
		return exactsim.Fault{Kind: exactsim.Raw, Status: status, Body: body, Commit: commit}
	}
	return append(all,
		raw(400, `{"error":"access_denied"}`, false), raw(400, `{"error":"access_denied"}`, true),
		raw(400, `{"error":"invalid_grant"}`, false), raw(400, `{"error":"invalid_client"}`, false),
		raw(401, `{"error":"unauthorized_client","error_description":"Old refresh token used."}`, false),
		raw(401, `{"message":"Unauthorized"}`, false), raw(403, odata, false), raw(200, `{"access_token":"half`, true),
		exactsim.Fault{Kind: exactsim.Raw, Status: 403, Body: odata, Reason: "BlockedUser"},
		exactsim.Fault{Kind: exactsim.Redirect},
		exactsim.Fault{Kind: exactsim.Status, Status: 429, RetryAfter: "60"},
		exactsim.Fault{Kind: exactsim.Status, Status: 503, RetryAfter: "86400"})
}()

const odata = `{"error":{"code":"","message":{"lang":"","value":"Forbidden"}}}`

func draw(seed uint64, n int) *plan {
	r := rand.New(rand.NewPCG(seed, uint64(n)))
	p := &plan{seed: seed, number: n, lenient: n%2 == 1, tooEarlyFirst: n/2%2 == 1, older: n/4%2 == 1}
	for range pick(r, 1, 1, 2) {
		p.skews = append(p.skews, between(r, -skew, skew))
	}
	p.begin = time.Date(2026+r.IntN(6), time.January, 1+r.IntN(365), r.IntN(24), r.IntN(60), r.IntN(60), 0, time.UTC)
	p.end = p.begin.Add(year)
	add := func(k kind, at time.Time) *event {
		p.events = append(p.events, event{kind: k, at: at, machine: r.IntN(len(p.skews)), n: r.IntN(1 << 16)})
		return &p.events[len(p.events)-1]
	}
	if p.moves = len(p.skews) > 1 && r.IntN(4) == 0; p.moves {
		at := p.begin.Add(between(r, hour, 60*aDay))
		add(movesLogin, at)
		if r.IntN(2) == 0 { // and stands still between the two stores
			p.events = append(p.events, event{kind: stalled, step: "store lock", at: at, lasts: hour / 6}, meanwhile(at, 0, hour/60))
		}
	}
	use := func(h habit, from time.Time) {
		e := add(calls, from)
		e.every, e.n, e.lasts = h.every, h.n, between(r, h.lasts/2, h.lasts)
		e.patience = pick(r, time.Minute/2, time.Minute/2, 5*time.Minute, hour, aDay)
		if r.IntN(16) == 0 {
			e.want.MinValid = pick(r, time.Minute, 5*time.Minute, 590*time.Second)
		}
	}
	*add(looks, p.begin.Add(hour)) = event{kind: looks, at: p.begin.Add(hour), every: 11 * hour, lasts: year}
	use(pick(r, allYear...), p.begin.Add(between(r, hour, aDay)))
	anyTime := func() time.Time { return p.begin.Add(between(r, hour, year)) }
	from, much := anyTime().Truncate(time.Minute), pick(r, busy...) // at the same minute, as crontabs do
	for _, h := range much {
		use(h, from)
	}
	for range r.IntN(20) {
		at := pick(r, anyTime(), from.Add(between(r, 0, much[0].lasts/2)))
		// They come together: what one leaves behind the next one finds.
		for range pick(r, 1, 2, 2, 3, 4) {
			p.drawAccident(r, add("", at))
			at = at.Add(pick(r, 0, 0, between(r, 0, time.Minute), between(r, 0, hour), between(r, 0, aDay)))
		}
	}
	return p
}

func (p *plan) drawAccident(r *rand.Rand, e *event) {
	sum := 0
	for _, a := range accidents {
		sum += a.weight
	}
	i := 0
	for x := r.IntN(sum); x >= accidents[i].weight; i++ {
		x -= accidents[i].weight
	}
	a := accidents[i]
	e.kind = a.kind
	var more []event
	defer func() { p.events = append(p.events, more...) }() // which may move e
	switch e.kind {
	case clockSet:
		more = append(more, meanwhile(e.at, e.machine, -hour/60), meanwhile(e.at, e.machine, hour/60), meanwhile(e.at, e.machine, hour/3))
	case signsIn, wrongAccount:
		more = append(more, meanwhile(e.at, e.machine, -hour/60), meanwhile(e.at, e.machine, hour/60))
		if r.IntN(4) == 0 { // it is cut off once it is saved, and a person tries again
			more = append(more, event{kind: pick(r, crash, answerSpoilt), step: "ask", at: e.at, machine: e.machine, n: r.IntN(1 << 16)},
				event{kind: pick(r, signsIn, wrongAccount), at: e.at.Add(between(r, hour/360, hour/30)), machine: r.IntN(len(p.skews))})
		}
	}
	if a.steps != nil {
		e.step = pick(r, pick(r, a.steps...)...)
	}
	if a.lasts != nil {
		most := pick(r, a.lasts...)
		e.lasts = between(r, most/16, most)
	}
	if e.kind == clockSet {
		e.lasts *= pick(r, 1, time.Duration(-1))
		if back := *e; len(p.skews) > 1 || r.IntN(2) == 0 {
			back.at, back.lasts = e.at.Add(between(r, 0, 2*aDay)), -e.lasts
			more = append(more, back)
		}
	}
}

// meanwhile has a script work about that time.
func meanwhile(at time.Time, machine int, after time.Duration) event {
	return event{kind: calls, at: at.Add(after), machine: machine, n: 1, patience: hour / 60}
}

func pick[T any](r *rand.Rand, of ...T) T { return of[r.IntN(len(of))] }

func between(r *rand.Rand, lo, hi time.Duration) time.Duration {
	return lo + time.Duration(r.Int64N(int64(max(hi-lo, 1)))).Truncate(time.Microsecond)
}

var amsterdam, _ = time.LoadLocation("Europe/Amsterdam")

// agenda lists what happens at its time, in order. Days are those of the local clock.
func (p *plan) agenda() (all []event) {
	for _, e := range p.events {
		once := e
		for n := 1; e.step == "" && !once.at.After(p.end) && (n == 1 || e.every > 0 && !once.at.After(e.until())); n++ {
			if !once.at.Before(p.begin.Add(hour)) {
				all = append(all, once)
			}
			if once.at = e.at.Add(time.Duration(n) * e.every); e.every >= aDay {
				once.at = e.at.In(amsterdam).AddDate(0, 0, n*int(e.every/aDay))
			}
		}
	}
	slices.SortStableFunc(all, func(a, b event) int { return a.at.Compare(b.at) })
	return all
}

func (e event) until() time.Time { return e.at.Add(e.lasts) }

func (e event) String() string {
	s := string(e.kind)
	if f := e.fault(); f != nil {
		s += fmt.Sprintf(" %s %d %s %s, carried out %t", f.Kind, f.Status, f.Body, f.Reason, f.Commit)
	}
	if e.kind == calls {
		s += fmt.Sprintf(" each %s, %d at once, patience %s, %+v", e.every, e.n, e.patience, e.want)
	}
	if e.lasts != 0 {
		s += ", for " + e.lasts.String()
	}
	return s
}

// fault is what the simulator makes of an answer, nil if it does nothing to it.
func (e event) fault() *exactsim.Fault {
	if e.kind == answerSpoilt || e.kind == refusing {
		return &answers[e.n%len(answers)]
	}
	return nil
}
