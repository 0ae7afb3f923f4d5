package exactapi_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/exactauth/exactauth/internal/exactapi"
	"github.com/exactauth/exactauth/internal/exactsim"
	"github.com/exactauth/exactauth/internal/fault"
)

// api returns a client of the simulator that has a live token.
func (e *exact) api(t testing.TB) *exactapi.Client {
	t.Helper()
	token, err := e.token(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return &exactapi.Client{BaseURL: e.base, HTTP: http.DefaultClient, Token: token.Access}
}

// withDivisions replaces the user by one with n divisions, numbered from 123456.
func (e *exact) withDivisions(n int) {
	u := exactsim.Anna()
	u.Divisions = exactsim.Divisions(n)
	for i := range n {
		u.Divisions[i].Description = fmt.Sprint("Company\x1b ", i)
	}
	e.sim.AddUser(u)
}

// divisions returns all divisions before the first error.
func divisions(t *testing.T, c *exactapi.Client, current int) (all []exactapi.Division, err error) {
	for d, err := range exactapi.Divisions(t.Context(), c, current) {
		if err != nil {
			return all, err
		}
		all = append(all, d)
	}
	return all, nil
}

func TestDivisions(t *testing.T) {
	t.Parallel()
	for _, n := range []int{1, 60, 61, 130} {
		e := newExact(t, exactsim.Config{})
		e.withDivisions(n)
		all, err := divisions(t, e.api(t), 123456)
		if err != nil || len(all) != n {
			t.Fatalf("%d divisions instead of %d, %v", len(all), n, err)
		}
		for i, d := range all {
			if want := (exactapi.Division{Code: 123456 + i, Description: fmt.Sprint("Company ", i), CustomerName: "Voorbeeld Groep", Status: 1, Main: i == 0}); d != want {
				t.Errorf("got %+v, want %+v", d, want)
			}
		}
	}
}

// Some licences have only the older list.
func TestDivisionsFallBack(t *testing.T) {
	t.Parallel()
	for _, status := range []int{403, 404} {
		e := newExact(t, exactsim.Config{})
		e.withDivisions(70)
		e.sim.Inject(exactsim.Fault{On: exactsim.DivisionsEndpoint, Kind: exactsim.Status, Status: status})
		all, err := divisions(t, e.api(t), 123456)
		if err != nil || len(all) != 70 || !all[0].Main || all[1].Main {
			t.Errorf("%d: %d divisions, %v", status, len(all), err)
		}
	}
	t.Run("not for other failures", func(t *testing.T) {
		e := newExact(t, exactsim.Config{})
		api, before := e.api(t), e.sim.Counters().APIRequests
		e.sim.Inject(exactsim.Fault{On: exactsim.DivisionsEndpoint, Kind: exactsim.Status})
		if _, err := divisions(t, api, 123456); !errors.Is(err, fault.ErrTemporary) || e.sim.Counters().APIRequests != before+1 {
			t.Errorf("got %v after %d requests", err, e.sim.Counters().APIRequests-before)
		}
	})
	t.Run("neither may be seen", func(t *testing.T) {
		e := newExact(t, exactsim.Config{})
		e.sim.AddApp(exactsim.App{ClientID: exactsim.ClientID, ClientSecret: exactsim.ClientSecret, RedirectURI: redirect, NoDivisionScope: true})
		_, err := divisions(t, e.api(t), 123456)
		var server *fault.ServerError
		if !errors.Is(err, exactapi.ErrNoDivisions) || !errors.Is(err, exactapi.ErrAppScope) || !errors.As(err, &server) || !strings.Contains(server.Description, "organization.administration") {
			t.Errorf("got %v", err)
		}
	})
	t.Run("one may not be seen and the other fails", func(t *testing.T) {
		e := newExact(t, exactsim.Config{})
		api := e.api(t)
		e.sim.Inject(exactsim.Fault{On: exactsim.DivisionsEndpoint, Kind: exactsim.Status, Status: 403})
		e.sim.Inject(exactsim.Fault{On: exactsim.DivisionsEndpoint, Kind: exactsim.Status, Status: 503})
		if _, err := divisions(t, api, 123456); !errors.Is(err, fault.ErrTemporary) {
			t.Errorf("got %v", err)
		}
	})
	// The second list would repeat what the first one has.
	t.Run("not after the first page", func(t *testing.T) {
		e := newExact(t, exactsim.Config{})
		e.withDivisions(70)
		api := e.api(t)
		e.sim.Inject(exactsim.Fault{On: exactsim.DivisionsEndpoint})
		e.sim.Inject(exactsim.Fault{On: exactsim.DivisionsEndpoint, Kind: exactsim.Status, Status: 403})
		if all, err := divisions(t, api, 123456); !errors.Is(err, fault.ErrForbidden) || errors.Is(err, exactapi.ErrNoDivisions) || len(all) != 60 {
			t.Errorf("%d divisions, %v", len(all), err)
		}
	})
}

func TestOpens(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		answer exactsim.Fault
		opens  bool
		kind   error
	}{
		"listed":       {exactsim.Fault{Kind: exactsim.Raw, Body: `{"d":{"results":[{"Code":7}]}}`}, true, nil},
		"not listed":   {exactsim.Fault{Kind: exactsim.Raw, Body: `{"d":{"results":[]}}`}, false, nil},
		"no access":    {exactsim.Fault{Kind: exactsim.Status, Status: 403, Reason: "NoDivisionAccess"}, false, nil},
		"out of scope": {exactsim.Fault{Kind: exactsim.Raw, Status: 403, Body: `{"error":{"message":{"value":"User division is not within division scope"}}}`}, false, nil},
		"app's scope":  {exactsim.Fault{Kind: exactsim.Raw, Status: 403, Body: `{"error":{"message":{"value":"Application Scope Violated."}}}`}, false, exactapi.ErrAppScope},
		"no such list": {exactsim.Fault{Kind: exactsim.Status, Status: 404}, false, &fault.ServerError{}},
		"no answer":    {exactsim.Fault{Kind: exactsim.Status}, false, fault.ErrTemporary},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			e := newExact(t, exactsim.Config{})
			api, before := e.api(t), e.sim.Counters().APIRequests
			test.answer.On = exactsim.DivisionsEndpoint
			e.sim.Inject(test.answer)
			opens, err := exactapi.Opens(t.Context(), api, 7)
			if opens != test.opens || (err == nil) != (test.kind == nil) || e.sim.Counters().APIRequests != before+1 {
				t.Errorf("%v, %v after %d requests", opens, err, e.sim.Counters().APIRequests-before)
			}
			if server := (*fault.ServerError)(nil); err != nil && !errors.Is(err, test.kind) && !errors.As(err, &server) {
				t.Error(err)
			}
		})
	}
}

// The token goes to Exact only, whatever the address of the next page is.
func TestNextPageElsewhere(t *testing.T) {
	t.Parallel()
	var called atomic.Bool
	evil := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { called.Store(true) }))
	t.Cleanup(evil.Close)
	evilHost := strings.TrimPrefix(evil.URL, "http://")
	e := newExact(t, exactsim.Config{})
	api := e.api(t)
	for name, next := range map[string]string{
		"another host":        evil.URL + divisionsPath,
		"another scheme":      strings.Replace(e.base, "http:", "https:", 1) + "/x",
		"user info":           e.base + "@" + evilHost + "/x",
		"user info before it": strings.Replace(e.base, "http://", "http://u:p@", 1) + "/x",
		"longer host":         e.base + ".evil.test/x",
		"no scheme":           "//" + evilHost + "/x",
		"relative":            divisionsPath,
		"backslash":           e.base + `\@` + evilHost,
		"no address":          "http://[",
	} {
		e.sim.Inject(exactsim.Fault{On: exactsim.DivisionsEndpoint, Kind: exactsim.Raw,
			Body: fmt.Sprintf(`{"d":{"results":[{"Code":1}],"__next":%q}}`, next)})
		before := e.sim.Counters().APIRequests
		if all, err := divisions(t, api, 123456); !errors.Is(err, fault.ErrTemporary) {
			t.Errorf("%s: got %v, %v", name, all, err)
		}
		if called.Load() || e.sim.Counters().APIRequests != before+1 {
			t.Errorf("%s: the next page was requested", name)
		}
	}
}

// pagesFrom returns a client of a server that answers with a page for each path.
func pagesFrom(t testing.TB, pages map[string]string) (*exactapi.Client, *echo) {
	server := newEcho(t, func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprint(w, strings.ReplaceAll(pages[r.URL.Path], "BASE", "http://"+r.Host))
	})
	return &exactapi.Client{BaseURL: server.URL, HTTP: server.Client(), Token: fault.NewSecret("token")}, server
}

func TestRecords(t *testing.T) {
	t.Parallel()
	for body, want := range map[string]string{
		`{"d":[{"a":1},{"a":2}]}`:                                 `{"a":1} {"a":2}`,
		` { "d" : [ {"a":1} ] } `:                                 `{"a":1}`,
		`{"d":[]}`:                                                ``,
		`{"d":{"results":[]}}`:                                    ``,
		`{"d":{"results":[{"a":1}],"__next":null}}`:               `{"a":1}`,
		`{"d":{"results":[{"a":1}],"__next":"BASE/two"}}`:         `{"a":1} "last"`,
		`{"d":{"__count":"1","results":[{"__next":"BASE/two"}]}}`: `{"__next":"BASE/two"}`,

		// not collections
		`{"d":{"ID":"1"}}`: `error`, `{"d":null}`: `error`, `{"d":1}`: `error`, `{}`: `error`, `null`: `error`, ``: `error`,
		`<html>`: `error`, `{"d":{"results":null}}`: `error`, `{"d":{"results":[{"a":1}]}`: `error`, `{"d":{"results":[],"__next":1}}`: `error`,
	} {
		c, _ := pagesFrom(t, map[string]string{"/one": body, "/two": `{"d":["last"]}`})
		var got []string
		for record, err := range exactapi.Records[json.RawMessage](t.Context(), c, "/one") {
			if errors.Is(err, fault.ErrTemporary) {
				record = json.RawMessage("error")
			} else if err != nil {
				t.Error(err)
			}
			got = append(got, strings.ReplaceAll(string(record), c.BaseURL, "BASE"))
		}
		if strings.Join(got, " ") != want {
			t.Errorf("%s: %q, want %q", body, got, want)
		}
	}
}

// A server whose pages link in a circle is asked for each page once.
func TestRecordsInACircle(t *testing.T) {
	t.Parallel()
	for name, pages := range map[string]map[string]string{
		"of one":   {"/1": `{"d":{"results":[1],"__next":"BASE/1"}}`},
		"of three": {"/1": `{"d":{"results":[1],"__next":"BASE/2"}}`, "/2": `{"d":{"results":[2],"__next":"BASE/3"}}`, "/3": `{"d":{"results":[3],"__next":"BASE/1"}}`},
	} {
		c, server := pagesFrom(t, pages)
		records, last := 0, error(nil)
		for _, err := range exactapi.Records[int](t.Context(), c, "/1") {
			if last = err; err == nil {
				records++
			}
		}
		if n := len(server.requests()); !errors.Is(last, fault.ErrTemporary) || records != len(pages) || n != len(pages) {
			t.Errorf("%s: %d records after %d requests, %v", name, records, n, last)
		}
	}
}

// A page is not requested before it is needed.
func TestRecordsOnDemand(t *testing.T) {
	t.Parallel()
	c, server := pagesFrom(t, map[string]string{"/1": `{"d":{"results":[1,2],"__next":"BASE/2"}}`, "/2": `{"d":[3]}`})
	for record, err := range exactapi.Records[int](t.Context(), c, "/1") {
		if err != nil {
			t.Fatal(err)
		}
		if record == 2 {
			break
		}
	}
	if n := len(server.requests()); n != 1 {
		t.Errorf("%d requests", n)
	}
	ctx, cancel := context.WithCancelCause(t.Context())
	why := errors.New("why")
	cancel(why)
	for _, err := range exactapi.Records[int](ctx, c, "/1") {
		if !errors.Is(err, why) {
			t.Errorf("after the end of its context: %v", err)
		}
	}
}
