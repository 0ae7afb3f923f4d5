package durable_test

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/exactauth/exactauth/internal/durable"
)

// lockerEnv names the directory in which the test binary locks a file twice.
const lockerEnv = "DURABLE_TEST_LOCKER"

func TestMain(m *testing.M) {
	dir := os.Getenv(lockerEnv)
	if dir == "" {
		os.Exit(m.Run())
	}
	runtime.LockOSThread() // strace counts the calls of each thread
	root, err := os.OpenRoot(dir)
	for n := 1; err == nil && n <= 2; n++ {
		ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
		var unlock func()
		if unlock, err = durable.Lock(ctx, root, "a.lock"); err == nil {
			fmt.Println("locked")
			unlock()
		}
		cancel()
	}
	if err != nil {
		fmt.Println(err)
		os.Exit(1)
	}
	os.Exit(0)
}

// A lock that the file system fails to unlock ends all the same, and a signal during the
// call is no failure.
func TestLockWithFailures(t *testing.T) {
	strace, err := exec.LookPath("strace")
	if err != nil {
		if slices.Contains(strings.Split(os.Getenv("EXACTAUTH_TEST_REQUIRE"), ","), "strace") {
			t.Fatal(err)
		}
		t.Skip("strace is not installed")
	}
	for what, inject := range map[string]string{
		"unlocking fails":          "flock:error=ENOLCK:when=2+2",
		"unlocking is interrupted": "flock:error=EINTR:when=2..3",
		"locking is interrupted":   "flock:error=EINTR:when=1..2",
	} {
		t.Run(what, func(t *testing.T) {
			cmd := exec.Command(strace, "-f", "-qq", "-o", os.DevNull, "-e", "inject="+inject, os.Args[0])
			cmd.Env = append(os.Environ(), lockerEnv+"="+t.TempDir())
			if out, err := cmd.CombinedOutput(); err != nil || string(out) != "locked\nlocked\n" {
				t.Errorf("%v\n%s", err, out)
			}
		})
	}
}
