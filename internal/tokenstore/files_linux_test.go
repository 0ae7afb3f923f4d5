package tokenstore_test

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
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
func later(_ string, left, record []byte) (bool, error) {
	number := func(b []byte) int {
		n, _ := strconv.Atoi(strings.TrimRight(string(b), "."))
		return n
	}
	return strings.HasSuffix(string(left), ".") && number(left) > number(record), nil
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

// What was left in the room stays while it cannot be judged, since it can be the only
// copy: the record is damaged, or of another seal than the caller's.
func TestFilesKeepsTheRoom(t *testing.T) {
	dir := t.TempDir()
	s := tokenstore.NewFiles(dir, nil)
	s.TakeUp(later)
	other := tokenstore.NewFiles(dir, nil)
	other.TakeUp(func(string, []byte, []byte) (bool, error) { return false, errors.New("another seal") })
	put(t, other, "a", "1.")
	tmp := filepath.Join(dir, "a.tmp")
	if err := os.WriteFile(tmp, []byte("3."), 0o600); err != nil {
		t.Fatal(err)
	}
	failed := errors.New("it cannot be opened")
	for _, change := range []record.Change{
		func(context.Context, []byte) ([]byte, error) { return nil, failed },
		func(context.Context, []byte) ([]byte, error) { return nil, record.ErrUnchanged },
	} {
		if err := other.Update(t.Context(), "a", change); err != nil && !errors.Is(err, failed) {
			t.Error(err)
		}
	}
	if b, err := os.ReadFile(tmp); err != nil || string(b) != "3." {
		t.Fatalf("the room has %q, %v", b, err)
	}
	if b, err := s.Read(t.Context(), "a"); err != nil || string(b) != "3." {
		t.Errorf("Read = %q, %v", b, err)
	}
	// The change of a seal, which opens the record with the other key.
	put(t, other, "a", "4.")
	if b, err := s.Read(t.Context(), "a"); err != nil || string(b) != "4." {
		t.Errorf("Read = %q, %v", b, err)
	}
}

// second is a store in dir with second places, and what it warned of.
func second(dir string, warn func(string), places ...string) *tokenstore.Files {
	s := tokenstore.NewFiles(dir, warn)
	s.TakeUp(later)
	s.Second(func() (all []*tokenstore.Files) {
		for _, p := range places {
			all = append(all, tokenstore.NewFiles(p, nil))
		}
		return all
	}, func(name string, a, b []byte) (bool, error) { // a '!' is no new token
		newer, err := later(name, a, b)
		return newer && b != nil && !strings.Contains(string(a), "!"), err
	})
	return s
}

// failSave saves text in a store whose disk does not take it.
func failSave(t *testing.T, s *tokenstore.Files, dir, text string) error {
	t.Helper()
	tmp := filepath.Join(dir, "a.tmp")
	defer os.RemoveAll(tmp)
	return s.Update(t.Context(), "a", func(context.Context, []byte) ([]byte, error) {
		return []byte(text), errors.Join(os.Remove(tmp), os.MkdirAll(filepath.Join(tmp, "x"), 0o700))
	})
}

// waits returns what is in a second place.
func waits(t *testing.T, place string) string {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(place, "a"))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		t.Fatal(err)
	}
	return string(b)
}

// A result with new tokens that cannot be saved waits in each second place for the next
// call, which takes up the latest one and removes all.
func TestFilesSecondPlace(t *testing.T) {
	dir, one, two := filepath.Join(t.TempDir(), "state"), filepath.Join(t.TempDir(), "one"), filepath.Join(t.TempDir(), "two")
	synctest.Test(t, func(t *testing.T) {
		var warnings []string
		s := second(dir, func(text string) { warnings = append(warnings, text) }, one, "/proc/none", two)
		put(t, s, "a", "1.")
		if _, err := os.Lstat(one); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("a save that succeeds uses the second place: %v", err)
		}
		var late *tokenstore.Error
		if err := failSave(t, s, dir, "2!."); !errors.As(err, &late) || late.Kind != tokenstore.Late || waits(t, one) != "" {
			t.Errorf("a result without tokens: %v", err) // a mark that is kept there would let the call go on
		}
		if err := failSave(t, s, dir, "2."); err != nil || waits(t, one) != "2." || waits(t, two) != "2." {
			t.Fatal(err, waits(t, one), waits(t, two))
		}
		if len(warnings) != 1 || !strings.Contains(warnings[0], one+" and "+two) || !strings.Contains(warnings[0], "the next call takes them up") {
			t.Errorf("warnings: %q", warnings)
		}
		for _, path := range []string{one, filepath.Join(one, "a")} {
			if info, err := os.Stat(path); err != nil || info.Mode().Perm()&0o077 != 0 {
				t.Errorf("%s: %v, %v", path, info.Mode(), err)
			}
		}
		// The disk works again, and a process that takes it up was killed before it removed both.
		for _, found := range []string{"2.", "3."} {
			if found == "3." {
				if err := errors.Join(os.WriteFile(filepath.Join(one, "a"), []byte("2."), 0o600), os.WriteFile(filepath.Join(two, "a"), []byte("3."), 0o600)); err != nil {
					t.Fatal(err)
				}
			}
			if b, err := s.Read(t.Context(), "a"); err != nil || string(b) != found {
				t.Errorf("Read = %q, %v", b, err)
			}
			if b, err := os.ReadFile(filepath.Join(dir, "a")); err != nil || string(b) != found || waits(t, one) != "" || waits(t, two) != "" {
				t.Errorf("the record is %q, %v; beside it wait %q and %q", b, err, waits(t, one), waits(t, two))
			}
		}
		// What is older is dropped, and never used.
		if err := os.WriteFile(filepath.Join(one, "a"), []byte("1."), 0o600); err != nil {
			t.Fatal(err)
		}
		if b, err := s.Read(t.Context(), "a"); err != nil || string(b) != "3." {
			t.Errorf("Read = %q, %v", b, err)
		}
		err := s.Update(t.Context(), "a", func(_ context.Context, old []byte) ([]byte, error) {
			if string(old) != "3." {
				t.Errorf("change was called with %q", old)
			}
			return []byte("4."), nil
		})
		if err != nil || waits(t, one) != "" {
			t.Errorf("%v; %q waits on", err, waits(t, one))
		}
		// While the disk fails, the login is used from there.
		if err := failSave(t, s, dir, "5."); err != nil {
			t.Fatal(err)
		}
		tmp := filepath.Join(dir, "a.tmp", "x")
		if err := os.MkdirAll(tmp, 0o700); err != nil {
			t.Fatal(err)
		}
		if b, err := s.Read(t.Context(), "a"); err != nil || string(b) != "5." || waits(t, one) != "5." {
			t.Errorf("Read = %q, %v; %q waits", b, err, waits(t, one))
		}
		err = s.Update(t.Context(), "a", func(context.Context, []byte) ([]byte, error) {
			t.Error("change was called without room")
			return nil, record.ErrUnchanged
		})
		if err == nil || waits(t, one) != "5." {
			t.Errorf("%v; %q waits", err, waits(t, one))
		}
		os.RemoveAll(filepath.Dir(tmp))
		if err := s.Delete(t.Context(), "a"); err != nil || waits(t, one)+waits(t, two) != "" {
			t.Errorf("deleted: %v, %q", err, waits(t, one))
		}
	})
}

// What waits in a place that cannot be read may be the only login: nothing is changed.
// What cannot be compared, as without its key, is not used and stays.
func TestFilesSecondPlaceUnreadable(t *testing.T) {
	dir, place := t.TempDir(), t.TempDir()
	s := second(dir, nil, place)
	put(t, s, "a", "1.")
	if err := os.Mkdir(filepath.Join(place, "a"), 0o700); err != nil {
		t.Fatal(err)
	}
	err := s.Update(t.Context(), "a", func(context.Context, []byte) ([]byte, error) {
		t.Error("change was called")
		return nil, record.ErrUnchanged
	})
	if err == nil || !strings.Contains(err.Error(), place) {
		t.Error(err)
	}
	if b, err := s.Read(t.Context(), "a"); err != nil || string(b) != "1." {
		t.Errorf("Read = %q, %v", b, err)
	}
	if err := errors.Join(os.Remove(filepath.Join(place, "a")), os.WriteFile(filepath.Join(place, "a"), []byte("2."), 0o600)); err != nil {
		t.Fatal(err)
	}
	s.TakeUp(func(string, []byte, []byte) (bool, error) { return false, errors.New("no key") })
	if put(t, s, "a", "3."); waits(t, place) != "2." {
		t.Errorf("%q waits", waits(t, place))
	}
}

// One of many processes that come at the same time takes it up.
func TestFilesSecondPlaceTogether(t *testing.T) {
	dir, place := t.TempDir(), t.TempDir()
	put(t, second(dir, nil, place), "a", "1.")
	if err := os.WriteFile(filepath.Join(place, "a"), []byte("2."), 0o600); err != nil {
		t.Fatal(err)
	}
	var all sync.WaitGroup
	for range 8 {
		all.Go(func() {
			s := second(dir, nil, place)
			if b, err := s.Read(t.Context(), "a"); err != nil || string(b) != "2." {
				t.Errorf("Read = %q, %v", b, err)
			}
			err := s.Update(t.Context(), "a", func(_ context.Context, old []byte) ([]byte, error) {
				if string(old) != "2." {
					t.Errorf("change was called with %q", old)
				}
				return nil, record.ErrUnchanged
			})
			if err != nil {
				t.Error(err)
			}
		})
	}
	all.Wait()
	if waits(t, place) != "" {
		t.Errorf("%q waits", waits(t, place))
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
			fixed(t, s, test.want, undo)
		})
	}
}
