// Package seal keeps the records of any token store as age files
// (age-encryption.org/v1), so that a disk, a backup, a database or its log shows no
// secret. The key is an age identity, in a file or in the operating system's
// keyring; "age -d" opens a record.
//
// If the key cannot be had, a call fails before it reads or changes a record. A
// record that is not sealed is refused; nothing falls back to plain text.
package seal

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/url"
	"strings"
	"sync"

	"filippo.io/age"

	"github.com/exactauth/exactauth/internal/record"
	"github.com/exactauth/exactauth/internal/tokenstore"
)

// header begins every age file that this package writes or reads.
const header = "age-encryption.org/"

// errNoKey is wrapped when there is no key in its place. It is not fs.ErrNotExist,
// because of a record that means a profile without a login.
var errNoKey = errors.New("there is no key")

// Sealed reports whether a record is sealed, with whatever key.
func Sealed(record []byte) bool { return bytes.HasPrefix(record, []byte(header)) }

// Key seals and opens records. It is read once, when it is first needed. A nil Key
// means no seal. See [File] and [Keyring].
type Key struct {
	place  string // for people
	how    string // as a profile's setting
	read   func(context.Context) (string, error)
	create func(ctx context.Context, identities string) error // fails if there is one

	mu         sync.Mutex
	identities []age.Identity // each of them opens records
	recipient  age.Recipient  // of the first, which seals records
}

// String returns where the key is.
func (k *Key) String() string { return k.place }

// Make makes the key if there is none, and reports whether it did.
func (k *Key) Make(ctx context.Context) (made bool, err error) {
	err = k.open(ctx)
	if !errors.Is(err, errNoKey) {
		return false, err
	}
	identity, err := age.GenerateX25519Identity() // which every version of age reads
	if err != nil {
		return false, k.failed("make", err)
	}
	text := fmt.Sprintf("# exactauth's seal; without this key its sealed records cannot be opened\n# public key: %s\n%s\n", identity.Recipient(), identity)
	switch err := k.create(ctx, text); {
	case errors.Is(err, fs.ErrExist): // another process was faster
		return false, k.open(ctx)
	case err != nil:
		return false, k.failed("make", err)
	}
	return true, k.open(ctx) // checks that the place returns what was written
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
		return k.failed("read", err)
	}
	if strings.HasPrefix(text, header) || strings.HasPrefix(text, "-----BEGIN AGE") {
		return k.failed("read", errors.New("it is protected by a passphrase, which a script cannot be asked for"))
	}
	identities, err := age.ParseIdentities(strings.NewReader(text))
	if err != nil {
		return k.failed("read", errors.New("there is no age identity in it, a line that begins with AGE-SECRET-KEY-1")) // age's error repeats the line
	}
	switch first := identities[0].(type) {
	case *age.X25519Identity:
		k.recipient = first.Recipient()
	case *age.HybridIdentity:
		k.recipient = first.Recipient()
	default:
		return k.failed("read", fmt.Errorf("an identity of the kind %T cannot seal", first))
	}
	k.identities = identities
	return nil
}

func (k *Key) failed(op string, err error) error {
	return &tokenstore.Error{Kind: tokenstore.SealKey, Op: op, Name: "seal key, " + k.place, Err: err}
}

// notOpened returns the error for a record that the key does not open.
func notOpened(name string, err error) error {
	return &tokenstore.Error{Kind: tokenstore.Seal, Op: "open", Name: "record " + name, Err: err}
}

// seal makes an age file of a record.
func (k *Key) seal(record []byte) ([]byte, error) {
	if k == nil {
		return record, nil
	}
	var sealed bytes.Buffer
	w, err := age.Encrypt(&sealed, named{k.recipient, k.how})
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

// named is a recipient that adds to the header how the record is sealed, for the hint to
// a person whose setup was interrupted. Nothing else may rely on it, since whoever can
// write the record can change it.
type named struct {
	age.Recipient
	how string
}

func (r named) Wrap(fileKey []byte) ([]*age.Stanza, error) {
	stanzas, _, err := r.WrapWithLabels(fileKey)
	return stanzas, err
}

func (r named) WrapWithLabels(fileKey []byte) (stanzas []*age.Stanza, labels []string, err error) {
	if inner, ok := r.Recipient.(age.RecipientWithLabels); ok {
		stanzas, labels, err = inner.WrapWithLabels(fileKey)
	} else {
		stanzas, err = r.Recipient.Wrap(fileKey)
	}
	return append(stanzas, &age.Stanza{Type: record.SealStanza, Args: []string{url.QueryEscape(r.how)}}), labels, err
}

// Open returns the record of that name, opened. A nil key returns a record that is not
// sealed.
func (k *Key) Open(ctx context.Context, name string, b []byte) ([]byte, error) {
	if k != nil {
		if err := k.open(ctx); err != nil {
			return nil, err
		}
	}
	return k.unseal(b)
}

// unseal opens an age file.
func (k *Key) unseal(b []byte) ([]byte, error) {
	sealed := Sealed(b)
	switch {
	case k == nil && sealed:
		return nil, &record.SealError{Why: "it is sealed, and the profile has no seal", How: record.HowSealed(b)}
	case k == nil:
		return b, nil
	case !sealed:
		return nil, &record.SealError{Why: "it is not sealed, though the profile has a seal", How: "none"}
	}
	r, err := age.Decrypt(bytes.NewReader(b), k.identities...)
	if other := (*age.NoIdentityMatchError)(nil); errors.As(err, &other) {
		return nil, &record.SealError{Why: fmt.Sprintf("it is sealed for another key than the one in %s", k.place), How: record.HowSealed(b)}
	}
	var record []byte
	if err == nil {
		record, err = io.ReadAll(r)
	}
	if err != nil {
		return nil, fmt.Errorf("unseal: %w", err)
	}
	return record, nil
}

// store is a store whose records are sealed. Their names are not.
type store struct {
	record.Store // where the records are; Delete takes no key
	key          *Key
	plain        func(record []byte) bool
}

// New returns a store that keeps its records in inner, sealed with key; without a key
// that is inner itself. plain, which may be nil, reports that a record contains no
// secret: such a record is not sealed, and can be read and replaced with any key.
func New(inner record.Store, key *Key, plain func(record []byte) bool) record.Store {
	if key == nil {
		return inner
	}
	if plain == nil {
		plain = func([]byte) bool { return false }
	}
	return &store{inner, key, plain}
}

// unseal opens the record of that name.
func (s *store) unseal(name string, b []byte) ([]byte, error) {
	if s.plain(b) {
		return b, nil
	}
	record, err := s.key.unseal(b)
	if err != nil {
		return nil, notOpened(name, err)
	}
	return record, nil
}

// Read returns the opened record, or fs.ErrNotExist.
func (s *store) Read(ctx context.Context, name string) ([]byte, error) {
	b, err := s.Store.Read(ctx, name)
	if err != nil {
		return nil, err
	}
	if err := s.key.open(ctx); err != nil {
		return nil, err
	}
	return s.unseal(name, b)
}

// Update changes the record in the store below. It reads the key first, so that the
// result of change can be sealed.
func (s *store) Update(ctx context.Context, name string, change record.Change) error {
	if err := s.key.open(ctx); err != nil {
		return err
	}
	return s.Store.Update(ctx, name, func(ctx context.Context, b []byte) (_ []byte, err error) {
		var old []byte
		if b != nil {
			if old, err = s.unseal(name, b); err != nil {
				return nil, err
			}
		}
		changed, err := change(ctx, old)
		switch {
		case err != nil || len(changed) == 0:
			return nil, err
		case bytes.Equal(changed, old):
			return nil, record.ErrUnchanged // sealed again it would differ
		case s.plain(changed):
			return changed, nil
		}
		return s.key.seal(changed)
	})
}

// Change replaces the seal of the record name in the store in, which must not be a
// sealed one: whichever key of from opens the record, it is then sealed with the key
// to. nil is no seal. Change is one update, so at each moment there is exactly one
// record, and it leaves a record that to opens alone, so it can be repeated after it
// was cut off. Without a record it does nothing.
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
			return nil, record.ErrUnchanged
		}
		_, why := to.unseal(b)
		if why == nil {
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
			why = err
		}
		return nil, notOpened(name, why)
	})
}
