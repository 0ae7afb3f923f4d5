package exactsim_test

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/exactauth/exactauth/internal/exactsim"
)

// faulty returns a world in which the next refresh would be right, but for f.
func faulty(t *testing.T, f exactsim.Fault) (*world, pair) {
	t.Helper()
	w := newWorld(t, exactsim.Config{})
	p := w.login()
	w.Advance(570 * time.Second)
	w.Inject(f)
	return w, p
}

// TestFaults has each kind on a refresh, and whether it costs the token.
func TestFaults(t *testing.T) {
	tests := map[string]struct {
		fault   exactsim.Fault
		check   func(result) bool
		commits bool // always, without Fault.Commit
	}{
		"slow": {
			exactsim.Fault{Delay: time.Millisecond, RetryAfter: "7"},
			func(r result) bool { return r.status == 200 && r.header.Get("Retry-After") == "7" }, true,
		},
		"drop":      {exactsim.Fault{Kind: exactsim.Drop}, func(r result) bool { return r.err != nil }, false},
		"empty":     {exactsim.Fault{Kind: exactsim.Empty}, func(r result) bool { return r.status == 200 && r.body == "" }, false},
		"empty 502": {exactsim.Fault{Kind: exactsim.Empty, Status: 502}, func(r result) bool { return r.status == 502 && r.body == "" }, false},
		"gateway": {
			exactsim.Fault{Kind: exactsim.Gateway, Status: 500},
			func(r result) bool {
				return r.status == 500 && strings.HasPrefix(r.body, `{"fault":{"faultstring":"Unable to identify proxy for host: 127.0.0.1:`) &&
					strings.HasSuffix(r.body, ` and url: /api/oauth2/token","detail":{"errorcode":"messaging.adaptors.http.flow.ApplicationNotFound"}}}`)
			}, false,
		},
		"status": {
			exactsim.Fault{Kind: exactsim.Status, Status: 429, RetryAfter: "5"},
			func(r result) bool { return r.status == 429 && r.body == "" && r.header.Get("Retry-After") == "5" }, false,
		},
		"status default": {exactsim.Fault{Kind: exactsim.Status}, func(r result) bool { return r.status == 503 }, false},
		"html": {
			exactsim.Fault{Kind: exactsim.HTML, Status: 401},
			func(r result) bool { return r.status == 401 && strings.Contains(r.body, "</html>") }, false,
		},
		"truncated": {
			exactsim.Fault{Kind: exactsim.Truncated},
			func(r result) bool {
				return r.err == nil && r.status == 200 && strings.HasPrefix(r.body, `{"access_token":`) && !json.Valid([]byte(r.body))
			}, true,
		},
		"cut body": {
			exactsim.Fault{Kind: exactsim.CutBody},
			func(r result) bool {
				return r.err != nil && r.status == 200 && strings.HasPrefix(r.body, `{"access_token":`)
			}, true,
		},
		"cut late": {
			exactsim.Fault{Kind: exactsim.CutLate},
			func(r result) bool {
				return r.err != nil && r.status == 200 && strings.HasSuffix(r.body, `"`) && json.Valid([]byte(r.body+"}"))
			}, true,
		},
		"form": {
			exactsim.Fault{Kind: exactsim.Form},
			func(r result) bool {
				return r.status == 200 && strings.HasPrefix(r.body, "access_token=stampNL001.") && strings.Contains(r.body, "&refresh_token=stampNL001.")
			}, true,
		},
		"byte order mark": {
			exactsim.Fault{Kind: exactsim.ByteOrderMark},
			func(r result) bool { return r.status == 200 && strings.HasPrefix(r.body, "\ufeff{") }, true,
		},
		"huge": {exactsim.Fault{Kind: exactsim.Huge}, func(r result) bool { return r.status == 200 && len(r.body) > 10<<20 }, false},
		"no refresh token": {
			exactsim.Fault{Kind: exactsim.NoRefreshToken},
			func(r result) bool { return r.status == 200 && strings.HasSuffix(r.body, `"expires_in":"600"}`) }, true,
		},
		"empty refresh token": {
			exactsim.Fault{Kind: exactsim.EmptyRefreshToken},
			func(r result) bool { return r.status == 200 && strings.HasSuffix(r.body, `,"refresh_token":""}`) }, true,
		},
		"number": {
			exactsim.Fault{Kind: exactsim.NumberExpiresIn},
			func(r result) bool { return r.status == 200 && strings.Contains(r.body, `"expires_in":600,`) }, true,
		},
		"redirect": {
			exactsim.Fault{Kind: exactsim.Redirect},
			func(r result) bool { return r.status == 307 && r.header.Get("Location") == "/api/oauth2/redirected" }, false,
		},
		"gateway variables": {exactsim.Fault{Kind: exactsim.GatewayVariables}, func(r result) bool { return r.status == 500 && strings.Contains(r.body, "ExtractVariables") }, false},
		"invalid grant":     {exactsim.Fault{Kind: exactsim.InvalidGrant}, func(r result) bool { return r.status == 400 && strings.Contains(r.body, `"invalid_grant"`) }, false},
		"scope violated":    {exactsim.Fault{Kind: exactsim.ScopeViolated}, func(r result) bool { return r.status == 403 && strings.Contains(r.body, "Scope Violated") }, false},
		"division scope": {exactsim.Fault{Kind: exactsim.DivisionScope}, func(r result) bool {
			return r.status == 403 && strings.Contains(r.body, "User division is not within division scope")
		}, false},
		"identity": {exactsim.Fault{Kind: exactsim.Identity}, func(r result) bool { return r.status == 403 && strings.Contains(r.body, "One Exact Identity") }, false},
		"raw": {
			exactsim.Fault{Kind: exactsim.Raw, Status: 418, Body: `{"x":1}`},
			func(r result) bool { return r.status == 418 && r.body == `{"x":1}` }, false,
		},
	}
	for name, tt := range tests {
		for _, commit := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s, commit %t", name, commit), func(t *testing.T) {
				t.Parallel()
				fault := tt.fault
				fault.Commit = commit
				w, p := faulty(t, fault)
				if r := w.refresh(p.Refresh); !tt.check(r) {
					t.Errorf("got %d %.200s %v", r.status, r.body, r.err)
				}
				want := exactsim.Current
				if commit || tt.commits {
					want = exactsim.Old
				}
				w.wantState(p.Refresh, want)
				if c := w.Counters(); c.Faults != 1 || c.Refreshes != 1 {
					t.Errorf("counters: %+v", c)
				}
			})
		}
	}
}

func TestRefreshTokenInError(t *testing.T) {
	w, p := faulty(t, exactsim.Fault{Kind: exactsim.RefreshTokenInError})
	r := w.refresh(p.Refresh)
	w.want(r, 400, "access_token not expired")
	var body pair
	if err := json.Unmarshal([]byte(r.body), &body); err != nil {
		t.Fatal(err)
	}
	w.wantState(p.Refresh, exactsim.Old)
	w.wantState(body.Refresh, exactsim.Current)
	w.tokens(w.refresh(body.Refresh))
}

func TestFaultQueue(t *testing.T) {
	w := newWorld(t, exactsim.Config{})
	p := w.login()
	status := func(path string) int { return w.api(path, p.Access).status }
	const me, divisions = "/api/v1/current/Me", "/api/v1/100/system/Divisions"
	w.Inject(exactsim.Fault{On: exactsim.DivisionsEndpoint, Kind: exactsim.Status, Status: 501})
	w.Inject(exactsim.Fault{On: exactsim.APIEndpoint, Kind: exactsim.Status, Status: 502, Times: 2})
	w.Inject(exactsim.Fault{On: exactsim.MeEndpoint, Kind: exactsim.Status, Status: 503, Times: -1})
	w.Inject(exactsim.Fault{On: exactsim.AuthorizeEndpoint, Kind: exactsim.Status, Status: 504})
	for i, want := range []struct {
		path   string
		status int
	}{{me, 502}, {divisions, 501}, {divisions, 502}, {divisions, 200}, {me, 503}, {me, 503}, {"/api/oauth2/auth", 504}} {
		if got := status(want.path); got != want.status {
			t.Errorf("request %d: got %d, want %d", i, got, want.status)
		}
	}
	w.ClearFaults()
	if got := status(me); got != 200 {
		t.Errorf("after ClearFaults: %d", got)
	}
}

// TestGivingUp cancels a request in the middle of a delay.
func TestGivingUp(t *testing.T) {
	for _, commit := range []bool{false, true} {
		w, p := faulty(t, exactsim.Fault{Delay: time.Hour, Commit: commit})
		ctx, cancel := context.WithCancel(t.Context())
		form := "grant_type=refresh_token&refresh_token=" + p.Refresh + "&client_id=" + clientID + "&client_secret=" + secret
		r := w.request("POST", "/api/oauth2/token", form).WithContext(ctx)
		r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		done := make(chan result)
		go func() { done <- w.do(r) }()
		// The request has arrived, and its work is done, once it shows here.
		for w.Counters().Refreshes == 0 || commit && w.Counters().RefreshesIssued == 0 {
			time.Sleep(time.Millisecond)
		}
		cancel()
		if r := <-done; r.err == nil {
			t.Error("no error")
		}
		want := exactsim.Current
		if commit {
			want = exactsim.Old
		}
		w.wantState(p.Refresh, want)
	}
}

func TestRedirectsAreCounted(t *testing.T) {
	w, p := faulty(t, exactsim.Fault{Kind: exactsim.Redirect})
	w.http.CheckRedirect = nil
	w.want(w.refresh(p.Refresh), 404, "")
	if n := w.Counters().RedirectsFollowed; n != 1 {
		t.Errorf("%d redirects followed", n)
	}
}

func TestEvents(t *testing.T) {
	events := make(chan exactsim.Event, 2)
	w := newWorld(t, exactsim.Config{Observe: func(_ *http.Request, e exactsim.Event) { events <- e }})
	p := w.login()
	w.Advance(570 * time.Second)
	w.Inject(exactsim.Fault{Kind: exactsim.Drop, Commit: true})
	w.refresh(p.Refresh)
	log := []exactsim.Event{<-events, <-events}
	if got := log[1]; got.GrantType != "refresh_token" || got.Outcome != exactsim.Issued || got.Generation != 2 || got.Fault != exactsim.Drop || got.Status != 0 {
		t.Errorf("got %+v", got)
	}
	text, err := json.Marshal(log)
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range w.Secrets() {
		if strings.Contains(string(text), s) {
			t.Error("the log has a secret")
		}
	}
}
