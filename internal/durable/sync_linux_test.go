package durable_test

import (
	"os"
	"path/filepath"
	"syscall"
	"testing"

	"github.com/exactauth/exactauth/internal/durable"
)

// A file whose sync fails does not take the other one's place: it may not be on the disk.
func TestFailedSyncIsNotRenamed(t *testing.T) {
	path := filepath.Join(t.TempDir(), "a")
	if err := durable.Create(path, []byte("one")); err != nil {
		t.Fatal(err)
	}
	_, unsyncable, err := os.Pipe() // it can be closed
	if err != nil {
		t.Fatal(err)
	}
	defer unsyncable.Close()
	err = durable.Replace(path, []byte("two"), func(f *os.File) error {
		return syscall.Dup3(int(unsyncable.Fd()), int(f.Fd()), syscall.O_CLOEXEC)
	})
	if err == nil {
		t.Error("no error")
	}
	only(t, path, "one", 0o600)
}
