package pgstore_test

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/exactauth/exactauth/internal/tokenstore"
	"github.com/exactauth/exactauth/internal/tokenstore/spool"
	"github.com/exactauth/exactauth/tools/pgtest"
)

// relay passes bytes between a store and its server, until it cuts the first connection.
type relay struct {
	address     string          // of the database, through the relay
	cut         [2]int64        // after how many bytes to the server, and from it; 0 for never
	passed      [2]atomic.Int64 // bytes on the first connection
	connections atomic.Int32
	closed      chan struct{} // when the first connection has ended
}

func newRelay(t *testing.T, address string, cut [2]int64) *relay {
	t.Helper()
	u, err := url.Parse(address)
	if err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	server := u.Host
	u.Host = l.Addr().String()
	r := &relay{address: u.String(), cut: cut, closed: make(chan struct{})}
	go func() {
		for {
			client, err := l.Accept()
			if err != nil {
				return
			}
			go r.serve(client, server, r.connections.Add(1) == 1)
		}
	}()
	return r
}

func (r *relay) serve(client net.Conn, server string, first bool) {
	defer client.Close()
	conn, err := net.Dial("tcp", server)
	if err != nil {
		return
	}
	defer conn.Close()
	var both sync.WaitGroup
	for i, c := range [][2]net.Conn{{client, conn}, {conn, client}} {
		both.Go(func() {
			var w io.Writer = c[1]
			if first {
				w = &scissors{c[1], &r.passed[i], r.cut[i]}
			}
			_, _ = io.Copy(w, struct{ io.Reader }{c[0]})
			client.Close()
			conn.Close()
		})
	}
	both.Wait()
	if first {
		close(r.closed)
	}
}

// scissors fails after a number of bytes.
type scissors struct {
	w      io.Writer
	passed *atomic.Int64
	cut    int64
}

func (s *scissors) Write(b []byte) (int, error) {
	n := len(b)
	if left := s.cut - s.passed.Load(); s.cut > 0 && left < int64(n) {
		b = b[:max(left, 0)]
	}
	s.passed.Add(int64(n))
	if m, err := s.w.Write(b); err != nil || m < n {
		return m, io.ErrShortWrite
	}
	return n, nil
}

// later returns the greater record.
func later(kept, shared []byte) []byte {
	if bytes.Compare(kept, shared) > 0 {
		return kept
	}
	return shared
}

// Wherever the connection is cut, a change that ran is not lost, and runs once.
func TestCutAnywhere(t *testing.T) {
	cluster := pgtest.Start(t)
	address, _ := database(t, cluster)
	address = strings.Replace(address, "sslmode=require", "sslmode=disable", 1) // so that the bytes are PostgreSQL's
	direct := open(t, address)
	n := 0
	update := func(cut [2]int64) (passed [2]int64) {
		t.Helper()
		n++
		text := fmt.Sprintf("record %06d", n)
		before, _ := direct.Read(t.Context(), "a")
		r := newRelay(t, address, cut)
		s := open(t, r.address)
		machine := spool.New(s, tokenstore.NewFiles(t.TempDir(), nil), later, nil)
		called := 0
		err := machine.Update(t.Context(), "a", func(_ context.Context, old []byte) ([]byte, error) {
			called++
			return []byte(text), nil
		})
		s.Close()
		switch {
		case called > 1 || called == 1 && err != nil || called == 0 && err == nil:
			t.Errorf("cut after %v: change called %d times, %v", cut, called, err)
		case called == 1:
			want(t, direct, "a", text)
		default:
			want(t, direct, "a", string(before))
		}
		return [2]int64{r.passed[0].Load(), r.passed[1].Load()}
	}
	update([2]int64{}) // which makes the table
	all := update([2]int64{})
	cuts := 0
	for i := range all {
		for at := int64(1); at < all[i]; at += 43 {
			if i == 0 && at > 1500 && at < all[i]-1500 { // within the bytes that make room
				at += 3000
			}
			var cut [2]int64
			cut[i] = at
			update(cut)
			cuts++
		}
	}
	t.Logf("cut at %d of %v bytes", cuts, all)
}
