package tokenstore

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"sync/atomic"
	"time"

	"github.com/exactauth/exactauth/internal/record"
)

// KeptName is the name under which this machine keeps a record.
func KeptName(name string) string { return name + ".kept" }

const (
	// settled is what is left of a kept record once it has been taken up. A record
	// is never deleted and made again under the same lock, so it is overwritten.
	settled = "nothing is kept\n"

	// keptAlone is a line before a record that is kept because there was none in
	// the shared store. Of any other the shared one was deleted on purpose if it is
	// gone, by another machine, and nothing of it is to come back.
	keptAlone = "kept beside no record\n"
)

// kept is a record that this machine keeps.
type kept struct {
	record []byte
	alone  bool
}

// parseKept gives nil for what is settled, or not there.
func parseKept(b []byte) *kept {
	if len(b) == 0 || string(b) == settled {
		return nil
	}
	record, alone := bytes.CutPrefix(b, []byte(keptAlone))
	return &kept{record, alone}
}

// keepTrying is how long a result that is safe on this machine is offered to the
// shared store before Update goes on without that; readTrying is how long Read
// offers what is kept.
const (
	keepTrying = 10 * time.Second
	readTrying = 2 * time.Second
)

// Kept is a store that machines share, with a place on this machine for what the
// shared one did not take in time: a server can go away between the moment when
// room was made and the moment when the result is there, and that result exists
// nowhere else. What is kept is offered at once and, if that fails too, taken up
// by the machine's next call; until then this machine alone knows it.
//
// The room on this machine is made first, so without a place that can be written
// nothing is changed at all. The local lock is held throughout, so that however
// many processes a machine runs, one of them at a time waits for the shared lock.
type Kept struct {
	shared, local record.Store
	latest        func(kept, shared []byte) []byte
	warn          func(string)
	updating      atomic.Int32 // calls of Update under way
}

// NewKept joins the two stores. latest gives the record to go on from if there is
// one in both. Words about what was kept and why go to warn, which may be nil.
func NewKept(shared, local record.Store, latest func(kept, shared []byte) []byte, warn func(string)) *Kept {
	if warn == nil {
		warn = func(string) {}
	}
	return &Kept{shared: shared, local: local, latest: latest, warn: warn}
}

// Read returns the record, or fs.ErrNotExist. If the shared store cannot be read,
// what this machine keeps will do; if it can, and what this machine keeps is to be
// gone on from, that is brought there, as the others would go on from the old one.
func (k *Kept) Read(ctx context.Context, name string) ([]byte, error) {
	b, err := k.shared.Read(ctx, name)
	if err != nil && errors.Is(ctx.Err(), context.Canceled) {
		return nil, err
	}
	text, keptErr := k.local.Read(ctx, KeptName(name))
	here := parseKept(text)
	if keptErr != nil || here == nil {
		return b, err // what is wrong with the place is told before it is needed, by Update
	}
	latest := here.record
	switch absent := errors.Is(err, fs.ErrNotExist); {
	case absent && !here.alone:
		return nil, err
	case err != nil && !absent:
		return latest, nil
	case !absent:
		latest = k.latest(latest, b)
	}
	// Within an Update it would wait for that very one.
	if k.updating.Load() == 0 && !bytes.Equal(latest, b) {
		trying, cancel := context.WithTimeout(ctx, readTrying)
		defer cancel()
		_, _ = k.update(trying, name, leave)
	}
	return latest, nil
}

// Update changes the record name in the shared store, under both locks, beginning
// with what this machine has kept. If the shared store cannot take the result, it
// is durable on this machine when Update returns nil.
func (k *Kept) Update(ctx context.Context, name string, change record.Change) error {
	k.updating.Add(1)
	defer k.updating.Add(-1)
	notTaken, err := k.update(ctx, name, change)
	if err != nil || notTaken == nil {
		return err
	}
	k.warn(fmt.Sprintf("%v; the new tokens are kept on this machine until its next call", notTaken))
	trying, cancel := context.WithTimeout(ctx, keepTrying)
	defer cancel()
	for pause := 100 * time.Millisecond; ; pause *= 2 {
		select {
		case <-trying.Done():
			return nil
		case <-time.After(pause):
		}
		if notTaken, err := k.update(trying, name, leave); err == nil && notTaken == nil {
			return nil
		}
	}
}

// leave changes nothing, so that an update with it only takes up what is kept.
func leave(context.Context, []byte) ([]byte, error) { return nil, record.ErrUnchanged }

// update also says why, if the result is durable on this machine only.
func (k *Kept) update(ctx context.Context, name string, change record.Change) (notTaken, err error) {
	err = k.local.Update(ctx, KeptName(name), func(ctx context.Context, text []byte) ([]byte, error) {
		here := parseKept(text)
		alone := false
		var result []byte
		err := k.shared.Update(ctx, name, func(ctx context.Context, old []byte) ([]byte, error) {
			alone = old == nil
			switch {
			case here == nil:
			case old != nil:
				old = k.latest(here.record, old)
			case here.alone:
				old = here.record
			}
			changed, err := change(ctx, old)
			if errors.Is(err, record.ErrUnchanged) && here != nil && old != nil {
				changed, err = old, nil // for the shared store it may be a change
			}
			if err == nil {
				result = changed
			}
			return changed, err
		})
		var late *Error
		switch {
		case errors.As(err, &late) && late.Late && len(result) > 0:
			notTaken = err
			if alone {
				result = append([]byte(keptAlone), result...)
			}
			return result, nil
		case err != nil:
			return nil, err
		case here == nil || result == nil:
			return nil, record.ErrUnchanged
		}
		return []byte(settled), nil
	})
	return notTaken, err
}

// Settle brings what this machine keeps of the record to the shared store, so that
// nothing of it is here any more.
func (k *Kept) Settle(ctx context.Context, name string) error {
	text, err := k.local.Read(ctx, KeptName(name))
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil
	case err != nil:
		return err
	}
	if parseKept(text) != nil {
		notTaken, err := k.update(ctx, name, leave)
		switch {
		case err != nil && notTaken != nil:
			return fmt.Errorf("%w; %w", notTaken, err)
		case err != nil:
			return err
		case notTaken != nil:
			return notTaken
		}
	}
	return k.local.Delete(ctx, KeptName(name))
}

// Delete removes the record from the shared store and from this machine. If the
// shared store cannot be reached, nothing is removed.
func (k *Kept) Delete(ctx context.Context, name string) error {
	if err := k.shared.Delete(ctx, name); err != nil {
		return err // and what is kept stays: there may be no other live token
	}
	if err := k.local.Delete(ctx, KeptName(name)); err != nil {
		return err
	}
	// Between the two, another process of this machine may have read that there
	// was none, and have brought there what was kept alone.
	return k.shared.Delete(ctx, name)
}
