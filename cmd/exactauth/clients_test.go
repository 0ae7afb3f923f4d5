package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/cookiejar"
	"net/http/httptest"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/exactauth/exactauth/internal/auth0"
	"github.com/exactauth/exactauth/internal/auth0/auth0sim"
	"github.com/exactauth/exactauth/internal/exactsim"
	"github.com/exactauth/exactauth/internal/fault"
)

// TestNPM has clients that we did not write sign in at the simulator: passport-exact, which
// Auth0 made, and four general ones. The lock file has their exact versions and checksums.
func TestNPM(t *testing.T) {
	run := npmClients(t)
	t.Run("passport-exact at the sandbox", func(t *testing.T) { passportAtSandbox(t, run) })
	t.Run("passport-exact in the chain of Auth0", func(t *testing.T) { passportInChain(t, run) })
	const want = `code: bearer 600
code again: 400 invalid_request
too early: 400 access_denied Rate limit exceeded: access_token not expired
in time: bearer 600
old: 401 unauthorized_client Old refresh token used.
again in time: bearer 600
code not decoded: 400 invalid_request Signed data extraction has failed
wrong secret: 400 invalid_client
`
	status, refreshes := regexp.MustCompile(`: 4\d\d`), regexp.MustCompile(`(?m)^(too early|in time|old|again in time): .*\n`)
	for client, want := range map[string]string{
		"simple-oauth2": want, "openid-client": want,
		"client-oauth2": status.ReplaceAllString(want, ":"), // it shows no status
		"grant":         refreshes.ReplaceAllString(status.ReplaceAllString(want, ":"), ""),
	} {
		t.Run(client, func(t *testing.T) {
			sim := exactsim.New(exactsim.Config{AutoApprove: true})
			server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				if r.URL.Path == "/test/advance" {
					sim.Advance(570 * time.Second)
					return
				}
				sim.ServeHTTP(w, r)
			}))
			t.Cleanup(server.Close)
			x := auth0sim.Exchange{BaseURL: server.URL, ClientID: exactsim.ClientID, ClientSecret: exactsim.ClientSecret, CallbackURL: "https://app.test/callback"}
			sim.AddCast(x.CallbackURL)
			if got, err := run(client, x); err != nil || string(got) != want {
				t.Errorf("%v\n%s", err, got)
			}
		})
	}
}

// npmPackages installs the packages that a directory of testdata lists, and returns a copy of it
// with them. It skips the test where there is no npm, or where npm cannot reach its registry,
// unless EXACTAUTH_TEST_REQUIRE has "npm" in its list.
func npmPackages(t *testing.T, list string) string {
	t.Helper()
	dir := t.TempDir()
	err := os.CopyFS(dir, os.DirFS(filepath.Join("testdata", list)))
	if err != nil {
		t.Fatal(err)
	}
	install := exec.CommandContext(t.Context(), "npm", "ci", "--prefer-offline", "--omit=optional", "--ignore-scripts", "--no-audit", "--no-fund")
	install.Dir = dir
	if out, err := install.CombinedOutput(); err != nil {
		if required("npm") {
			t.Fatalf("EXACTAUTH_TEST_REQUIRE demands npm: %v\n%s", err, out)
		}
		t.Skipf("npm installs nothing here: %v\n%s", err, out)
	}
	return dir
}

// npmClients returns a function that runs one client.
func npmClients(t *testing.T) func(client string, x auth0sim.Exchange) ([]byte, error) {
	t.Helper()
	dir := npmPackages(t, "npm")
	return func(client string, x auth0sim.Exchange) ([]byte, error) {
		settings, err := json.Marshal(x)
		if err != nil {
			return nil, err
		}
		node := exec.CommandContext(t.Context(), "node", "clients.mjs", client)
		node.Dir, node.Stdin = dir, bytes.NewReader(settings)
		var errs bytes.Buffer
		node.Stderr = &errs
		out, err := node.Output()
		if err != nil {
			err = fmt.Errorf("%w: %s", err, errs.Bytes())
		}
		return out, err
	}
}

// passportAtSandbox signs in at the sandbox command.
func passportAtSandbox(t *testing.T, run func(string, auth0sim.Exchange) ([]byte, error)) {
	sandbox := startSandbox(t, "--auto-approve")
	out, err := run("passport", auth0sim.Exchange{BaseURL: sandbox["base_url"], ClientID: sandbox["client_id"],
		ClientSecret: sandbox["client_secret"], CallbackURL: sandbox["redirect_uri"]})
	want := `{"provider":"exact","id":"` + annaID + `","displayName":"Anna de Vries","firstName":"Anna","middleName":"de","lastName":"Vries",` +
		`"currentDivision":"123456","picture":"` + sandbox["base_url"] + `/docs/images/placeholder_contact_myeol.png","userName":"anna.devries",` +
		`"languageCode":"nl-NL","email":"anna@voorbeeld.example","title":{"A":{"m:null":"true"}},"gender":"O","language":"NL"}` + "\n"
	if err != nil || string(out) != want {
		t.Errorf("%v\ngot  %swant %s", err, out, want)
	}
}

// startSandbox returns what "sandbox --json" prints. The sandbox ends with the test.
func startSandbox(t *testing.T, flags ...string) map[string]string {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "exactauth", append([]string{"sandbox", "--json"}, flags...)...)
	out, err := cmd.StdoutPipe()
	if err == nil {
		err = cmd.Start()
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Signal(os.Interrupt) // it may have ended
		_ = cmd.Wait()
	})
	var settings map[string]string
	if err := json.NewDecoder(out).Decode(&settings); err != nil {
		t.Fatal(err)
	}
	return settings
}

// passportInChain has the real package do the tenant's part at Exact, between the
// sign-in at Auth0 and the way back to the app.
func passportInChain(t *testing.T, run func(string, auth0sim.Exchange) ([]byte, error)) {
	exact := exactsim.New(exactsim.Config{AutoApprove: true})
	exactServer := httptest.NewServer(exact)
	t.Cleanup(exactServer.Close)
	tenant := auth0sim.New(func(x auth0sim.Exchange) (u auth0sim.Profile, err error) {
		out, err := run("passport", x)
		if err == nil {
			err = json.Unmarshal(out, &u)
		}
		return u, err
	})
	tenantServer := httptest.NewServer(tenant)
	t.Cleanup(tenantServer.Close)
	tenant.SetOrigin(tenantServer.URL)
	exact.AddCast(tenantServer.URL + "/login/callback")
	tenant.AddApp(nativeID, "Native", true, "https://app.test/callback")
	tenant.AddConnection("exact", map[string]any{"baseUrl": exactServer.URL, "client_id": exactsim.ClientID, "client_secret": exactsim.ClientSecret}, nativeID)

	jar, _ := cookiejar.New(nil)
	browser := http.Client{Jar: jar, CheckRedirect: func(r *http.Request, _ []*http.Request) error {
		if r.URL.Host == "app.test" {
			return http.ErrUseLastResponse
		}
		return nil
	}}
	const verifier = "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk" // RFC 7636, appendix B
	resp, err := browser.Get(tenantServer.URL + "/authorize?" + url.Values{"response_type": {"code"}, "client_id": {nativeID},
		"redirect_uri": {"https://app.test/callback"}, "scope": {"openid profile email"}, "connection": {"exact"}, "prompt": {"login"},
		"state": {strings.Repeat("s", 20)}, "nonce": {strings.Repeat("n", 20)},
		"code_challenge": {"E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM"}, "code_challenge_method": {"S256"}}.Encode())
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	back, err := resp.Location()
	if err != nil || back.Query().Get("code") == "" {
		t.Fatalf("the way back is %v, %v", back, err)
	}
	resp, err = http.PostForm(tenantServer.URL+"/oauth/token", url.Values{"grant_type": {"authorization_code"}, "client_id": {nativeID},
		"code": {back.Query().Get("code")}, "redirect_uri": {"https://app.test/callback"}, "code_verifier": {verifier}})
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	var tokens struct {
		AccessToken string `json:"access_token"`
	}
	if err := json.NewDecoder(resp.Body).Decode(&tokens); err != nil {
		t.Fatal(err)
	}
	req, _ := http.NewRequest(http.MethodGet, tenantServer.URL+"/userinfo", nil)
	req.Header.Set("Authorization", "Bearer "+tokens.AccessToken)
	resp, err = http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	var user struct{ Sub, Name, Email string }
	if err := json.NewDecoder(resp.Body).Decode(&user); err != nil || user.Sub != "exact|"+annaID || user.Name != "Anna de Vries" || user.Email != "anna@voorbeeld.example" {
		t.Errorf("signed in as %+v: %v", user, err)
	}
	if n := exact.Counters(); n.Exchanges != 1 || n.MeRequests != 1 || n.TokenErrors != 0 {
		t.Errorf("Exact saw %+v", n)
	}
}

// TestAuth0Types has TypeScript check each request for Auth0's Management API against the types of npm's auth0, which Auth0
// generates from its description of that API. They have no lengths and patterns; auth0sim has those.
func TestAuth0Types(t *testing.T) {
	types := []struct{ request, check string }{
		{`POST /api/v2/connections`, "Connection<Management.CreateConnectionRequestContentExact>"},
		{`PATCH /api/v2/connections/[^/]+`, "Connection<Management.UpdateConnectionRequestContentExact>"},
		{`PATCH /api/v2/connections/[^/]+/clients`, "Management.UpdateEnabledClientConnectionsRequestContent"},
		{`PATCH /api/v2/clients/[^/]+`, "Management.UpdateClientRequestContent"},
		{`GET /api/v2/connections`, "Query<Management.ListConnectionsQueryParameters>"},
		{`GET /api/v2/connections/[^/]+/clients`, "Query<Management.GetConnectionEnabledClientsRequestParameters>"},
		{`GET /api/v2/clients`, "Query<Management.ListClientsRequestParameters>"},
		{`GET /api/v2/custom-domains`, "Query<Management.ListCustomDomainsRequestParameters>"},
		{`GET /api/v2/logs`, "Query<Management.ListLogsRequestParameters & { q: string }>"}, // the description's text has q, its parameters have not
	}
	dir := npmPackages(t, "auth0")
	seen := map[string]bool{}
	program := `import type { Management } from "auth0";
type Known<T> = { [K in keyof T as string extends K ? never : K]: T[K] }; // options take any property besides
type Connection<T extends { options?: unknown }> = Omit<T, "options"> & { options?: Known<NonNullable<T["options"]>> };
type Query<T> = { [K in keyof Known<T>]?: unknown };
// @ts-expect-error
({ options: { base_url: "https://start.exactonline.be" } }) satisfies Connection<Management.UpdateConnectionRequestContentExact>;
// @ts-expect-error
({ pages: 1 }) satisfies Query<Management.ListConnectionsQueryParameters>;
`
	tenant := auth0sim.New(nil)
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body) // a short one fails at the tenant
		r.Body = io.NopCloser(bytes.NewReader(body))
		if request := r.Method + " " + r.URL.Path; strings.Contains(request, "/api/v2/") {
			i := slices.IndexFunc(types, func(x struct{ request, check string }) bool {
				return regexp.MustCompile("^" + x.request + "$").MatchString(request)
			})
			if i < 0 {
				t.Errorf("no type for %s", request)
				return
			}
			if r.Method == http.MethodGet {
				body, _ = json.Marshal(r.URL.Query())
			}
			seen[types[i].request] = true
			program += fmt.Sprintf("(%s) satisfies %s;\n", body, types[i].check)
		}
		tenant.ServeHTTP(w, r)
	}))
	t.Cleanup(server.Close)
	tenant.SetOrigin(server.URL)
	domain, err := auth0.ParseDomain(server.URL)
	if err != nil {
		t.Fatal(err)
	}
	tenant.AddApp(nativeID, "Native", true, "https://app.test/callback")
	manager := auth0.Tenant{Server: auth0.Server{Domain: domain}, ClientID: nativeID, ClientSecret: fault.NewSecret(tenant.SetManager(nativeID, strings.Fields(
		"read:connections read:connections_options create:connections update:connections update:connections_options read:clients update:clients read:logs read:custom_domains")...))}
	for _, baseURL := range []string{"https://start.exactonline.be", "https://start.exactonline.de"} { // made, then changed
		plan, err := manager.Plan(t.Context(), auth0.Wish{ClientID: exactsim.ClientID, ClientSecret: fault.NewSecret(exactsim.ClientSecret),
			BaseURL: baseURL, App: "Native", Callback: auth0.DefaultCallback})
		if err == nil {
			err = plan.Apply(t.Context(), func(auth0.Change) {})
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	if _, err := manager.Status(t.Context(), ""); err != nil {
		t.Fatal(err)
	}
	for _, x := range types {
		if !seen[x.request] {
			t.Errorf("no request %s", x.request)
		}
	}
	if err := os.WriteFile(filepath.Join(dir, "requests.mts"), []byte(program), 0o600); err != nil {
		t.Fatal(err)
	}
	tsc := exec.CommandContext(t.Context(), "node", filepath.Join("node_modules", "typescript", "bin", "tsc"), "--noEmit", "--strict", "--skipLibCheck",
		"--module", "nodenext", "--target", "es2022", "requests.mts")
	tsc.Dir = dir
	if out, err := tsc.CombinedOutput(); err != nil {
		t.Errorf("%v\n%s", err, out)
	}
}
