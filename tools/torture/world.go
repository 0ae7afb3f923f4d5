//go:build unix

package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/exactauth/exactauth/internal/exactsim"
	"github.com/exactauth/exactauth/internal/fault"
	"github.com/exactauth/exactauth/internal/record"
	"github.com/exactauth/exactauth/internal/tokenstore"
	"github.com/exactauth/exactauth/internal/tokenstore/pgstore"
	"github.com/exactauth/exactauth/internal/tokenstore/seal"
	"github.com/exactauth/exactauth/internal/tokenstore/spool"
	"github.com/exactauth/exactauth/tools/pgtest"
)

const (
	life = time.Second // of an access token; nothing shorter can be told in expires_in

	profileName = "torture"
	clientID    = exactsim.ClientID
	userID      = exactsim.AnnaID
	redirectURI = "https://exactauth.test:8484/callback"
	tokenPath   = "/api/oauth2/token"
	mePath      = "/api/v1/current/Me"

	clientSecret = exactsim.ClientSecret
	tokenMark    = "stampNL001." // begins every token and code of the simulator

	// patience is --timeout where a round does not say otherwise, and grace what
	// a call may take beyond it: a request that was sent is seen through.
	patience = 20 * time.Second
	grace    = 60 * time.Second
)

// traits are what a server may be like where Exact's behaviour is unknown, and
// where the record lives.
type traits struct {
	strict        bool // a used refresh token is dead at once
	tooEarlyFirst bool // "too early" comes before "old refresh token"
	small         bool // the record lives on a small tmpfs, else where temporary files do
	older         bool // "too early" is a 401, expires_in a number
}

// sorts is how many traits there are. The rounds of a world are those with its
// number modulo the number of worlds, a multiple of this, so that a round's
// number alone tells the traits it meets.
const sorts = 16

func traitsOf(n int) traits {
	return traits{strict: n%2 == 0, tooEarlyFirst: n/2%2 == 1, small: n/4%2 == 1, older: n/8%2 == 1}
}

func (t traits) rotation() string {
	if t.strict {
		return "strict"
	}
	return "grace"
}

// world is one login: a simulator, one or two machines, and the processes on them.
type world struct {
	traits
	options
	sim    *exactsim.Sim
	addr   string
	server *http.Server
	usual  *atomic.Int64 // how long a call that refreshes usually takes, in nanoseconds

	base     string // everything of this world
	machines []*machine
	sealing  string    // EXACTAUTH_SEAL
	key      *seal.Key // nil without a seal

	// With a store that machines share:
	db       *database
	role     string
	admitted map[*pgtest.Cluster]bool
	cluster  *pgtest.Cluster // where the record is
	address  string          // EXACTAUTH_STORE
	pg       *pgstore.Store  // what the judge reads; nil if machines share nothing

	stage    atomic.Pointer[stage]
	inflight atomic.Int64 // token requests

	mu       sync.Mutex // guards what follows
	requests []*request // since the sign-in
	issued   []issue

	signedIn bool
	windows  []time.Duration // from the server's last byte to the renamed record
}

// machine is where processes run: a state directory on a file system.
type machine struct {
	fs      string
	mounted bool // fs is a small tmpfs
	state   string
}

// request is a token request as the wire showed it, next to what the simulator
// made of it.
type request struct {
	arrived, replied time.Time
	exchange         bool   // of a code; else a refresh
	elsewhere        bool   // not by exactauth
	used             string // the refresh token
	status           int
	whole            bool   // the reply went out as it was meant
	committed        bool   // the simulator issued or rotated
	refresh          string // the refresh token in the reply
}

// issue is an access token with the time in which the simulator accepts it.
type issue struct {
	access           string
	asked, at, until time.Time
}

// stage connects a round's faults with the requests of that round.
type stage struct {
	once             [2]sync.Once
	arrived, replied chan struct{} // closed with the first token request, and its reply
	onArrival        []func()      // before the simulator sees that request
	measure          bool          // time the save
	measuring        sync.WaitGroup
}

func newStage() *stage {
	return &stage{arrived: make(chan struct{}), replied: make(chan struct{})}
}

// arriving has f called when the first request arrives, before the simulator sees it.
func (s *stage) arriving(f func()) { s.onArrival = append(s.onArrival, f) }

// moment is closed when a moment of the round has come.
func (s *stage) moment(m moment) <-chan struct{} {
	switch m {
	case onArrival:
		return s.arrived
	case onReply:
		return s.replied
	}
	now := make(chan struct{})
	close(now)
	return now
}

func newWorld(o options, i int, usual *atomic.Int64, db *database) (*world, error) {
	sort := i
	if o.repeat >= 0 {
		sort = o.repeat
	}
	w := &world{traits: traitsOf(sort), options: o, usual: usual, base: filepath.Join(o.dir, "world"+strconv.Itoa(i)), sealing: o.seal,
		db: db, role: "world" + strconv.Itoa(i), admitted: map[*pgtest.Cluster]bool{}}
	if err := os.MkdirAll(filepath.Join(w.base, "config"), 0o700); err != nil {
		return nil, err
	}
	n := 1
	if o.shared() {
		n = machines
		if err := w.settleIn(db.calm); err != nil {
			return nil, err
		}
	}
	for i := range n {
		m := &machine{fs: filepath.Join(w.base, "fs"+strconv.Itoa(i))}
		m.state = filepath.Join(m.fs, "state")
		if err := os.MkdirAll(m.fs, 0o700); err != nil {
			return nil, err
		}
		m.mounted = w.small && w.mounts && mountSmall(m.fs) == nil
		if err := os.Mkdir(m.state, 0o700); err != nil {
			return nil, err
		}
		w.machines = append(w.machines, m)
	}
	if o.seal != "none" {
		path := filepath.Join(w.base, "key")
		w.sealing, w.key = "age:"+path, seal.File(path) // setup makes it
	}
	c := exactsim.Config{TokenLife: life, TooEarlyFirst: w.tooEarlyFirst, TooEarlyIs401: w.older, NumberExpiresIn: w.older,
		ErrorLimit: -1, MinuteLimit: -1, DailyLimit: -1} // an hour's errors come in a minute here
	if !w.strict {
		c.Rotation = exactsim.Grace
	}
	w.sim = exactsim.New(c)
	w.sim.AddCast(redirectURI)
	w.addr = "127.0.0.1:0"
	if err := w.listen(); err != nil {
		return nil, err
	}
	setup := w.start(call{args: []string{"setup", "--base-url", "http://" + w.addr, "--client-id", clientID,
		"--redirect-uri", redirectURI, "--listen", "none", "--client-secret-file", "-"}, stdin: clientSecret + "\n"}, nil)
	if setup.wait(); setup.code != 0 {
		return nil, fmt.Errorf("setup: exit %d: %s", setup.code, setup.stderr.String())
	}
	return w, nil
}

func (w *world) close() {
	w.server.Close()
	if w.pg != nil {
		w.pg.Close()
	}
	for _, m := range w.machines {
		if m.mounted {
			unmount(m.fs)
		}
	}
	os.RemoveAll(w.base)
}

// listen serves at the world's address, the same again after a pause.
func (w *world) listen() error {
	var l net.Listener
	var err error
	for range 100 {
		// While it was closed a connection may have got the port for its own end.
		if l, err = net.Listen("tcp", w.addr); err == nil {
			w.addr = l.Addr().String()
			w.server = &http.Server{Handler: w, ErrorLog: nil}
			go w.server.Serve(l) // until Close
			return nil
		}
		time.Sleep(100 * time.Millisecond)
	}
	return err
}

// ServeHTTP stands between the wire and the simulator and notes who asked with
// what and how much of the answer went out.
func (w *world) ServeHTTP(rw http.ResponseWriter, r *http.Request) {
	if r.URL.Path != tokenPath {
		w.sim.ServeHTTP(rw, r)
		return
	}
	w.inflight.Add(1)
	defer w.inflight.Add(-1)
	body, _ := io.ReadAll(r.Body)
	r.Body = io.NopCloser(bytes.NewReader(body))
	form, _ := url.ParseQuery(string(body))
	q := &request{arrived: time.Now(), used: form.Get("refresh_token"), exchange: form.Get("grant_type") == "authorization_code",
		elsewhere: r.Header.Get("User-Agent") == elsewhere}
	s := w.stage.Load()
	if s != nil && !q.elsewhere {
		s.once[0].Do(func() {
			for _, f := range s.onArrival {
				f()
			}
			close(s.arrived)
		})
	}
	before := w.stateOf(q)
	sent := &copied{ResponseWriter: rw}
	defer func() {
		q.replied = time.Now()
		if q.whole && s != nil && s.measure && w.pg == nil {
			w.measureWindow(s, q.replied)
		}
		w.note(q, sent, before)
		if s != nil && !q.elsewhere {
			s.once[1].Do(func() { close(s.replied) })
		}
	}()
	w.sim.ServeHTTP(sent, r) // panics if the reply is not to be whole
	q.whole = http.NewResponseController(rw).Flush() == nil
}

// quiesce waits until every request that has arrived is noted: a client may be
// quicker than the handler that answered it.
func (w *world) quiesce() {
	for w.inflight.Load() > 0 {
		time.Sleep(100 * time.Microsecond)
	}
}

// stateOf is what a request that is carried out changes.
func (w *world) stateOf(q *request) any {
	if q.exchange {
		g, _ := w.sim.Grant(clientID, userID)
		return g.IssuedAt
	}
	return w.sim.RefreshTokenState(q.used)
}

// note keeps what a request came to.
func (w *world) note(q *request, sent *copied, before any) {
	var reply struct {
		Access  string `json:"access_token"`
		Refresh string `json:"refresh_token"`
		Error   string `json:"error"`
	}
	readable := json.Unmarshal(sent.body.Bytes(), &reply) == nil
	q.status, q.refresh = sent.status, reply.Refresh
	// A spoilt reply does not show what was done; the state does.
	q.committed = q.refresh != "" || !(readable && reply.Error != "") && before != w.stateOf(q)
	w.mu.Lock()
	defer w.mu.Unlock()
	w.requests = append(w.requests, q)
	if g, ok := w.sim.Grant(clientID, userID); ok && reply.Access != "" {
		if q.exchange { // the tokens of the sign-in before are dead
			for i := range w.issued {
				if w.issued[i].until.After(g.IssuedAt) {
					w.issued[i].until = g.IssuedAt
				}
			}
		}
		w.issued = append(w.issued, issue{reply.Access, q.arrived, g.IssuedAt, g.AccessExpires})
	}
}

// copied keeps a copy of the reply.
type copied struct {
	http.ResponseWriter
	status int
	body   bytes.Buffer
}

func (c *copied) WriteHeader(status int) {
	c.status = status
	c.ResponseWriter.WriteHeader(status)
}

func (c *copied) Write(b []byte) (int, error) {
	c.body.Write(b)
	return c.ResponseWriter.Write(b)
}

func (c *copied) Flush() { _ = http.NewResponseController(c.ResponseWriter).Flush() }

// measureWindow times how long the record takes to be replaced after the reply.
func (w *world) measureWindow(s *stage, from time.Time) {
	before, err := os.Stat(w.record())
	if err != nil {
		return
	}
	s.measuring.Go(func() {
		for time.Since(from) < life {
			if now, err := os.Stat(w.record()); err == nil && !os.SameFile(before, now) {
				took := time.Since(from)
				w.mu.Lock()
				w.windows = append(w.windows, took)
				w.mu.Unlock()
				return
			}
			time.Sleep(50 * time.Microsecond)
		}
	})
}

// elsewhere is the user agent of a sign-in on another machine.
const elsewhere = "elsewhere"

// signInElsewhere signs the same user in to the same app without exactauth,
// which ends this world's login.
func (w *world) signInElsewhere() error {
	form := url.Values{"grant_type": {"authorization_code"}, "client_id": {clientID}, "client_secret": {clientSecret},
		"redirect_uri": {redirectURI}, "code": {w.sim.NewCode(clientID, userID, redirectURI)}}
	req, err := http.NewRequest(http.MethodPost, "http://"+w.addr+tokenPath, strings.NewReader(form.Encode()))
	if err != nil {
		return err
	}
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	req.Header.Set("User-Agent", elsewhere)
	req.Close = true
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return errors.New(resp.Status)
	}
	return nil
}

// me calls the API as a script does with its token. In Grace that ends the
// refresh token before.
func (w *world) me(token string) int {
	r := httptest.NewRequest(http.MethodGet, mePath, nil)
	r.Header.Set("Authorization", "Bearer "+token)
	rec := httptest.NewRecorder()
	w.sim.ServeHTTP(rec, r)
	return rec.Code
}

// proc is one exactauth process.
type proc struct {
	call
	cmd            *exec.Cmd
	stdout, stderr bytes.Buffer
	started, ended time.Time
	done           chan struct{}
	fate           sync.WaitGroup

	code   int // as a shell gives it
	killed bool
	hung   bool

	signals []sentSignal
}

type sentSignal struct {
	syscall.Signal
	at time.Time
}

// start starts a process, and what is to befall it.
func (w *world) start(c call, s *stage) *proc {
	p := &proc{call: c, done: make(chan struct{})}
	args, flags := c.args, ""
	if i := slices.Index(args, "--timeout"); w.front && args[0] == "token" && args[1] == "-v" && i == len(args)-2 {
		args, flags = append([]string{"token"}, args[2:i]...), "-v --timeout "+args[i+1]
	}
	args = append([]string{w.binary}, args...)
	if c.fileSize > 0 {
		args = append([]string{"/bin/sh", "-c", `ulimit -f "$0" && exec "$@"`, strconv.Itoa(c.fileSize)}, args...)
	}
	p.cmd = exec.Command(args[0], args[1:]...)
	p.cmd.Env = append(slices.DeleteFunc(os.Environ(), func(kv string) bool { return strings.HasPrefix(kv, "EXACTAUTH_") }),
		"EXACTAUTH_CONFIG_DIR="+filepath.Join(w.base, "config"), "EXACTAUTH_STATE_DIR="+w.machines[c.machine].state, "EXACTAUTH_PROFILE="+profileName,
		flagsEnv+"="+flags)
	if w.seal != "none" {
		p.cmd.Env = append(p.cmd.Env, "EXACTAUTH_SEAL="+w.sealing)
	}
	if w.pg != nil {
		p.cmd.Env = append(p.cmd.Env, "EXACTAUTH_STORE="+w.address, "PGPASSFILE="+w.db.passFile)
	}
	p.cmd.Stdin = strings.NewReader(c.stdin)
	p.cmd.Stdout, p.cmd.Stderr = &p.stdout, &p.stderr
	p.started = time.Now()
	if err := p.cmd.Start(); err != nil {
		fmt.Fprintf(&p.stderr, "torture: %v\n", err)
		p.code, p.ended = -1, time.Now()
		close(p.done)
		return p
	}
	go func() {
		defer close(p.done)
		_ = p.cmd.Wait() // the state tells
		p.ended = time.Now()
		status, _ := p.cmd.ProcessState.Sys().(syscall.WaitStatus)
		if p.code = status.ExitStatus(); status.Signaled() {
			p.code, p.killed = 128+int(status.Signal()), true
		}
	}()
	p.fate.Go(func() { p.befall(s, time.Duration(w.usual.Load())) })
	return p
}

// befall sends the signals when they are due, and ends a process that hangs.
func (p *proc) befall(s *stage, usual time.Duration) {
	for _, b := range p.blows {
		select {
		case <-s.moment(b.at):
		case <-p.done:
			return
		}
		select {
		case <-time.After(b.after + time.Duration(b.share*float64(usual))):
		case <-p.done:
			return
		}
		p.signal(b.signal)
	}
	select {
	case <-p.done:
	case <-time.After(p.limit() + grace):
		p.hung = true
		p.signal(syscall.SIGQUIT) // Go tells where it hangs
		select {
		case <-p.done:
		case <-time.After(5 * time.Second):
			p.signal(syscall.SIGKILL)
		}
	}
}

func (p *proc) signal(s syscall.Signal) {
	at := time.Now()
	if p.cmd.Process.Signal(s) == nil {
		p.signals = append(p.signals, sentSignal{s, at})
	}
}

// wait waits for the end. Only then may be looked at what became of the process.
func (p *proc) wait() {
	<-p.done
	p.fate.Wait()
}

// endedAtOnce is when the process was ended without a chance to finish; zero if
// it was not. A signal that comes before its handler is one such.
func (p *proc) endedAtOnce() time.Time {
	for i, s := range p.signals {
		if s.Signal == syscall.SIGKILL || i > 0 || p.killed {
			return s.at
		}
	}
	return time.Time{}
}

// login signs in as a person would, with the code pasted.
func (w *world) login(c call, s *stage) *proc {
	c.args = append([]string{"login", "--no-browser", "--paste"}, c.args...)
	c.stdin = w.sim.NewCode(clientID, userID, redirectURI) + "\n"
	return w.start(c, s)
}

// signIn begins a new login.
func (w *world) signIn() (problem string) {
	w.mu.Lock()
	w.requests, w.issued = nil, nil
	w.mu.Unlock()
	p := w.login(call{args: []string{"-v"}}, nil)
	if p.wait(); p.code != 0 {
		return fmt.Sprintf("login: exit %d\n%s", p.code, p.stderr.String())
	}
	w.signedIn = true
	return ""
}

func (w *world) record() string { return filepath.Join(w.machines[0].state, profileName) }

// found is a record that was read. That it is read here at all is because the
// questions to the simulator need the tokens.
type found struct {
	record.Record
	raw     []byte // all of it, unsealed
	machine int    // that keeps it for itself; -1 for none
}

// settled reports whether the record remembers nothing that went wrong.
func (r found) settled() bool {
	return r.SpentAt.IsZero() && r.LostAt.IsZero() && r.RetryAt.IsZero()
}

// refreshTokens are those that the record has.
func (r found) refreshTokens() (tokens []string) {
	for _, token := range []fault.Secret{r.Refresh, r.Previous} {
		if !token.IsZero() {
			tokens = append(tokens, token.Reveal())
		}
	}
	return tokens
}

func (r *found) decode() error {
	rec, err := record.Decode(r.raw)
	if err == nil {
		r.Record = *rec
	}
	return err
}

// recordStore is what the stores have in common.
type recordStore interface {
	Read(ctx context.Context, name string) ([]byte, error)
	Update(ctx context.Context, name string, change func(ctx context.Context, old []byte) ([]byte, error)) error
	Delete(ctx context.Context, name string) error
}

func sealed(raw recordStore, key *seal.Key) recordStore {
	if key == nil {
		return raw
	}
	return seal.New(raw, key, nil)
}

// records is the store as all machines see it.
func (w *world) records() recordStore {
	if w.pg != nil {
		return sealed(w.pg, w.key)
	}
	return sealed(tokenstore.NewFiles(w.machines[0].state, nil), w.key)
}

// readRecord reads the record that all machines see.
func (w *world) readRecord() (r found, err error) {
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	r.machine = -1
	if r.raw, err = w.records().Read(ctx, profileName); err == nil {
		err = r.decode()
	}
	return r, err
}

// readKept reads the records that machines keep for themselves until they bring
// them to the shared store, if they are later than what is there.
func (w *world) readKept(shared found) (kept []found, err error) {
	if w.pg == nil {
		return nil, nil
	}
	for i, m := range w.machines {
		k := found{machine: i}
		k.raw, err = sealed(tokenstore.NewFiles(m.state, nil), w.key).Read(context.Background(), spool.Name(profileName))
		switch {
		case errors.Is(err, fs.ErrNotExist):
			continue
		case err != nil:
			return nil, fmt.Errorf("kept by machine %d: %w", i, err)
		case !bytes.HasPrefix(k.raw, []byte("exactauth record ")):
			continue // a word that nothing is kept
		}
		if err := k.decode(); err != nil {
			return nil, fmt.Errorf("kept by machine %d: %w", i, err)
		}
		if k.Generation > shared.Generation {
			kept = append(kept, k)
		}
	}
	return kept, nil
}

// stepClock makes the record look as it does after the clocks of all machines
// were set by step. Only the server's date does not follow.
func (w *world) stepClock(step time.Duration) error {
	moment := regexp.MustCompile(`(?m)^(\w+_at) (.+)$`)
	return w.records().Update(context.Background(), profileName, func(_ context.Context, old []byte) (_ []byte, err error) {
		changed := moment.ReplaceAllFunc(old, func(line []byte) []byte {
			key, value, _ := strings.Cut(string(line), " ")
			t, parseErr := time.Parse(time.RFC3339Nano, value)
			err = errors.Join(err, parseErr)
			return []byte(key + " " + t.Add(-step).Format(time.RFC3339Nano))
		})
		return changed, err
	})
}

// spoilDisk makes a machine's state directory unusable, as far as this world can.
// What it cannot do is left to the limit of the file size that goes with it.
func (w *world) spoilDisk(f diskFault) (noRoom bool, err error) {
	m := w.machines[f.machine]
	left, _ := filepath.Glob(filepath.Join(m.state, "*.tmp")) // room that a process that was killed has left
	switch {
	case f.kind == diskReadOnly && m.mounted:
		return true, remount(m.fs, true)
	case f.kind == diskReadOnly && os.Geteuid() != 0:
		return true, os.Chmod(m.state, 0o500)
	case f.kind == diskFull && m.mounted:
		ballast, err := os.Create(filepath.Join(m.fs, "ballast"))
		if err != nil {
			return false, err
		}
		defer ballast.Close()
		page, size := make([]byte, 4096), int64(0)
		for ; ; size += int64(len(page)) {
			if _, err := ballast.Write(page); err != nil {
				break // full
			}
		}
		return len(left) == 0 && f.spare < 4, ballast.Truncate(max(0, size-int64(f.spare*len(page))))
	case f.kind == diskNoInodes && m.mounted:
		var made []string
		for i := 0; ; i++ {
			name := filepath.Join(m.fs, "inode"+strconv.Itoa(i))
			file, err := os.Create(name)
			if err != nil {
				break // none left
			}
			file.Close()
			made = append(made, name)
		}
		for _, name := range made[max(0, len(made)-f.spare):] {
			os.Remove(name)
		}
		return len(left) == 0 && f.spare == 0, nil
	}
	return false, nil
}

func (w *world) healDisk() {
	for _, m := range w.machines {
		if m.mounted {
			_ = remount(m.fs, false)
			os.Remove(filepath.Join(m.fs, "ballast"))
			inodes, _ := filepath.Glob(filepath.Join(m.fs, "inode*"))
			for _, name := range inodes {
				os.Remove(name)
			}
		} else if os.Geteuid() != 0 {
			_ = os.Chmod(m.state, 0o700)
		}
	}
}

// await waits until the token's life is at the share at which a round begins.
func (w *world) await(ctx context.Context, share float64) {
	if r, err := w.readRecord(); err == nil && r.SignedIn() {
		sleep(ctx, time.Until(r.RequestedAt.Add(time.Duration(share*float64(life)))))
	}
}
