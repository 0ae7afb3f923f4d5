//go:build unix

package main

import (
	"bytes"
	"context"
	"crypto/sha256"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/exactauth/exactauth/internal/exactsim"
	"github.com/exactauth/exactauth/internal/tokenstore/spool"
)

// fate is what became of the login in a round.
type fate int

const (
	survived    fate = iota
	explained        // lost, and the simulator's log says why nobody could have kept it
	unexplained      // lost
)

// Reasons why a login is lost without a fault of exactauth.
const (
	replyLost  = "a fault destroyed the reply to a refresh that was carried out"
	killed     = "the process was ended between the server's commit and the save"
	taken      = "signed in elsewhere"
	loginCut   = "a sign-in was ended, or its reply destroyed, between the server's commit and the save"
	recovery   = 20 * time.Second // what a login may take to yield a token again
	errorLimit = 10               // of an hour at Exact; a round is shorter
)

// verdict is what a round came to.
type verdict struct {
	*plan
	against traits
	seed    uint64
	number  int

	fate    fate
	reason  string   // of a loss that is explained
	wrong   []string // whatever else should not have been
	errors  int      // that the server counted
	longest time.Duration
	waited  time.Duration  // after the other machine's processes were killed
	tally   map[string]int // what happened how often
	abandon bool           // the world cannot go on

	story string // what a developer needs, if anything is wrong
}

// trial is a round under way.
type trial struct {
	*world
	*verdict
	began time.Time
	all   []*proc // of the round, in the order of their start

	noRoom     bool      // from the first call to the last there is none on the disk's machine
	away, back time.Time // when the database was stopped, and about to start again

	noting sync.Mutex
	events []string // what befell the database
}

func (t *trial) event(format string, args ...any) {
	t.noting.Lock()
	defer t.noting.Unlock()
	t.events = append(t.events, t.at(time.Now())+": "+fmt.Sprintf(format, args...))
}

// count notes that something happened n times.
func (t *trial) count(what string, n int) {
	t.noting.Lock()
	defer t.noting.Unlock()
	t.tally[what] += n
}

func (t *trial) blame(format string, args ...any) {
	t.noting.Lock()
	defer t.noting.Unlock()
	t.wrong = append(t.wrong, fmt.Sprintf(format, args...))
}

// round plays round n and judges it.
func (w *world) round(ctx context.Context, n int) *verdict {
	drawn := n
	if w.repeat >= 0 {
		drawn = w.repeat
	}
	v := &verdict{plan: draw(w.options, drawn), against: w.traits, seed: w.seed, number: n, tally: map[string]int{}}
	t := &trial{world: w, verdict: v, began: time.Now()}
	if !w.signedIn {
		if problem := w.signIn(); problem != "" {
			t.blame("cannot sign in: %s", problem)
			v.abandon, v.fate = true, unexplained
			return v
		}
	}
	if v.stop != nil {
		c := <-w.db.spare
		defer func() { w.db.spare <- c }()
		if err := w.settleIn(c); err != nil {
			t.blame("cannot take the record to another database: %v", err)
			v.abandon, v.fate = true, unexplained
			return v
		}
		defer func() {
			if v.abandon {
				return
			}
			if err := w.settleIn(w.db.calm); err != nil {
				t.blame("cannot take the record back from another database: %v", err)
				v.abandon = true
			}
		}()
	}
	w.await(ctx, v.begin)
	before := w.sim.Counters()
	t.began = time.Now()
	t.play()
	t.judgeCalls(before)
	t.judgeShared()
	t.judgeStore()
	t.settle(ctx)
	v.errors = w.sim.Counters().TokenErrors - before.TokenErrors
	if v.errors > errorLimit && v.clock == 0 {
		t.blame("%d errors counted at the server", v.errors)
	}
	if v.fate == unexplained && len(v.wrong) == 0 {
		t.blame("the login is lost")
	}
	if len(v.wrong) > 0 {
		v.story = t.tell(before)
	}
	if v.fate != survived {
		w.signedIn = false
	}
	return v
}

// play carries out the plan and ends with all faults cleared and all its
// processes ended.
func (t *trial) play() {
	w, p := t.world, t.plan
	s := newStage()
	s.measure = p.quiet()
	for _, f := range p.faults {
		w.sim.Inject(f)
	}
	if p.clock != 0 {
		if err := w.stepClock(p.clock); err != nil {
			t.blame("cannot step the clock: %v", err)
		}
	}
	spoil := func() {
		noRoom, err := w.spoilDisk(p.disk)
		if err != nil {
			t.blame("cannot make the disk %s: %v", p.disk.kind, err)
		}
		t.noRoom = noRoom && p.diskAt == onStart && p.diskFor == 0
	}
	if p.diskAt == onStart {
		spoil()
	} else {
		s.arriving(spoil)
	}
	if p.down {
		w.server.Close()
	}
	ended := make(chan struct{})
	disturbed := t.disturb(s, ended)
	w.stage.Store(s)

	var others sync.WaitGroup
	if p.elsewhere != nil {
		others.Go(func() {
			time.Sleep(*p.elsewhere)
			if err := w.signInElsewhere(); err != nil {
				t.blame("cannot sign in elsewhere: %v", err)
			}
		})
	}
	if p.diskFor > 0 {
		others.Go(func() {
			time.Sleep(p.diskFor)
			w.healDisk()
		})
	}
	procs := make([]*proc, len(p.calls))
	started := make([]chan struct{}, len(p.calls))
	for i := range started {
		started[i] = make(chan struct{})
	}
	var calls sync.WaitGroup
	for i, c := range p.calls {
		if m := w.machines[c.machine]; !m.mounted && c.machine == p.disk.machine && p.disk.kind != diskSound && c.fileSize == 0 && (p.disk.kind != diskReadOnly || os.Geteuid() == 0) {
			c.fileSize = 1 << (p.disk.spare % 5) // the next best
		}
		calls.Go(func() {
			defer close(started[i])
			time.Sleep(c.after)
			if c.behind > 0 {
				<-started[c.behind-1]
				procs[c.behind-1].wait()
			}
			if c.login {
				procs[i] = w.login(c, s)
			} else {
				procs[i] = w.start(c, s)
			}
		})
	}
	calls.Wait()
	for _, p := range procs {
		p.wait()
	}
	close(ended)
	others.Wait()
	disturbed()

	w.sim.ClearFaults()
	w.stage.Store(nil)
	w.healDisk()
	if p.down {
		if err := w.listen(); err != nil {
			t.blame("cannot listen at %s again: %v", w.addr, err)
		}
	}
	w.quiesce()
	s.measuring.Wait()
	t.all = append(t.all, procs...)
	slices.SortStableFunc(t.all, func(a, b *proc) int { return a.started.Compare(b.started) })
}

// has reports whether a call of the plan runs this command.
func (p *plan) has(command string) bool {
	return slices.ContainsFunc(p.calls, func(c call) bool { return c.login && command == "login" || !c.login && c.args[0] == command })
}

// judgeCalls judges what the round's processes did by themselves.
func (t *trial) judgeCalls(before exactsim.Counters) {
	for _, p := range t.all {
		t.judge(p, t.allowed(p))
	}
	// Later calls give no older token.
	if t.clock == 0 {
		for _, a := range t.all {
			for _, b := range t.all {
				x, okA := t.find(a.token())
				y, okB := t.find(b.token())
				if a.machine != b.machine && t.disturbed() {
					continue // what one of them keeps for itself the other does not know
				}
				if okA && okB && a.ended.Before(b.started) && y.at.Before(x.at) {
					t.blame("a call that began after another had ended printed an older token")
				}
			}
		}
	}
	if !t.quiet() {
		return
	}
	after := t.sim.Counters()
	sent, got := after.Refreshes-before.Refreshes, after.RefreshesIssued-before.RefreshesIssued
	if most := 1 + int(time.Since(t.began)/(life*95/100)); sent != got || sent > most {
		t.blame("%d refreshes were sent and %d granted where %d was enough", sent, got, most)
	}
	if t.pg != nil {
		for _, p := range t.all {
			t.saved(p)
		}
	}
	if sent == 1 && t.begin >= 1 {
		for _, p := range t.all {
			if took := p.ended.Sub(p.started); took < life/2 {
				t.usual.Store((t.usual.Load()*15 + int64(took)) / 16)
			}
		}
	}
}

// allowed lists the exit codes that a call may end with, by what befell it. That
// nobody is signed in (4) is held against the simulator afterwards.
func (t *trial) allowed(p *proc) []int {
	codes := []int{0}
	for _, s := range p.signals {
		codes = append(codes, 128+int(s.Signal))
	}
	if p.ended.Sub(p.started) >= life {
		codes = append(codes, 5) // on a busy machine a token of a second can be over before it is there
	}
	if t.quiet() {
		return codes
	}
	if t.disk.kind != diskSound && p.machine == t.disk.machine || p.fileSize > 0 {
		codes = append(codes, 6)
	}
	if t.disturbed() {
		codes = append(codes, 5, 6)
	}
	if p.timeout > 0 {
		codes = append(codes, 5, 6) // the server's time, or the lock's
	}
	// A lost reply, by whatever hand, has the next calls wait their time.
	if len(t.faults) > 0 || t.down || t.clock != 0 || slices.ContainsFunc(t.all, func(q *proc) bool { return len(q.signals) > 0 }) {
		codes = append(codes, 5)
	}
	return append(codes, 4)
}

var traces = regexp.MustCompile(`(?m)^(panic: |goroutine \d+ \[|fatal error: |WARNING: DATA RACE)`)

// judge judges one process that has ended.
func (t *trial) judge(p *proc, allowed []int) {
	t.quiesce()
	took := p.ended.Sub(p.started)
	t.longest = max(t.longest, took)
	stderr := p.stderr.String()
	name := strings.Join(p.args, " ")
	if p.hung {
		t.blame("%q hung for %s", name, took.Round(time.Second))
	}
	switch {
	case slices.Contains(allowed, p.code):
	case t.pg != nil && p.code == 5 && strings.Contains(stderr, awaitedWords):
		t.count("calls that asked to be made again, as another machine's answer might be under way", 1)
	default:
		t.blame("%q ended with %d", name, p.code)
	}
	if loc := traces.FindString(stderr); loc != "" {
		t.blame("%q wrote %q on stderr", name, loc)
	}
	if t.noRoom && p.machine == t.disk.machine && strings.Contains(stderr, askedWords) {
		t.blame("%q sent a request though it had no room", name)
	}
	if strings.Contains(stderr, tokenMark) || strings.Contains(stderr, clientSecret) {
		t.blame("%q wrote a secret on stderr", name)
	}
	if p.code != 0 && p.code < 128 && !strings.Contains(stderr, "exactauth: ") {
		t.blame("%q ended with %d and no word", name, p.code)
	}
	if p.login || p.args[0] != "token" {
		return
	}
	token := p.token()
	if (p.code == 0) != (token != "") && p.code < 128 {
		t.blame("%q ended with %d and printed %d bytes", name, p.code, p.stdout.Len())
	}
	if token == "" {
		return
	}
	// The machine's clock is wrong, or a sign-in that this machine never saw
	// the end of has killed the token.
	if t.clock != 0 || t.plan.elsewhere != nil || slices.ContainsFunc(t.all, func(p *proc) bool { return p.login && p.code != 0 }) {
		return
	}
	is, known := t.find(token)
	switch {
	case !known:
		t.blame("%q printed what the server never issued", name)
	case is.at.After(p.ended) || !is.until.After(p.started):
		t.blame("%q printed a token that was dead %s before it began", name, p.started.Sub(is.until))
	case slices.Contains(p.args, "--force-refresh") && is.asked.Before(p.started):
		t.blame("%q printed a token from before the call", name)
	}
	if i := slices.Index(p.args, "--min-valid"); i >= 0 && known {
		if least, err := time.ParseDuration(p.args[i+1]); err == nil && is.until.Sub(p.started) < least {
			t.blame("%q printed a token with %s left at most", name, is.until.Sub(p.started))
		}
	}
}

// token is what a call printed, if it is a token and a newline.
func (p *proc) token() string {
	token, ok := strings.CutSuffix(p.stdout.String(), "\n")
	if p.login || !ok || !strings.HasPrefix(token, "stampNL001.") {
		return ""
	}
	return token
}

// find looks a printed token up among those that were issued.
func (w *world) find(token string) (issue, bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, is := range slices.Backward(w.issued) {
		if token != "" && is.access == token {
			return is, true
		}
	}
	return issue{}, false
}

// judgeStore looks at what the processes left behind.
func (t *trial) judgeStore() {
	t.noRoom = false // from here on there is
	if _, err := t.readRecord(); err != nil {
		t.blame("the record is damaged: %v", err)
	}
	name := profileName
	if t.pg != nil {
		name = spool.Name(profileName)
		raw, err := t.pg.Read(context.Background(), profileName)
		if err == nil && t.key != nil && open(raw) {
			t.blame("the table has a secret in plain")
		}
	}
	for _, m := range t.machines {
		entries, err := os.ReadDir(m.state)
		if err != nil {
			t.blame("the state directory cannot be read: %v", err)
		}
		for _, e := range entries {
			info, err := e.Info()
			if err != nil {
				continue
			}
			switch e.Name() {
			case name, name + ".lock", name + ".tmp", "seal.key.lock":
				if info.Mode() != 0o600 {
					t.blame("%s has mode %s", e.Name(), info.Mode())
				}
			default:
				t.blame("%s was left behind", e.Name())
			}
			if raw, err := os.ReadFile(filepath.Join(m.state, e.Name())); err == nil && t.key != nil && open(raw) {
				t.blame("%s has a secret in plain", e.Name())
			}
		}
	}
}

// open reports whether there is a secret in plain in what should be sealed.
func open(raw []byte) bool {
	return bytes.Contains(raw, []byte(tokenMark)) || bytes.Contains(raw, []byte(clientSecret))
}

// disturbed reports whether the database's server is to do something else than
// to serve.
func (p *plan) disturbed() bool { return len(p.cuts) > 0 || p.stop != nil }

// saved notes how long a call says that it took to save the new tokens.
func (t *trial) saved(p *proc) {
	for line := range strings.Lines(p.stderr.String()) {
		if _, after, ok := strings.Cut(line, `msg="saved the new tokens" after=`); ok {
			if d, err := time.ParseDuration(strings.TrimSpace(after)); err == nil {
				t.mu.Lock()
				t.windows = append(t.windows, d)
				t.mu.Unlock()
			}
		}
	}
}

// settle finds out, with all faults cleared, whether the login yields a token
// again, on every machine, or needs a person, and if so whether that is explained.
func (t *trial) settle(ctx context.Context) {
	deadline := time.Now().Add(recovery)
	told := false // exit 4 was given by a call of the round
	for _, p := range t.all {
		told = told || p.code == 4 && !p.login
	}
	force := false
	served := make([]bool, len(t.machines))
	refused := make([]bool, len(t.machines))
	for m := t.IntN(len(t.machines)); ; m = (m + 1) % len(t.machines) {
		if time.Now().After(deadline) || ctx.Err() != nil {
			t.blame("after %s the login has neither yielded a token nor been given up", recovery)
			t.fate, t.abandon = unexplained, true
			return
		}
		r, kept, ok := t.look()
		if !ok {
			return
		}
		if len(kept) > 0 { // the others may know nothing of it until its machine calls again
			m, force = kept[0].machine, true
		}
		args := []string{"token", "-v", "--timeout", patience.String()}
		if force {
			args = append(args, "--force-refresh")
		}
		p := t.start(call{args: args, machine: m}, nil)
		p.wait()
		t.all = append(t.all, p)
		t.judge(p, []int{0, 4, 5})
		if r, kept, ok = t.look(); !ok {
			return
		}
		switch p.code {
		case 0:
			refused = make([]bool, len(t.machines))
			is, known := t.find(p.token())
			state := t.sim.RefreshTokenState(r.Refresh.Reveal())
			switch {
			case len(kept) > 0:
				continue
			case !known, !is.until.After(p.started), !r.settled(), state == exactsim.Previous, t.clock != 0 && is.at.Before(t.began):
				// After a step of the clock, or a sign-in that nobody here knows
				// of, a dead token looks alive until its time is over. And while
				// one lives, it does not show whether what was lost can be mended.
				time.Sleep(life / 10)
				continue
			case state != exactsim.Current:
				force = true // this is its last token
				continue
			}
			force = false
			if served[m] = true; slices.Contains(served, false) {
				continue
			}
			if t.IntN(2) == 0 {
				if status := t.me(p.token()); status != 200 && time.Until(is.until) > life/10 {
					t.blame("the API answers %d to the token", status)
				}
			}
			if told && !t.has("logout") && !t.has("login") && t.clock == 0 {
				t.misled()
			}
			t.fate = survived
			return
		case 4:
			told = true
			served = make([]bool, len(t.machines))
			if refused[m] = true; slices.Contains(refused, false) || len(kept) > 0 {
				continue // another machine may have kept what came last
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

// look reads the record and what machines keep of it, which is to be possible.
func (t *trial) look() (r found, kept []found, ok bool) {
	r, err := t.readRecord()
	if err == nil {
		kept, err = t.readKept(r)
	}
	if err != nil {
		t.blame("the record is damaged: %v", err)
		t.fate, t.abandon = unexplained, true
	}
	return r, kept, err == nil
}

// misled judges that a call said that a person must sign in, and that the login
// then yielded a token all the same.
//
// One case of it is excused, and counted: the database's server ended the session
// of a machine whose refresh was under way, so that another one took the row, saw
// a note that its writer seemed to have left behind, and sent the token that was
// just being used up. What came of the first is kept and wins in the end.
func (t *trial) misled() {
	excused, n := t.pg != nil && t.disturbed(), 0
	for _, p := range t.all {
		if p.code != 4 || p.login {
			continue
		}
		n++
		excused = excused && slices.ContainsFunc(t.all, func(q *proc) bool {
			text := q.stderr.String()
			return q.machine != p.machine && q.started.Before(p.ended) && (strings.Contains(text, keptWords) || strings.Contains(text, "outcome=granted"))
		})
	}
	if excused {
		t.count("calls that asked for a sign-in while another machine had the new tokens", n)
		return
	}
	t.blame("a call said that a person must sign in, and then the login yielded a token")
}

// pause waits as the record says, and now and then looks whether a call that
// does not wait leaves the server alone.
func (t *trial) pause(r found, p *proc) {
	if !r.SignedIn() {
		return
	}
	if time.Until(r.RetryAt) > life/10 && t.IntN(4) == 0 {
		sent := t.sim.Counters().Refreshes
		early := t.start(call{args: p.args, machine: p.machine}, nil)
		early.wait()
		t.all = append(t.all, early)
		t.judge(early, []int{0, 4, 5})
		if asked := t.sim.Counters().Refreshes - sent; asked > 0 && early.ended.Before(r.RetryAt) {
			t.blame("the server was asked although the record says to wait")
		}
	}
	time.Sleep(min(max(time.Until(r.RetryAt), life/50), 10*life))
}

// judgeLoss explains a loss by what the simulator did, or does not.
func (t *trial) judgeLoss(r found) {
	t.fate = unexplained
	if !r.SignedIn() {
		t.blame("the record has no login any more")
		return
	}
	mine := r.refreshTokens() // and nothing later is kept by any machine
	for _, token := range mine {
		if state := t.sim.RefreshTokenState(token); state == exactsim.Current || state == exactsim.Previous {
			t.blame("a person is asked to sign in although a refresh token in the record is %s", state)
			return
		}
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	// Who used up the record's tokens without the answer getting into it? In
	// Grace their use alone does not end them.
	for _, q := range slices.Backward(t.requests) {
		if !q.exchange && q.committed && t.against.strict && slices.Contains(mine, q.used) && !slices.Contains(mine, q.refresh) {
			switch {
			case !q.whole || q.refresh == "":
				t.reason = replyLost
			case t.cut(q, "token"):
				t.reason = killed
			default:
				t.blame("the login is lost: the server's answer at %s arrived, and is not in the record", t.at(q.replied))
				return
			}
			t.fate = explained
			return
		}
	}
	// Nobody: then a sign-in ended it.
	for _, q := range slices.Backward(t.requests) {
		if q.exchange && q.committed && !slices.Contains(mine, q.refresh) {
			switch {
			case q.elsewhere:
				t.reason = taken
			case !q.whole || t.cut(q, "login"):
				t.reason = loginCut
			default:
				t.blame("the login is lost: a sign-in at %s went through, and is not in the record", t.at(q.replied))
				return
			}
			t.fate = explained
			return
		}
	}
	t.blame("the login is lost and the server knows of nothing that ended it")
}

// cut reports whether q was carried out for a process that was ended at once, so
// that nobody saved its reply. A process logs each reply that it got, and one that
// lived on has saved it; so the sender was ended if those that lived on log fewer
// replies than requests came, and too few of them with tokens. When it was ended
// does not matter: a request may be on its way as its sender dies.
func (t *trial) cut(q *request, command string) bool {
	ended, asked, granted := false, 0, 0
	for _, p := range t.all {
		switch {
		case p.login != (command == "login"):
		case p.endedAtOnce().IsZero():
			asked += strings.Count(p.stderr.String(), "asked the token endpoint")
			granted += strings.Count(p.stderr.String(), "outcome=granted")
		case p.started.Before(q.arrived):
			ended = true
		}
	}
	came, whole := 0, 0
	for _, x := range t.requests {
		if x.exchange == q.exchange && !x.elsewhere && !x.arrived.Before(t.began) {
			came++
			if x.committed && x.whole {
				whole++
			}
		}
	}
	return ended && granted < whole && came-asked >= whole-granted
}

// since gives the requests that came after a moment.
func (w *world) since(x time.Time) (came []*request) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, q := range w.requests {
		if q.arrived.After(x) {
			came = append(came, q)
		}
	}
	return came
}

func (t *trial) at(x time.Time) string {
	return fmt.Sprintf("%+.1fms", float64(x.Sub(t.began).Microseconds())/1000)
}

// print writes what a round came to: a line, or all there is if it went wrong.
func (v *verdict) print(w io.Writer) {
	outcome := [...]string{"survived", "lost, explained: " + v.reason, "LOST AND UNEXPLAINED"}[v.fate]
	if v.fate != unexplained && len(v.wrong) > 0 {
		outcome += ", BUT WRONG"
	}
	fmt.Fprintf(w, "round %d (%s, %s): %s\n", v.number, v.scenario, v.against.rotation(), outcome)
	for _, text := range v.wrong {
		fmt.Fprintf(w, "  WRONG: %s\n", text)
	}
	fmt.Fprint(w, v.story)
}

var secrets = regexp.MustCompile(`stampNL001\.[A-Za-z0-9._!-]+`)

// masked replaces tokens by names that tell one from another.
func (w *world) masked(text string) string {
	text = secrets.ReplaceAllStringFunc(text, func(s string) string {
		sum := sha256.Sum256([]byte(s))
		return fmt.Sprintf("<%x>", sum[:4])
	})
	return strings.ReplaceAll(text, clientSecret, "<client secret>")
}

// tell is the story of a round, for a developer. No secret is in it.
func (t *trial) tell(before exactsim.Counters) string {
	var b bytes.Buffer
	fmt.Fprintf(&b, "  seed %d, round %d, %+v\n  %s\n", t.verdict.seed, t.number, t.against, t.plan)
	for i, p := range t.all {
		fmt.Fprintf(&b, "  process %d: machine %d: exactauth %s: %s to %s, exit %d", i+1, p.machine, strings.Join(p.cmd.Args[1:], " "), t.at(p.started), t.at(p.ended), p.code)
		for _, s := range p.signals {
			fmt.Fprintf(&b, ", %s at %s", s.Signal, t.at(s.at))
		}
		if token := p.token(); token != "" {
			fmt.Fprintf(&b, ", printed %s", token)
		}
		b.WriteByte('\n')
		for line := range strings.Lines(p.stderr.String()) {
			fmt.Fprintf(&b, "    | %s\n", strings.TrimRight(line, "\n"))
		}
	}
	b.WriteString("  requests:\n")
	t.mu.Lock()
	for _, q := range t.requests {
		if q.replied.Before(t.began.Add(-3 * life)) {
			continue
		}
		kind := "refresh with " + q.used
		if q.exchange {
			kind = "exchange"
		}
		fmt.Fprintf(&b, "    %s to %s: %s: status %d, whole %t, committed %t, gave %s\n", t.at(q.arrived), t.at(q.replied), kind, q.status, q.whole, q.committed, q.refresh)
	}
	t.mu.Unlock()
	if len(t.events) > 0 {
		b.WriteString("  the database:\n")
	}
	for _, text := range t.events {
		fmt.Fprintf(&b, "    %s\n", text)
	}
	b.WriteString("  the simulator's log:\n")
	for _, e := range t.sim.Events() {
		if e.Time.After(t.began.Add(-3 * life)) {
			fmt.Fprintf(&b, "    %s %s %s %s: %s, generation %d, fault %q, status %d\n", t.at(e.Time), e.Method, e.Path, e.GrantType, e.Outcome, e.Generation, e.Fault, e.Status)
		}
	}
	g, _ := t.sim.Grant(clientID, userID)
	fmt.Fprintf(&b, "  grant: generation %d, issued %s; counters before %+v, now %+v\n", g.Generation, t.at(g.IssuedAt), before, t.sim.Counters())
	r, err := t.readRecord()
	kept, keptErr := t.readKept(r)
	if err != nil || keptErr != nil {
		fmt.Fprintf(&b, "  record: %v, kept: %v\n", err, keptErr)
	}
	for _, r := range append([]found{r}, kept...) {
		where := "record"
		if r.machine >= 0 {
			where = fmt.Sprintf("kept by machine %d", r.machine)
		}
		fmt.Fprintf(&b, "  %s (began %s):\n    %s\n", where, t.began.UTC().Format("15:04:05.000000"), strings.ReplaceAll(string(r.raw), "\n", "\n    "))
		for _, token := range r.refreshTokens() {
			fmt.Fprintf(&b, "  its %s is %s\n", token, t.sim.RefreshTokenState(token))
		}
	}
	for _, m := range t.machines {
		files, _ := filepath.Glob(filepath.Join(m.state, "*"))
		fmt.Fprintf(&b, "  files: %v\n", files)
	}
	return t.masked(b.String())
}
