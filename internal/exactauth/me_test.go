package exactauth_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/exactauth/exactauth/internal/exactauth"
	"github.com/exactauth/exactauth/internal/exactsim"
	"github.com/exactauth/exactauth/internal/fault"
)

func TestMe(t *testing.T) {
	w, c := signedIn(t, exactLife, exactsim.Config{})
	got, err := c.Me(t.Context(), w.live(c))
	want := exactauth.Me{UserID: annID, UserName: "ann", FullName: "Ann Archer", Email: "ann@acme.test", LanguageCode: "nl-NL", CurrentDivision: 100}
	if err != nil || got != want {
		t.Errorf("got %+v, %v", got, err)
	}
}

func TestMeString(t *testing.T) {
	t.Parallel()
	for want, me := range map[string]exactauth.Me{
		"Ann <a@b>": {UserID: "i", UserName: "n", FullName: "Ann", Email: "a@b"},
		"n <a@b>":   {UserID: "i", UserName: "n", Email: "a@b"},
		"Ann":       {UserID: "i", FullName: "Ann"},
		"a@b":       {UserID: "i", Email: "a@b"},
		"i":         {UserID: "i"},
	} {
		if got := me.String(); got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	}
}

// Answers of the API that are none.
func TestMeRefused(t *testing.T) {
	for _, test := range []struct {
		name   string
		fault  exactsim.Fault
		kind   error
		status int // of the ServerError, if there is one
	}{
		{"401 page", exactsim.Fault{Kind: exactsim.HTML, Status: 401}, fault.ErrLoginNeeded, 401},
		{"401 empty", exactsim.Fault{Kind: exactsim.Status, Status: 401}, fault.ErrLoginNeeded, 401},
		{"403 empty", exactsim.Fault{Kind: exactsim.Status, Status: 403}, nil, 403},
		{"404 gateway", exactsim.Fault{Kind: exactsim.Gateway}, nil, 404},
		{"429", exactsim.Fault{Kind: exactsim.Status, Status: 429}, fault.ErrTemporary, 429},
		{"500 page", exactsim.Fault{Kind: exactsim.HTML, Status: 500}, fault.ErrTemporary, 500},
		{"503", exactsim.Fault{Kind: exactsim.Status}, fault.ErrTemporary, 503},
		{"redirect", exactsim.Fault{Kind: exactsim.Redirect, Status: 302}, fault.ErrTemporary, 302},
		{"dropped", exactsim.Fault{Kind: exactsim.Drop}, fault.ErrTemporary, 0},
		{"cut", exactsim.Fault{Kind: exactsim.CutBody}, fault.ErrTemporary, 0},
		{"half", exactsim.Fault{Kind: exactsim.Truncated}, fault.ErrTemporary, 0},
		{"empty", exactsim.Fault{Kind: exactsim.Empty}, fault.ErrTemporary, 0},
		{"page", exactsim.Fault{Kind: exactsim.HTML}, fault.ErrTemporary, 0},
		{"10 MB", exactsim.Fault{Kind: exactsim.Huge}, fault.ErrTemporary, 0},
		{"Atom", exactsim.Fault{Kind: exactsim.Raw, Body: `<?xml version="1.0"?><feed/>`}, fault.ErrTemporary, 0},
		{"null", exactsim.Fault{Kind: exactsim.Raw, Body: `null`}, fault.ErrTemporary, 0},
		{"no d", exactsim.Fault{Kind: exactsim.Raw, Body: `{}`}, fault.ErrTemporary, 0},
		{"d is null", exactsim.Fault{Kind: exactsim.Raw, Body: `{"d":null}`}, fault.ErrTemporary, 0},
		{"d is a list", exactsim.Fault{Kind: exactsim.Raw, Body: `{"d":[]}`}, fault.ErrTemporary, 0},
		{"nobody", exactsim.Fault{Kind: exactsim.Raw, Body: `{"d":{"results":[{}]}}`}, fault.ErrTemporary, 0},
	} {
		t.Run(test.name, func(t *testing.T) {
			w, c := signedIn(t, exactLife, exactsim.Config{})
			tok := w.live(c)
			test.fault.On, test.fault.Times = exactsim.MeEndpoint, -1 // net/http asks again on its own
			w.Inject(test.fault)
			me, err := c.Me(t.Context(), tok)
			w.tell(err)
			if err == nil || test.kind != nil && !errors.Is(err, test.kind) || me != (exactauth.Me{}) {
				t.Errorf("got %+v, %v", me, err)
			}
			var server *exactauth.ServerError
			if errors.As(err, &server) != (test.status != 0) || server != nil && server.Status != test.status {
				t.Errorf("the server's error: %+v", server)
			}
			if strings.ContainsAny(err.Error(), "<\n") {
				t.Errorf("%q has the page in it", err)
			}
			if n := w.Counters().RedirectsFollowed; n != 0 {
				t.Error("the redirect was followed")
			}
		})
	}
}

// 403 has many reasons, and Exact gives them in a header.
func TestMeTellsTheReason(t *testing.T) {
	w, c := signedIn(t, exactLife, exactsim.Config{})
	tok := w.live(c)
	w.AddUser(exactsim.User{ID: annID, Inactive: true})
	_, err := c.Me(t.Context(), tok)
	var server *exactauth.ServerError
	if !errors.As(w.tell(err), &server) || server.Code != "InactiveUser" || server.Description != "Forbidden" || server.Status != 403 {
		t.Errorf("got %+v", server)
	}
}

func TestMeEndsWithItsContext(t *testing.T) {
	w, c := signedIn(t, exactLife, exactsim.Config{})
	tok := w.live(c)
	ctx, cancel := context.WithCancelCause(t.Context())
	w.inFront(func(_ http.ResponseWriter, r *http.Request) { cancel(errBoom); <-r.Context().Done() })
	if _, err := c.Me(ctx, tok); !errors.Is(w.tell(err), errBoom) {
		t.Error(err)
	}
}

func manyDivisions(n int) exactsim.User {
	u := exactsim.User{ID: annID, UserName: "ann", FullName: "Ann Archer", CurrentDivision: 1000}
	for i := range n {
		u.Divisions = append(u.Divisions, exactsim.Division{
			Code: 1000 + i, Description: fmt.Sprint("Company\x1b ", i), CustomerName: "Acme", Status: 1, Main: i == 0})
	}
	return u
}

func TestDivisions(t *testing.T) {
	for _, n := range []int{1, 60, 61, 130} {
		t.Run(fmt.Sprint(n), func(t *testing.T) {
			w, c := signedIn(t, exactLife, exactsim.Config{})
			w.AddUser(manyDivisions(n))
			all, err := c.Divisions(t.Context(), w.live(c), 1000)
			if err != nil || len(all) != n {
				t.Fatalf("%d divisions, %v", len(all), err)
			}
			for i, d := range all {
				if want := (exactauth.Division{Code: 1000 + i, Description: fmt.Sprint("Company ", i), CustomerName: "Acme", Status: 1, Main: i == 0}); d != want {
					t.Errorf("got %+v, want %+v", d, want)
				}
			}
		})
	}
}

// Some licences have only the older list.
func TestDivisionsFallBack(t *testing.T) {
	for _, status := range []int{403, 404} {
		w := fmt.Sprint(status)
		t.Run(w, func(t *testing.T) {
			w, c := signedIn(t, exactLife, exactsim.Config{})
			w.AddUser(manyDivisions(70))
			w.Inject(exactsim.Fault{On: exactsim.DivisionsEndpoint, Kind: exactsim.Status, Status: status})
			all, err := c.Divisions(t.Context(), w.live(c), 1000)
			if err != nil || len(all) != 70 || !all[0].Main || all[1].Main {
				t.Errorf("%d divisions, %v", len(all), err)
			}
		})
	}
	t.Run("not for other failures", func(t *testing.T) {
		w, c := signedIn(t, exactLife, exactsim.Config{})
		tok := w.live(c)
		before := w.Counters().APIRequests
		w.Inject(exactsim.Fault{On: exactsim.DivisionsEndpoint, Kind: exactsim.Status})
		if _, err := c.Divisions(t.Context(), tok, 100); !errors.Is(w.tell(err), fault.ErrTemporary) || w.Counters().APIRequests != before+1 {
			t.Errorf("got %v after %d requests", err, w.Counters().APIRequests-before)
		}
	})
	t.Run("neither may be seen", func(t *testing.T) {
		w, c := signedIn(t, exactLife, exactsim.Config{})
		w.AddApp(exactsim.App{ClientID: clientID, ClientSecret: clientSecret, RedirectURI: redirectURI, NoDivisionScope: true})
		_, err := c.Divisions(t.Context(), w.live(c), 100)
		var server *exactauth.ServerError
		if !errors.As(w.tell(err), &server) || !strings.Contains(server.Description, "organization.administration") {
			t.Errorf("got %v", err)
		}
	})
}

// The token goes to nobody but Exact, whatever the next page's address is.
func TestDivisionsNextPageElsewhere(t *testing.T) {
	var called atomic.Bool
	evil := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { called.Store(true) }))
	t.Cleanup(evil.Close)
	evilHost := strings.TrimPrefix(evil.URL, "http://")
	for name, next := range map[string]func(base string) string{
		"another host":   func(string) string { return evil.URL + "/api/v1/100/system/Divisions" },
		"another scheme": func(base string) string { return strings.Replace(base, "http:", "https:", 1) + "/x" },
		"user info":      func(base string) string { return base + "@" + evilHost + "/x" },
		"user info of it": func(base string) string {
			return strings.Replace(base, "http://", "http://u:p@", 1) + "/x"
		},
		"longer host":    func(base string) string { return base + ".evil.test/x" },
		"no scheme":      func(string) string { return "//" + evilHost + "/x" },
		"relative":       func(string) string { return "/api/v1/100/system/Divisions" },
		"backslash":      func(base string) string { return base + `\@` + evilHost },
		"not to be read": func(string) string { return "http://[" },
	} {
		t.Run(name, func(t *testing.T) {
			w, c := signedIn(t, exactLife, exactsim.Config{})
			tok := w.live(c)
			w.Inject(exactsim.Fault{On: exactsim.DivisionsEndpoint, Kind: exactsim.Raw,
				Body: fmt.Sprintf(`{"d":{"results":[{"Code":1}],"__next":%q}}`, next(w.url))})
			before := w.Counters().APIRequests
			if all, err := c.Divisions(t.Context(), tok, 100); err == nil {
				t.Errorf("got %v", all)
			}
			if called.Load() || w.Counters().APIRequests != before+1 {
				t.Error("the next page was asked for")
			}
		})
	}
}

func TestDivisionsInACircle(t *testing.T) {
	w, c := signedIn(t, exactLife, exactsim.Config{})
	w.Inject(exactsim.Fault{On: exactsim.DivisionsEndpoint, Kind: exactsim.Raw, Times: -1,
		Body: fmt.Sprintf(`{"d":{"results":[],"__next":%q}}`, w.url+"/api/v1/100/system/Divisions")})
	if _, err := c.Divisions(t.Context(), w.live(c), 100); !errors.Is(err, fault.ErrTemporary) {
		t.Errorf("got %v", err)
	}
}
