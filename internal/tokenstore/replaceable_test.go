//go:build linux || windows

package tokenstore_test

import (
	"context"
	"errors"
	"strings"
	"testing"

	"github.com/exactauth/exactauth/internal/tokenstore"
)

// fixed checks that an update of the record a, which cannot be replaced, ends with want
// before anything is changed, and that it can be replaced after undo.
func fixed(t *testing.T, s *tokenstore.Files, want string, undo func()) {
	t.Helper()
	err := s.Update(t.Context(), "a", func(context.Context, []byte) ([]byte, error) {
		t.Error("change was called")
		return []byte("new"), nil
	})
	undo()
	var failed *tokenstore.Error
	if !errors.As(err, &failed) || failed.Kind != tokenstore.Directory || !strings.Contains(err.Error(), want) {
		t.Errorf("Update: %v; want %q", err, want)
	}
	put(t, s, "a", "new")
}
