package tokenstore_test

import (
	"context"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/windows"

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

// A record that Windows would not replace is found before change spends anything.
func TestFilesReplaceable(t *testing.T) {
	for what, test := range map[string]struct {
		fix  func(t *testing.T, file *uint16) (undo func())
		want string
	}{
		"read-only": {func(t *testing.T, file *uint16) func() {
			check(t, windows.SetFileAttributes(file, windows.FILE_ATTRIBUTE_READONLY))
			return func() { check(t, windows.SetFileAttributes(file, windows.FILE_ATTRIBUTE_NORMAL)) }
		}, `it is read-only; type: attrib -r "C:\`},
		"open without sharing": {func(t *testing.T, file *uint16) func() {
			h, err := windows.CreateFile(file, windows.GENERIC_READ, windows.FILE_SHARE_READ, nil, windows.OPEN_EXISTING, 0, 0)
			check(t, err)
			return func() { check(t, windows.CloseHandle(h)) }
		}, windows.ERROR_SHARING_VIOLATION.Error()},
	} {
		t.Run(what, func(t *testing.T) {
			dir := t.TempDir()
			s := tokenstore.NewFiles(dir, nil)
			put(t, s, "a", "old")
			undo := test.fix(t, windows.StringToUTF16Ptr(filepath.Join(dir, "a")))
			fixed(t, s, test.want, undo)
		})
	}
}

func check(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
