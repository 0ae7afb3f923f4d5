package auth0_test

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"net/http/cookiejar"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/exactauth/exactauth/internal/auth0"
	"github.com/exactauth/exactauth/internal/auth0/auth0sim"
	"github.com/exactauth/exactauth/internal/callback/callbacktest"
	"github.com/exactauth/exactauth/internal/exactsim"
	"github.com/exactauth/exactauth/internal/fault"
)

const (
	managerID = "mGr1mGr1mGr1mGr1mGr1mGr1mGr1mGr1"
	webID     = "wEb1wEb1wEb1wEb1wEb1wEb1wEb1wEb1"
	exactID   = exactsim.ClientID
	annaSub   = "exact|" + exactsim.AnnaID
)

var allScopes = []string{"read:connections", "read:connections_options", "create:connections", "update:connections", "update:connections_options",
	"read:clients", "update:clients", "read:logs", "read:custom_domains"}

// world is a simulated tenant with one app. At the end of its test it checks that no
// text that was shown has a secret.
type world struct {
	*auth0sim.Sim
	t         *testing.T
	url       string
	secret    string // of Exact's app
	webSecret string

	mu   sync.Mutex
	said strings.Builder
}

func newWorld(t *testing.T) *world {
	t.Helper()
	w := &world{Sim: auth0sim.New(nil), t: t, secret: exactsim.ClientSecret}
	server := httptest.NewServer(w.Sim)
	t.Cleanup(server.Close)
	w.url = server.URL
	w.SetOrigin(w.url)
	w.webSecret = w.AddApp(webID, "Web", false, "https://web.example/callback")
	t.Cleanup(func() {
		for s, kind := range w.Secrets() {
			if strings.Contains(w.said.String(), s) {
				t.Errorf("%s was said: %s", kind, s)
			}
		}
		if strings.Contains(w.said.String(), w.secret) {
			t.Error("Exact's client secret was said")
		}
	})
	return w
}

// say records a value that is shown, to be searched for secrets.
func (w *world) say(v any) {
	w.mu.Lock()
	defer w.mu.Unlock()
	fmt.Fprintf(&w.said, "%v %+v %#v\n", v, v, v)
}

func (w *world) domain(name string) auth0.Domain {
	w.t.Helper()
	d, err := auth0.ParseDomain(strings.Replace(w.url, "127.0.0.1", name, 1))
	if err != nil {
		w.t.Fatal(err)
	}
	return d
}

// tenant manages the simulated tenant with these scopes.
func (w *world) tenant(scopes ...string) *auth0.Tenant {
	return &auth0.Tenant{
		Server:   auth0.Server{Domain: w.domain("127.0.0.1"), Waiting: func(_ context.Context, what string, _ time.Time) func() { w.say(what); return func() {} }},
		ClientID: managerID, ClientSecret: fault.NewSecret(w.SetManager(managerID, scopes...)),
	}
}

func (w *world) wish() auth0.Wish {
	return auth0.Wish{ClientID: exactID, ClientSecret: fault.NewSecret(w.secret), BaseURL: "https://start.exactonline.be", App: "Web", Callback: auth0.DefaultCallback}
}

// signIn signs Anna in with a browser that follows redirects, and returns the user and
// the text of the last page.
func (w *world) signIn(s auth0.SignIn) (auth0.User, string, error) {
	w.t.Helper()
	ctx, cancel := context.WithTimeout(w.t.Context(), 20*time.Second)
	defer cancel()
	page := make(chan string, 1)
	user, err := s.Run(ctx, func(address string) {
		go func() {
			jar, _ := cookiejar.New(nil)
			resp, err := (&http.Client{Jar: jar}).Get(address)
			if err != nil {
				page <- err.Error()
				return
			}
			defer resp.Body.Close()
			text, _ := io.ReadAll(resp.Body)
			page <- string(text)
		}()
	})
	w.say(user)
	if err != nil {
		w.say(err)
	}
	select {
	case text := <-page:
		w.say(text)
		return user, text, err
	case <-ctx.Done():
		return user, "", err
	}
}

// app is a sign-in to the world's app, which may use the connection and the callback.
func (w *world) app(domain string) auth0.SignIn {
	w.t.Helper()
	callback := "http://127.0.0.1:" + callbacktest.Port() + "/callback"
	plan, err := w.tenant(allScopes...).Plan(w.t.Context(), auth0.Wish{ClientID: exactID, ClientSecret: fault.NewSecret(w.secret), App: webID, Callback: callback})
	if err == nil {
		err = plan.Apply(w.t.Context(), func(auth0.Change) {})
	}
	if err != nil {
		w.t.Fatal(err)
	}
	return auth0.SignIn{Server: auth0.Server{Domain: w.domain(domain)}, ClientID: webID, ClientSecret: fault.NewSecret(w.webSecret), Connection: "exact", Callback: callback}
}
