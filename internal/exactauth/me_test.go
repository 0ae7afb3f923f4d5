package exactauth_test

import (
	"context"
	"errors"
	"net/http"
	"strings"
	"testing"

	"github.com/exactauth/exactauth/internal/exactsim"
	"github.com/exactauth/exactauth/internal/fault"
	"github.com/exactauth/exactauth/internal/record"
)

func TestMe(t *testing.T) {
	w, c := signedIn(t, exactLife, exactsim.Config{})
	got, err := c.Me(t.Context(), w.live(c))
	want := record.User{ID: annaID, UserName: "anna.devries", FullName: "Anna de Vries", Email: "anna@voorbeeld.example", Language: "nl-NL", Division: 123456}
	if err != nil || got != want {
		t.Errorf("got %+v, %v", got, err)
	}
}

func TestMeString(t *testing.T) {
	t.Parallel()
	for want, me := range map[string]record.User{
		"Anna <a@b>": {ID: "i", UserName: "n", FullName: "Anna", Email: "a@b"},
		"n <a@b>":    {ID: "i", UserName: "n", Email: "a@b"},
		"Anna":       {ID: "i", FullName: "Anna"},
		"a@b":        {ID: "i", Email: "a@b"},
		"i":          {ID: "i"},
	} {
		if got := me.String(); got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	}
}

// Answers that name no user.
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
		// Two ids that differ in such characters alone would look like one.
		{"an invisible character", exactsim.Fault{Kind: exactsim.Raw, Body: `{"d":{"results":[{"UserID":"` + annaID + `\u200b"}]}}`}, fault.ErrTemporary, 0},
		{"a blank at the end", exactsim.Fault{Kind: exactsim.Raw, Body: `{"d":{"results":[{"UserID":"` + annaID + ` "}]}}`}, fault.ErrTemporary, 0},
		{"too long", exactsim.Fault{Kind: exactsim.Raw, Body: `{"d":{"results":[{"UserID":"` + strings.Repeat("x", 400) + `"}]}}`}, fault.ErrTemporary, 0},
		{"no user", exactsim.Fault{Kind: exactsim.Raw, Body: `{"d":{"results":[{}]}}`}, fault.ErrTemporary, 0},
	} {
		t.Run(test.name, func(t *testing.T) {
			w, c := signedIn(t, exactLife, exactsim.Config{})
			tok := w.live(c)
			test.fault.On, test.fault.Times = exactsim.MeEndpoint, -1 // net/http asks again on its own
			w.Inject(test.fault)
			me, err := c.Me(t.Context(), tok)
			w.tell(err)
			if err == nil || test.kind != nil && !errors.Is(err, test.kind) || me != (record.User{}) {
				t.Errorf("got %+v, %v", me, err)
			}
			var server *fault.ServerError
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

// 403 has many reasons; Exact names them in a header.
func TestMeTellsTheReason(t *testing.T) {
	w, c := signedIn(t, exactLife, exactsim.Config{})
	tok := w.live(c)
	w.AddUser(exactsim.User{ID: annaID, Inactive: true})
	_, err := c.Me(t.Context(), tok)
	var server *fault.ServerError
	if !errors.As(w.tell(err), &server) || !errors.Is(err, fault.ErrForbidden) || server.Code != "InactiveUser" || server.Description != "Forbidden" || server.Status != 403 {
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
