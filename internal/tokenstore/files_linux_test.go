package tokenstore_test

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/exactauth/exactauth/internal/record"
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

// A result that is synced is not removed because it cannot be renamed: the rename alone
// is tried again.
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
		if !errors.As(err, &fault) || fault.Kind != tokenstore.Late || !errors.Is(err, syscall.ENOTDIR) || errors.Is(err, syscall.ENOTEMPTY) || strings.Contains(err.Error(), "\n") {
			t.Errorf("Update: %v; want a Late error of the rename", err)
		}
		if b, err := s.Read(t.Context(), "a"); err != nil || string(b) != "old" {
			t.Errorf("Read = %q, %v", b, err)
		}
	})
}

// later is a newer for records that begin with a number; a whole one ends with a dot.
func later(_ string, left, record []byte) bool {
	number := func(b []byte) int {
		n, _ := strconv.Atoi(strings.TrimRight(string(b), "."))
		return n
	}
	return strings.HasSuffix(string(left), ".") && number(left) > number(record)
}

// What a killed process left in the room is taken up if it is whole and later.
func TestFilesTakesUpTheRoom(t *testing.T) {
	for _, test := range []struct{ record, left, want string }{
		{"1.", "2.", "2."}, {"", "1.", "1."}, {"2.", "1.", "2."}, {"2.", "2.", "2."}, {"1.", "2. ", "1."}, {"1.", "2", "1."}, {"1.", "", "1."},
	} {
		dir := t.TempDir()
		s := tokenstore.NewFiles(dir, nil)
		s.TakeUp(later)
		if test.record != "" {
			put(t, s, "a", test.record)
		}
		if err := os.WriteFile(filepath.Join(dir, "a.tmp"), []byte(test.left), 0o600); err != nil {
			t.Fatal(err)
		}
		if b, err := s.Read(t.Context(), "a"); err != nil || string(b) != test.want {
			t.Errorf("%q beside %q, before an Update: Read = %q, %v", test.left, test.record, b, err) // or a call would ask for a sign-in
		}
		err := s.Update(t.Context(), "a", func(_ context.Context, old []byte) ([]byte, error) {
			if string(old) != test.want {
				t.Errorf("%q beside %q: change was called with %q", test.left, test.record, old)
			}
			return nil, record.ErrUnchanged
		})
		if err != nil {
			t.Fatal(err)
		}
		if b, err := s.Read(t.Context(), "a"); err != nil || string(b) != test.want {
			t.Errorf("%q beside %q: Read = %q, %v", test.left, test.record, b, err)
		}
	}
}

// A record that cannot be replaced is found before change spends anything.
func TestFilesReplaceable(t *testing.T) {
	chattr := func(flag string) func(*testing.T, string) func() {
		return func(t *testing.T, path string) func() {
			if out, err := exec.Command("chattr", "+"+flag, path).CombinedOutput(); err != nil {
				t.Skipf("chattr does not work here: %v %s", err, out)
			}
			return func() { exec.Command("chattr", "-"+flag, path).Run() }
		}
	}
	for what, test := range map[string]struct {
		fix        func(t *testing.T, path string) (undo func())
		file, want string
	}{
		"a mount": {func(t *testing.T, path string) func() {
			if err := syscall.Mount(path, path, "", syscall.MS_BIND, ""); err != nil {
				t.Skip("nothing can be mounted here: ", err)
			}
			return func() { syscall.Unmount(path, syscall.MNT_DETACH) }
		}, "a", "a mount of its own"},
		"immutable":               {chattr("i"), "a", "attributes"},
		"append only":             {chattr("a"), "a", "attributes"},
		"append only, as a whole": {chattr("a"), ".", "attributes of its directory"},
	} {
		t.Run(what, func(t *testing.T) {
			dir := t.TempDir()
			s := tokenstore.NewFiles(dir, nil)
			put(t, s, "a", "old")
			undo := test.fix(t, filepath.Join(dir, test.file))
			err := s.Update(t.Context(), "a", func(context.Context, []byte) ([]byte, error) {
				t.Error("change was called")
				return []byte("new"), nil
			})
			undo()
			var failed *tokenstore.Error
			if !errors.As(err, &failed) || failed.Kind != tokenstore.Directory || !strings.Contains(err.Error(), test.want) {
				t.Errorf("Update: %v; want %q", err, test.want)
			}
			put(t, s, "a", "new")
		})
	}
}
