// Package pgstore keeps tokenstore records in a table of a PostgreSQL database,
// so that several machines share one login. Record and lock are one row, held by
// one transaction from before the change until its result is committed; the
// server frees the lock when the machine that held it dies.
//
// It speaks PostgreSQL's protocol with plain statements only, for what else
// speaks it. What the driver's URL and the PG* variables of the environment may
// say is in the documentation of libpq and of github.com/jackc/pgx/v5/pgconn.
package pgstore

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"github.com/jackc/pgx/v5/pgconn"
	"io/fs"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/exactauth/exactauth/internal/fault"
	"github.com/exactauth/exactauth/internal/record"
	"github.com/exactauth/exactauth/internal/tokenstore"
)

// schema makes the table. A Store runs it when it finds no table; where its role
// may not, somebody who may runs it once.
const schema = `CREATE TABLE IF NOT EXISTS exactauth_records (
  name    text PRIMARY KEY,
  record  bytea NOT NULL,
  room    bytea,
  version bigint NOT NULL,
  changed timestamptz NOT NULL
)`

const (
	// idleLimit is how long the server lets a transaction hold a row while it
	// hears nothing: longer than the longest refresh, which takes 60 s.
	idleLimit = 120 * time.Second

	// lockLimit bounds the wait for a row if the caller's context does not.
	lockLimit = 5 * time.Minute

	// A save gets saveLimit, and if its outcome is unknown againLimit once more on
	// a new connection. They are short because until then the result is nowhere.
	saveLimit  = 5 * time.Second
	hastyLimit = 2 * time.Second // for a caller who can keep it elsewhere
	againLimit = 3 * time.Second

	// connectLimit is for a server that does not answer at all, if the URL does
	// not say (connect_timeout); refusedLimit for one that refuses, as while it is
	// started again.
	connectLimit = 10 * time.Second
	refusedLimit = 3 * time.Second

	// minRoom is the file store's.
	minRoom = 16 << 10
)

// Store is a store of one row per record. It is safe for use by many processes,
// machines and goroutines at once.
type Store struct {
	config *pgconn.Config
	shown  string
	hasty  bool // what cannot be committed at once is the caller's to keep

	mu   sync.Mutex
	idle *pgconn.PgConn // one that is open and in no transaction
}

// New returns the store in the database that a URL names, as
// postgres://user@host:5432/database?sslmode=verify-full. No connection is made
// yet. Errors do not repeat the URL, which may hold a password.
func New(address string) (*Store, error) {
	shown, err := Shown(address)
	if err != nil {
		return nil, err
	}
	config, err := pgconn.ParseConfig(address)
	if err != nil {
		why := "it is not understood"
		if err := errors.Unwrap(err); err != nil { // the outer one repeats the URL
			why = fault.Printable(err.Error())
		}
		return nil, fmt.Errorf("%s: %s", shown, why)
	}
	config.RuntimeParams["application_name"] = "exactauth"
	if config.ConnectTimeout <= 0 || config.ConnectTimeout == 2*time.Minute { // the driver's, if nothing is said
		config.ConnectTimeout = connectLimit
	}
	return &Store{config: config, shown: shown}, nil
}

// Shown gives a database URL as it may be shown: without its password and its
// options. It fails for what is no such URL.
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

// HasPassword reports whether there is a password in a database URL.
func HasPassword(address string) bool {
	u, err := url.Parse(address)
	if err != nil {
		return strings.Contains(address, "://") // for all that can be told
	}
	_, has := u.User.Password()
	return has || u.Query().Has("password") || u.Query().Has("sslpassword")
}

// Hasty gives the same store for a caller who has another place for a result: it
// does not try again to commit one before it gives a Late error, because until then
// the result is nowhere.
func (s *Store) Hasty() *Store { return &Store{config: s.config, shown: s.shown, hasty: true} }

// String gives the address without password and options.
func (s *Store) String() string { return s.shown }

// Same reports whether two stores are the same table, for all that their addresses
// tell. Passwords, TLS and time limits do not count.
func (s *Store) Same(other *Store) bool {
	for _, name := range []string{"search_path", "options"} {
		if s.config.RuntimeParams[name] != other.config.RuntimeParams[name] {
			return false
		}
	}
	return s.shown == other.shown
}

// Close gives the connections back.
func (s *Store) Close() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.idle != nil {
		end(s.idle)
		s.idle = nil
	}
}

// Read returns the record, or fs.ErrNotExist. It waits for no lock, and sees only
// what is committed.
func (s *Store) Read(ctx context.Context, name string) ([]byte, error) {
	if err := tokenstore.CheckName(name); err != nil {
		return nil, err
	}
	var record []byte
	c, err := s.try(ctx, func(c *pgconn.PgConn) error {
		rows, err := query(ctx, c, `SELECT record FROM exactauth_records WHERE name = $1`, name)
		if err == nil && len(rows) == 1 {
			record = rows[0][0]
		}
		return err
	})
	if err == nil {
		s.give(c)
	}
	switch {
	case is(err, undefinedTable), err == nil && len(record) == 0:
		return nil, fs.ErrNotExist
	case err != nil && ctx.Err() != nil && !late(ctx):
		return nil, context.Cause(ctx)
	case err != nil && late(ctx) && !isConnect(err):
		return nil, s.fail("read", name, errors.New("it did not answer in time"))
	case err != nil:
		return nil, s.fail("read", name, err)
	}
	return record, nil
}

// Update changes the record name while its row is locked. It calls change with
// the record as it is now (nil if there is none) after it has written a result
// three times as large into the row, which is undone again, and returns when the
// result is committed and flushed.
//
// If the lock cannot be had until ctx ends, or the database is read-only, full or
// not ours to write, change is not called. If the result could not be committed,
// or not surely, also on a second connection, the error is Late.
func (s *Store) Update(ctx context.Context, name string, change record.Change) error {
	if err := tokenstore.CheckName(name); err != nil {
		return err
	}
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	var held *row
	began := time.Now()
	c, err := s.try(ctx, func(c *pgconn.PgConn) (err error) {
		if held, err = lock(ctx, c, name); is(err, undefinedTable) {
			if err = makeTable(ctx, c); err == nil {
				held, err = lock(ctx, c, name)
			}
		}
		if err != nil {
			return err
		}
		_, err = query(ctx, c, `UPDATE exactauth_records SET room = $2 WHERE name = $1`, name, noise(max(3*len(held.record), minRoom)))
		return err
	})
	switch {
	case err == nil:
	case lockedOut(ctx, err):
		return s.failLock(name, began)
	case ctx.Err() != nil && !late(ctx):
		return context.Cause(ctx)
	default:
		return s.fail("lock and make room for", name, err)
	}
	defer func() { s.give(c) }() // which ends it if the transaction is not over, as after a panic

	changed, err := change(ctx, held.record)
	switch {
	case errors.Is(err, record.ErrUnchanged):
		err = nil
	case err != nil:
	case len(changed) == 0:
		err = s.fail("write", name, errors.New("the new record is empty"))
	case len(changed) > tokenstore.MaxRecord:
		err = &tokenstore.Error{Op: "write", Name: s.place(name), Err: fmt.Errorf("it has %d bytes; no record is as large as that", len(changed)), Late: true}
	case !bytes.Equal(changed, held.record):
		return s.save(ctx, c, name, held, changed)
	}
	// If this fails, the connection is ended, and with it the transaction.
	undoing, cancel := context.WithTimeout(context.WithoutCancel(ctx), againLimit)
	defer cancel()
	_ = run(undoing, c, `ROLLBACK`)
	return err
}

// save commits the result. A commit whose outcome is unknown is looked for, and
// repeated if it did not happen, on a new connection: the version tells.
func (s *Store) save(ctx context.Context, c *pgconn.PgConn, name string, held *row, result []byte) error {
	limit := saveLimit
	if s.hasty {
		limit = hastyLimit
	}
	saving, cancel := context.WithTimeout(context.WithoutCancel(ctx), limit)
	defer cancel()
	err := write(saving, c, name, held.version, result)
	switch {
	case err == nil:
		return nil
	case s.hasty:
		return &tokenstore.Error{Op: "write", Name: s.place(name), Err: cause(err), Late: true}
	}
	end(c) // so that its lock does not outlive it
	again, cancel := context.WithTimeout(context.WithoutCancel(ctx), againLimit)
	defer cancel()
	if err := s.saveAgain(again, name, held, result); err != nil {
		return &tokenstore.Error{Op: "write", Name: s.place(name), Err: err, Late: true}
	}
	return nil
}

func (s *Store) saveAgain(ctx context.Context, name string, held *row, result []byte) error {
	c, err := s.connect(ctx)
	if err != nil {
		return cause(err)
	}
	defer end(c)
	now, err := lock(ctx, c, name)
	switch {
	case err != nil:
		return cause(err)
	case now.version == held.version+1 && bytes.Equal(now.record, result):
		return nil // it had happened
	case now.version != held.version:
		return errors.New("another machine has changed it meanwhile")
	}
	if err := write(ctx, c, name, now.version, result); err != nil {
		return cause(err)
	}
	return nil
}

// Delete removes the record when its lock is free, also the lock of one that is
// only being made. Deleting what does not exist is no error.
func (s *Store) Delete(ctx context.Context, name string) error {
	if err := tokenstore.CheckName(name); err != nil {
		return err
	}
	began := time.Now()
	c, err := s.try(ctx, func(c *pgconn.PgConn) error {
		// DELETE alone would not see, and so not wait for, a row that another
		// transaction has made and not committed.
		if _, err := lock(ctx, c, name); err != nil {
			return err
		}
		if _, err := query(ctx, c, `DELETE FROM exactauth_records WHERE name = $1`, name); err != nil {
			return err
		}
		return commit(ctx, c)
	})
	switch {
	case err == nil:
		s.give(c)
		return nil
	case is(err, undefinedTable):
		return nil
	case lockedOut(ctx, err):
		return s.failLock(name, began)
	case ctx.Err() != nil && !late(ctx):
		return context.Cause(ctx)
	}
	return s.fail("delete", name, err)
}

// lockedOut reports whether the lock could not be had in time.
func lockedOut(ctx context.Context, err error) bool {
	return is(err, lockNotAvailable) || late(ctx) && !isConnect(err)
}

func (s *Store) failLock(name string, began time.Time) error {
	return s.fail("lock", name, fmt.Errorf("somebody else has held it for the %s that this process waited: %w", time.Since(began).Round(time.Millisecond), context.DeadlineExceeded))
}

func (s *Store) place(name string) string { return s.shown + " record " + name }

func (s *Store) fail(op, name string, err error) error {
	return &tokenstore.Error{Op: op, Name: s.place(name), Err: cause(err)}
}

// row is a locked row.
type row struct {
	record  []byte // nil if there is none yet
	version int64  // how often it was changed
}

// begin opens a transaction with its limits, all of them local to it, since a
// pooler may hand the connection to somebody else after. A commit counts when it
// is flushed, whatever the server's default says.
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

// lock begins a transaction and locks the row of that name, which it makes if
// there is none: what does not exist cannot be locked.
func lock(ctx context.Context, c *pgconn.PgConn, name string) (*row, error) {
	// The server is to notice when this machine is gone, also while it waits for
	// the lock. Not every server knows these settings, and none needs them.
	for _, statement := range []string{
		`SET tcp_keepalives_idle = 15; SET tcp_keepalives_interval = 5; SET tcp_keepalives_count = 3`,
		`SET client_connection_check_interval = 1000`,
	} {
		if err := run(ctx, c, statement); err != nil && c.IsClosed() {
			return nil, err
		}
	}
	for {
		if err := run(ctx, c, begin(ctx)); err != nil {
			return nil, err
		}
		_, err := query(ctx, c, `INSERT INTO exactauth_records (name, record, version, changed) VALUES ($1, '', 0, now()) ON CONFLICT (name) DO NOTHING`, name)
		if err != nil {
			return nil, err
		}
		rows, err := query(ctx, c, `SELECT record, version::text FROM exactauth_records WHERE name = $1 FOR UPDATE`, name)
		if err != nil {
			return nil, err
		}
		if len(rows) == 0 { // deleted by who held it before
			if err := run(ctx, c, `ROLLBACK`); err != nil {
				return nil, err
			}
			continue
		}
		held := &row{}
		if len(rows[0][0]) > 0 {
			held.record = rows[0][0]
		}
		if held.version, err = strconv.ParseInt(string(rows[0][1]), 10, 64); err != nil {
			return nil, fmt.Errorf("version: %w", err)
		}
		return held, nil
	}
}

// write makes result the locked row's record and commits.
func write(ctx context.Context, c *pgconn.PgConn, name string, version int64, result []byte) error {
	rows, err := query(ctx, c, `UPDATE exactauth_records SET record = $2, room = NULL, version = version + 1, changed = now() WHERE name = $1 AND version::text = $3 RETURNING name`,
		name, result, strconv.FormatInt(version, 10))
	if err != nil {
		return err
	}
	if len(rows) != 1 {
		return errors.New("the locked row is gone")
	}
	return commit(ctx, c)
}

// commit commits. A server that had to roll back answers as if all was well but
// for the word.
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

// makeTable makes the table, in the transaction's place.
func makeTable(ctx context.Context, c *pgconn.PgConn) error {
	if err := run(ctx, c, `ROLLBACK`); err != nil {
		return err
	}
	err := run(ctx, c, schema)
	// Somebody else may be making it at this very moment: IF NOT EXISTS does not
	// see what is not committed, and then a catalogue's key is there twice.
	if is(err, uniqueViolation) || is(err, duplicateTable) || is(err, duplicateObject) {
		err = run(ctx, c, schema)
	}
	return err
}

// run runs statements without parameters.
func run(ctx context.Context, c *pgconn.PgConn, statements string) error {
	_, err := c.Exec(ctx, statements).ReadAll()
	return err
}

// query runs one statement. Parameters are strings, sent as text, or []byte, sent
// as they are; a first column comes back as it is, others as text.
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

// noise gives bytes that no server can make smaller.
func noise(n int) []byte {
	b := make([]byte, n)
	_, _ = rand.Read(b) // never fails
	return b
}

// try runs work on a connection, and once more on a new one if the first was an
// idle one that has died meanwhile: what work does before it commits can be done
// again. It hands the connection over, unless it fails.
func (s *Store) try(ctx context.Context, work func(*pgconn.PgConn) error) (*pgconn.PgConn, error) {
	for c := s.take(); ; c = nil {
		fresh := c == nil
		if fresh {
			var err error
			if c, err = s.connect(ctx); err != nil {
				return nil, err
			}
		}
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

// take gives the idle connection, nil if there is none.
func (s *Store) take() *pgconn.PgConn {
	s.mu.Lock()
	defer s.mu.Unlock()
	c := s.idle
	s.idle = nil
	return c
}

// give puts a connection aside for the next call, if it is fit for one.
func (s *Store) give(c *pgconn.PgConn) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.idle == nil && !c.IsClosed() && c.TxStatus() == 'I' {
		s.idle = c
		return
	}
	end(c)
}

// end ends a connection and with it the transaction that it may be in.
func end(c *pgconn.PgConn) {
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	_ = c.Close(ctx) // it is closed whatever the server makes of it
}

// connect connects. A server that is being started again, or has too many
// clients at this moment, is asked again.
func (s *Store) connect(ctx context.Context) (*pgconn.PgConn, error) {
	began := time.Now()
	for pause := 20 * time.Millisecond; ; pause = min(2*pause, 500*time.Millisecond) {
		c, err := pgconn.ConnectConfig(ctx, s.config)
		if err == nil {
			return c, nil
		}
		busy := is(err, tooManyConnections, cannotConnectNow)
		if !busy && (!errors.Is(err, errRefused) || time.Since(began) > refusedLimit) {
			return nil, err
		}
		select {
		case <-ctx.Done():
			return nil, err
		case <-time.After(pause):
		}
	}
}

// The server's error codes (PostgreSQL documentation, appendix A) that mean
// something here.
const (
	undefinedTable     = "42P01"
	duplicateTable     = "42P07"
	duplicateObject    = "42710"
	uniqueViolation    = "23505"
	lockNotAvailable   = "55P03"
	tooManyConnections = "53300"
	cannotConnectNow   = "57P03"
)

// is reports whether the server answered with one of these codes.
func is(err error, codes ...string) bool {
	var said *pgconn.PgError
	return errors.As(err, &said) && slices.Contains(codes, said.Code)
}

// cause says in one line what went wrong. Of the driver's own errors only the
// text is taken: a time limit of a connection is none of the caller's.
func cause(err error) error {
	if err == nil || errors.Is(err, context.DeadlineExceeded) && !isConnect(err) {
		return err
	}
	var said *pgconn.PgError
	if errors.As(err, &said) {
		return fmt.Errorf("the database says: %s (%s)", fault.Printable(said.Message), said.Code)
	}
	return errors.New(fault.Printable(err.Error()))
}

// late reports whether the caller's time is over, and not that it gave up.
func late(ctx context.Context) bool { return errors.Is(ctx.Err(), context.DeadlineExceeded) }

func isConnect(err error) bool {
	var failed *pgconn.ConnectError
	return errors.As(err, &failed)
}
