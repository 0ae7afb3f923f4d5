//go:build linux && (amd64 || arm64)

package main

import (
	"bytes"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"

	"github.com/exactauth/exactauth/internal/exactsim"
	"github.com/exactauth/exactauth/internal/record"
	"github.com/exactauth/exactauth/tools/program"
)

const (
	life = time.Minute // of an access token

	// patience is when a call counts as one that hangs. A lock that the program itself
	// holds is waited for longer.
	patience = 30 * time.Second
)

// scenario is a command that system calls fail in, and the state before it.
type scenario struct {
	name    string
	program string
	args    []string
	before  [][]string    // calls after setup
	age     time.Duration // of what the last of them stored
}

// The two programs that packages install.
const (
	whole = "exactauth-full"
	front = "exactauth"
)

func scenarios() []scenario {
	token, login := []string{"token"}, []string{"login", "--paste", "--no-browser"}
	seal := []string{"setup", "--seal", "age:KEY"} // KEY becomes a path
	signedIn := [][]string{login}
	const live, expired = 10 * time.Second, life + 10*time.Second
	return []scenario{
		{"token", whole, token, signedIn, expired},
		{"token, front", front, token, signedIn, expired},
		{"token, live", front, token, signedIn, live},
		{"login", whole, login, nil, 0},
		{"login again", whole, login, signedIn, live},
		{"setup --seal", whole, seal, signedIn, live},
		{"setup --seal none", whole, []string{"setup", "--seal", "none"}, [][]string{login, seal}, 0},
		{"logout", whole, []string{"logout"}, signedIn, live},
		{"logout --forget", whole, []string{"logout", "--forget"}, signedIn, live},
	}
}

type fault struct {
	errno unix.Errno // 0 kills the process before the call is made
	stays bool       // later calls of the kind fail, too
}

func (f fault) String() string {
	switch {
	case f.errno == 0:
		return "SIGKILL"
	case f.stays:
		return unix.ErrnoName(f.errno) + " from then on"
	}
	return unix.ErrnoName(f.errno)
}

func faults(c call) []fault {
	all := []fault{{}}
	for i, errno := range c.errnos {
		if c.on == "socket" && c.name == "write" {
			errno = []unix.Errno{unix.ECONNRESET, unix.EPIPE}[i]
		}
		all = append(all, fault{errno: errno})
		if errno != unix.EINTR { // which a signal causes, once
			all = append(all, fault{errno: errno, stays: true})
		}
	}
	return all
}

// trial is one call of the program, with a fault at one of its system calls, on a login and
// a simulator of its own.
type trial struct {
	scenario
	programs string // their directory
	fault    fault
	at       call // the system call that it strikes; empty without a fault
	nth      int  // of the calls of that kind in that place, from 0

	dir  string
	sim  *exactsim.Sim
	open atomic.Int64 // connections to the simulator

	calls        []call // of interest, that the program made
	seen         int    // of them, like at
	struck       *call  // nil if none was
	sent, issued int64  // requests to the token endpoint, and those that were granted

	result    *program.Process   // of the call
	after     []*program.Process // the next calls
	whole     string             // a file that had the live refresh token after the call
	wrong     []string
	explained string
}

func (t *trial) play(dir string) (err error) {
	if t.dir, err = os.MkdirTemp(dir, "trial"); err != nil {
		return err
	}
	defer os.RemoveAll(t.dir)
	for _, name := range []string{"config", "state", "tmp", "run", "home"} {
		if err := os.Mkdir(filepath.Join(t.dir, name), 0o700); err != nil {
			return err
		}
	}
	var sent, issued atomic.Int64
	t.sim = exactsim.New(exactsim.Config{TokenLife: life, Observe: func(_ *http.Request, e exactsim.Event) {
		if e.GrantType != "" {
			sent.Add(1)
			if e.Outcome == exactsim.Issued {
				issued.Add(1)
			}
		}
	}})
	t.sim.AddCast(program.RedirectURI)
	server := httptest.NewUnstartedServer(t.sim)
	server.Config.ConnState = func(_ net.Conn, s http.ConnState) {
		switch s {
		case http.StateNew:
			t.open.Add(1)
		case http.StateClosed:
			t.open.Add(-1)
		}
	}
	server.Start()
	defer server.Close()

	for _, args := range append([][]string{program.Setup(server.URL)}, t.before...) {
		p, err := t.run(args, false)
		if err != nil {
			return err
		} else if p.Code != 0 {
			return fmt.Errorf("before %s: %s", t.name, shown(p))
		}
	}
	if err := t.passes(t.age); err != nil {
		return err
	}
	sent.Store(0)
	issued.Store(0)
	if t.result, err = t.run(t.args, true); err != nil {
		return err
	}
	// What a killed process sent is still carried out. A later connection is accepted after its.
	last, err := http.Post(server.URL, "", nil)
	if err != nil {
		return err
	}
	_, _ = io.Copy(io.Discard, last.Body)
	last.Body.Close()
	http.DefaultClient.CloseIdleConnections()
	for t.open.Load() > 0 {
		time.Sleep(100 * time.Microsecond)
	}
	t.sent, t.issued = sent.Load(), issued.Load()
	t.judge()
	return nil
}

// decide counts a system call, and has the fault strike it.
func (t *trial) decide(n *notification) (errno unix.Errno, kill bool) {
	c, ok := callOf(n, t.dir)
	if !ok {
		return 0, false
	}
	t.calls = append(t.calls, c)
	if c.alike(t.at) {
		t.seen++
	}
	switch {
	case t.struck != nil && t.fault.lastsFor(*t.struck, c):
	case t.struck == nil && c.alike(t.at) && t.seen > t.nth:
		t.struck = &c
	default:
		return 0, false
	}
	return t.fault.errno, t.fault.errno == 0
}

// lastsFor reports whether the fault that struck one call strikes a later one too. Out
// of descriptors or locks a process is in every directory; a disk fails in one.
func (f fault) lastsFor(struck, later call) bool {
	everywhere := (f.errno == unix.EMFILE || f.errno == unix.ENOLCK) && struck.stored() && later.stored()
	return f.stays && (later.alike(struck) || everywhere && later.name == struck.name)
}

// run runs the program, with the fault if struck is true.
func (t *trial) run(args []string, struck bool) (p *program.Process, err error) {
	full := []string{filepath.Join(t.programs, t.program)}
	for _, arg := range args {
		full = append(full, strings.ReplaceAll(arg, "KEY", filepath.Join(t.dir, "home", "key")))
	}
	env := []string{"GODEBUG=asyncpreemptoff=1"} // or the scheduler's signals would interrupt calls before they are reported
	for name, dir := range map[string]string{"HOME": "home", "TMPDIR": "tmp", "XDG_RUNTIME_DIR": "run", "EXACTAUTH_CONFIG_DIR": "config", "EXACTAUTH_STATE_DIR": "state"} {
		env = append(env, name+"="+filepath.Join(t.dir, dir))
	}
	p = program.Command(patience, env, program.Input(t.sim, args[0]), full...)
	if struck {
		err = runSupervised(p, t.decide)
	} else if err = p.Start(); err == nil {
		p.End()
	}
	p.Args = append(full[:1:1], args...) // as a message shows it
	return p, err
}

// passes lets time pass for the simulator, and in the records for the program.
func (t *trial) passes(d time.Duration) error {
	t.sim.Advance(d)
	return t.files(func(path string, text []byte) error {
		r, err := record.Decode(text)
		if err != nil {
			return nil // another file
		}
		program.Age(r, d)
		earlier, err := r.Encode()
		if err != nil || bytes.Equal(earlier, text) {
			return err
		}
		return os.WriteFile(path, earlier, 0o600)
	})
}

func (t *trial) files(f func(path string, content []byte) error) error {
	return filepath.WalkDir(t.dir, func(path string, d os.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() {
			return err
		}
		content, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		return f(path, content)
	})
}
