//go:build linux

// Command wine runs the tests of windows/amd64 on Linux, under Wine.
//
//	go run ./tools/wine                              all packages and all scripts
//	go run ./tools/wine -packages ./internal/...     the tests of these packages alone
//	go run ./tools/wine -run '^(token|login)'        the scripts of cmd/exactauth with these names alone
//	go run ./tools/wine -v -run '^token$'            and their logs
//	go run ./tools/wine exactauth sandbox --demo     the program as it ships
//	go run ./tools/wine -torture 40                  40 rounds of tools/torture
//	go run ./tools/wine cmd /c ver                   a program of Wine's, or one that is installed in the prefix
//
// It needs the Debian packages wine64 and gcc-mingw-w64-x86-64, no display, and no Windows. Wine's files are in a
// temporary directory, unless -prefix names one that is kept. Where Wine is missing it checks nothing and says so,
// which is an error if EXACTAUTH_TEST_REQUIRE has "wine" in its list.
//
// The file known-failures.txt lists what does not pass yet. What fails and is not in it is an error, and what is in it
// and passes is one, too.
package main

import (
	"bufio"
	"bytes"
	"context"
	"crypto/rand"
	_ "embed"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"maps"
	"net"
	"net/http"
	"os"
	"os/exec"
	"os/signal"
	"path"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/exactauth/exactauth/tools/pgtest"
)

const (
	loader    = "/usr/lib/wine/wine64"
	server    = "/usr/lib/wine/wineserver64"
	compiler  = "x86_64-w64-mingw32-gcc"
	program   = "./cmd/exactauth"
	module    = "github.com/exactauth/exactauth/"
	scriptDir = "cmd/exactauth/testdata/script"

	// mostProcesses ends everything: two versions of Wine in one prefix have once started processes without end.
	mostProcesses = 400

	mostSkipped = 15 // scripts

	slow = 20 * time.Second // a script whose time is printed

	stuck = 2 * time.Minute // a script of which the processes are printed

	// grace is what a script has left, once the test's own time is over, to end what hangs and print its log.
	grace = 30 * time.Second

	longest = 15 * time.Minute // the tests of a package

	stripped = "-ldflags=-s -w" // Wine copies the whole file at each start
)

//go:embed stub/bcryptprimitives.c
var stub []byte

//go:embed known-failures.txt
var knownFailures string

type options struct {
	packages, run, prefix string
	verbose               bool
	torture               int
	jobs                  int
	limit, most           time.Duration
}

func main() {
	if len(os.Args) > 2 && os.Args[1] == execWord { // go test runs a test's program by it
		os.Exit(runOne(os.Args[2:]))
	}
	var o options
	flag.StringVar(&o.packages, "packages", "", "run the tests of these `packages`, separated by blanks, and no scripts but those of -run")
	flag.StringVar(&o.run, "run", "", "run the scripts whose names match `regexp`, and no tests of packages but those of -packages")
	flag.StringVar(&o.prefix, "prefix", "", "keep Wine's files in this `directory`, and use it again")
	flag.IntVar(&o.torture, "torture", 0, "play this many `rounds` of tools/torture, and nothing else")
	flag.BoolVar(&o.verbose, "v", false, "print the log of each script")
	flag.IntVar(&o.jobs, "j", runtime.NumCPU()+1, "run this many scripts at once; the tests of packages run at the same time")
	flag.DurationVar(&o.limit, "limit", 6*time.Minute, "end a script after this time")
	flag.DurationVar(&o.most, "timeout", 25*time.Minute, "end everything after this time")
	flag.Parse()
	syscall.Umask(0o077) // Wine makes access lists of modes, and a user's own directories are closed to others on Windows
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := run(ctx, o, flag.Args())
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "wine:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, o options, args []string) (err error) {
	if err := installed(); err != nil {
		if slices.Contains(strings.Split(os.Getenv("EXACTAUTH_TEST_REQUIRE"), ","), "wine") {
			return fmt.Errorf("EXACTAUTH_TEST_REQUIRE demands wine: %w", err)
		}
		fmt.Println("SKIPPED:", err)
		return nil
	}
	wanted, err := regexp.Compile(o.run)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeoutCause(ctx, o.most, fmt.Errorf("the tests under Wine took more than %s", o.most))
	defer cancel()
	dir, err := os.MkdirTemp("", "exactauth-wine-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	w := &wine{options: o, dir: dir, prefix: o.prefix}
	if w.prefix == "" {
		w.prefix = filepath.Join(dir, "prefix")
	}
	if w.prefix, err = filepath.Abs(w.prefix); err != nil {
		return err
	}
	ctx, end := context.WithCancelCause(ctx)
	defer end(nil)
	go w.watch(ctx, end)
	defer w.end()
	if err := w.begin(ctx); err != nil {
		return err
	}
	switch {
	case len(args) > 0:
		return w.program(ctx, args)
	case o.torture > 0:
		return w.tortured(ctx)
	}
	if err := w.changeGo(ctx); err != nil {
		return err
	}
	stop, err := w.servePostgres()
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, stop()) }()
	var packages, scripts error
	var all sync.WaitGroup
	if o.run != "" || o.packages == "" {
		exe := filepath.Join(dir, "scripts.test.exe") // built first: most packages are in it, and go test builds none twice
		if err := w.testCommand(ctx, os.Environ(), stripped, "-c", "-o", exe, program).Run(); err != nil {
			return err
		}
		all.Go(func() { scripts = w.testScripts(ctx, exe, wanted) })
	}
	if o.packages != "" || o.run == "" {
		all.Go(func() { packages = w.testPackages(ctx) })
	}
	all.Wait()
	if err := errors.Join(packages, scripts); err != nil {
		return err
	}
	return w.report(ctx)
}

func installed() error {
	for file, name := range map[string]string{loader: "wine64", server: "wine64", compiler: "gcc-mingw-w64-x86-64"} {
		if _, err := exec.LookPath(file); err != nil {
			return fmt.Errorf("%w: apt-get install --no-install-recommends %s", err, name)
		}
	}
	return nil
}

// wine is one prefix of Wine, and what was run in it.
type wine struct {
	options
	dir, prefix string
	goroot      string // of the Go that builds the tests
	postgres    string // where tests ask for a PostgreSQL

	mu      sync.Mutex
	results []result
}

// result is how a test or a script ended.
type result struct {
	name, outcome string // PASS, FAIL or SKIP
	why           string // for SKIP
	inPart        bool   // it stopped before its end
}

// environ is the environment of Windows programs. Wine opens windows where there is a display.
func (w *wine) environ() []string {
	env := slices.DeleteFunc(os.Environ(), func(v string) bool {
		return strings.HasPrefix(v, "DISPLAY=") || strings.HasPrefix(v, "WAYLAND_DISPLAY=") || strings.HasPrefix(v, "EXACTAUTH_")
	})
	// Of what the tests may require, PostgreSQL is here, on the Linux side.
	required := slices.DeleteFunc(strings.Split(os.Getenv("EXACTAUTH_TEST_REQUIRE"), ","), func(name string) bool {
		return name != "postgres" && name != "pgbouncer"
	})
	return append(env, "WINEPREFIX="+w.prefix, "WINEDEBUG=-all", "WINEDLLOVERRIDES=mscoree,mshtml=",
		"EXACTAUTH_TEST_REQUIRE="+strings.Join(required, ","), pgtest.ServerVariable+"="+w.postgres)
}

// servePostgres runs PostgreSQL for the tests, for which Wine has none.
func (w *wine) servePostgres() (stop func() error, err error) {
	if err := pgtest.Available(); err != nil {
		fmt.Println(err)
		return func() error { return nil }, nil
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	path := "/" + rand.Text() // other users of this machine do not know it
	clusters := &pgtest.Server{}
	mux := http.NewServeMux()
	mux.Handle(path, clusters)
	server := &http.Server{Handler: mux}
	go server.Serve(l)
	w.postgres = "http://" + l.Addr().String() + path
	return func() error { return errors.Join(server.Close(), clusters.Close()) }, nil
}

// begin makes the prefix, with what this Wine lacks: ProcessPrng, which every Go program needs.
func (w *wine) begin(ctx context.Context) error {
	if err := os.MkdirAll(w.prefix, 0o700); err != nil {
		return err
	}
	source, library := filepath.Join(w.dir, "bcryptprimitives.c"), filepath.Join(w.dir, "bcryptprimitives.dll")
	if err := os.WriteFile(source, stub, 0o600); err != nil {
		return err
	}
	if out, err := exec.CommandContext(ctx, compiler, "-shared", "-O2", "-s", "-o", library, source, "-ladvapi32").CombinedOutput(); err != nil {
		return fmt.Errorf("%s: %w\n%s", compiler, err, out)
	}
	system := filepath.Join(w.prefix, "drive_c", "windows", "system32")
	if _, err := os.Stat(filepath.Join(system, "kernel32.dll")); err != nil {
		began := time.Now()
		if out, _, err := w.wine(ctx, 4*time.Minute, "wineboot", "-i"); err != nil {
			return fmt.Errorf("wineboot: %w\n%s", err, out)
		}
		fmt.Printf("wineboot: %.0f s\n", time.Since(began).Seconds())
	}
	b, err := os.ReadFile(library)
	if err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(system, "bcryptprimitives.dll"), b, 0o700) // beside the program it is not found
}

// changeGo makes the Go that builds the tests, a copy with one line changed in its deleteat, by which os.Root deletes
// files: Wine 8 answers STATUS_NOT_IMPLEMENTED where Windows before 10 says STATUS_INVALID_INFO_CLASS. The go command
// takes no overlay for a Go in the module cache, where the toolchain of go.mod is.
func (w *wine) changeGo(ctx context.Context) error {
	root, err := exec.CommandContext(ctx, "go", "env", "GOROOT").Output()
	if err != nil {
		return err
	}
	w.goroot = filepath.Join(w.dir, "go")
	copying := exec.CommandContext(ctx, "cp", "--recursive", "--symbolic-link", "--no-preserve=mode", strings.TrimSpace(string(root)), w.goroot)
	if out, err := copying.CombinedOutput(); err != nil {
		return fmt.Errorf("cp: %w\n%s", err, out)
	}
	file := filepath.Join(w.goroot, "src/internal/syscall/windows/at_windows.go")
	b, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	const before = "\tcase STATUS_INVALID_INFO_CLASS,"
	if bytes.Count(b, []byte(before)) != 1 {
		return fmt.Errorf("%s does not have %q once", file, before)
	}
	text := bytes.Replace(b, []byte(before), []byte("\tcase NTStatus(0xC0000002), STATUS_INVALID_INFO_CLASS,"), 1)
	return errors.Join(os.Remove(file), os.WriteFile(file, text, 0o600))
}

// testCommand is "go test" for Windows by the changed Go.
func (w *wine) testCommand(ctx context.Context, env []string, args ...string) *exec.Cmd {
	cmd := goCommand(ctx, append(env, "GOROOT="+w.goroot, "GOTOOLCHAIN=local"), append([]string{"test"}, args...)...)
	cmd.Path = filepath.Join(w.goroot, "bin/go")
	return cmd
}

// watch ends everything if there are too many processes.
func (w *wine) watch(ctx context.Context, end context.CancelCauseFunc) {
	for ctx.Err() == nil {
		if n := len(w.processes()); n > mostProcesses {
			end(fmt.Errorf("there were %d processes of Wine", n))
			w.end()
		}
		select {
		case <-ctx.Done():
		case <-time.After(time.Second):
		}
	}
}

// processes finds those of this prefix.
func (w *wine) processes() (pids []int) {
	mark := []byte("\x00WINEPREFIX=" + w.prefix + "\x00")
	all, _ := filepath.Glob("/proc/[0-9]*")
	for _, dir := range all {
		b, err := os.ReadFile(filepath.Join(dir, "environ"))
		if pid, _ := strconv.Atoi(filepath.Base(dir)); err == nil && pid != os.Getpid() && bytes.Contains(append([]byte{0}, b...), mark) {
			pids = append(pids, pid)
		}
	}
	return pids
}

// printProcesses prints what each process waits for, since a script has not ended yet: what hangs is seen no more once
// it is ended.
func (w *wine) printProcesses(name string) {
	var all strings.Builder
	fmt.Fprintf(&all, "script %s has not ended after %s; the processes of all scripts:\n", name, stuck)
	read := func(file string) string {
		b, _ := os.ReadFile(file) // it may have ended
		return strings.TrimSpace(strings.ReplaceAll(string(b), "\x00", " "))
	}
	for _, pid := range w.processes() {
		dir := fmt.Sprintf("/proc/%d", pid)
		began := time.Now()
		if info, err := os.Stat(dir); err == nil {
			began = info.ModTime()
		}
		fmt.Fprintf(&all, "%d since %s: %s\n", pid, began.Format(time.TimeOnly), read(dir+"/cmdline"))
		threads, _ := filepath.Glob(dir + "/task/*")
		for _, thread := range threads {
			_, stat, _ := strings.Cut(read(thread+"/stat"), ") ")
			state, _, _ := strings.Cut(stat, " ")
			fmt.Fprintf(&all, "\t%s %s %s, system call %s\n", filepath.Base(thread), state, read(thread+"/wchan"), read(thread+"/syscall"))
		}
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	fmt.Print(all.String())
}

// end ends the prefix's processes, and no other's.
func (w *wine) end() {
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	cmd := exec.CommandContext(ctx, server, "-k")
	cmd.Env = w.environ()
	_ = cmd.Run() // there may be none any more
	for _, pid := range w.processes() {
		_ = syscall.Kill(pid, syscall.SIGKILL)
	}
}

// wine runs a Windows program in this prefix and returns its output, which goes to a file: services of Wine, which
// stay, hold a pipe open.
func (w *wine) wine(ctx context.Context, limit time.Duration, args ...string) (out string, code int, err error) {
	f, err := os.CreateTemp(w.dir, "output-")
	if err != nil {
		return "", -1, err
	}
	defer os.Remove(f.Name())
	defer f.Close()
	cmd := command(ctx, w.environ(), limit, args...)
	cmd.Stdout, cmd.Stderr = f, f
	err = cmd.Run()
	b, readErr := os.ReadFile(f.Name())
	return string(b), cmd.ProcessState.ExitCode(), errors.Join(context.Cause(ctx), err, readErr)
}

// command starts Wine without random addresses. The kernel would put the heap of Wine's loader anywhere in the GiB
// above it, once in some thousand starts on the page at 0x7ffe0000, which Wine must have: such a process ends before
// it begins, and CreateProcess says "Internal error".
func command(ctx context.Context, env []string, limit time.Duration, args ...string) *exec.Cmd {
	ctx, cancel := context.WithTimeoutCause(ctx, limit, fmt.Errorf("ended after %s", limit))
	cmd := exec.CommandContext(ctx, "setarch", append([]string{"--addr-no-randomize", loader}, args...)...)
	cmd.Env = env
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Cancel = func() error {
		defer cancel()
		return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL)
	}
	return cmd
}

// program runs a program: exactauth is built as it ships.
func (w *wine) program(ctx context.Context, args []string) error {
	if args[0] == "exactauth" {
		exe := filepath.Join(w.dir, "exactauth.exe")
		if err := goCommand(ctx, os.Environ(), "build", "-trimpath", "-o", exe, program).Run(); err != nil {
			return err
		}
		args = append([]string{exe}, args[1:]...)
	}
	out, _, err := w.wine(ctx, w.limit, args...)
	fmt.Print(out)
	return err
}

// tortured runs tools/torture, built for Windows, on exactauth as it ships.
func (w *wine) tortured(ctx context.Context) error {
	tool, exe := filepath.Join(w.dir, "torture.exe"), filepath.Join(w.dir, "exactauth.exe")
	if err := errors.Join(goCommand(ctx, os.Environ(), "build", "-o", tool, "./tools/torture").Run(), goCommand(ctx, os.Environ(), "build", "-trimpath", "-o", exe, program).Run()); err != nil {
		return err
	}
	out, _, err := w.wine(ctx, w.most, tool, "-rounds", strconv.Itoa(w.torture), "-exactauth", `Z:`+filepath.ToSlash(exe))
	fmt.Print(out)
	return err
}

func goCommand(ctx context.Context, env []string, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, "go", args...)
	cmd.Env = append(env, "GOOS=windows", "GOARCH=amd64", "CGO_ENABLED=0")
	cmd.Stderr = os.Stderr
	return cmd
}

// execWord makes this program the one by which "go test -exec" starts a test.
const execWord = "-exec-under-wine"

// runOne runs a test's program. Its environment is Wine's already.
func runOne(args []string) int {
	f, err := os.CreateTemp("", "exactauth-wine-test-")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer os.Remove(f.Name())
	defer f.Close()
	cmd := command(context.Background(), os.Environ(), longest+time.Minute, args...)
	cmd.Stdout, cmd.Stderr = f, f
	err = cmd.Run()
	b, _ := os.ReadFile(f.Name())
	os.Stdout.Write(b)
	if cmd.ProcessState == nil {
		fmt.Println(err)
		return 1
	}
	return cmd.ProcessState.ExitCode()
}

// testPackages runs the tests of packages, but for the scripts.
func (w *wine) testPackages(ctx context.Context) error {
	self, err := os.Executable()
	if err != nil {
		return err
	}
	packages := []string{"./..."}
	if w.packages != "" {
		packages = strings.Fields(w.packages)
	}
	if err := printLeftOut(ctx, packages); err != nil {
		return err
	}
	args := append([]string{"-json", "-vet=off", "-count=1", "-short", stripped, "-timeout=" + longest.String(), "-skip", "^TestScripts",
		"-exec", self + " " + execWord}, packages...)
	cmd := w.testCommand(ctx, w.environ(), args...)
	out, err := cmd.StdoutPipe()
	if err != nil {
		return err
	}
	if err := cmd.Start(); err != nil {
		return err
	}
	logs := map[string]*strings.Builder{}
	lines := bufio.NewScanner(out)
	lines.Buffer(nil, 1<<24)
	for lines.Scan() {
		var e struct {
			Action, Package, Test, Output, ImportPath string
			Elapsed                                   float64
		}
		if json.Unmarshal(lines.Bytes(), &e) != nil {
			fmt.Println(lines.Text())
			continue
		}
		name := strings.TrimPrefix(e.Package, module)
		if e.Test != "" {
			name += "." + e.Test
		}
		if logs[name] == nil {
			logs[name] = &strings.Builder{}
		}
		log := logs[name]
		switch e.Action {
		case "output", "build-output":
			log.WriteString(e.Output)
		case "pass", "fail", "skip":
			switch {
			case e.Test == "" && e.Action == "fail" && !w.failedIn(name):
				w.add(result{name: name, outcome: "FAIL"}, log.String()) // it does not build, say
			case e.Test == "" && e.Action != "skip":
				fmt.Printf("%s %s (%.1f s)\n", strings.ToUpper(e.Action), name, e.Elapsed)
			case strings.Contains(e.Test, "/") && e.Action != "fail": // the test itself has failed, too
				w.add(result{name: name, outcome: strings.ToUpper(e.Action), why: lastLine(log.String())}, log.String())
			case e.Test != "" && !strings.Contains(e.Test, "/"):
				w.add(result{name: name, outcome: strings.ToUpper(e.Action), why: lastLine(log.String())}, log.String()+w.logsBelow(logs, name))
			}
		}
	}
	if err := errors.Join(lines.Err(), context.Cause(ctx)); err != nil {
		return err
	}
	if err := cmd.Wait(); err != nil && !slices.ContainsFunc(w.results, func(r result) bool { return r.outcome == "FAIL" }) {
		return fmt.Errorf("go test: %w", err)
	}
	return nil
}

// printLeftOut names the tests that are in files which are not built for Windows.
func printLeftOut(ctx context.Context, packages []string) error {
	args := []string{"list", "-f", "{{range .TestGoFiles}}{{$.ImportPath}}/{{.}} {{end}}{{range .XTestGoFiles}}{{$.ImportPath}}/{{.}} {{end}}"}
	list := goCommand(ctx, os.Environ(), append(args, packages...)...)
	here, err := list.Output()
	if err != nil {
		return err
	}
	list = exec.CommandContext(ctx, "go", list.Args[1:]...)
	list.Stderr = os.Stderr
	linux, err := list.Output()
	if err != nil {
		return err
	}
	built := strings.Fields(string(here))
	left := slices.DeleteFunc(strings.Fields(string(linux)), func(file string) bool { return slices.Contains(built, file) })
	fmt.Printf("files of tests for Linux alone (%d of %d): %s\n", len(left), len(left)+len(built), strings.ReplaceAll(strings.Join(left, " "), module, ""))
	return nil
}

func (w *wine) logsBelow(logs map[string]*strings.Builder, name string) string {
	var all strings.Builder
	for other, log := range logs {
		if strings.HasPrefix(other, name+"/") {
			all.WriteString(log.String())
		}
	}
	return all.String()
}

func (w *wine) failedIn(name string) bool {
	return slices.ContainsFunc(w.results, func(r result) bool { return r.outcome == "FAIL" && strings.HasPrefix(r.name, name+".") })
}

var testLine = regexp.MustCompile(`^\s+\S+\.go:\d+: `)

// lastLine finds why a test was skipped.
func lastLine(log string) (last string) {
	for line := range strings.Lines(log) {
		if testLine.MatchString(line) {
			last = strings.TrimSpace(testLine.ReplaceAllString(line, ""))
		}
	}
	return last
}

// testScripts runs each script in a process of its own, so that one that hangs is known by its name.
func (w *wine) testScripts(ctx context.Context, exe string, wanted *regexp.Regexp) error {
	files, err := filepath.Glob(filepath.Join(scriptDir, "*.txtar"))
	if err != nil || len(files) == 0 {
		return errors.Join(err, errors.New("there are no scripts: run this in the module's directory"))
	}
	var names []string
	for _, file := range files {
		if name := strings.TrimSuffix(filepath.Base(file), ".txtar"); wanted.MatchString(name) {
			names = append(names, name)
		}
	}
	began := time.Now()
	next := make(chan string)
	var all sync.WaitGroup
	for range w.jobs {
		all.Go(func() {
			for name := range next {
				began := time.Now()
				w.script(ctx, exe, name)
				if took := time.Since(began); took > slow {
					fmt.Printf("script %s (%.1f s)\n", name, took.Seconds())
				}
			}
		})
	}
	for _, name := range names {
		next <- name
	}
	close(next)
	all.Wait()
	fmt.Printf("%d scripts (%.0f s)\n", len(names), time.Since(began).Seconds())
	return context.Cause(ctx)
}

var (
	outcome    = regexp.MustCompile(`(?m)^ +--- (PASS|FAIL|SKIP): TestScripts/`)
	failedLine = regexp.MustCompile(`(?m)^ +FAIL: testdata.*$`)
	skipped    = regexp.MustCompile(`(?m)^\s+> (?:\[\S+\] )*skip (.*)$`)
	stopped    = regexp.MustCompile(`(?m)^ +stop(?:: .*)?$`) // as the script engine says it
)

func (w *wine) script(ctx context.Context, exe, name string) {
	if ctx.Err() != nil {
		return
	}
	f, err := os.CreateTemp(w.dir, "script-")
	if err != nil {
		w.add(result{name: name, outcome: "FAIL"}, err.Error())
		return
	}
	defer os.Remove(f.Name())
	defer f.Close()
	cmd := command(ctx, w.environ(), w.limit, exe, "-test.run", "^TestScripts$/^"+regexp.QuoteMeta(name)+"$", "-test.v", "-test.timeout="+(w.limit-grace).String())
	cmd.Dir = path.Dir(path.Dir(scriptDir))
	cmd.Stdout, cmd.Stderr = f, f
	look := time.AfterFunc(stuck, func() { w.printProcesses(name) })
	err = cmd.Run()
	look.Stop()
	b, _ := os.ReadFile(f.Name())
	r := result{name: name, outcome: "FAIL"}
	if m := outcome.FindSubmatch(b); m != nil {
		r.outcome = string(m[1])
	}
	if m := skipped.FindSubmatch(b); m != nil {
		r.why = string(m[1])
	}
	r.inPart = r.outcome == "PASS" && stopped.Match(b)
	if err != nil && r.outcome != "FAIL" {
		r.outcome = "FAIL"
	}
	w.add(r, fmt.Sprintf("%s\n%v", b, err))
}

// add notes a result and prints the log of a failure.
func (w *wine) add(r result, log string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.results = append(w.results, r)
	if r.outcome != "FAIL" && !w.verbose {
		return
	}
	if at := failedLine.FindStringIndex(log); at != nil && !w.verbose {
		log = log[:at[1]] // the log of a database may follow
	}
	if lines := strings.Split(strings.TrimRight(log, "\n"), "\n"); !w.verbose && len(lines) > 60 {
		log = "…\n" + strings.Join(lines[len(lines)-60:], "\n")
	}
	fmt.Printf("%s %s\n%s\n", r.outcome, r.name, log)
}

// report prints the counts, and compares the failures with those that are known.
func (w *wine) report(ctx context.Context) error {
	known := map[string]string{}
	for line := range strings.Lines(knownFailures) {
		if line = strings.TrimSpace(line); line != "" && line[0] != '#' {
			name, why, _ := strings.Cut(line, " ")
			known[name] = strings.TrimSpace(why)
		}
	}
	counts, wrong, why := map[string]int{}, 0, map[string][]string{}
	var inPart []string
	slices.SortFunc(w.results, func(a, b result) int { return strings.Compare(a.name, b.name) })
	for _, r := range w.results {
		reason, is := known[r.name]
		kind := "script"
		switch _, test, is := strings.Cut(r.name, "."); {
		case strings.Contains(test, "/"):
			kind = "sub-test"
		case is:
			kind = "test"
		}
		switch {
		case r.outcome == "FAIL" && is:
			fmt.Printf("known failure: %s: %s\n", r.name, reason)
			counts[kind+" KNOWN"]++
			continue
		case r.outcome == "FAIL":
			fmt.Println("FAILED:", r.name)
			wrong++
		case is:
			fmt.Printf("%s: %s is in known-failures.txt: remove it there\n", r.outcome, r.name)
			wrong++
		case r.outcome == "SKIP":
			why[kind+"s skipped: "+r.why] = append(why[kind+"s skipped: "+r.why], r.name)
		}
		if r.inPart {
			inPart = append(inPart, r.name)
		}
		counts[kind+" "+r.outcome]++
	}
	for _, reason := range slices.Sorted(maps.Keys(why)) {
		fmt.Printf("%s (%d): %s\n", reason, len(why[reason]), strings.Join(why[reason], " "))
	}
	if len(inPart) > 0 {
		fmt.Printf("scripts that stopped before their end (%d): %s\n", len(inPart), strings.Join(inPart, " "))
	}
	for _, kind := range []string{"test", "sub-test", "script"} {
		fmt.Printf("%ss under Wine: %d passed, %d failed, %d known to fail, %d skipped\n",
			kind, counts[kind+" PASS"], counts[kind+" FAIL"], counts[kind+" KNOWN"], counts[kind+" SKIP"])
	}
	if n := counts["script SKIP"]; n > mostSkipped {
		return fmt.Errorf("%d scripts were skipped, and at most %d may be", n, mostSkipped)
	}
	if wrong > 0 {
		return fmt.Errorf("%d results are not as they must be", wrong)
	}
	return context.Cause(ctx)
}
