package main

import (
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/exactauth/exactauth/internal/exactauth"
	"github.com/exactauth/exactauth/internal/exactsim"
	"github.com/exactauth/exactauth/internal/fault"
	"github.com/exactauth/exactauth/internal/record"
	"github.com/exactauth/exactauth/internal/tokenstore"
	"github.com/exactauth/exactauth/internal/tokenstore/spool"
)

const (
	// bound is how long after the last trouble a call may still fail: the record holds
	// for an hour at most, and Exact blocks an app for an hour.
	bound = 3 * hour

	allowance  = time.Second // for a token that ends while it is handed out
	errorLimit = 10
	patience   = 59 * time.Second // with an answer; the program's own limit is a minute
)

// Causes of a loss that are no fault of exactauth, as far as more than one place names them.
const (
	outside  = "the user signed in elsewhere, or revoked the app"
	falsely  = "Exact refused a token that it would have taken"
	elsewise = "another machine has the answer"
	onTheWay = "a process that is stopped has the answer"
)

type memory struct {
	wrong    []string          // the rule that was broken first, and how
	failed   time.Time         // when
	bad      time.Time         // the last trouble, which excuses failures for a while
	outside  time.Time         // the last sign-in elsewhere
	errors   []time.Time       // of the token endpoint, in the last hour
	requests []*request        // the last that made a refresh token, or refused a good one
	whose    map[string]string // code or refresh token: the user
	owner    string            // the user whose tokens may be handed out
	known    bool              // the record says whose the login is
	person   bool              // a person has to look after the login
	visits   int               // that it took so far
	count    map[string]int
	states   map[string]bool
}

func newMemory() memory {
	return memory{owner: exactsim.AnnaID, whose: map[string]string{}, count: map[string]int{}, states: map[string]bool{}}
}

type moment int

const (
	served moment = iota // the simulator has decided about a request
	gaveUp               // a process does not wait for the answer any longer
	ended                // a process has ended
)

// rules are what must hold. how says how a rule is broken, "" if it is not.
var rules = []struct {
	moment
	says string
	how  func(w *world, p *process, q *request) string
}{
	{served, "at most ten errors are made in any hour", func(w *world, _ *process, q *request) string {
		arrives := q.Status/100 == 4 && q.Status != 429 && q.Fault != exactsim.Gateway
		spoilt := q.Fault != "" && q.Outcome != "" && q.Outcome != exactsim.Issued && q.Outcome != exactsim.Blocked // it counts, whatever becomes of it
		if !arrives && !spoilt || w.apart() > 2*skew {                                                              // pauses in the record need clocks that agree
			return ""
		}
		w.errors = slices.DeleteFunc(w.errors, func(t time.Time) bool { return time.Since(t) >= hour })
		w.errors = append(w.errors, time.Now())
		return when(len(w.errors) > errorLimit, "%d", len(w.errors))
	}},
	{served, "one refresh an expiry is sent, with the newest token", func(w *world, p *process, q *request) string {
		newer := func(r *record.Record) bool {
			return r.Pending == nil && r.Refresh.Reveal() != q.used && w.sim.RefreshTokenState(r.Refresh.Reveal()) == exactsim.Current
		}
		refused := q.GrantType == "refresh_token" && q.Outcome != exactsim.Issued && !p.excused()
		return when(refused && (q.Outcome == exactsim.TooEarly || slices.ContainsFunc(w.records(p.m), newer)), "%s", q.Outcome)
	}},
	{served, "a call does not ask again at once what Exact has refused", func(w *world, p *process, q *request) string {
		last := p.refusal                                                                                                                          // "too early" aside, whose date can show that it is time in a second
		if p.refusal = nil; q.Status/100 == 4 && q.Status != 429 && q.Outcome != exactsim.TooEarly && (q.Fault == "" || q.Fault == exactsim.Raw) { // it arrives whole
			p.refusal = q
		}
		if last == nil || last.used != q.used || q.Time.Sub(last.Time) > life/60 {
			return ""
		}
		return fmt.Sprintf("%s after %d %s", q.Time.Sub(last.Time), last.Status, last.Outcome)
	}},
	{gaveUp, "an answer is awaited for a minute, whatever the caller's patience", func(w *world, p *process, q *request) string {
		return when(time.Since(p.asked) < patience, "%s", time.Since(p.asked))
	}},
	{ended, "an answer that arrived, or one after it, is in a record for as long as the server takes its token", func(w *world, p *process, _ *request) string {
		all := refreshTokens(w.records())
		return when(w.known && slices.ContainsFunc(w.requests, func(q *request) bool {
			refused := slices.ContainsFunc(w.requests, func(x *request) bool { return x.misled && x.used == q.refresh })
			next := slices.ContainsFunc(w.requests, func(x *request) bool {
				return x.used == q.refresh && w.usable(x.refresh) && slices.Contains(all, x.refresh)
			})
			return q.whole && w.usable(q.refresh) && !slices.Contains(all, q.refresh) && !refused && !next && !q.sender.unsaved() && !q.sender.dead && (!w.living[q.sender] || q.sender == p)
		}), "it is in none")
	}},
	{ended, "a login is lost by an event that no program can prevent", func(w *world, p *process, _ *request) string {
		cause, explained := w.explain(p)
		return when(p.asksForSignIn() && !explained, "%s", cause)
	}},
	{ended, "a printed token is the owner's, and the server takes it", func(w *world, p *process, _ *request) string {
		if p.token == "" {
			return ""
		}
		q := w.brought(p.token)
		if q == nil {
			return "the server has not issued it lately"
		}
		until, tokens := q.Time.Add(life), refreshTokens(w.records(p.m))
		for _, x := range w.requests {
			if x.Exchanged() && x.Rotated() && x.user == q.user && x.Time.After(q.Time) && slices.Contains(tokens, x.refresh) {
				until = x.Time // a sign-in that this machine knows of has ended it
			}
		}
		set := slices.ContainsFunc(w.machines, func(m *machine) bool { return m.stepped.After(q.Time) })
		early := slices.ContainsFunc(w.records(p.m), func(r *record.Record) bool {
			return r.Access.Reveal() == p.token && time.Now().Add(p.m.clock).Before(r.RequestedAt.Add(-life/24)) // the clock was set back, and shows it
		})
		late := time.Since(until)
		return when(q.user != w.owner && w.known, "it is another user's") +
			when(late > allowance+w.apart() && (early || !set), "it ended %s ago", late)
	}},
	{ended, "a forced token is new, and one that must be good for a time is", func(w *world, p *process, _ *request) string {
		q := w.brought(p.token)
		if q == nil || p.m.stepped.After(q.Time) || p.m.stepped.After(p.started) || !q.Time.Before(p.started.Add(-w.apart())) {
			return ""
		}
		left := time.Until(q.Time.Add(life))
		return when(p.want.Force || 0 < left && left < p.want.MinValid-allowance-max(2*skew, w.apart()), "%s left", left)
	}},
	{ended, "a live login has a token, three hours after the last trouble", func(w *world, p *process, _ *request) string {
		waits := p.want != exactauth.Want{} && (errors.As(p.err, new(*fault.WaitError)) || errors.As(p.err, new(*exactauth.LifeError)))
		return when(p.what == "token" && p.err != nil && !p.asksForSignIn() && !waits && !p.excused() && w.alive(p.m) && !w.moving() && !w.person &&
			!slices.ContainsFunc(w.requests, func(q *request) bool { return q.misled }), "%v", p.err)
	}},
	{ended, "what a person does succeeds, three hours after the last trouble", func(w *world, p *process, _ *request) string {
		return when(p.what != "token" && p.err != nil && !p.taken() && !p.excused(), "%s: %v", p.what, p.err)
	}},
	{ended, "a refusal in the record can be lifted", func(w *world, p *process, _ *request) string {
		before := p.started.Add(-time.Minute)
		return when(p.lifts && p.token == "" && time.Since(p.started) < p.patience && before.After(w.bad) && w.alive(), "%v", p.err)
	}},
	{ended, "only the owner's sign-in replaces the login, and it does", func(w *world, p *process, _ *request) string {
		own := p.user == w.owner
		return when(p.what == "login" && (p.err == nil && !own && w.known || p.taken() && own), "%v", p.err)
	}},
	{ended, "no record is damaged", func(_ *world, p *process, _ *request) string {
		return when(errors.Is(p.err, fault.ErrRecord), "%v", p.err)
	}},
}

func when(broken bool, format string, args ...any) string {
	if !broken {
		return ""
	}
	return fmt.Sprintf(format, args...)
}

func (w *world) judge(m moment, p *process, q *request) {
	for _, r := range rules {
		if r.moment == m {
			if how := r.how(w, p, q); how != "" {
				w.blame(r.says, how)
			}
		}
	}
}

func (w *world) blame(rule, how string) {
	w.note(nil, "WRONG", rule+": "+how)
	if w.fine() {
		w.wrong, w.failed = []string{rule, how}, time.Now()
	}
}

func (m *memory) fine() bool { return m.wrong == nil }

// ended judges a process that has ended. Where it needs a person, one comes.
func (w *world) ended(p *process) {
	w.note(p, "ended", when(p.err != nil, "%v", p.err))
	w.count[p.what]++
	if signedIn := p.user != "" && p.err == nil; signedIn {
		if w.person = false; !w.known {
			w.owner = p.user
		}
	}
	w.judge(ended, p, nil)
	w.remember()
	switch cause, _ := w.explain(p); {
	case p.lifts && p.token != "":
		w.person = false
	case p.asksForSignIn() && cause != onTheWay && cause != elsewise:
		w.needPerson(cause)
	case p.what == "token" && w.moving():
		w.needPerson("a move was cut off")
	case p.what == "token" && errors.Is(p.err, fault.ErrConfig) && !errors.As(p.err, new(*exactauth.LifeError)):
		w.needPerson(falsely)
	}
	w.known = slices.ContainsFunc(w.records(), func(r *record.Record) bool { return r.User.ID != "" })
}

func (p *process) asksForSignIn() bool {
	return p.what == "token" && errors.Is(p.err, fault.ErrLoginNeeded)
}

func (p *process) taken() bool { return errors.As(p.err, new(*exactauth.TakenError)) }

// calm reports whether nothing has gone wrong for so long that nothing may fail.
func (w *world) calm() bool { return time.Since(w.bad) > bound && w.apart() <= 2*skew }

// excused reports whether a process may fail: its time was over, or something went wrong
// lately.
func (p *process) excused() bool {
	return !p.w.calm() || p.troubled || time.Since(p.started) >= p.patience
}

// apart is by how much the machines' clocks differ: one judges times that another has
// written.
func (w *world) apart() time.Duration {
	return (w.machines[0].clock - w.machines[len(w.machines)-1].clock).Abs()
}

func (w *world) moving() bool {
	return w.moves && !w.moved && slices.ContainsFunc(w.records(), func(r *record.Record) bool { return r.MovedTo != "" })
}

// unsaved reports whether the store could not save what p had, nor the machine itself if the
// store is shared.
func (p *process) unsaved() bool {
	store, ok := errors.AsType[*tokenstore.Error](p.err)
	return ok && store.Kind == tokenstore.Late && (store.Name == "spool" || p.w.shared == nil)
}

// brought returns the request whose answer had an access token, nil if there is none.
func (w *world) brought(access string) *request {
	i := slices.IndexFunc(w.requests, func(q *request) bool { return access != "" && q.access == access })
	if i < 0 {
		return nil
	}
	return w.requests[i]
}

// records are the copies of the login that the machines can see, by default all.
func (w *world) records(machines ...*machine) (all []*record.Record) {
	if machines == nil {
		machines = w.machines
	}
	for _, m := range machines {
		texts := [][]byte{m.disk.cell(profileName).visible, m.disk.waits(profileName)}
		if w.shared != nil {
			kept, _ := spool.Waiting(m.disk.cell(spool.Name(profileName)).visible)
			texts = append(texts, kept, w.shared.cell(profileName).visible)
		}
		for _, text := range texts {
			if r, err := record.Decode(text); err == nil {
				all = append(all, r)
			}
		}
	}
	return all
}

// refreshTokens are those of records, pending and former ones too.
func refreshTokens(records []*record.Record) (all []string) {
	for _, r := range records {
		all = append(all, r.Refresh.Reveal(), r.Previous.Reveal())
		for _, more := range []*record.Tokens{r.Pending, r.Former} {
			if more != nil {
				all = append(all, more.Refresh.Reveal())
			}
		}
	}
	return slices.DeleteFunc(all, func(s string) bool { return s == "" })
}

// usable reports whether the simulator would take a refresh token of the owner, the rule of
// 570 s aside.
func (w *world) usable(token string) bool {
	state := w.sim.RefreshTokenState(token)
	return w.whose[token] == w.owner && (state == exactsim.Current || state == exactsim.Previous)
}

// alive reports whether machines, by default all, see tokens of the login that the simulator
// would take. One that does not, as another has kept them, may wait for them before it asks
// for a sign-in.
func (w *world) alive(machines ...*machine) bool {
	return slices.ContainsFunc(refreshTokens(w.records(machines...)), w.usable)
}

// explain says by events alone why a call finds no login.
func (w *world) explain(p *process) (cause string, explained bool) {
	mine, all := refreshTokens(w.records(p.m)), refreshTokens(w.records())
	switch {
	case slices.ContainsFunc(mine, w.usable):
		return falsely, slices.ContainsFunc(w.requests, func(q *request) bool { return q.misled && (q.used == "" || slices.Contains(mine, q.used)) })
	case len(mine) == 0 && len(all) > 0:
		return elsewise, true
	case len(mine) == 0:
		return "no sign-in has been saved yet", !w.bad.IsZero()
	}
	for _, token := range mine {
		switch state := w.sim.RefreshTokenState(token); {
		case w.whose[token] != w.owner:
			return "the sign-in after it was another user's", true
		case state == exactsim.Expired:
			return "not used for 30 days", true
		case state == exactsim.Revoked:
			return outside, !w.outside.IsZero()
		}
	}
	for _, q := range slices.Backward(w.requests) {
		switch {
		case !q.Rotated() || q.user != w.owner || slices.Contains(mine, q.refresh):
		case q.sender == nil:
			return outside, true
		case slices.Contains(all, q.refresh):
			return elsewise, true
		case q.sender.dead:
			return "the process or machine died between the server's act and the save", true
		case w.living[q.sender]:
			return onTheWay, true
		default: // what arrived and is not saved breaks a rule of its own
			return "the answer to a refresh or sign-in did not arrive, or the store could not save it", !q.whole || q.sender.unsaved()
		}
	}
	return outside, !w.outside.IsZero()
}

// needPerson has a person look after the login until it works again.
func (w *world) needPerson(cause string) {
	if !w.person {
		w.person, w.visits = true, 0
		w.count["lost, explained: "+cause]++
	}
}

// look is a person's visit, who does what the hint of the last error says, and signs in
// where there is none.
func (w *world) look() {
	var todo []process
	w.do(func() {
		m := w.machines[0]
		refused := func(r *record.Record) bool { return r.Refused != nil }
		lifted := func(r *record.Record) bool { return time.Now().Add(m.clock).Sub(r.LiftedAt).Abs() < life }
		latched := w.alive() && slices.ContainsFunc(w.records(m), refused)
		w.visits++
		switch force := w.started%2 == 0; {
		case !w.person || !w.fine():
		case w.visits > 20:
			w.blame("a person can bring the login back", "not in 20 visits")
		case w.moving():
			todo = []process{deeds[movesLogin]}
		case latched && slices.ContainsFunc(w.records(m), lifted): // the next visit is soon enough
		case latched && force:
			todo = []process{{what: "token", lifts: true, want: exactauth.Want{Force: true}}}
		case latched:
			todo = []process{deeds[setsUp], {what: "token", lifts: true}}
		default:
			todo = []process{{what: "login", user: w.owner}}
		}
	})
	for _, deed := range todo {
		p := w.start(w.machines[0], deed)
		if <-p.done; p.err != nil {
			return // setup has lifted nothing
		}
	}
}

func (w *world) remember() {
	now, s := time.Now(), fmt.Sprint(w.lenient, len(w.errors), min(len(w.living), 3), w.person)
	for _, k := range []kind{serverDown, refusing, databaseDown, asleep} {
		_, on := w.during(k, nil)
		s += fmt.Sprint(on)
	}
	for _, r := range w.records() {
		s += fmt.Sprint(w.sim.RefreshTokenState(r.Refresh.Reveal()), w.sim.RefreshTokenState(r.Previous.Reveal()),
			r.Alive(now), r.Fresh(now), now.Before(r.MayRefreshAt()), r.Held(now), r.ClockWentBack(now), min(r.Failures, 8),
			r.SpentAt.IsZero(), r.LostAt.IsZero(), r.AwaitedAt.IsZero(), r.RetryAt.IsZero(), r.LiftedAt.IsZero(),
			r.Pending != nil, r.Former != nil, r.WaitForExpiry, r.Forbidden, r.MovedTo != "", r.Refused != nil, r.Refused != nil && r.Refused.Config)
	}
	w.states[s] = true
}
