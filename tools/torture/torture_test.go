//go:build unix

package main

import (
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/exactauth/exactauth/tools/pgtest"
)

// TestMain is also the part inside, which the program starts as itself.
func TestMain(m *testing.M) {
	if os.Getenv(insideEnv) != "" {
		os.Exit(torture(os.Args[1:], os.Stdout, os.Stderr))
	}
	os.Exit(m.Run())
}

// TestTorture is a short torture with another seed each time, which it tells.
func TestTorture(t *testing.T) { short(t, "-rounds", "300") }

// TestTortureBehindTheFront is one of the program as packages have it.
func TestTortureBehindTheFront(t *testing.T) { short(t, "-rounds", "160", "-front") }

// TestTortureShared is one over PostgreSQL, sealed or not.
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
	var out strings.Builder
	if code := torture(args, &out, &out); code != 0 {
		t.Errorf("exit status %d", code)
	}
	t.Log(out.String())
}
