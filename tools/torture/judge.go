//go:build linux || windows

package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/exactauth/exactauth/internal/exactsim"
	"github.com/exactauth/exactauth/internal/fault"
	"github.com/exactauth/exactauth/internal/record"
	"github.com/exactauth/exactauth/internal/tokenstore/spool"
	"github.com/exactauth/exactauth/tools/program"
)

// What became of the login in a round.
const (
	survived    = "survived"
	explained   = "lost, explained" // the simulator's events show why no program could have kept it
	unexplained = "lost, unexplained"
)

// Reasons why a login is lost without a fault of exactauth.
const (
	replyLost = "a fault destroyed the reply to a request that was carried out"
	killed    = "the process was ended between the server's commit and the save"
	taken     = "signed in elsewhere"
)

// Notes are what is counted and is no fault.
const (
	misledNote = "calls that asked for a sign-in while another machine had the new tokens"
	waitNote   = "calls that asked to be made again, as another machine's answer might be under way"
	spoolNote  = "new tokens that were kept on a machine when a round's calls had ended"
	slowNote   = "logins that were whole, on a machine too busy to print a token in time"
)

const (
	recovery   = time.Minute // what a login may take to yield a token again
	errorLimit = 10          // of an hour at Exact; a round is shorter

	// mostWait is how long a call may be held up by a machine that died. It includes what
	// the calls of the other machine need by themselves while all worlds are at work. The
	// server sees the end of a connection at once, or within a second while it waits for a
	// lock (client_connection_check_interval).
	mostWait = 5 * time.Second
)

func (t *trial) count(note string, n int) {
	t.noting.Lock()
	defer t.noting.Unlock()
	if n > 0 {
		t.notes[note] += n
	}
}

func (t *trial) blame(format string, args ...any) {
	t.noting.Lock()
	defer t.noting.Unlock()
	t.wrong = append(t.wrong, fmt.Sprintf(format, args...))
}

func (w *world) round(ctx context.Context, n int) *trial {
	drawn := n
	if w.repeat >= 0 {
		drawn = w.repeat
	}
	t := &trial{world: w, plan: draw(w.options, drawn), number: n, fate: unexplained, notes: map[string]int{}}
	var err error
	if !w.signedIn {
		err = w.signIn()
	}
	if err == nil && t.stop.mode != "" { // on a server that may stop
		c := <-w.db.spare
		defer func() { w.db.spare <- c }()
		err = w.settleIn(c)
	}
	if err != nil {
		t.blame("cannot begin: %v", err)
		t.abandon = true
		return t
	}
	if r, err := w.read(); err == nil && r.SignedIn() {
		_ = fault.Pause(ctx, time.Until(r.RequestedAt.Add(time.Duration(t.begin*float64(life)))))
	}
	before := w.sim.Counters()
	t.play()
	t.judgeCalls(before)
	t.judgeShared()
	t.judgeFiles()
	t.settle(ctx)
	t.errors = w.sim.Counters().TokenErrors - before.TokenErrors
	if t.errors > errorLimit && t.clock == 0 {
		t.blame("%d errors counted at the server", t.errors)
	}
	if t.fate == unexplained && len(t.wrong) == 0 {
		t.blame("the login is lost")
	}
	if len(t.wrong) > 0 {
		t.story = t.describe()
	}
	if t.stop.mode != "" && !t.abandon {
		if err := w.settleIn(w.db.calm); err != nil {
			t.blame("cannot move the record back from another database: %v", err)
			t.abandon = true
		}
	}
	w.signedIn = t.fate == survived
	return t
}

// judgeCalls judges what the round's processes did by themselves.
func (t *trial) judgeCalls(before exactsim.Counters) {
	began := t.when(roundStarted)
	for _, p := range t.all {
		t.judge(p, t.allowed(p))
	}
	for _, q := range t.since(began) {
		if t.noRoom && q.sender != outsider && (!t.shared() || q.sender != nil && q.sender.machine == t.disk.machine) {
			t.blame("a request was sent at %s from a machine without room for the answer", t.at(q.arrived))
		}
	}
	// Later calls print no older token.
	for _, a := range t.all {
		for _, b := range t.all {
			if t.clock != 0 || a.machine != b.machine && t.disturbed() {
				continue // what one machine keeps for itself the other does not know
			}
			x, y := t.find(a.token()), t.find(b.token())
			if x != nil && y != nil && a.ended.Before(b.started) && y.from.Before(x.from) {
				t.blame("a call that began after another had ended printed an older token")
			}
		}
	}
	if !t.quiet {
		return
	}
	after := t.sim.Counters()
	sent, got := after.Refreshes-before.Refreshes, after.RefreshesIssued-before.RefreshesIssued
	if most := 1 + int(time.Since(began)/(life*95/100)); sent != got || sent > most {
		t.blame("%d refreshes were sent and %d granted where %d was enough", sent, got, most)
	}
}

// allowed lists the exit codes that a call may end with, by what happened to it. Whether
// 4, sign-in needed, was right is judged by the simulator afterwards.
func (t *trial) allowed(p *process) []int {
	codes := []int{0}
	for _, s := range p.signals {
		codes = append(codes, 128+int(s.Signal))
	}
	if p.ended.Sub(p.started) >= life {
		codes = append(codes, 5) // a token of a second can be over before it is printed
	}
	if t.quiet {
		return codes
	}
	if t.disk.kind != diskSound && p.machine == t.disk.machine || p.fileSize > 0 {
		codes = append(codes, 6)
	}
	if t.disturbed() || p.timeout > 0 { // of the server, or of the lock
		codes = append(codes, 5, 6)
	}
	// A lost reply, for whatever reason, has the next calls wait their time.
	if len(t.faults) > 0 || t.down || t.clock != 0 || slices.ContainsFunc(t.all, func(q *process) bool { return len(q.signals) > 0 }) {
		codes = append(codes, 5)
	}
	return append(codes, 4)
}

func (t *trial) judge(p *process, allowed []int) {
	t.quiesce()
	t.longest = max(t.longest, p.ended.Sub(p.started))
	name := p.command()
	// After that refusal a machine waits once for what another machine may have got.
	if p.Code == 5 && t.shared() && !slices.Contains(allowed, 5) && t.sawRequest(func(q *request) bool { return q.Outcome == exactsim.OldRefreshToken && q.replied.Before(p.ended) }) {
		t.count(waitNote, 1)
		allowed = append(allowed, 5)
	}
	for _, what := range p.Faults(allowed) {
		t.blame("%s", what)
	}
	if p.login || p.args[0] != "token" {
		return
	}
	token := p.token()
	if (p.Code == 0) != (token != "") && p.Code < 128 {
		t.blame("%q ended with %d and printed %d bytes", name, p.Code, p.Out.Len())
	}
	// A machine with a wrong clock, or that has not seen the end of a sign-in, cannot know
	// that its token is dead.
	if token == "" || t.clock != 0 || t.elsewhere > 0 || slices.ContainsFunc(t.all, func(p *process) bool { return p.login && p.Code != 0 }) {
		return
	}
	q := t.find(token)
	switch {
	case q == nil:
		t.blame("%q printed what the server never issued", name)
		return
	case q.from.After(p.ended) || !q.until.After(p.started):
		t.blame("%q printed a token that was dead %s before it began", name, p.started.Sub(q.until))
	case slices.Contains(p.args, "--force-refresh") && q.arrived.Before(p.started):
		t.blame("%q printed a token from before the call", name)
	}
	if i := slices.Index(p.args, "--min-valid"); i >= 0 {
		if least, err := time.ParseDuration(p.args[i+1]); err == nil && q.until.Sub(p.started) < least {
			t.blame("%q printed a token with %s left at most", name, q.until.Sub(p.started))
		}
	}
}

// token is what a call printed, if it is a token and a newline.
func (p *process) token() string {
	token, ok := strings.CutSuffix(p.Out.String(), "\n")
	if p.login || !ok || !strings.HasPrefix(token, program.TokenMark) {
		return ""
	}
	return token
}

func (w *world) find(token string) *request {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, q := range w.requests {
		if token != "" && q.access == token {
			return q
		}
	}
	return nil
}

func (t *trial) sawRequest(such func(*request) bool) bool {
	return slices.ContainsFunc(t.since(t.when(roundStarted)), such)
}

// judgeShared judges what can go wrong only with a login that machines share.
func (t *trial) judgeShared() {
	began, stopped, back := t.when(roundStarted), t.when(databaseStopped), t.when(databaseStarting)
	for _, q := range t.since(began) {
		if stopped.IsZero() || q.sender == outsider || q.arrived.After(back) {
			continue
		}
		// A process that started without a database cannot have made room.
		if t.stop.first() || q.sender != nil && q.sender.started.After(stopped) {
			t.blame("a request was sent at %s while there was no database", t.at(q.arrived))
		}
	}
	if !t.dies {
		return
	}
	var last time.Time
	for _, p := range t.all {
		for _, s := range p.signals {
			if s.at.After(last) {
				last = s.at
			}
		}
	}
	slow := time.Duration(0) // of the simulator; it does not count
	for _, f := range t.faults {
		slow += f.Delay
	}
	for _, p := range t.all {
		if over := p.ended.Sub(last) - slow; !last.IsZero() && p.machine != 0 && over > mostWait {
			t.blame("%q went on only %s after the other machine's processes were killed", p.command(), over)
		}
	}
}

func (t *trial) judgeFiles() {
	name := profileName
	if t.shared() {
		name = spool.Name(profileName)
		raw, err := t.pg.Read(context.Background(), profileName)
		if err == nil && t.key != nil && program.HasSecret(raw) {
			t.blame("the table has a secret in plain")
		}
	}
	for _, m := range t.machines {
		entries, err := os.ReadDir(m.state)
		if err != nil {
			t.blame("the state directory cannot be read: %v", err)
		}
		for _, e := range entries {
			if !slices.Contains([]string{name, name + ".lock", name + ".tmp", "seal.key.lock"}, e.Name()) {
				t.blame("%s was left behind", e.Name())
			}
			if info, err := e.Info(); err == nil {
				if how := openToOthers(filepath.Join(m.state, e.Name()), info); how != "" {
					t.blame("%s has %s", e.Name(), how)
				}
			}
			if raw, err := os.ReadFile(filepath.Join(m.state, e.Name())); err == nil && t.key != nil && program.HasSecret(raw) {
				t.blame("%s has a secret in plain", e.Name())
			}
		}
	}
}

// read reads the record that all machines see.
func (w *world) read() (state, error) {
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	raw, err := w.store().Read(ctx, profileName)
	return decoded(raw, err, -1)
}

func decoded(raw []byte, err error, machine int) (s state, _ error) {
	s = state{raw: raw, machine: machine}
	if err == nil {
		s.Record, err = record.Decode(raw)
	}
	return s, err
}

// look reads the record, and the later ones that machines keep for themselves until they
// bring them to the shared store. A record that cannot be read fails the round.
func (t *trial) look() (r state, kept []state, ok bool) {
	r, err := t.read()
	for i, m := range t.machines {
		if err != nil || !t.shared() {
			break
		}
		raw, readErr := t.local(m).Read(context.Background(), spool.Name(profileName))
		if raw, _ = spool.Waiting(raw); errors.Is(readErr, fs.ErrNotExist) || readErr == nil && raw == nil {
			continue
		}
		var k state
		if k, err = decoded(raw, readErr, i); err == nil && k.Generation > r.Generation {
			kept = append(kept, k)
		}
	}
	if err != nil {
		t.blame("the record is damaged: %v", err)
		t.fate, t.abandon = unexplained, true
	}
	return r, kept, err == nil
}

// settle finds out, with all faults cleared, whether the login yields a token again on
// every machine, or needs a person. The simulator decides what is lost: a login whose
// refresh token is current there is whole, however slow the machine.
func (t *trial) settle(ctx context.Context) {
	deadline := time.Now().Add(recovery)
	asked := slices.ContainsFunc(t.all, func(p *process) bool { return p.Code == 4 && !p.login }) // for a sign-in
	force := false
	served, refused := make([]bool, len(t.machines)), make([]bool, len(t.machines))
	_, kept, ok := t.look()
	t.count(spoolNote, len(kept))
	for m := t.IntN(len(t.machines)); ok; m = (m + 1) % len(t.machines) {
		if len(kept) > 0 { // the others may not know it until its machine calls again
			m, force = kept[0].machine, true
		}
		args := []string{"token"}
		if force {
			args = append(args, "--force-refresh")
		}
		p := t.run(m, args)
		var r state
		if r, kept, ok = t.look(); !ok {
			return
		}
		if time.Now().After(deadline) || ctx.Err() != nil {
			t.overdue(append(kept, r)[0], p)
			return
		}
		switch p.Code {
		case 0:
			clear(refused)
			q := t.find(p.token())
			current := t.sim.RefreshTokenState(r.Refresh.Reveal())
			switch {
			case len(kept) > 0:
				continue
			case q == nil, !q.until.After(p.started), !r.settled(), current == exactsim.Previous, t.clock != 0 && q.from.Before(t.when(roundStarted)):
				// After a step of the clock, or a sign-in elsewhere, a dead token looks alive
				// until its time is over. And while a token lives, it does not show whether
				// what was lost can be recovered.
				time.Sleep(life / 10)
				continue
			case current != exactsim.Current:
				force = true // this is its last token
				continue
			}
			force = false
			if served[m] = true; slices.Contains(served, false) {
				continue
			}
			if t.IntN(2) == 0 {
				if status := t.me(p.token()); status != 200 && time.Until(q.until) > life/10 {
					t.blame("the API answers %d to the token", status)
				}
			}
			if asked && !t.signsIn && t.clock == 0 {
				t.misled()
			}
			t.fate = survived
			return
		case 4:
			asked = true
			clear(served)
			if refused[m] = true; slices.Contains(refused, false) || len(kept) > 0 {
				continue // another machine may have what came last
			}
			t.judgeLoss(r)
			return
		case 5:
			t.pause(r, p)
		default:
			time.Sleep(life / 20)
		}
	}
}

// run runs a call after the round's, and judges it.
func (t *trial) run(machine int, args []string) *process {
	p := t.start(call{args: args, machine: machine}, nil)
	p.wait()
	t.all = append(t.all, p)
	t.judge(p, []int{0, 4, 5})
	return p
}

// overdue judges a login that has neither yielded a token nor been given up for too long.
func (t *trial) overdue(r state, last *process) {
	tokens := r.refreshTokens()
	if len(tokens) == 0 || t.sim.RefreshTokenState(tokens[0]) != exactsim.Current {
		t.blame("after %s the login has neither yielded a token nor been given up", recovery)
		t.abandon = true
		return
	}
	t.fate = survived
	if took := last.ended.Sub(last.started); took > life/2 {
		t.count(slowNote, 1)
	} else {
		t.blame("after %s a call of %s ends with %d, although the login is current at the simulator", recovery, took, last.Code)
	}
}

// misled judges that a call asked for a sign-in and the login then yielded a token.
//
// One case is excused, and counted: the database's server ended the session of a machine
// whose refresh was under way. Another machine then took the row, saw the note of a
// process that seemed to have died, and sent the token that was just being used up. The
// first machine keeps what it got, and that wins in the end.
func (t *trial) misled() {
	granted := func(p *process) bool {
		return t.sawRequest(func(q *request) bool {
			return q.sender != nil && q.sender.machine != p.machine && q.sender.started.Before(p.ended) && q.Rotated()
		})
	}
	for _, p := range t.all {
		switch {
		case p.Code != 4 || p.login:
		case t.shared() && t.disturbed() && granted(p):
			t.count(misledNote, 1)
		default:
			t.blame("%q asked for a sign-in, and then the login yielded a token", p.command())
		}
	}
}

// pause waits as long as the record says, and now and then checks that a call that does
// not wait leaves the server alone.
func (t *trial) pause(r state, p *process) {
	if !r.SignedIn() {
		return
	}
	if time.Until(r.RetryAt) > life/10 && t.IntN(4) == 0 {
		sent := t.sim.Counters().Refreshes
		early := t.run(p.machine, p.args)
		if t.sim.Counters().Refreshes > sent && early.ended.Before(r.RetryAt) {
			t.blame("the server was asked although the record says to wait")
		}
	}
	time.Sleep(min(max(time.Until(r.RetryAt), life/50), 10*life))
}

// judgeLoss explains a loss by the simulator's events, or does not.
func (t *trial) judgeLoss(r state) {
	mine := r.refreshTokens() // and no machine keeps a later one
	if len(mine) == 0 {
		t.blame("the record has no login any more")
		return
	}
	for _, token := range mine {
		if state := t.sim.RefreshTokenState(token); state == exactsim.Current || state == exactsim.Previous {
			t.blame("a person is asked to sign in although a refresh token in the record is %s", state)
			return
		}
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	// Which refresh used the record's tokens up, without its answer getting into the record?
	// In worlds that are not strict the use alone does not end them. Or which sign-in did?
	for _, exchange := range []bool{false, true} {
		for _, q := range slices.Backward(t.requests) {
			if q.Exchanged() != exchange || !q.Rotated() || slices.Contains(mine, q.refresh) || !exchange && (!t.strict || !slices.Contains(mine, q.used)) {
				continue
			}
			t.fate = explained
			switch {
			case q.sender == outsider:
				t.reason = taken
			case !q.whole || q.refresh == "":
				t.reason = replyLost
			case t.cut(q):
				t.reason = killed
			default:
				t.fate = unexplained
				t.blame("the login is lost: the server's answer of %s arrived, and is not in the record", t.at(q.replied))
			}
			return
		}
	}
	t.blame("the login is lost and the server knows of nothing that ended it")
}

// cut reports whether the sender of q was ended at once, so that nothing could save the
// reply. A sender that had ended before its request was looked at is not known; then some
// process must have been ended at once that could have sent it.
func (t *trial) cut(q *request) bool {
	if q.sender != nil {
		return q.sender.endedAtOnce()
	}
	return slices.ContainsFunc(t.all, func(p *process) bool {
		return p.login == q.Exchanged() && p.endedAtOnce() && p.started.Before(q.arrived)
	})
}
