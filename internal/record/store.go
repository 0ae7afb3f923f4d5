package record

import (
	"context"
	"errors"
)

// Store keeps records by name. What a store holds is bytes to it; package tokenstore
// and those below it implement it, and storetest.Run says what each of them must do.
//
// There is no Save: a record is changed by Update alone, so that no caller can lock,
// read, write and sync in the wrong order or leave one out.
type Store interface {
	// Read returns the record, or fs.ErrNotExist. It takes no lock.
	Read(ctx context.Context, name string) ([]byte, error)

	// Update replaces the record with what change returns. It holds a lock on the
	// record from before it calls change until the result is durable, and it makes
	// room for the result first: if the record cannot be changed, change is not
	// called. An error of change is returned as it is, and the record stays. The record
	// that change gets is durable, unless ctx is Repeatable.
	Update(ctx context.Context, name string, change Change) error

	// Delete removes the record. Deleting what does not exist is no error.
	Delete(ctx context.Context, name string) error
}

// Change computes a record from the stored one, which is nil if there is none and
// must not be altered. It may return ErrUnchanged.
type Change = func(ctx context.Context, old []byte) ([]byte, error)

type repeatable struct{}

// Repeatable marks an Update whose change uses nothing up: what a power cut takes before
// Update has returned can be done again. Then the record that change gets need not be
// durable; what Update leaves is, as always.
func Repeatable(ctx context.Context) context.Context {
	return context.WithValue(ctx, repeatable{}, true)
}

// IsRepeatable reports whether ctx is of Repeatable.
func IsRepeatable(ctx context.Context) bool { return ctx.Value(repeatable{}) != nil }

// ErrUnchanged is returned by a Change that has looked and leaves the record as it
// is, or absent. Update then writes nothing and returns nil.
var ErrUnchanged = errors.New("nothing to change")
