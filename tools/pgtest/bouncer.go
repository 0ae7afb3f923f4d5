package pgtest

import (
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

// Bouncer starts a PgBouncer in front of a cluster, which ends with the test, and returns
// the host and port of the cluster there. Every role and database of the cluster can be
// used, with TLS and without. settings are lines of pgbouncer.ini.
//
// It skips the test where there is no PgBouncer, unless EXACTAUTH_TEST_REQUIRE has
// "pgbouncer" in its list.
func (c *Cluster) Bouncer(tb testing.TB, settings ...string) (host string) {
	tb.Helper()
	path, err := exec.LookPath("pgbouncer")
	if err != nil {
		path, err = exec.LookPath("/usr/sbin/pgbouncer") // Debian's, where users' PATH does not lead
	}
	if err != nil {
		unavailable(tb, "pgbouncer", err)
	}
	dir, err := os.MkdirTemp(c.Dir, "pgbouncer-")
	Check(tb, err)
	port, err := freePort()
	Check(tb, err)
	ini, users, log := filepath.Join(dir, "ini"), filepath.Join(dir, "users"), filepath.Join(dir, "log")
	settings = append(slices.Clone(settings), "listen_addr = 127.0.0.1", "listen_port = "+port, "unix_socket_dir =", "logfile = "+log,
		"auth_type = scram-sha-256", "auth_file = "+users, "auth_user = "+Superuser, // it asks the server for the other roles
		"client_tls_sslmode = allow", "client_tls_cert_file = "+c.CAFile(), "client_tls_key_file = "+c.path("server.key"))
	Check(tb, os.WriteFile(users, []byte(fmt.Sprintf("%q %q\n", Superuser, c.Password)), 0o600))
	Check(tb, os.WriteFile(ini, []byte("[databases]\n* = host=127.0.0.1 port="+c.port+"\n[pgbouncer]\n"+strings.Join(settings, "\n")+"\n"), 0o600))
	for _, name := range []string{dir, users, ini} {
		Check(tb, os.Chown(name, c.uid, -1))
	}
	// The shell ends it when this process has ended, however it ends.
	cmd := c.command("sh", "-c", `trap "" INT TERM HUP; "$0" "$1" & read -r _; kill -KILL $!; wait`, path, ini)
	stop, err := cmd.StdinPipe()
	Check(tb, err)
	Check(tb, cmd.Start())
	tb.Cleanup(func() {
		stop.Close()
		_ = cmd.Wait()
		if said, err := os.ReadFile(log); err == nil && tb.Failed() {
			tb.Logf("PgBouncer's log:\n%s", said)
		}
	})
	host = net.JoinHostPort("127.0.0.1", port)
	for end := time.Now().Add(patience); ; time.Sleep(10 * time.Millisecond) {
		conn, err := net.Dial("tcp", host)
		if err == nil {
			conn.Close()
			return host
		}
		if time.Now().After(end) {
			tb.Fatal(err)
		}
	}
}
