// Package spool joins a store that machines share to a directory on this machine.
//
// The directory has the results that the shared store did not take: a database can go
// away between the moment when room was made and the moment when the result is
// committed, and that result exists nowhere else. It also has the last result that the
// shared store did take: a failover to a standby that lags behind loses commits.
package spool

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"sync/atomic"
	"time"

	"github.com/exactauth/exactauth/internal/fault"
	"github.com/exactauth/exactauth/internal/record"
	"github.com/exactauth/exactauth/internal/tokenstore"
)

// Name returns the name under which the local store holds a spooled record.
func Name(name string) string { return name + ".kept" }

const (
	// settled replaces a record that is of no use any more, because an Update can
	// replace a record but not delete it.
	settled = "nothing is kept\n"

	// savedLine precedes a record that the shared store has taken.
	savedLine = "saved in the shared store\n"

	// aloneLine precedes a record that was spooled when the shared store had none.
	// If the shared store has lost any other record, another machine has deleted it
	// on purpose, and the copy here must not bring it back.
	aloneLine = "kept beside no record\n"
)

// Waiting returns the record that waits for the shared store in what the local store
// holds, nil if none does, and whether the shared store had no record when this one was
// spooled.
func Waiting(text []byte) (spooled []byte, alone bool) {
	if c := parse(text); !c.saved {
		return c.record, c.alone
	}
	return nil, false
}

// mine is what this machine has of a record.
type mine struct {
	record []byte // nil if there is none
	saved  bool   // the shared store has taken it
	alone  bool   // the shared store had no record then
}

func parse(text []byte) (c mine) {
	if len(text) == 0 || string(text) == settled {
		return mine{}
	}
	c.record, c.saved = bytes.CutPrefix(text, []byte(savedLine))
	c.record, c.alone = bytes.CutPrefix(c.record, []byte(aloneLine))
	return c
}

const (
	updateRetries = 10 * time.Second // how long Update offers a spooled result to the shared store before it returns
	readRetries   = 2 * time.Second  // the same for Read, which also waits no longer for the shared store if a result is spooled
)

// Store is the shared store with this machine's spool. It offers a spooled result to the shared
// store at once; if that fails too, this machine's next call does. Until then only
// this machine knows the result.
//
// Update makes room in the spool first, so that nothing is changed where the spool
// cannot be written. It holds the local lock throughout: however many processes a
// machine runs, only one of them waits for the shared lock.
type Store struct {
	shared, local record.Store
	latest        func(mine, shared []byte) []byte
	useless       func(mine, shared []byte) bool
	warn          func(string)
	updating      atomic.Int32 // calls of Update in progress
}

// New joins the two stores. latest chooses the record to continue from if both
// have one. warn, which may be nil, is called with a sentence when a result is
// spooled, and when the shared store has lost one.
func New(shared, local record.Store, latest func(mine, shared []byte) []byte, warn func(string)) *Store {
	if warn == nil {
		warn = func(string) {}
	}
	return &Store{shared: shared, local: local, latest: latest, useless: func(_, _ []byte) bool { return false }, warn: warn}
}

// Drop lets Read and Update remove what this machine has of a record once useless
// reports that the shared record has made it so: the login has ended, and its tokens
// must not stay here.
func (s *Store) Drop(useless func(mine, shared []byte) bool) { s.useless = useless }

// Read returns the record, or fs.ErrNotExist. If the shared store cannot be read, it
// returns the spooled record. If this machine's record is the later one, Read also
// brings it to the shared store: otherwise other machines would continue from the
// old one.
func (s *Store) Read(ctx context.Context, name string) ([]byte, error) {
	// Before the shared store: that has to have what it took before this moment.
	text, spoolErr := s.local.Read(ctx, Name(name))
	c := parse(text)
	reading, cancel := ctx, context.CancelFunc(func() {})
	if c.record != nil && !c.saved {
		reading, cancel = context.WithTimeout(ctx, readRetries)
	}
	b, err := s.shared.Read(reading, name)
	cancel()
	if spoolErr != nil || c.record == nil || err != nil && errors.Is(ctx.Err(), context.Canceled) {
		return b, err // Update reports a faulty spool, before it needs one
	}
	latest, drop := b, false
	switch absent := errors.Is(err, fs.ErrNotExist); {
	case absent && !c.saved && c.alone:
		latest, err = c.record, nil
	case absent:
		drop = true
	case err != nil && !c.saved:
		return c.record, nil
	case err != nil: // other machines may have changed the record since
		return nil, err
	case bytes.Equal(c.record, b):
		drop = !c.saved
	default:
		latest, drop = s.latest(c.record, b), s.useless(c.record, b)
	}
	// A change that reads must not wait for the Update that runs it.
	if s.updating.Load() == 0 && (drop || !bytes.Equal(latest, b)) {
		trying, cancel := context.WithTimeout(ctx, readRetries)
		defer cancel()
		_, _ = s.update(trying, name, unchanged)
	}
	return latest, err
}

// Update changes the record in the shared store under both locks, starting from this
// machine's record if that is the later one. If the shared store cannot take the
// result, the result is durable on this machine when Update returns nil.
func (s *Store) Update(ctx context.Context, name string, change record.Change) error {
	s.updating.Add(1)
	defer s.updating.Add(-1)
	notTaken, err := s.update(ctx, name, change)
	if err != nil || notTaken == nil {
		return err
	}
	s.warn(fmt.Sprintf("%v; the new tokens are kept on this machine until its next call", notTaken))
	trying, cancel := context.WithTimeout(ctx, updateRetries)
	defer cancel()
	for pause := 100 * time.Millisecond; notTaken != nil && fault.Pause(trying, pause) == nil; pause *= 2 {
		notTaken, err = s.update(trying, name, unchanged)
		notTaken = cmp.Or(notTaken, err)
	}
	return nil
}

// unchanged is a change for an update that only takes up what is spooled.
func unchanged(context.Context, []byte) ([]byte, error) { return nil, record.ErrUnchanged }

// update is Update without retries. notTaken is why the result is durable on this
// machine only.
func (s *Store) update(ctx context.Context, name string, change record.Change) (notTaken, err error) {
	taken, lost := false, false
	err = s.local.Update(ctx, Name(name), func(ctx context.Context, text []byte) ([]byte, error) {
		c := parse(text)
		var stored, result []byte // result is nil if nothing is to be written
		err := s.shared.Update(ctx, name, func(ctx context.Context, old []byte) ([]byte, error) {
			stored = old
			switch {
			case c.record == nil:
			case old != nil:
				old = s.latest(c.record, old)
			case !c.saved && c.alone:
				old = c.record
			}
			later := !bytes.Equal(old, stored)
			lost = later && c.saved
			changed, err := change(ctx, old)
			if errors.Is(err, record.ErrUnchanged) && later {
				changed, err = old, nil
			}
			if err == nil {
				result = changed
			}
			return changed, err
		})
		var late *tokenstore.Error
		switch {
		case errors.As(err, &late) && late.Kind == tokenstore.Late && len(result) > 0:
			notTaken = err
			if stored == nil {
				result = append([]byte(aloneLine), result...)
			}
			return result, nil
		case err != nil:
			return nil, err
		}
		taken = true
		if result == nil && !c.saved && c.record != nil && bytes.Equal(c.record, stored) {
			result = stored // its commit had no answer
		}
		switch {
		case result != nil:
			return append([]byte(savedLine), result...), nil
		case c.record == nil, stored != nil && !s.useless(c.record, stored) && (c.saved || !bytes.Equal(s.latest(stored, c.record), stored)):
			return nil, record.ErrUnchanged
		}
		return []byte(settled), nil
	})
	if taken && lost {
		s.warn(fmt.Sprintf("the shared store had lost changes of record %s that it had taken, as a failover can; this machine had a copy, which is the record again", name))
	}
	if taken { // a copy that could not be saved is an older one, and does no harm
		err = nil
	}
	return notTaken, err
}

// Settle brings this machine's record to the shared store, if it is the later one, and
// removes it from this machine.
func (s *Store) Settle(ctx context.Context, name string) error {
	text, err := s.local.Read(ctx, Name(name))
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil
	case err != nil:
		return err
	}
	if parse(text).record != nil {
		notTaken, err := s.update(ctx, name, unchanged)
		if err != nil && notTaken != nil {
			return fmt.Errorf("%w; %w", notTaken, err)
		} else if err = cmp.Or(err, notTaken); err != nil {
			return err
		}
	}
	return s.local.Delete(ctx, Name(name))
}

// Delete removes the record from the shared store and from this machine. If the
// shared store cannot be reached, Delete removes nothing.
func (s *Store) Delete(ctx context.Context, name string) error {
	if err := s.shared.Delete(ctx, name); err != nil {
		return err // the spooled record stays: its token may be the only live one
	}
	err := s.local.Delete(ctx, Name(name))
	if err == nil {
		// Between the two, another process of this machine may have found no shared
		// record and brought a spooled one there.
		err = s.shared.Delete(ctx, name)
	}
	if err != nil {
		return &tokenstore.Error{Kind: tokenstore.Late, Op: "delete", Name: "all of record " + name, Err: err}
	}
	return nil
}
