//go:build linux && (amd64 || arm64)

package main

import (
	"bytes"
	"context"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/exactauth/exactauth/internal/exactsim"
)

const (
	life        = time.Minute // of an access token
	redirectURI = "https://exactauth.test:8484/callback"

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
	ends    bool          // whether a call that succeeds ends the login
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
		{"token", whole, token, signedIn, expired, false},
		{"token, front", front, token, signedIn, expired, false},
		{"token, live", front, token, signedIn, live, false},
		{"login", whole, login, nil, 0, false},
		{"login again", whole, login, signedIn, live, false},
		{"setup --seal", whole, seal, signedIn, live, false},
		{"setup --seal none", whole, []string{"setup", "--seal", "none"}, [][]string{login, seal}, 0, false},
		{"logout", whole, []string{"logout"}, signedIn, live, true},
		{"logout --forget", whole, []string{"logout", "--forget"}, signedIn, live, true},
	}
}

// fault is what happens at a system call.
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

// trial is one call of the program, with a fault at the n-th system call of interest, on
// a login and a simulator of its own.
type trial struct {
	scenario
	programs string // their directory
	fault    fault
	at       call // what n was without a fault
	n        int  // counts from 0; negative for a trial without a fault

	dir    string
	sim    *exactsim.Sim
	server *httptest.Server

	mu       sync.Mutex // guards the next four
	calls    []call     // of interest, that the program made
	struck   *call      // the one that the fault struck first
	requests []request  // of the call, to the token endpoint

	observing atomic.Bool
	result    outcome   // of the call
	after     []outcome // of the next calls
	stored    string    // a file that had the refresh token after the call
	wrong     []string
	explained string
}

// request is a request to the token endpoint.
type request struct {
	issued bool
	struck bool // the fault had struck before
}

// outcome is how a process ended.
type outcome struct {
	args           []string
	code           int // as a shell has it
	hung           bool
	stdout, stderr string
}

func (o outcome) String() string {
	return fmt.Sprintf("%s: exit %d\n%s", strings.Join(o.args, " "), o.code, o.stderr)
}

// play prepares the login, calls the program, and judges.
func (t *trial) play(dir string) error {
	var err error
	if t.dir, err = os.MkdirTemp(dir, "trial"); err != nil {
		return err
	}
	defer os.RemoveAll(t.dir)
	for _, name := range []string{"config", "state", "tmp", "run", "home"} {
		if err := os.Mkdir(filepath.Join(t.dir, name), 0o700); err != nil {
			return err
		}
	}
	t.sim = exactsim.New(exactsim.Config{TokenLife: life, Observe: t.observe})
	t.sim.AddCast(redirectURI)
	t.server = httptest.NewUnstartedServer(t.sim)
	var connections sync.WaitGroup // that the server has accepted and not closed
	t.server.Config.ConnState = func(_ net.Conn, s http.ConnState) {
		switch s {
		case http.StateNew:
			connections.Add(1)
		case http.StateClosed:
			connections.Done()
		}
	}
	t.server.Start()
	defer t.server.Close()

	prepare := append([][]string{{"setup", "--base-url", t.server.URL, "--client-id", exactsim.ClientID,
		"--redirect-uri", redirectURI, "--listen", "none", "--client-secret-file", "-"}}, t.before...)
	for _, args := range prepare {
		o, err := t.run(args, false)
		if err != nil {
			return err
		} else if o.code != 0 {
			return fmt.Errorf("before %s: %s", t.name, o)
		}
	}
	if err := t.passes(t.age); err != nil {
		return err
	}
	t.observing.Store(true)
	if t.result, err = t.run(t.args, true); err != nil {
		return err
	}
	// What a killed process sent is still carried out: a later connection is accepted after its.
	client := t.server.Client()
	if last, err := client.Get(t.server.URL); err == nil {
		last.Body.Close()
	}
	client.CloseIdleConnections()
	connections.Wait()
	t.observing.Store(false)
	t.judge()
	return nil
}

// observe notes the requests of the call.
func (t *trial) observe(_ *http.Request, e exactsim.Event) {
	if e.GrantType != "" && t.observing.Load() {
		t.mu.Lock()
		defer t.mu.Unlock()
		t.requests = append(t.requests, request{e.Outcome == exactsim.Issued, t.struck != nil})
	}
}

// decide counts a system call, and has the fault strike it.
func (t *trial) decide(n *notification) verdict {
	c, ok := callOf(n, t.dir)
	if !ok {
		return verdict{}
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	t.calls = append(t.calls, c)
	switch {
	case t.n < 0 || len(t.calls) <= t.n:
		return verdict{}
	case t.struck == nil && (t.fault.errno == 0 || c.name == t.at.name && c.place() == t.at.place()):
		t.struck = &c
	case t.struck == nil || !t.fault.lastsFor(*t.struck, c):
		return verdict{}
	}
	return verdict{t.fault.errno, t.fault.errno == 0}
}

// lastsFor reports whether the fault that struck one call strikes a later one too. Out
// of descriptors or locks a process is in every directory; a disk fails in one.
func (f fault) lastsFor(struck, later call) bool {
	same := struck.place() == later.place() || (f.errno == unix.EMFILE || f.errno == unix.ENOLCK) && struck.stored() && later.stored()
	return f.stays && struck.name == later.name && same
}

// run runs the program, with the fault if struck is true.
func (t *trial) run(args []string, struck bool) (outcome, error) {
	o := outcome{args: args}
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	cmd := exec.CommandContext(ctx, filepath.Join(t.programs, t.program))
	for _, arg := range args {
		cmd.Args = append(cmd.Args, strings.ReplaceAll(arg, "KEY", filepath.Join(t.dir, "home", "key")))
	}
	switch args[0] {
	case "setup":
		cmd.Stdin = strings.NewReader(exactsim.ClientSecret + "\n")
	case "login": // as a person who pastes the code
		cmd.Stdin = strings.NewReader(t.sim.NewCode(exactsim.ClientID, exactsim.AnnaID, redirectURI) + "\n")
	}
	cmd.Env = []string{"HOME=" + filepath.Join(t.dir, "home"), "TMPDIR=" + filepath.Join(t.dir, "tmp"), "XDG_RUNTIME_DIR=" + filepath.Join(t.dir, "run"),
		"EXACTAUTH_CONFIG_DIR=" + filepath.Join(t.dir, "config"), "EXACTAUTH_STATE_DIR=" + filepath.Join(t.dir, "state"),
		"GODEBUG=asyncpreemptoff=1"} // or the scheduler's signals would interrupt calls before they are reported
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	cmd.Cancel = func() error { // a Go program prints where it hangs
		o.hung = true
		return cmd.Process.Signal(syscall.SIGQUIT)
	}
	cmd.WaitDelay = 5 * time.Second
	var err error
	if struck {
		err = runSupervised(cmd, t.decide)
	} else if err = cmd.Run(); cmd.ProcessState != nil {
		err = nil // it ran
	}
	o.stdout, o.stderr = stdout.String(), stderr.String()
	if err != nil {
		return o, fmt.Errorf("%w: %s", err, o.stderr)
	}
	status, _ := cmd.ProcessState.Sys().(syscall.WaitStatus)
	if o.code = status.ExitStatus(); status.Signaled() {
		o.code = 128 + int(status.Signal())
	}
	return o, nil
}

// oursLine is a line of a record with a time of this machine's clock.
var oursLine = regexp.MustCompile(`(?m)^((?:pending_)?[a-z]+_at) (\S+)$`)

// passes lets time pass for the simulator, and in the records for the program.
func (t *trial) passes(d time.Duration) error {
	t.sim.Advance(d)
	return t.files(func(path string, text []byte) error {
		earlier := oursLine.ReplaceAllFunc(text, func(line []byte) []byte {
			part := oursLine.FindSubmatch(line)
			at, err := time.Parse(time.RFC3339Nano, string(part[2]))
			if err != nil {
				return line
			}
			return fmt.Appendf(nil, "%s %s", part[1], at.Add(-d).Format(time.RFC3339Nano))
		})
		if bytes.Equal(earlier, text) {
			return nil
		}
		return os.WriteFile(path, earlier, 0o600)
	})
}

// files calls f with each file that the program has stored.
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
