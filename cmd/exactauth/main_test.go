package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"

	"github.com/exactauth/exactauth/internal/callback/callbacktest"

	"github.com/rogpeppe/go-internal/testscript"
)

// The scripts run the real program, in processes of its own, against a simulated Exact
// Online in this process, and ask the simulator what happened.

func TestMain(m *testing.M) {
	// The scripts wait for most of their time. -parallel on the command line comes after this.
	if err := flag.Set("test.parallel", strconv.Itoa(3*runtime.GOMAXPROCS(0))); err != nil {
		panic(err)
	}
	commands := map[string]func(){
		"exactauth":    main,
		"browser":      browserMain,
		"together":     togetherMain,
		"as":           asMain,
		"unprivileged": unprivilegedMain,
		"user":         userMain,
		"peak":         peakMain,
		"killed":       killedMain,
		"fetch":        fetchMain,
		"stubborn":     stubbornMain,
	}
	runTests(m, commands)
}

func TestScripts(t *testing.T) {
	// Scripts ask [exec:curl], which the script engine answers on its own.
	if _, err := exec.LookPath("curl"); err != nil && required("curl") {
		t.Fatalf("EXACTAUTH_TEST_REQUIRE: %v", err)
	}
	testscript.RunT(&scriptT{T: t, report: (*testing.T).Errorf}, scriptParams(t, filepath.Join("testdata", "script")))
}

func scriptParams(t *testing.T, dir string) testscript.Params {
	deadline, _ := t.Deadline() // so that the log of a program that hangs is printed
	return testscript.Params{
		Dir:                 dir,
		Setup:               setupScript,
		Cmds:                scriptCommands,
		Condition:           scriptCondition,
		RequireExplicitExec: true,
		RequireUniqueNames:  true,
		Deadline:            deadline,
	}
}

// skipReasons are the words that a script may have behind "skip" or "stop", and what they mean. Of a script that can be
// run in part the other lines have a condition, [unix] say, or are behind a "stop".
var skipReasons = map[string]string{
	"terminal": "tests open terminals on Linux only",
	"users":    "only root of Linux acts as other users",
	"disk":     "only root of Linux mounts a small disk, or forbids each change of a file",
	"keyring":  "the programs of a Secret Service are missing",
	"windows":  "batch files and jobs are Windows' own",
	"programs": "the script needs a POSIX shell, curl or jq",

	"strace":     "there is no strace, as on all systems but Linux, or it may not trace",
	"memory":     "only Linux reports how much memory a program took, but not with the race detector",
	"pipes":      "named pipes in directories are Unix' own",
	"sockets":    "exactauth serves Unix sockets on Unix only",
	"signals":    "of signals Windows has Ctrl-C alone, which another part of the script sends",
	"xdg":        "the directories of XDG are Linux' own",
	"unreadable": "only Linux and Windows can be made to refuse to read a file of the user's own",
}

var skipLine = regexp.MustCompile(`(?m)^(?:\[[^\]]+\] *)*(?:skip|stop)\b(.*)$`)

// unknownReasons returns the lines of a script that skip it for another reason.
func unknownReasons(script string) (lines []string) {
	for _, m := range skipLine.FindAllStringSubmatch(script, -1) {
		if _, ok := skipReasons[strings.TrimSpace(m[1])]; !ok {
			lines = append(lines, m[0])
		}
	}
	return lines
}

func TestSkipReasons(t *testing.T) {
	files, err := filepath.Glob(filepath.Join("testdata", "script", "*.txtar"))
	if err != nil || len(files) == 0 {
		t.Fatal(files, err)
	}
	for _, file := range files {
		b, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		for _, line := range unknownReasons(string(b)) {
			t.Errorf("%s: %q: want one of skipReasons", file, line)
		}
	}
	for _, line := range []string{"skip", "[windows] stop", "[windows] skip 'it is hard'", "[!linux] [!root] skip Windows"} {
		if got := unknownReasons("exec true\n" + line + "\n[!linux] skip terminal\n"); len(got) != 1 || got[0] != line {
			t.Errorf("%q is allowed: %q", line, got)
		}
	}
}

// scriptT keeps the whole log of a script, so that it can be searched for
// secrets when the script is over.
type scriptT struct {
	*testing.T
	report func(t *testing.T, format string, args ...any)
	world  *world
}

func (t *scriptT) Run(name string, f func(testscript.T)) {
	t.T.Run(name, func(sub *testing.T) { f(&scriptT{T: sub, report: t.report}) })
}

// Verbose keeps the script engine from throwing away the log of what passed.
func (t *scriptT) Verbose() bool { return true }

func (t *scriptT) Log(args ...any) {
	t.Helper()
	log := fmt.Sprint(args...)
	if t.world != nil {
		for _, leak := range append(t.world.leaksInLog(log), t.world.fileLeaks...) {
			t.report(t.T, "%s", leak)
		}
	}
	t.T.Log(log)
}

// scripts counts the scripts, so that each can have a loopback address of its own.
var scripts atomic.Int32

func setupScript(e *testscript.Env) error {
	host, port := freePlace()
	w := &world{
		work:     e.WorkDir,
		state:    filepath.Join(e.WorkDir, "state"),
		redirect: "http://" + net.JoinHostPort(host, port) + "/callback",
	}
	e.Values[worldKey{}] = w
	if t, ok := e.T().(*scriptT); ok {
		t.world = w
		w.t = t.T
	}
	if err := w.begin(simOptions{}); err != nil {
		return err
	}
	e.Defer(func() {
		w.fileLeaks = w.leaksInFiles()
		w.close()
		w.eventsMu.Lock()
		defer w.eventsMu.Unlock()
		w.fileLeaks = append(w.fileLeaks, w.unnamed...)
	})
	for _, dir := range []string{"home", "tmp"} {
		if err := os.Mkdir(filepath.Join(e.WorkDir, dir), 0o700); err != nil {
			return err
		}
	}
	for name, text := range errorTexts {
		e.Setenv(name, text)
	}
	for name, value := range map[string]string{
		"EXACTAUTH_CONFIG_DIR": filepath.Join(e.WorkDir, "config"),
		"EXACTAUTH_STATE_DIR":  w.state,
		"CONFIG":               filepath.Join(e.WorkDir, "config", "config.toml"),
		"STATE":                w.state,
		"HOME":                 filepath.Join(e.WorkDir, "home"),
		"TMPDIR":               filepath.Join(e.WorkDir, "tmp"),
		"BROWSER":              "browser",
		"BROWSER_LOG":          filepath.Join(e.WorkDir, "browser.log"),
		"SIM":                  w.server.URL,
		"CLIENT_ID":            clientID,
		"REDIRECT":             w.redirect,
		"REDIRECT_PORT":        port,
		"REDIRECT_HOST":        net.JoinHostPort(host, port),
		"FREE_PORT":            callbacktest.Port(), // of 127.0.0.1
		"TZ":                   "UTC",
		"LC_ALL":               "C",
		// The race detector sleeps for a second at the end of each process otherwise.
		"GORACE": strings.TrimSpace(os.Getenv("GORACE") + " atexit_sleep_ms=0"),
	} {
		e.Setenv(name, value)
	}
	return nil
}

// freePlace returns a loopback address for the redirect URI, which must be known before
// the program listens there. Linux has so many that each script gets its own.
func freePlace() (host, port string) {
	if runtime.GOOS == "linux" {
		n := scripts.Add(1)
		return fmt.Sprintf("127.%d.%d.%d", 20+os.Getpid()%200, n/250, 2+n%250), "8484"
	}
	return "127.0.0.1", callbacktest.Port()
}

// required fails a test that EXACTAUTH_TEST_REQUIRE forbids to be skipped.
func required(what string) bool {
	return slices.Contains(strings.Split(os.Getenv("EXACTAUTH_TEST_REQUIRE"), ","), what)
}

func scriptCondition(cond string) (bool, error) {
	ok, err := available(cond)
	if err == nil && !ok && required(cond) {
		err = fmt.Errorf("%s is missing here, and EXACTAUTH_TEST_REQUIRE asks for it", cond)
	}
	return ok, err
}

func available(cond string) (bool, error) {
	switch cond {
	case "root":
		return os.Geteuid() == 0, nil
	case "full": // a device that is always full
		_, err := os.Stat("/dev/full")
		return err == nil && runtime.GOOS != "windows", nil
	case "tmpfs":
		return canMount(), nil
	case "strace":
		if _, err := exec.LookPath("strace"); err != nil {
			return false, nil
		}
		return exec.CommandContext(context.Background(), "strace", "-f", "true").Run() == nil, nil // it may be forbidden, as in containers
	case "race":
		return raceEnabled, nil
	case "keyring":
		for _, tool := range keyringTools {
			if _, err := exec.LookPath(tool); err != nil {
				return false, nil
			}
		}
		return true, nil
	}
	return false, fmt.Errorf("unknown condition %q", cond)
}

func exitOf(err error) (int, bool) {
	var ended *exec.ExitError
	switch {
	case err == nil:
		return 0, true
	case errors.As(err, &ended):
		return childStatus(ended), true
	}
	return 0, false
}

// A signal that came before the release has ended the context after it.
func TestReleaseHandlesWhatCame(t *testing.T) {
	ctx, s := catchInterrupts(t.Context())
	s.came <- syscall.SIGTERM
	s.release()
	if got := (*interrupted)(nil); !errors.As(context.Cause(ctx), &got) || got.signal != syscall.SIGTERM {
		t.Errorf("the context's cause: %v", context.Cause(ctx))
	}
	s.release() // again
}
