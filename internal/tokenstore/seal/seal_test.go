package seal_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"testing"

	"filippo.io/age"
	"filippo.io/age/armor"

	"github.com/exactauth/exactauth/internal/record"
	"github.com/exactauth/exactauth/internal/tokenstore"
	"github.com/exactauth/exactauth/internal/tokenstore/pgstore"
	"github.com/exactauth/exactauth/internal/tokenstore/seal"
	"github.com/exactauth/exactauth/internal/tokenstore/storetest"
	"github.com/exactauth/exactauth/tools/pgtest"
)

// text is a record; no part of it may be visible in the sealed one.
const text = `{"refresh_token": "stampNL001.a-token-that-works-once"}`

func identity(t *testing.T) *age.X25519Identity {
	t.Helper()
	i, err := age.GenerateX25519Identity()
	if err != nil {
		t.Fatal(err)
	}
	return i
}

// keyFile writes lines into a private file and returns its path.
func keyFile(t *testing.T, lines ...any) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "key.txt")
	var text strings.Builder
	for _, line := range lines {
		fmt.Fprintln(&text, line)
	}
	if err := os.WriteFile(path, []byte(text.String()), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// newKey returns a key and the identity in its file.
func newKey(t *testing.T) (*seal.Key, *age.X25519Identity) {
	t.Helper()
	i := identity(t)
	return seal.File(keyFile(t, i)), i
}

func put(t *testing.T, s record.Store, name, text string) {
	t.Helper()
	if err := s.Update(t.Context(), name, func(context.Context, []byte) ([]byte, error) { return []byte(text), nil }); err != nil {
		t.Fatalf("Update(%s): %v", name, err)
	}
}

// raw returns the record as it is in the store.
func raw(t *testing.T, s record.Store, name string) string {
	t.Helper()
	b, err := s.Read(t.Context(), name)
	if err != nil {
		t.Fatalf("Read(%s): %v", name, err)
	}
	return string(b)
}

// unseal opens a sealed record as "age -d | tail -n +2" does.
func unseal(t *testing.T, sealed string, with ...age.Identity) string {
	t.Helper()
	r, err := age.Decrypt(strings.NewReader(sealed), with...)
	if err != nil {
		t.Fatalf("age: %v", err)
	}
	b, err := io.ReadAll(r)
	if err != nil {
		t.Fatalf("age: %v", err)
	}
	line, record, _ := strings.Cut(string(b), "\n")
	if !strings.HasPrefix(line, "exactauth-seal/1 ") {
		t.Errorf("it begins with %q", line)
	}
	return record
}

// ageSeals seals a text as "age -r" does for each of the keys.
func ageSeals(t *testing.T, text string, keys ...age.Recipient) string {
	t.Helper()
	var sealed strings.Builder
	w, err := age.Encrypt(&sealed, keys...)
	if err != nil {
		t.Fatal(err)
	}
	io.WriteString(w, text)
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return sealed.String()
}

// inside returns what is in a sealed record, with its first line.
func inside(t *testing.T, sealed string, with age.Identity) string {
	t.Helper()
	r, err := age.Decrypt(strings.NewReader(sealed), with)
	if err != nil {
		t.Fatal(err)
	}
	b, err := io.ReadAll(r)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// refused checks the error of a seal: it is a store's, about the seal, before the change
// ran, and never the one for a record that does not exist.
func refused(t *testing.T, err error, want string) {
	t.Helper()
	var fault *tokenstore.Error
	switch {
	case !errors.As(err, &fault), fault.Kind != tokenstore.SealKey && fault.Kind != tokenstore.Seal:
		t.Errorf("%v; want a tokenstore.Error about the seal", err)
	case errors.Is(err, fs.ErrNotExist):
		t.Errorf("%v: it is the error for a record that does not exist", err)
	case !strings.Contains(err.Error(), want):
		t.Errorf("%v; want an error about %q", err, want)
	case strings.Contains(strings.ReplaceAll(err.Error(), "begins with AGE-SECRET-KEY-1", ""), "AGE-SECRET-KEY"), strings.Contains(err.Error(), "works-once"), strings.Contains(err.Error(), "\n"):
		t.Errorf("it contains a secret or several lines: %q", err)
	}
}

// neverCalled is a change that must not run.
func neverCalled(t *testing.T) func(context.Context, []byte) ([]byte, error) {
	return func(context.Context, []byte) ([]byte, error) {
		t.Error("the change was called")
		return []byte("x"), nil
	}
}

func TestSealedFiles(t *testing.T) {
	storetest.Run(t, func(t *testing.T) func() record.Store {
		dir := filepath.Join(t.TempDir(), "state")
		path := keyFile(t, identity(t))
		return func() record.Store { return seal.New(tokenstore.NewFiles(dir, nil), seal.File(path), nil) }
	})
}

func TestSealedTable(t *testing.T) {
	cluster := pgtest.Start(t)
	storetest.Run(t, func(t *testing.T) func() record.Store {
		role := cluster.NewRole(t)
		address := cluster.URL(role.Name, cluster.NewDatabase(t, role.Name)) + "?sslmode=require&passfile=" + cluster.PassFile(t, role)
		path := keyFile(t, identity(t))
		return func() record.Store {
			s, err := pgstore.New(address)
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(s.Close)
			return seal.New(s, seal.File(path), nil)
		}
	})
}

// A record is an age file: any age program with the identity opens it.
func TestAgeOpensARecord(t *testing.T) {
	i := identity(t)
	files := tokenstore.NewFiles(t.TempDir(), nil)
	put(t, seal.New(files, seal.File(keyFile(t, "# a comment\n", i)), nil), "a", text)
	sealed := raw(t, files, "a")
	if !strings.HasPrefix(sealed, "age-encryption.org/v1\n") || strings.Contains(sealed, "works-once") {
		t.Errorf("it is no age file: %.60q", sealed)
	}
	if got := unseal(t, sealed, i); got != text {
		t.Errorf("age opens %q", got)
	}

	hybrid, err := age.GenerateHybridIdentity()
	if err != nil {
		t.Fatal(err)
	}
	put(t, seal.New(files, seal.File(keyFile(t, hybrid)), nil), "b", text)
	if got := unseal(t, raw(t, files, "b"), hybrid); got != text {
		t.Errorf("age opens %q", got)
	}
}

// Whoever can write the store cannot exchange records: neither those of two profiles with
// one key, nor the one that waits on this machine.
func TestExchangedRecords(t *testing.T) {
	key, _ := newKey(t)
	files := tokenstore.NewFiles(t.TempDir(), nil)
	s := seal.New(files, key, nil)
	names := []string{"acme", "acme.kept", "beta"}
	stored := map[string]string{}
	for _, name := range names {
		put(t, s, name, text+name)
		stored[name] = raw(t, files, name)
	}
	for _, name := range names {
		for _, from := range names {
			put(t, files, name, stored[from])
			if from == name {
				if got := raw(t, s, name); got != text+name {
					t.Errorf("%s is %q", name, got)
				}
				continue
			}
			want := "open record " + name + ": it was sealed as the record " + from + ","
			_, err := s.Read(t.Context(), name)
			refused(t, err, want)
			refused(t, s.Update(t.Context(), name, neverCalled(t)), want)
			if b, err := key.Open(t.Context(), name, []byte(stored[from])); b != nil || err == nil {
				t.Errorf("opened as %s: %q, %v", name, b, err)
			}
			refused(t, seal.Change(t.Context(), files, name, nil, key), want)
			refused(t, seal.Change(t.Context(), files, name, key, nil), want)
			if raw(t, files, name) != stored[from] {
				t.Errorf("%s was changed", name)
			}
		}
		put(t, files, name, stored[name])
	}
}

// The public half of a key is enough to seal, but not to make a record that is opened.
func TestForgedRecord(t *testing.T) {
	first, second := identity(t), identity(t)
	hybrid, err := age.GenerateHybridIdentity()
	if err != nil {
		t.Fatal(err)
	}
	files := tokenstore.NewFiles(t.TempDir(), nil)
	written := func(i any, text string) string {
		t.Helper()
		files := tokenstore.NewFiles(t.TempDir(), nil)
		put(t, seal.New(files, seal.File(keyFile(t, i)), nil), "a", text)
		return raw(t, files, "a")
	}
	const another = `{"refresh_token": "another"}`
	stranger := identity(t)
	for _, c := range []struct {
		name string
		key  []any
		in   string // what is sealed
		to   []age.Recipient
	}{
		{"a record alone", []any{first}, text, []age.Recipient{first.Recipient()}},
		{"for the forger as well", []any{first}, text, []age.Recipient{stranger.Recipient(), first.Recipient()}},
		{"empty", []any{first}, "", []age.Recipient{first.Recipient()}},
		{"a proof without a MAC", []any{first}, "exactauth-seal/1 a \n" + text, []age.Recipient{first.Recipient()}},
		{"the forger's own proof", []any{first}, inside(t, written(stranger, text), stranger), []age.Recipient{first.Recipient()}},
		{"another record behind the owner's proof", []any{first}, strings.Replace(inside(t, written(first, text), first), text, another, 1), []age.Recipient{first.Recipient()}},
		{"two records behind one proof", []any{first}, inside(t, written(first, text), first) + another, []age.Recipient{first.Recipient()}},
		{"another name in the owner's proof", []any{first}, strings.Replace(inside(t, written(first, text), first), " a ", " b ", 1), []age.Recipient{first.Recipient()}},
		{"no line break after the proof", []any{first}, strings.Replace(inside(t, written(first, text), first), "\n", " ", 1), []age.Recipient{first.Recipient()}},
		{"for the second identity of the file", []any{first, second}, text, []age.Recipient{second.Recipient()}},
		{"with the proof of the file's other identity", []any{first, second}, inside(t, written(second, text), second), []age.Recipient{first.Recipient()}},
		{"for a post-quantum identity", []any{hybrid}, text, []age.Recipient{hybrid.Recipient()}},
	} {
		t.Run(c.name, func(t *testing.T) {
			forged := ageSeals(t, c.in, c.to...)
			put(t, files, "a", forged)
			s := seal.New(files, seal.File(keyFile(t, c.key...)), nil)
			_, err := s.Read(t.Context(), "a")
			refused(t, err, "open record a: it was not written by the owner of the key in age identity ")
			refused(t, s.Update(t.Context(), "a", neverCalled(t)), "not written by the owner")
			refused(t, seal.Change(t.Context(), files, "a", nil, seal.File(keyFile(t, c.key...))), "not written by the owner")
			if raw(t, files, "a") != forged {
				t.Error("the record was changed")
			}
		})
	}
}

// What the owner sealed stays good when age seals it for another recipient too.
func TestOpensWhatAgeSealed(t *testing.T) {
	key, i := newKey(t)
	files := tokenstore.NewFiles(t.TempDir(), nil)
	s := seal.New(files, key, nil)
	put(t, s, "a", text)
	put(t, files, "a", ageSeals(t, inside(t, raw(t, files, "a"), i), identity(t).Recipient(), i.Recipient()))
	if got := raw(t, s, "a"); got != text {
		t.Errorf("it is %q", got)
	}
}

// An equal result is not written, though its seal would differ.
func TestEqualResultIsNotWritten(t *testing.T) {
	key, _ := newKey(t)
	files := tokenstore.NewFiles(t.TempDir(), nil)
	s := seal.New(files, key, nil)
	put(t, s, "a", text)
	before := raw(t, files, "a")
	put(t, s, "a", text)
	if raw(t, files, "a") != before {
		t.Error("it was sealed again")
	}
	put(t, s, "a", text+" ")
	if raw(t, files, "a") == before {
		t.Error("it was not sealed again")
	}
}

func TestWrongKey(t *testing.T) {
	files := tokenstore.NewFiles(t.TempDir(), nil)
	key, _ := newKey(t)
	other, _ := newKey(t)
	put(t, seal.New(files, key, nil), "a", text)
	before := raw(t, files, "a")
	s := seal.New(files, other, nil)
	_, err := s.Read(t.Context(), "a")
	refused(t, err, "another key than the one in age identity "+strings.TrimPrefix(other.String(), "age identity "))
	refused(t, s.Update(t.Context(), "a", neverCalled(t)), "another key")
	if raw(t, files, "a") != before {
		t.Error("the record was changed")
	}
	if err := s.Delete(t.Context(), "a"); err != nil {
		t.Errorf("Delete, which takes no key: %v", err)
	}
}

func TestDamagedSeal(t *testing.T) {
	files := tokenstore.NewFiles(t.TempDir(), nil)
	key, _ := newKey(t)
	s := seal.New(files, key, nil)
	put(t, s, "a", text)
	whole := raw(t, files, "a")
	for _, n := range []int{len("age-encryption.org/v1\n"), 60, len(whole) - 16, len(whole) - 1} {
		put(t, files, "a", whole[:n])
		_, err := s.Read(t.Context(), "a")
		refused(t, err, "open record a")
		refused(t, s.Update(t.Context(), "a", neverCalled(t)), "open record a")
	}
	for _, at := range []int{30, len(whole) / 2, len(whole) - 1} {
		put(t, files, "a", whole[:at]+string(whole[at]^1)+whole[at+1:])
		_, err := s.Read(t.Context(), "a")
		refused(t, err, "open record a")
	}
}

// A missing key is not a missing record: a person who confused the two would sign in
// again although the login is good.
func TestMissingKey(t *testing.T) {
	files := tokenstore.NewFiles(t.TempDir(), nil)
	key, _ := newKey(t)
	put(t, seal.New(files, key, nil), "a", text)
	s := seal.New(files, seal.File(filepath.Join(t.TempDir(), "none")), nil)
	_, err := s.Read(t.Context(), "a")
	refused(t, err, "there is no key")
	refused(t, s.Update(t.Context(), "a", neverCalled(t)), "there is no key")
	refused(t, s.Update(t.Context(), "new", neverCalled(t)), "there is no key")
	if _, err := s.Read(t.Context(), "new"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("a record that does not exist: %v", err)
	}
	refused(t, seal.Change(t.Context(), files, "a", seal.File(filepath.Join(t.TempDir(), "none")), key), "there is no key")
	refused(t, seal.Change(t.Context(), files, "a", nil, seal.File(filepath.Join(t.TempDir(), "none"))), "there is no key")
	if got := raw(t, seal.New(files, key, nil), "a"); got != text {
		t.Errorf("the record is %q", got)
	}
}

// A record that is not sealed is refused: anyone may have put it there.
func TestUnsealedIsRefused(t *testing.T) {
	files := tokenstore.NewFiles(t.TempDir(), nil)
	key, _ := newKey(t)
	s := seal.New(files, key, nil)
	for _, plain := range []string{text, "x", " age-encryption.org/v1\n", "-----BEGIN AGE ENCRYPTED FILE-----\n"} {
		put(t, files, "a", plain)
		_, err := s.Read(t.Context(), "a")
		refused(t, err, "it is not sealed")
		refused(t, s.Update(t.Context(), "a", neverCalled(t)), "it is not sealed")
		if raw(t, files, "a") != plain {
			t.Error("the record was changed")
		}
	}
}

// A record without a secret is not sealed, and can be read and replaced with any key.
func TestPlain(t *testing.T) {
	files := tokenstore.NewFiles(t.TempDir(), nil)
	note := func(b []byte) bool { return strings.HasPrefix(string(b), "note") }
	one, i := newKey(t)
	two, _ := newKey(t)
	put(t, seal.New(files, one, note), "a", text)
	if got := unseal(t, raw(t, files, "a"), i); got != text {
		t.Errorf("it is %q", got)
	}
	put(t, seal.New(files, one, note), "a", "note 1")
	if got := raw(t, files, "a"); got != "note 1" {
		t.Errorf("it is %q", got)
	}
	other := seal.New(files, two, note)
	if got := raw(t, other, "a"); got != "note 1" {
		t.Errorf("with another key it is %q", got)
	}
	_, err := seal.New(files, one, nil).Read(t.Context(), "a")
	refused(t, err, "it is not sealed")
	err = other.Update(t.Context(), "a", func(_ context.Context, old []byte) ([]byte, error) {
		return append(old, text...)[len("note 1"):], nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if sealed := raw(t, files, "a"); !strings.HasPrefix(sealed, "age-encryption.org/v1\n") || raw(t, other, "a") != text {
		t.Errorf("it is %q", sealed)
	}
}

func TestNoIdentityInTheFile(t *testing.T) {
	i := identity(t)
	var locked, armored bytes.Buffer
	passphrase, err := age.NewScryptRecipient("a passphrase")
	if err != nil {
		t.Fatal(err)
	}
	passphrase.SetWorkFactor(4)
	a := armor.NewWriter(&armored)
	for _, to := range []io.Writer{&locked, a} {
		w, err := age.Encrypt(to, passphrase)
		if err != nil {
			t.Fatal(err)
		}
		fmt.Fprintln(w, i)
		w.Close()
	}
	a.Close()
	for _, c := range []struct{ name, text, want string }{
		{"empty", "", "no age identity"},
		{"a comment only", "# created\n", "no age identity"},
		{"the public key", i.Recipient().String(), "no age identity"},
		{"cut off", i.String()[:40], "no age identity"},
		{"a plugin's", "AGE-PLUGIN-YUBIKEY-1QQQQQQQ", "no age identity"},
		{"one for ssh", "-----BEGIN OPENSSH PRIVATE KEY-----\nb3BlbnNzaA==\n", "no age identity"},
		{"under a passphrase", locked.String(), "protected by a passphrase"},
		{"under a passphrase, armored", armored.String(), "protected by a passphrase"},
		{"one that is sound and one that is not", i.String() + "\n" + i.String()[:40], "no age identity"},
	} {
		t.Run(c.name, func(t *testing.T) {
			key := seal.File(keyFile(t, c.text))
			refused(t, seal.New(tokenstore.NewFiles(t.TempDir(), nil), key, nil).Update(t.Context(), "a", neverCalled(t)), c.want)
			made, err := key.Make(t.Context())
			refused(t, err, c.want)
			if made {
				t.Error("the file was made again")
			}
		})
	}
}

func TestKeyFileMustBeOurs(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("Windows has no mode bits")
	}
	files := tokenstore.NewFiles(t.TempDir(), nil)
	path := keyFile(t, identity(t))
	put(t, seal.New(files, seal.File(path), nil), "a", text)
	for _, mode := range []fs.FileMode{0o644, 0o640, 0o604, 0o610} {
		if err := os.Chmod(path, mode); err != nil {
			t.Fatal(err)
		}
		_, err := seal.New(files, seal.File(path), nil).Read(t.Context(), "a")
		refused(t, err, fmt.Sprintf("open to other users (%04o)", mode))
	}
	for _, mode := range []fs.FileMode{0o600, 0o400} {
		if err := os.Chmod(path, mode); err != nil {
			t.Fatal(err)
		}
		if got := raw(t, seal.New(files, seal.File(path), nil), "a"); got != text {
			t.Errorf("%04o: it is %q", mode, got)
		}
	}
	if err := os.Chmod(path, 0o602); err != nil {
		t.Fatal(err)
	}
	_, err := seal.New(files, seal.File(path), nil).Read(t.Context(), "a")
	refused(t, err, "every user of this machine can change it")
	dir := filepath.Join(t.TempDir(), "dir")
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	_, err = seal.New(files, seal.File(dir), nil).Read(t.Context(), "a")
	refused(t, err, "is a directory")
}

// The first identity seals, and each of them opens: a key is replaced by putting the
// new one first, and older records can be opened until they are written next.
func TestRotation(t *testing.T) {
	older, newer := identity(t), identity(t)
	files := tokenstore.NewFiles(t.TempDir(), nil)
	put(t, seal.New(files, seal.File(keyFile(t, older)), nil), "a", text)

	both := seal.New(files, seal.File(keyFile(t, "# new", newer, "\n# old", older)), nil)
	if got := raw(t, both, "a"); got != text {
		t.Fatalf("it is %q", got)
	}
	put(t, both, "a", text+"2")
	if got := unseal(t, raw(t, files, "a"), newer); got != text+"2" {
		t.Errorf("the new key opens %q", got)
	}
	alone := seal.New(files, seal.File(keyFile(t, newer)), nil)
	if got := raw(t, alone, "a"); got != text+"2" {
		t.Errorf("it is %q", got)
	}
	_, err := seal.New(files, seal.File(keyFile(t, older)), nil).Read(t.Context(), "a")
	refused(t, err, "another key")
}

func TestMake(t *testing.T) {
	path := filepath.Join(t.TempDir(), "key.txt")
	key := seal.File(path)
	made, err := key.Make(t.Context())
	if !made || err != nil {
		t.Fatalf("Make: %v, %v", made, err)
	}
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if info, err := os.Stat(path); err != nil || runtime.GOOS != "windows" && info.Mode().Perm() != 0o600 {
		t.Errorf("%v, %v", info.Mode(), err)
	}
	in, err := age.ParseIdentities(bytes.NewReader(b))
	if err != nil || len(in) != 1 {
		t.Fatalf("age reads %v, %v", in, err)
	}
	if public := in[0].(*age.X25519Identity).Recipient().String(); !strings.Contains(string(b), "# public key: "+public+"\n") {
		t.Errorf("the public key is missing:\n%s", b)
	}
	files := tokenstore.NewFiles(t.TempDir(), nil)
	put(t, seal.New(files, key, nil), "a", text) // the key is in use at once
	if got := unseal(t, raw(t, files, "a"), in...); got != text {
		t.Errorf("it is %q", got)
	}

	for range 2 {
		if made, err := seal.File(path).Make(t.Context()); made || err != nil {
			t.Errorf("Make again: %v, %v", made, err)
		}
	}
	if again, _ := os.ReadFile(path); !bytes.Equal(again, b) {
		t.Error("the key was overwritten")
	}
	if left, _ := os.ReadDir(filepath.Dir(path)); len(left) != 1 {
		t.Errorf("beside the key there are %v", left)
	}

	_, err = seal.File(filepath.Join(t.TempDir(), "none", "key.txt")).Make(t.Context())
	refused(t, err, "its directory is not there")
}

// Of many processes that make a key at once one succeeds, and all have its key.
func TestMakeTogether(t *testing.T) {
	path := filepath.Join(t.TempDir(), "key.txt")
	files := tokenstore.NewFiles(t.TempDir(), nil)
	var all sync.WaitGroup
	var mu sync.Mutex
	makers := 0
	for n := range 16 {
		all.Go(func() {
			key := seal.File(path)
			made, err := key.Make(t.Context())
			if err != nil {
				t.Error(err)
				return
			}
			if made {
				mu.Lock()
				makers++
				mu.Unlock()
			}
			put(t, seal.New(files, key, nil), fmt.Sprint("r", n), text)
		})
	}
	all.Wait()
	if makers != 1 {
		t.Errorf("%d made it", makers)
	}
	for n := range 16 {
		if got := raw(t, seal.New(files, seal.File(path), nil), fmt.Sprint("r", n)); got != text {
			t.Errorf("record %d is %q", n, got)
		}
	}
}

// cut is a store whose process ends at an update: before the update has changed
// anything, or when its result is durable.
type cut struct {
	record.Store
	before bool
}

var errCut = errors.New("cut off")

func (s cut) Update(ctx context.Context, name string, change func(context.Context, []byte) ([]byte, error)) error {
	if s.before {
		return s.Store.Update(ctx, name, func(ctx context.Context, old []byte) ([]byte, error) {
			_, err := change(ctx, old)
			return nil, fmt.Errorf("%w: %v", errCut, err)
		})
	}
	return errors.Join(errCut, s.Store.Update(ctx, name, change))
}

// A record changes its seal in each direction, in one step, and after a change that was
// cut off the change can be repeated.
func TestChange(t *testing.T) {
	one, _ := newKey(t)
	two, _ := newKey(t)
	open := func(files record.Store, k *seal.Key) string {
		t.Helper()
		if k == nil {
			return raw(t, files, "a")
		}
		return raw(t, seal.New(files, k, nil), "a")
	}
	for _, c := range []struct {
		name     string
		from, to *seal.Key
	}{{"none to a key", nil, one}, {"one key to another", one, two}, {"a key to none", one, nil}, {"the same key", one, one}, {"none to none", nil, nil}} {
		for _, how := range []string{"at once", "cut off before", "cut off after"} {
			t.Run(c.name+", "+how, func(t *testing.T) {
				files := tokenstore.NewFiles(t.TempDir(), nil)
				if c.from == nil {
					put(t, files, "a", text)
				} else {
					put(t, seal.New(files, c.from, nil), "a", text)
				}
				switch how {
				case "cut off before":
					if err := seal.Change(t.Context(), cut{files, true}, "a", c.to, c.from); !errors.Is(err, errCut) {
						t.Fatal(err)
					}
					if got := open(files, c.from); got != text {
						t.Fatalf("cut off, it is %q", got)
					}
				case "cut off after":
					if err := seal.Change(t.Context(), cut{files, false}, "a", c.to, c.from); !errors.Is(err, errCut) {
						t.Fatal(err)
					}
					if got := open(files, c.to); got != text {
						t.Fatalf("cut off, it is %q", got)
					}
				}
				if err := seal.Change(t.Context(), files, "a", c.to, c.from); err != nil {
					t.Fatal(err)
				}
				if got := open(files, c.to); got != text {
					t.Errorf("it is %q", got)
				}
				before := raw(t, files, "a")
				if err := seal.Change(t.Context(), files, "a", c.to, c.from); err != nil {
					t.Fatal(err)
				}
				if raw(t, files, "a") != before {
					t.Error("a finished change was repeated")
				}
			})
		}
	}
}

func TestChangeRefuses(t *testing.T) {
	one, _ := newKey(t)
	two, _ := newKey(t)
	three, _ := newKey(t)
	files := tokenstore.NewFiles(t.TempDir(), nil)

	for _, to := range []*seal.Key{nil, one} {
		if err := seal.Change(t.Context(), files, "a", to, nil, two); err != nil {
			t.Errorf("no record: %v", err)
		}
		if _, err := files.Read(t.Context(), "a"); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("the record was made: %v", err)
		}
	}

	put(t, seal.New(files, one, nil), "a", text)
	before := raw(t, files, "a")
	refused(t, seal.Change(t.Context(), files, "a", nil), "it is sealed, and the profile has no seal")
	refused(t, seal.Change(t.Context(), files, "a", nil, nil), "it is sealed, and the profile has no seal")
	refused(t, seal.Change(t.Context(), files, "a", nil, two), "another key")
	refused(t, seal.Change(t.Context(), files, "a", two, nil, three), "another key")
	if raw(t, files, "a") != before {
		t.Error("the record was changed")
	}
	// One of several keys opens it.
	if err := seal.Change(t.Context(), files, "a", two, nil, three, one); err != nil {
		t.Error(err)
	}
	if got := raw(t, seal.New(files, two, nil), "a"); got != text {
		t.Errorf("it is %q", got)
	}

	put(t, files, "b", text)
	refused(t, seal.Change(t.Context(), files, "b", two, one), "it is not sealed")
	if raw(t, files, "b") != text {
		t.Error("the record was changed")
	}
}

// A change of the seal whose old key cannot be read leaves everything: a later record
// that was not renamed can be taken up when the key is back.
func TestChangeWithoutTheOldKey(t *testing.T) {
	dir := t.TempDir()
	key, _ := newKey(t)
	files := tokenstore.NewFiles(dir, nil)
	put(t, seal.New(files, key, nil), "a", text)
	left := filepath.Join(dir, "a.tmp")
	if err := os.WriteFile(left, []byte(raw(t, files, "a")), 0o600); err != nil {
		t.Fatal(err)
	}
	gone := seal.File(filepath.Join(t.TempDir(), "none"))
	files.TakeUp(func(name string, left, _ []byte) (bool, error) {
		_, err := gone.Open(t.Context(), name, left)
		return err == nil, err
	})
	refused(t, seal.Change(t.Context(), files, "a", nil, gone), "there is no key")
	if _, err := os.Stat(left); err != nil {
		t.Errorf("what was left is lost: %v", err)
	}
}
