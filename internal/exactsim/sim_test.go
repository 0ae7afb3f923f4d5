package exactsim_test

import (
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/exactauth/exactauth/internal/exactsim"
)

const (
	clientID    = "11111111-2222-3333-4444-555555555555"
	secret      = "abcDEF123456"
	userID      = "2b5a0000-0000-0000-0000-000000000001"
	redirectURI = "https://app.test/callback"
)

// start is the time of every simulator here, until the test calls Advance.
var start = time.Date(2026, 10, 28, 16, 15, 50, 0, time.UTC)

// world is a simulator that is served over HTTP, with one app and one user.
type world struct {
	*exactsim.Sim
	t    *testing.T
	url  string
	http *http.Client
}

func newWorld(t *testing.T, c exactsim.Config) *world {
	t.Helper()
	w := &world{t: t}
	c.Now = func() time.Time { return start }
	w.Sim = exactsim.New(c)
	w.AddApp(exactsim.App{ClientID: clientID, ClientSecret: secret, RedirectURI: redirectURI, Name: "Tool", RequestedBy: "Acme", Unlisted: true})
	w.AddUser(user())
	server := httptest.NewServer(w.Sim)
	t.Cleanup(server.Close)
	w.url = server.URL
	w.http = &http.Client{
		Transport:     &http.Transport{},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	t.Cleanup(w.http.CloseIdleConnections)
	return w
}

func user() exactsim.User {
	return exactsim.User{
		ID: userID, UserName: "jan", FullName: "Jan de Vries", Email: "jan@example.test",
		LanguageCode: "nl-NL", CurrentDivision: 100,
		Divisions: []exactsim.Division{
			{Code: 100, Description: "Acme <Holding>", CustomerName: "Acme", HID: 1 << 40, Status: 1, Main: true},
			{Code: 101, Description: "Acme Sales", CustomerName: "Acme", HID: 2, Status: 1},
			{Code: 200, Description: "Other", CustomerName: "Other", HID: 1, Status: 2},
		},
	}
}

// result is a reply that has been read.
type result struct {
	status int
	header http.Header
	body   string
	err    error // of the transport, or of reading the body
}

func (w *world) do(r *http.Request) result {
	w.t.Helper()
	resp, err := w.http.Do(r)
	if err != nil {
		return result{err: err}
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	return result{resp.StatusCode, resp.Header, string(body), err}
}

func (w *world) request(method, path, body string) *http.Request {
	w.t.Helper()
	r, err := http.NewRequest(method, w.url+path, strings.NewReader(body))
	if err != nil {
		w.t.Fatal(err)
	}
	return r
}

func (w *world) post(form url.Values) result {
	w.t.Helper()
	r := w.request("POST", "/api/oauth2/token", form.Encode())
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	return w.do(r)
}

func (w *world) exchange(code string) result {
	w.t.Helper()
	return w.post(url.Values{
		"grant_type": {"authorization_code"}, "code": {code}, "redirect_uri": {redirectURI},
		"client_id": {clientID}, "client_secret": {secret},
	})
}

func (w *world) refresh(token string) result {
	w.t.Helper()
	return w.post(url.Values{
		"grant_type": {"refresh_token"}, "refresh_token": {token},
		"client_id": {clientID}, "client_secret": {secret},
	})
}

// api makes an API call that asks for JSON.
func (w *world) api(path, token string) result {
	w.t.Helper()
	r := w.request("GET", path, "")
	r.Header.Set("Accept", "application/json")
	r.Header.Set("Authorization", "Bearer "+token)
	return w.do(r)
}

type pair struct {
	Access  string `json:"access_token"`
	Refresh string `json:"refresh_token"`
}

// login returns the tokens of a new grant.
func (w *world) login() pair {
	w.t.Helper()
	return w.tokens(w.exchange(w.NewCode(clientID, userID, redirectURI)))
}

func (w *world) tokens(r result) pair {
	w.t.Helper()
	var p pair
	w.want(r, 200, "")
	if err := json.Unmarshal([]byte(r.body), &p); err != nil || p.Access == "" || p.Refresh == "" {
		w.t.Fatalf("not a pair of tokens: %v", err)
	}
	return p
}

func (w *world) want(r result, status int, text string) {
	w.t.Helper()
	if r.err != nil {
		w.t.Fatal(r.err)
	}
	if r.status != status || !strings.Contains(r.body, text) {
		w.t.Fatalf("got %d %.300s\nwant %d with %q", r.status, r.body, status, text)
	}
}

func (w *world) wantState(token string, want exactsim.TokenState) {
	w.t.Helper()
	if got := w.RefreshTokenState(token); got != want {
		w.t.Fatalf("refresh token is %v, want %v", got, want)
	}
}

// manyDivisions returns n divisions, numbered from 1000.
func manyDivisions(n int) []exactsim.Division {
	var all []exactsim.Division
	for i := range n {
		all = append(all, exactsim.Division{Code: 1000 + i, Description: "Company " + strconv.Itoa(i), CustomerName: "Acme", Status: 1})
	}
	return all
}
