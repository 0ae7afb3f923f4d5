package exactauth_test

import (
	"context"
	"errors"
	"io"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/exactauth/exactauth/internal/exactauth"
	"github.com/exactauth/exactauth/internal/fault"
)

func TestCallback(t *testing.T) {
	redirect := "http://127.0.0.1:" + freePort(t) + "/callback"
	c, err := exactauth.NewCallback(t.Context(), redirect, "nl")
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if _, err := exactauth.NewCallback(t.Context(), redirect, "nl"); !errors.Is(err, exactauth.ErrPort) || !errors.Is(err, fault.ErrConfig) {
		t.Errorf("a port that is taken: %v", err)
	}
	get := func(q url.Values) (int, string) {
		resp, err := http.Get(redirect + "?" + q.Encode())
		if err != nil {
			return 0, err.Error()
		}
		defer resp.Body.Close()
		text, _ := io.ReadAll(resp.Body)
		return resp.StatusCode, string(text)
	}
	// Noise is turned away, and the wait goes on.
	for _, q := range []url.Values{{}, {"code": {"c"}}, {"code": {"c"}, "state": {"wrong"}}, {"error": {"access_denied"}, "state": {"wrong"}}, {"state": {c.State()}}} {
		if status, _ := get(q); status != http.StatusNotFound {
			t.Errorf("%v: %d", q, status)
		}
	}
	page := make(chan string, 1)
	go func() {
		_, text := get(url.Values{"code": {"the code"}, "state": {c.State()}})
		page <- text
	}()
	code, err := c.Code(t.Context())
	if err != nil || code.Reveal() != "the code" {
		t.Errorf("%v, %q", err, code.Reveal())
	}
	c.Finish(exactauth.Words{Heading: "Heading", Text: "Text", Next: "Next"}, exactauth.Words{Heading: "Kop", Text: "Tekst <b>\x1b[2J", Next: "Verder", Detail: "detail"})
	if text := <-page; !strings.Contains(text, "<h1>Kop</h1>") || !strings.Contains(text, "Tekst &lt;b&gt;[2J") || !strings.Contains(text, `<p lang="en">detail</p>`) {
		t.Errorf("the last page is %s", text)
	}
}

func TestCallbackRefusedAndLate(t *testing.T) {
	redirect := "http://127.0.0.1:" + freePort(t) + "/callback"
	c, err := exactauth.NewCallback(t.Context(), redirect, "nl")
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	short, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	if _, err := c.Code(short); !errors.Is(err, fault.ErrDenied) {
		t.Errorf("nobody came: %v", err)
	}
	go func() {
		resp, err := http.Get(redirect + "?" + url.Values{"error": {"access_denied"}, "error_description": {"No\n."}, "state": {c.State()}}.Encode())
		if err == nil {
			resp.Body.Close()
		}
	}()
	_, err = c.Code(t.Context())
	var refused *exactauth.RefusedError
	if !errors.Is(err, fault.ErrDenied) || !errors.As(err, &refused) || *refused != (exactauth.RefusedError{Code: "access_denied", Description: "No ."}) {
		t.Errorf("refused: %v", err)
	}
}

func TestCallbackListensOnLoopbackOnly(t *testing.T) {
	for _, redirect := range []string{"", "https://127.0.0.1:8485/callback", "http://0.0.0.0:8485/", "http://192.0.2.1:8485/", "http://127.0.0.1/callback", "http://example.com:8485/", "http://127.0.0.1:8485/?x=y", "::"} {
		if _, err := exactauth.NewCallback(t.Context(), redirect, "nl"); !errors.Is(err, fault.ErrConfig) {
			t.Errorf("%q: %v; want ErrConfig", redirect, err)
		}
	}
}
