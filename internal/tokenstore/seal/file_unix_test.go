//go:build unix

package seal_test

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"syscall"
	"testing"

	"github.com/exactauth/exactauth/internal/tokenstore"
	"github.com/exactauth/exactauth/internal/tokenstore/seal"
	"github.com/exactauth/exactauth/internal/trust"
)

// An identity may come through a pipe. The wait for its writer ends with the context.
func TestKeyFileIsAPipe(t *testing.T) {
	pipe := func() string {
		path := filepath.Join(t.TempDir(), "pipe")
		if err := syscall.Mkfifo(path, 0o600); err != nil {
			t.Skip(err)
		}
		return path
	}
	files := tokenstore.NewFiles(t.TempDir(), nil)
	ended := errors.New("ended")
	ctx, cancel := context.WithCancelCause(t.Context())
	cancel(ended)
	if err := seal.New(files, seal.File(pipe()), nil).Update(ctx, "a", neverCalled(t)); !errors.Is(err, ended) {
		t.Errorf("without a writer: %v; want the context's cause", err)
	}
	path, identity := pipe(), identity(t).String()
	go os.WriteFile(path, []byte(identity), 0o600)
	s := seal.New(files, seal.File(path), nil)
	put(t, s, "a", text)
	if got := raw(t, s, "a"); got != text {
		t.Errorf("it is %q", got)
	}
}

// A key is made only where it will be accepted: another user could take it away.
func TestKeyIsNotMadeInAnotherUsersDirectory(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("only root can make a directory of another user's")
	}
	dir := t.TempDir()
	if err := os.Chown(dir, 61002, 61002); err != nil {
		t.Fatal(err)
	}
	made, err := seal.File(filepath.Join(dir, "key")).Make(t.Context())
	if refused := (*trust.Error)(nil); made || !errors.As(err, &refused) || refused.Path != dir {
		t.Errorf("%v, %v", made, err)
	}
	if left, err := os.ReadDir(dir); err != nil || len(left) > 0 {
		t.Errorf("%v is left, %v", left, err)
	}
}
