//go:build unix

package durable_test

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/exactauth/exactauth/internal/durable"
)

// What is no regular file of this user's is neither locked nor waited for, and what a
// link names is neither made nor locked.
func TestLockRefuses(t *testing.T) {
	outside := t.TempDir()
	for what, test := range map[string]struct {
		make func(path string) error
		want string
	}{
		"a pipe":      {func(path string) error { return syscall.Mkfifo(path, 0o600) }, "not a regular file"},
		"a directory": {func(path string) error { return os.Mkdir(path, 0o700) }, "not a regular file"},
		"a link to nothing": {func(path string) error {
			return os.Symlink(filepath.Join(outside, "planted"), path)
		}, "not a regular file"},
		"a link within": {func(path string) error {
			return errors.Join(os.WriteFile(path+".other", nil, 0o600), os.Symlink(filepath.Base(path)+".other", path))
		}, "not a regular file"},
		"another user's": {func(path string) error {
			return errors.Join(os.WriteFile(path, nil, 0o666), os.Chown(path, 4711, 4711))
		}, "belongs to user 4711"},
	} {
		t.Run(what, func(t *testing.T) {
			if os.Geteuid() != 0 && what == "another user's" {
				t.Skip("only root can change the owner of a file")
			}
			dir := t.TempDir()
			if err := test.make(filepath.Join(dir, "a.lock")); err != nil {
				t.Fatal(err)
			}
			root, err := os.OpenRoot(dir)
			if err != nil {
				t.Fatal(err)
			}
			defer root.Close()
			refused := make(chan error, 1)
			go func() {
				_, err := durable.Lock(t.Context(), root, "a.lock")
				refused <- err
			}()
			select {
			case err := <-refused:
				if err == nil || !strings.Contains(err.Error(), test.want) {
					t.Errorf("Lock: %v; want %q", err, test.want)
				}
			case <-time.After(30 * time.Second):
				t.Fatal("Lock waits")
			}
			if durable.WaitUnlocked(t.Context(), root, "a.lock", time.Minute) {
				t.Error("WaitUnlocked waited")
			}
			if _, err := os.Lstat(filepath.Join(outside, "planted")); !errors.Is(err, fs.ErrNotExist) {
				t.Errorf("a link was followed: %v", err)
			}
		})
	}
}

func TestLockExcludes(t *testing.T) {
	root, err := os.OpenRoot(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	defer root.Close()
	unlock, err := durable.Lock(t.Context(), root, "a.lock")
	if err != nil {
		t.Fatal(err)
	}
	ended, end := context.WithCancel(t.Context())
	end()
	if _, err := durable.Lock(ended, root, "a.lock"); !errors.Is(err, context.Canceled) {
		t.Errorf("a held lock: %v; want context.Canceled", err)
	}
	unlock()
	unlock, err = durable.Lock(t.Context(), root, "a.lock")
	if err != nil {
		t.Fatal(err)
	}
	unlock()
}
