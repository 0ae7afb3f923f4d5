package exactsim_test

import (
	"context"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"golang.org/x/oauth2"

	"github.com/exactauth/exactauth/internal/exactsim"
)

func TestSuccessReply(t *testing.T) {
	w := newWorld(t, exactsim.Config{})
	code := w.NewCode(clientID, userID, redirectURI)
	if !regexp.MustCompile(`^stampNL001\.[\w-]{4}!IAAAA[\w-]{380,}$`).MatchString(code) {
		t.Errorf("code has the wrong shape")
	}
	r := w.exchange(code)
	w.want(r, 200, "")
	shape := regexp.MustCompile(`^\{"access_token":"stampNL001\.gAAAA[\w-]{533,}","token_type":"bearer","expires_in":"600",` +
		`"refresh_token":"stampNL001\.[\w-]{4}!IAAAA[\w-]{253,}"\}$`)
	if !shape.MatchString(r.body) {
		t.Errorf("body has the wrong shape")
	}
	for name, want := range map[string]string{
		"Content-Type":  "application/json; charset=utf-8",
		"Cache-Control": "private",
		"Pragma":        "no-cache",
		"Date":          "Wed, 28 Oct 2026 16:15:50 GMT",
	} {
		if got := r.header.Get(name); got != want {
			t.Errorf("%s: got %q, want %q", name, got, want)
		}
	}
	p := w.tokens(r)
	for _, s := range []string{secret, code, p.Access, p.Refresh} {
		if !slices.Contains(w.Secrets(), s) {
			t.Error("Secrets lacks one")
		}
	}
	g, ok := w.Sim.Grant(clientID, userID)
	if !ok || g.Generation != 1 || !g.IssuedAt.Equal(start) || !g.AccessExpires.Equal(start.Add(600*time.Second)) {
		t.Errorf("grant: %+v", g)
	}

	w = newWorld(t, exactsim.Config{NumberExpiresIn: true, TokenLife: 1500 * time.Millisecond, Region: "uk"})
	w.want(w.exchange(w.NewCode(clientID, userID, redirectURI)), 200, `"expires_in":2,`)
	if !strings.HasPrefix(w.login().Access, "stampUK001.") {
		t.Error("region is not in the token")
	}
}

// Public clients refresh 10 s (x/oauth2, picqer) or 30 s (both Python libraries) before the end of a token.
// Three lives of a real client with these margins, asked each second, make no error.
func TestMarginsOfClients(t *testing.T) {
	for _, tt := range []struct{ life, window, margin time.Duration }{
		{20 * time.Second, 10 * time.Second, 10 * time.Second},
		{30 * time.Second, 15 * time.Second, 10 * time.Second},
		{90 * time.Second, 30 * time.Second, 10 * time.Second},
		{90 * time.Second, 30 * time.Second, 30 * time.Second},
		{600 * time.Second, 0, 30 * time.Second},
	} {
		t.Run(tt.life.String()+", "+tt.margin.String(), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				sim := exactsim.New(exactsim.Config{TokenLife: tt.life, Window: tt.window})
				cast := sim.AddCast(redirectURI)
				ctx := context.WithValue(t.Context(), oauth2.HTTPClient, &http.Client{Transport: direct{sim}})
				config := oauth2.Config{ClientID: exactsim.ClientID, ClientSecret: exactsim.ClientSecret, RedirectURL: redirectURI,
					Endpoint: oauth2.Endpoint{TokenURL: "http://sim.test/api/oauth2/token", AuthStyle: oauth2.AuthStyleInParams}}
				first, err := config.Exchange(ctx, sim.NewCode(cast.App.ClientID, cast.Anna.ID, redirectURI))
				if err != nil {
					t.Fatal(err)
				}
				source := oauth2.ReuseTokenSourceWithExpiry(first, &refresher{ctx, &config, first.RefreshToken}, tt.margin)
				for end := time.Now().Add(3 * tt.life); time.Now().Before(end); time.Sleep(time.Second) {
					if _, err := source.Token(); err != nil {
						t.Fatalf("after %s: %v", time.Since(end.Add(-3*tt.life)), err)
					}
				}
				if c := sim.Counters(); c.RefreshesIssued < 3 || c.TokenErrors != 0 {
					t.Errorf("%+v", c)
				}
			})
		})
	}
}

// direct makes requests without a network.
type direct struct{ http.Handler }

func (d direct) RoundTrip(r *http.Request) (*http.Response, error) {
	w := httptest.NewRecorder()
	d.ServeHTTP(w, r)
	return w.Result(), nil
}

// refresher refreshes whenever it is asked.
type refresher struct {
	ctx    context.Context
	config *oauth2.Config
	token  string
}

func (r *refresher) Token() (*oauth2.Token, error) {
	t, err := r.config.TokenSource(r.ctx, &oauth2.Token{RefreshToken: r.token}).Token()
	if err == nil {
		r.token = t.RefreshToken
	}
	return t, err
}

// TestTokenErrors has each refusal of the token endpoint.
func TestTokenErrors(t *testing.T) {
	const (
		invalidRequest = `{"error":"invalid_request"}`
		invalidClient  = `{"error":"invalid_client"}`
		old            = `{"error":"unauthorized_client","error_description":"Old refresh token used."}`
		early          = `{"error":"access_denied","error_description":"Rate limit exceeded: access_token not expired"}`
		early401       = `{"error":"access_denied","error_description":"Access Token not expired"}`
		unsigned       = `{"error":"invalid_request","error_description":"Signed data extraction has failed"}`
	)
	with := func(f url.Values, kv ...string) url.Values {
		for i := 0; i < len(kv); i += 2 {
			f.Set(kv[i], kv[i+1])
		}
		return f
	}
	refreshForm := func(token string) url.Values {
		return url.Values{"grant_type": {"refresh_token"}, "refresh_token": {token}, "client_id": {clientID}, "client_secret": {secret}}
	}
	codeForm := func(code string) url.Values {
		return url.Values{"grant_type": {"authorization_code"}, "code": {code}, "redirect_uri": {redirectURI}, "client_id": {clientID}, "client_secret": {secret}}
	}
	// fresh is a form with a refresh token that would be accepted.
	fresh := func(w *world) url.Values {
		p := w.login()
		w.Advance(570 * time.Second)
		return refreshForm(p.Refresh)
	}
	freshCode := func(w *world) url.Values { return codeForm(w.NewCode(clientID, userID, redirectURI)) }

	tests := map[string]struct {
		config exactsim.Config
		form   func(*world) url.Values
		status int
		body   string
		reason string
	}{
		"too early": {
			form:   func(w *world) url.Values { f := fresh(w); w.Advance(-time.Second); return f },
			status: 400, body: early, reason: "TooEarlyToRefreshTokens: Rate limit exceeded: access_token not expired",
		},
		"too early, legacy": {
			config: exactsim.Config{TooEarlyIs401: true},
			form:   func(w *world) url.Values { return refreshForm(w.login().Refresh) },
			status: 401, body: early401, reason: "Access Token not expired",
		},
		"old": {
			form:   func(w *world) url.Values { f := fresh(w); w.tokens(w.post(f)); return f },
			status: 401, body: old,
		},
		"old, too early first": {
			config: exactsim.Config{TooEarlyFirst: true},
			form:   func(w *world) url.Values { f := fresh(w); w.tokens(w.post(f)); return f },
			status: 400, body: early, reason: "TooEarlyToRefreshTokens: Rate limit exceeded: access_token not expired",
		},
		"old by a second sign-in": {
			form: func(w *world) url.Values { f := fresh(w); w.login(); return f }, status: 401, body: old,
		},
		"unknown":     {form: func(*world) url.Values { return refreshForm("stampNL001.nonsense") }, status: 401, body: old},
		"revoked":     {form: func(w *world) url.Values { f := fresh(w); w.Revoke(clientID, userID); return f }, status: 401, body: old},
		"foreign app": {form: foreignApp(refreshForm), status: 401, body: old},
		"expired": {
			form:   func(w *world) url.Values { f := fresh(w); w.Advance(30 * 24 * time.Hour); return f },
			status: 400,
			body: `{"error":"invalid_request","error_description":"The refresh token expired at 11\/27\/2026 4:15:50 PM ` +
				`and it is now 11\/27\/2026 4:25:20 PM."}`,
		},
		"user without rights": {
			form: func(w *world) url.Values {
				f := fresh(w)
				u := user()
				u.Inactive = true
				w.AddUser(u)
				return f
			}, status: 403,
		},
		"wrong secret":   {form: func(w *world) url.Values { return with(fresh(w), "client_secret", secret+" ") }, status: 400, body: invalidClient},
		"unknown client": {form: func(w *world) url.Values { return with(fresh(w), "client_id", "x") }, status: 400, body: invalidClient},
		"no client":      {form: func(w *world) url.Values { f := fresh(w); f.Del("client_id"); return f }, status: 400, body: invalidClient},
		"deleted client": {form: func(w *world) url.Values { f := fresh(w); w.RemoveApp(clientID); return f }, status: 400, body: invalidClient},
		"unknown grant type": {
			form: func(w *world) url.Values { return with(fresh(w), "grant_type", "password") }, status: 400, body: invalidRequest,
		},
		"no refresh token": {form: func(*world) url.Values { return refreshForm("") }, status: 400, body: invalidRequest},
		"repeated parameter": {
			form: func(w *world) url.Values { f := fresh(w); f.Add("client_id", clientID); return f }, status: 400, body: invalidRequest,
		},
		"no code": {form: func(*world) url.Values { return codeForm("") }, status: 400, body: invalidRequest},
		"code not decoded": {
			form: func(w *world) url.Values {
				f := freshCode(w)
				return with(f, "code", url.QueryEscape(f.Get("code")))
			}, status: 400, body: unsigned,
		},
		"code used":    {form: func(w *world) url.Values { f := freshCode(w); w.tokens(w.post(f)); return f }, status: 400, body: invalidRequest},
		"code expired": {form: func(w *world) url.Values { f := freshCode(w); w.Advance(180 * time.Second); return f }, status: 400, body: invalidRequest},
		"code of another client": {
			form: func(w *world) url.Values { return codeForm(w.NewCode("other", userID, redirectURI)) }, status: 400, body: invalidRequest,
		},
		"redirect uri mismatch": {
			form: func(w *world) url.Values { return with(freshCode(w), "redirect_uri", redirectURI+"/") }, status: 400, body: invalidRequest,
		},
		"no redirect uri": {
			form: func(w *world) url.Values { f := freshCode(w); f.Del("redirect_uri"); return f }, status: 400, body: invalidRequest,
		},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, tt.config)
			form := tt.form(w)
			before := w.Counters()
			r := w.post(form)
			if r.err != nil || r.status != tt.status || r.body != tt.body || r.header.Get("Reason") != tt.reason {
				t.Errorf("got %d %s, Reason %q, %v", r.status, r.body, r.header.Get("Reason"), r.err)
			}
			after := w.Counters()
			if after.TokenErrors != before.TokenErrors+1 || after.RefreshesIssued != before.RefreshesIssued ||
				after.ExchangesIssued != before.ExchangesIssued {
				t.Errorf("counters before %+v, after %+v", before, after)
			}
		})
	}
}

func foreignApp(form func(string) url.Values) func(*world) url.Values {
	return func(w *world) url.Values {
		f := form(w.login().Refresh)
		w.Advance(600 * time.Second)
		w.AddApp(exactsim.App{ClientID: "other", ClientSecret: "other-secret", RedirectURI: redirectURI})
		f.Set("client_id", "other")
		f.Set("client_secret", "other-secret")
		return f
	}
}

func TestMalformedTokenRequests(t *testing.T) {
	w := newWorld(t, exactsim.Config{})
	good := "grant_type=refresh_token&refresh_token=x&client_id=" + clientID + "&client_secret=" + secret
	tests := map[string]struct{ method, query, contentType, body string }{
		"json":         {"POST", "", "application/json", `{"grant_type":"refresh_token"}`},
		"no type":      {"POST", "", "", good},
		"get":          {"GET", "?" + good, "application/x-www-form-urlencoded", ""},
		"bad escape":   {"POST", "", "application/x-www-form-urlencoded", good + "&a=%zz"},
		"huge request": {"POST", "", "application/x-www-form-urlencoded", good + "&a=" + strings.Repeat("a", 2<<20)},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			r := w.request(tt.method, "/api/oauth2/token"+tt.query, tt.body)
			if tt.contentType != "" {
				r.Header.Set("Content-Type", tt.contentType)
			}
			w.want(w.do(r), 400, `{"error":"invalid_request"}`)
		})
	}
}

func TestClientAuthentication(t *testing.T) {
	w := newWorld(t, exactsim.Config{})
	post := func(user, password string, form url.Values) result {
		r := w.request("POST", "/api/oauth2/token", form.Encode())
		r.Header.Set("Content-Type", "application/x-www-form-urlencoded; charset=utf-8")
		r.SetBasicAuth(url.QueryEscape(user), url.QueryEscape(password))
		return w.do(r)
	}
	form := url.Values{"grant_type": {"authorization_code"}, "code": {w.NewCode(clientID, userID, redirectURI)}, "redirect_uri": {redirectURI}}
	w.want(post(clientID, "wrong", form), 400, "invalid_client")
	form.Set("client_secret", secret)
	w.want(post(clientID, secret, form), 400, "invalid_client") // two ways at once
	form.Del("client_secret")
	w.tokens(post(clientID, secret, form)) // a refused client has not spent the code
}

func TestRefreshStrict(t *testing.T) {
	w := newWorld(t, exactsim.Config{})
	a := w.login()
	w.Advance(570 * time.Second)
	b := w.tokens(w.refresh(a.Refresh))
	w.wantState(a.Refresh, exactsim.Old)
	w.wantState(b.Refresh, exactsim.Current)
	if !w.AccessTokenLive(a.Access) || !w.AccessTokenLive(b.Access) {
		t.Error("both access tokens should be live")
	}
	w.Advance(30 * time.Second)
	if w.AccessTokenLive(a.Access) {
		t.Error("the first access token outlived 600 s")
	}
	w.Advance(30 * 24 * time.Hour)
	w.wantState(b.Refresh, exactsim.Expired)
	w.wantState("nonsense", exactsim.Unknown)
	w.Revoke(clientID, userID)
	w.wantState(b.Refresh, exactsim.Revoked)
	if c := w.Counters(); c.ExchangesIssued != 1 || c.Refreshes != 1 || c.RefreshesIssued != 1 || c.TokenErrors != 0 {
		t.Errorf("counters: %+v", c)
	}
}

func TestRefreshGrace(t *testing.T) {
	// start has a previous token, as after a lost reply.
	start := func(t *testing.T) (w *world, a, b pair) {
		w = newWorld(t, exactsim.Config{Rotation: exactsim.Grace})
		a = w.login()
		w.Advance(570 * time.Second)
		b = w.tokens(w.refresh(a.Refresh))
		w.wantState(a.Refresh, exactsim.Previous)
		return w, a, b
	}
	t.Run("previous used again", func(t *testing.T) {
		w, a, b := start(t)
		w.want(w.refresh(a.Refresh), 400, "not expired")
		w.Advance(570 * time.Second)
		c := w.tokens(w.refresh(a.Refresh))
		w.wantState(a.Refresh, exactsim.Previous)
		w.wantState(b.Refresh, exactsim.Old)
		w.wantState(c.Refresh, exactsim.Current)
	})
	t.Run("ended by the new refresh token", func(t *testing.T) {
		w, a, b := start(t)
		w.Advance(570 * time.Second)
		w.tokens(w.refresh(b.Refresh))
		w.wantState(a.Refresh, exactsim.Old)
		w.wantState(b.Refresh, exactsim.Previous)
	})
	t.Run("ended by the new access token", func(t *testing.T) {
		w, a, b := start(t)
		w.want(w.api("/api/v1/current/Me", a.Access), 200, "") // the old one proves nothing
		w.wantState(a.Refresh, exactsim.Previous)
		w.want(w.api("/api/v1/current/Me", b.Access), 200, "")
		w.wantState(a.Refresh, exactsim.Old)
		w.want(w.refresh(a.Refresh), 401, "Old refresh token used.")
	})
}

func TestSecondSignInEndsTheFirst(t *testing.T) {
	w := newWorld(t, exactsim.Config{})
	a := w.login()
	b := w.login()
	w.wantState(a.Refresh, exactsim.Old)
	w.wantState(b.Refresh, exactsim.Current)
	if w.AccessTokenLive(a.Access) || !w.AccessTokenLive(b.Access) {
		t.Error("only the second access token should be live")
	}
	// Another app of the same user is another grant.
	w.AddApp(exactsim.App{ClientID: "other", ClientSecret: "x", RedirectURI: redirectURI})
	w.want(w.post(url.Values{"grant_type": {"authorization_code"}, "code": {w.NewCode("other", userID, redirectURI)},
		"redirect_uri": {redirectURI}, "client_id": {"other"}, "client_secret": {"x"}}), 200, "")
	w.wantState(b.Refresh, exactsim.Current)
}

func TestRuleOf570SecondsScales(t *testing.T) {
	w := newWorld(t, exactsim.Config{TokenLife: 2 * time.Second})
	a := w.login()
	w.Advance(1899 * time.Millisecond)
	w.want(w.refresh(a.Refresh), 400, "not expired")
	w.Advance(time.Millisecond)
	w.want(w.refresh(a.Refresh), 200, `"expires_in":"2"`)
}

// TestConcurrentRefresh is the race that a client must not get into.
func TestConcurrentRefresh(t *testing.T) {
	w := newWorld(t, exactsim.Config{ErrorLimit: -1})
	a := w.login()
	w.Advance(570 * time.Second)
	var wg sync.WaitGroup
	results := make([]result, 20)
	for i := range results {
		wg.Go(func() { results[i] = w.refresh(a.Refresh) })
	}
	wg.Wait()
	issued := 0
	for _, r := range results {
		switch {
		case r.err != nil:
			t.Fatal(r.err)
		case r.status == 200:
			issued++
		default:
			w.want(r, 401, "Old refresh token used.")
		}
	}
	if c := w.Counters(); issued != 1 || c.RefreshesIssued != 1 || c.Refreshes != 20 || c.OldToken != 19 {
		t.Errorf("%d issued, counters %+v", issued, c)
	}
}

func TestErrorBlock(t *testing.T) {
	w := newWorld(t, exactsim.Config{})
	a := w.login()
	for range 10 {
		w.want(w.refresh(a.Refresh), 400, "not expired")
	}
	w.Advance(30 * time.Minute)
	w.want(w.refresh(a.Refresh), 429, "") // would be right by now
	if c := w.Counters(); c.Blocked != 1 || c.TokenErrors != 10 || c.TooEarly != 10 {
		t.Errorf("counters: %+v", c)
	}
	w.Advance(30 * time.Minute)
	w.tokens(w.refresh(a.Refresh))

	// Errors of one hour do not add to those of the next.
	w = newWorld(t, exactsim.Config{ErrorLimit: 2})
	w.want(w.refresh("x"), 401, "")
	w.Advance(time.Hour)
	w.want(w.refresh("x"), 401, "")
	w.want(w.refresh("x"), 401, "")
	w.want(w.refresh("x"), 429, "")
}

func TestRegionsShareNothing(t *testing.T) {
	nl, be := newWorld(t, exactsim.Config{}), newWorld(t, exactsim.Config{Region: "be"})
	a := nl.login()
	be.login()
	be.want(be.api("/api/v1/current/Me", a.Access), 401, "Object moved")
	be.Advance(600 * time.Second)
	be.want(be.refresh(a.Refresh), 401, "Old refresh token used.")
	be.want(be.exchange(nl.NewCode(clientID, userID, redirectURI)), 400, "Signed data")
	be.wantState(a.Refresh, exactsim.Unknown)
	nl.wantState(a.Refresh, exactsim.Current)
}

func TestConfigRandMakesSecretsRepeatable(t *testing.T) {
	issued := func(seed byte) []string {
		w := newWorld(t, exactsim.Config{Rand: rand.NewChaCha8([32]byte{seed})})
		w.NewCode(clientID, userID, redirectURI)
		return w.Secrets()
	}
	if a, b := issued(1), issued(1); !slices.Equal(a, b) {
		t.Error("the same source made other secrets")
	}
	if slices.Equal(issued(1), issued(2)) {
		t.Error("another source made the same secrets")
	}
}
