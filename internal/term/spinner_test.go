package term

import (
	"context"
	"fmt"
	"io"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/exactauth/exactauth/tools/vt"
)

func TestSpinnerLine(t *testing.T) {
	const what = "waiting until something that takes a good many words to say has come to its end"
	for _, test := range []struct {
		what  string
		left  time.Duration
		width int
		want  string
	}{
		{"waiting for the browser", 272 * time.Second, 0, "⠋ waiting for the browser, 4m32s left "},
		{"waiting for the browser", 5 * time.Minute, 200, "⠋ waiting for the browser, 5m0s left "},
		{"waiting for the browser", -time.Hour, 80, "⠋ waiting for the browser, 0s left "},
		{"waiting for the browser", 5 * time.Minute, 22, "⠋ waiting for the br "},
		{"waiting for the browser", 5 * time.Minute, 20, "⠋ waiting for the "},
		{"waiting for the browser", 5 * time.Minute, 1, "⠋ "},
		{what, 5 * time.Minute, 0, "⠋ waiting until something that takes a good many words to say has come to its "},
	} {
		got := spinnerLine("⠋", test.what, time.Now().Add(test.left+400*time.Millisecond), "left", test.width)
		if got != test.want {
			t.Errorf("%s in %d columns: %q, want %q", test.left, test.width, got, test.want)
		}
		if n := Width(got); n > 79 {
			t.Errorf("%q has %d columns", got, n)
		}
	}
	if got := spinnerLine("|", "waiting", time.Time{}, "left", 0); got != "| waiting " {
		t.Errorf("%q", got)
	}
}

// Lines that stay are whole while another line comes and goes.
func TestLinesStayWhole(t *testing.T) {
	out, in, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	seen := make(chan string)
	go func() {
		b, _ := io.ReadAll(out)
		seen <- string(b)
	}()
	s := Terminal{Err: in}
	var all sync.WaitGroup
	stop := make(chan struct{})
	drawn := make(chan struct{})
	go func() {
		defer close(drawn)
		for i := 0; ; i++ {
			select {
			case <-stop:
				s.draw("")
				return
			default:
				s.draw(fmt.Sprintf("drawn %d ", i))
			}
		}
	}()
	for w := range 4 {
		all.Go(func() {
			for i := range 50 {
				fmt.Fprintf(&s, "writer %d line %d\r\n", w, i)
			}
		})
	}
	all.Wait()
	close(stop)
	<-drawn
	in.Close()
	var terminal vt.Screen
	io.WriteString(&terminal, <-seen)
	lines := strings.Split(strings.TrimSuffix(terminal.String(), "\n"), "\n")
	if len(lines) != 200 {
		t.Errorf("%d lines, want 200", len(lines))
	}
	for _, line := range lines {
		if !strings.HasPrefix(line, "writer ") || strings.Contains(line, "drawn") {
			t.Errorf("a line is %q", line)
		}
	}
}

// Once over has returned the spinner draws nothing and leaves no goroutine, even if
// nothing reads the terminal.
func TestSpinnerEnds(t *testing.T) {
	for _, read := range []bool{true, false} {
		t.Run(fmt.Sprint("read ", read), func(t *testing.T) {
			out, in, err := os.Pipe()
			if err != nil {
				t.Fatal(err)
			}
			defer in.Close()
			defer out.Close()
			s := &Terminal{Err: in, Env: func(string) string { return "" }}
			if !read { // a write fills the pipe and has begun
				go in.Write(make([]byte, 1<<20))
				if _, err := out.Read(make([]byte, 1)); err != nil {
					t.Fatal(err)
				}
			}
			ctx, cancel := context.WithCancel(t.Context())
			over := s.spin(ctx, "waiting", time.Now().Add(time.Minute), "left")
			if !read {
				for s.mu.TryLock() { // until it is being drawn
					s.mu.Unlock()
					time.Sleep(time.Millisecond)
				}
				over() // would never return if it waited for this terminal
				cancel()
				return
			}
			b := make([]byte, 100)
			n, err := out.Read(b)
			if err != nil || !strings.HasPrefix(string(b[:n]), eraseLine+"| waiting, ") {
				t.Errorf("%q, %v", b[:n], err)
			}
			cancel() // Ctrl-C
			over()
			over()
			in.Close()
			rest, _ := io.ReadAll(out)
			if text := string(rest); !strings.HasSuffix(text, eraseLine) {
				t.Errorf("it ends on %q", text)
			}
		})
	}
}
