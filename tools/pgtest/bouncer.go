package pgtest

import (
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

// Bouncer starts a PgBouncer in front of a cluster, which ends with it, and returns
// the host and port of the cluster there. Every role and database of the cluster can be
// used, with TLS and without. settings are lines of pgbouncer.ini.
//
// It skips the test where there is no PgBouncer, unless EXACTAUTH_TEST_REQUIRE has
// "pgbouncer" in its list.
func (c *Cluster) Bouncer(tb testing.TB, settings ...string) (host string) {
	tb.Helper()
	host, err := c.bouncer(settings)
	if errors.Is(err, errNoBouncer) {
		unavailable(tb, "pgbouncer", err)
	}
	Check(tb, err)
	return host
}

var errNoBouncer = errors.New("there is no PgBouncer")

func (c *Cluster) bouncer(settings []string) (host string, err error) {
	if c.far != nil {
		a, err := c.far.ask(order{Verb: "bouncer", Settings: settings})
		return a.Host, err
	}
	path, err := exec.LookPath("pgbouncer")
	if err != nil {
		path, err = exec.LookPath("/usr/sbin/pgbouncer") // Debian's, where users' PATH does not lead
	}
	if err != nil {
		return "", fmt.Errorf("%w: %w", errNoBouncer, err)
	}
	dir, err := os.MkdirTemp(c.Dir, "pgbouncer-")
	if err != nil {
		return "", err
	}
	port, err := freePort()
	if err != nil {
		return "", err
	}
	ini, users := filepath.Join(dir, "ini"), filepath.Join(dir, "users")
	settings = append(slices.Clone(settings), "listen_addr = 127.0.0.1", "listen_port = "+port, "unix_socket_dir =", "logfile = "+filepath.Join(dir, "log"),
		"auth_type = scram-sha-256", "auth_file = "+users, "auth_user = "+Superuser, // it asks the server for the other roles
		"client_tls_sslmode = allow", "client_tls_cert_file = "+c.CAFile(), "client_tls_key_file = "+c.path("server.key"))
	err = errors.Join(os.WriteFile(users, []byte(fmt.Sprintf("%q %q\n", Superuser, c.Password)), 0o600),
		os.WriteFile(ini, []byte("[databases]\n* = host=127.0.0.1 port="+c.port+"\n[pgbouncer]\n"+strings.Join(settings, "\n")+"\n"), 0o600))
	for _, name := range []string{dir, users, ini} {
		err = errors.Join(err, os.Chown(name, c.uid, -1))
	}
	// The shell ends it when this process has ended, however it ends.
	cmd := c.command("sh", "-c", `trap "" INT TERM HUP; "$0" "$1" & read -r _; kill -KILL $!; wait`, path, ini)
	stop, pipeErr := cmd.StdinPipe()
	if err = errors.Join(err, pipeErr); err == nil {
		err = cmd.Start()
	}
	if err != nil {
		return "", err
	}
	c.others = append(c.others, func() {
		stop.Close()
		_ = cmd.Wait()
	})
	host = net.JoinHostPort("127.0.0.1", port)
	for end := time.Now().Add(patience); ; time.Sleep(10 * time.Millisecond) {
		conn, err := net.Dial("tcp", host)
		if err == nil {
			return host, conn.Close()
		}
		if time.Now().After(end) {
			return "", err
		}
	}
}
