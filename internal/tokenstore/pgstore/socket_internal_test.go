//go:build unix

package pgstore

import (
	"context"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/exactauth/exactauth/internal/tokenstore"
	"github.com/exactauth/exactauth/internal/trust"
)

// listenOnSocket serves each connection at a socket, and returns a store there. As root, who may
// do so, another user listens.
func listenOnSocket(t *testing.T, uid int, serve func(net.Conn)) *Store {
	t.Helper()
	dir, err := os.MkdirTemp("", "exactauth-socket-") // a test's own has too long a path, and other users cannot enter it
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	if err := os.Chmod(dir, 0o1777); err != nil {
		t.Fatal(err)
	}
	us := os.Geteuid()
	if err := syscall.Setreuid(-1, uid); err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("unix", filepath.Join(dir, ".s.PGSQL.5432"))
	if err := errors.Join(err, syscall.Setreuid(-1, us)); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer c.Close()
				serve(c)
			}()
		}
	}()
	s, err := New("postgres://ann:hunter2-hunter2@/exact?host=" + dir)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Close)
	return s
}

// Another user can listen at a socket in /tmp before the database does.
func TestSocketOfAnotherUser(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("only root can listen as another user")
	}
	if runtime.GOOS != "linux" && runtime.GOOS != "darwin" && runtime.GOOS != "freebsd" {
		t.Skip("the system does not say whose a process is")
	}
	got := make(chan int, 1)
	s := listenOnSocket(t, 61002, func(c net.Conn) {
		n, _ := io.Copy(io.Discard, c)
		got <- int(n)
	})
	_, err := s.Read(t.Context(), "a")
	var refused *trust.Error
	if !errors.As(err, &refused) || !strings.Contains(err.Error(), "belongs to user 61002") {
		t.Errorf("%v", err)
	}
	if n := <-got; n > 0 {
		t.Errorf("the other user got %d bytes", n)
	}
}

// A server that sends more than a record cannot fill this machine's memory.
func TestServerThatSendsTooMuch(t *testing.T) {
	message := func(kind byte, body string) string {
		return string(binary.BigEndian.AppendUint32([]byte{kind}, uint32(len(body)+4))) + body
	}
	row := message('1', "") + message('2', "") + message('T', "\x00\x01record\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x11\xff\xff\xff\xff\xff\xff\x00\x01")
	long := strings.Repeat("x", 60000)
	for name, flood := range map[string][2]string{ // what is sent once, and then again and again
		"one long message":   {row + "D\x1e\x00\x00\x00\x00\x01\x1d\xff\xff\xf0", long},
		"many rows":          {row, message('D', "\x00\x01\x00\x00\xea\x60"+long)},
		"many notices":       {"", message('N', "SNOTICE\x00C00000\x00M"+long+"\x00\x00")},
		"many settings":      {"", message('S', "name\x00"+long+"\x00")},
		"before the sign-in": {"", ""},
	} {
		t.Run(name, func(t *testing.T) {
			var sent atomic.Int64
			s := listenOnSocket(t, os.Geteuid(), func(c net.Conn) {
				b := make([]byte, 64<<10)
				c.Read(b)
				if flood[1] == "" {
					flood[1] = message('N', "SNOTICE\x00C00000\x00M"+long+"\x00\x00")
				} else {
					io.WriteString(c, message('R', "\x00\x00\x00\x00")+message('Z', "I"))
					c.Read(b)
				}
				n, err := io.WriteString(c, flood[0])
				for err == nil && sent.Add(int64(n)) < 100<<20 {
					n, err = io.WriteString(c, flood[1])
				}
			})
			ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
			defer cancel()
			_, err := s.Read(ctx, "a")
			var failed *tokenstore.Error
			if !errors.As(err, &failed) || ctx.Err() != nil {
				t.Errorf("%v", err)
			}
			if n := sent.Load(); n > 10<<20 {
				t.Errorf("%d bytes were read", n)
			}
		})
	}
}
