// Package tokenstore keeps named secret records that must not get lost: a login whose
// refresh token works once exists nowhere else. [Files] keeps them in a directory;
// the packages below keep them in a database (pgstore), seal them (seal), or bring
// them to a shared store later (spool). Each of these is a record.Store and passes
// storetest.Run. To all of them a record is bytes.
package tokenstore

import (
	"bytes"
	"errors"
	"fmt"
	"strings"

	"github.com/exactauth/exactauth/internal/record"
)

// MaxRecord is the size limit of a record in a store, in bytes. A record of Exact
// takes 2 to 4 KiB; the limit keeps a file that is no record from using up the memory.
const MaxRecord = 4 << 20

// Kind says which part of a store failed.
type Kind int

// The kinds of Error. All but Late mean that the record is unchanged.
const (
	Directory Kind = iota // the directory or a file in it: full, read-only, another user's
	Database              // the database: away, full, read-only, not ours to write
	Lock                  // another process or machine held the record's lock for longer than this one could wait
	SealKey               // the key of the seal: missing, locked away, not readable
	Seal                  // the record is sealed, or not, contrary to what was asked for; or its seal is damaged
	Late                  // the change ran and its result was not saved: what the change did cannot be undone; or a record is removed in part
)

// Error is the failure of a store. The failure of a caller's change is returned as it
// is, and a record that does not exist is fs.ErrNotExist.
type Error struct {
	Kind Kind
	Op   string // what was tried: "read", "make room for"
	Name string // the record, or the part of the store: "state directory /x"
	Err  error  // the cause
}

func (e *Error) Error() string { return fmt.Sprintf("%s %s: %v", e.Op, e.Name, e.Err) }

// Unwrap returns the cause.
func (e *Error) Unwrap() error { return e.Err }

// Room returns how many bytes a store makes room for before it changes the record
// old: three times its size, because the answers of a server differ in length. The
// minimum is for a first record: the longest codes and tokens seen have 1 KiB each.
func Room(old []byte) int { return max(3*len(old), 16<<10) }

// Result says what an Update does after its change has returned changed and err:
// write changed, or return the error, which may be nil. place names the record in
// errors.
func Result(place string, old, changed []byte, err error) (write bool, _ error) {
	switch {
	case errors.Is(err, record.ErrUnchanged):
		return false, nil
	case err != nil:
		return false, err
	case len(changed) == 0: // only Delete deletes
		return false, &Error{Late, "write", place, errors.New("the new record is empty")}
	case len(changed) > MaxRecord: // it could not be read again
		return false, &Error{Late, "write", place, tooLarge(int64(len(changed)))}
	}
	return !bytes.Equal(changed, old), nil
}

func tooLarge(size int64) error {
	return fmt.Errorf("it has %d bytes, and a record has %d at most", size, MaxRecord)
}

// CheckName reports whether name can be a record's name in every store:
// 1 to 128 letters, digits, '-', '_' and '.', beginning with a letter or digit,
// and none of the endings that a store uses for its own files. Names that differ
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
		return fmt.Errorf("record name %q: a store uses this ending for its own files", name)
	}
	return nil
}
