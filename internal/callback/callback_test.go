package callback_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/exactauth/exactauth/internal/callback"
	"github.com/exactauth/exactauth/internal/config"
	"github.com/exactauth/exactauth/internal/fault"
)

func open(t *testing.T, o callback.Options) *callback.Callback {
	t.Helper()
	c, err := callback.Open(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return c
}

// freePort returns a port that nothing listens on, outside the range that the system
// hands out, so that no other program takes it before it is used.
func freePort(t *testing.T) string {
	t.Helper()
	for range 100 {
		port := fmt.Sprint(20000 + rand.IntN(6000))
		l, err := net.Listen("tcp", "127.0.0.1:"+port)
		if err != nil {
			continue
		}
		l.Close()
		return port
	}
	t.Fatal("no free port")
	return ""
}

func loopback(t *testing.T) config.Settings {
	return config.Settings{RedirectURI: "http://127.0.0.1:" + freePort(t) + "/callback"}
}

func TestCallback(t *testing.T) {
	c := open(t, callback.Options{Settings: loopback(t), Language: "nl"})
	for name, again := range map[string]error{
		"Open": func() error {
			_, err := callback.Open(t.Context(), callback.Options{Settings: config.Settings{RedirectURI: c.RedirectURI}})
			return err
		}(),
		"Try": callback.Try(t.Context(), config.Settings{RedirectURI: c.RedirectURI}),
	} {
		if !errors.Is(again, callback.ErrPort) || !errors.Is(again, fault.ErrConfig) {
			t.Errorf("%s on a port in use: %v", name, again)
		}
	}
	get := func(q url.Values) (int, string) {
		resp, err := http.Get(c.RedirectURI + "?" + q.Encode())
		if err != nil {
			return 0, err.Error()
		}
		defer resp.Body.Close()
		text, _ := io.ReadAll(resp.Body)
		return resp.StatusCode, string(text)
	}
	for _, q := range []url.Values{{}, {"code": {"c"}}, {"code": {"c"}, "state": {"wrong"}}, {"error": {"access_denied"}, "state": {"wrong"}}, {"state": {c.State}}} {
		if status, _ := get(q); status != http.StatusNotFound {
			t.Errorf("%v: %d", q, status)
		}
	}
	page := make(chan string, 1)
	go func() {
		_, text := get(url.Values{"code": {"the code"}, "state": {c.State}})
		page <- text
	}()
	code, err := c.Code(t.Context())
	if err != nil || code.Reveal() != "the code" {
		t.Errorf("%v, %q", err, code.Reveal())
	}
	c.Finish(t.Context(), callback.Failed("Tekst <b>", errors.New("detail\x1b[2J")))
	if text := <-page; !strings.Contains(text, "<h1>Aanmelden mislukt</h1>") || !strings.Contains(text, "Tekst &lt;b&gt;") || !strings.Contains(text, `<p lang="en">detail[2J.</p>`) {
		t.Errorf("the last page is %s", text)
	}
	if err := callback.Try(t.Context(), config.Settings{RedirectURI: c.RedirectURI}); err != nil {
		t.Errorf("after Finish: %v", err)
	}
}

func TestCallbackRefusedAndLate(t *testing.T) {
	c := open(t, callback.Options{Settings: loopback(t)})
	short, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	if _, err := c.Code(short); !errors.Is(err, fault.ErrDenied) {
		t.Errorf("no answer: %v", err)
	}
	go func() {
		resp, err := http.Get(c.RedirectURI + "?" + url.Values{"error": {"access_denied"}, "error_description": {"No\n."}, "state": {c.State}}.Encode())
		if err == nil {
			resp.Body.Close()
		}
	}()
	_, err := c.Code(t.Context())
	var refused *callback.RefusedError
	if !errors.Is(err, fault.ErrDenied) || !errors.As(err, &refused) || *refused != (callback.RefusedError{Code: "access_denied", Description: "No ."}) {
		t.Errorf("refused: %v", err)
	}
}
