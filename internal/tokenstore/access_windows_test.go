package tokenstore_test

import (
	"context"
	"path/filepath"
	"strings"
	"testing"

	"github.com/exactauth/exactauth/internal/durable"
	"github.com/exactauth/exactauth/internal/durable/durabletest"
	"github.com/exactauth/exactauth/internal/tokenstore"
)

// A state directory outside the user's profile is open to others by the access list of
// what is above it.
func TestExposedStateIsMadePrivate(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "state")
	var warnings []string
	s := tokenstore.NewFiles(dir, func(text string) { warnings = append(warnings, text) })
	write := func(text string) {
		t.Helper()
		if err := s.Update(t.Context(), "acme", func(context.Context, []byte) ([]byte, error) { return []byte(text), nil }); err != nil {
			t.Fatal(err)
		}
	}
	write("one")
	if len(warnings) > 0 {
		t.Errorf("warned of what it made itself: %q", warnings)
	}
	for _, path := range []string{dir, filepath.Join(dir, "acme")} {
		warnings = nil
		durabletest.ShowToEverybody(t, path)
		if b, err := s.Read(t.Context(), "acme"); err != nil || string(b) != "one" {
			t.Errorf("read %q, %v", b, err)
		}
		if len(warnings) != 1 || !strings.Contains(warnings[0], path+" was open to other users (") {
			t.Errorf("%s was open, and the warnings are %q", path, warnings)
		}
		if found, err := durable.FindOther(path, durable.Read|durable.Write); err != nil || found.SID != "" {
			t.Errorf("%s is open to %+v, %v", path, found, err)
		}
	}
}
