package pgtest

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
)

func connect(t *testing.T, url, password string) (*pgx.Conn, error) {
	t.Helper()
	conf, err := pgx.ParseConfig(url)
	if err != nil {
		t.Fatal(err)
	}
	conf.Password = password
	conn, err := pgx.ConnectConfig(t.Context(), conf)
	if err == nil {
		t.Cleanup(func() { conn.Close(context.Background()) })
	}
	return conn, err
}

// ask returns the one value of a query, as the superuser.
func ask(t *testing.T, c *Cluster, query string) string {
	t.Helper()
	conn, err := c.Connect(t.Context(), "postgres")
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close(context.Background())
	var answer string
	if err := conn.QueryRow(t.Context(), query).Scan(&answer); err != nil {
		t.Fatalf("%s: %v", query, err)
	}
	return answer
}

func TestCluster(t *testing.T) {
	notOnWindows(t)
	began := time.Now()
	c := Start(t)
	t.Logf("Start took %s", time.Since(began).Round(time.Millisecond))

	t.Run("what it is made of", func(t *testing.T) {
		for setting, want := range map[string]string{"fsync": "on", "synchronous_commit": "on", "full_page_writes": "on", "listen_addresses": "127.0.0.1", "password_encryption": "scram-sha-256"} {
			if got := ask(t, c, "SHOW "+setting); got != want {
				t.Errorf("%s is %s; want %s", setting, got, want)
			}
		}
		if n := ask(t, c, "SELECT count(*)::text FROM pg_hba_file_rules WHERE auth_method <> 'scram-sha-256'"); n != "0" {
			t.Errorf("%s ways in without a password", n)
		}
	})

	t.Run("roles and databases", func(t *testing.T) {
		mine, theirs := c.NewRole(t), c.NewRole(t)
		database := c.NewDatabase(t, mine.Name)
		Check(t, c.Exec(database, "CREATE TABLE secret (x text)"))
		conn, err := connect(t, c.URL(mine.Name, database), mine.Password)
		if err != nil {
			t.Fatal(err)
		}
		var pgErr *pgconn.PgError
		if _, err := conn.Exec(t.Context(), "TABLE secret"); !errors.As(err, &pgErr) || pgErr.Code != "42501" {
			t.Errorf("read the superuser's table: %v; want that it is forbidden", err)
		}
		if _, err := conn.Exec(t.Context(), "CREATE SCHEMA s CREATE TABLE t (x text)"); err != nil {
			t.Errorf("make a table in an own database: %v", err)
		}
		for _, wrong := range []string{"", theirs.Password, c.Password} {
			if _, err := connect(t, c.URL(mine.Name, database), wrong); err == nil {
				t.Error("signed in with a wrong password")
			}
		}
		for _, role := range []Role{mine, theirs, {Superuser, c.Password}} {
			passFile := c.PassFile(t, role)
			if info, err := os.Stat(passFile); err != nil || info.Mode().Perm() != 0o600 {
				t.Errorf("password file: %v, %v", info.Mode(), err)
			}
			for _, url := range []string{
				c.URL(role.Name, database) + "?passfile=" + passFile,
				fmt.Sprintf("host=%s port=%s user=%s dbname=%s passfile=%s", c.Dir, c.port, role.Name, database, passFile),
			} {
				conn, err := pgx.Connect(t.Context(), url)
				if err != nil {
					t.Errorf("sign in with a password file: %v", err)
					continue
				}
				conn.Close(t.Context())
			}
		}
	})

	t.Run("TLS", func(t *testing.T) {
		url := c.URL(Superuser, "postgres")
		for _, query := range []string{"?sslmode=require", "?sslmode=verify-full&sslrootcert=" + c.CAFile()} {
			conn, err := connect(t, url+query, c.Password)
			if err != nil {
				t.Errorf("%s: %v", query, err)
				continue
			}
			var on bool
			if err := conn.QueryRow(t.Context(), "SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()").Scan(&on); err != nil || !on {
				t.Errorf("%s: TLS is %t, %v", query, on, err)
			}
		}
		if _, err := connect(t, url+"?sslmode=verify-full", c.Password); err == nil {
			t.Error("a self-signed certificate was trusted")
		}
		wrong := strings.Replace(url, "127.0.0.1", "localhost", 1) + "?sslmode=verify-full&sslrootcert=" + c.CAFile()
		if _, err := connect(t, wrong, c.Password); err == nil {
			t.Error("a certificate for 127.0.0.1 was good for localhost")
		}
	})

	Check(t, c.Exec("postgres", "CREATE TABLE kept (how text)"))
	port := c.port
	for _, mode := range []Mode{Fast, Immediate, Crash} {
		t.Run("starts again after "+string(mode), func(t *testing.T) {
			Check(t, c.Exec("postgres", "INSERT INTO kept VALUES ('"+string(mode)+"')"))
			if mode == Crash {
				busy(t, c) // a session that does not notice at once
			}
			began := time.Now()
			Check(t, c.Stop(mode))
			stopped := time.Now()
			if conn, err := net.Dial("tcp", "127.0.0.1:"+port); err == nil {
				conn.Close()
				t.Error("it still listens")
			}
			Check(t, c.Start())
			t.Logf("stopped in %s, started in %s", stopped.Sub(began).Round(time.Millisecond), time.Since(stopped).Round(time.Millisecond))
			if got := ask(t, c, "SELECT string_agg(how, ' ') FROM kept"); !strings.HasSuffix(got, string(mode)) || c.port != port {
				t.Errorf("kept %q, on port %s; want also %q, on %s", got, c.port, mode, port)
			}
		})
	}
	if !strings.Contains(c.log(), "automatic recovery in progress") {
		t.Errorf("the server recovered nothing")
	}
}

// busy starts a statement of two seconds and returns once it runs.
func busy(t *testing.T, c *Cluster) {
	t.Helper()
	conn, err := connect(t, c.URL(Superuser, "postgres")+"?application_name=busy", c.Password)
	if err != nil {
		t.Fatal(err)
	}
	const loop = "DO $$ BEGIN WHILE clock_timestamp() < now() + interval '2 s' LOOP END LOOP; END $$"
	go conn.Exec(t.Context(), loop) // ends with the session
	for ask(t, c, "SELECT count(*)::text FROM pg_stat_activity WHERE application_name = 'busy' AND state = 'active'") != "1" {
		time.Sleep(10 * time.Millisecond)
	}
}

func TestNothingIsLeft(t *testing.T) {
	for _, mode := range []Mode{"", Fast, Crash} {
		var c *Cluster
		t.Run("after "+string(mode), func(t *testing.T) {
			c = Start(t)
			if mode != "" {
				Check(t, c.Stop(mode))
			}
		})
		if c == nil {
			t.Skip("it did not start")
		}
		if _, err := os.Stat(c.Dir); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("%s: %v; it must be gone", c.Dir, err)
		}
		if conn, err := net.Dial("tcp", "127.0.0.1:"+c.port); err == nil {
			conn.Close()
			t.Error("it still listens")
		}
	}
}

func TestSkipsOnlyWhatIsNotRequired(t *testing.T) {
	t.Setenv("PATH", t.TempDir())
	_, missing := available(t.TempDir())
	if missing == nil {
		t.Fatal("found PostgreSQL in an empty directory")
	}
	for require, want := range map[string]string{
		"":                  "skipped: needs postgres: " + missing.Error(),
		"chromium,strace":   "skipped: needs postgres: " + missing.Error(),
		"chromium,postgres": "failed: EXACTAUTH_TEST_REQUIRE demands postgres: " + missing.Error(),
	} {
		t.Setenv("EXACTAUTH_TEST_REQUIRE", require)
		r := &recorder{TB: t}
		done := make(chan struct{})
		go func() {
			defer close(done)
			unavailable(r, "postgres", missing)
		}()
		if <-done; r.outcome != want {
			t.Errorf("%q: %s; want %s", require, r.outcome, want)
		}
	}
}

// recorder is a test that notes how it ends.
type recorder struct {
	testing.TB
	outcome string
}

func (r *recorder) Skipf(format string, args ...any) { r.end("skipped: "+format, args) }

func (r *recorder) Fatalf(format string, args ...any) { r.end("failed: "+format, args) }

func (r *recorder) end(format string, args []any) {
	r.outcome = fmt.Sprintf(format, args...)
	runtime.Goexit()
}

func notOnWindows(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("no PostgreSQL is looked for on Windows")
	}
}

func TestFindsTheNewest(t *testing.T) {
	notOnWindows(t)
	dir := t.TempDir()
	for _, name := range []string{"9.6/bin/initdb", "9.6/bin/postgres", "15/bin/initdb", "15/bin/postgres", "17/bin/initdb"} {
		if err := os.MkdirAll(filepath.Dir(filepath.Join(dir, name)), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, name), nil, 0o700); err != nil {
			t.Fatal(err)
		}
	}
	want := filepath.Join(dir, "15", "bin") // 17 is not whole
	if got, err := available(dir); got.bin != want || err != nil {
		t.Errorf("found %q, %v; want %q", got.bin, err, want)
	}
}
