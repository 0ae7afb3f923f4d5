// Package tokenstore keeps named secret records that must survive: a login
// whose refresh token works once exists nowhere else.
//
// There is no Save. A record is changed by [Files.Update] alone, which locks,
// reads again, makes room for the result, runs the change and returns only when
// what the change gave is durable, so that no caller can do these steps in the
// wrong order or leave one out. Records are opaque bytes; what is in them, and
// whether it is sealed, is the caller's affair.
//
// Each store passes storetest.Run.
package tokenstore

import (
	"fmt"
	"strings"
)

// MaxRecord is how many bytes a record may have, as it lies in the store. It bounds
// what is read, so that a file that is no record cannot take all memory, and hence
// what is saved. An Exact record takes 2 to 4 KiB.
const MaxRecord = 4 << 20

// Error says that a store could not do what it was asked, for a reason that
// lies in the store: it is full, locked, not writable, not to be trusted.
// A record that does not exist is no Error but fs.ErrNotExist, and an error of
// the caller's own change is handed back as it is.
type Error struct {
	Op   string // what was tried, as "read" or "make room for"
	Name string // the record, or the store itself as "state directory /x"
	Err  error  // the cause
	Late bool   // the change had run: what it gave is lost, and what it did is done
}

func (e *Error) Error() string { return fmt.Sprintf("%s %s: %v", e.Op, e.Name, e.Err) }

// Unwrap gives the cause.
func (e *Error) Unwrap() error { return e.Err }

// CheckName reports whether name can be a record's name in every store:
// 1 to 128 letters, digits, '-', '_' and '.', beginning with a letter or digit,
// and none of the endings that a store keeps for itself. Names that differ
// only in case are one record on some systems.
func CheckName(name string) error {
	if name == "" || len(name) > 128 {
		return fmt.Errorf("record name %q: want 1 to 128 characters", name)
	}
	for i, r := range name {
		alnum := 'a' <= r && r <= 'z' || 'A' <= r && r <= 'Z' || '0' <= r && r <= '9'
		if !alnum && (i == 0 || !strings.ContainsRune("-_.", r)) {
			return fmt.Errorf("record name %q: want letters, digits, '-', '_' and '.', a letter or digit first", name)
		}
	}
	if strings.HasSuffix(name, lockSuffix) || strings.HasSuffix(name, roomSuffix) || strings.HasSuffix(name, ".") {
		return fmt.Errorf("record name %q: this ending is kept for the store", name)
	}
	return nil
}
