//go:build linux

package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/exactauth/exactauth/tools/vt"
)

const (
	columns, rows = 80, 30
	browserName   = "browser"
	patience      = 60 * time.Second // with a program that should have answered
)

// The pace at which it is shown.
const (
	key    = 55 * time.Millisecond
	answer = 350 * time.Millisecond
)

// frame is what stands on the screen from a moment on.
type frame struct {
	at       time.Duration
	lines    []string
	row, col int // of the cursor
}

// session is a shell on a terminal with a person before it.
type session struct {
	terminal *os.File

	mu      sync.Mutex
	written []byte // by the programs, since the last look
	ended   error

	screen vt.Screen
	at     time.Duration
	frames []frame
}

// record runs the session. All that it needs lies in dir.
func record(dir string) ([]frame, error) {
	bin := filepath.Join(dir, "bin")
	if err := os.MkdirAll(bin, 0o755); err != nil {
		return nil, err
	}
	build := exec.Command("go", "build", "-trimpath", "-o", bin, "github.com/exactauth/exactauth/cmd/exactauth")
	build.Stderr = os.Stderr
	if err := build.Run(); err != nil {
		return nil, fmt.Errorf("build exactauth: %w", err)
	}
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	browser := filepath.Join(bin, browserName)
	if err := os.Symlink(self, browser); err != nil {
		return nil, err
	}
	come := filepath.Join(dir, "come")
	env := []string{"HOME=" + dir, "TMPDIR=" + dir, "PATH=" + bin + ":/usr/bin:/bin", "TERM=xterm-256color", "LC_ALL=C.UTF-8", "TZ=UTC", "PS1=$ "}

	sandbox := exec.Command(filepath.Join(bin, "exactauth"), "sandbox", "--auto-approve", "--json")
	sandbox.Env, sandbox.Stderr = env, os.Stderr
	tells, err := sandbox.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := sandbox.Start(); err != nil {
		return nil, err
	}
	defer func() {
		_ = sandbox.Process.Signal(os.Interrupt)
		_ = sandbox.Wait() // as the signal has it
	}()
	var exact struct {
		BaseURL     string `json:"base_url"`
		ClientID    string `json:"client_id"`
		Secret      string `json:"client_secret"`
		RedirectURI string `json:"redirect_uri"`
	}
	if err := json.NewDecoder(tells).Decode(&exact); err != nil {
		return nil, fmt.Errorf("the sandbox does not say what it is: %w", err)
	}

	s := &session{screen: vt.Screen{Columns: columns}}
	shell := exec.Command("sh")
	shell.Env = append(env, "BROWSER="+browser, "BROWSER_COMES="+come,
		"EXACTAUTH_CONFIG_DIR="+filepath.Join(dir, "config"), "EXACTAUTH_STATE_DIR="+filepath.Join(dir, "state"),
		"EXACTAUTH_BASE_URL="+exact.BaseURL, "EXACTAUTH_REDIRECT_URI="+exact.RedirectURI)
	if err := s.start(shell); err != nil {
		return nil, err
	}
	defer func() {
		_ = shell.Process.Kill()
		_ = shell.Wait() // as the signal has it
		s.terminal.Close()
	}()
	same := stable(exact.BaseURL, exact.RedirectURI)

	const prompt = `(^|\n)\$ $`
	err = s.play(same,
		see{prompt, time.Second},
		typed{"exactauth setup"}, see{`\[Y/n\] $`, 4 * time.Second},
		typed{"n"}, see{`Client ID: $`, time.Second},
		pasted{exact.ClientID, true}, see{`not shown\): $`, time.Second},
		pasted{exact.Secret, false}, see{prompt, 3 * time.Second},
		typed{"exactauth login"}, see{`waiting for the browser, \S+ left $`, 0}, spin{},
		touch{come}, see{prompt, 3 * time.Second},
		typed{"exactauth token | cut -c1-24"}, see{prompt, 3 * time.Second},
		typed{"exactauth whoami"}, see{prompt, 8 * time.Second},
	)
	return s.frames, err
}

// start runs the shell on a terminal of its own.
func (s *session) start(shell *exec.Cmd) error {
	us, err := os.OpenFile("/dev/ptmx", os.O_RDWR|syscall.O_NOCTTY, 0)
	if err != nil {
		return err
	}
	s.terminal = us
	fd := int(us.Fd())
	n, err := unix.IoctlGetInt(fd, unix.TIOCGPTN)
	if err == nil {
		err = unix.IoctlSetPointerInt(fd, unix.TIOCSPTLCK, 0)
	}
	if err == nil {
		err = unix.IoctlSetWinsize(fd, unix.TIOCSWINSZ, &unix.Winsize{Row: rows, Col: columns})
	}
	if err != nil {
		return err
	}
	them, err := os.OpenFile(fmt.Sprintf("/dev/pts/%d", n), os.O_RDWR|syscall.O_NOCTTY, 0)
	if err != nil {
		return err
	}
	defer them.Close()
	shell.Stdin, shell.Stdout, shell.Stderr = them, them, them
	shell.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Setctty: true}
	if err := shell.Start(); err != nil {
		return err
	}
	go func() {
		b := make([]byte, 4096)
		for {
			n, err := us.Read(b)
			s.mu.Lock()
			s.written = append(s.written, b[:n]...)
			s.ended = err
			s.mu.Unlock()
			if err != nil {
				return
			}
		}
	}()
	return nil
}

// What happens in a session.
type (
	see struct {
		until string
		pause time.Duration
	} // the programs write until this matches, then the person reads
	typed  struct{ text string } // key by key, then Enter
	pasted struct {
		text  string
		shown bool
	} // at once, then Enter
	spin  struct{}              // the spinner turns for a while
	touch struct{ file string } // the browser may come
)

func (s *session) play(same *strings.Replacer, steps ...any) error {
	for _, step := range steps {
		switch x := step.(type) {
		case see:
			text, err := s.await(regexp.MustCompile(x.until))
			if err != nil {
				return err
			}
			s.screen.Write([]byte(random.ReplaceAllStringFunc(same.Replace(text), fixed)))
			if unknown := s.screen.Unknown(); len(unknown) > 0 {
				return fmt.Errorf("escape sequences that cannot be drawn: %v", unknown)
			}
			s.at += answer
			s.show(strings.Split(strings.TrimSuffix(s.screen.String(), "\n"), "\n"), 0)
			s.at += x.pause
		case typed:
			for i := range x.text {
				s.at += key
				s.echo(x.text[:i+1])
			}
			s.at += key
			if err := s.enter(x.text); err != nil {
				return err
			}
		case pasted:
			if x.shown {
				s.at += key
				s.echo(x.text)
			}
			s.at += answer
			if err := s.enter(x.text); err != nil {
				return err
			}
		case spin:
			s.turn()
		case touch:
			if err := os.WriteFile(x.file, nil, 0o600); err != nil {
				return err
			}
		}
	}
	s.show(s.frames[len(s.frames)-1].lines, 0) // how long the end stays
	return nil
}

// await gives what the programs wrote since the last look, once it matches.
func (s *session) await(until *regexp.Regexp) (string, error) {
	for end := time.Now().Add(patience); ; time.Sleep(5 * time.Millisecond) {
		s.mu.Lock()
		text := strings.ReplaceAll(string(s.written), "\r\n", "\n")
		matched, ended := until.MatchString(text), s.ended
		if matched {
			text, s.written = string(s.written), nil
		}
		s.mu.Unlock()
		switch {
		case matched:
			return text, nil
		case ended != nil:
			return "", fmt.Errorf("the terminal is gone: %w, after:\n%s", ended, text)
		case time.Now().After(end):
			return "", fmt.Errorf("waited in vain for %s, after:\n%s", until, text)
		}
	}
}

func (s *session) enter(text string) error {
	_, err := s.terminal.WriteString(text + "\r")
	return err
}

// show is a new frame. The cursor stands on the last line of the screen, or right
// of it by so many keys.
func (s *session) show(lines []string, keys int) {
	row, col := s.screen.Cursor()
	s.frames = append(s.frames, frame{s.at, lines, row, col + keys})
}

// echo is a frame with what is typed behind what stands there.
func (s *session) echo(text string) {
	lines := strings.Split(strings.TrimSuffix(s.screen.String(), "\n"), "\n")
	row, col := s.screen.Cursor()
	last := []rune(lines[row])
	for len(last) < col {
		last = append(last, ' ') // which is not kept at the end of a line
	}
	lines[row] = string(last) + text
	s.show(lines, len(text))
}

var spinner = []rune("⠋⠙⠹⠸⠼⠴⠦⠧⠇⠏")

// turn has the spinner go round once and a half. How often it did while the real
// programs ran is a matter of chance.
func (s *session) turn() {
	const pace = 120 * time.Millisecond // internal/term/spinner.go
	now := s.frames[len(s.frames)-1]
	s.frames = s.frames[:len(s.frames)-1]
	for i := range 15 {
		lines := append([]string(nil), now.lines...)
		left := "5m0s"
		if i > 4 {
			left = "4m59s"
		}
		lines[now.row] = fmt.Sprintf("%c waiting for the browser, %s left", spinner[i%len(spinner)], left)
		s.frames = append(s.frames, frame{s.at, lines, now.row, len([]rune(lines[now.row])) + 1})
		s.at += pace
	}
}

// stable replaces the ports, which are free ones.
func stable(baseURL, redirectURI string) *strings.Replacer {
	const base, redirect = "127.0.0.1:8080", "127.0.0.1:8484"
	host := func(address string) string {
		_, rest, _ := strings.Cut(address, "://")
		authority, _, _ := strings.Cut(rest, "/")
		return authority
	}
	escape := func(authority string) string { return strings.ReplaceAll(authority, ":", "%3A") }
	return strings.NewReplacer(host(baseURL), base, host(redirectURI), redirect,
		escape(host(baseURL)), escape(base), escape(host(redirectURI)), escape(redirect))
}

// random finds what is another in each session: a state, a token's begin, a date.
var random = regexp.MustCompile(`state=[A-Za-z0-9_-]{43}|stampNL001\.[A-Za-z0-9_-]{13}|\d{1,2} [A-Z][a-z]+ 20\d\d`)

func fixed(found string) string {
	switch {
	case strings.HasPrefix(found, "state="):
		return "state=h2RkXc0yZJ4pWm7sQvT1nB8aLfE5gUoK3iD9xYtV6qM"
	case strings.HasPrefix(found, "stamp"):
		return "stampNL001.gAAAAB7xQ2mVt"
	}
	return "31 January 2027"
}

// browse is the stand-in for the browser. It comes when it is told to.
func browse(args []string) {
	for end := time.Now().Add(patience); ; time.Sleep(10 * time.Millisecond) {
		_, err := os.Stat(os.Getenv("BROWSER_COMES"))
		if err == nil {
			break
		}
		if !errors.Is(err, os.ErrNotExist) || time.Now().After(end) {
			os.Exit(1)
		}
	}
	resp, err := http.Get(args[len(args)-1])
	if err != nil {
		os.Exit(1)
	}
	resp.Body.Close()
}
