package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"hash/fnv"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"

	"github.com/exactauth/exactauth/internal/config"
	"github.com/exactauth/exactauth/internal/exactauth"
	"github.com/exactauth/exactauth/internal/fault"
	"github.com/exactauth/exactauth/internal/record"
	"github.com/exactauth/exactauth/internal/tokenstore"
	"github.com/exactauth/exactauth/internal/tokenstore/pgstore"
	"github.com/exactauth/exactauth/internal/tokenstore/seal"
	"github.com/exactauth/exactauth/internal/tokenstore/spool"
	"github.com/exactauth/exactauth/internal/trust"
)

// absolute makes the path of a file in a flag's value absolute.
func absolute(value, prefix string) string {
	if file, ok := strings.CutPrefix(value, prefix); ok && file != "" {
		if whole, err := filepath.Abs(file); err == nil {
			return prefix + whole
		}
	}
	return value
}

// place is where a profile's record is stored, and how.
type place struct {
	files  *tokenstore.Files // this machine's
	shared *pgstore.Store    // nil if the record is in files
	key    *seal.Key         // nil without a seal

	raw     record.Store // files or shared: the record as it is stored
	direct  record.Store // raw, with its records opened
	spool   *spool.Store // shared with this machine's spool, opened; nil without shared
	records record.Store // what a client uses: spool or direct
}

func (a *app) place(ctx context.Context, p config.Settings) (*place, error) {
	dir, err := config.StateDir(a.Env)
	if err != nil {
		return nil, err
	}
	l := &place{files: tokenstore.NewFiles(dir, a.Note)}
	l.raw = l.files
	switch file, ok := strings.CutPrefix(p.Seal, config.SealAge); {
	case ok:
		key, _ := a.keys.LoadOrStore(file, seal.File(file))
		l.key = key.(*seal.Key)
	case p.Seal == config.SealKeyring:
		l.key = seal.Keyring(a.keyringReady)
	}
	opened := func(s record.Store) record.Store { return seal.New(s, l.key, exactauth.IsNote) }
	if p.Store == config.StoreFile || p.Store == "" {
		l.files.TakeUp(l.judge(exactauth.Newer))
		l.files.Second(func() []*tokenstore.Files { return a.secondPlaces(dir) }, l.judge(exactauth.Issued))
		l.direct = opened(l.files)
		l.records = l.direct
		return l, nil
	}
	address := p.Store
	if file, ok := strings.CutPrefix(p.Store, config.StoreInFile); ok {
		b, err := a.secretFile(ctx, file)
		if err != nil {
			return nil, usagef("store: %w", err)
		}
		address = strings.TrimSpace(string(b))
	}
	// It may read more files: of passwords, keys and certificates.
	if l.shared, err = fault.Await(ctx, func() (*pgstore.Store, error) {
		if err := pgstore.Trusted(address, a.Env); err != nil {
			return nil, err
		}
		return pgstore.New(address)
	}); err != nil {
		return nil, usagef("store %s: %w", redacted(p.Store), err)
	}
	a.opened = append(a.opened, l.shared.Close)
	l.raw, l.direct = l.shared, opened(l.shared)
	l.spool = spool.New(l.direct, opened(l.files), exactauth.Latest, a.Note)
	l.spool.Drop(exactauth.Ended)
	l.records = l.spool
	return l, nil
}

// weakness says what is wrong with the way to a profile's database, or nothing.
func (a *app) weakness(ctx context.Context, p config.Settings) string {
	l, err := a.place(ctx, p)
	if err != nil || l.shared == nil || l.shared.Weak() == "" {
		return ""
	}
	return fmt.Sprintf("sslmode=%s in the address of %s does not make sure that the server is the right one; who is on the way can read or change the login", l.shared.Weak(), l.shared)
}

// judge is how of records as they are stored: only here a record's seal, which the store
// below does not know, meets its generation.
func (l *place) judge(how func(a, b []byte) (bool, error)) tokenstore.Judge {
	return func(name string, a, b []byte) (bool, error) {
		a, err := l.key.Open(context.Background(), name, a)
		if err == nil && b != nil {
			b, err = l.key.Open(context.Background(), name, b)
		}
		if err != nil {
			return false, err
		}
		return how(a, b)
	}
}

// secondPlaces are the directories where a login waits that the state directory dir could
// not take: in the directory for temporary files, and in the user's runtime directory,
// which is in memory and ends with the user's last session. A directory in which another
// user could put, or replace, such a file is left out.
func (a *app) secondPlaces(dir string) (places []*tokenstore.Files) {
	runtimeDir := cmp.Or(a.Env("XDG_RUNTIME_DIR"), "/run/user/"+strconv.Itoa(os.Getuid())) // a cron job has no variable
	if real, err := filepath.EvalSymlinks(dir); err == nil {
		dir = real
	}
	// Profiles of other state directories have the same names.
	sum := fnv.New64a()
	fmt.Fprintf(sum, "%d %s", os.Getuid(), dir)
	for _, parent := range []string{os.TempDir(), runtimeDir} {
		place := filepath.Join(parent, fmt.Sprintf("exactauth-%x", sum.Sum64()))
		if info, err := trust.File(parent); err != nil || !info.IsDir() {
			continue
		}
		if _, err := trust.File(place); err == nil || errors.Is(err, fs.ErrNotExist) {
			places = append(places, tokenstore.NewFiles(place, a.Note))
		}
	}
	return places
}

// keyringReady returns why there is no keyring to call, or nil. Without a session bus
// the library would start one, in which there is no keyring. The environment of a cron
// job may not name the bus of the user's session, so keyringReady sets it.
func (a *app) keyringReady() error {
	switch runtime.GOOS {
	case "windows", "darwin":
		return nil
	}
	if address := a.Env("DBUS_SESSION_BUS_ADDRESS"); address != "" && !strings.HasPrefix(address, "autolaunch:") {
		return trustedBus(address)
	}
	for _, dir := range []string{a.Env("XDG_RUNTIME_DIR"), "/run/user/" + strconv.Itoa(os.Getuid())} {
		bus := filepath.Join(dir, "bus")
		if info, err := os.Stat(bus); dir != "" && err == nil && info.Mode().Type() == fs.ModeSocket {
			address := "unix:path=" + url.PathEscape(bus)
			if err := trustedBus(address); err != nil {
				return err
			}
			return os.Setenv("DBUS_SESSION_BUS_ADDRESS", address)
		}
	}
	return errors.New("there is no desktop session with a keyring here (DBUS_SESSION_BUS_ADDRESS is not set)")
}

// trustedBus returns an error if a socket in the address of a session bus is another
// user's, or where another user can put one: whoever listens there gets the seal's key.
func trustedBus(address string) error {
	for _, one := range strings.FieldsFunc(address, func(c rune) bool { return c == ';' || c == ',' || c == ':' }) {
		path, ok := strings.CutPrefix(one, "path=")
		if !ok {
			continue
		}
		if plain, err := url.PathUnescape(path); err == nil {
			path = plain
		}
		if _, err := trust.File(path); errors.As(err, new(*trust.Error)) {
			return fmt.Errorf("the session bus of the keyring: %w", err)
		}
	}
	return nil
}

// redacted returns a profile's store for people, without passwords and options.
func redacted(store string) string {
	if shown, err := pgstore.Shown(store); err == nil {
		return shown
	}
	if store == config.StoreFile || strings.HasPrefix(store, config.StoreInFile) {
		return fault.Line(store)
	}
	return "(not understood)" // it may contain a password
}

// moveRecord moves the profile's record from the old store and seal to those of
// p. The caller calls finish once the configuration names the new ones.
func (a *app) moveRecord(ctx context.Context, before, p config.Settings) (finish func(context.Context) error, err error) {
	from, err := a.place(ctx, before)
	if err != nil {
		return nil, err
	}
	to, err := a.place(ctx, p)
	if err != nil {
		return nil, err
	}
	same := before.Store == p.Store || from.shared != nil && to.shared != nil && from.shared.Same(to.shared)
	if to.key != nil {
		b, err := to.raw.Read(ctx, p.Name)
		// Records that others sealed there need the key of those. A new key in its place
		// would hide that it is missing.
		if same && before.Seal != p.Seal || err != nil || !seal.Sealed(b) {
			if err := a.makeKey(ctx, to); err != nil {
				return nil, err
			}
		}
	}
	nothing := func(context.Context) error { return nil }
	if same && before.Seal == p.Seal {
		return nothing, nil
	}
	if same {
		if to.shared != nil {
			if err := seal.Change(ctx, from.files, spool.Name(p.Name), to.key, from.key); err != nil {
				return nil, err
			}
		}
		return nothing, seal.Change(ctx, from.raw, p.Name, to.key, from.key) // whose key judges what was left there
	}
	if from.shared != nil {
		if err := from.spool.Settle(ctx, p.Name); err != nil {
			return nil, err
		}
	}
	where := "the files of one machine"
	if to.shared != nil {
		where = to.shared.String()
	}
	old := &exactauth.Client{Profile: before, Store: from.direct, Notice: a.Note}
	if err := old.MoveTo(ctx, to.direct, where); err != nil {
		return nil, err
	}
	// Before the configuration names the new store: after that, a setup that was killed
	// and is repeated would not come back to clear up here.
	if err := old.Moved(ctx); err != nil || from.shared != nil {
		return nothing, err
	}
	return func(ctx context.Context) error { return from.files.Delete(ctx, p.Name) }, nil // no other machine looks for the note there
}

// firstKey makes the key of a seal that no setup has seen, such as one in the environment,
// if there is nothing yet that another key could have sealed.
func (a *app) firstKey(ctx context.Context, p config.Settings) error {
	if p.Seal == config.SealNone {
		return nil
	}
	l, err := a.place(ctx, p)
	if err != nil {
		return err
	}
	if _, err := l.raw.Read(ctx, p.Name); !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return a.makeKey(ctx, l)
}

// makeKey makes the key if there is none. It holds a lock meanwhile, because in a
// keyring the key of a second process would replace that of the first.
func (a *app) makeKey(ctx context.Context, l *place) error {
	return l.files.Update(ctx, "seal.key", func(ctx context.Context, _ []byte) ([]byte, error) {
		made, err := l.key.Make(ctx)
		if err != nil {
			return nil, err
		}
		if made {
			a.Say("A new key was made: %s. Keep a copy of it, since nothing else opens what it seals:\n  %s", fault.Line(l.key.String()), l.key.Copying(runtime.GOOS))
		}
		return nil, record.ErrUnchanged
	})
}
