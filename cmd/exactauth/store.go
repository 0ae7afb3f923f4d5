package main

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/exactauth/exactauth/internal/config"
	"github.com/exactauth/exactauth/internal/exactauth"
	"github.com/exactauth/exactauth/internal/record"
	"github.com/exactauth/exactauth/internal/tokenstore"
	"github.com/exactauth/exactauth/internal/tokenstore/pgstore"
	"github.com/exactauth/exactauth/internal/tokenstore/seal"
	"github.com/exactauth/exactauth/internal/tokenstore/spool"
)

// absolute makes a file in a flag's value the same from everywhere.
func absolute(value, prefix string) string {
	if file, ok := strings.CutPrefix(value, prefix); ok && file != "" {
		if whole, err := filepath.Abs(file); err == nil {
			return prefix + whole
		}
	}
	return value
}

// place is where a profile's record lives, and what opens it.
type place struct {
	store, seal string // as the profile has them
	files       *tokenstore.Files
	shared      *pgstore.Store // nil: the files are it
	hasty       *pgstore.Store // the same, for who keeps what it does not take
	key         *seal.Key      // nil: records lie open
	warn        func(string)
}

func (a *app) place(p config.Settings) (*place, error) {
	dir, err := config.StateDir(a.Env)
	if err != nil {
		return nil, err
	}
	l := &place{store: p.Store, seal: p.Seal, files: tokenstore.NewFiles(dir, a.Note), warn: a.Note}
	switch file, ok := strings.CutPrefix(p.Seal, config.SealAge); {
	case ok:
		l.key = seal.File(file)
	case p.Seal == config.SealKeyring:
		l.key = seal.Keyring(a.keyringReady)
	}
	if p.Store == config.StoreFile || p.Store == "" {
		return l, nil
	}
	address := p.Store
	if file, ok := strings.CutPrefix(p.Store, config.StoreInFile); ok {
		if address, err = readAddress(file); err != nil {
			return nil, err
		}
	}
	if l.shared, err = pgstore.New(address); err != nil {
		return nil, usagef("store %s: %w", redacted(p.Store), err)
	}
	l.hasty = l.shared.Hasty()
	a.opened = append(a.opened, l.shared.Close, l.hasty.Close)
	return l, nil
}

// readAddress reads a database URL, which may hold a password, from a file that
// other users must not read.
func readAddress(file string) (string, error) {
	info, err := os.Stat(file)
	if err != nil {
		return "", usagef("store: %w", err)
	}
	if seal.OpenToOthers(info) {
		return "", &hinted{usagef("store: %s is open to other users (%04o)", file, info.Mode().Perm()), "chmod 600 " + file}
	}
	b, err := os.ReadFile(file)
	if err != nil {
		return "", usagef("store: %w", err)
	}
	address := strings.TrimSpace(string(b))
	if _, err := pgstore.New(address); err != nil {
		return "", usagef("store: in %s: %w", file, err)
	}
	return address, nil
}

// redacted is a profile's store as it may be shown.
func redacted(store string) string {
	if shown, err := pgstore.Shown(store); err == nil {
		return shown
	}
	if store == config.StoreFile || strings.HasPrefix(store, config.StoreInFile) {
		return store
	}
	return "(not understood)" // it may hold a password
}

// shown says for people where records are.
func (l *place) shown() string {
	if l.shared != nil {
		return l.shared.String()
	}
	return "the files of one machine"
}

// records is the place as a client uses it.
func (l *place) records() record.Store {
	if l.shared == nil {
		return l.bare()
	}
	return l.kept()
}

// kept is a shared place with what this machine keeps for the others.
func (l *place) kept() *spool.Store {
	return spool.New(l.sealed(l.hasty), l.sealed(l.files), exactauth.Latest, l.warn)
}

// bare is the place without what this machine keeps for the others.
func (l *place) bare() record.Store { return l.sealed(l.raw()) }

// raw is the same without the seal.
func (l *place) raw() record.Store {
	if l.shared == nil {
		return l.files
	}
	return l.shared
}

// holdsSealed reports whether there is a sealed record.
func (l *place) holdsSealed(ctx context.Context, name string) bool {
	b, err := l.raw().Read(ctx, name)
	return err == nil && seal.Sealed(b)
}

func (l *place) sealed(raw record.Store) record.Store {
	if l.key == nil {
		return raw
	}
	return seal.New(raw, l.key).Except(exactauth.IsNote)
}

// certificates is where the listener's own certificate and key are kept: on this
// machine, and in the open as nobody else vouches for them either. A profile with
// a seal leaves no key about, and makes them anew.
func (l *place) certificates() record.Store {
	if l.key != nil {
		return unkept{}
	}
	return l.files
}

// unkept is a store that forgets.
type unkept struct{}

func (unkept) Read(context.Context, string) ([]byte, error) { return nil, fs.ErrNotExist }

func (unkept) Update(ctx context.Context, _ string, change record.Change) error {
	_, err := change(ctx, nil)
	if errors.Is(err, record.ErrUnchanged) {
		return nil
	}
	return err
}

func (unkept) Delete(context.Context, string) error { return nil }

// moveRecord brings the profile's record from its place of before to the place of
// p, and gives what is to be done once the configuration names that.
func (a *app) moveRecord(ctx context.Context, before, p config.Settings) (after func(context.Context) error, err error) {
	from, err := a.place(before)
	if err != nil {
		return nil, err
	}
	to, err := a.place(p)
	if err != nil {
		return nil, err
	}
	same := from.store == to.store || from.shared != nil && to.shared != nil && from.shared.Same(to.shared)
	// What others sealed there needs their key, and a new one in its place would hide that.
	if to.key != nil && (same && from.seal != to.seal || !to.holdsSealed(ctx, p.Name)) {
		made, err := to.makeKey(ctx)
		if err != nil {
			return nil, err
		}
		if made {
			a.Say("A new key was made: %s. Keep a copy of it: without it nobody can open what it seals.", to.key)
		}
	}
	nothing := func(context.Context) error { return nil }
	if same {
		if from.seal == to.seal {
			return nothing, nil
		}
		if to.shared != nil {
			if err := seal.Change(ctx, to.files, spool.Name(p.Name), to.key, from.key); err != nil {
				return nil, err
			}
		}
		return nothing, seal.Change(ctx, to.raw(), p.Name, to.key, from.key)
	}
	if from.shared != nil {
		if err := from.kept().Settle(ctx, p.Name); err != nil {
			return nil, err
		}
	}
	old := &exactauth.Client{Profile: before, Store: from.bare(), Notice: a.Note}
	if err := old.MoveTo(ctx, to.bare(), to.shown()); err != nil {
		return nil, err
	}
	// Before the configuration names the new place: afterwards nobody would come
	// back here to clear up after a setup that was killed.
	if err := old.Moved(ctx); err != nil {
		return nil, err
	}
	if from.shared != nil {
		return nothing, nil
	}
	return func(ctx context.Context) error { return from.files.Delete(ctx, p.Name) }, nil // nobody else looks there
}

// makeKey makes the key unless it is there. A keyring lets a second maker replace
// the key of the first, so one at a time asks.
func (l *place) makeKey(ctx context.Context) (made bool, err error) {
	err = l.files.Update(ctx, "seal.key", func(ctx context.Context, _ []byte) ([]byte, error) {
		if made, err = l.key.Make(ctx); err != nil {
			return nil, err
		}
		return nil, record.ErrUnchanged
	})
	return made, err
}
