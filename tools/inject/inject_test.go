//go:build linux && (amd64 || arm64)

package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/exactauth/exactauth/tools/program"
)

// A supervised program begins as a copy of this process.
func TestMain(m *testing.M) {
	if len(os.Args) > 2 && os.Args[1] == installCommand {
		main()
	}
	os.Exit(m.Run())
}

// The calls are those of all threads, and what decide says becomes of them.
func TestSupervise(t *testing.T) {
	need(t)
	dir := t.TempDir()
	file := filepath.Join(dir, "file")
	if err := os.WriteFile(file, []byte("text"), 0o600); err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		errno  unix.Errno
		kill   bool
		code   int
		stderr string
	}{
		"made":   {},
		"failed": {errno: unix.EIO, code: 1, stderr: "/bin/cat: " + file + ": Input/output error\n"},
		"killed": {kill: true, code: 137},
	} {
		p := program.Command(patience, []string{"LC_ALL=C"}, "", "/bin/cat", file)
		seen := 0
		err := runSupervised(p, func(n *notification) (unix.Errno, bool) {
			if c2, ok := callOf(n, dir); ok && c2.String() == "read file" {
				seen++
				return c.errno, c.kill
			}
			return 0, false
		})
		if err != nil {
			t.Fatal(err)
		}
		if seen == 0 || p.Code != c.code || p.Err.String() != c.stderr {
			t.Errorf("%s: %d reads seen, exit %d, %q", name, seen, p.Code, p.Err.String())
		}
	}
}

// A part of the faults, the same in each run as far as the threads of a program let it be.
func TestInject(t *testing.T) {
	if testing.Short() {
		t.Skip("takes half a minute")
	}
	if _, err := exec.LookPath("go"); err != nil {
		t.Skip("no go command to build exactauth with")
	}
	need(t)
	if failed, err := inject(options{sample: 60, seed: 7, workers: 4}, t.Output()); failed || err != nil {
		t.Errorf("see the output; %v", err)
	}
}

// need skips the test where the kernel does not report system calls.
func need(t *testing.T) {
	err := runSupervised(program.Command(patience, nil, "", "/bin/true"), func(*notification) (unix.Errno, bool) { return 0, false })
	switch {
	case err == nil:
	case slices.Contains(strings.Split(os.Getenv("EXACTAUTH_TEST_REQUIRE"), ","), "seccomp"):
		t.Fatalf("EXACTAUTH_TEST_REQUIRE demands seccomp: %v", err)
	default:
		t.Skipf("no seccomp user notification: %v", err)
	}
}
