//go:build darwin || linux

package main

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/exactauth/exactauth/internal/config"
)

// claimed is the record of a profile, and a claim on it that another process would have.
type claimed struct {
	t    *testing.T
	dir  string
	path string
	file *os.File
}

func newClaimed(t *testing.T, text string) *claimed {
	t.Helper()
	c := &claimed{t: t, dir: t.TempDir()}
	c.path = filepath.Join(c.dir, "acme")
	if err := os.Chmod(c.dir, 0o700); err != nil {
		t.Fatal(err)
	}
	c.write(text)
	f, err := os.Open(c.path)
	if err != nil {
		t.Fatal(err)
	}
	c.file = f
	t.Cleanup(func() { f.Close() })
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		t.Fatal(err)
	}
	return c
}

// write replaces the record, as a store does.
func (c *claimed) write(text string) {
	c.t.Helper()
	temp := c.path + ".tmp"
	if err := errors.Join(os.WriteFile(temp, []byte(text), 0o600), os.Rename(temp, c.path)); err != nil {
		c.t.Error(err)
	}
}

// end gives the claim up a little later.
func (c *claimed) end(renewed string) {
	time.Sleep(20 * time.Millisecond)
	if renewed != "" {
		c.write(renewed)
	}
	c.file.Close()
}

// Who finds an expired token that another process has gone to renew prints what
// that has got, and is late by no more than it.
func TestFreshWaits(t *testing.T) {
	p := config.Settings{Name: "acme", BaseURL: baseURL, ClientID: clientID}
	expired := noon.Add(11 * time.Minute)
	began := time.Now()
	now := func() time.Time { return expired.Add(time.Since(began)) }

	c := newClaimed(t, stored())
	go c.end(stored("12:00:0", "12:11:0", "stampNL001.access", "stampNL001.next"))
	got, at, ok := fresh(c.dir, p, now)
	if !ok || got.Access.Reveal() != "stampNL001.next" {
		t.Errorf("renewed: got %q, %v", got.Access.Reveal(), ok)
	}
	if at.Before(expired.Add(20*time.Millisecond)) || at.After(now()) {
		t.Errorf("renewed: the time is said to be %s", at)
	}

	c = newClaimed(t, stored())
	go c.end("")
	if _, _, ok := fresh(c.dir, p, now); ok {
		t.Error("not renewed: an expired token is called fresh")
	}
}

// A claim is waited for until it ends, but not for ever, and only then.
func TestClaim(t *testing.T) {
	c := newClaimed(t, stored())
	go c.end("")
	claim(c.path, time.Hour) // returns, or the test hangs

	c = newClaimed(t, stored())
	claim(c.path, time.Millisecond)

	for _, path := range []string{filepath.Join(c.dir, "none"), c.dir} {
		claim(path, time.Hour)
	}
}

// The claim is the program's that the front has become, for as long as that lives.
func TestClaimIsHandedOver(t *testing.T) {
	bin, conf := t.TempDir(), t.TempDir()
	build := exec.Command("go", "build", "-o", filepath.Join(bin, "exactauth"), ".")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("go build: %v\n%s", err, out)
	}
	script := "#!/bin/sh\necho ready\nread x\n"
	acme := "default = \"acme\"\n[profiles.acme]\nclient_id = \"" + clientID + "\"\n"
	if err := errors.Join(
		os.WriteFile(filepath.Join(bin, "exactauth-full"), []byte(script), 0o700),
		os.WriteFile(filepath.Join(conf, config.FileName), []byte(acme), 0o600)); err != nil {
		t.Fatal(err)
	}
	c := newClaimed(t, stored("2026-11-22", "2025-11-22"))
	c.file.Close()

	free := func() bool {
		f, err := os.Open(c.path)
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		return syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB) == nil
	}
	if !free() {
		t.Fatal("the record is claimed already")
	}
	front := exec.Command(filepath.Join(bin, "exactauth"), "token")
	front.Env = []string{"PATH=" + os.Getenv("PATH"), "EXACTAUTH_CONFIG_DIR=" + conf, "EXACTAUTH_STATE_DIR=" + c.dir}
	in, err := front.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	defer in.Close()
	out, err := front.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := front.Start(); err != nil {
		t.Fatal(err)
	}
	ready := make([]byte, len("ready\n"))
	if _, err := out.Read(ready); err != nil {
		t.Fatalf("%v: what the front becomes does not run", err)
	}
	if free() {
		t.Error("the record is not claimed while it is renewed")
	}
	if err := front.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = front.Wait() // killed
	if !free() {
		t.Error("the claim has outlived the process")
	}
}

// A whole program that is only another name of the front is told of, and not run
// for ever.
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
