//go:build linux || windows

package main

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/exactauth/exactauth/internal/exactsim"
	"github.com/exactauth/exactauth/internal/record"
	"github.com/exactauth/exactauth/internal/tokenstore"
	"github.com/exactauth/exactauth/internal/tokenstore/seal"
	"github.com/exactauth/exactauth/tools/program"
)

const (
	profileName = "torture"
	tokenPath   = "/api/oauth2/token"
	mePath      = "/api/v1/current/Me"
	elsewhere   = "elsewhere" // the remote address of a sign-in that is not exactauth's

	// patience is --timeout where a round does not set another, and grace what a call
	// may take beyond it: a request that was sent is completed.
	patience = 20 * time.Second
	grace    = 60 * time.Second
)

// traits are what a server may be like where Exact's behaviour is unknown, and where the
// record is.
type traits struct {
	strict        bool // a used refresh token is dead at once
	tooEarlyFirst bool // "too early" comes before "old refresh token"
	small         bool // the record is on a small tmpfs, otherwise where temporary files are
	older         bool // "too early" is a 401, expires_in a number; TLS to the database
}

// world is one login: a simulator, one or two machines, and the processes on them.
type world struct {
	traits
	options
	sim    *exactsim.Sim
	addr   string
	server *http.Server

	base     string // the directory of everything below
	machines []*machine
	sealing  string    // EXACTAUTH_SEAL
	key      *seal.Key // nil without a seal
	place              // in the database, if machines share the login

	stage    atomic.Pointer[stage]
	inflight atomic.Int64 // token requests

	mu       sync.Mutex // guards the next two
	running  map[*process]bool
	requests []*request // since the sign-in, in the order of their replies

	signedIn bool
}

// machine is where processes run: a state directory on a file system.
type machine struct {
	fs      string
	mounted bool // fs is a small tmpfs
	state   string
}

// request is a token request as seen on the wire, with the simulator's event.
type request struct {
	exactsim.Event
	arrived, replied time.Time
	sender           *process  // nil if it had ended before the request was looked at
	used             string    // the refresh token
	whole            bool      // the reply went out as the simulator meant it
	access, refresh  string    // the tokens in the reply
	from, until      time.Time // when the simulator accepts access
}

// endAt ends the access token of q if later is a sign-in after it.
func (q *request) endAt(later *request) {
	if later.Exchanged() && q.from.Before(later.from) && q.until.After(later.from) {
		q.until = later.from
	}
}

// outsider sends the requests of a sign-in elsewhere.
var outsider = new(process)

func newWorld(o options, i int, db *database) (*world, error) {
	sort := i
	if o.repeat >= 0 {
		sort = o.repeat
	}
	w := &world{traits: traits{strict: sort%2 == 0, tooEarlyFirst: sort/2%2 == 1, small: sort/4%2 == 1, older: sort/8%2 == 1}, options: o, base: filepath.Join(o.dir, "world"+strconv.Itoa(i)),
		sealing: o.seal, running: map[*process]bool{}}
	if err := os.MkdirAll(filepath.Join(w.base, "config"), 0o700); err != nil {
		return nil, err
	}
	n := 1
	if o.shared() {
		n = machines
		w.place = place{db: db, role: role(i), tls: w.older}
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
		ErrorLimit: -1, MinuteLimit: -1, DailyLimit: -1, // an hour's errors come in a minute here
		Observe: func(r *http.Request, e exactsim.Event) {
			if q, ok := r.Context().Value(requestKey{}).(*request); ok {
				q.Event = e
			}
		}}
	if !w.strict {
		c.Rotation = exactsim.Grace
	}
	w.sim = exactsim.New(c)
	w.sim.AddCast(program.RedirectURI)
	w.addr = "127.0.0.1:0"
	if err := w.listen(); err != nil {
		return nil, err
	}
	setup := w.start(call{args: program.Setup("http://" + w.addr)}, nil)
	if setup.wait(); setup.Code != 0 {
		return nil, fmt.Errorf("setup: exit %d: %s", setup.Code, &setup.Err)
	}
	return w, nil
}

func (w *world) close() {
	w.server.Close()
	w.place.close()
	for _, m := range w.machines {
		if m.mounted {
			unmount(m.fs)
		}
	}
}

// listen serves at the world's address, the same one after a pause.
func (w *world) listen() error {
	var l net.Listener
	var err error
	for range 100 {
		// While the port was free a connection may have taken it for its own end.
		if l, err = net.Listen("tcp", w.addr); err == nil {
			w.addr = l.Addr().String()
			w.server = &http.Server{Handler: w}
			go w.server.Serve(l) // until Close
			return nil
		}
		time.Sleep(100 * time.Millisecond)
	}
	return err
}

// requestKey is the key of a *request in the context of what the simulator serves.
type requestKey struct{}

// ServeHTTP is between the wire and the simulator. It notes each token request and sets
// off what the round does at its points.
func (w *world) ServeHTTP(rw http.ResponseWriter, r *http.Request) {
	if r.URL.Path != tokenPath {
		w.sim.ServeHTTP(rw, r)
		return
	}
	w.inflight.Add(1)
	defer w.inflight.Add(-1)
	body, _ := io.ReadAll(r.Body) // a part, if the sender was killed
	form, _ := url.ParseQuery(string(body))
	q := &request{arrived: time.Now(), sender: w.sender(r.RemoteAddr), used: form.Get("refresh_token")}
	s := w.stage.Load()
	if q.sender == outsider {
		s = nil
	}
	if s != nil {
		s.reach(onRequest)
	}
	sent := &copied{ResponseWriter: rw}
	defer func() { // also if the simulator panics, because the reply must not be whole
		q.replied = time.Now()
		w.note(q, sent.body.Bytes())
		if s != nil {
			s.reach(onReply)
		}
	}()
	r = r.WithContext(context.WithValue(r.Context(), requestKey{}, q))
	r.Body = io.NopCloser(bytes.NewReader(body))
	w.sim.ServeHTTP(sent, r)
	q.whole = http.NewResponseController(rw).Flush() == nil
}

func (w *world) sender(remote string) *process {
	if remote == elsewhere {
		return outsider
	}
	_, text, _ := strings.Cut(remote, ":")
	port, _ := strconv.Atoi(text)
	w.mu.Lock()
	defer w.mu.Unlock()
	for p, runs := range w.running {
		if runs && hasPort(p.Cmd.Process.Pid, port) {
			return p
		}
	}
	return nil
}

// note keeps what became of a request.
func (w *world) note(q *request, reply []byte) {
	var tokens struct {
		Access  string `json:"access_token"`
		Refresh string `json:"refresh_token"`
	}
	_ = json.Unmarshal(reply, &tokens) // a spoilt reply has none
	q.access, q.refresh = tokens.Access, tokens.Refresh
	w.mu.Lock()
	defer w.mu.Unlock()
	w.requests = append(w.requests, q)
	if q.Outcome == exactsim.Issued { // the newest grant may be a later request's by now
		q.from, q.until = q.AccessExpires.Add(-life), q.AccessExpires
		for _, other := range w.requests { // which may have been answered later
			other.endAt(q)
			q.endAt(other)
		}
	}
}

// quiesce waits until every request that has arrived is noted: a client may go on before
// the handler that answered it does.
func (w *world) quiesce() {
	for w.inflight.Load() > 0 {
		time.Sleep(100 * time.Microsecond)
	}
}

func (w *world) since(x time.Time) []*request {
	w.mu.Lock()
	defer w.mu.Unlock()
	return slices.DeleteFunc(slices.Clone(w.requests), func(q *request) bool { return !q.arrived.After(x) })
}

// copied keeps a copy of the reply.
type copied struct {
	http.ResponseWriter
	body bytes.Buffer
}

func (c *copied) Write(b []byte) (int, error) {
	c.body.Write(b)
	return c.ResponseWriter.Write(b)
}

func (c *copied) Flush() { _ = http.NewResponseController(c.ResponseWriter).Flush() }

// signInElsewhere signs the same user in to the same app without exactauth, which ends
// this world's login.
func (w *world) signInElsewhere() error {
	form := url.Values{"grant_type": {"authorization_code"}, "client_id": {exactsim.ClientID}, "client_secret": {exactsim.ClientSecret},
		"redirect_uri": {program.RedirectURI}, "code": {w.sim.NewCode(exactsim.ClientID, exactsim.AnnaID, program.RedirectURI)}}
	r := httptest.NewRequest(http.MethodPost, tokenPath, strings.NewReader(form.Encode()))
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	r.RemoteAddr = elsewhere
	rec := httptest.NewRecorder()
	w.ServeHTTP(rec, r)
	if rec.Code != http.StatusOK {
		return fmt.Errorf("status %d", rec.Code)
	}
	return nil
}

// me calls the API with a token, as a script does. That ends the previous refresh token
// where it outlives its use.
func (w *world) me(token string) int {
	r := httptest.NewRequest(http.MethodGet, mePath, nil)
	r.Header.Set("Authorization", "Bearer "+token)
	rec := httptest.NewRecorder()
	w.sim.ServeHTTP(rec, r)
	return rec.Code
}

type process struct {
	call
	*program.Process
	started, ended time.Time
	done           chan struct{}
	struck         sync.WaitGroup
	signals        []sentSignal
}

type sentSignal struct {
	syscall.Signal
	at time.Time
}

// start starts a process, and sends its blows when they are due.
func (w *world) start(c call, s *stage) *process {
	if c.login { // as a person who pastes the code
		c.args = []string{"login", "--no-browser", "--paste"}
	}
	limit := cmp.Or(c.timeout, patience)
	args, flags := c.args, []string{"-v", "--timeout", limit.String()}
	env := slices.DeleteFunc(os.Environ(), func(kv string) bool { return strings.HasPrefix(kv, "EXACTAUTH_") })
	if w.front && args[0] == "token" {
		env = append(env, flagsEnv+"="+strings.Join(flags, " ")) // for the whole program behind it
	} else {
		args = append(slices.Clone(args), flags...)
	}
	args = append([]string{w.binary}, args...)
	if c.fileSize > 0 {
		args = limitFileSize(c.fileSize, args)
	}
	env = append(env, "EXACTAUTH_CONFIG_DIR="+filepath.Join(w.base, "config"), "EXACTAUTH_STATE_DIR="+w.machines[c.machine].state,
		"EXACTAUTH_PROFILE="+profileName)
	if w.seal != "none" {
		env = append(env, "EXACTAUTH_SEAL="+w.sealing)
	}
	if w.shared() {
		env = append(env, "EXACTAUTH_STORE="+w.address, "PGPASSFILE="+w.db.passFile)
	}
	p := &process{call: c, done: make(chan struct{}),
		Process: program.Command(limit+grace, env, program.Input(w.sim, c.args[0]), args...)}
	w.mu.Lock() // the handler of its first request finds it
	p.started = time.Now()
	err := p.Start()
	w.running[p] = err == nil
	w.mu.Unlock()
	go func() {
		defer close(p.done)
		if err == nil {
			p.End()
		} else {
			fmt.Fprintf(&p.Err, "torture: %v\n", err)
			p.Code = -1
		}
		p.ended = time.Now()
		w.mu.Lock()
		delete(w.running, p)
		w.mu.Unlock()
	}()
	p.struck.Go(func() {
		for _, b := range p.blows {
			if !s.wait(b.moment, p.done) {
				return
			}
			at := time.Now()
			if strike(p.Cmd.Process, b.signal) == nil {
				p.signals = append(p.signals, sentSignal{b.signal, at})
			}
		}
	})
	return p
}

// wait waits for the end. Before that the result must not be looked at.
func (p *process) wait() {
	<-p.done
	p.struck.Wait()
}

// endedAtOnce reports whether the process had no chance to finish. A signal that comes
// before the program handles it is one such.
func (p *process) endedAtOnce() bool {
	return len(p.signals) > 1 || len(p.signals) == 1 && (p.Killed || p.signals[0].Signal == syscall.SIGKILL)
}

func (p *process) command() string { return strings.Join(p.args, " ") }

func (w *world) signIn() error {
	w.mu.Lock()
	w.requests = nil
	w.mu.Unlock()
	p := w.start(call{login: true}, nil)
	p.wait()
	// On a slow machine the new token, which lives for a second, can be dead before the simulator is asked whose it is.
	// A person does what the hint says then.
	asks := func() bool {
		return p.Code == 5 || p.Code == 4 && strings.Contains(p.Err.String(), "do not sign in again; ask for a token")
	}
	for end := time.Now().Add(recovery); asks() && time.Now().Before(end); {
		p = w.start(call{args: []string{"token"}}, nil)
		p.wait()
	}
	if p.Code != 0 {
		return fmt.Errorf("exit %d: %s", p.Code, p.Err.String())
	}
	w.signedIn = true
	return nil
}

type state struct {
	*record.Record
	raw     []byte // unsealed
	machine int    // whose spool has it; -1 for the store itself
}

// settled reports whether the record remembers nothing that went wrong.
func (s state) settled() bool { return s.SpentAt.IsZero() && s.LostAt.IsZero() && s.RetryAt.IsZero() }

// refreshTokens are the refresh tokens in the record, the one to be used next first.
func (s state) refreshTokens() (tokens []string) {
	if s.Record != nil && s.SignedIn() {
		tokens = append(tokens, s.Refresh.Reveal())
		if !s.Previous.IsZero() {
			tokens = append(tokens, s.Previous.Reveal())
		}
	}
	return tokens
}

func (w *world) sealed(inner record.Store) record.Store {
	if w.key == nil {
		return inner
	}
	return seal.New(inner, w.key, nil)
}

func (w *world) local(m *machine) record.Store { return w.sealed(tokenstore.NewFiles(m.state, nil)) }

// store is the store as all machines see it.
func (w *world) store() record.Store {
	if w.shared() {
		return w.sealed(w.pg)
	}
	return w.local(w.machines[0])
}
