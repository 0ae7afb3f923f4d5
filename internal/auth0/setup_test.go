package auth0_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/exactauth/exactauth/internal/auth0"
	"github.com/exactauth/exactauth/internal/fault"
)

// A plan changes nothing, shows no secret, and once applied leaves nothing to do.
func TestSetup(t *testing.T) {
	w := newWorld(t)
	tenant := w.tenant(allScopes...)
	var log bytes.Buffer
	tenant.Log = slog.New(slog.NewTextHandler(&log, &slog.HandlerOptions{Level: slog.LevelDebug}))
	plan, err := tenant.Plan(t.Context(), w.wish())
	if err != nil {
		t.Fatal(err)
	}
	w.say(plan)
	w.say(*tenant)
	for _, c := range plan.Changes {
		w.say(string(c.Body))
	}
	if w.Connection("exact") != nil || len(plan.Changes) != 3 {
		t.Fatalf("planned %+v, and there is %v", plan.Changes, w.Connection("exact"))
	}
	var done []string
	if err := plan.Apply(t.Context(), func(c auth0.Change) { done = append(done, c.What...) }); err != nil {
		t.Fatal(err)
	}
	w.say(log.String())
	if len(done) != 3 || plan.ID == "" {
		t.Errorf("done %q, id %q", done, plan.ID)
	}
	got := w.Connection("exact")
	want := map[string]any{"client_id": exactID, "client_secret": w.secret, "baseUrl": "https://start.exactonline.be", "profile": true}
	if text(t, got["options"]) != text(t, want) || got["display_name"] != "Exact Online" || text(t, got["enabled"]) != text(t, []string{webID}) {
		t.Errorf("the connection is %v", got)
	}
	if got := w.Callbacks(webID); !slices.Equal(got, []string{"https://web.example/callback", auth0.DefaultCallback}) {
		t.Errorf("callbacks %q", got)
	}
	again, err := w.tenant(allScopes...).Plan(t.Context(), w.wish())
	if err != nil || len(again.Changes) != 0 || again.BaseURL != plan.BaseURL || again.ClientID != exactID || again.ID != plan.ID {
		t.Errorf("%v: a second plan is %+v", err, again)
	}
}

func text(t *testing.T, v any) string {
	t.Helper()
	b, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// The error names each missing scope, and nothing is written unless all are there.
func TestEachScopeIsNamed(t *testing.T) {
	for _, missing := range []string{"read:connections", "read:connections_options", "create:connections", "update:connections", "update:connections_options", "read:clients", "update:clients"} {
		for _, static := range []bool{false, true} { // a token whose scopes are not known, too
			t.Run(fmt.Sprintf("%s/%v", missing, static), func(t *testing.T) {
				w := newWorld(t)
				if missing != "create:connections" {
					w.AddConnection("exact", map[string]any{"client_id": exactID, "client_secret": w.secret, "baseUrl": "https://start.exactonline.nl", "profile": true})
				}
				scopes := slices.DeleteFunc(slices.Clone(allScopes), func(s string) bool { return s == missing })
				tenant := w.tenant(scopes...)
				if static {
					tenant.APIToken = fault.NewSecret(w.APIToken(scopes...))
				}
				plan, err := tenant.Plan(t.Context(), w.wish())
				if err == nil {
					err = plan.Apply(t.Context(), func(auth0.Change) {})
				}
				var lacks *auth0.ScopeError
				if !errors.Is(err, fault.ErrConfig) || !errors.As(err, &lacks) || !slices.Equal(lacks.Missing, []string{missing}) {
					t.Fatalf("%v; want a ScopeError for %s", err, missing)
				}
				w.say(err)
				if !static {
					for _, r := range w.Requests() {
						if strings.HasPrefix(r, "PATCH") || r == "POST /api/v2/connections" {
							t.Errorf("%s was sent", r)
						}
					}
				}
			})
		}
	}
}

// The simulator is strict, so that a request that passes would pass Auth0's schemas.
func TestSimulatorIsStrict(t *testing.T) {
	w := newWorld(t)
	w.AddConnection("exact", map[string]any{"client_id": exactID})
	id := fmt.Sprint(w.Connection("exact")["id"])
	token := w.APIToken(allScopes...)
	do := func(method, path, body string) (int, string) {
		req, err := http.NewRequestWithContext(t.Context(), method, w.url+"/api/v2"+path, strings.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("Authorization", "Bearer "+token)
		req.Header.Set("Content-Type", "application/json")
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		text, _ := io.ReadAll(resp.Body)
		return resp.StatusCode, string(text)
	}
	connection := func(options string) string {
		return `{"name":"other","strategy":"exact","options":` + options + `}`
	}
	for _, tc := range []struct {
		method, path, body string
		status             int
	}{
		{"POST", "/connections", `{"strategy":"exact"}`, 400},
		{"POST", "/connections", `{"name":"a--b","strategy":"exact"}`, 400},
		{"POST", "/connections", `{"name":"other","strategy":"exakt"}`, 400},
		{"POST", "/connections", `{"name":"other","strategy":"exact","enabled_clients":[]}`, 400},
		{"POST", "/connections", connection(`{"base_url":"https://start.exactonline.nl"}`), 400},
		{"POST", "/connections", connection(`{"baseUrl":"http://start.exactonline.nl"}`), 400},
		{"POST", "/connections", connection(`{"baseUrl":"https://` + strings.Repeat("a", 121) + `"}`), 400},
		{"POST", "/connections", connection(`{"client_id":"{` + exactID + `}"}`), 400},
		{"POST", "/connections", connection(`{"client_secret":"` + strings.Repeat("a", 256) + `"}`), 400},
		{"POST", "/connections", connection(`{"profile":"true"}`), 400},
		{"POST", "/connections", connection(`{"scope":["x"]}`), 400},
		{"POST", "/connections", connection(`{"upstream_params":{"force_login":{"alias":"force_login"}}}`), 400},
		{"POST", "/connections", `{"name":"exact","strategy":"exact"}`, 409},
		{"PATCH", "/connections/" + id, `{"name":"new"}`, 400},
		{"PATCH", "/connections/" + id, `{"options":{"unheard":1}}`, 400},
		{"PATCH", "/connections/con_none", `{}`, 404},
		{"PATCH", "/connections/" + id + "/clients", `{"client_id":"x","status":true}`, 400},
		{"PATCH", "/connections/" + id + "/clients", `[{"client_id":"nobody","status":true}]`, 400},
		{"PATCH", "/connections/" + id + "/clients", `[{"client_id":"` + webID + `","status":true}]`, 204},
		{"PATCH", "/clients/" + webID, `{"callbacks":"http://x"}`, 400},
		{"GET", "/connections?strategy=exact&include_totals=true", "", 400},
		{"GET", "/clients?per_page=101&page=0&include_fields=true", "", 400},
		{"DELETE", "/connections/" + id, "", 404},
	} {
		if status, answer := do(tc.method, tc.path, tc.body); status != tc.status {
			t.Errorf("%s %s %s: %d %s; want %d", tc.method, tc.path, tc.body, status, answer, tc.status)
		}
	}
	// A PATCH replaces the options, and resets the display name.
	if status, answer := do("PATCH", "/connections/"+id, `{"options":{"profile":true}}`); status != 200 {
		t.Fatalf("%d %s", status, answer)
	}
	got := w.Connection("exact")
	if got["display_name"] != "exact" || text(t, got["options"]) != `{"profile":true}` {
		t.Errorf("after a PATCH it is %v", got)
	}
}

// The wait for the rate limit goes by the server's clock, whatever the local clock says.
func TestLimitByTheServersClock(t *testing.T) {
	for _, off := range []time.Duration{-time.Hour, time.Hour} {
		w := newWorld(t)
		tenant := w.tenant(allScopes...)
		tenant.Now = func() time.Time { return time.Now().Add(off) }
		waits := 0
		tenant.Waiting = func(_ context.Context, _ string, until time.Time) func() {
			waits++
			if d := until.Sub(tenant.Now()); d < 0 || d > 3*time.Second {
				t.Errorf("clock off by %s: waits %s", off, d)
			}
			return func() {}
		}
		w.Limit(1, time.Second)
		if _, err := tenant.Status(t.Context(), ""); err != nil || waits != 1 {
			t.Errorf("clock off by %s: %v after %d waits", off, err, waits)
		}
	}
	w := newWorld(t)
	w.Limit(1, time.Hour)
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Hour) // long enough to wait, so that it is not ctx that forbids it
	defer cancel()
	time.AfterFunc(5*time.Second, cancel)
	_, err := w.tenant(allScopes...).Status(ctx, "")
	var later *fault.WaitError
	if !errors.Is(err, fault.ErrTemporary) || !errors.As(err, &later) || time.Until(later.Until) < 50*time.Minute {
		t.Errorf("%v; want a WaitError with the time", err)
	}
}

// The answer of a stranger in Auth0's place becomes a short, printable error.
func TestStrangeAnswers(t *testing.T) {
	for name, answer := range map[string]string{
		"empty": "", "html": "<html>", "null": "null", "number": "1", "array": "[]", "list of null": "[null]",
		"huge": `[{"name":"` + strings.Repeat("a", 5<<20) + `"}]`, "escape": "{\"error\":\"x\\u001b[2J\"}",
	} {
		for _, status := range []int{200, 400, 500} {
			w := newWorld(t)
			tenant := w.tenant(allScopes...)
			tenant.HTTP = &http.Client{Transport: answering{status, answer}}
			_, err := tenant.Plan(t.Context(), w.wish())
			if err == nil {
				t.Errorf("%s, %d: no error", name, status)
			} else if strings.ContainsRune(err.Error(), 0x1b) || len(err.Error()) > 1000 {
				t.Errorf("%s, %d: %.200q", name, status, err)
			}
		}
	}
}

type answering struct {
	status int
	body   string
}

func (a answering) RoundTrip(r *http.Request) (*http.Response, error) {
	return &http.Response{StatusCode: a.status, Header: http.Header{}, Body: io.NopCloser(strings.NewReader(a.body)), Request: r}, nil
}

func TestWishCheck(t *testing.T) {
	good := auth0.Wish{Connection: "a-b-c", ClientID: exactID, BaseURL: "https://start.exactonline.co.uk", App: "x", Callback: auth0.DefaultCallback}
	if err := good.Check(); err != nil {
		t.Error(err)
	}
	for name, w := range map[string]auth0.Wish{
		"connection":  {Connection: "a--b"},
		"hyphen last": {Connection: "a-"},
		"long name":   {Connection: strings.Repeat("a", 129)},
		"braces":      {ClientID: "{" + exactID + "}"},
		"upper case":  {ClientID: strings.ToUpper(exactID)},
		"secret":      {ClientSecret: fault.NewSecret(strings.Repeat("s", 256))},
		"http":        {BaseURL: "http://start.exactonline.nl"},
		"path":        {BaseURL: "https://start.exactonline.nl/"},
		"quote":       {BaseURL: "https://start'.exactonline.nl"},
		"long host":   {BaseURL: "https://" + strings.Repeat("a.", 61) + "nl"},
		"no app":      {Callback: auth0.DefaultCallback},
		"callback":    {App: "x", Callback: "http://192.168.0.1:80/"},
		"quoted":      {App: "x", Callback: "http://127.0.0.1:80/'"},
	} {
		if err := w.Check(); !errors.Is(err, fault.ErrConfig) {
			t.Errorf("%s: %v; want ErrConfig", name, err)
		}
	}
}
