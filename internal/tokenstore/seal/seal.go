// Package seal keeps the records of any token store as age files
// (age-encryption.org/v1), so that a disk, a backup, a database or its log shows no
// secret. The key is an age identity, in a file or in the operating system's keyring.
//
// Everybody can seal for the public half of an identity. So what is sealed begins with a
// line that names the record and proves that its writer had the secret half:
//
//	exactauth-seal/1 NAME MAC
//
// The rest is the record, which "age -d | tail -n +2" shows. The proof does not tell an
// older record of that name from the last one.
//
// If the key cannot be had, a call fails before it reads or changes a record. A
// record that is not sealed is refused; nothing falls back to plain text.
package seal

import (
	"bytes"
	"context"
	"crypto/hkdf"
	"crypto/hmac"
	"crypto/sha256"
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
	"github.com/exactauth/exactauth/internal/trust"
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

	mu     sync.Mutex
	owners []owner // each of them opens records; the first seals them
}

// owner is an identity in a key.
type owner struct {
	age.Identity
	recipient age.Recipient
	mac       []byte // the key of its proofs
}

// newOwner derives the key of the proofs from the identity's secret.
func newOwner(i age.Identity, to age.Recipient, secret string) (owner, error) {
	mac, err := hkdf.Key(sha256.New, []byte(secret), nil, "exactauth-seal/1", sha256.Size)
	return owner{i, to, mac}, err
}

// proof returns the first line of what is sealed, for the record of that name. A name
// has no line break, so no other name and record have the same proof.
func (o owner) proof(name, record []byte) []byte {
	mac := hmac.New(sha256.New, o.mac)
	fmt.Fprintf(mac, "%s\n%s", name, record)
	return fmt.Appendf(nil, "exactauth-seal/1 %s %x\n", name, mac.Sum(nil))
}

// String returns where the key is.
func (k *Key) String() string { return k.place }

// Copying says how a person copies the key on a system.
func (k *Key) Copying(system string) string {
	switch {
	case k.how != "keyring":
		return "copy that file to another disk or into a password manager"
	case system == "darwin":
		// The library stores text with its own prefix there, since the keychain would return some of it as hexadecimal digits.
		return "security find-generic-password -s " + keyringService + " -a " + keyringUser + " -w | sed 's/^go-keyring-base64://' | base64 --decode"
	case system == "windows":
		return `Windows does not show it; "exactauth setup --seal age:FILE" makes one that can be copied`
	}
	return "secret-tool lookup service " + keyringService + " username " + keyringUser
}

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
	if k.owners != nil {
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
	owners := make([]owner, len(identities))
	for n, i := range identities {
		switch i := i.(type) {
		case *age.X25519Identity:
			owners[n], err = newOwner(i, i.Recipient(), i.String())
		case *age.HybridIdentity:
			owners[n], err = newOwner(i, i.Recipient(), i.String())
		default:
			err = fmt.Errorf("an identity of the kind %T cannot seal", i)
		}
		if err != nil {
			return k.failed("read", err)
		}
	}
	k.owners = owners
	return nil
}

func (k *Key) failed(op string, err error) error {
	name := "seal key, " + k.place
	if errors.As(err, new(*trust.Error)) { // which names the file
		name = "seal key"
	}
	return &tokenstore.Error{Kind: tokenstore.SealKey, Op: op, Name: name, Err: err}
}

// notOpened returns the error for a record that the key does not open.
func notOpened(name string, err error) error {
	return &tokenstore.Error{Kind: tokenstore.Seal, Op: "open", Name: "record " + name, Err: err}
}

// seal makes an age file of the record of that name.
func (k *Key) seal(name string, record []byte) ([]byte, error) {
	if k == nil {
		return record, nil
	}
	var sealed bytes.Buffer
	first := k.owners[0]
	w, err := age.Encrypt(&sealed, named{first.recipient, k.how})
	if err == nil {
		_, err = w.Write(append(first.proof([]byte(name), record), record...))
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
	return k.unseal(name, b)
}

// unseal opens an age file that must have been sealed as the record of that name.
func (k *Key) unseal(name string, b []byte) ([]byte, error) {
	sealed := Sealed(b)
	switch {
	case k == nil && sealed:
		return nil, &record.SealError{Why: "it is sealed, and the profile has no seal", How: record.HowSealed(b)}
	case k == nil:
		return b, nil
	case !sealed:
		return nil, &record.SealError{Why: "it is not sealed, though the profile has a seal", How: "none"}
	}
	for _, o := range k.owners {
		r, err := age.Decrypt(bytes.NewReader(b), o.Identity)
		if errors.As(err, new(*age.NoIdentityMatchError)) {
			continue
		}
		var text []byte
		if err == nil {
			text, err = io.ReadAll(r)
		}
		if err != nil {
			return nil, fmt.Errorf("unseal: %w", err)
		}
		begin := bytes.IndexByte(text, '\n') + 1
		line, record := text[:begin], text[begin:]
		_, rest, _ := bytes.Cut(line, []byte(" "))
		as, _, _ := bytes.Cut(rest, []byte(" "))
		switch {
		case !hmac.Equal(line, o.proof(as, record)):
			return nil, fmt.Errorf("it was not written by the owner of the key in %s, whose public half is enough to seal it", k.place)
		case string(as) != name:
			return nil, fmt.Errorf("it was sealed as the record %s, and was put in the place of this one", as)
		}
		return record, nil
	}
	return nil, &record.SealError{Why: "it is sealed for another key than the one in " + k.place, How: record.HowSealed(b)}
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
	record, err := s.key.unseal(name, b)
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
		return s.key.seal(name, changed)
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
	reseal := func(ctx context.Context, b []byte) ([]byte, error) {
		if b == nil {
			return nil, record.ErrUnchanged
		}
		var why error
		for n, k := range append([]*Key{to}, from...) {
			if k != nil {
				if err := k.open(ctx); err != nil {
					return nil, err
				}
			}
			var text []byte
			text, why = k.unseal(name, b)
			switch {
			case why == nil && n == 0:
				return nil, record.ErrUnchanged
			case why == nil:
				return to.seal(name, text)
			case !errors.As(why, new(*record.SealError)): // the key fits, and the record is not its owner's
				return nil, notOpened(name, why)
			}
		}
		return nil, notOpened(name, why)
	}
	switch b, err := in.Read(ctx, name); {
	case errors.Is(err, fs.ErrNotExist):
		return nil
	case err == nil:
		// An Update makes room, and what an earlier one left there cannot be judged, and so
		// not be taken up, without the key.
		if _, err := reseal(ctx, b); err != nil && !errors.Is(err, record.ErrUnchanged) {
			return err
		}
	}
	return in.Update(ctx, name, reseal)
}
