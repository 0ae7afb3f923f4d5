package main

import (
	"bytes"
	"cmp"
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math/rand/v2"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"filippo.io/age"
	"github.com/jackc/pgx/v5"
	"github.com/rogpeppe/go-internal/testscript"

	"github.com/exactauth/exactauth/internal/exactsim"
	"github.com/exactauth/exactauth/internal/record"
	"github.com/exactauth/exactauth/tools/pgtest"
)

// The stores and seals that need a server: each script has its own PostgreSQL and its
// own keyring.

// database is a script's PostgreSQL, with a role that owns one database.
type database struct {
	*pgtest.Cluster
	role    pgtest.Role
	name    string
	made    time.Time
	stopped bool
	holder  *pgx.Conn // of a row
	host    string    // in addresses, if it is not the server's
	standby *pgtest.Cluster
}

// cmdPostgres acts on the script's PostgreSQL. "postgres new" makes it, and sets
// DB, its URL without a password, DB_PASSWORD, DB_ROLE, DB_NAME, DB_DIR, and PGPASSFILE.
func cmdPostgres(ts *testscript.TestScript, neg bool, args []string) {
	if len(args) == 0 {
		ts.Fatalf("usage: postgres VERB [ARG...]")
	}
	w := worldOf(ts)
	verb, args := args[0], args[1:]
	if verb == "new" {
		w.newDatabase(ts)
		return
	}
	db := w.database
	if db == nil {
		ts.Fatalf("there is no database: postgres new")
	}
	want := func(n int) {
		if len(args) != n {
			ts.Fatalf("postgres %s: want %d arguments", verb, n)
		}
	}
	switch verb {
	case "stop": // fast|immediate|crash
		want(1)
		mode, ok := map[string]pgtest.Mode{"fast": pgtest.Fast, "immediate": pgtest.Immediate, "crash": pgtest.Crash}[args[0]]
		if !ok {
			ts.Fatalf("unknown: postgres stop %s", args[0])
		}
		ts.Check(db.Stop(mode))
		db.stopped = true
	case "start":
		want(0)
		ts.Check(db.Start())
		db.stopped = false
	case "log-all": // statements with their parameters go to the server's log
		want(0)
		ts.Check(db.Exec(db.name, `ALTER SYSTEM SET log_statement = 'all'`, `ALTER SYSTEM SET log_min_duration_statement = 0`, `SELECT pg_reload_conf()`))
		pollUntil(ts, func() error {
			if got := db.query(ts, `SHOW log_statement`); len(got) != 1 || string(got[0]) != "all" {
				return fmt.Errorf("log_statement is %q", got)
			}
			return nil
		})
	case "bouncer": // SETTING...: puts a PgBouncer into DB, in front of the server
		db.host = db.Bouncer(w.t, args...)
		ts.Setenv("DB", db.address(false))
	case "standby": // starts a standby, and puts both servers into DB
		want(0)
		own, err := url.Parse(db.URL("", ""))
		ts.Check(err)
		db.standby = db.Standby(w.t)
		other, err := url.Parse(db.standby.URL("", ""))
		ts.Check(err)
		db.host = own.Host + "," + other.Host
		ts.Setenv("DB", db.address(false)+"&target_session_attrs=read-write")
	case "behind": // from now on the standby gets nothing
		want(0)
		ts.Check(db.Exec(db.name, `DO $$ BEGIN
			WHILE NOT (SELECT bool_and(flush_lsn >= pg_current_wal_flush_lsn()) FROM pg_stat_replication) LOOP PERFORM pg_stat_clear_snapshot(), pg_sleep(0.01); END LOOP;
		END $$`))
		ts.Check(db.standby.Exec(db.name, `ALTER SYSTEM SET primary_conninfo = ''`, `SELECT pg_reload_conf()`))
		pollUntil(ts, func() error {
			if len(db.query(ts, `SELECT pid FROM pg_stat_replication`)) > 0 {
				return errors.New("the standby is connected")
			}
			return nil
		})
	case "failover": // kills the server, and has the standby take its place
		want(0)
		ts.Check(db.Stop(pgtest.Crash))
		ts.Check(db.standby.Promote())
		db.Cluster = db.standby
	case "sql": // STATEMENT...: as the superuser
		ts.Check(db.Exec(db.name, args...))
	case "wait": // STATEMENT: until it returns a row
		want(1)
		pollUntil(ts, func() error {
			if len(db.query(ts, args[0])) == 0 {
				return errors.New("there is no such row")
			}
			return nil
		})
	case "record": // NAME FILE: writes the record as it is in the table
		want(2)
		ts.Check(os.WriteFile(ts.MkAbs(args[1]), db.record(ts, args[0]), 0o600))
		w.allowed = append(w.allowed, ts.MkAbs(args[1]))
	case "put": // NAME FILE: as a restored backup
		want(2)
		db.put(ts, args[0], []byte(ts.ReadFile(args[1])))
	case "hold": // NAME: locks the row, as another machine does
		want(1)
		db.holder = db.connect(ts)
		_, err := db.holder.Exec(context.Background(), `BEGIN; SELECT FROM exactauth_records WHERE name = '`+args[0]+`' FOR UPDATE`)
		ts.Check(err)
	case "let-go":
		want(0)
		ts.Check(db.holder.Close(context.Background()))
		pollUntil(ts, func() error { // its slot is free when the server has noticed
			if len(db.query(ts, `SELECT 1 FROM pg_stat_activity WHERE pid = $1`, db.holder.PgConn().PID())) > 0 {
				return errors.New("the connection is there")
			}
			return nil
		})
	case "address": // FILE: writes the URL with its password
		want(1)
		ts.Check(os.WriteFile(ts.MkAbs(args[0]), []byte(db.address(true)+"\n"), 0o600))
		w.allowed = append(w.allowed, ts.MkAbs(args[0]))
	case "age": // DURATION: makes the records and the simulator older
		want(1)
		d, err := time.ParseDuration(args[0])
		ts.Check(err)
		w.sim.Advance(d)
		for _, name := range db.query(ts, `SELECT convert_to(name, 'UTF8') FROM exactauth_records`) {
			db.put(ts, string(name), older(ts, db.record(ts, string(name)), d))
		}
		copies, err := filepath.Glob(filepath.Join(w.work, "state*", "*.kept"))
		ts.Check(err)
		for _, file := range copies {
			b, err := os.ReadFile(file)
			ts.Check(err)
			ts.Check(os.WriteFile(file, older(ts, b, d), 0o600))
		}
	case "clean": // means that no secret is in the tables, the write-ahead log, any other file of the server, or its log
		want(0)
		if !db.stopped {
			ts.Check(db.Exec(db.name, `CHECKPOINT`))
		}
		found := w.secretsIn(ts, db.Dir, db.made) // older files have none
		if !db.stopped {
			for _, row := range db.query(ts, `SELECT convert_to(r::text, 'UTF8') FROM exactauth_records r`) {
				found = append(found, w.secretsOf("the table", row)...)
			}
		}
		w.judge(ts, neg, found)
	default:
		ts.Fatalf("unknown: postgres %s", verb)
	}
}

func (w *world) newDatabase(ts *testscript.TestScript) {
	if w.t == nil {
		ts.Fatalf("postgres new: not in a test")
	}
	c := pgtest.Start(w.t) // or the script is skipped
	db := &database{Cluster: c, role: c.NewRole(w.t)}
	db.name = c.NewDatabase(w.t, db.role.Name)
	db.made = time.Now().Add(-time.Second) // files have a coarser clock
	w.database = db
	w.passwords = append(w.passwords, db.role.Password, c.Password)
	ts.Setenv("DB", db.address(false))
	ts.Setenv("DB_PASSWORD", db.role.Password)
	ts.Setenv("DB_ROLE", db.role.Name)
	ts.Setenv("DB_NAME", db.name)
	ts.Setenv("DB_DIR", c.Dir) // of its files
	ts.Setenv("PGPASSFILE", c.PassFile(w.t, db.role))
}

// address is the URL for the role that owns the database.
func (db *database) address(password bool) string {
	u, err := url.Parse(db.URL(db.role.Name, db.name))
	if err != nil {
		panic(err)
	}
	if password {
		u.User = url.UserPassword(db.role.Name, db.role.Password)
	}
	u.Host = cmp.Or(db.host, u.Host)
	return u.String() + "?sslmode=verify-full&sslrootcert=" + url.QueryEscape(db.CAFile())
}

// connect connects as the superuser.
func (db *database) connect(ts *testscript.TestScript) *pgx.Conn {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	conn, err := db.Connect(ctx, db.name)
	ts.Check(err)
	return conn
}

// query returns the first column of each row, as the superuser sees it.
func (db *database) query(ts *testscript.TestScript, statement string, args ...any) (column [][]byte) {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	conn := db.connect(ts)
	defer conn.Close(ctx)
	rows, err := conn.Query(ctx, statement, args...)
	ts.Check(err)
	for rows.Next() {
		column = append(column, bytes.Clone(rows.RawValues()[0]))
	}
	ts.Check(rows.Err())
	return column
}

func (db *database) record(ts *testscript.TestScript, name string) []byte {
	rows := db.query(ts, `SELECT record FROM exactauth_records WHERE name = $1`, name)
	if len(rows) != 1 {
		ts.Fatalf("there are %d records %s", len(rows), name)
	}
	return rows[0]
}

func (db *database) put(ts *testscript.TestScript, name string, record []byte) {
	if len(db.query(ts, `UPDATE exactauth_records SET record = $2 WHERE name = $1 RETURNING record`, name, record)) != 1 {
		ts.Fatalf("there is no record %s", name)
	}
}

// cmdClean: clean PATH... means that no secret is in the files there.
func cmdClean(ts *testscript.TestScript, neg bool, args []string) {
	var found []string
	for _, path := range args {
		found = append(found, worldOf(ts).secretsIn(ts, ts.MkAbs(path), time.Time{})...)
	}
	worldOf(ts).judge(ts, neg, found)
}

func (w *world) judge(ts *testscript.TestScript, neg bool, found []string) {
	if (len(found) == 0) == neg {
		ts.Fatalf("found %q", found)
	}
}

// secretsIn searches all files below root that were written since then for every
// secret, as text and as SQL writes bytes.
func (w *world) secretsIn(ts *testscript.TestScript, root string, since time.Time) (found []string) {
	err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		switch {
		case errors.Is(err, fs.ErrNotExist):
			return nil // a server at work removes files
		case err != nil:
			return err
		case !d.Type().IsRegular(), strings.HasPrefix(d.Name(), ".s.PGSQL."): // a socket, which Wine takes for a file
			return nil
		}
		if info, err := d.Info(); err == nil && info.ModTime().Before(since) {
			return nil
		}
		b, err := os.ReadFile(path)
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
		found = append(found, w.secretsOf(path, b)...)
		return nil
	})
	ts.Check(err)
	return found
}

func (w *world) secretsOf(what string, b []byte) (found []string) {
	for part, kind := range w.secretParts() {
		if bytes.Contains(b, []byte(part)) || bytes.Contains(b, []byte(hex.EncodeToString([]byte(part)))) {
			found = append(found, kind+" in "+what)
		}
	}
	return found
}

// cmdUnseal: unseal KEY FROM TO opens FROM as "age -d -i KEY FROM | tail -n +2 >TO" does.
func cmdUnseal(ts *testscript.TestScript, neg bool, args []string) {
	if len(args) != 3 {
		ts.Fatalf("usage: unseal KEY FROM TO")
	}
	identities, err := age.ParseIdentities(strings.NewReader(ts.ReadFile(args[0])))
	ts.Check(err)
	b, err := unsealed([]byte(ts.ReadFile(args[1])), identities)
	if neg {
		if err == nil {
			ts.Fatalf("%s was opened", args[1])
		}
		return
	}
	ts.Check(err)
	ts.Check(os.WriteFile(ts.MkAbs(args[2]), b, 0o600))
	w := worldOf(ts)
	w.allowed = append(w.allowed, ts.MkAbs(args[2]))
}

// unsealed returns the record in an age file.
func unsealed(b []byte, identities []age.Identity) ([]byte, error) {
	r, err := age.Decrypt(bytes.NewReader(b), identities...)
	if err != nil {
		return nil, err
	}
	b, err = io.ReadAll(r)
	_, rec, _ := bytes.Cut(b, []byte("\n")) // behind its proof
	return rec, err
}

// cmdForge: forge KEY FROM TO seals FROM as anybody can who has the public half of KEY.
func cmdForge(ts *testscript.TestScript, neg bool, args []string) {
	if len(args) != 3 {
		ts.Fatalf("usage: forge KEY FROM TO")
	}
	identities, err := age.ParseIdentities(strings.NewReader(ts.ReadFile(args[0])))
	ts.Check(err)
	var sealed bytes.Buffer
	w, err := age.Encrypt(&sealed, identities[0].(*age.X25519Identity).Recipient())
	ts.Check(err)
	_, err = io.WriteString(w, ts.ReadFile(args[1]))
	ts.Check(err)
	ts.Check(w.Close())
	ts.Check(os.WriteFile(ts.MkAbs(args[2]), sealed.Bytes(), 0o600))
}

// cmdKeyFile: key-file FILE makes an age identity.
func cmdKeyFile(ts *testscript.TestScript, neg bool, args []string) {
	i, err := age.GenerateX25519Identity()
	ts.Check(err)
	ts.Check(os.WriteFile(ts.MkAbs(args[0]), []byte(i.String()+"\n"), 0o600))
}

// sealKey is an age identity, which opens what is sealed.
var sealKey = regexp.MustCompile(`AGE-SECRET-KEY-1[0-9A-Z]{20}`)

// cmdCurrent: current FILE STATE is what the refresh token of the record in FILE
// is good for.
func cmdCurrent(ts *testscript.TestScript, neg bool, args []string) {
	if len(args) != 2 {
		ts.Fatalf("usage: current FILE STATE")
	}
	rec := readRecord(ts, ts.MkAbs(args[0]))
	if got := string(worldOf(ts).sim.RefreshTokenState(rec.Refresh.Reveal())); (got == args[1]) == neg {
		ts.Fatalf("the refresh token in %s is %s", args[0], got)
	}
}

// copies returns all copies of a profile's record, opened: those in the state directory
// and in the table.
func (w *world) copies(ts *testscript.TestScript, profile string) map[string]*record.Record {
	found := map[string][]byte{}
	if b, err := os.ReadFile(w.record(profile)); err == nil {
		found["the file"] = b
	}
	if w.database != nil && !w.database.stopped && len(w.database.query(ts, `SELECT 1 FROM pg_tables WHERE tablename = 'exactauth_records'`)) > 0 {
		for _, row := range w.database.query(ts, `SELECT record FROM exactauth_records WHERE name = $1 AND record <> ''`, profile) {
			found["the table"] = row
		}
	}
	var identities []age.Identity
	keys, _ := filepath.Glob(filepath.Join(w.work, "*.key"))
	for _, key := range keys {
		b, err := os.ReadFile(key)
		ts.Check(err)
		i, err := age.ParseIdentities(bytes.NewReader(b))
		ts.Check(err)
		identities = append(identities, i...)
	}
	opened := map[string]*record.Record{}
	for where, b := range found {
		if bytes.HasPrefix(b, []byte("age-encryption.org/")) {
			var err error
			b, err = unsealed(b, identities)
			ts.Check(err)
		}
		rec, err := record.Decode(b)
		ts.Check(err)
		opened[where] = rec
	}
	return opened
}

// oneLives checks the rule for each moment: one copy has the refresh token that the
// server accepts, and no two copies would be refreshed.
func (w *world) oneLives(ts *testscript.TestScript, profile string) (where string) {
	usable, current := []string{}, 0
	copies := w.copies(ts, profile)
	for where, rec := range copies {
		if !rec.SignedIn() {
			continue
		}
		if rec.MovedTo == "" {
			usable = append(usable, where)
		}
		if w.sim.RefreshTokenState(rec.Refresh.Reveal()) == exactsim.Current {
			current++
		}
	}
	if len(usable) > 1 || current == 0 {
		ts.Fatalf("of %d copies %q would be refreshed, and %d are current", len(copies), usable, current)
	}
	return strings.Join(usable, "")
}

// cmdLives: lives PROFILE file|table means that the login is there, and that no
// other place has a secret of it.
func cmdLives(ts *testscript.TestScript, neg bool, args []string) {
	if len(args) != 2 {
		ts.Fatalf("usage: lives PROFILE file|table")
	}
	w := worldOf(ts)
	if got := w.oneLives(ts, args[0]); got != "the "+args[1] {
		ts.Fatalf("the login lives in %q, want the %s", got, args[1])
	}
	for where, rec := range w.copies(ts, args[0]) {
		if where != "the "+args[1] && (rec.SignedIn() || !rec.ClientSecret.IsZero()) {
			ts.Fatalf("%s still has it", where)
		}
	}
}

// cmdMoves: moves N FLAG... | FLAG... runs "exactauth setup" N times to change the
// default profile's store or seal, with each of these lists of flags in turn. Each time
// it kills a first setup at a random moment and lets a second one complete. On a machine
// where the moment is often too late, it runs more rounds, until N/4 setups were killed.
func cmdMoves(ts *testscript.TestScript, neg bool, args []string) {
	w := worldOf(ts)
	n, err := strconv.Atoi(args[0])
	ts.Check(err)
	if runtime.GOOS == "windows" {
		n /= 4 // processes start slowly there, under Wine even more so
	}
	ways := [][]string{{"setup"}}
	for _, arg := range args[1:] {
		if arg == "|" {
			ways = append(ways, []string{"setup"})
			continue
		}
		ways[len(ways)-1] = append(ways[len(ways)-1], arg)
	}
	takes := time.Second / 2
	killed := 0
	for i := 0; i < n || killed < n/4 || (i-n)%len(ways) != 0; i++ {
		way := ways[i%len(ways)]
		if code, _ := exitOf(ts.Exec("killed", append([]string{takes.String(), "exactauth"}, way...)...)); code == 137 {
			killed++
		}
		w.oneLives(ts, "default")
		began := time.Now()
		ts.Check(ts.Exec("exactauth", way...))
		takes = time.Since(began)
		place := "file"
		if slices.ContainsFunc(way, func(s string) bool { return strings.HasPrefix(s, "postgres://") }) {
			place = "table"
		}
		cmdLives(ts, false, []string{"default", place})
	}
}

// killedMain: killed DURATION CMD [ARG...] runs CMD and kills it at a random moment
// within this time.
func killedMain() {
	within, err := time.ParseDuration(os.Args[1])
	if err != nil {
		panic(err)
	}
	cmd := exec.Command(os.Args[2], os.Args[3:]...)
	if err := cmd.Start(); err != nil {
		panic(err)
	}
	timer := time.AfterFunc(rand.N(within), func() { _ = kill(cmd.Process) })
	defer timer.Stop()
	code, _ := exitOf(cmd.Wait())
	os.Exit(code)
}

// keyring is a Secret Service on a bus of its own.
type keyring struct {
	dir    string
	bus    *exec.Cmd
	daemon *exec.Cmd
}

// keyringTools are the programs, of the Debian packages dbus and gnome-keyring.
var keyringTools = []string{"dbus-daemon", "dbus-send", "gnome-keyring-daemon"}

// Linux's numbers: not every system has the names.
const continueSignal, stopSignal = syscall.Signal(18), syscall.Signal(19)

// cmdKeyring acts on the script's keyring. "keyring new" makes an empty one that
// is unlocked, and sets DBUS_SESSION_BUS_ADDRESS.
func cmdKeyring(ts *testscript.TestScript, neg bool, args []string) {
	w := worldOf(ts)
	if len(args) != 1 {
		ts.Fatalf("usage: keyring VERB")
	}
	k := w.keyring
	if args[0] == "new" {
		var err error
		k = &keyring{}
		k.dir, err = os.MkdirTemp("", "exactauth-keyring-") // the path of a socket is short
		ts.Check(err)
		w.keyring = k
		ts.Defer(func() {
			k.end(k.daemon)
			k.end(k.bus)
			if said, err := os.ReadFile(filepath.Join(k.dir, "log")); err == nil && w.t.Failed() {
				ts.Logf("the keyring said: %s", said)
			}
			os.RemoveAll(k.dir)
		})
		k.startBus(ts)
		k.startDaemon(ts, true)
		ts.Setenv("DBUS_SESSION_BUS_ADDRESS", k.address())
		ts.Setenv("KEYRING_BUS", filepath.Join(k.dir, "bus"))
		return
	}
	if k == nil {
		ts.Fatalf("there is no keyring: keyring new")
	}
	switch args[0] {
	case "stop": // as at the end of its session; the bus stays
		k.end(k.daemon)
		k.daemon = nil
	case "start":
		k.startDaemon(ts, true)
	case "start-locked":
		k.startDaemon(ts, false)
	case "forget": // all items
		k.end(k.daemon)
		ts.Check(os.RemoveAll(filepath.Join(k.dir, "keyrings")))
		k.startDaemon(ts, true)
	case "freeze":
		ts.Check(k.daemon.Process.Signal(stopSignal))
	case "thaw":
		ts.Check(k.daemon.Process.Signal(continueSignal))
	default:
		ts.Fatalf("unknown: keyring %s", args[0])
	}
}

func (k *keyring) address() string { return "unix:path=" + filepath.Join(k.dir, "bus") }

// startBus starts a bus that starts nothing itself.
func (k *keyring) startBus(ts *testscript.TestScript) {
	config := filepath.Join(k.dir, "bus.conf")
	ts.Check(os.WriteFile(config, []byte(`<busconfig><type>session</type><listen>`+k.address()+`</listen><auth>EXTERNAL</auth>
<policy context="default"><allow send_destination="*" eavesdrop="true"/><allow eavesdrop="true"/><allow own="*"/></policy></busconfig>`), 0o600))
	k.bus = exec.Command("dbus-daemon", "--config-file="+config, "--nofork", "--nosyslog")
	k.start(ts, k.bus, "")
	pollUntil(ts, func() error { _, err := os.Stat(filepath.Join(k.dir, "bus")); return err })
}

// startDaemon starts the keyring. One that is unlocked makes the collection
// "login" if there is none.
func (k *keyring) startDaemon(ts *testscript.TestScript, unlocked bool) {
	args := []string{"--foreground", "--components=secrets"}
	password := ""
	if unlocked {
		args, password = append(args, "--unlock"), "the user's password"
	}
	k.daemon = exec.Command("gnome-keyring-daemon", args...)
	k.start(ts, k.daemon, password)
	pollUntil(ts, func() error {
		// It answers once it has its name on the bus.
		cmd := exec.Command("dbus-send", "--bus="+k.address(), "--print-reply", "--dest=org.freedesktop.secrets", "/org/freedesktop/secrets", "org.freedesktop.DBus.Peer.Ping")
		out, err := cmd.CombinedOutput()
		if err != nil {
			return fmt.Errorf("%w: %s", err, out)
		}
		return nil
	})
}

func (k *keyring) start(ts *testscript.TestScript, cmd *exec.Cmd, input string) {
	cmd.Env = []string{"PATH=" + os.Getenv("PATH"), "LC_ALL=C", "DBUS_SESSION_BUS_ADDRESS=" + k.address()}
	for _, name := range []string{"HOME", "XDG_RUNTIME_DIR", "XDG_DATA_HOME", "XDG_CONFIG_HOME", "XDG_CACHE_HOME"} {
		cmd.Env = append(cmd.Env, name+"="+k.dir)
	}
	log, err := os.OpenFile(filepath.Join(k.dir, "log"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	ts.Check(err)
	defer log.Close()
	cmd.Stdin, cmd.Stdout, cmd.Stderr = strings.NewReader(input), log, log
	ts.Check(cmd.Start())
}

// end ends a program of ours and waits for it.
func (k *keyring) end(cmd *exec.Cmd) {
	if cmd == nil {
		return
	}
	_ = cmd.Process.Kill() // also if it is frozen
	_ = cmd.Wait()
}
