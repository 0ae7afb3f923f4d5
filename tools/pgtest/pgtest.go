// Package pgtest gives a test a PostgreSQL of its own: a new cluster in a
// directory of its own, on a free port of the loopback address and on a Unix
// socket, with passwords, TLS and syncing to disk as in production. It can be
// stopped, crashed and started again, and it ends with the test.
//
// [Start] takes about a second. Tests that can share a cluster are subtests of
// one test that starts it, each with a database and roles of its own:
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
	"bytes"
	"cmp"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"math/big"
	"net"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
)

// Superuser is the role that may do everything. Its password is
// [Cluster.Password].
const Superuser = "postgres"

// A Mode is a way in which a cluster ends.
type Mode syscall.Signal

const (
	// Smart waits until every client has gone.
	Smart = Mode(syscall.SIGTERM)
	// Fast rolls back what is under way, throws out the clients and closes the
	// files in order.
	Fast = Mode(syscall.SIGINT)
	// Immediate has every process quit at once, so that the next start has to
	// recover from the log. The data directory is at rest once [Cluster.Stop] has
	// returned.
	Immediate = Mode(syscall.SIGQUIT)
	// Crash kills the main process, as someone short of memory would. The
	// sessions notice by themselves, a moment after [Cluster.Stop] has returned or
	// when the statement that they are in has ended; the next start waits for them.
	Crash = Mode(syscall.SIGKILL)
)

// debian has PostgreSQL's programs, in a directory of each version.
const debian = "/usr/lib/postgresql"

// patience is how long a cluster may take to start, to stop, or to run one call
// of [Cluster.SuperExec].
const patience = time.Minute

// A Cluster is a PostgreSQL server with its databases. Only NewRole, NewDatabase,
// SuperExec, Exec, PassFile and what merely tells something may be called from several
// tests at a time.
type Cluster struct {
	postgres string // the program
	dir      string // of all files
	account  *account
	port     string
	running  *process // nil when it was stopped
	crashed  bool     // was killed, and its shared memory has not been given back
	password string

	mu    sync.Mutex
	roles []Role // beside the superuser
}

// A Role is a name to sign in with, and its password.
type Role struct{ Name, Password string }

// ErrUnavailable is wrapped where there is no PostgreSQL, or nobody to run it as.
var ErrUnavailable = errors.New("there is no PostgreSQL to run")

// Need skips the test where [Start] would.
func Need(tb testing.TB) {
	tb.Helper()
	_, err := binaries(debian)
	if err == nil {
		_, err = unprivileged()
	}
	if err != nil {
		unavailable(tb, err)
	}
}

// Start makes a cluster and starts it. It skips the test where there is no
// PostgreSQL, unless EXACTAUTH_TEST_REQUIRE has "postgres" in its list. As root
// it runs the server as postgres or nobody, who need to get into [os.TempDir].
//
// When tb ends, the cluster is stopped and its files are removed. On Linux it
// also stops when the test binary is killed, but its files remain.
func Start(tb testing.TB) *Cluster {
	tb.Helper()
	c, err := New("")
	if errors.Is(err, ErrUnavailable) {
		unavailable(tb, err)
	} else if err != nil {
		tb.Fatalf("make a PostgreSQL cluster: %v", err)
	}
	tb.Cleanup(func() {
		if log, err := os.ReadFile(c.path("log")); err == nil && tb.Failed() {
			tb.Logf("PostgreSQL's log:\n%s", log)
		}
		if err := c.Close(); err != nil {
			tb.Error(err)
		}
	})
	return c
}

// New makes a cluster and starts it, for a program that is no test: its files are
// in a new directory in dir, or in [os.TempDir] if that is empty, and whoever
// calls it has to call [Cluster.Close].
func New(dir string) (_ *Cluster, err error) {
	bin, err := binaries(debian)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrUnavailable, err)
	}
	account, err := unprivileged()
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrUnavailable, err)
	}
	c := &Cluster{postgres: filepath.Join(bin, "postgres"), account: account, password: rand.Text()}
	// Not in a test's directory: another account has to pass, and the path of a socket is short.
	if c.dir, err = os.MkdirTemp(dir, "exactauth-postgres-"); err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, c.Close())
		}
	}()
	err = errors.Join(os.Chmod(c.dir, 0o711), os.Mkdir(c.path("sockets"), 0o755), os.Mkdir(c.DataDir(), 0o700),
		os.WriteFile(c.path("password"), []byte(c.password), 0o600))
	if err != nil {
		return nil, err
	}
	if err := certify(c.CAFile(), c.path("server.key")); err != nil {
		return nil, err
	}
	for _, name := range []string{"sockets", "data", "password", "server.key"} {
		if err := c.account.own(c.path(name)); err != nil {
			return nil, err
		}
	}
	initdb := c.command(filepath.Join(bin, "initdb"), "--pgdata", c.DataDir(), "--username", Superuser,
		"--auth", "scram-sha-256", "--pwfile", c.path("password"), "--encoding", "UTF8", "--no-locale",
		"--wal-segsize", "1", "--no-sync") // of the empty cluster only
	var out bytes.Buffer
	initdb.Stdout, initdb.Stderr = &out, &out
	p, err := start(initdb)
	if err != nil {
		return nil, err
	}
	if <-p.ended; p.err != nil {
		return nil, fmt.Errorf("initdb: %w\n%s", p.err, out.Bytes())
	}
	if err := os.Remove(c.path("password")); err != nil {
		return nil, err
	}
	for range 10 { // another process may take the port
		if c.port, err = freePort(); err != nil {
			return nil, err
		}
		if err = c.launch(); !errors.Is(err, syscall.EADDRINUSE) {
			break
		}
	}
	return c, err
}

// Start starts the cluster again after [Cluster.Stop], at the same port and with
// the same data, and returns once it answers.
func (c *Cluster) Start(tb testing.TB) {
	tb.Helper()
	if err := c.Launch(); err != nil {
		tb.Fatalf("start PostgreSQL again: %v", err)
	}
}

// Launch is [Cluster.Start] for a program that is no test.
func (c *Cluster) Launch() error {
	if c.running != nil {
		return errors.New("PostgreSQL is running already")
	}
	return c.launch()
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
	if c.running == nil {
		return errors.New("PostgreSQL is not running")
	}
	return c.halt(mode)
}

// URL is where a role finds a database, by TCP. It has neither a password nor a
// query: whoever uses it adds "?sslmode=..." or other settings.
func (c *Cluster) URL(role, database string) string {
	u := url.URL{Scheme: "postgres", User: url.User(role), Host: net.JoinHostPort("127.0.0.1", c.port), Path: "/" + database}
	return u.String()
}

// SocketDir is the directory of the Unix socket, for "host=" in a query.
func (c *Cluster) SocketDir() string { return c.path("sockets") }

// Port is the port on 127.0.0.1, and the number in the name of the Unix socket.
func (c *Cluster) Port() string { return c.port }

// DataDir is the data directory: the tables, the write-ahead log and the
// configuration.
func (c *Cluster) DataDir() string { return c.path("data") }

// CAFile is the certificate to trust for sslmode=verify-full. The server's is for
// the address 127.0.0.1, not for "localhost", so that a wrong name can be tried.
func (c *Cluster) CAFile() string { return c.path("server.crt") }

// Log is what the server has written to its log so far.
func (c *Cluster) Log(tb testing.TB) string {
	tb.Helper()
	b, err := os.ReadFile(c.path("log"))
	if err != nil {
		tb.Fatal(err)
	}
	return string(b)
}

// Password is the password of [Superuser].
func (c *Cluster) Password() string { return c.password }

// PassFile writes a file for PGPASSFILE, with the passwords of the superuser and
// of all roles made so far.
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

// NewDatabase makes an empty database that belongs to a role and returns its
// name.
func (c *Cluster) NewDatabase(tb testing.TB, owner string) string {
	tb.Helper()
	name := newName("database")
	c.SuperExec(tb, "postgres", "CREATE DATABASE "+name+" OWNER "+pgx.Identifier{owner}.Sanitize())
	return name
}

// SuperExec runs statements in a database as the superuser, each in a transaction
// of its own.
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
	conn, err := c.connect(ctx, database)
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

func (c *Cluster) connect(ctx context.Context, database string) (*pgx.Conn, error) {
	conf, err := pgx.ParseConfig(c.URL(Superuser, database) + "?sslmode=disable")
	if err != nil {
		return nil, err
	}
	conf.Password = c.password
	return pgx.ConnectConfig(ctx, conf)
}

// newName gives a name that needs no quotes.
func newName(kind string) string {
	return kind + "_" + strings.ToLower(rand.Text()[:12])
}

func (c *Cluster) path(name string) string { return filepath.Join(c.dir, name) }

// command runs a program of PostgreSQL where, as whom and with what language it
// is to run.
func (c *Cluster) command(name string, args ...string) *exec.Cmd {
	cmd := exec.Command(name, args...)
	cmd.Dir = c.dir
	cmd.Env = []string{"PATH=" + os.Getenv("PATH"), "LC_ALL=C", "TZ=UTC"}
	cmd.SysProcAttr = c.account.attributes()
	return cmd
}

// launch starts the server and waits until it answers. It starts it again as long
// as the sessions of one that crashed are still about.
func (c *Cluster) launch() error {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	for {
		said, err := c.attempt(ctx)
		switch {
		case err == nil:
			c.crashed = false
			return nil
		case strings.Contains(said, "Address already in use"):
			return fmt.Errorf("port %s: %w", c.port, syscall.EADDRINUSE)
		case ctx.Err() != nil || !strings.Contains(said, "is still in use") && !strings.Contains(said, `postmaster.pid" already exists`):
			return fmt.Errorf("%w\n%s", err, said)
		}
		time.Sleep(50 * time.Millisecond)
	}
}

// attempt starts the server once, and returns what it logged if it failed.
func (c *Cluster) attempt(ctx context.Context) (said string, err error) {
	// A file, because a pipe would keep us waiting for everyone who holds it.
	log, err := os.OpenFile(c.path("log"), os.O_CREATE|os.O_APPEND|os.O_RDWR, 0o600)
	if err != nil {
		return "", err
	}
	defer log.Close()
	before, err := log.Stat()
	if err != nil {
		return "", err
	}
	cmd := c.command(c.postgres, "-D", c.DataDir(),
		"-c", "listen_addresses=127.0.0.1", "-c", "port="+c.port, "-c", "unix_socket_directories="+c.SocketDir(),
		"-c", "ssl=on", "-c", "ssl_cert_file="+c.CAFile(), "-c", "ssl_key_file="+c.path("server.key"))
	cmd.Stdout, cmd.Stderr = log, log
	c.running, err = start(cmd)
	if err != nil {
		return "", err
	}
	err = c.answers(ctx)
	if err == nil {
		return "", nil
	}
	if killErr := c.halt(Crash); killErr != nil {
		err = errors.Join(err, killErr)
	}
	b, readErr := os.ReadFile(log.Name())
	return string(b[min(before.Size(), int64(len(b))):]), errors.Join(err, readErr)
}

// answers waits until the server lets the superuser in.
func (c *Cluster) answers(ctx context.Context) error {
	for {
		conn, err := c.connect(ctx, "postgres")
		if err == nil {
			return conn.Close(ctx)
		}
		select {
		case <-c.running.ended:
			return fmt.Errorf("the server ended: %v", c.running.err)
		case <-ctx.Done():
			return fmt.Errorf("the server does not answer within %s: %w", patience, err)
		case <-time.After(10 * time.Millisecond):
		}
	}
}

// halt ends the server, in the end by force.
func (c *Cluster) halt(mode Mode) error {
	p := c.running
	c.running = nil
	select {
	case <-p.ended: // by itself, and in order
		return nil
	default:
	}
	c.crashed = mode == Crash
	err := p.signal(syscall.Signal(mode))
	select {
	case <-p.ended:
	case <-time.After(patience):
		c.crashed = true
		err = errors.Join(fmt.Errorf("PostgreSQL does not stop within %s", patience), p.signal(syscall.SIGKILL))
		<-p.ended
	}
	return err
}

// Close ends the cluster for good. It leaves nothing behind: no process, no file,
// no shared memory.
func (c *Cluster) Close() error {
	var errs []error
	if c.crashed {
		// Only a server that ends in order gives back what one that was killed has left.
		if err := c.launch(); err != nil {
			errs = append(errs, fmt.Errorf("start after a crash, to clean up: %w", err))
		}
	}
	if c.running != nil {
		errs = append(errs, c.halt(Fast))
	}
	return errors.Join(append(errs, os.RemoveAll(c.dir))...)
}

// A process is one that we started and wait for.
type process struct {
	cmd   *exec.Cmd
	ended chan struct{} // closed when it has ended
	err   error         // of Wait, once it has
}

// start runs a command. The thread that starts it stays until it has ended, for
// Linux tells a process of its parent's death when the thread is gone.
func start(cmd *exec.Cmd) (*process, error) {
	p := &process{cmd: cmd, ended: make(chan struct{})}
	started := make(chan error)
	go func() {
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		err := cmd.Start()
		started <- err
		if err == nil {
			p.err = cmd.Wait()
			close(p.ended)
		}
	}()
	if err := <-started; err != nil {
		return nil, err
	}
	return p, nil
}

// signal sends a signal to the process, if it has not ended.
func (p *process) signal(s syscall.Signal) error {
	if err := p.cmd.Process.Signal(s); !errors.Is(err, os.ErrProcessDone) {
		return err
	}
	return nil
}

// unavailable skips the test, unless EXACTAUTH_TEST_REQUIRE demands PostgreSQL.
func unavailable(tb testing.TB, err error) {
	tb.Helper()
	if slices.Contains(strings.Split(os.Getenv("EXACTAUTH_TEST_REQUIRE"), ","), "postgres") {
		tb.Fatalf("EXACTAUTH_TEST_REQUIRE demands PostgreSQL: %v", err)
	}
	tb.Skipf("needs PostgreSQL: %v", err)
}

// binaries finds the directory of initdb and postgres: the newest of those that
// Debian installs below a directory, on no PATH, or else one on the PATH.
func binaries(below string) (string, error) {
	if runtime.GOOS == "windows" {
		return "", errors.New("its signals are Unix's")
	}
	found, err := filepath.Glob(filepath.Join(below, "*", "bin", "initdb"))
	if err != nil {
		return "", err
	}
	version := func(path string) int {
		n, _ := strconv.Atoi(filepath.Base(filepath.Dir(filepath.Dir(path))))
		return n
	}
	slices.SortFunc(found, func(a, b string) int { return cmp.Compare(version(b), version(a)) })
	if path, err := exec.LookPath("initdb"); err == nil {
		found = append(found, path)
	}
	for _, path := range found {
		if _, err := os.Stat(filepath.Join(filepath.Dir(path), "postgres")); !errors.Is(err, fs.ErrNotExist) {
			return filepath.Dir(path), err
		}
	}
	return "", fmt.Errorf("no initdb with postgres beside it, neither in %s/*/bin nor on the PATH", below)
}

// freePort finds a port below those that systems give to clients, so that it is
// still free when a cluster starts again.
func freePort() (string, error) {
	const first, count = 18000, 8000
	for range count {
		n, err := rand.Int(rand.Reader, big.NewInt(count))
		if err != nil {
			return "", err
		}
		port := strconv.FormatInt(first+n.Int64(), 10)
		if l, err := net.Listen("tcp", "127.0.0.1:"+port); err == nil {
			return port, l.Close()
		}
	}
	return "", errors.New("no free port")
}
