// Package pgtest gives a test a PostgreSQL of its own: a new cluster in a directory of
// its own, on a free port of the loopback address and on a Unix socket, with passwords,
// TLS and syncing to disk as in production. A test can stop, crash and start it; it ends
// with the test.
//
// [Start] takes about a second. Tests that can share a cluster are subtests of one test
// that starts it, each with a database and roles of its own:
//
//	func TestPostgres(t *testing.T) {
//		c := pgtest.Start(t)
//		t.Run("a", func(t *testing.T) {
//			role := c.NewRole(t)
//			database := c.NewDatabase(t, role.Name)
//			url := c.URL(role.Name, database) + "?sslmode=verify-full&sslrootcert=" + c.CAFile()
//			...
//		})
//	}
//
// A failing test shows the server's log.
package pgtest

import (
	"cmp"
	"context"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math/big"
	"net"
	"net/http/httptest"
	"net/url"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
)

// Superuser is the role that may do everything. Its password is [Cluster.Password].
const Superuser = "postgres"

// Mode is a way in which a cluster ends.
type Mode string

const (
	// Fast rolls back open transactions, disconnects the clients and closes the files in
	// order.
	Fast Mode = "fast"
	// Immediate has every process quit at once, so that the next start recovers from the
	// log. The data directory no longer changes once [Cluster.Stop] has returned.
	Immediate Mode = "immediate"
	// Crash kills the main process, as the system does when memory runs out. The sessions
	// notice a moment after [Cluster.Stop] has returned, or when their statement has
	// ended; the next start waits for them.
	Crash Mode = "crash"
)

// patience is how long a cluster may take to start, to stop, or to run one call of
// [Cluster.SuperExec].
const patience = time.Minute

// debian has PostgreSQL's programs, in a directory for each version.
const debian = "/usr/lib/postgresql"

// ErrUnavailable is wrapped where PostgreSQL is not installed or cannot run.
var ErrUnavailable = errors.New("there is no PostgreSQL to run")

// Cluster is a PostgreSQL server with its databases. Start, Stop and Close must not be
// called at the same time as another method.
type Cluster struct {
	program
	dir      string // of all files
	port     string
	password string
	guard    *exec.Cmd
	unguard  io.Closer // has the guard stop the server and end
	running  bool
	crashed  bool // since the last start

	mu    sync.Mutex
	roles []Role // beside the superuser
}

// Role is a name to sign in with, and its password.
type Role struct{ Name, Password string }

// program is how PostgreSQL's programs are run.
type program struct {
	bin string   // their directory
	as  []string // for root: the command that runs them as another account
	uid int      // that account, -1 if this one runs them
}

// available finds the newest PostgreSQL below a directory, where Debian installs it on no
// PATH, or else one on the PATH.
func available(below string) (p program, err error) {
	if runtime.GOOS == "windows" {
		return p, fmt.Errorf("%w: its tests use Unix's signals", ErrUnavailable)
	}
	found, err := filepath.Glob(filepath.Join(below, "*", "bin", "initdb"))
	if err != nil {
		return p, err
	}
	version := func(path string) int {
		n, _ := strconv.Atoi(filepath.Base(filepath.Dir(filepath.Dir(path))))
		return n
	}
	slices.SortFunc(found, func(a, b string) int { return cmp.Compare(version(b), version(a)) })
	if path, err := exec.LookPath("initdb"); err == nil {
		found = append(found, path)
	}
	i := slices.IndexFunc(found, func(path string) bool {
		_, err := os.Stat(filepath.Join(filepath.Dir(path), "postgres"))
		return err == nil
	})
	if i < 0 {
		return p, fmt.Errorf("%w: no initdb with postgres beside it, neither in %s/*/bin nor on the PATH", ErrUnavailable, below)
	}
	p = program{bin: filepath.Dir(found[i]), uid: -1}
	if os.Geteuid() != 0 {
		return p, nil
	}
	// PostgreSQL refuses to run as root.
	for _, name := range []string{"postgres", "nobody"} {
		u, err := user.Lookup(name)
		if err != nil {
			continue
		}
		p.as = []string{"setpriv", "--reuid=" + u.Uid, "--regid=" + u.Gid, "--clear-groups"}
		if p.uid, err = strconv.Atoi(u.Uid); err == nil {
			_, err = exec.LookPath(p.as[0])
		}
		if err != nil {
			return p, fmt.Errorf("%w: it does not run as root: %w", ErrUnavailable, err)
		}
		return p, nil
	}
	return p, fmt.Errorf("%w: it does not run as root, and there is neither an account postgres nor nobody", ErrUnavailable)
}

// Need skips the test where [Start] would.
func Need(tb testing.TB) {
	tb.Helper()
	if _, err := available(debian); err != nil {
		unavailable(tb, err)
	}
}

// unavailable skips the test, or fails it if EXACTAUTH_TEST_REQUIRE has "postgres" in its
// list.
func unavailable(tb testing.TB, err error) {
	tb.Helper()
	if slices.Contains(strings.Split(os.Getenv("EXACTAUTH_TEST_REQUIRE"), ","), "postgres") {
		tb.Fatalf("EXACTAUTH_TEST_REQUIRE demands PostgreSQL: %v", err)
	}
	tb.Skipf("needs PostgreSQL: %v", err)
}

// Start makes a cluster and starts it. It skips the test where there is no PostgreSQL,
// unless EXACTAUTH_TEST_REQUIRE has "postgres" in its list. As root it runs the server as
// postgres or nobody, who must be able to enter [os.TempDir].
//
// When tb ends, the cluster stops and its files are removed. It also stops when the test
// binary is killed, but then its files remain.
func Start(tb testing.TB) *Cluster {
	tb.Helper()
	c, err := New("")
	if errors.Is(err, ErrUnavailable) {
		unavailable(tb, err)
	} else if err != nil {
		tb.Fatalf("make a PostgreSQL cluster: %v", err)
	}
	tb.Cleanup(func() {
		if tb.Failed() {
			tb.Logf("PostgreSQL's log:\n%s", c.log())
		}
		if err := c.Close(); err != nil {
			tb.Error(err)
		}
	})
	return c
}

// New makes a cluster and starts it, for a program that is no test: its files are in a
// new directory in dir, or in [os.TempDir] if dir is empty. The caller must call
// [Cluster.Close].
func New(dir string) (_ *Cluster, err error) {
	program, err := available(debian)
	if err != nil {
		return nil, err
	}
	c := &Cluster{program: program, password: rand.Text()}
	// Not in a test's directory: another account must enter it, and the path of a socket is short.
	if c.dir, err = os.MkdirTemp(dir, "exactauth-postgres-"); err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, c.Close())
		}
	}()
	passwordFile := c.path("password")
	err = errors.Join(os.WriteFile(passwordFile, []byte(c.password), 0o600), certify(c.CAFile(), c.path("server.key")))
	for _, name := range []string{c.dir, passwordFile, c.path("server.key")} {
		if err == nil && c.uid >= 0 {
			err = os.Chown(name, c.uid, -1)
		}
	}
	if err == nil {
		err = os.Chmod(c.dir, 0o711)
	}
	if err == nil {
		err = c.run("initdb", "--pgdata", c.DataDir(), "--username", Superuser, "--auth", "scram-sha-256", "--pwfile", passwordFile,
			"--encoding", "UTF8", "--no-locale", "--wal-segsize", "1", "--no-sync") // of the empty cluster only
	}
	if err == nil {
		err = os.Remove(passwordFile)
	}
	if err == nil {
		err = c.startGuard()
	}
	for range 10 { // another process may take the port
		if err != nil {
			return nil, err
		}
		if err = c.choosePort(); err == nil {
			if err = c.Launch(); err == nil || !strings.Contains(err.Error(), "Address already in use") {
				return c, err
			}
			err = nil
		}
	}
	return nil, errors.New("no free port")
}

// certify writes the certificate for 127.0.0.1 that net/http/httptest has, and its key.
func certify(certFile, keyFile string) error {
	server := httptest.NewTLSServer(nil)
	defer server.Close()
	cert := server.TLS.Certificates[0]
	key, err := x509.MarshalPKCS8PrivateKey(cert.PrivateKey)
	return errors.Join(err,
		os.WriteFile(certFile, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: cert.Certificate[0]}), 0o644),
		os.WriteFile(keyFile, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: key}), 0o600))
}

// startGuard starts a process that stops the server when this process has ended, however
// it ends.
func (c *Cluster) startGuard() (err error) {
	c.guard = c.command("sh", "-c", `trap "" INT TERM HUP; read -r _; exec "$0" --pgdata "$1" --mode immediate stop`, filepath.Join(c.bin, "pg_ctl"), c.DataDir())
	if c.unguard, err = c.guard.StdinPipe(); err != nil {
		return err
	}
	return c.guard.Start()
}

// choosePort configures the server with a free port below those that systems give to
// clients, so that the port is still free when the cluster starts again.
func (c *Cluster) choosePort() error {
	const first, count = 18000, 8000
	n, err := rand.Int(rand.Reader, big.NewInt(count))
	if err != nil {
		return err
	}
	c.port = strconv.FormatInt(first+n.Int64(), 10)
	f, err := os.OpenFile(filepath.Join(c.DataDir(), "postgresql.conf"), os.O_APPEND|os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	_, err = fmt.Fprintf(f, "listen_addresses = '127.0.0.1'\nport = %s\nunix_socket_directories = '%s'\nssl = on\nssl_cert_file = '%s'\nssl_key_file = '%s'\n",
		c.port, c.SocketDir(), c.CAFile(), c.path("server.key"))
	return errors.Join(err, f.Close())
}

// command prepares a program of PostgreSQL, or another, to run as the server's account.
func (c *Cluster) command(name string, args ...string) *exec.Cmd {
	args = append(append(slices.Clone(c.as), name), args...)
	cmd := exec.Command(args[0], args[1:]...)
	cmd.Dir = c.dir
	cmd.Env = []string{"PATH=" + os.Getenv("PATH"), "LC_ALL=C", "TZ=UTC"}
	return cmd
}

func (c *Cluster) run(name string, args ...string) error {
	if out, err := c.command(filepath.Join(c.bin, name), args...).CombinedOutput(); err != nil {
		return fmt.Errorf("%s: %w\n%s", name, err, out)
	}
	return nil
}

// control runs pg_ctl, which waits until what it does is done.
func (c *Cluster) control(args ...string) error {
	return c.run("pg_ctl", append([]string{"--pgdata", c.DataDir(), "--wait", "--timeout", strconv.Itoa(int(patience.Seconds()))}, args...)...)
}

// Start starts the cluster again after [Cluster.Stop], at the same port and with the same
// data, and returns once it answers.
func (c *Cluster) Start(tb testing.TB) {
	tb.Helper()
	if err := c.Launch(); err != nil {
		tb.Fatalf("start PostgreSQL again: %v", err)
	}
}

// Launch is [Cluster.Start] for a program that is no test.
func (c *Cluster) Launch() error {
	if c.running {
		return errors.New("PostgreSQL is running already")
	}
	for end := time.Now().Add(patience); ; time.Sleep(50 * time.Millisecond) {
		before := len(c.log())
		err := c.control("--log", c.path("log"), "start")
		said := c.log()[before:]
		switch {
		case err == nil:
			c.running, c.crashed = true, false
			return nil
		case time.Now().After(end), !strings.Contains(said, "is still in use") && !strings.Contains(said, `postmaster.pid" already exists`):
			return fmt.Errorf("%w\n%s", err, said)
		} // the sessions of a server that crashed have not ended yet
	}
}

// Stop ends the cluster and returns once its main process is gone.
func (c *Cluster) Stop(tb testing.TB, mode Mode) {
	tb.Helper()
	if err := c.Halt(mode); err != nil {
		tb.Fatal(err)
	}
}

// Halt is [Cluster.Stop] for a program that is no test.
func (c *Cluster) Halt(mode Mode) error {
	if !c.running {
		return errors.New("PostgreSQL is not running")
	}
	c.running, c.crashed = false, mode == Crash
	if mode != Crash {
		return c.control("--mode", string(mode), "stop")
	}
	text, err := os.ReadFile(filepath.Join(c.DataDir(), "postmaster.pid"))
	if err != nil {
		return err
	}
	first, _, _ := strings.Cut(string(text), "\n")
	pid, err := strconv.Atoi(first)
	if err != nil {
		return err
	}
	process, err := os.FindProcess(pid)
	if err != nil {
		return err
	}
	if err := process.Kill(); err != nil {
		return err
	}
	for end := time.Now().Add(patience); time.Now().Before(end); time.Sleep(time.Millisecond) {
		conn, err := net.Dial("tcp", net.JoinHostPort("127.0.0.1", c.port))
		if err != nil {
			return nil
		}
		conn.Close()
	}
	return errors.New("PostgreSQL listens although it was killed")
}

// Close ends the cluster for good. It leaves nothing behind: no process, no file, no shared
// memory.
func (c *Cluster) Close() error {
	var errs []error
	if c.crashed { // only a server that ends in order frees what a killed one has left
		errs = append(errs, c.Launch())
	}
	if c.running {
		errs = append(errs, c.Halt(Fast))
	}
	if c.unguard != nil {
		c.unguard.Close()
		_ = c.guard.Wait() // it finds no server to stop
	}
	return errors.Join(append(errs, os.RemoveAll(c.dir))...)
}

// URL is where a role finds a database, by TCP. It has neither a password nor a query: the
// caller adds "?sslmode=..." or other settings.
func (c *Cluster) URL(role, database string) string {
	u := url.URL{Scheme: "postgres", User: url.User(role), Host: net.JoinHostPort("127.0.0.1", c.port), Path: "/" + database}
	return u.String()
}

func (c *Cluster) path(name string) string { return filepath.Join(c.dir, name) }

// SocketDir is the directory of the Unix socket, for "host=" in a query.
func (c *Cluster) SocketDir() string { return c.dir }

// Port is the port on 127.0.0.1, and the number in the name of the Unix socket.
func (c *Cluster) Port() string { return c.port }

// DataDir is the data directory: the tables, the write-ahead log and the configuration.
func (c *Cluster) DataDir() string { return c.path("data") }

// CAFile is the certificate to trust for sslmode=verify-full. The server's is for the
// address 127.0.0.1, not for "localhost", so that a test can try a wrong name.
func (c *Cluster) CAFile() string { return c.path("server.crt") }

// Password is the password of [Superuser].
func (c *Cluster) Password() string { return c.password }

// Log is what the server has written to its log so far.
func (c *Cluster) Log(testing.TB) string { return c.log() }

func (c *Cluster) log() string {
	b, err := os.ReadFile(c.path("log"))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err.Error()
	}
	return string(b)
}

// PassFile writes a file for PGPASSFILE, with the passwords of the superuser and of all
// roles made so far.
func (c *Cluster) PassFile(tb testing.TB) string {
	tb.Helper()
	var lines strings.Builder
	c.mu.Lock()
	for _, role := range append([]Role{{Superuser, c.password}}, c.roles...) {
		fmt.Fprintf(&lines, "*:%s:*:%s:%s\n", c.port, role.Name, role.Password)
	}
	c.mu.Unlock()
	name := filepath.Join(tb.TempDir(), "pgpass")
	if err := os.WriteFile(name, []byte(lines.String()), 0o600); err != nil {
		tb.Fatal(err)
	}
	return name
}

// NewRole makes a role that may sign in and nothing else.
func (c *Cluster) NewRole(tb testing.TB) Role {
	tb.Helper()
	role := Role{Name: newName("role"), Password: rand.Text()}
	c.SuperExec(tb, "postgres", "CREATE ROLE "+role.Name+" LOGIN PASSWORD '"+role.Password+"'")
	c.mu.Lock()
	defer c.mu.Unlock()
	c.roles = append(c.roles, role)
	return role
}

// NewDatabase makes an empty database that belongs to a role and returns its name.
func (c *Cluster) NewDatabase(tb testing.TB, owner string) string {
	tb.Helper()
	name := newName("database")
	c.SuperExec(tb, "postgres", "CREATE DATABASE "+name+" OWNER "+pgx.Identifier{owner}.Sanitize())
	return name
}

// newName returns a name that needs no quotes.
func newName(kind string) string { return kind + "_" + strings.ToLower(rand.Text()[:12]) }

// SuperExec runs statements in a database as the superuser, each in a transaction of its
// own.
func (c *Cluster) SuperExec(tb testing.TB, database string, sql ...string) {
	tb.Helper()
	if err := c.Exec(database, sql...); err != nil {
		tb.Fatal(err)
	}
}

// Exec is [Cluster.SuperExec] for a program that is no test.
func (c *Cluster) Exec(database string, sql ...string) error {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	conf, err := pgx.ParseConfig(c.URL(Superuser, database) + "?sslmode=disable")
	if err != nil {
		return err
	}
	conf.Password = c.password
	conn, err := pgx.ConnectConfig(ctx, conf)
	if err != nil {
		return err
	}
	defer conn.Close(ctx)
	for _, statement := range sql {
		if _, err := conn.Exec(ctx, statement); err != nil {
			return fmt.Errorf("%.40s: %w", statement, err)
		}
	}
	return nil
}
