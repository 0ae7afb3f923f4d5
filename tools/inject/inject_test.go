//go:build linux && (amd64 || arm64)

package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
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
		verdict verdict
		code    int
		signal  syscall.Signal
		stderr  string
	}{
		"made":   {},
		"failed": {verdict: verdict{errno: unix.EIO}, code: 1, stderr: "/bin/cat: " + file + ": Input/output error\n"},
		"killed": {verdict: verdict{kill: true}, code: -1, signal: syscall.SIGKILL},
	} {
		cmd := exec.CommandContext(t.Context(), "/bin/cat", file)
		var stderr strings.Builder
		cmd.Stderr = &stderr
		cmd.Env = []string{"LC_ALL=C"}
		seen := 0
		err := runSupervised(cmd, func(n *notification) verdict {
			if c2, ok := callOf(n, dir); ok && c2.String() == "read file" {
				seen++
				return c.verdict
			}
			return verdict{}
		})
		if err != nil {
			t.Fatal(err)
		}
		status := cmd.ProcessState.Sys().(syscall.WaitStatus)
		if seen == 0 || status.ExitStatus() != c.code || c.signal != 0 && status.Signal() != c.signal || stderr.String() != c.stderr {
			t.Errorf("%s: %d reads seen, %v, %q", name, seen, cmd.ProcessState, stderr.String())
		}
	}
}

// known matches what main.go's program finds at this time, so that the test finds what
// is new. Whoever mends one of these deletes its line.
func known() *regexp.Regexp {
	return regexp.MustCompile(strings.Join([]string{
		`^logout --forget.*a message is false: "nothing was`,
		`had it whole|state/default.tmp has secrets`, // a record that was synced and not renamed
	}, "|"))
}

// Which call a fault meets depends on what the threads of a program do, so a run can find
// what no run before has found. That must not fail a change that has nothing to do with it.
func TestInject(t *testing.T) {
	if os.Getenv("EXACTAUTH_TEST_INJECT") == "" {
		t.Skip("takes a minute, and can find what is open in the program: set EXACTAUTH_TEST_INJECT=1")
	}
	if _, err := exec.LookPath("go"); err != nil {
		t.Skip("no go command to build exactauth with")
	}
	need(t)
	if failed, err := inject(options{sample: 100, seed: 7, workers: 4, known: known()}); failed || err != nil {
		t.Errorf("see the output; %v", err)
	}
}

// need skips the test where the kernel does not report system calls.
func need(t *testing.T) {
	err := runSupervised(exec.CommandContext(t.Context(), "/bin/true"), func(*notification) verdict { return verdict{} })
	switch {
	case err == nil:
	case slices.Contains(strings.Split(os.Getenv("EXACTAUTH_TEST_REQUIRE"), ","), "seccomp"):
		t.Fatalf("EXACTAUTH_TEST_REQUIRE demands seccomp: %v", err)
	default:
		t.Skipf("no seccomp user notification: %v", err)
	}
}
