package durable_test

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"testing"

	"github.com/exactauth/exactauth/internal/durable"
)

// only checks that the directory has one file, with that text and mode.
func only(t *testing.T, path, text string, mode fs.FileMode) {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil || string(b) != text {
		t.Errorf("%s has %q, %v; want %q", path, b, err, text)
	}
	if info, err := os.Stat(path); err != nil || runtime.GOOS != "windows" && info.Mode().Perm() != mode {
		t.Errorf("mode %v, %v; want %04o", info.Mode(), err, mode)
	}
	if names, err := os.ReadDir(filepath.Dir(path)); err != nil || len(names) != 1 {
		t.Errorf("the directory has %v, %v", names, err)
	}
}

func TestCreate(t *testing.T) {
	path := filepath.Join(t.TempDir(), "a")
	if err := durable.Create(path, []byte("one")); err != nil {
		t.Fatal(err)
	}
	only(t, path, "one", 0o600)
	if err := durable.Create(path, []byte("two")); !errors.Is(err, fs.ErrExist) {
		t.Errorf("a second file: %v; want fs.ErrExist", err)
	}
	only(t, path, "one", 0o600)
	if err := durable.Create(filepath.Join(path, "b"), nil); err == nil {
		t.Error("a file below a file was made")
	}
}

func TestReplace(t *testing.T) {
	path := filepath.Join(t.TempDir(), "a")
	if err := durable.Replace(path, []byte("one"), nil); err != nil {
		t.Fatal(err)
	}
	only(t, path, "one", 0o600)
	open := func(f *os.File) error {
		if runtime.GOOS == "windows" {
			return nil
		}
		return f.Chmod(0o640)
	}
	if err := durable.Replace(path, []byte("two"), open); err != nil {
		t.Fatal(err)
	}
	only(t, path, "two", 0o640)
	failed := errors.New("failed")
	if err := durable.Replace(path, []byte("three"), func(*os.File) error { return failed }); !errors.Is(err, failed) {
		t.Errorf("%v; want the error of prepare", err)
	}
	only(t, path, "two", 0o640)
}
