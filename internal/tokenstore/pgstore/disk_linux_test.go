package pgstore_test

import (
	"bytes"
	"crypto/rand"
	"errors"
	"os"
	"path/filepath"
	"syscall"
	"testing"

	"github.com/exactauth/exactauth/tools/pgtest"
)

// The disk of the database is full: before a change it does not run; while a change runs,
// its result is in the database or on the machine.
func TestFullDisk(t *testing.T) {
	t.Parallel()
	pgtest.Need(t)
	dir, err := os.MkdirTemp("", "exactauth-disk-") // not t.TempDir: the server's account must enter it
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.Remove(dir) })
	if err := syscall.Mount("none", dir, "tmpfs", 0, "mode=711,size=96m"); err != nil {
		t.Skipf("needs a small disk, which only root may mount: %v", err)
	}
	t.Cleanup(func() {
		if err := syscall.Unmount(dir, 0); err != nil {
			t.Error(err)
		}
	})
	cluster, err := pgtest.New(dir)
	pgtest.Check(t, err)
	t.Cleanup(func() { pgtest.Check(t, cluster.Close()) })
	address, _ := database(t, cluster)
	filler := filepath.Join(dir, "filler")
	fill := func() {
		t.Helper()
		f, err := os.Create(filler)
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		for size := 1 << 20; size > 0; {
			if _, err := f.Write(make([]byte, size)); errors.Is(err, syscall.ENOSPC) {
				size /= 2
			} else if err != nil {
				t.Fatal(err)
			}
		}
	}
	empty := func() {
		t.Helper()
		pgtest.Check(t, os.Remove(filler))
	}
	own := t.TempDir()
	s := machine(open(t, address), own)
	update(t, s, set("1"+string(bytes.Repeat([]byte("."), 100_000))))
	fill()
	refused(t.Context(), t, s, "No space left on device")
	empty()
	result := "2" + string(noise(200_000)) // more than the room that was made
	hurried(t, s, func() []byte {
		fill()
		return []byte(result)
	})
	if b, err := s.Read(t.Context(), "a"); err != nil || string(b) != result {
		t.Errorf("Read on a full disk: %d bytes, %v", len(b), err)
	}
	empty()
	update(t, machine(open(t, address), own), same)
	if b, err := open(t, address).Read(t.Context(), "a"); err != nil || string(b) != result {
		t.Errorf("Read from the database: %d bytes, %v", len(b), err)
	}
}

// noise returns bytes that the server cannot compress.
func noise(n int) []byte {
	b := make([]byte, n)
	_, _ = rand.Read(b) // never fails
	return b
}
