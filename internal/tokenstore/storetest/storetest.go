// Package storetest tests that a store does what record.Store says.
package storetest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/exactauth/exactauth/internal/record"
	"github.com/exactauth/exactauth/internal/tokenstore"
)

// Run tests one kind of store. empty makes an empty store for one test and returns a
// function that opens it once more, as another process would.
func Run(t *testing.T, empty func(t *testing.T) func() record.Store) {
	ctx := context.Background()
	set := func(b []byte) record.Change {
		return func(context.Context, []byte) ([]byte, error) { return b, nil }
	}
	write := func(t *testing.T, s record.Store, name, text string) {
		t.Helper()
		if err := s.Update(ctx, name, set([]byte(text))); err != nil {
			t.Fatalf("Update(%s): %v", name, err)
		}
	}
	want := func(t *testing.T, s record.Store, name, text string) {
		t.Helper()
		if got, err := s.Read(ctx, name); err != nil || string(got) != text {
			t.Fatalf("Read(%s) = %q, %v; want %q", name, got, err, text)
		}
	}

	wantNone := func(t *testing.T, s record.Store, name string) {
		t.Helper()
		if b, err := s.Read(ctx, name); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("Read(%s) = %q, %v; want fs.ErrNotExist", name, b, err)
		}
	}
	// hold starts an update that has the record's lock until finish is called.
	hold := func(s record.Store, text string) (finish func() error) {
		held, release := make(chan struct{}), make(chan struct{})
		done := make(chan error, 1)
		go func() {
			done <- s.Update(ctx, "a", func(context.Context, []byte) ([]byte, error) {
				close(held)
				<-release
				return []byte(text), nil
			})
		}()
		<-held
		return func() error {
			close(release)
			return <-done
		}
	}

	t.Run("missing", func(t *testing.T) {
		s := empty(t)()
		wantNone(t, s, "none")
		if err := s.Delete(ctx, "none"); err != nil {
			t.Errorf("Delete without a record: %v", err)
		}
		called := false
		err := s.Update(ctx, "none", func(_ context.Context, old []byte) ([]byte, error) {
			called = true
			if old != nil {
				t.Errorf("change was called with %q; want nil", old)
			}
			return nil, context.Canceled
		})
		if !called || !errors.Is(err, context.Canceled) {
			t.Errorf("called %v, error %v; want the error of change", called, err)
		}
		wantNone(t, s, "none")
	})

	t.Run("replace", func(t *testing.T) {
		open := empty(t)
		s, other := open(), open()
		write(t, s, "a", "one")
		want(t, other, "a", "one")
		for _, text := range []string{"two", string(bytes.Repeat([]byte("long"), 100_000)), "x", "bytes \x00\xff\r\n"} {
			write(t, other, "a", text)
			want(t, s, "a", text)
		}
		err := s.Update(ctx, "a", func(_ context.Context, old []byte) ([]byte, error) {
			if string(old) != "bytes \x00\xff\r\n" {
				t.Errorf("change was called with %q", old)
			}
			return old, nil
		})
		if err != nil {
			t.Errorf("an equal result: %v", err)
		}
	})

	t.Run("names", func(t *testing.T) {
		s := empty(t)()
		write(t, s, "a", "1")
		write(t, s, "b.c-d_E", "2")
		want(t, s, "a", "1")
		for _, bad := range []string{"", ".", "..", "../a", "a/b", `a\b`, "a\x00", "-a", ".a", "a.lock", "a.tmp", "a.", "é", string(bytes.Repeat([]byte("a"), 129))} {
			if err := s.Update(ctx, bad, set([]byte("x"))); err == nil {
				t.Errorf("Update(%q) was accepted", bad)
			}
			if _, err := s.Read(ctx, bad); err == nil || errors.Is(err, fs.ErrNotExist) {
				t.Errorf("Read(%q): %v; want an error about the name", bad, err)
			}
			if err := s.Delete(ctx, bad); err == nil {
				t.Errorf("Delete(%q) was accepted", bad)
			}
		}
	})

	t.Run("delete", func(t *testing.T) {
		s := empty(t)()
		write(t, s, "a", "1")
		write(t, s, "b", "2")
		if err := s.Delete(ctx, "a"); err != nil {
			t.Fatal(err)
		}
		wantNone(t, s, "a")
		want(t, s, "b", "2")
		write(t, s, "a", "3")
		want(t, s, "a", "3")
	})

	t.Run("unchanged", func(t *testing.T) {
		s := empty(t)()
		leave := func(context.Context, []byte) ([]byte, error) {
			return []byte("new"), fmt.Errorf("looked: %w", record.ErrUnchanged)
		}
		if err := s.Update(ctx, "a", leave); err != nil {
			t.Errorf("no record: %v", err)
		}
		wantNone(t, s, "a")
		write(t, s, "a", "old")
		if err := s.Update(ctx, "a", leave); err != nil {
			t.Errorf("a record: %v", err)
		}
		want(t, s, "a", "old")
		write(t, s, "a", "new") // the lock is free
		want(t, s, "a", "new")
	})

	t.Run("change fails", func(t *testing.T) {
		s := empty(t)()
		write(t, s, "a", "old")
		boom := errors.New("boom")
		if err := s.Update(ctx, "a", func(context.Context, []byte) ([]byte, error) { return []byte("new"), boom }); err != boom {
			t.Errorf("Update: %v; want the error of change itself", err)
		}
		want(t, s, "a", "old")
		for _, none := range [][]byte{nil, {}} {
			if err := s.Update(ctx, "a", set(none)); err == nil {
				t.Errorf("an empty result was accepted: only Delete deletes")
			}
		}
		want(t, s, "a", "old")
		write(t, s, "a", "new")
	})

	// A record that could not be read again is not saved, not even in part.
	t.Run("too large", func(t *testing.T) {
		s := empty(t)()
		write(t, s, "a", "old")
		err := s.Update(ctx, "a", set(bytes.Repeat([]byte("x"), tokenstore.MaxRecord+1)))
		if failed, ok := errors.AsType[*tokenstore.Error](err); !ok || failed.Kind != tokenstore.Late {
			t.Errorf("Update: %v; want a Late error", err)
		}
		want(t, s, "a", "old")
		large := bytes.Repeat([]byte("x"), tokenstore.MaxRecord/2) // a seal adds to it
		write(t, s, "a", string(large))
		if got, err := s.Read(ctx, "a"); err != nil || !bytes.Equal(got, large) {
			t.Errorf("Read of %d bytes: %d, %v", len(large), len(got), err)
		}
	})

	t.Run("change panics", func(t *testing.T) {
		open := empty(t)
		s := open()
		write(t, s, "a", "old")
		func() {
			defer func() {
				if recover() == nil {
					t.Error("the panic was swallowed")
				}
			}()
			s.Update(ctx, "a", func(context.Context, []byte) ([]byte, error) { panic("boom") })
		}()
		want(t, s, "a", "old")
		bounded, cancel := context.WithTimeout(ctx, 30*time.Second)
		defer cancel()
		if err := open().Update(bounded, "a", set([]byte("new"))); err != nil {
			t.Errorf("the lock was left behind: %v", err)
		}
	})

	t.Run("updaters exclude each other", func(t *testing.T) {
		open := empty(t)
		const workers, rounds = 8, 5
		var all sync.WaitGroup
		for range workers {
			all.Go(func() {
				s := open()
				for range rounds {
					err := s.Update(ctx, "n", func(_ context.Context, old []byte) ([]byte, error) {
						n, _ := strconv.Atoi(string(old))
						return strconv.AppendInt(nil, int64(n+1), 10), nil
					})
					if err != nil {
						t.Error(err)
					}
				}
			})
		}
		all.Wait()
		want(t, open(), "n", fmt.Sprint(workers*rounds))
	})

	t.Run("readers see whole records", func(t *testing.T) {
		open := empty(t)
		s := open()
		write(t, s, "a", "a")
		stop := make(chan struct{})
		var reader sync.WaitGroup
		reader.Go(func() {
			r := open()
			for {
				b, err := r.Read(ctx, "a")
				if err != nil || len(b) == 0 || len(bytes.Trim(b, string(b[:1]))) != 0 {
					t.Errorf("torn read: %d bytes, %v", len(b), err)
					return
				}
				select {
				case <-stop:
					return
				default:
				}
			}
		})
		for i := range 20 {
			write(t, s, "a", string(bytes.Repeat([]byte{byte('a' + i)}, 1+i*997)))
		}
		close(stop)
		reader.Wait()
	})

	t.Run("a held lock", func(t *testing.T) {
		open := empty(t)
		finish := hold(open(), "first")
		s := open()
		write(t, s, "b", "not delayed") // another record

		short, cancel := context.WithTimeout(ctx, 50*time.Millisecond)
		defer cancel()
		err := s.Update(short, "a", func(context.Context, []byte) ([]byte, error) {
			t.Error("change ran without the lock")
			return []byte("second"), nil
		})
		if !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("a lock that stays held: %v; want context.DeadlineExceeded", err)
		}
		cause := errors.New("interrupted")
		ended, end := context.WithCancelCause(ctx)
		end(cause)
		if err := s.Update(ended, "a", set([]byte("third"))); err != cause {
			t.Errorf("a context that has ended: %v; want the cause", err)
		}
		if err := finish(); err != nil {
			t.Error(err)
		}
		want(t, s, "a", "first")
	})

	// A record that does not exist yet cannot be read, but its lock can be held.
	t.Run("delete waits for a record that is being made", func(t *testing.T) {
		open := empty(t)
		s := open()
		write(t, s, "b", "so that the store is there")
		finish := hold(open(), "made")
		short, cancel := context.WithTimeout(ctx, 50*time.Millisecond)
		defer cancel()
		if err := s.Delete(short, "a"); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("a lock that stays held: %v; want context.DeadlineExceeded", err)
		}
		deleted := make(chan error, 1)
		go func() { deleted <- s.Delete(ctx, "a") }()
		for _, err := range []error{finish(), <-deleted} {
			if err != nil {
				t.Error(err)
			}
		}
		wantNone(t, s, "a")
	})

	t.Run("a change outlives its caller's context", func(t *testing.T) {
		s := empty(t)()
		stopping, stop := context.WithCancel(ctx)
		err := s.Update(stopping, "a", func(context.Context, []byte) ([]byte, error) {
			stop() // as Ctrl-C does during a refresh
			return []byte("the only new token"), nil
		})
		if err != nil {
			t.Errorf("the result was not saved: %v", err)
		}
		want(t, s, "a", "the only new token")
	})
}
