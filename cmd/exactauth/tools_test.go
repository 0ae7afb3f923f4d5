package main

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"net/http/cookiejar"
	"net/url"
	"os"
	"os/exec"
	"os/signal"
	"regexp"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/exactauth/exactauth/tools/vt"
)

// The programs that scripts run beside exactauth itself.

// browserMain is a web browser and the person who uses it. Its last argument is the
// address, or @FILE, a file with the address alone on a line. TEST_BROWSER says what
// happens: allow (the default), deny, stop before the way back to this machine, fail
// to start, or stay until there is a file $BROWSER_LOG.close. It writes what it saw to $BROWSER_LOG, and the last address to
// $BROWSER_LOG.end.
func browserMain() {
	if err := browse(os.Args[len(os.Args)-1]); err != nil {
		fmt.Fprintln(os.Stderr, "browser:", err)
		os.Exit(1)
	}
}

var (
	hiddenField = regexp.MustCompile(`name="request" value="([^"]*)"`)
	emailField  = regexp.MustCompile(`name="email" type="email" value="([^"]*)"`)
	titleTag    = regexp.MustCompile(`(?s)<title>(.*?)</title>`)
	paragraph   = regexp.MustCompile(`(?s)<p>(.*?)</p>`)
)

func browse(address string) error {
	logName := os.Getenv("BROWSER_LOG")
	out, err := os.OpenFile(logName, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	defer out.Close()
	fmt.Fprintf(out, "opened with %q\n", os.Args[1:])
	what := os.Getenv("TEST_BROWSER")
	if what == "fail" {
		return errors.New("there is no display")
	}
	if file, ok := strings.CutPrefix(address, "@"); ok {
		b, err := os.ReadFile(file)
		if err != nil {
			return err
		}
		address = ""
		for line := range strings.Lines(string(b)) {
			if line = strings.TrimRight(line, "\r\n"); strings.HasPrefix(line, "http") && !strings.Contains(line, " ") {
				address = line
			}
		}
	}
	start, err := url.Parse(address)
	if err != nil || start.Host == "" {
		return fmt.Errorf("%q is no address", address)
	}
	jar, err := cookiejar.New(nil)
	if err != nil {
		return err
	}
	client := &http.Client{Jar: jar, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	do := func(method, address string, form url.Values) (*http.Response, string, error) {
		req, err := http.NewRequest(method, address, strings.NewReader(form.Encode()))
		if err != nil {
			return nil, "", err
		}
		if form != nil {
			req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		}
		resp, err := client.Do(req)
		if err != nil {
			return nil, "", err
		}
		defer resp.Body.Close()
		body, err := io.ReadAll(resp.Body)
		fmt.Fprintf(out, "%s %s: %d\n", method, address, resp.StatusCode)
		return resp, string(body), err
	}
	method, form := http.MethodGet, url.Values(nil)
	for range 10 {
		if err := os.WriteFile(logName+".end", []byte(address+"\n"), 0o600); err != nil {
			return err
		}
		if u, err := url.Parse(address); err == nil && u.Host != start.Host && what == "stop" {
			return nil
		}
		resp, body, err := do(method, address, form)
		if err != nil {
			fmt.Fprintf(out, "cannot be reached: %v\n", err)
			return nil // as a person would see it
		}
		method, form = http.MethodGet, nil
		if to := resp.Header.Get("Location"); to != "" {
			next, err := resp.Request.URL.Parse(to)
			if err != nil {
				return err
			}
			address = next.String()
			continue
		}
		if m := hiddenField.FindStringSubmatch(body); m != nil {
			method, form = http.MethodPost, url.Values{"request": {m[1]}}
			address = start.Scheme + "://" + start.Host + "/sandbox/consent"
			if e := emailField.FindStringSubmatch(body); e != nil {
				address = start.Scheme + "://" + start.Host + "/sandbox/sign-in"
				form.Set("email", e[1])
				form.Set("password", "anything")
			} else if what == "deny" {
				form.Set("answer", "cancel")
			} else {
				form.Set("answer", "allow")
			}
			continue
		}
		if m := titleTag.FindStringSubmatch(body); m != nil {
			fmt.Fprintf(out, "title: %s\n", m[1])
		}
		for _, m := range paragraph.FindAllStringSubmatch(body, -1) {
			fmt.Fprintf(out, "text: %s\n", m[1])
		}
		return stay(what, logName, out)
	}
	return errors.New("too many redirects")
}

// stay keeps the browser open after its last page, and writes down whose terminal it has.
func stay(what, logName string, out io.Writer) error {
	if what != "stay" {
		return nil
	}
	if stat, err := os.ReadFile("/proc/self/stat"); err == nil { // Linux: pid (name) state parent group session
		fields := strings.Fields(string(stat[bytes.LastIndexByte(stat, ')')+1:]))
		fmt.Fprintf(out, "a session of its own: %v\n", fields[3] == strconv.Itoa(os.Getpid()))
	}
	for range 400 {
		if _, err := os.Stat(logName + ".close"); err == nil {
			fmt.Fprintln(out, "closed")
			return nil
		}
		time.Sleep(50 * time.Millisecond)
	}
	fmt.Fprintln(out, "never closed")
	return nil
}

// togetherMain: together N CMD [ARG...] runs N of them at the same moment and
// prints each different outcome once: how many, exit code, both outputs.
func togetherMain() {
	n, err := strconv.Atoi(os.Args[1])
	if err != nil {
		panic(err)
	}
	outcomes := make([]string, n)
	var all sync.WaitGroup
	for i := range n {
		all.Go(func() {
			cmd := exec.Command(os.Args[2], os.Args[3:]...)
			var out, errs bytes.Buffer
			cmd.Stdout, cmd.Stderr = &out, &errs
			code, ok := exitOf(cmd.Run())
			if !ok {
				code = -1
			}
			outcomes[i] = fmt.Sprintf("exit %d %s%s", code, out.String(), errs.String())
		})
	}
	all.Wait()
	slices.Sort(outcomes)
	for len(outcomes) > 0 {
		same := 1
		for same < len(outcomes) && outcomes[same] == outcomes[0] {
			same++
		}
		fmt.Printf("%d times %s\n", same, outcomes[0])
		outcomes = outcomes[same:]
	}
}

// asMain: as NAME CMD [ARG...] runs CMD. Its output goes to NAME.out and NAME.err, its
// input is what is appended to NAME.in, its process id is in NAME.pid and in the end its
// exit code in NAME.exit.
//
// as -tty NAME CMD [ARG...] runs CMD on a terminal that is TTY_COLUMNS wide, and writes
// to NAME.modes which of "echo" and "lines" the terminal has in the end.
//
// as -shell NAME CMD [ARG...] does so in a session of the terminal's, as a login shell
// runs, and writes the terminal's path to NAME.tty.
//
// as -console NAME CMD [ARG...] runs CMD on Windows in a console of its own, in which
// "signal NAME INT" is Ctrl-C. CMD's streams are files and a pipe all the same; with -shown before NAME they are the
// console's, and what it shows goes to NAME.shown.
func asMain() {
	args := os.Args[1:]
	if args[0] == "-console" {
		args = args[1:]
		inConsole(args)
	}
	shown := args[0] == "-shown"
	if shown {
		args = args[1:]
	}
	inSession := args[0] == "-shell"
	onTerminal := args[0] == "-tty" || inSession
	if onTerminal {
		args = args[1:]
	}
	if signal.Ignored(syscall.SIGHUP) { // as under nohup, and CMD would ignore it, too
		signal.Notify(make(chan os.Signal, 1), syscall.SIGHUP)
	}
	name := args[0]
	cmd := exec.Command(args[1], args[2:]...)
	check := func(err error) {
		if err != nil {
			fmt.Fprintln(os.Stderr, "as:", err)
			os.Exit(1)
		}
	}
	out, err := os.Create(name + ".out")
	check(err)
	errs, err := os.Create(name + ".err")
	check(err)
	var in io.Writer
	var us *os.File
	copied := make(chan struct{})
	if onTerminal {
		var them *os.File
		us, them, err = openTerminal()
		check(err)
		cmd.Stdin, cmd.Stdout, cmd.Stderr = them, them, them
		if inSession {
			startSession(cmd)
			check(os.WriteFile(name+".tty", []byte(them.Name()), 0o600))
		}
		check(cmd.Start())
		them.Close()
		in = us
		go func() {
			defer close(copied)
			io.Copy(out, us) // ends with the program
		}()
	} else if shown {
		keys, err := os.OpenFile("CONIN$", os.O_RDWR, 0)
		check(err)
		screen, err := os.OpenFile("CONOUT$", os.O_RDWR, 0)
		check(err)
		cmd.Stdin, cmd.Stdout, cmd.Stderr = keys, screen, screen
		in = io.Discard
		check(cmd.Start())
		close(copied)
	} else {
		cmd.Stdout, cmd.Stderr = out, errs
		in, err = cmd.StdinPipe()
		check(err)
		check(cmd.Start())
		close(copied)
	}
	check(os.WriteFile(name+".pid~", []byte(strconv.Itoa(cmd.Process.Pid)), 0o600))
	check(os.Rename(name+".pid~", name+".pid"))
	go feed(in, name+".in")
	interrupts := make(chan os.Signal, 1)
	signal.Notify(interrupts, os.Interrupt)
	go func() {
		if pressKeys(name, cmd.Process) {
			return // and they are for CMD
		}
		<-interrupts // the script is over
		cmd.Process.Kill()
	}()
	code, _ := exitOf(cmd.Wait())
	<-copied
	if onTerminal {
		modes, err := terminalModes(us)
		check(err)
		check(os.WriteFile(name+".modes", []byte(modes+"\n"), 0o600))
	}
	check(os.WriteFile(name+".exit~", []byte(strconv.Itoa(code)), 0o600))
	check(os.Rename(name+".exit~", name+".exit"))
}

// stubbornMain: stubborn [CMD ARG...] is a program that Ctrl-C does not end, as an editor: it runs CMD after the first
// one, and ends at the second one, with exit code 9.
func stubbornMain() {
	interrupts := make(chan os.Signal, 2)
	signal.Notify(interrupts, os.Interrupt)
	fmt.Println("ready", os.Getpid())
	<-interrupts
	fmt.Println("interrupted")
	if len(os.Args) > 1 {
		cmd := exec.Command(os.Args[1], os.Args[2:]...)
		cmd.Stdout, cmd.Stderr = os.Stdout, os.Stderr
		if err := cmd.Run(); err != nil {
			fmt.Println(err)
		}
	}
	<-interrupts
	os.Exit(9)
}

func feed(in io.Writer, name string) {
	for done := 0; ; time.Sleep(10 * time.Millisecond) {
		b, err := os.ReadFile(name)
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return
		}
		if len(b) > done {
			n, err := in.Write(b[done:])
			if done += n; err != nil {
				return
			}
		}
	}
}

// replaceSelf runs a command in place of this process, or as its child where there is no such call.
func replaceSelf(args []string) {
	path, err := exec.LookPath(args[0])
	if err == nil && runtime.GOOS == "windows" {
		cmd := exec.Command(path, args[1:]...)
		cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
		if code, ok := exitOf(cmd.Run()); ok {
			os.Exit(code)
		}
	} else if err == nil {
		err = syscall.Exec(path, args, os.Environ())
	}
	fmt.Fprintln(os.Stderr, err)
	os.Exit(127)
}

// cmdModes: modes NAME MODES waits until the terminal of "as -shell NAME" has these of
// "echo" and "lines".
func cmdModes(ts *testscript.TestScript, neg bool, args []string) {
	if len(args) != 2 {
		ts.Fatalf("usage: modes NAME MODES")
	}
	tty, err := os.OpenFile(ts.ReadFile(args[0]+".tty"), os.O_RDWR|noTerminal, 0)
	ts.Check(err)
	defer tty.Close()
	pollUntil(ts, func() error {
		got, err := terminalModes(tty)
		if err == nil && got != args[1] {
			err = fmt.Errorf("the terminal has %q, want %q", got, args[1])
		}
		return err
	})
}

// cmdScreen: screen NAME writes to NAME.screen what a person finally sees on the terminal
// of "as -tty NAME".
func cmdScreen(ts *testscript.TestScript, neg bool, args []string) {
	if len(args) != 1 {
		ts.Fatalf("usage: screen NAME")
	}
	columns, _ := strconv.Atoi(ts.Getenv("TTY_COLUMNS"))
	s := vt.Screen{Columns: columns}
	s.Write([]byte(ts.ReadFile(args[0] + ".out")))
	if unknown := s.Unknown(); len(unknown) > 0 {
		ts.Fatalf("escape sequences that are new: %v", unknown)
	}
	ts.Check(os.WriteFile(ts.MkAbs(args[0]+".screen"), []byte(s.String()), 0o600))
}
