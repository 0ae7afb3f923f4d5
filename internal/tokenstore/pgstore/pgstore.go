// Package pgstore keeps tokenstore records in a table of a PostgreSQL database,
// so that several machines can share one login. Record and lock are one row, which
// one transaction holds from before the change until the result is committed. The
// server frees the lock when the machine that held it dies.
//
// It sends plain statements only, so that other databases with PostgreSQL's protocol
// can be used. For what a URL and the PG* variables of the environment can set, see
// the documentation of libpq and of github.com/jackc/pgx/v5/pgconn.
package pgstore

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/netip"
	"net/url"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/exactauth/exactauth/internal/fault"
	"github.com/exactauth/exactauth/internal/record"
	"github.com/exactauth/exactauth/internal/tokenstore"
	"github.com/exactauth/exactauth/internal/trust"
)

// schema makes the table. A Store runs it if there is no table; if its role must not,
// another role that may runs it once.
const schema = `CREATE TABLE IF NOT EXISTS exactauth_records (
  name    text PRIMARY KEY,
  record  bytea NOT NULL,
  room    bytea,
  changed timestamptz NOT NULL
)`

const (
	// idleLimit is how long the server lets a transaction hold a row without a
	// statement: longer than the longest refresh, which takes 60 s.
	idleLimit = 120 * time.Second

	// lockLimit bounds the wait for a row if the caller's context does not.
	lockLimit = 5 * time.Minute

	// saveLimit bounds the commit of a result. It is short because until the commit, or
	// until the caller keeps the result elsewhere, the result exists in this process only.
	saveLimit = 2 * time.Second

	// connectLimit is for a server that does not answer, if the URL sets no
	// connect_timeout; refusedLimit is for one that refuses connections, as during
	// its restart; poolerLimit is for a PgBouncer that has not reached the server:
	// longer than the 15 s after which it tries again by default.
	connectLimit = 10 * time.Second
	refusedLimit = 3 * time.Second
	poolerLimit  = 20 * time.Second
)

// Store is a store of one row per record. Many processes, machines and goroutines
// can use it at once.
type Store struct {
	config *pgconn.Config
	shown  string
	weak   string // see Weak

	mu   sync.Mutex
	idle *pgconn.PgConn // open and in no transaction; nil if there is none
}

// New returns the store in the database that a URL names, for example
// postgres://user@host:5432/database?sslmode=verify-full. It does not connect
// yet. Errors do not repeat the URL, which can contain a password.
func New(address string) (*Store, error) {
	shown, err := Shown(address)
	if err != nil {
		return nil, err
	}
	config, err := pgconn.ParseConfig(address)
	weak := ""
	if err == nil && slices.ContainsFunc(targets(config), remote) {
		u, _ := url.Parse(address) // as Shown has done
		if weak = u.Query().Get("sslmode"); weak == "" || weak == "verify-full" {
			weak = ""
			u.RawQuery = strings.Trim(u.RawQuery+"&sslmode=verify-full", "&") // the driver's default does without TLS
			config, err = pgconn.ParseConfig(u.String())
		}
	}
	if err != nil {
		why := "it is not understood"
		if err := errors.Unwrap(err); err != nil { // the outer one repeats the URL
			why = fault.Printable(err.Error())
		}
		return nil, errors.New(why)
	}
	config.RuntimeParams["application_name"] = "exactauth"
	if config.ConnectTimeout <= 0 || config.ConnectTimeout == 2*time.Minute { // the driver's default
		config.ConnectTimeout = connectLimit
	}
	proof := ""
	for _, t := range targets(config) {
		proof = max(proof, demanded(t)) // the narrowest has the highest first letter
	}
	if a := config.RequireAuth; proof != "" && (a == "" || strings.Contains(a, "!") || strings.Contains(a, "password") || strings.Contains(a, "md5")) {
		config.RequireAuth = proof
	}
	config.MaxProtocolMessageBodyLen = mostReceived
	config.AfterNetConnect = func(_ context.Context, _ *pgconn.Config, c net.Conn) (net.Conn, error) {
		b := &bounded{Conn: c}
		b.left.Store(mostReceived)
		if socket, ok := c.(*net.UnixConn); ok {
			return b, trust.Server(socket, socket.RemoteAddr().String())
		}
		return b, nil
	}
	return &Store{config: config, shown: shown, weak: weak}, nil
}

// targets returns the servers and ways to connect that are tried, one after the other.
func targets(c *pgconn.Config) []*pgconn.FallbackConfig {
	return append([]*pgconn.FallbackConfig{{Host: c.Host, Port: c.Port, TLSConfig: c.TLSConfig}}, c.Fallbacks...)
}

// remote reports whether a server is reached over a network: not by a socket, nor by a
// loopback address.
func remote(t *pgconn.FallbackConfig) bool {
	ip, err := netip.ParseAddr(t.Host)
	return !onSocket(t) && t.Host != "localhost" && (err != nil || !ip.IsLoopback())
}

func onSocket(t *pgconn.FallbackConfig) bool {
	network, _ := pgconn.NetworkAddress(t.Host, t.Port)
	return network == "unix"
}

// demanded returns the ways to sign in that are taken from a server, as require_auth has
// them, or nothing for all. Whoever is taken for the server would get the password, or what
// MD5 makes of it, which is as good, and then the records.
//
// Any user of this machine can listen at a free port of a loopback address. Without a
// certificate for that address the server must prove by SCRAM that it knows the password's
// verifier. On a network only clear text and MD5 are refused without TLS: who is on the way
// can pass SCRAM on to the server, and whoever wrote such an address was warned (see Weak).
func demanded(t *pgconn.FallbackConfig) string {
	c := t.TLSConfig
	switch {
	case onSocket(t): // trust.Server looks who listens
	case remote(t) && c == nil:
		return "!password,!md5"
	case !remote(t) && (c == nil || c.InsecureSkipVerify && c.VerifyPeerCertificate == nil):
		return "scram-sha-256"
	}
	return ""
}

// mostReceived limits what is read of a server between two calls: a record and what goes
// with it. A server that is not the right one, or another role that may write the table,
// could fill this machine's memory.
const mostReceived = tokenstore.MaxRecord + 1<<20

// bounded is a connection that reads that much at most.
type bounded struct {
	net.Conn
	left atomic.Int64
}

func (b *bounded) Read(p []byte) (int, error) {
	if b.left.Load() <= 0 {
		return 0, errors.New("the server sends more than a record can have")
	}
	n, err := b.Conn.Read(p)
	b.left.Add(int64(-n))
	return n, err
}

// Weak returns the sslmode in the address of a server on a network, if it does not make
// sure that the server is the one in the address. Without any it is verify-full.
func (s *Store) Weak() string { return s.weak }

// Shown returns a database URL without its password and options. It fails for text
// that is not such a URL.
func Shown(address string) (string, error) {
	u, err := url.Parse(address)
	switch {
	case err != nil:
		return "", errors.New("it is not a well-formed URL")
	case u.Scheme != "postgres" && u.Scheme != "postgresql":
		return "", errors.New("want an address that begins with postgres://")
	}
	shown := url.URL{Scheme: "postgres", Host: u.Host, Path: u.Path}
	if u.Host == "" {
		shown.Host = u.Query().Get("host") // a socket's directory
	}
	if name := u.User.Username(); name != "" {
		shown.User = url.User(name)
	}
	return shown.String(), nil
}

// String returns the address without password and options.
func (s *Store) String() string { return s.shown }

// Same reports whether two stores are the same table, as far as their addresses
// show. Passwords, TLS and time limits do not count.
func (s *Store) Same(other *Store) bool {
	one, two := s.config.RuntimeParams, other.config.RuntimeParams
	return s.shown == other.shown && one["search_path"] == two["search_path"] && one["options"] == two["options"]
}

// Close closes the idle connection.
func (s *Store) Close() {
	if c := s.take(); c != nil {
		end(c)
	}
}

// Read returns the record, or fs.ErrNotExist. It waits for no lock, and sees only
// what is committed.
func (s *Store) Read(ctx context.Context, name string) ([]byte, error) {
	if err := tokenstore.CheckName(name); err != nil {
		return nil, err
	}
	var found []byte
	c, err := s.try(ctx, func(c *pgconn.PgConn) error {
		rows, err := query(ctx, c, `SELECT `+wholeRecord()+` FROM exactauth_records WHERE name = $1`, name)
		if err == nil && len(rows) == 1 {
			found, err = whole(rows[0])
		}
		return err
	})
	if err == nil {
		s.give(c)
	}
	switch {
	case is(err, undefinedTable), err == nil && len(found) == 0:
		return nil, fs.ErrNotExist
	case err != nil:
		return nil, s.failed(ctx, "read", name, inTime(ctx, err))
	}
	return found, nil
}

// Update changes the record while its row is locked; see record.Store. To make room,
// it writes a long result into the row first, in the same transaction. The
// result is committed and flushed when Update returns.
//
// If the lock cannot be had before ctx ends, or the database is read-only, full or
// closed to this role, change is not called. If the result could not be committed, or
// the outcome is unknown, the error is Late.
func (s *Store) Update(ctx context.Context, name string, change record.Change) error {
	if err := tokenstore.CheckName(name); err != nil {
		return err
	}
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	var old []byte
	began := time.Now()
	c, err := s.try(ctx, func(c *pgconn.PgConn) (err error) {
		if old, err = lock(ctx, c, name); is(err, undefinedTable) {
			if err = makeTable(ctx, c); err == nil {
				old, err = lock(ctx, c, name)
			}
		}
		if err != nil {
			return err
		}
		_, err = query(ctx, c, `UPDATE exactauth_records SET room = $2 WHERE name = $1`, name, noise(tokenstore.Room(old)))
		return err
	})
	if err != nil {
		return s.notLocked(ctx, "lock and make room for", name, began, err)
	}
	defer func() { s.give(c) }() // which ends it if the transaction is not over, as after a panic

	changed, err := change(ctx, old)
	write, err := tokenstore.Result(s.place(name), old, changed, err)
	if write {
		return s.save(ctx, c, name, changed)
	}
	// If this fails, the connection is ended, and with it the transaction.
	undoing, cancel := context.WithTimeout(context.WithoutCancel(ctx), saveLimit)
	defer cancel()
	_ = run(undoing, c, `ROLLBACK`)
	return err
}

// save makes result the locked row's record and commits.
func (s *Store) save(ctx context.Context, c *pgconn.PgConn, name string, result []byte) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), saveLimit)
	defer cancel()
	rows, err := query(ctx, c, `UPDATE exactauth_records SET record = $2, room = NULL, changed = now() WHERE name = $1 RETURNING name`, name, result)
	if err == nil && len(rows) != 1 {
		err = errors.New("the locked row is gone")
	}
	if err == nil {
		err = commit(ctx, c)
	}
	if err != nil {
		return &tokenstore.Error{Kind: tokenstore.Late, Op: "write", Name: s.place(name), Err: cause(err)}
	}
	return nil
}

// Delete removes the record when its lock is free, also while another transaction
// makes it. Deleting what does not exist is no error.
func (s *Store) Delete(ctx context.Context, name string) error {
	if err := tokenstore.CheckName(name); err != nil {
		return err
	}
	began := time.Now()
	committing := false
	c, err := s.try(ctx, func(c *pgconn.PgConn) error {
		// DELETE alone would not see, and so not wait for, a row that another
		// transaction has made and not committed.
		if _, err := lock(ctx, c, name); err != nil {
			return err
		}
		if _, err := query(ctx, c, `DELETE FROM exactauth_records WHERE name = $1`, name); err != nil {
			return err
		}
		committing = true
		return commit(ctx, c)
	})
	switch {
	case err == nil:
		s.give(c)
		return nil
	case is(err, undefinedTable):
		return nil
	case committing: // it may have been carried out
		return &tokenstore.Error{Kind: tokenstore.Late, Op: "delete", Name: s.place(name), Err: cause(err)}
	}
	return s.notLocked(ctx, "delete", name, began, err)
}

// notLocked returns the error of a call that could not have the lock.
func (s *Store) notLocked(ctx context.Context, op, name string, began time.Time, err error) error {
	if is(err, lockNotAvailable) || timedOut(ctx, err) && !errors.Is(err, errSilent) {
		return &tokenstore.Error{Kind: tokenstore.Lock, Op: "lock", Name: s.place(name),
			Err: fmt.Errorf("another process or machine has held it for the %s that this one waited: %w", time.Since(began).Round(time.Millisecond), context.DeadlineExceeded)}
	}
	return s.failed(ctx, op, name, err)
}

func (s *Store) place(name string) string { return s.shown + " record " + name }

// failed returns the error of a call that changed nothing: the cause if the caller
// gave up.
func (s *Store) failed(ctx context.Context, op, name string, err error) error {
	if errors.Is(ctx.Err(), context.Canceled) {
		return context.Cause(ctx)
	}
	err = cause(err)
	if _, is := err.(awayError); is {
		op = "cannot reach the database to " + op
	}
	return &tokenstore.Error{Kind: tokenstore.Database, Op: op, Name: s.place(name), Err: err}
}

// begin returns the statements that open a transaction with its limits. All limits
// are local to the transaction, because a pooler may hand the connection to another
// client afterwards. A commit counts once it is flushed, whatever the server's
// default is.
func begin(ctx context.Context) string {
	wait := lockLimit
	if until, ok := ctx.Deadline(); ok {
		wait = max(min(time.Until(until), wait), time.Millisecond)
	}
	return fmt.Sprintf(`BEGIN ISOLATION LEVEL READ COMMITTED READ WRITE;
SET LOCAL lock_timeout = %d;
SET LOCAL statement_timeout = %d;
SET LOCAL idle_in_transaction_session_timeout = %d;
SELECT set_config('synchronous_commit', 'on', true) WHERE current_setting('synchronous_commit', true) IN ('off', 'local')`,
		wait.Milliseconds(), (wait + saveLimit).Milliseconds(), idleLimit.Milliseconds())
}

// lock begins a transaction, locks the row of that name and returns its record, nil if
// there is none. It makes the row if there is none, because only a row can be locked.
func lock(ctx context.Context, c *pgconn.PgConn, name string) ([]byte, error) {
	// So that the server notices when this machine is gone, also while it waits for
	// the lock. Not every server has these settings, and none needs them.
	for _, statement := range []string{
		`SET tcp_keepalives_idle = 15; SET tcp_keepalives_interval = 5; SET tcp_keepalives_count = 3`,
		`SET client_connection_check_interval = 1000`,
	} {
		if err := run(ctx, c, statement); err != nil && c.IsClosed() {
			return nil, inTime(ctx, err) // a pooler may have no connection to spare
		}
	}
	for {
		if err := run(ctx, c, begin(ctx)); err != nil {
			return nil, inTime(ctx, err)
		}
		_, err := query(ctx, c, `INSERT INTO exactauth_records (name, record, changed) VALUES ($1, '', now()) ON CONFLICT (name) DO NOTHING`, name)
		if err != nil {
			return nil, err
		}
		rows, err := query(ctx, c, `SELECT `+wholeRecord()+` FROM exactauth_records WHERE name = $1 FOR UPDATE`, name)
		if err != nil {
			return nil, err
		}
		if len(rows) == 1 {
			return whole(rows[0])
		}
		if err := run(ctx, c, `ROLLBACK`); err != nil { // the last holder deleted it
			return nil, err
		}
	}
}

// wholeRecord returns a record in a query, up to a byte more than a record has at most.
func wholeRecord() string {
	return fmt.Sprintf("substring(record from 1 for %d)", tokenstore.MaxRecord+1)
}

// whole returns the record in a row, nil if it is empty.
func whole(row [][]byte) ([]byte, error) {
	switch n := len(row[0]); {
	case n == 0:
		return nil, nil
	case n > tokenstore.MaxRecord:
		return nil, fmt.Errorf("the row is no record: it has more than %d bytes", tokenstore.MaxRecord)
	}
	return row[0], nil
}

// commit commits. A server that had to roll back reports no error; only the command
// tag differs.
func commit(ctx context.Context, c *pgconn.PgConn) error {
	results, err := c.Exec(ctx, `COMMIT`).ReadAll()
	if err != nil {
		return err
	}
	if len(results) != 1 || results[0].CommandTag.String() != "COMMIT" {
		return errors.New("the server rolled back")
	}
	return nil
}

// makeTable ends the transaction and makes the table.
func makeTable(ctx context.Context, c *pgconn.PgConn) error {
	if err := run(ctx, c, `ROLLBACK`); err != nil {
		return err
	}
	err := run(ctx, c, schema)
	// Another process may be making it at this moment: IF NOT EXISTS does not see
	// what is not committed, and the catalogue then has a duplicate key.
	if is(err, uniqueViolation, duplicateTable, duplicateObject) {
		err = run(ctx, c, schema)
	}
	return err
}

// run runs statements without parameters.
func run(ctx context.Context, c *pgconn.PgConn, statements string) error {
	_, err := c.Exec(ctx, statements).ReadAll()
	return err
}

// query runs one statement. It sends string parameters as text and []byte parameters
// as binary, and returns binary columns.
func query(ctx context.Context, c *pgconn.PgConn, statement string, params ...any) ([][][]byte, error) {
	values, formats := make([][]byte, len(params)), make([]int16, len(params))
	for i, p := range params {
		switch p := p.(type) {
		case string:
			values[i] = []byte(p)
		case []byte:
			values[i], formats[i] = p, 1
		}
	}
	result := c.ExecParams(ctx, statement, values, nil, formats, []int16{1}).Read()
	return result.Rows, result.Err
}

// noise returns bytes that no server can compress.
func noise(n int) []byte {
	b := make([]byte, n)
	_, _ = rand.Read(b) // never fails
	return b
}

// try runs work on a connection, and once more on a new one if the first was an
// idle one that has died: what work does before it commits can be done again. It
// returns the connection, unless it fails.
func (s *Store) try(ctx context.Context, work func(*pgconn.PgConn) error) (*pgconn.PgConn, error) {
	for c := s.take(); ; c = nil {
		fresh := c == nil
		if fresh {
			var err error
			if c, err = s.connect(ctx); err != nil {
				return nil, err
			}
		}
		c.Conn().(*bounded).left.Store(mostReceived) // connect has made all of them
		err := work(c)
		if err == nil {
			return c, nil
		}
		died := c.IsClosed()
		end(c)
		if fresh || !died || ctx.Err() != nil {
			return nil, err
		}
	}
}

func (s *Store) take() *pgconn.PgConn {
	s.mu.Lock()
	defer s.mu.Unlock()
	c := s.idle
	s.idle = nil
	return c
}

// give keeps a connection for the next call, or ends it if it is of no use for one.
func (s *Store) give(c *pgconn.PgConn) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.idle == nil && !c.IsClosed() && c.TxStatus() == 'I' {
		s.idle = c
		return
	}
	end(c)
}

// end ends a connection and with it its transaction.
func end(c *pgconn.PgConn) {
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	_ = c.Close(ctx) // the connection is closed whatever the server answers
}

// connect connects. It retries while a server restarts or has too many clients. If ctx
// ends meanwhile, the error is what the server said last.
func (s *Store) connect(ctx context.Context) (*pgconn.PgConn, error) {
	began := time.Now()
	var last error
	for pause := 20 * time.Millisecond; ; pause = min(2*pause, 500*time.Millisecond) {
		config := s.config.Copy()
		c, err := pgconn.ConnectConfig(ctx, config)
		if err == nil {
			// At the end of a wait the driver would connect once more, to cancel the
			// statement. PgBouncer up to 1.20 can end itself then, and a server needs no
			// request: the wait has its own limit there.
			config.DialFunc = func(context.Context, string, string) (net.Conn, error) { return nil, net.ErrClosed }
			return c, nil
		}
		if ctx.Err() == nil || last == nil {
			last = err
		}
		if !transient(err, time.Since(began)) || fault.Pause(ctx, pause) != nil {
			return nil, last
		}
	}
}

// transient reports whether a server that could not be reached for this time may soon be
// there.
func transient(err error, lasted time.Duration) bool {
	var said *pgconn.PgError
	switch {
	case is(err, tooManyConnections, cannotConnectNow):
		return true
	case is(err, protocolViolation) && errors.As(err, &said): // all that PgBouncer says; it names its setting
		return strings.Contains(said.Message, "(max_client_conn)") ||
			strings.Contains(said.Message, "(server_login_retry)") && lasted < poolerLimit
	}
	return isRefused(err) && lasted < refusedLimit
}

// wsaRefused is Windows Sockets' own number, which the syscall package's name does not match.
const wsaRefused = syscall.Errno(10061) // WSAECONNREFUSED

// isRefused reports whether a port that was connected to has no listener.
func isRefused(err error) bool {
	return errors.Is(err, syscall.ECONNREFUSED) || errors.Is(err, wsaRefused)
}

// The server's error codes (PostgreSQL documentation, appendix A) that this package
// acts on.
const (
	undefinedTable     = "42P01"
	duplicateTable     = "42P07"
	duplicateObject    = "42710"
	uniqueViolation    = "23505"
	lockNotAvailable   = "55P03"
	protocolViolation  = "08P01"
	tooManyConnections = "53300"
	cannotConnectNow   = "57P03"
)

// is reports whether the server answered with one of these codes.
func is(err error, codes ...string) bool {
	said, ok := errors.AsType[*pgconn.PgError](err)
	return ok && slices.Contains(codes, said.Code)
}

// cause returns err as one line. It keeps only the text of the driver's own errors,
// because a connection's time limit is not the caller's.
func cause(err error) error {
	if errors.Is(err, context.DeadlineExceeded) && !isConnect(err) {
		return err
	}
	var said *pgconn.PgError
	var open *trust.Error
	var away *pgconn.ConnectError
	switch {
	case errors.As(err, &open):
		return open
	case errors.As(err, &said):
		return fmt.Errorf("the database says: %s (%s)", fault.Printable(said.Message), said.Code)
	case errors.As(err, &away):
		// A line for each attempt: the driver tries an address with TLS and without.
		lines := slices.Compact(strings.Split(away.Unwrap().Error(), "\n"))
		return awayError(fault.Printable(strings.Join(lines, "; ")))
	}
	return errors.New(fault.Printable(err.Error()))
}

// awayError is why there is no connection to the database.
type awayError string

func (e awayError) Error() string { return string(e) }

// errSilent is wrapped where the server has not answered a statement that waits for no
// lock.
var errSilent = errors.New("it did not answer in time")

// inTime returns err, with errSilent if it is that the caller's time is over.
func inTime(ctx context.Context, err error) error {
	if timedOut(ctx, err) {
		return fmt.Errorf("%w: %w", errSilent, err)
	}
	return err
}

// timedOut reports whether a connected call failed with err because the caller's time
// is over, rather than that the caller gave up.
func timedOut(ctx context.Context, err error) bool {
	return errors.Is(ctx.Err(), context.DeadlineExceeded) && !isConnect(err)
}

func isConnect(err error) bool { return errors.As(err, new(*pgconn.ConnectError)) }
