package seal_test

import (
	"errors"
	"fmt"
	"runtime"
	"strings"
	"syscall"
	"testing"

	"github.com/zalando/go-keyring"

	"github.com/exactauth/exactauth/internal/tokenstore"
	"github.com/exactauth/exactauth/internal/tokenstore/seal"
)

// The key is in Windows' Credential Manager, is read by another process's seal, and is
// missed when it has been deleted.
func TestCredentialManager(t *testing.T) {
	if runtime.GOOS != "windows" {
		t.Skip("the Credential Manager is on Windows")
	}
	const service, user = "exactauth", "seal"
	if _, err := keyring.Get(service, user); !errors.Is(err, keyring.ErrNotFound) {
		t.Skipf("this user has a key already, or no Credential Manager: %v", err)
	}
	ready := func() error { return nil }
	if made, err := seal.Keyring(ready).Make(t.Context()); !made || err != nil {
		t.Fatal(made, err)
	}
	t.Cleanup(func() { _ = keyring.Delete(service, user) })
	key, err := keyring.Get(service, user)
	if err != nil || !strings.Contains(key, "AGE-SECRET-KEY-") {
		t.Fatalf("%d bytes, %v", len(key), err)
	}
	files := tokenstore.NewFiles(t.TempDir(), nil)
	put(t, seal.New(files, seal.Keyring(ready), nil), "acme", text)
	if got := raw(t, seal.New(files, seal.Keyring(ready), nil), "acme"); got != text {
		t.Errorf("the record is %q", got)
	}
	if err := keyring.Delete(service, user); err != nil {
		t.Fatal(err)
	}
	_, err = seal.New(files, seal.Keyring(ready), nil).Read(t.Context(), "acme")
	refused(t, err, "there is no key")

	// The limit of an item is far above the length of a key.
	for size, want := range map[int]error{2560: nil, 2561: keyring.ErrSetDataTooBig} {
		if err := keyring.Set("exactauth-test", "size", strings.Repeat("x", size)); !errors.Is(err, want) {
			t.Errorf("%d bytes: %v", size, err)
		}
	}
	if big, err := keyring.Get("exactauth-test", "size"); len(big) != 2560 || len(key) > 2560/10 {
		t.Errorf("%d bytes, %v; the key has %d", len(big), err, len(key))
	}
	if err := keyring.Delete("exactauth-test", "size"); err != nil {
		t.Error(err)
	}
}

// In a session without a logon the error says what to use there.
func TestNoLogonSession(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("the library's keyring cannot be put back, and TestCredentialManager needs it")
	}
	keyring.MockInitWithError(fmt.Errorf("read: %w", syscall.Errno(1312)))
	err := seal.New(tokenstore.NewFiles(t.TempDir(), nil), seal.Keyring(func() error { return nil }), nil).Update(t.Context(), "acme", neverCalled(t))
	refused(t, err, "a service, or a task that runs without the user's password, has no Credential Manager: seal with a key file there (exactauth setup --seal age:FILE)")
}
