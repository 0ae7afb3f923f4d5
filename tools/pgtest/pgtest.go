// Package pgtest starts a PostgreSQL for a test: a new cluster in a directory of its own,
// on a free port of the loopback address and on a Unix socket, with passwords, TLS and
// syncing to disk as in production. A test can stop, crash and start it; it ends with the
// test.
//
// [Start] takes about a second. Tests that can share a cluster are subtests of one test
// that starts it, each with a role ([Cluster.NewRole]) and a database of its own. A failing
// test shows the server's log.
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
	mathrand "math/rand/v2"
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
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
)

// Superuser is the role that may do everything.
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
// [Cluster.Exec].
const patience = time.Minute

// debian has PostgreSQL's programs, in a directory for each version.
const debian = "/usr/lib/postgresql"

// ErrUnavailable is wrapped where PostgreSQL is not installed or cannot run.
var ErrUnavailable = errors.New("there is no PostgreSQL to run")

// Cluster is a PostgreSQL server with its databases. Start, Stop and Close must not be
// called at the same time as another method.
type Cluster struct {
	Dir      string // of all files: the data directory, the log, and the Unix socket
	Password string // of [Superuser]

	program
	port    string
	guard   *exec.Cmd
	unguard io.Closer // has the guard stop the server and end
	ended   Mode      // empty while the server runs
	others  []func()  // end programs in front of it
	far     *far      // nil if this process runs it
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
// PATH, or one on the PATH if there is none.
func available(below string) (p program, err error) {
	if runtime.GOOS == "windows" {
		return p, fmt.Errorf("%w: its tests use Unix's signals", ErrUnavailable)
	}
	found, err := filepath.Glob(filepath.Join(below, "*", "bin", "postgres"))
	if err != nil {
		return p, err
	}
	version := func(path string) int {
		n, _ := strconv.Atoi(filepath.Base(filepath.Dir(filepath.Dir(path))))
		return n
	}
	slices.SortFunc(found, func(a, b string) int { return cmp.Compare(version(b), version(a)) })
	if path, err := exec.LookPath("postgres"); err == nil {
		found = append(found, path)
	}
	if len(found) == 0 {
		return p, fmt.Errorf("%w: no postgres, neither in %s/*/bin nor on the PATH", ErrUnavailable, below)
	}
	p = program{bin: filepath.Dir(found[0]), uid: -1}
	if os.Geteuid() != 0 {
		return p, nil
	}
	u, err := user.Lookup("postgres")
	if err != nil {
		u, err = user.Lookup("nobody")
	}
	if err == nil {
		p.as = []string{"setpriv", "--reuid=" + u.Uid, "--regid=" + u.Gid, "--clear-groups"}
		_, err = exec.LookPath(p.as[0])
	}
	if err == nil {
		p.uid, err = strconv.Atoi(u.Uid)
	}
	if err != nil {
		return p, fmt.Errorf("%w: it does not run as root: %w", ErrUnavailable, err)
	}
	return p, nil
}

// Available returns [ErrUnavailable] where [New] would.
func Available() error {
	_, err := available(debian)
	return err
}

// Need skips the test where [Start] would.
func Need(tb testing.TB) {
	tb.Helper()
	if _, err := available(debian); err != nil && server() == "" {
		unavailable(tb, "postgres", err)
	}
}

// unavailable skips the test, or fails it if EXACTAUTH_TEST_REQUIRE has the server's name
// in its list.
func unavailable(tb testing.TB, server string, err error) {
	tb.Helper()
	if slices.Contains(strings.Split(os.Getenv("EXACTAUTH_TEST_REQUIRE"), ","), server) {
		tb.Fatalf("EXACTAUTH_TEST_REQUIRE demands %s: %v", server, err)
	}
	tb.Skipf("needs %s: %v", server, err)
}

// Start makes a cluster and starts it. It skips the test where there is no PostgreSQL,
// unless EXACTAUTH_TEST_REQUIRE has "postgres" in its list. As root it runs the server as
// postgres or nobody, who must be able to enter [os.TempDir].
//
// When tb ends, the cluster stops and its files are removed. It also stops when the test
// binary is killed, but then its files remain.
func Start(tb testing.TB) *Cluster {
	tb.Helper()
	Need(tb)
	c, err := New("")
	return c.endWith(tb, err)
}

// endWith has a new cluster end with the test, and shows its log if that failed.
func (c *Cluster) endWith(tb testing.TB, err error) *Cluster {
	tb.Helper()
	Check(tb, err)
	tb.Cleanup(func() {
		if tb.Failed() {
			tb.Logf("PostgreSQL's log at port %s:\n%s", c.port, c.log())
			bouncers, _ := filepath.Glob(c.path("pgbouncer-*/log"))
			for _, log := range bouncers {
				said, _ := os.ReadFile(log)
				tb.Logf("PgBouncer's log:\n%s", said)
			}
		}
		if err := c.Close(); err != nil {
			tb.Error(err)
		}
	})
	return c
}

// Standby starts a copy of a running cluster that follows it, until [Cluster.Promote]. It
// ends with the test.
func (c *Cluster) Standby(tb testing.TB) *Cluster {
	tb.Helper()
	s, err := c.standby()
	return s.endWith(tb, err)
}

func (c *Cluster) standby() (*Cluster, error) {
	if c.far != nil {
		return c.far.cluster("standby")
	}
	return create("", &Cluster{program: c.program, Password: c.Password, ended: Fast}, c, nil)
}

// Promote makes a standby a server of its own, and returns once it takes writes.
func (c *Cluster) Promote() error {
	if c.far != nil {
		return c.far.do(order{Verb: "promote"})
	}
	return c.control("promote")
}

// Check fails the test if an act on a cluster failed.
func Check(tb testing.TB, err error) {
	tb.Helper()
	if err != nil {
		tb.Fatal(err)
	}
}

// New makes a cluster and starts it, for a program that is no test: its files are in a
// new directory in dir, or in [os.TempDir] if dir is empty. settings are lines of
// postgresql.conf. The caller must call [Cluster.Close].
func New(dir string, settings ...string) (*Cluster, error) {
	if server() != "" && dir == "" && len(settings) == 0 {
		return newFar(server())
	}
	program, err := available(debian)
	if err != nil {
		return nil, err
	}
	return create(dir, &Cluster{program: program, Password: rand.Text(), ended: Fast}, nil, settings)
}

// create makes the files of c, a copy of the primary if there is one, and starts it.
func create(dir string, c, primary *Cluster, settings []string) (_ *Cluster, err error) {
	// Not in a test's directory: another account must enter it, and the path of a socket is short.
	if c.Dir, err = os.MkdirTemp(dir, "exactauth-postgres-"); err != nil {
		return nil, err
	}
	if err = c.install(primary, settings); err == nil {
		err = c.Start()
	}
	if err != nil {
		return nil, errors.Join(err, c.Close())
	}
	return c, nil
}

// install makes all files of a new cluster, and starts its guard.
func (c *Cluster) install(primary *Cluster, settings []string) error {
	passwordFile, keyFile, password := c.path("password"), c.path("server.key"), c.Password
	data := []string{"initdb", "--username", Superuser, "--auth", "scram-sha-256", "--pwfile", passwordFile,
		"--encoding", "UTF8", "--no-locale", "--wal-segsize", "1"}
	if primary != nil {
		password = "*:*:*:*:" + password // a file for PGPASSFILE, which the copy needs as long as it follows
		data = []string{"pg_basebackup", "--write-recovery-conf", "--checkpoint", "fast",
			"--dbname", "host=" + primary.Dir + " port=" + primary.port + " user=" + Superuser + " passfile=" + passwordFile}
	}
	err := errors.Join(os.WriteFile(passwordFile, []byte(password), 0o600), certify(c.CAFile(), keyFile), os.Chmod(c.Dir, 0o711))
	for _, name := range []string{c.Dir, passwordFile, keyFile} {
		err = errors.Join(err, os.Chown(name, c.uid, -1)) // -1 changes nothing
	}
	if err == nil {
		err = c.run(data[0], append(data[1:], "--pgdata", c.path("data"), "--no-sync")...) // of the new files only
	}
	if err == nil && primary == nil {
		err = os.Remove(passwordFile)
	}
	if err == nil {
		c.port, err = freePort()
	}
	if err != nil {
		return err
	}
	settings = append(settings, "listen_addresses = '127.0.0.1'", "port = "+c.port, "unix_socket_directories = '"+c.Dir+"'",
		"ssl = on", "ssl_cert_file = '"+c.CAFile()+"'", "ssl_key_file = '"+keyFile+"'", "")
	conf, err := os.OpenFile(c.path("data/postgresql.auto.conf"), os.O_APPEND|os.O_WRONLY, 0) // the file of ALTER SYSTEM; its last lines count
	if err != nil {
		return err
	}
	_, err = conf.WriteString(strings.Join(settings, "\n"))
	if err = errors.Join(err, conf.Close()); err != nil {
		return err
	}
	return c.startGuard()
}

// certify writes the certificate for 127.0.0.1 that net/http/httptest has, and its key.
func certify(certFile, keyFile string) error {
	server := httptest.NewTLSServer(nil)
	defer server.Close()
	cert := server.TLS.Certificates[0]
	key, err := x509.MarshalPKCS8PrivateKey(cert.PrivateKey)
	return errors.Join(err,
		os.WriteFile(certFile, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: cert.Certificate[0]}), 0o644),
		os.Chmod(certFile, 0o644), // whatever the umask: the server's account reads it
		os.WriteFile(keyFile, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: key}), 0o600))
}

// startGuard starts a process that stops the server when this process has ended, however
// it ends.
func (c *Cluster) startGuard() (err error) {
	c.guard = c.command("sh", "-c", `trap "" INT TERM HUP; read -r _; exec "$0" --pgdata "$1" --mode immediate stop`, filepath.Join(c.bin, "pg_ctl"), c.path("data"))
	if c.unguard, err = c.guard.StdinPipe(); err != nil {
		return err
	}
	return c.guard.Start()
}

// freePort finds a free port below those that systems give to clients, so that the port is
// still free when the cluster starts again.
func freePort() (string, error) {
	for range 10 {
		port := strconv.Itoa(18000 + mathrand.IntN(8000))
		if l, err := net.Listen("tcp", net.JoinHostPort("127.0.0.1", port)); err == nil {
			return port, l.Close()
		}
	}
	return "", errors.New("no free port")
}

// command prepares a program of PostgreSQL, or another, to run as the server's account.
func (c *Cluster) command(name string, args ...string) *exec.Cmd {
	args = append(append(slices.Clone(c.as), name), args...)
	cmd := exec.Command(args[0], args[1:]...)
	cmd.Dir = c.Dir
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
	return c.run("pg_ctl", append([]string{"--pgdata", c.path("data"), "--wait", "--timeout", strconv.Itoa(int(patience.Seconds()))}, args...)...)
}

// Start starts the cluster again after [Cluster.Stop], at the same port and with the same
// data, and returns once it answers.
func (c *Cluster) Start() error {
	if c.far != nil {
		return c.far.do(order{Verb: "start"})
	}
	for end := time.Now().Add(patience); ; time.Sleep(50 * time.Millisecond) {
		err := c.control("--log", c.path("log"), "start")
		if err == nil {
			c.ended = ""
			return nil
		}
		// The sessions of a server that crashed may not have ended yet.
		if c.ended != Crash || time.Now().After(end) {
			return fmt.Errorf("%w\n%s", err, c.log())
		}
	}
}

// Stop ends the cluster and returns once its main process is gone.
func (c *Cluster) Stop(mode Mode) error {
	if c.far != nil {
		return c.far.do(order{Verb: "stop", Mode: mode})
	}
	c.ended = mode
	if mode != Crash {
		return c.control("--mode", string(mode), "stop")
	}
	if out, err := c.command("sh", "-c", `read -r pid <data/postmaster.pid && kill -KILL "$pid"`).CombinedOutput(); err != nil {
		return fmt.Errorf("kill PostgreSQL: %w\n%s", err, out)
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
func (c *Cluster) Close() (err error) {
	if c.far != nil {
		return errors.Join(c.far.do(order{Verb: "close"}), c.far.remove())
	}
	for _, end := range c.others {
		end()
	}
	if c.ended == Crash { // only a server that ends in order frees what a killed one has left
		err = c.Start()
	}
	if c.ended == "" {
		err = c.Stop(Fast)
	}
	if c.unguard != nil {
		c.unguard.Close()
		_ = c.guard.Wait() // it finds no server to stop
	}
	return errors.Join(err, os.RemoveAll(c.Dir), os.RemoveAll(c.CAFile()))
}

// URL is where a role finds a database, by TCP. It has neither a password nor a query: the
// caller adds "?sslmode=..." or other settings.
func (c *Cluster) URL(role, database string) string {
	u := url.URL{Scheme: "postgres", User: url.User(role), Host: net.JoinHostPort("127.0.0.1", c.port), Path: "/" + database}
	return u.String()
}

func (c *Cluster) path(name string) string { return filepath.Join(c.Dir, name) }

// CAFile is the certificate to trust for sslmode=verify-full. The server's is for the
// address 127.0.0.1, not for "localhost", so that a test can try a wrong name. It is beside
// the server's directory, because another user than the test's may own that one.
func (c *Cluster) CAFile() string {
	if c.far != nil {
		return c.far.ca
	}
	return c.Dir + ".crt"
}

func (c *Cluster) log() string {
	b, _ := os.ReadFile(c.path("log"))
	return string(b)
}

// PassFile writes a file for PGPASSFILE, with a role's password.
func (c *Cluster) PassFile(tb testing.TB, role Role) string {
	tb.Helper()
	name := filepath.Join(tb.TempDir(), "pgpass")
	Check(tb, os.WriteFile(name, []byte("*:*:*:"+role.Name+":"+role.Password+"\n"), 0o600))
	return name
}

// NewRole makes a role that may sign in and nothing else.
func (c *Cluster) NewRole(tb testing.TB) Role {
	tb.Helper()
	role := Role{Name: newName("role"), Password: rand.Text()}
	Check(tb, c.Exec("postgres", "CREATE ROLE "+role.Name+" LOGIN PASSWORD '"+role.Password+"'"))
	return role
}

// NewDatabase makes an empty database that belongs to a role and returns its name.
func (c *Cluster) NewDatabase(tb testing.TB, owner string) string {
	tb.Helper()
	name := newName("database")
	Check(tb, c.Exec("postgres", "CREATE DATABASE "+name+" OWNER "+pgx.Identifier{owner}.Sanitize()))
	return name
}

// newName returns a name that needs no quotes.
func newName(kind string) string { return kind + "_" + strings.ToLower(rand.Text()[:12]) }

// Exec runs statements in a database as the superuser, each in a transaction of its own.
func (c *Cluster) Exec(database string, sql ...string) error {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	conn, err := c.Connect(ctx, database)
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

// Connect connects to a database as the superuser.
func (c *Cluster) Connect(ctx context.Context, database string) (*pgx.Conn, error) {
	conf, err := pgx.ParseConfig(c.URL(Superuser, database) + "?sslmode=disable")
	if err != nil {
		return nil, err
	}
	conf.Password = c.Password
	return pgx.ConnectConfig(ctx, conf)
}
