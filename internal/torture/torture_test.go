//go:build unix

package main

import (
	"os"
	"os/exec"
	"strings"
	"testing"
)

// TestMain is also the part inside, which the program starts as itself.
func TestMain(m *testing.M) {
	if os.Getenv(insideEnv) != "" {
		os.Exit(torture(os.Args[1:], os.Stdout, os.Stderr))
	}
	os.Exit(m.Run())
}

// TestTorture is a short torture with another seed each time, which it tells.
func TestTorture(t *testing.T) {
	if testing.Short() {
		t.Skip("takes a quarter of a minute")
	}
	if _, err := exec.LookPath("go"); err != nil {
		t.Skip("no go command to build exactauth with")
	}
	var out strings.Builder
	if code := torture([]string{"-rounds", "300"}, &out, &out); code != 0 {
		t.Errorf("exit status %d", code)
	}
	t.Log(out.String())
}
