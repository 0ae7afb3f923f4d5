//go:build unix

package seal_test

import (
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"github.com/exactauth/exactauth/internal/tokenstore"
	"github.com/exactauth/exactauth/internal/tokenstore/seal"
)

// Opening a pipe would wait for its writer.
func TestKeyFileIsNoPipe(t *testing.T) {
	path := filepath.Join(t.TempDir(), "pipe")
	if err := syscall.Mkfifo(path, 0o600); err != nil {
		t.Skip(err)
	}
	done := make(chan error, 1)
	go func() {
		done <- seal.New(tokenstore.NewFiles(t.TempDir(), nil), seal.File(path), nil).Update(t.Context(), "a", neverCalled(t))
	}()
	select {
	case err := <-done:
		refused(t, err, "not a regular file")
	case <-time.After(10 * time.Second):
		t.Error("it hangs")
	}
}
