package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strings"
	"time"

	"github.com/exactauth/exactauth/internal/exactauth"
	"github.com/exactauth/exactauth/internal/exactsim"
	"github.com/exactauth/exactauth/internal/fault"
	"github.com/exactauth/exactauth/internal/record"
	"github.com/exactauth/exactauth/internal/tokenstore"
)

const (
	// bound is how long after the last trouble a call may still fail: the record holds
	// for an hour at most, and Exact blocks an app for an hour.
	bound = 3 * time.Hour

	allowance  = time.Second // for a token that ends while it is handed out
	errorLimit = 10
)

// Reasons why a login is lost without a fault of exactauth.
const (
	replyLost = "the answer to a refresh or sign-in that was carried out did not arrive"
	killed    = "the process or machine died between the server's act and the save"
	unsaved   = "the store could not save the answer"
	outside   = "the user signed in elsewhere, or revoked the app"
	unused    = "not used for 30 days"
	falsely   = "Exact refused a token that it would have taken"
	onTheWay  = "a process that is stopped has the answer"
	foreign   = "the sign-in after it was another user's"
	elsewise  = "another machine has the answer"
)

// memory is what the judge remembers.
type memory struct {
	wrong   []string
	how     string // the first of them without its details, "" if there is none
	when    time.Time
	bad     time.Time // the last trouble
	slow    time.Time // slowOne is stopped until then
	slowOne *process
	outside time.Time   // the last sign-in elsewhere
	errors  []time.Time // of the token endpoint, in the last hour
	// unreached is set when a request got no answer. The client tries the token before once,
	// and a try that does not reach the server leaves no event.
	unreached bool

	known  bool // the record says whose the login is
	person bool // a person has to look after the login
}

// tally is what is counted.
type tally struct {
	calls, requests, refreshes, troubles, logins int
	lost                                         map[string]int
	states                                       map[uint64]struct{}
}

// blame notes what must not happen.
func (w *world) blame(format string, args ...any) {
	text := fmt.Sprintf(format, args...)
	if w.memory.how == "" {
		w.memory.how, w.memory.when = strings.TrimLeft(text, "0123456789")[:min(len(text)-2, 60)], time.Now()
	}
	w.note(nil, "WRONG", text)
	w.memory.wrong = append(w.memory.wrong, text)
}

// trouble notes that something went wrong just now, which excuses failures for a while.
func (w *world) trouble() { w.memory.bad = time.Now() }

// calm reports whether nothing has gone wrong for so long that nothing may fail.
func (w *world) calm() bool {
	if w.shared != nil && slices.ContainsFunc(w.machines, func(m *machine) bool { return m.clock.Abs() > skew }) {
		return false
	}
	return time.Since(w.memory.bad) > bound && time.Since(w.memory.slow) > time.Minute && !w.now(serverDown) && !w.now(databaseDown)
}

// judgeRequest judges a token request by the simulator's event.
func (w *world) judgeRequest(p *process, q *request) {
	if p == nil {
		return
	}
	w.note(p, "served", fmt.Sprintf("%s: %s %d %s", q.GrantType, q.Outcome, q.Status, q.Fault))
	if q.exchange() {
		w.count.logins++
	}
	now := time.Now()
	switch q.Status {
	case 400, 401, 403, 404:
		if q.Fault == exactsim.Gateway || q.Outcome == exactsim.Blocked {
			break
		}
		w.memory.errors = slices.DeleteFunc(w.memory.errors, func(t time.Time) bool { return now.Sub(t) >= time.Hour })
		if w.memory.errors = append(w.memory.errors, now); len(w.memory.errors) > errorLimit {
			w.blame("%d errors within an hour", len(w.memory.errors))
		}
	}
	if q.GrantType == "refresh_token" && q.Outcome != exactsim.Issued && w.calm() && !w.signingIn() && (q.Outcome == exactsim.TooEarly || w.better(q.used)) {
		w.blame("a refresh was refused (%s) though nothing had gone wrong", q.Outcome)
	}
}

// better reports whether the records have a login that is alive at the simulator, other
// than the one with this refresh token.
func (w *world) better(than string) bool {
	for _, r := range w.everyRecord() {
		if token := r.Refresh.Reveal(); token != than && r.Pending == nil && w.sim.RefreshTokenState(token) == exactsim.Current {
			return true
		}
	}
	return false
}

// moving reports whether a move of the login was cut off.
func (w *world) moving() bool {
	return slices.ContainsFunc(w.everyRecord(), func(r *record.Record) bool { return r.MovedTo != "" }) && !w.moved
}

// saved judges, when a process has ended, that each answer with a new refresh token is in
// a record, or the server has replaced that token since.
func (w *world) saved(p *process) {
	copies := w.everyRecord()
	for _, q := range w.requests {
		if q.sender != p || !q.whole || q.saved {
			continue
		}
		q.saved = slices.ContainsFunc(copies, func(r *record.Record) bool { return has(r, q.refresh) }) ||
			w.sim.RefreshTokenState(q.refresh) != exactsim.Current
		if !q.saved && !p.lost && !p.taken {
			w.blame("the answer with the new refresh token came, and no record has it")
		}
	}
	w.remember(copies)
}

// refusedClient reports whether an answer refused the client, rightly or not.
func (w *world) refusedClient() bool {
	return slices.ContainsFunc(w.requests, func(q *request) bool {
		return q.Outcome == exactsim.InvalidClient || q.misled
	})
}

func has(r *record.Record, refresh string) bool {
	return r.Refresh.Reveal() == refresh || r.Pending != nil && r.Pending.Refresh.Reveal() == refresh
}

// known are the refresh tokens of the records, pending ones too.
func known(copies []*record.Record) (tokens []string) {
	for _, r := range copies {
		for _, s := range []fault.Secret{r.Refresh, r.Previous} {
			if !s.IsZero() {
				tokens = append(tokens, s.Reveal())
			}
		}
		if r.Pending != nil {
			tokens = append(tokens, r.Pending.Refresh.Reveal())
		}
	}
	return tokens
}

// judgeToken judges what a call of token has returned.
func (w *world) judgeToken(p *process, t record.Token, err error) {
	p.exitIfDead()
	w.mu.Lock()
	defer w.mu.Unlock()
	w.count.calls++
	w.note(p, "ended", kindOf(err))
	w.saved(p)
	w.memory.known = slices.ContainsFunc(w.everyRecord(), func(r *record.Record) bool { return r.User.ID != "" })
	if err == nil {
		w.judgeHandedOut(p, t.Access.Reveal())
		return
	}
	switch {
	case errors.Is(err, fault.ErrLoginNeeded):
		reason, explained := w.explain(p)
		if !explained {
			w.blame("a call asks for a sign-in: %s", reason)
		}
		w.lose(reason)
	case w.moving():
		w.needPerson(time.Hour)
	case errors.Is(err, fault.ErrConfig) && !errors.As(err, new(*exactauth.LifeError)):
		if w.calm() && !w.memory.person && !w.refusedClient() {
			w.blame("a call says that the configuration is wrong, and it is not: %v", err)
		}
		w.lose(falsely)
	case errors.Is(err, fault.ErrRecord):
		w.blame("a record is damaged: %v", err)
	case p.want != exactauth.Want{} && errors.As(err, new(*fault.WaitError)): // it has no time to wait
	case p.excused():
	case (w.calm() || w.stoppedOnly(p)) && w.alive() && !w.memory.person:
		w.blame("a call fails for more than %s: %v", bound, err)
	}
}

// excused reports whether a call may fail because of what happened to it: its time was
// over, or something other than a stop troubled it.
func (p *process) excused() bool {
	return p.troubled || !time.Now().Before(p.started.Add(p.patience)) || time.Now().Before(p.w.memory.slow.Add(time.Minute)) && p.w.memory.slowOne != p
}

// stoppedOnly reports whether a stop of this process is all that went wrong lately.
func (w *world) stoppedOnly(p *process) bool {
	return w.memory.slowOne == p && !p.troubled && time.Since(w.memory.bad) > bound && w.apart() <= 2*skew
}

// judgeHandedOut judges a token that a call has printed.
func (w *world) judgeHandedOut(p *process, token string) {
	now := time.Now()
	i := slices.IndexFunc(w.requests, func(q *request) bool { return q.access == token })
	if i < 0 {
		w.blame("a call prints a token that the server has not issued lately")
		return
	}
	p.good = true
	q := w.requests[i]
	switch late := now.Sub(q.until); {
	case q.user != w.owner && !w.signingIn():
		w.blame("a call prints the token of another user")
	case late <= allowance+w.apart() || w.memory.outside.After(q.from):
	case slices.ContainsFunc(w.machines, func(m *machine) bool { return m.stepped.After(q.from) }):
	case w.signingIn() || w.lostSignIn(q):
	default:
		w.blame("a call prints a token that the server has not taken for %s", late)
	}
	switch {
	case p.m.stepped.After(p.started):
	case p.want.Force && q.from.Before(p.started):
		w.blame("a forced call prints a token from before the call")
	case now.Before(q.until) && q.until.Sub(now) < p.want.MinValid-allowance-2*skew && q.from.Before(p.started) && !p.m.stepped.After(q.from):
		w.blame("a call prints a token with %s left", q.until.Sub(now))
	}
}

// apart is by how much the machines' clocks differ: one judges times that another has
// written.
func (w *world) apart() time.Duration {
	first, last := w.machines[0], w.machines[len(w.machines)-1]
	return (first.clock - last.clock).Abs()
}

// lostSignIn reports whether a sign-in ended the tokens of q and no record has its own.
func (w *world) lostSignIn(q *request) bool {
	all := known(w.everyRecord())
	return slices.ContainsFunc(w.requests, func(x *request) bool {
		return x.exchange() && x.rotated() && x.user == q.user && !x.from.Before(q.from) && !slices.Contains(all, x.refresh) && !x.saved
	})
}

// signingIn reports whether a process of login runs: it ends tokens before it has saved
// the new ones.
func (w *world) signingIn() bool {
	for p := range w.living {
		if p.what == "login" {
			return true
		}
	}
	return false
}

// alive reports whether the simulator would take a refresh token of the user that a record
// has.
func (w *world) alive() bool {
	return slices.ContainsFunc(known(w.everyRecord()), func(token string) bool {
		return w.codes[token] == w.owner && w.sim.RefreshTokenState(token) == exactsim.Current
	})
}

// lose notes that a person has to do something.
func (w *world) lose(reason string) {
	if reason != onTheWay && reason != elsewise {
		if !w.memory.person {
			w.count.lose(reason)
		}
		w.needPerson(8 * time.Hour)
	}
}

func (c *tally) lose(reason string) {
	if c.lost == nil {
		c.lost = map[string]int{}
	}
	c.lost[reason]++
}

// needPerson has a person look after the login, soon and then less and less often, until
// it works again.
func (w *world) needPerson(soon time.Duration) {
	if w.memory.person {
		return
	}
	w.memory.person = true
	slot := time.Duration(w.started%slots) + 1
	w.all.Go(func() {
		for range 20 {
			time.Sleep(soon.Truncate(time.Second) + slot)
			if !w.needed() {
				return
			}
			w.help()
			soon = min(2*soon, aDay)
		}
		w.mu.Lock()
		defer w.mu.Unlock()
		if w.memory.person {
			w.blame("the login cannot be brought back")
		}
	})
}

// needed reports whether a person has to look after the login.
func (w *world) needed() bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.memory.person && len(w.memory.wrong) == 0
}

// explain says why the login of a call that asks for a sign-in is lost, by events alone.
func (w *world) explain(p *process) (reason string, explained bool) {
	mine, all := known(w.records(p.m)), known(w.everyRecord())
	for _, token := range mine {
		state := w.sim.RefreshTokenState(token)
		if state != exactsim.Current && state != exactsim.Previous || w.codes[token] != w.owner {
			continue
		}
		// The server would take it: it must have been asked, and have said no.
		asked, refused, old := false, false, false
		for _, q := range slices.Backward(w.requests) {
			if q.used == token && q.GrantType == "refresh_token" {
				asked, refused, old = true, refused || q.misled, q.Status == 401 && !refused // "old refresh token"
			}
			if q.rotated() && q.whole {
				break
			}
		}
		switch {
		case refused:
			if old && !w.memory.unreached && w.untried() {
				return "the token before would be taken, and was not tried", false
			}
			return falsely, true
		case w.disabled:
			return falsely, true
		case asked:
			return fmt.Sprintf("its refresh token is %s, and the last answer did not refuse it", state), false
		}
		return fmt.Sprintf("its refresh token is %s, and the server was not asked", state), false
	}
	if len(mine) == 0 {
		if len(all) > 0 {
			return elsewise, true
		}
		return "there is no login any more", !w.memory.bad.IsZero()
	}
	for _, token := range mine {
		if w.codes[token] != w.owner {
			return foreign, true
		}
		switch w.sim.RefreshTokenState(token) {
		case exactsim.Expired:
			return unused, true
		case exactsim.Revoked:
			return outside, w.memory.outside.After(w.begin) || w.disabled
		}
	}
	for _, q := range slices.Backward(w.requests) {
		if !q.rotated() || slices.Contains(mine, q.refresh) && q.refresh != "" {
			continue
		}
		switch {
		case q.user != w.owner:
			continue
		case q.sender == nil:
			return outside, true
		case slices.Contains(all, q.refresh) && q.refresh != "":
			return elsewise, true
		case w.living[q.sender] && !q.sender.dead:
			return onTheWay, true
		case q.sender.dead:
			return killed, true
		case q.sender.lost:
			return unsaved, true
		case !q.whole:
			return replyLost, true
		}
		return "the server's answer arrived, and is in no record", false
	}
	if w.memory.outside.After(w.begin) {
		return outside, true
	}
	return "the server knows of nothing that ended it", false
}

// untried reports whether the server would take a refresh token that it replaced, and was
// not asked.
func (w *world) untried() bool {
	return slices.ContainsFunc(w.requests, func(q *request) bool {
		if !q.whole || w.sim.RefreshTokenState(q.refresh) != exactsim.Previous || q.user != w.owner {
			return false
		}
		tried := 0
		for _, x := range w.requests {
			if x.used == q.refresh {
				tried++
			}
		}
		return tried < 2 // once when it was replaced
	})
}

// judgeLogin judges a sign-in.
func (w *world) judgeLogin(p *process, user string, replace bool, err error) {
	p.exitIfDead()
	w.mu.Lock()
	defer w.mu.Unlock()
	w.note(p, "ended", kindOf(err))
	taken := errors.As(err, new(*exactauth.TakenError))
	p.taken = taken && user != w.owner
	w.saved(p)
	switch {
	case err == nil && user != w.owner && !replace && w.memory.known:
		w.blame("a sign-in of another user replaces the login")
	case err == nil:
		w.owner, w.memory.person = user, false
	case taken && user == w.owner:
		w.blame("a sign-in of the same user is taken for another's: %v", err)
	case w.overtaken(p):
	case !taken && !p.excused() && w.calm():
		w.blame("a sign-in fails: %v", err)
	}
}

// overtaken reports whether another sign-in of the same user went through meanwhile.
func (w *world) overtaken(p *process) bool {
	return slices.ContainsFunc(w.requests, func(q *request) bool {
		return q.exchange() && q.rotated() && q.sender != p && !q.from.Before(p.started)
	})
}

// judgeOther judges setup and the like.
func (w *world) judgeOther(p *process, err error) {
	p.exitIfDead()
	w.mu.Lock()
	defer w.mu.Unlock()
	w.note(p, "ended", kindOf(err))
	if err != nil && !p.excused() && w.calm() {
		w.blame("%s fails: %v", p.what, err)
	}
}

// remember adds the state of the world to those that were seen.
func (w *world) remember(copies []*record.Record) {
	now := time.Now()
	h := uint64(1)
	bit := func(b bool) {
		h = mix(h, 1)
		if b {
			h = mix(h, 2)
		}
	}
	for _, r := range copies {
		for _, token := range []fault.Secret{r.Refresh, r.Previous} {
			h = mix(h, uint64(w.sim.RefreshTokenState(token.Reveal())[0]))
		}
		bit(r.Alive(now))
		bit(r.Fresh(now))
		bit(now.Before(r.MayRefreshAt()))
		bit(r.Held(now))
		bit(r.ClockWentBack(now))
		h = mix(h, uint64(min(r.Failures, 8)))
		for _, t := range []time.Time{r.SpentAt, r.LostAt, r.AwaitedAt, r.RetryAt, r.LiftedAt} {
			bit(t.IsZero())
		}
		bit(r.Pending != nil)
		bit(r.Unproven)
		bit(r.WaitForExpiry)
		bit(r.Forbidden)
		bit(r.MovedTo != "")
		bit(r.Refused != nil && r.Refused.Config)
		bit(r.Refused != nil)
		h = mix(h, h)
	}
	h = mix(h, uint64(len(w.memory.errors)), uint64(min(len(w.living), 3)))
	for _, k := range []troubleKind{serverDown, maintenance, refusing, appDisabled, databaseDown, asleep} {
		bit(w.now(k))
	}
	bit(w.memory.person)
	bit(w.lenient)
	w.count.states[mix(h, uint64(len(copies)))] = struct{}{}
}

// kindOf names an error by its kind.
func kindOf(err error) string {
	var store *tokenstore.Error
	switch {
	case err == nil:
		return "ok"
	case errors.As(err, &store):
		return "store: " + [...]string{"directory", "database", "lock", "seal key", "seal", "late"}[store.Kind]
	case errors.As(err, new(*exactauth.TakenError)):
		return "another user's"
	case errors.Is(err, fs.ErrNotExist):
		return "no record"
	case errors.Is(err, context.Canceled), errors.Is(err, context.DeadlineExceeded):
		return "time over"
	}
	for _, kind := range []error{fault.ErrLoginNeeded, fault.ErrDenied, fault.ErrTemporary, fault.ErrConfig, fault.ErrForbidden, fault.ErrRecord} {
		if errors.Is(err, kind) {
			return kind.Error()
		}
	}
	return "error"
}

// help is what a person does who sees an error: first what the program's hints say, then
// a sign-in.
func (w *world) help() {
	m := w.machines[0]
	w.mu.Lock()
	alive := w.alive() && !w.disabled
	latched := slices.ContainsFunc(w.records(m), func(r *record.Record) bool { return r.Refused != nil })
	force, moving, began, owner := w.started%2 == 0, w.moving(), time.Now(), w.owner
	w.mu.Unlock()
	switch {
	case moving:
		<-w.move().done
	case alive && latched:
		if !force {
			<-w.setUp(m).done
		}
		p := w.call(m, 99, exactauth.Want{Force: force}, 15*time.Minute)
		<-p.done
		w.mu.Lock()
		defer w.mu.Unlock()
		switch {
		case p.good:
			w.memory.person = false
		case began.After(w.memory.bad) && !w.memory.slow.After(began) && w.alive():
			w.blame("a refusal that is in the record cannot be lifted")
		}
	default:
		<-w.signIn(m, owner, false).done
	}
}

// settle lets a day without trouble pass, and then wants a token on each machine.
func (w *world) settle() {
	w.mu.Lock()
	w.armed, w.spans = nil, nil
	w.mu.Unlock()
	time.Sleep(bound + time.Hour)
	for _, m := range w.users() {
		for range 2 { // the first may find a loss
			<-w.call(m, 0, exactauth.Want{}, 15*time.Minute).done
			w.all.Wait()
		}
	}
}
