package pgstore_test

import (
	"context"
	"errors"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgproto3"

	"github.com/exactauth/exactauth/internal/tokenstore"
)

// The error for a server that sends nothing differs from the one for a held lock, and
// both differ from that of a caller that gives up.
func TestServerIsSilent(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			defer c.Close()
		}
	}()
	s := open(t, "postgres://ann@"+l.Addr().String()+"/exact?sslmode=disable")
	for name, call := range map[string]func(context.Context) error{
		"Read": func(ctx context.Context) error { _, err := s.Read(ctx, "a"); return err },
		"Update": func(ctx context.Context) error {
			return s.Update(ctx, "a", func(context.Context, []byte) ([]byte, error) {
				t.Error("the change was called")
				return []byte("x"), nil
			})
		},
		"Delete": func(ctx context.Context) error { return s.Delete(ctx, "a") },
	} {
		short, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
		var fault *tokenstore.Error
		if err := call(short); !errors.As(err, &fault) || fault.Kind != tokenstore.Database || !strings.Contains(err.Error(), "postgres://ann@") || strings.Contains(err.Error(), "has held it") {
			t.Errorf("%s of a silent server: %v", name, err)
		}
		cancel()
		reason := errors.New("interrupted")
		ended, end := context.WithCancelCause(t.Context())
		time.AfterFunc(50*time.Millisecond, func() { end(reason) })
		if err := call(ended); err != reason {
			t.Errorf("%s of a caller that gave up: %v; want the cause", name, err)
		}
	}
}

func TestSame(t *testing.T) {
	const here = "postgres://ann@db.test/exact"
	for address, want := range map[string]bool{
		here:                                  true,
		here + "?sslmode=require":             true,
		"postgres://ann:secret@db.test/exact": true,
		"postgresql://ann@db.test/exact?connect_timeout=3": true,
		"postgres://bob@db.test/exact":                     false, // "$user" is a schema
		"postgres://ann@db.test/other":                     false,
		"postgres://ann@db.test:5433/exact":                false,
		here + "?search_path=finance":                      false,
		here + "?options=-csearch_path%3Dfinance":          false,
	} {
		if got := open(t, here).Same(open(t, address)); got != want {
			t.Errorf("%s: %v", address, got)
		}
	}
	if !open(t, here+"?search_path=a").Same(open(t, here+"?sslmode=require&search_path=a")) {
		t.Error("one schema counts as two")
	}
}

// timedOut is a context whose deadline has passed once the one in it has ended.
type timedOut struct{ context.Context }

func (c timedOut) Err() error {
	if c.Context.Err() != nil {
		return context.DeadlineExceeded
	}
	return nil
}

// The time is over during an attempt to connect: the error is what the server said at the
// one before.
func TestLastAnswer(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	ctx, end := context.WithCancel(t.Context())
	defer end()
	go func() {
		c, err := l.Accept()
		if err != nil {
			return
		}
		b, _ := (&pgproto3.ErrorResponse{Severity: "FATAL", Code: "53300", Message: "sorry, too many clients already"}).Encode(nil)
		_, _ = c.Read(make([]byte, 1000))
		_, _ = c.Write(b)
		c.Close()
		if c, err = l.Accept(); err != nil {
			return
		}
		defer c.Close()
		end()
		_, _ = c.Read(make([]byte, 1000))
		_, _ = c.Read(make([]byte, 1)) // until the client gives up
	}()
	_, err = open(t, "postgres://ann@"+l.Addr().String()+"/exact?sslmode=disable").Read(timedOut{ctx}, "a")
	var fault *tokenstore.Error
	if !errors.As(err, &fault) || fault.Kind != tokenstore.Database || !strings.Contains(err.Error(), "too many clients already (53300)") {
		t.Errorf("Read: %v; want what the server said", err)
	}
}
