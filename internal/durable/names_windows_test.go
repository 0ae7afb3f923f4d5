package durable_test

import (
	"os"
	"path/filepath"
	"testing"
	"time"

	"golang.org/x/sys/windows"

	"github.com/exactauth/exactauth/internal/durable"
)

// A removed name is free, though a process that was killed has the file open for a moment
// longer.
func TestRemovedNameIsFree(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "acme.tmp")
	root, err := os.OpenRoot(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer root.Close()
	if err := os.WriteFile(path, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	held, err := windows.CreateFile(windows.StringToUTF16Ptr(path), windows.GENERIC_READ, windows.FILE_SHARE_READ|windows.FILE_SHARE_WRITE|windows.FILE_SHARE_DELETE,
		nil, windows.OPEN_EXISTING, 0, 0)
	if err != nil {
		t.Fatal(err)
	}
	time.AfterFunc(200*time.Millisecond, func() { windows.CloseHandle(held) })
	if err := durable.Remove(root, "acme.tmp"); err != nil {
		t.Fatal(err)
	}
	f, err := root.OpenFile("acme.tmp", os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	f.Close()
}

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
