package tokenstore_test

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/exactauth/exactauth/internal/tokenstore"
)

// fillDisk makes writes to the open file of that name fail for lack of space, until the
// file is closed.
func fillDisk(t *testing.T, name string) {
	t.Helper()
	full, err := syscall.Open("/dev/full", syscall.O_WRONLY|syscall.O_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer syscall.Close(full)
	for fd := range 1 << 10 {
		link, err := os.Readlink("/proc/self/fd/" + strconv.Itoa(fd))
		if err == nil && link == name {
			if err := syscall.Dup3(full, fd, syscall.O_CLOEXEC); err != nil {
				t.Fatal(err)
			}
			return
		}
	}
	t.Fatalf("%s is not open", name)
}

// A transient disk error costs one pause only: the second attempt makes a new room.
// The clock is the synctest bubble's.
func TestFilesSavesAgain(t *testing.T) {
	dir, err := filepath.EvalSymlinks(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	for _, found := range []string{"", "old"} {
		synctest.Test(t, func(t *testing.T) {
			s := tokenstore.NewFiles(dir, nil)
			if found != "" {
				put(t, s, "a", found)
			}
			var began time.Time
			err := s.Update(t.Context(), "a", func(context.Context, []byte) ([]byte, error) {
				fillDisk(t, filepath.Join(dir, "a.tmp"))
				began = time.Now()
				return []byte("new"), nil
			})
			if err != nil {
				t.Fatal(err)
			}
			if waited := time.Since(began); waited != 50*time.Millisecond {
				t.Errorf("it took %s; want one pause of 50ms", waited)
			}
			if b, err := s.Read(t.Context(), "a"); err != nil || string(b) != "new" {
				t.Errorf("Read = %q, %v", b, err)
			}
			if left, _ := filepath.Glob(filepath.Join(dir, "*.tmp")); len(left) != 0 {
				t.Errorf("left behind: %v", left)
			}
		})
	}
}

// The error of a failed save has the first cause and the last one, and nothing that
// follows from these.
func TestFilesCannotSave(t *testing.T) {
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		s := tokenstore.NewFiles(dir, nil)
		put(t, s, "a", "old")
		tmp := filepath.Join(dir, "a.tmp")
		err := s.Update(t.Context(), "a", func(context.Context, []byte) ([]byte, error) {
			// A directory in the place of the temporary file stops root, too.
			if err := errors.Join(os.Remove(tmp), os.MkdirAll(filepath.Join(tmp, "x"), 0o700)); err != nil {
				t.Fatal(err)
			}
			return []byte("new"), nil
		})
		var fault *tokenstore.Error
		if !errors.As(err, &fault) || fault.Kind != tokenstore.Late || !errors.Is(err, syscall.ENOTDIR) || !errors.Is(err, syscall.ENOTEMPTY) || strings.Contains(err.Error(), "\n") {
			t.Errorf("Update: %v; want a Late error with both causes", err)
		}
		if b, err := s.Read(t.Context(), "a"); err != nil || string(b) != "old" {
			t.Errorf("Read = %q, %v", b, err)
		}
	})
}
