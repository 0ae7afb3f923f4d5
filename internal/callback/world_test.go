package callback_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/exactauth/exactauth/internal/callback"
	"github.com/exactauth/exactauth/internal/callback/callbacktest"
	"github.com/exactauth/exactauth/internal/config"
	"github.com/exactauth/exactauth/internal/tokenstore"
)

// loopback and mappedTLS are redirect URIs whose port is to be filled in.
const (
	loopback  = "http://127.0.0.1:%s/callback"
	mappedTLS = "https://exactauth.test:%s/callback"
)

// goodCode has the characters of Exact's codes.
const goodCode = "stampNL001.AbCd!IAAAAabcdefghijklmnopqrstuvwxyz0123456789-_"

// sitting is a sign-in that waits for its answer.
type sitting struct {
	*callback.Callback
	t      *testing.T
	redeem func()        // what happens between the answer and the last page
	done   chan struct{} // closed after the last page
	code   string
	err    error

	mu      sync.Mutex
	notices bytes.Buffer
	waited  int // for that many notices
}

// settings has the redirect URI of a format, on a free port.
func settings(t *testing.T, format string) config.Settings {
	t.Helper()
	if strings.Contains(format, "%s") {
		format = fmt.Sprintf(format, callbacktest.Port())
	}
	return config.Settings{RedirectURI: format}
}

// sit starts a sign-in, which ends as one does at Exact: the code names Ann.
func sit(ctx context.Context, t *testing.T, o callback.Options) *sitting {
	t.Helper()
	s := &sitting{t: t, redeem: func() {}, done: make(chan struct{})}
	o.Certificates = tokenstore.NewFiles(t.TempDir(), nil)
	o.Notice = func(text string) {
		s.mu.Lock()
		defer s.mu.Unlock()
		fmt.Fprintln(&s.notices, text)
	}
	c, err := callback.Open(ctx, o)
	if err != nil {
		t.Fatal(err)
	}
	s.Callback = c
	go func() {
		defer close(s.done)
		defer c.Close()
		code, err := c.Code(ctx)
		s.code, s.err = code.Reveal(), err
		page := callback.SignedIn("Anna de Vries is signed in.", "Anna de Vries is aangemeld.", "exactauth token")
		if refused := (*callback.RefusedError)(nil); errors.As(err, &refused) {
			page = callback.Refused("Exact", refused)
		} else if err == nil {
			s.redeem()
		}
		c.Finish(ctx, page)
	}()
	t.Cleanup(func() {
		select {
		case <-s.done:
		default:
			t.Error("the sign-in still waits")
		}
	})
	return s
}

// end waits for the outcome.
func (s *sitting) end() (code string, err error) {
	s.t.Helper()
	select {
	case <-s.done:
	case <-time.After(20 * time.Second):
		s.t.Fatal("the sign-in does not end")
	}
	return s.code, s.err
}

// succeeds waits for the outcome, which must be the good code.
func (s *sitting) succeeds() {
	s.t.Helper()
	if code, err := s.end(); err != nil || code != goodCode {
		s.t.Fatalf("%v, code %q", err, code)
	}
}

func (s *sitting) noticed() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.notices.String()
}

// answer is the address that the server sends the browser to.
func (s *sitting) answer() string {
	return s.RedirectURI + "?" + url.Values{"code": {goodCode}, "state": {s.State}}.Encode()
}

// waitNotice waits for one more notice.
func (s *sitting) waitNotice(of string) {
	s.t.Helper()
	s.waited++
	for range 1000 {
		if strings.Count(s.noticed(), "\n") >= s.waited {
			return
		}
		time.Sleep(10 * time.Millisecond)
	}
	s.t.Fatalf("no notice about %q", of)
}

func needIPv6(t *testing.T) {
	t.Helper()
	l, err := net.Listen("tcp", "[::1]:0")
	if err != nil {
		t.Skip("this machine has no IPv6 loopback")
	}
	l.Close()
}
