//go:build unix

package tokenstore

import (
	"errors"
	"io/fs"
	"os"
	"testing"
)

// A room whose sync fails does not become the record: what is in it may not be durable.
func TestFailedSyncIsNotRenamed(t *testing.T) {
	root, err := os.OpenRoot(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	defer root.Close()
	if err := root.WriteFile("a"+roomSuffix, []byte("new"), 0o600); err != nil {
		t.Fatal(err)
	}
	_, unsyncable, err := os.Pipe() // it can be written and closed
	if err != nil {
		t.Fatal(err)
	}
	if err := (&room{root: root, name: "a", f: unsyncable}).place(); err == nil {
		t.Error("no error")
	}
	if b, err := root.ReadFile("a"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("the record is %q, %v", b, err)
	}
}
