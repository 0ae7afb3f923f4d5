package main

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/exactauth/exactauth/internal/config"
	"github.com/exactauth/exactauth/internal/record"
	"github.com/exactauth/exactauth/internal/tokenstore"
)

// due is one minute after the token in stored() expired.
var due = noon.Add(11 * time.Minute)

// renewed is the record after a refresh.
func renewed() string {
	return stored("12:00:0", "12:11:0", "stampNL001.access", "stampNL001.next")
}

// refreshing is a directory with the record text, and another process that changes the
// record there while fresh looks.
func refreshing(t *testing.T, text string) (dir string, store *tokenstore.Files) {
	t.Helper()
	dir = t.TempDir()
	store = tokenstore.NewFiles(dir, nil)
	if err := store.Update(t.Context(), "acme", replace(text)); err != nil {
		t.Fatal(err)
	}
	return dir, store
}

func replace(text string) record.Change {
	return func(context.Context, []byte) ([]byte, error) { return []byte(text), nil }
}

// hold changes the record to text, a while after another process has looked at it; it
// returns when it has the lock.
func hold(t *testing.T, store *tokenstore.Files, looked <-chan struct{}, d time.Duration, text string) {
	t.Helper()
	held := make(chan struct{})
	done := make(chan error, 1)
	go func() {
		done <- store.Update(context.Background(), "acme", func(context.Context, []byte) ([]byte, error) {
			close(held)
			select {
			case <-looked:
				time.Sleep(d)
			case <-t.Context().Done():
			}
			return []byte(text), nil
		})
	}()
	t.Cleanup(func() {
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	<-held
}

func TestFreshWaits(t *testing.T) {
	p := config.Settings{Name: "acme", BaseURL: baseURL, ClientID: clientID}
	looks := 0
	look := func(dir string, looked chan<- struct{}) (token string, took time.Duration) {
		began := time.Now()
		looks = 0
		got, at, ok := fresh(dir, p, func() time.Time {
			looks++
			select {
			case looked <- struct{}{}:
			default:
			}
			return due.Add(time.Since(began))
		})
		if !ok {
			return "", time.Since(began)
		}
		if at.Before(due) || at.After(due.Add(time.Since(began))) {
			t.Errorf("the time of the last look is %s", at)
		}
		return got.Access.Reveal(), time.Since(began)
	}
	const next = "stampNL001.next"

	t.Run("no process refreshes", func(t *testing.T) {
		dir, _ := refreshing(t, stored())
		if got, _ := look(dir, nil); got != "" || looks != 1 {
			t.Errorf("got %q after %d looks", got, looks)
		}
	})
	t.Run("another process refreshes", func(t *testing.T) {
		looked := make(chan struct{}, 1)
		dir, store := refreshing(t, stored())
		hold(t, store, looked, 50*time.Millisecond, renewed())
		if got, took := look(dir, looked); got != next && took < patience {
			t.Errorf("got %q after %s", got, took)
		}
	})
	t.Run("another process fails", func(t *testing.T) {
		looked := make(chan struct{}, 1)
		dir, store := refreshing(t, stored())
		hold(t, store, looked, 50*time.Millisecond, stored("generation 3", "generation 4"))
		if got, took := look(dir, looked); got != "" || looks > 2 && took < patience {
			t.Errorf("got %q after %d looks in %s", got, looks, took)
		}
	})
	t.Run("another process takes too long", func(t *testing.T) {
		looked := make(chan struct{}, 1)
		dir, store := refreshing(t, stored())
		hold(t, store, looked, patience+time.Second, renewed())
		if got, took := look(dir, looked); got != "" || took < patience {
			t.Errorf("got %q after %s", got, took)
		}
	})

	// Between the two updates of a refresh the lock is free.
	marked := strings.Replace(stored(), "end\n", "spent_at "+due.Format(time.RFC3339)+"\nend\n", 1)
	t.Run("another process has marked the record", func(t *testing.T) {
		dir, store := refreshing(t, marked)
		time.AfterFunc(50*time.Millisecond, func() {
			if err := store.Update(context.Background(), "acme", replace(renewed())); err != nil {
				t.Error(err)
			}
		})
		if got, took := look(dir, nil); got != next && took < patience {
			t.Errorf("got %q after %s", got, took)
		}
	})
	t.Run("another process has marked the record and died", func(t *testing.T) {
		dir, _ := refreshing(t, marked)
		if got, took := look(dir, nil); got != "" || took < patience/2 {
			t.Errorf("got %q after %s", got, took)
		}
	})
}
