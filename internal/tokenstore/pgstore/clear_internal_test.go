package pgstore

import (
	"context"
	"crypto/tls"
	"encoding/binary"
	"io"
	"net"
	"net/http/httptest"
	"strings"
	"testing"
	"time"
)

// demanding is a server without a certificate for its name, and with TLS only if secured.
// It asks for a password by a method: 3 is clear text, 5 is MD5, 0 is no password. It sends
// what it got.
func demanding(t *testing.T, method uint32, secured bool) (port string, got chan string) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	certified := httptest.NewUnstartedServer(nil)
	certified.StartTLS()
	t.Cleanup(certified.Close)
	t.Cleanup(func() { l.Close() })
	got = make(chan string, 10)
	serve := func(c net.Conn) {
		defer c.Close()
		for {
			var size [4]byte
			if _, err := io.ReadFull(c, size[:]); err != nil {
				return
			}
			b := make([]byte, binary.BigEndian.Uint32(size[:])-4)
			if _, err := io.ReadFull(c, b); err != nil {
				return
			}
			if binary.BigEndian.Uint32(b) != 80877103 { // not the question for TLS
				break
			}
			if !secured {
				c.Write([]byte("N"))
				continue
			}
			c.Write([]byte("S"))
			c = tls.Server(c, certified.TLS)
		}
		ask := binary.BigEndian.AppendUint32([]byte{'R', 0, 0, 0, 8}, method)
		if method == 5 {
			ask[4] += 4
			ask = append(ask, "salt"...)
		}
		if method == 0 {
			ask = append(ask, "Z\x00\x00\x00\x05I"...) // ready for a query
		}
		c.Write(ask)
		var kind [1]byte
		n, _ := io.ReadFull(c, kind[:])
		got <- string(kind[:n]) // then the connection ends
	}
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go serve(c)
		}
	}()
	_, port, err = net.SplitHostPort(l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	return port, got
}

func TestPasswordIsNotSentInClear(t *testing.T) {
	t.Parallel()
	const secret = "hunter2-hunter2"
	for _, test := range []struct {
		host, options string
		method        uint32
		asked, sent   bool // whether the server comes to ask, and gets the password, or a query
		weak          string
	}{
		{"db.test", "", 3, false, false, ""},
		{"db.test", "sslmode=", 3, false, false, ""},
		{"db.test", "connect_timeout=5", 3, false, false, ""},
		{"db.test", "sslmode=verify-full", 3, false, false, ""},
		{"db.test", "sslmode=require", 3, false, false, "require"},
		{"db.test", "sslmode=prefer", 3, true, false, "prefer"},
		{"db.test", "sslmode=disable", 3, true, false, "disable"},
		{"db.test", "sslmode=disable", 5, true, false, "disable"},
		{"db.test", "sslmode=allow&require_auth=password", 3, true, false, "allow"},
		{"db.test", "sslmode=disable&require_auth=!gss", 3, true, false, "disable"},
		// Over no network, but any user of this machine can listen there.
		{"127.0.0.1", "", 3, true, false, ""},
		{"127.0.0.1", "", 5, true, false, ""},
		{"127.0.0.1", "", 0, true, false, ""},
		{"localhost", "sslmode=disable", 3, true, false, ""},
		{"127.0.0.1", "require_auth=password,none", 3, true, false, ""},
		{"127.0.0.1", "require_auth=!gss", 0, true, false, ""},
		{"127.0.0.1", "require_auth=none", 3, true, false, ""},
		{"127.0.0.1", "require_auth=none", 0, true, true, ""},
		{"127.0.0.1", "TLS", 3, true, false, ""},
		{"127.0.0.1", "TLS&sslmode=require", 5, true, false, ""},
		{"127.0.0.1", "TLS&sslmode=require", 0, true, false, ""},
		{"127.0.0.1", "TLS&sslmode=verify-full", 3, false, false, ""},
	} {
		t.Run(test.host+" "+test.options, func(t *testing.T) {
			options, secured := strings.CutPrefix(test.options, "TLS")
			port, got := demanding(t, test.method, secured)
			s, err := New("postgres://ann:" + secret + "@" + test.host + ":" + port + "/exact?" + strings.TrimPrefix(options, "&"))
			if err != nil {
				t.Fatal(err)
			}
			defer s.Close()
			s.config.LookupFunc = func(context.Context, string) ([]string, error) { return []string{"127.0.0.1"}, nil }
			ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
			defer cancel()
			_, err = s.Read(ctx, "a")
			if err == nil || strings.Contains(err.Error(), secret) {
				t.Errorf("%v", err)
			}
			if s.Weak() != test.weak {
				t.Errorf("weak: %q, want %q", s.Weak(), test.weak)
			}
			if !test.asked {
				if len(got) > 0 {
					t.Errorf("it spoke without TLS: %v", err)
				}
				return
			}
			select {
			case answer := <-got:
				if (answer != "") != test.sent {
					t.Errorf("the server got %q; %v", answer, err)
				}
			case <-ctx.Done():
				t.Error("the server did not come to ask")
			}
		})
	}
}
