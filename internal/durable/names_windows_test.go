package durable_test

import (
	"os"
	"path/filepath"
	"testing"
	"time"

	"golang.org/x/sys/windows"

	"github.com/exactauth/exactauth/internal/durable"
)

// A virus scanner that has a file open without sharing its name does not make a
// replacement or a removal fail, if it soon closes the file.
func TestHeldByAScanner(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "config.toml")
	root, err := os.OpenRoot(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer root.Close()
	for name, work := range map[string]func() error{
		"replace": func() error { return durable.Replace(path, []byte("new"), nil) },
		"remove":  func() error { return durable.Remove(root, "config.toml") },
	} {
		if err := os.WriteFile(path, []byte("old"), 0o600); err != nil {
			t.Fatal(err)
		}
		held, err := windows.CreateFile(windows.StringToUTF16Ptr(path), windows.GENERIC_READ, windows.FILE_SHARE_READ, nil, windows.OPEN_EXISTING, 0, 0)
		if err != nil {
			t.Fatal(err)
		}
		time.AfterFunc(200*time.Millisecond, func() { windows.CloseHandle(held) })
		if err := work(); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}
