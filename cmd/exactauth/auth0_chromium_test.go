package main

import (
	"bufio"
	"bytes"
	"encoding/json"
	"io"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/chromedp/chromedp"
	"github.com/chromedp/chromedp/kb"

	"github.com/exactauth/exactauth/internal/auth0/auth0sim"
	"github.com/exactauth/exactauth/internal/callback/callbacktest"
	"github.com/exactauth/exactauth/internal/exactsim"
	"github.com/exactauth/exactauth/tools/chromiumtest"
)

// TestChromiumThroughAuth0 runs the program itself: "auth0 setup" creates the
// connection, and "auth0 test" sends a real Chromium to the simulated tenant, from
// there to the sign-in of Exact's simulator, back to the tenant, which redeems Exact's
// code and reads current/Me, and to the program's listener.
func TestChromiumThroughAuth0(t *testing.T) {
	for _, tc := range []struct{ name, signInAt string }{
		{"the tenant's own domain", "127.0.0.1"},
		{"a custom domain", "localhost"},
	} {
		t.Run(tc.name, func(t *testing.T) { throughAuth0(t, tc.signInAt) })
	}
}

func throughAuth0(t *testing.T, signInAt string) {
	// The simulator's certificate is self-signed.
	ctx := chromiumtest.Start(t, 90*time.Second, chromedp.Flag("ignore-certificate-errors", true))
	exact := exactsim.New(exactsim.Config{Region: "be"})
	exactServer := httptest.NewTLSServer(exact) // Auth0 takes https only
	t.Cleanup(exactServer.Close)
	tenant := auth0sim.New(auth0sim.Strategy(exactServer.Client()))
	tenantServer := httptest.NewServer(tenant)
	t.Cleanup(tenantServer.Close)
	tenant.SetOrigin(tenantServer.URL)
	signIn := strings.Replace(tenantServer.URL, "127.0.0.1", signInAt, 1)
	exact.AddCast(signIn + "/login/callback")
	webSecret := tenant.AddApp(webID, "Web", false)
	callback := "http://127.0.0.1:" + callbacktest.Port() + "/callback"

	dir := t.TempDir()
	for name, secret := range map[string]string{"exact-secret": exactsim.ClientSecret, "app-secret": webSecret} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(secret+"\n"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	var said bytes.Buffer // by all of the program's runs
	program := func(args ...string) *exec.Cmd {
		cmd := exec.CommandContext(ctx, "exactauth", append([]string{"auth0"}, args...)...)
		cmd.Env = append(os.Environ(), "HOME="+dir, "EXACTAUTH_CONFIG_DIR="+filepath.Join(dir, "config"), "EXACTAUTH_STATE_DIR="+filepath.Join(dir, "state"),
			"AUTH0_DOMAIN="+tenantServer.URL, "AUTH0_CUSTOM_DOMAIN="+signIn, "AUTH0_CLIENT_ID="+managerID, "AUTH0_CLIENT_SECRET="+tenant.SetManager(managerID, strings.Fields(allScopes)...))
		return cmd
	}
	setup, err := program("setup", "--base-url", exactServer.URL, "--client-id", clientID, "--client-secret-file", filepath.Join(dir, "exact-secret"),
		"--app", "Web", "--allow-test-callback", "--callback", callback, "--verbose").CombinedOutput()
	said.Write(setup)
	if err != nil || !strings.Contains(string(setup), signIn+"/login/callback") {
		t.Fatalf("auth0 setup: %v\n%s", err, setup)
	}

	test := program("test", "--app", "Web", "--app-secret-file", filepath.Join(dir, "app-secret"), "--callback", callback, "--no-browser", "--json", "--verbose")
	var out bytes.Buffer
	test.Stdout = &out
	errs, err := test.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := test.Start(); err != nil {
		t.Fatal(err)
	}
	lines := bufio.NewReader(io.TeeReader(errs, &said))
	address := ""
	for !strings.Contains(address, "/authorize?") {
		if address, err = lines.ReadString('\n'); err != nil {
			t.Fatalf("auth0 test shows no address: %v\n%s", err, said.String())
		}
	}
	if !strings.HasPrefix(address, signIn+"/authorize?") {
		t.Errorf("the address is %s", address)
	}
	rest := make(chan error, 1)
	go func() {
		_, err := io.Copy(io.Discard, lines)
		rest <- err
	}()

	do := func(what string, actions ...chromedp.Action[chromedp.Void]) {
		t.Helper()
		if err := chromedp.Do(ctx, actions...); err != nil {
			t.Fatalf("%s: %v\n%s", what, err, said.String())
		}
	}
	do("sign-in page", chromedp.Navigate(strings.TrimSpace(address)), chromedp.WaitVisible(`input[name="password"]`))
	do("signing in", chromedp.Focus(`input[name="password"]`), chromedp.KeyEvent("anything"+kb.Enter), chromedp.WaitVisible(`button[value="allow"]`))
	if title, err := chromedp.Run(ctx, chromedp.Text(`h1`)); err != nil || title != "Install unlisted app" {
		t.Errorf("the consent page is %q: %v", title, err)
	}
	do("consent", chromedp.Focus(`button[value="allow"]`), chromedp.KeyEvent(kb.Enter))
	location := ""
	for !strings.Contains(location, "?done=") {
		location, _ = chromedp.Run(ctx, chromedp.Location()) // a page that is being left cannot be asked
		select {
		case <-ctx.Done():
			t.Fatalf("the browser stays at %s", strings.SplitN(location, "?", 2)[0])
		case <-time.After(20 * time.Millisecond):
		}
	}
	heading, err := chromedp.Run(ctx, chromedp.Text(`h1`))
	if err != nil || !strings.HasPrefix(location, callback+"?done=") || heading != "You are signed in" {
		t.Errorf("ended on %q with %q: %v", location, heading, err)
	}
	if png, err := chromedp.Run(ctx, chromedp.FullScreenshot(100)); err != nil {
		t.Error(err)
	} else if err := os.WriteFile(filepath.Join(t.ArtifactDir(), "signed-in.png"), png, 0o600); err != nil {
		t.Error(err)
	}

	if err := <-rest; err != nil {
		t.Fatal(err)
	}
	if err := test.Wait(); err != nil {
		t.Fatalf("auth0 test: %v\n%s", err, said.String())
	}
	var got struct {
		Sub, Name, Email, Issuer string
		Division                 int `json:"current_division"`
	}
	if err := json.Unmarshal(out.Bytes(), &got); err != nil {
		t.Fatalf("%v: %s", err, out.String())
	}
	if got.Sub != "exact|"+annaID || got.Name != "Anna de Vries" || got.Email != "anna@voorbeeld.example" || got.Division != 123456 || got.Issuer != signIn+"/" {
		t.Errorf("signed in as %+v", got)
	}
	if n := exact.Counters(); n.Exchanges != 1 || n.MeRequests != 1 {
		t.Errorf("Exact saw %d exchanges and %d requests for current/Me", n.Exchanges, n.MeRequests)
	}

	everything := said.String() + out.String()
	secrets := exact.Secrets()
	for s := range tenant.Secrets() {
		secrets = append(secrets, s)
	}
	if len(secrets) < 8 {
		t.Errorf("only %d secrets to look for", len(secrets))
	}
	for _, s := range secrets {
		if strings.Contains(everything, s) {
			t.Errorf("a secret was said: %.8s…", s)
		}
	}
	if _, err := os.Stat(filepath.Join(dir, "state")); err == nil {
		t.Error("something was kept")
	}
}
