package durable

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"testing"
)

// On a file system without hard links, too, a new file takes no other's place.
func TestClaim(t *testing.T) {
	dir := t.TempDir()
	temporary, path := filepath.Join(dir, "temporary"), filepath.Join(dir, "key")
	for _, c := range []struct {
		text, want string
		exists     bool
	}{{"first", "first", false}, {"second", "first", true}} {
		if err := os.WriteFile(temporary, []byte(c.text), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := claim(temporary, path); errors.Is(err, fs.ErrExist) != c.exists || err != nil && !c.exists {
			t.Errorf("claim of %q: %v", c.text, err)
		}
		if got, err := os.ReadFile(path); err != nil || string(got) != c.want {
			t.Errorf("after %q: %q, %v", c.text, got, err)
		}
	}
}
