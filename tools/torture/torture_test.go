//go:build linux

package main

import (
	"os/exec"
	"testing"
	"time"

	"github.com/exactauth/exactauth/tools/pgtest"
)

// Short runs, each with another seed, which the output has.

func TestTorture(t *testing.T) { short(t, "-rounds", "300") }

func TestTortureBehindTheFront(t *testing.T) { short(t, "-rounds", "160", "-front") }

func TestTortureShared(t *testing.T) {
	pgtest.Need(t)
	short(t, "-rounds", "32", "-worlds", "16", "-store", "postgres", "-seal", []string{"none", "age"}[time.Now().Unix()%2])
}

func short(t *testing.T, args ...string) {
	if testing.Short() {
		t.Skip("takes a quarter of a minute")
	}
	if _, err := exec.LookPath("go"); err != nil {
		t.Skip("no go command to build exactauth with")
	}
	out, err := exec.CommandContext(t.Context(), "go", append([]string{"run", "."}, args...)...).CombinedOutput()
	if err != nil {
		t.Error(err)
	}
	t.Logf("%s", out)
}
