package exactsim_test

import (
	"html"
	"net/http"
	"net/http/cookiejar"
	"net/url"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/exactauth/exactauth/internal/exactsim"
)

func authorizePath(kv ...string) string {
	q := url.Values{"client_id": {clientID}, "redirect_uri": {redirectURI}, "response_type": {"code"}, "state": {"s & t"}}
	for i := 0; i < len(kv); i += 2 {
		q.Set(kv[i], kv[i+1])
		if kv[i+1] == "" {
			q.Del(kv[i])
		}
	}
	return "/api/oauth2/auth?" + q.Encode()
}

// browser returns a world whose client keeps cookies.
func browser(t *testing.T, c exactsim.Config) *world {
	w := newWorld(t, c)
	jar, err := cookiejar.New(nil)
	if err != nil {
		t.Fatal(err)
	}
	w.http.Jar = jar
	return w
}

func (w *world) get(path string) result {
	w.t.Helper()
	return w.do(w.request("GET", path, ""))
}

func (w *world) submit(path string, kv ...string) result {
	w.t.Helper()
	form := url.Values{}
	for i := 0; i < len(kv); i += 2 {
		form.Set(kv[i], kv[i+1])
	}
	r := w.request("POST", path, form.Encode())
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	return w.do(r)
}

func (w *world) formKey(r result) string {
	w.t.Helper()
	m := regexp.MustCompile(`name="request" value="([\w-]+)"`).FindStringSubmatch(r.body)
	if m == nil {
		w.t.Fatalf("no form on the page: %s", r.body)
	}
	return m[1]
}

func TestPages(t *testing.T) {
	w := browser(t, exactsim.Config{})
	r := w.get(authorizePath())
	w.want(r, 200, `value="jan@example.test"`)
	for _, want := range []string{`<html lang="en">`, "local simulator, not Exact Online", `<label for="password">`, "autofocus"} {
		if !strings.Contains(r.body, want) {
			t.Errorf("the sign-in page lacks %q", want)
		}
	}
	nonce := regexp.MustCompile(`<style nonce="([\w-]+)">`).FindStringSubmatch(r.body)
	csp := r.header.Get("Content-Security-Policy")
	if nonce == nil || !strings.Contains(csp, "default-src 'none'; style-src 'nonce-"+nonce[1]+"'") || strings.Contains(csp, "form-action") {
		t.Errorf("policy: %s", csp)
	}
	key := w.formKey(r)

	w.want(w.submit("/sandbox/sign-in", "request", key, "email", "no@example.test"), 422, "knows no user")
	r = w.submit("/sandbox/sign-in", "request", key, "email", " JAN@example.test ", "password", "x")
	w.want(r, 303, "")
	r = w.get(r.header.Get("Location"))
	w.want(r, 200, "<h1>Install unlisted app</h1>")
	for _, want := range []string{"Tool", "requested by Acme", "Jan de Vries", "Acme &lt;Holding&gt;"} {
		if !strings.Contains(r.body, want) {
			t.Errorf("the consent page lacks %q", want)
		}
	}

	r = w.submit("/sandbox/consent", "request", key, "answer", "allow")
	w.want(r, 302, "")
	location := r.header.Get("Location")
	if !regexp.MustCompile(`^https://app\.test/callback\?code=stampNL001\.[\w-]{4}%21IAAAA[\w-]+&state=s\+%26\+t$`).MatchString(location) {
		t.Errorf("Location has the wrong shape")
	}
	u, err := url.Parse(location)
	if err != nil {
		t.Fatal(err)
	}
	w.tokens(w.exchange(u.Query().Get("code")))
	w.want(w.submit("/sandbox/consent", "request", key, "answer", "allow"), 400, "no longer in use")

	// The session goes straight to consent, but for force_login.
	r = w.get(authorizePath("state", ""))
	w.want(r, 200, "<h1>Install unlisted app</h1>")
	r = w.submit("/sandbox/consent", "request", w.formKey(r), "answer", "cancel")
	w.want(r, 302, "")
	if got := r.header.Get("Location"); got != redirectURI+"?error=access_denied&error_description=The+user+did+not+allow+the+app." {
		t.Errorf("Location %s", got)
	}
	w.want(w.get(authorizePath("force_login", "1")), 200, "<h1>Sign in</h1>")
	if n := w.Counters().AuthorizeRequests; n != 3 {
		t.Errorf("%d authorize requests", n)
	}
}

func TestAuthorizeErrors(t *testing.T) {
	for name, tt := range map[string]struct {
		path string
		text string
	}{
		"unknown client": {authorizePath("client_id", "<i>x"), "Client with identifier '&lt;i&gt;x' not found."},
		"no client":      {authorizePath("client_id", ""), "Client with identifier '' not found."},
		"redirect uri":   {authorizePath("redirect_uri", redirectURI+"/"), "Callback URI '" + redirectURI + "/' is not valid"},
		"repeated":       {authorizePath() + "&client_id=x", "repeats a parameter"},
	} {
		t.Run(name, func(t *testing.T) {
			for _, auto := range []bool{false, true} {
				w := newWorld(t, exactsim.Config{AutoApprove: auto})
				w.want(w.get(tt.path), 400, tt.text)
			}
		})
	}
	w := newWorld(t, exactsim.Config{})
	r := w.get(authorizePath("response_type", "id_token"))
	if got := r.header.Get("Location"); r.status != 302 || got != redirectURI+"?error=unsupported_response_type&state=s+%26+t" {
		t.Errorf("got %d %s", r.status, got)
	}
}

// A client id in braces or in capitals is the app's, at both endpoints.
func TestClientIDForms(t *testing.T) {
	for _, id := range []string{"{" + clientID + "}", "ABCDEF00-2222-3333-4444-555555555555", "{ABCDEF00-2222-3333-4444-555555555555}"} {
		w := newWorld(t, exactsim.Config{AutoApprove: true})
		w.AddApp(exactsim.App{ClientID: "abcdef00-2222-3333-4444-555555555555", ClientSecret: secret, RedirectURI: redirectURI})
		r := w.get(authorizePath("client_id", id))
		back, err := url.Parse(r.header.Get("Location"))
		if err != nil || back.Query().Get("code") == "" {
			t.Fatalf("%s: %d %s", id, r.status, r.header.Get("Location"))
		}
		w.tokens(w.post(url.Values{"grant_type": {"authorization_code"}, "code": {back.Query().Get("code")}, "redirect_uri": {redirectURI},
			"client_id": {id}, "client_secret": {secret}}))
	}
}

// The implicit grant has an access token that works and no refresh token, and leaves a sign-in alone.
func TestImplicit(t *testing.T) {
	w := newWorld(t, exactsim.Config{AutoApprove: true})
	p := w.login()
	address, fragment, _ := strings.Cut(w.get(authorizePath("response_type", "token")).header.Get("Location"), "#")
	v, err := url.ParseQuery(fragment)
	if err != nil || address != redirectURI || v.Get("token_type") != "bearer" || v.Get("expires_in") != "600" || v.Get("state") != "s & t" || v.Has("refresh_token") {
		t.Fatalf("got %s#%s: %v", address, fragment, err)
	}
	w.want(w.api("/api/v1/current/Me", v.Get("access_token")), 200, userID)
	w.Advance(570 * time.Second)
	w.tokens(w.refresh(p.Refresh))
	w.Advance(30 * time.Second)
	w.want(w.api("/api/v1/current/Me", v.Get("access_token")), 401, "")
}

// TestForms has forms that did not come from a page in the same browser.
func TestForms(t *testing.T) {
	w := browser(t, exactsim.Config{})
	key := w.formKey(w.get(authorizePath()))
	w.want(w.submit("/sandbox/sign-in", "request", "guess", "email", "jan@example.test"), 400, "no longer in use")
	w.want(w.submit("/sandbox/consent", "request", key, "answer", "allow"), 400, "no longer in use") // not signed in
	jar := w.http.Jar
	w.http.Jar = nil
	w.want(w.submit("/sandbox/sign-in", "request", key, "email", "jan@example.test"), 400, "keeps no cookies")
	w.http.Jar = jar
	w.want(w.submit("/sandbox/sign-in", "request", key, "email", "jan@example.test"), 303, "")
	w.Advance(time.Hour)
	w.want(w.submit("/sandbox/consent", "request", key, "answer", "allow"), 400, "no longer in use")
}

func TestInactiveUserCannotSignIn(t *testing.T) {
	w := browser(t, exactsim.Config{})
	u := user()
	u.Inactive = true
	w.AddUser(u)
	key := w.formKey(w.get(authorizePath()))
	w.want(w.submit("/sandbox/sign-in", "request", key, "email", u.Email), 403, "not active")
}

func TestAutoApprove(t *testing.T) {
	w := newWorld(t, exactsim.Config{AutoApprove: true})
	w.AddUser(exactsim.User{ID: "u2", Email: "second@example.test"})
	signedIn := func() string {
		r := w.get(authorizePath("scope", "ignored", "code_challenge", "ignored"))
		u, err := url.Parse(r.header.Get("Location"))
		if err != nil || r.status != http.StatusFound || u.Query().Get("state") != "s & t" {
			t.Fatalf("got %d, %v", r.status, err)
		}
		p := w.tokens(w.exchange(u.Query().Get("code")))
		me := w.api("/api/v1/current/Me?$select=UserID", p.Access)
		return regexp.MustCompile(`"UserID":"(.*?)"`).FindStringSubmatch(me.body)[1]
	}
	if got := signedIn(); got != userID {
		t.Errorf("signed in %s", got)
	}
	w.SetAutoApproveUser("u2")
	if got := signedIn(); got != "u2" {
		t.Errorf("signed in %s", got)
	}
	w.SetAutoApproveUser("u3")
	if r := w.get(authorizePath()); r.status != 500 || !strings.Contains(html.UnescapeString(r.body), "no user") {
		t.Errorf("got %d", r.status)
	}
}
