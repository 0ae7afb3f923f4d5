// Package seal keeps the records of any token store as age files
// (age-encryption.org/v1), so that who gets hold of a disk, a backup, a database
// or its log has nothing. The key is an age identity, in a file or in the
// operating system's keyring; "age -d" opens a record.
//
// A seal that cannot be had is an error before anything is read or changed, and
// what is not sealed is refused: there is no way from here to plain text.
package seal

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"strings"
	"sync"

	"filippo.io/age"

	"github.com/exactauth/exactauth/internal/record"
	"github.com/exactauth/exactauth/internal/tokenstore"
)

// header begins every age file that this package writes or reads.
const header = "age-encryption.org/"

// errNoKey is wrapped when a key's place has none. It is not fs.ErrNotExist, which
// says of a record that nobody has signed in yet.
var errNoKey = errors.New("there is no key")

// Sealed reports whether a record is sealed, by whatever key.
func Sealed(record []byte) bool { return bytes.HasPrefix(record, []byte(header)) }

// Key seals and opens records. It is read from its place when it is first needed,
// once. A nil Key stands for no seal. See [File] and [Keyring].
type Key struct {
	place  string // for people
	read   func(context.Context) (string, error)
	create func(ctx context.Context, identities string) error // fails if there is one

	mu         sync.Mutex
	identities []age.Identity // any of them opens
	recipient  age.Recipient  // of the first, which seals
}

// String tells where the key is.
func (k *Key) String() string { return k.place }

// Make makes the key unless it is there, and reports whether it did.
func (k *Key) Make(ctx context.Context) (made bool, err error) {
	err = k.open(ctx)
	if !errors.Is(err, errNoKey) {
		return false, err
	}
	identity, err := age.GenerateX25519Identity() // which every version of age reads
	if err != nil {
		return false, k.fail("make", err)
	}
	text := fmt.Sprintf("# exactauth's seal; without this key its sealed records cannot be opened\n# public key: %s\n%s\n", identity.Recipient(), identity)
	switch err := k.create(ctx, text); {
	case errors.Is(err, fs.ErrExist): // somebody else was quicker
		return false, k.open(ctx)
	case err != nil:
		return false, k.fail("make", err)
	}
	return true, k.open(ctx) // it comes back as it was written, or not at all
}

// open reads the key.
func (k *Key) open(ctx context.Context) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.recipient != nil {
		return nil
	}
	text, err := k.read(ctx)
	if err != nil {
		return k.fail("read", err)
	}
	if strings.HasPrefix(text, header) || strings.HasPrefix(text, "-----BEGIN AGE") {
		return k.fail("read", errors.New("it is protected by a passphrase, and there may be nobody to ask for that"))
	}
	identities, err := age.ParseIdentities(strings.NewReader(text))
	if err != nil {
		return k.fail("read", errors.New("there is no age identity in it, a line that begins with AGE-SECRET-KEY-1")) // age's words repeat the line
	}
	switch first := identities[0].(type) {
	case *age.X25519Identity:
		k.recipient = first.Recipient()
	case *age.HybridIdentity:
		k.recipient = first.Recipient()
	default:
		return k.fail("read", fmt.Errorf("an identity of the kind %T cannot seal", first))
	}
	k.identities = identities
	return nil
}

func (k *Key) fail(op string, err error) error {
	return &tokenstore.Error{Op: op, Name: "seal key, " + k.place, Err: err}
}

// seal makes an age file of a record.
func (k *Key) seal(record []byte) ([]byte, error) {
	if k == nil {
		return record, nil
	}
	var sealed bytes.Buffer
	w, err := age.Encrypt(&sealed, k.recipient)
	if err == nil {
		_, err = w.Write(record)
	}
	if err == nil {
		err = w.Close()
	}
	if err != nil {
		return nil, fmt.Errorf("seal: %w", err)
	}
	return sealed.Bytes(), nil
}

// unseal opens an age file, or says why not.
func (k *Key) unseal(b []byte) ([]byte, error) {
	sealed := Sealed(b)
	switch {
	case k == nil && sealed:
		return nil, errors.New("it is sealed, and the profile has no seal")
	case k == nil:
		return b, nil
	case !sealed:
		return nil, errors.New("it is not sealed, though the profile has a seal")
	}
	r, err := age.Decrypt(bytes.NewReader(b), k.identities...)
	if nobody := (*age.NoIdentityMatchError)(nil); errors.As(err, &nobody) {
		return nil, fmt.Errorf("it is sealed for another key than the one in %s", k.place)
	} else if err != nil {
		return nil, fmt.Errorf("unseal: %w", err)
	}
	record, err := io.ReadAll(r)
	if err != nil {
		return nil, fmt.Errorf("unseal: %w", err)
	}
	return record, nil
}

// Store is a store whose records are sealed. The names are not.
type Store struct {
	inner record.Store
	key   *Key
	bare  func(record []byte) bool
}

// New returns inner with its records sealed by key.
func New(inner record.Store, key *Key) *Store {
	return &Store{inner: inner, key: key, bare: func([]byte) bool { return false }}
}

// Except leaves the records open for which bare reports that there is no secret in
// them: they can be read, and replaced, whatever the key.
func (s *Store) Except(bare func(record []byte) bool) *Store {
	s.bare = bare
	return s
}

// unseal gives a record as it was before it was sealed.
func (s *Store) unseal(name string, b []byte) ([]byte, error) {
	if s.bare(b) {
		return b, nil
	}
	record, err := s.key.unseal(b)
	if err != nil {
		return nil, &tokenstore.Error{Op: "open", Name: "record " + name, Err: err}
	}
	return record, nil
}

// Read returns the opened record, or fs.ErrNotExist.
func (s *Store) Read(ctx context.Context, name string) ([]byte, error) {
	b, err := s.inner.Read(ctx, name)
	if err != nil {
		return nil, err
	}
	if err := s.key.open(ctx); err != nil {
		return nil, err
	}
	return s.unseal(name, b)
}

// Update changes a record as the store below does. The key is at hand before that
// is asked for anything, so that what change gives can surely be sealed.
func (s *Store) Update(ctx context.Context, name string, change record.Change) error {
	if err := s.key.open(ctx); err != nil {
		return err
	}
	return s.inner.Update(ctx, name, func(ctx context.Context, b []byte) ([]byte, error) {
		var old []byte
		if b != nil {
			var err error
			if old, err = s.unseal(name, b); err != nil {
				return nil, err
			}
		}
		changed, err := change(ctx, old)
		switch {
		case err != nil || len(changed) == 0:
			return nil, err
		case bytes.Equal(changed, old):
			return b, nil // sealed anew it would differ
		case s.bare(changed):
			return changed, nil
		}
		return s.key.seal(changed)
	})
}

// Delete removes a record; that takes no key.
func (s *Store) Delete(ctx context.Context, name string) error { return s.inner.Delete(ctx, name) }

// Change seals the record name in the store in, where records lie as they are,
// with the key to instead of whichever of from opens it; nil is no seal. It is one
// update: there is no moment with two records, or none. A record that to opens
// already is left alone, so a change that was cut off can be done again. Of a
// record that does not exist there is nothing to change.
func Change(ctx context.Context, in record.Store, name string, to *Key, from ...*Key) error {
	if to != nil {
		if err := to.open(ctx); err != nil {
			return err
		}
	}
	if _, err := in.Read(ctx, name); errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return in.Update(ctx, name, func(ctx context.Context, b []byte) ([]byte, error) {
		if b == nil {
			return nil, &tokenstore.Error{Op: "open", Name: "record " + name, Err: fs.ErrNotExist}
		}
		_, fault := to.unseal(b)
		if fault == nil {
			return nil, record.ErrUnchanged
		}
		for _, k := range from {
			if k != nil {
				if err := k.open(ctx); err != nil {
					return nil, err
				}
			}
			record, err := k.unseal(b)
			if err == nil {
				return to.seal(record)
			}
			fault = err
		}
		return nil, &tokenstore.Error{Op: "open", Name: "record " + name, Err: fault}
	})
}
