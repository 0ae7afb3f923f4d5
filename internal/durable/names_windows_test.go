package durable_test

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
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

// What is on a drive or a server that is away is not there.
func TestMakeDirsAway(t *testing.T) {
	drive := byte('Q')
	for ; drive > 'D'; drive-- {
		if _, err := os.Stat(string(drive) + `:\`); err != nil {
			break
		}
	}
	for _, top := range []string{string(drive) + `:\`, `\\localhost\no share\`, `\\?\UNC\localhost\no share\`} {
		if err := durable.MakeDirs(top + `exactauth\state`); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("%s: %v; want fs.ErrNotExist", top, err)
		}
	}
	// The prefixes of Windows' own are for paths, too.
	dir := t.TempDir()
	for _, prefix := range []string{`\\?\`, `\\.\`} {
		made := filepath.Join(dir, "a", strings.Repeat("long", 50), "state") // longer than MAX_PATH
		if prefix == `\\.\` {
			made = filepath.Join(dir, "b", "state") // which Windows limits to it
		}
		if err := durable.MakeDirs(prefix + made); err != nil {
			t.Error(err)
		}
		if found, err := durable.FindOther(prefix+made, durable.Read|durable.Write); err != nil || found != (durable.Other{}) {
			t.Errorf("%s%s is open to %+v, %v", prefix, made, found, err)
		}
	}
}
