package exactauth_test

import (
	"context"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/chromedp/chromedp"
	"github.com/chromedp/chromedp/kb"

	"github.com/exactauth/exactauth/internal/callback"
	"github.com/exactauth/exactauth/internal/callback/callbacktest"
	"github.com/exactauth/exactauth/internal/config"
	"github.com/exactauth/exactauth/internal/exactauth"
	"github.com/exactauth/exactauth/internal/exactsim"
	"github.com/exactauth/exactauth/internal/fault"
	"github.com/exactauth/exactauth/internal/tokenstore"
	"github.com/exactauth/exactauth/tools/chromiumtest"
)

// These tests drive a real Chromium through the simulator's pages to the
// listener and look at what it shows. Without one they are skipped, unless
// EXACTAUTH_TEST_REQUIRE demands it.

func chromium(t *testing.T, flags ...chromedp.ExecAllocatorOption) context.Context {
	t.Helper()
	return chromiumtest.Start(t, 60*time.Second, flags...)
}

// shot keeps a picture of the page for people, below the directory that
// "go test -artifacts" names.
func shot(t *testing.T, ctx context.Context, name string) {
	t.Helper()
	png, err := chromedp.Run(ctx, chromedp.FullScreenshot(100))
	if err != nil {
		t.Fatalf("screenshot %s: %v", name, err)
	}
	if err := os.WriteFile(filepath.Join(t.ArtifactDir(), name+".png"), png, 0o600); err != nil {
		t.Fatal(err)
	}
}

// guiLogin is a login that waits for a browser.
type guiLogin struct {
	address string // to open
	sim     *exactsim.Sim
	paste   io.Writer
	done    <-chan error
	login   *exactauth.Login
}

// startLogin begins a login at a simulator of its own and returns once it waits.
func startLogin(t *testing.T, p config.Settings, conf exactsim.Config) guiLogin {
	t.Helper()
	sim := exactsim.New(conf)
	sim.AddCast(p.RedirectURI)
	server := httptest.NewServer(sim)
	t.Cleanup(server.Close)
	p.Name, p.BaseURL, p.ClientID = "gui", server.URL, clientID
	client := &exactauth.Client{
		Profile:      p,
		Store:        tokenstore.NewFiles(t.TempDir(), nil),
		ClientSecret: giveSecret(clientSecret),
	}
	shown, done := make(chan string, 1), make(chan error, 1)
	lines, paste := io.Pipe()
	g := guiLogin{sim: sim, paste: paste, done: done, login: new(exactauth.Login)}
	ctx, cancel := context.WithTimeout(t.Context(), 45*time.Second)
	t.Cleanup(cancel)
	go func() {
		var err error
		*g.login, err = client.Login(ctx, exactauth.LoginOptions{Paste: lines, Show: func(i exactauth.Invitation) { shown <- i.URL }})
		done <- err
	}()
	select {
	case g.address = <-shown:
	case err := <-done:
		t.Fatalf("login ended before its address was shown: %v", err)
	}
	return g
}

// signIn goes through the pages as far as to the outcome, with the keyboard alone.
func signIn(t *testing.T, ctx context.Context, address string) {
	t.Helper()
	err := chromedp.Do(ctx,
		chromedp.Navigate(address),
		chromedp.WaitVisible(`input[name="password"]`),
	)
	if err != nil {
		t.Fatalf("sign-in page: %v", err)
	}
	shot(t, ctx, "1-sign-in")
	err = chromedp.Do(ctx,
		chromedp.Focus(`input[name="password"]`),
		chromedp.KeyEvent("anything"+kb.Enter),
		chromedp.WaitVisible(`button[value="allow"]`),
	)
	if err != nil {
		t.Fatalf("consent page: %v", err)
	}
	shot(t, ctx, "2-consent")
}

func read[T any](t *testing.T, ctx context.Context, a chromedp.Action[T]) T {
	t.Helper()
	v, err := chromedp.Run(ctx, a)
	if err != nil {
		t.Fatal(err)
	}
	return v
}

// final waits for the listener's last page and returns its address, its heading
// and all its text.
func final(t *testing.T, ctx context.Context) (location, heading, text string) {
	t.Helper()
	// By its address: it is reached through redirects and scripts, and a page
	// that is being left cannot be asked anything.
	for !strings.Contains(location, "?done=") {
		location, _ = chromedp.Run(ctx, chromedp.Location())
		select {
		case <-ctx.Done():
			t.Fatalf("the browser stays at %s", strings.SplitN(location, "?", 2)[0])
		case <-time.After(20 * time.Millisecond):
		}
	}
	return location, read(t, ctx, chromedp.Text(`h1`)), read(t, ctx, chromedp.Text(`main`))
}

// noCodeBehind walks through the tab's history for a code.
func noCodeBehind(t *testing.T, ctx context.Context, sim *exactsim.Sim) {
	t.Helper()
	entries := read(t, ctx, chromedp.NavigationEntries()).Entries
	if len(entries) < 3 {
		t.Errorf("%d pages in the history; want at least the sign-in, the consent and the last page", len(entries))
	}
	for _, entry := range entries {
		decoded, err := url.QueryUnescape(entry.URL)
		if err != nil {
			t.Errorf("the history holds %q", entry.URL)
		}
		for _, secret := range sim.Secrets() {
			if strings.Contains(decoded, secret) {
				t.Errorf("a code is behind the back button, at %s", strings.SplitN(entry.URL, "?", 2)[0])
			}
		}
	}
}

func press(t *testing.T, ctx context.Context, button string) {
	t.Helper()
	if err := chromedp.Do(ctx, chromedp.Focus(`button[value="`+button+`"]`), chromedp.KeyEvent(kb.Enter)); err != nil {
		t.Fatal(err)
	}
}

// mapped has Chromium find a name on this machine, as a hosts file would, and go
// on past the certificate, as the person does.
func mapped(name string) []chromedp.ExecAllocatorOption {
	return []chromedp.ExecAllocatorOption{
		chromedp.Flag("host-resolver-rules", "MAP "+name+" 127.0.0.1"),
		chromedp.Flag("ignore-certificate-errors", true),
	}
}

func TestChromiumSignsIn(t *testing.T) {
	for _, tc := range []struct {
		name, redirect string
		flags          []chromedp.ExecAllocatorOption
	}{
		{"http on a loopback address", "http://127.0.0.1:PORT/callback", nil},
		{"http on localhost", "http://localhost:PORT/", nil},
		{"https on a mapped name", "https://exactauth.test:PORT/callback", mapped("exactauth.test")},
	} {
		t.Run(tc.name, func(t *testing.T) {
			ctx := chromium(t, tc.flags...)
			redirect := strings.Replace(tc.redirect, "PORT", callbacktest.Port(), 1)
			g := startLogin(t, config.Settings{RedirectURI: redirect}, exactsim.Config{})
			signIn(t, ctx, g.address)
			press(t, ctx, "allow")
			location, heading, text := final(t, ctx)
			shot(t, ctx, "3-signed-in")
			if err := <-g.done; err != nil {
				t.Fatalf("login: %v", err)
			}
			if !strings.HasPrefix(location, redirect+"?done=") {
				t.Errorf("the address bar ends on %q; want no code in it", location)
			}
			if heading != "You are signed in" || !strings.Contains(text, "Anna de Vries") || g.login.User.ID != annaID {
				t.Errorf("page %q %q, user %v", heading, text, g.login.User)
			}
			noCodeBehind(t, ctx, g.sim)
		})
	}
}

// Nothing answers at the registered name, so the browser shows its error page
// and the person copies the address bar.
func TestChromiumEndsOnAnUnreachableNameAndThePersonPastes(t *testing.T) {
	ctx := chromium(t, chromedp.Flag("host-resolver-rules", "MAP exactauth.test ~NOTFOUND"))
	g := startLogin(t, config.Settings{RedirectURI: "https://exactauth.test:" + callbacktest.Port() + "/callback"}, exactsim.Config{})
	signIn(t, ctx, g.address)
	press(t, ctx, "allow")
	bar := ""
	for !strings.HasPrefix(bar, "https://exactauth.test") {
		// While the page is being replaced there is no history to read.
		history, err := chromedp.Run(ctx, chromedp.NavigationEntries())
		if err == nil {
			bar = history.Entries[history.CurrentIndex].URL
		}
		select {
		case <-ctx.Done():
			t.Fatalf("the browser never came to the unreachable page: %v", err)
		case <-time.After(20 * time.Millisecond):
		}
	}
	if _, err := io.WriteString(g.paste, bar+"\n"); err != nil {
		t.Fatal(err)
	}
	if err := <-g.done; err != nil {
		t.Fatalf("login: %v", err)
	}
	if g.login.User.ID != annaID {
		t.Errorf("signed in as %v", g.login.User)
	}
}

// relayHost serves the relay page on a name of its own, which Chromium is told
// is a public address, as a host on the internet would be.
func relayHost(t *testing.T) (redirectURI string, flags []chromedp.ExecAllocatorOption) {
	t.Helper()
	host := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/html; charset=utf-8")
		io.WriteString(w, callback.RelayPage())
	}))
	t.Cleanup(host.Close)
	address := host.Listener.Addr().String()
	_, port, _ := strings.Cut(address, ":")
	return "https://relay.example:" + port + "/callback.html",
		append(mapped("relay.example"), chromedp.Flag("ip-address-space-overrides", address+"=public"))
}

func TestChromiumComesBackByTheRelayPage(t *testing.T) {
	redirect, flags := relayHost(t)
	ctx := chromium(t, flags...)
	g := startLogin(t, config.Settings{RedirectURI: redirect, Relay: true}, exactsim.Config{})
	signIn(t, ctx, g.address)
	press(t, ctx, "allow")
	location, heading, _ := final(t, ctx)
	shot(t, ctx, "3-signed-in")
	if err := <-g.done; err != nil {
		t.Fatalf("login: %v", err)
	}
	if !strings.HasPrefix(location, "http://127.0.0.1:") || heading != "You are signed in" {
		t.Errorf("ended on %q with %q", location, heading)
	}
	noCodeBehind(t, ctx, g.sim)
}

// Whatever stands in the query, the relay page leads to 127.0.0.1 or stays.
func TestChromiumIsNotLedAstrayByTheRelayPage(t *testing.T) {
	redirect, flags := relayHost(t)
	ctx := chromium(t, flags...)
	random := strings.Repeat("x", 43)
	for _, query := range []string{
		"", "code=c", "code=c&state=" + random, "state=8484." + random,
		"code=c&state=80." + random, "code=c&state=70000." + random, "code=c&state=08484." + random,
		"code=c&state=8484.short", "code=c&state=8484@evil.example." + random, "code=c&state=evil.example." + random,
		"code=c&state=8484.." + random, "code=c&state=8484%2F." + random, "code=c&state=8484." + random + "%0A",
		"code=c&state=8484." + random + "&state=8485." + random, "code=c&code=d&state=8484." + random,
		"code=c&state=javascript:alert(1)//." + random, "code=c&state=%5B::1%5D:8484." + random,
	} {
		if err := chromedp.Do(ctx, chromedp.Navigate(redirect+"?"+query), chromedp.WaitReady(`#title`)); err != nil {
			t.Fatalf("%s: %v", query, err)
		}
		if location := read(t, ctx, chromedp.Location()); !strings.HasPrefix(location, redirect) {
			t.Errorf("%q leads to %q", query, location)
		}
	}
	copies(t, ctx, redirect+"?code=c&state="+random)
	shot(t, ctx, "1-relay-page")
}

// A page on which a sign-in does not go on copies its address, to be pasted.
func TestChromiumCopiesTheAddress(t *testing.T) {
	ctx := chromium(t)
	redirect := "http://127.0.0.1:" + callbacktest.Port() + "/callback"
	g := startLogin(t, config.Settings{RedirectURI: redirect}, exactsim.Config{})
	copies(t, ctx, redirect+"?code=c&state=another")
	shot(t, ctx, "1-another-sign-in")
	if err := chromedp.Do(ctx, chromedp.Navigate(redirect+"?x=y"), chromedp.WaitNotVisible(`#copy`)); err != nil {
		t.Fatal(err)
	}
	signIn(t, ctx, g.address)
	press(t, ctx, "allow")
	final(t, ctx)
	if err := <-g.done; err != nil {
		t.Errorf("login: %v", err)
	}
}

// copies presses the button that copies the address of a page.
func copies(t *testing.T, ctx context.Context, address string) {
	t.Helper()
	if err := chromedp.Do(ctx, chromedp.Navigate(address), chromedp.Click(`#copy`)); err != nil {
		t.Fatal(err)
	}
	for range 100 {
		if read(t, ctx, chromedp.Text(`#copy`)) == "Copied" {
			return
		}
		time.Sleep(50 * time.Millisecond)
	}
	t.Errorf("%s: the address is not copied", address)
}

func TestChromiumCancels(t *testing.T) {
	ctx := chromium(t)
	redirect := "http://127.0.0.1:" + callbacktest.Port() + "/callback"
	g := startLogin(t, config.Settings{RedirectURI: redirect}, exactsim.Config{})
	signIn(t, ctx, g.address)
	press(t, ctx, "cancel")
	location, heading, text := final(t, ctx)
	shot(t, ctx, "3-refused")
	if err := <-g.done; !errors.Is(err, fault.ErrDenied) {
		t.Errorf("login: %v; want ErrDenied", err)
	}
	if !strings.HasPrefix(location, redirect+"?done=") || heading != "Sign-in was cancelled" || !strings.Contains(text, "try again") {
		t.Errorf("ended on %q with %q: %q", location, heading, text)
	}
	if n := g.sim.Counters().Exchanges; n != 0 {
		t.Errorf("%d exchanges after a refusal", n)
	}
}

func TestChromiumBringsAnExpiredCode(t *testing.T) {
	ctx := chromium(t)
	redirect := "http://127.0.0.1:" + callbacktest.Port() + "/callback"
	g := startLogin(t, config.Settings{RedirectURI: redirect}, exactsim.Config{CodeLife: time.Nanosecond})
	signIn(t, ctx, g.address)
	press(t, ctx, "allow")
	location, heading, text := final(t, ctx)
	shot(t, ctx, "3-expired")
	if err := <-g.done; !errors.Is(err, fault.ErrLoginNeeded) {
		t.Errorf("login: %v; want ErrLoginNeeded", err)
	}
	if !strings.HasPrefix(location, redirect+"?done=") || heading != "Sign-in failed" || !strings.Contains(text, "code") {
		t.Errorf("ended on %q with %q: %q", location, heading, text)
	}
}

func TestChromiumIsToldAWrongRedirectURI(t *testing.T) {
	ctx := chromium(t)
	g := startLogin(t, config.Settings{RedirectURI: "http://127.0.0.1:" + callbacktest.Port() + "/callback"}, exactsim.Config{})
	g.sim.AddApp(exactsim.App{ClientID: clientID, RedirectURI: "https://registered.example/cb"})
	if err := chromedp.Do(ctx, chromedp.Navigate(g.address)); err != nil {
		t.Fatal(err)
	}
	shot(t, ctx, "1-wrong-redirect-uri")
	if text := read(t, ctx, chromedp.Text(`body`)); !strings.Contains(text, "Callback URI") {
		t.Errorf("the page says %q", text)
	}
}

// A Dutch Chromium gets Dutch pages, with Exact's own words as they are.
func TestChromiumReadsDutch(t *testing.T) {
	relay, flags := relayHost(t)
	ctx := chromium(t, append(flags, chromedp.Flag("accept-lang", "nl-NL,nl,en"), chromedp.Flag("lang", "nl-NL"))...)
	is := func(heading, text string, want ...string) {
		t.Helper()
		if got := read(t, ctx, chromedp.Evaluate[string](`document.documentElement.lang`)); got != "nl" {
			t.Errorf("%q: the page's language is %q", heading, got)
		}
		if heading != want[0] {
			t.Errorf("heading %q, want %q", heading, want[0])
		}
		for _, w := range want[1:] {
			if !strings.Contains(text, w) {
				t.Errorf("%q: %q lacks %q", heading, text, w)
			}
		}
	}
	login := func(name, button string, conf exactsim.Config, want ...string) {
		t.Helper()
		g := startLogin(t, config.Settings{RedirectURI: "http://127.0.0.1:" + callbacktest.Port() + "/callback"}, conf)
		signIn(t, ctx, g.address)
		press(t, ctx, button)
		_, heading, text := final(t, ctx)
		shot(t, ctx, name)
		<-g.done
		is(heading, text, want...)
	}
	login("nl-signed-in", "allow", exactsim.Config{}, "U bent aangemeld", "Anna de Vries <anna@voorbeeld.example> is aangemeld", "venster sluiten", "op deze computer")
	login("nl-refused", "cancel", exactsim.Config{}, "Aanmelding geannuleerd", "meldt", "The user did not allow the app.", "opnieuw")
	login("nl-expired", "allow", exactsim.Config{CodeLife: time.Nanosecond}, "Aanmelden mislukt", "3 minuten geldig", "terminalvenster")

	if err := chromedp.Do(ctx, chromedp.Navigate(relay), chromedp.WaitReady(`#title`)); err != nil {
		t.Fatal(err)
	}
	shot(t, ctx, "nl-relay")
	is(read(t, ctx, chromedp.Text(`h1`)), read(t, ctx, chromedp.Text(`main`)), "Terug naar exactauth", "adresbalk")
}
