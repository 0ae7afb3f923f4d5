//go:build unix

package tokenstore_test

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"github.com/exactauth/exactauth/internal/tokenstore"
)

func TestWaitUnlocked(t *testing.T) {
	dir := t.TempDir()
	s := tokenstore.NewFiles(dir, nil)
	lock := filepath.Join(dir, "a.lock")
	at := func(limit time.Duration) (waited bool, took time.Duration) {
		began := time.Now()
		waited = s.WaitUnlocked(t.Context(), "a", limit)
		return waited, time.Since(began)
	}
	free := func(what string) {
		t.Helper()
		if waited, took := at(10 * time.Second); waited || took > 5*time.Second {
			t.Errorf("%s: waited %v, for %s", what, waited, took)
		}
	}

	free("no lock file")
	if _, err := os.Lstat(lock); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("the lock file was made: %v", err)
	}
	if err := syscall.Mkfifo(lock, 0o600); err == nil {
		free("a pipe")
	}
	os.Remove(lock)
	if err := os.Mkdir(lock, 0o700); err != nil {
		t.Fatal(err)
	}
	free("a directory")
	os.Remove(lock)
	put(t, s, "a", "1")
	free("nobody holds the lock")

	// While another process holds the lock.
	held, release := make(chan struct{}), make(chan struct{})
	updated := make(chan error, 1)
	go func() {
		updated <- s.Update(context.Background(), "a", func(context.Context, []byte) ([]byte, error) {
			close(held)
			<-release
			return []byte("2"), nil
		})
	}()
	<-held
	if waited, took := at(50 * time.Millisecond); !waited || took < 50*time.Millisecond || took > 10*time.Second {
		t.Errorf("held for longer: waited %v, for %s", waited, took)
	}
	link := filepath.Join(dir, "link")
	if err := os.Symlink(lock, link+".lock"); err != nil {
		t.Fatal(err)
	}
	if s.WaitUnlocked(t.Context(), "link", time.Minute) {
		t.Error("a link was followed")
	}
	time.AfterFunc(50*time.Millisecond, func() { close(release) })
	if waited, _ := at(time.Minute); !waited {
		t.Error("did not wait for the lock")
	}
	if err := <-updated; err != nil {
		t.Error(err)
	}
	put(t, s, "a", "3") // nothing holds the lock
}
