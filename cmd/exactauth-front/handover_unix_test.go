//go:build darwin || linux

package main

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// A whole program that is another name of the front is refused, not run for ever.
func TestBecomeItself(t *testing.T) {
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	link := filepath.Join(t.TempDir(), "exactauth-full")
	if err := os.Symlink(self, link); err != nil {
		t.Fatal(err)
	}
	if err := become([]string{filepath.Join(t.TempDir(), "none"), link}); err == nil || !strings.Contains(err.Error(), link) {
		t.Error(err)
	}
	if err := become([]string{filepath.Join(t.TempDir(), "none")}); !errors.Is(err, errMissing) {
		t.Error(err)
	}
}
