package term

import (
	"io"
	"os"
	"strings"
	"testing"
	"time"
)

// The lines of one paste come together, when its last line has ended: without the marks
// of a bracketed paste.
func TestPasteIsReadAsAWhole(t *testing.T) {
	t.Parallel()
	in, person, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	shown, show, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	p := &pasted{terminal: &Terminal{In: in, Err: show}}
	read := make(chan string)
	go func() {
		for {
			b := make([]byte, 4096)
			n, err := p.Read(b)
			if err != nil {
				close(read)
				return
			}
			read <- string(b[:n])
		}
	}()
	io.WriteString(person, "\x1b[200~first\rsecond\rthi")
	select {
	case got := <-read:
		t.Errorf("read %q before the last line has ended", got)
	case <-time.After(100 * time.Millisecond):
	}
	io.WriteString(person, "rx\x7fd\x1b[201~\r")
	if got := <-read; got != "first\nsecond\nthird\n" {
		t.Errorf("read %q", got)
	}
	io.WriteString(person, "\x1b[200~line\r\x1b[201~") // it ends within the marks
	if got := <-read; got != "line\n" {
		t.Errorf("read %q", got)
	}
	person.Close()
	if got, open := <-read; open {
		t.Errorf("read %q", got)
	}
	show.Close()
	if said, _ := io.ReadAll(shown); string(said) != "(16 characters)\n(4 characters)\n" {
		t.Errorf("said %q", strings.TrimSpace(string(said)))
	}
}
