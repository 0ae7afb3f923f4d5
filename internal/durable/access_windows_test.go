package durable_test

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/exactauth/exactauth/internal/durable"
	"github.com/exactauth/exactauth/internal/durable/durabletest"
)

// What exactauth makes is private wherever it is, and what everybody may use is found
// and can be made private.
func TestAccess(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "shared", "state")
	if err := durable.MakeDirs(dir); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(dir, "key")
	if err := durable.Create(path, []byte("secret")); err != nil {
		t.Fatal(err)
	}
	for _, of := range []string{filepath.Dir(dir), dir, path} {
		open := func(want bool) {
			t.Helper()
			found, err := durable.FindOther(of, durable.Read|durable.Write)
			if err != nil || (found.SID == "S-1-1-0") != want {
				t.Errorf("%s: %+v, %v; open: want %v", of, found, err, want)
			}
		}
		open(false)
		durabletest.OpenToEverybody(t, of)
		open(true)
		if err := durable.Protect(of, of != path); err != nil {
			t.Error(err)
		}
		open(false)
	}
	if b, err := os.ReadFile(path); err != nil || string(b) != "secret" {
		t.Errorf("this user reads %q, %v", b, err)
	}
}
