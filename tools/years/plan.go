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

// plan is all that a run is made of. To shrink a failure, parts of it are left out: what
// remains happens at the same times.
type plan struct {
	seed   uint64
	number int
	sort   string

	lenient, tooEarlyFirst, older bool // what the server is like
	machines                      int
	skews                         [2]time.Duration // of the machines' clocks
	moves                         bool             // the login moves to the shared store

	begin, end time.Time
	crons      []cron
	visits     []visit   // by a person
	spans      []trouble // that last for a time
	moments    []trouble // that happen once
	steps      []trouble // that happen at the first such step after a time
}

// cron is a line of a crontab.
type cron struct {
	machine  int
	every    every
	from, to time.Time
	hour     int // of a night or month
	minute   int
	burst    int // processes at once
	patience time.Duration
	want     exactauth.Want
}

type every time.Duration

const (
	minutely = every(time.Minute)
	quarters = every(15 * time.Minute)
	hourly   = every(time.Hour)
	nightly  = every(24 * time.Hour)
	weekly   = every(7 * 24 * time.Hour)
	monthly  = every(30 * 24 * time.Hour)
)

var amsterdam = func() *time.Location {
	l, err := time.LoadLocation("Europe/Amsterdam")
	if err != nil {
		panic(err)
	}
	return l
}()

// next returns the first time after a time, by the local clock.
func (c cron) next(after time.Time) time.Time {
	if after.Before(c.from) {
		after = c.from
	}
	var t time.Time
	switch c.every {
	case nightly, weekly, monthly:
		y, m, d := after.In(amsterdam).Date()
		switch c.every {
		case weekly:
			d -= int(after.In(amsterdam).Weekday())
		case monthly:
			d = 1
		}
		for t = time.Date(y, m, d, c.hour, c.minute, 0, 0, amsterdam); !t.After(after); t = time.Date(y, m, d, c.hour, c.minute, 0, 0, amsterdam) {
			switch c.every {
			case nightly:
				d++
			case weekly:
				d += 7
			case monthly:
				m++
			}
		}
	default:
		t = after.Truncate(time.Duration(c.every)).Add(time.Duration(c.every))
	}
	if t.After(c.to) {
		return time.Time{}
	}
	return t
}

func (c cron) String() string {
	names := map[every]string{minutely: "each minute", quarters: "each quarter of an hour", hourly: "each hour",
		weekly: "once a week", nightly: fmt.Sprintf("each night at %02d:%02d", c.hour, c.minute), monthly: "once a month"}
	return fmt.Sprintf("machine %d calls %s, %d at once, patience %s, %s to %s", c.machine, names[c.every], c.burst, c.patience,
		c.from.Format(time.DateOnly), c.to.Format(time.DateOnly))
}

// visit is what a person does.
type visit struct {
	at      time.Time
	machine int
	what    visitKind
}

type visitKind string

const (
	signsIn       visitKind = "signs in again"
	wrongAccount  visitKind = "signs in at the wrong account"
	signsInTwice  visitKind = "signs in on two terminals"
	forces        visitKind = "calls token --force-refresh"
	setsUp        visitKind = "runs setup again"
	movesTheLogin visitKind = "moves the login to the shared store"
)

// trouble is something that goes wrong.
type trouble struct {
	kind    troubleKind
	at      time.Time
	machine int
	lasts   time.Duration
	answer  int    // of those in the list
	point   string // the step that it waits for
}

type troubleKind string

const (
	none troubleKind = ""

	crash        troubleKind = "killed"
	powerCut     troubleKind = "power cut"
	stalled      troubleKind = "stopped"
	storeFails   troubleKind = "the store fails"
	sessionEnds  troubleKind = "the database ends the session"
	notConnected troubleKind = "no connection"
	answerSpoilt troubleKind = "answer spoilt"
	slowRequest  troubleKind = "the request is slow"
	slowReply    troubleKind = "the answer is slow"

	serverDown   troubleKind = "server down"
	maintenance  troubleKind = "server in maintenance"
	refusing     troubleKind = "server refuses"
	appDisabled  troubleKind = "app disabled"
	databaseDown troubleKind = "database down"
	asleep       troubleKind = "machine asleep"
	holiday      troubleKind = "machine off"

	clockSet  troubleKind = "clock set"
	elsewhere troubleKind = "signed in elsewhere"
	revoked   troubleKind = "revoked by the user"
)

func (t trouble) until() time.Time { return t.at.Add(t.lasts) }

func (t trouble) String() string {
	s := string(t.kind)
	switch t.kind {
	case answerSpoilt:
		s += ": " + faultName(answers[t.answer%len(answers)])
	case refusing:
		s += ": " + faultName(refusals[t.answer%len(refusals)])
	}
	if t.lasts != 0 {
		s += ", " + t.lasts.String()
	}
	return s
}

func faultName(f exactsim.Fault) string {
	s := string(f.Kind)
	if f.Status != 0 {
		s += fmt.Sprintf(" %d", f.Status)
	}
	if f.Commit {
		s += ", carried out"
	}
	return fmt.Sprintf("%s %s %s", s, f.Body, f.Reason)
}

const (
	oldTokenBody = `{"error":"unauthorized_client","error_description":"Old refresh token used."}`
	odataBody    = `{"error":{"code":"","message":{"lang":"","value":"Forbidden"}}}`
)

// answers are what can become of one answer.
var answers = []exactsim.Fault{
	{Kind: exactsim.Drop, Commit: true},
	{Kind: exactsim.Drop},
	{Kind: exactsim.Empty, Commit: true},
	{Kind: exactsim.Gateway, Commit: true},
	{Kind: exactsim.Gateway},
	{Kind: exactsim.Status, Status: 503, Commit: true},
	{Kind: exactsim.Status, Status: 429, RetryAfter: "60"},
	{Kind: exactsim.HTML, Commit: true},
	{Kind: exactsim.Truncated},
	{Kind: exactsim.CutBody},
	{Kind: exactsim.CutLate},
	{Kind: exactsim.Form},
	{Kind: exactsim.ByteOrderMark},
	{Kind: exactsim.NoRefreshToken},
	{Kind: exactsim.EmptyRefreshToken},
	{Kind: exactsim.NumberExpiresIn},
	{Kind: exactsim.RefreshTokenInError},
	{Kind: exactsim.Redirect},
	{Kind: exactsim.Raw, Status: 400, Body: `{"error":"access_denied"}`},
	{Kind: exactsim.Raw, Status: 400, Body: `{"error":"access_denied"}`, Commit: true},
	{Kind: exactsim.Raw, Status: 400, Body: `{"error":"invalid_grant"}`},
	{Kind: exactsim.Raw, Status: 400, Body: `{"error":"invalid_client"}`},
	{Kind: exactsim.Raw, Status: 401, Body: oldTokenBody},
	{Kind: exactsim.Raw, Status: 403, Body: odataBody, Reason: "BlockedUser"},
	{Kind: exactsim.Raw, Status: 401, Body: `{"message":"Unauthorized"}`},
	{Kind: exactsim.Raw, Body: `{"access_token":"half`, Commit: true},
}

// refusals are what a server can answer to everything for a while.
var refusals = []exactsim.Fault{
	{Kind: exactsim.Raw, Status: 403, Body: odataBody, Reason: "BlockedUser"},
	{Kind: exactsim.Raw, Status: 401, Body: `{"message":"Unauthorized"}`},
	{Kind: exactsim.Raw, Status: 403, Body: odataBody},
	{Kind: exactsim.Status, Status: 403},
	{Kind: exactsim.Raw, Status: 400, Body: `{"error":"invalid_grant"}`},
	{Kind: exactsim.Raw, Status: 400, Body: `{"error":"access_denied","error_description":"Token is not allowed, because of invalid or empty chainId"}`},
	{Kind: exactsim.HTML},
	{Kind: exactsim.Gateway},
	{Kind: exactsim.Redirect},
}

// points are the steps of a process that troubles wait for, by what can happen there.
var (
	storePoints  = []string{"store read", "store lock", "store room", "store write", "store sync", "store saved"}
	spoolPoints  = []string{"spool read", "spool lock", "spool room", "spool write", "spool sync", "spool saved"}
	otherPoints  = []string{"send", "reply", "reply", "start"}
	year         = 365 * 24 * time.Hour
	aDay         = 24 * time.Hour
	oneOfSixteen = 16
)

// draw draws the plan of run n.
func draw(seed uint64, n int) *plan {
	r := rand.New(rand.NewPCG(seed, uint64(n)))
	p := &plan{seed: seed, number: n, lenient: n%2 == 1, tooEarlyFirst: n/2%2 == 1, older: n/4%2 == 1, machines: 1}
	if r.IntN(3) == 0 {
		p.machines = 2
		p.moves = r.IntN(4) == 0
	}
	for i := range p.skews {
		p.skews[i] = between(r, -skew, skew)
	}
	p.begin = time.Date(2026+r.IntN(6), time.January, 1+r.IntN(365), r.IntN(24), r.IntN(60), r.IntN(60), 0, time.UTC)
	p.end = p.begin.Add(year)
	p.sort = pick(r, "nights", "quarters", "minutes", "bursts")
	add := func(e every, burst int, from, to time.Time) {
		c := cron{r.IntN(p.machines), e, from, to, r.IntN(24), r.IntN(60), burst, pick(r, 30*time.Second, 30*time.Second, 5*time.Minute, time.Hour, aDay), exactauth.Want{}}
		if r.IntN(oneOfSixteen) == 0 {
			c.want.MinValid = pick(r, time.Minute, 5*time.Minute, 590*time.Second)
		}
		if p.moves {
			c.machine = 0
		}
		p.crons = append(p.crons, c)
	}
	add(pick(r, weekly, weekly, weekly, weekly, nightly, nightly, monthly), 1, p.begin, p.end)
	from := p.when(r)
	switch p.sort {
	case "nights":
		for range 2 {
			add(nightly, pick(r, 1, 1, 2, 3), from, from.Add(30*aDay))
		}
	case "quarters":
		add(quarters, 1, from, from.Add(2*aDay))
		add(quarters, pick(r, 1, 2, 3), from, from.Add(aDay))
	case "minutes":
		add(minutely, 1, from, from.Add(between(r, 6*time.Hour, 2*aDay)))
		add(hourly, 1, from, from.Add(aDay))
	case "bursts":
		add(hourly, 24, from, from.Add(between(r, 6*time.Hour, 18*time.Hour)))
	}
	p.drawVisits(r)
	for range r.IntN(9) {
		p.drawTroubles(r)
	}
	slices.SortStableFunc(p.steps, func(a, b trouble) int { return a.at.Compare(b.at) })
	return p
}

// when draws a time of the run.
func (p *plan) when(r *rand.Rand) time.Time {
	return p.begin.Add(between(r, time.Hour, p.end.Sub(p.begin)))
}

func (p *plan) drawVisits(r *rand.Rand) {
	for range r.IntN(4) {
		p.visits = append(p.visits, visit{p.when(r), r.IntN(p.machines), pick(r, signsIn, signsIn, wrongAccount, wrongAccount, signsInTwice, forces, forces, setsUp)})
	}
	if p.moves {
		p.visits = append(p.visits, visit{p.begin.Add(between(r, 0, 60*aDay)), 0, movesTheLogin})
	}
}

// drawTroubles draws one to four troubles that come together, for what one trouble leaves
// behind the next one finds.
func (p *plan) drawTroubles(r *rand.Rand) {
	at := p.when(r)
	if c := p.crons[len(p.crons)-1]; r.IntN(2) == 0 { // where there are most calls
		at = c.from.Add(between(r, 0, c.to.Sub(c.from)))
	}
	if len(p.visits) > 0 && r.IntN(4) == 0 {
		at = p.visits[r.IntN(len(p.visits))].at
	}
	if first := p.begin.Add(time.Hour); at.Before(first) {
		at = first
	}
	for range pick(r, 1, 1, 2, 3, 4) {
		t := trouble{at: at, machine: r.IntN(p.machines), answer: r.IntN(1 << 16)}
		at = at.Add(pick(r, 0, 0, between(r, 0, time.Minute), between(r, 0, time.Hour), between(r, 0, aDay)))
		switch x := r.IntN(100); {
		case x < 70:
			p.steps = append(p.steps, p.drawStep(r, t))
		case x < 90:
			t.kind = pick(r, serverDown, maintenance, refusing, refusing, appDisabled, asleep, databaseDown)
			t.lasts = pick(r, between(r, 0, time.Minute), between(r, 0, time.Hour), between(r, 0, 12*time.Hour))
			if r.IntN(10) == 0 && t.kind != databaseDown {
				t.kind, t.lasts = holiday, between(r, 25*aDay, 35*aDay)
			}
			p.spans = append(p.spans, t)
		default:
			t.kind = pick(r, clockSet, clockSet, clockSet, elsewhere, elsewhere, revoked)
			if t.kind == clockSet {
				t.lasts = pick(r, -time.Hour, time.Hour, between(r, -10*time.Minute, 10*time.Minute), between(r, -2*aDay, 2*aDay))
				if back := t; p.machines > 1 || r.IntN(2) == 0 {
					back.at, back.lasts = t.at.Add(between(r, 0, 2*aDay)), -t.lasts
					p.moments = append(p.moments, back)
				}
			}
			p.moments = append(p.moments, t)
		}
	}
}

// drawStep draws a trouble that waits for a step.
func (p *plan) drawStep(r *rand.Rand, t trouble) trouble {
	points := append(slices.Clone(storePoints), otherPoints...)
	if p.machines > 1 {
		points = append(points, spoolPoints...)
	}
	t.kind = pick(r, crash, crash, powerCut, stalled, stalled, storeFails, storeFails, sessionEnds, notConnected,
		answerSpoilt, answerSpoilt, answerSpoilt, answerSpoilt, slowRequest, slowReply)
	t.point = pick(r, points...)
	switch t.kind {
	case storeFails:
		points = storePoints
		if p.machines > 1 && r.IntN(3) == 0 {
			points = spoolPoints
		}
		t.point = pick(r, points[:5]...)
	case sessionEnds:
		if t.point = pick(r, append(storePoints[1:5:5], "send", "reply")...); p.machines == 1 {
			t.kind = crash
		}
	case notConnected, answerSpoilt, slowRequest, slowReply:
		t.point = "send"
		if t.kind == slowRequest || t.kind == slowReply {
			t.lasts = pick(r, between(r, 0, 10*time.Second), between(r, 0, 100*time.Second))
		}
	case stalled:
		t.lasts = pick(r, between(r, 0, time.Minute), between(r, 0, 20*time.Minute), between(r, 0, 12*time.Hour))
	}
	return t
}

func pick[T any](r *rand.Rand, of ...T) T { return of[r.IntN(len(of))] }

func between(r *rand.Rand, lo, hi time.Duration) time.Duration {
	return lo + time.Duration(r.Int64N(int64(max(hi-lo, 1)))).Truncate(time.Microsecond)
}

// event is what happens next in a plan.
type event struct {
	at   time.Time
	what []func(*world)
}

// next returns the first event after a time.
func (w *world) next(after time.Time) event {
	first := event{at: w.end.Add(time.Second)}
	consider := func(at time.Time, what func(*world)) {
		switch {
		case !at.After(after) || at.After(first.at):
		case at.Equal(first.at):
			first.what = append(first.what, what)
		default:
			first = event{at, []func(*world){what}}
		}
	}
	for _, c := range w.crons {
		consider(c.next(after), func(w *world) { w.runCron(c) })
	}
	for _, v := range w.visits {
		consider(v.at, func(w *world) { w.visit(v) })
	}
	for _, t := range w.moments {
		consider(t.at, func(w *world) { w.moment(t) })
	}
	return first
}

func (w *world) runCron(c cron) {
	if _, off := w.during(holiday, c.machine); off {
		return
	}
	if _, off := w.during(asleep, c.machine); off {
		return
	}
	for i := range c.burst {
		w.call(w.machines[c.machine], i, c.want, c.patience)
	}
}

func (w *world) moment(t trouble) {
	w.mu.Lock()
	w.note(nil, "", t.String())
	w.count.troubles++
	w.trouble()
	switch m := w.machines[t.machine]; t.kind {
	case clockSet:
		m.clock += t.lasts
		m.stepped = time.Now()
	case revoked:
		w.memory.outside = time.Now()
		w.sim.Revoke(exactsim.ClientID, exactsim.AnnaID)
	case elsewhere:
		w.memory.outside = time.Now()
	}
	w.mu.Unlock()
	if t.kind == elsewhere {
		w.signInElsewhere()
	}
}

// users are the machines that use the login: before it has moved one alone does.
func (w *world) users() []*machine {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.moves && !w.moved {
		return w.machines[:1]
	}
	return w.machines
}

func (w *world) visit(v visit) {
	m := w.users()[v.machine%len(w.users())]
	switch v.what {
	case signsIn:
		w.signIn(m, exactsim.AnnaID, false)
	case wrongAccount:
		w.signIn(m, exactsim.BobID, false)
	case signsInTwice:
		w.signIn(m, exactsim.AnnaID, false)
		time.Sleep(10 * time.Second)
		w.signIn(w.users()[len(w.users())-1], exactsim.AnnaID, false)
	case forces:
		w.call(m, 0, exactauth.Want{Force: true}, 15*time.Minute)
	case setsUp:
		w.setUp(m)
	case movesTheLogin:
		w.move()
	}
}
