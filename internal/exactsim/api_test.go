package exactsim_test

import (
	"bytes"
	"encoding/json"
	"encoding/xml"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/exactauth/exactauth/internal/exactsim"
)

func TestMe(t *testing.T) {
	w := newWorld(t, exactsim.Config{})
	p := w.login()
	want := fmt.Sprintf(`{"d":{"results":[{"__metadata":{"uri":"%s/api/v1/current/Me(guid'%s')","type":"Exact.Web.Api.Models.System.Me"},`, w.url, userID)
	r := w.api("/api/v1/current/Me", p.Access)
	w.want(r, 200, want+`"CurrentDivision":100,"Email":"jan@example.test","FirstName":"Jan","FullName":"Jan de Vries",`+
		`"Gender":"O","Initials":null,"IsOEIMigrationMandatory":false,"Language":"NL","LanguageCode":"nl-NL","LastName":"Vries","Legislation":"1",`+
		`"MiddleName":"de","Mobile":null,"Nationality":null,"Phone":null,"PhoneExtension":null,`+
		`"PictureUrl":"`+w.url+`/docs/images/placeholder_contact_myeol.png","ServerTime":"/Date(1793204150000)/",`+
		`"ServerUtcOffset":0,"Title":null,"UserID":"`+userID+`","UserName":"jan"}]}}`)
	for name := range r.header {
		if strings.HasPrefix(name, "X-Ratelimit") {
			t.Errorf("Me has %s", name)
		}
	}
	for _, query := range []string{"?$select=CurrentDivision", "?%24select=CurrentDivision"} {
		w.want(w.api("/api/v1/current/Me"+query, p.Access), 200, want+`"CurrentDivision":100}]}}`)
	}
	u := user()
	u.CurrentDivision = 200
	w.AddUser(u)
	w.want(w.api("/api/v1/current/Me?$select=UserID,CurrentDivision", p.Access), 200, `"CurrentDivision":200,"UserID":"`+userID)
	if c := w.Counters(); c.MeRequests != 4 || c.APIRequests != 4 {
		t.Errorf("counters: %+v", c)
	}
}

func TestFormats(t *testing.T) {
	w := newWorld(t, exactsim.Config{})
	p := w.login()
	get := func(accept string) result {
		r := w.request("GET", "/api/v1/100/system/Divisions", "")
		r.Header.Set("Authorization", "bearer "+p.Access)
		if accept != "" {
			r.Header.Set("Accept", accept)
		}
		return w.do(r)
	}
	for _, accept := range []string{"", "*/*", "application/atom+xml", "application/xml, */*"} {
		r := get(accept)
		w.want(r, 200, `<d:Code m:type="Edm.Int32">100</d:Code>`)
		if !strings.Contains(r.body, "Acme &lt;Holding&gt;") || !strings.HasPrefix(r.header.Get("Content-Type"), "application/atom+xml") {
			t.Errorf("%q: %s", accept, r.body)
		}
		if err := xml.Unmarshal([]byte(r.body), new(struct{})); err != nil {
			t.Error(err)
		}
	}
	for _, accept := range []string{"application/json", "application/json;odata=verbose", "text/html, application/json;q=0.5"} {
		w.want(get(accept), 200, `{"d":{"results":[`)
	}
	w.want(get("application/xml"), 415, "")
}

// An answer without Accept is Atom, with types and nulls.
func TestMeAtom(t *testing.T) {
	w := newWorld(t, exactsim.Config{})
	r := w.request("GET", "/api/v1/current/Me", "")
	r.Header.Set("Authorization", "Bearer "+w.login().Access)
	got := w.do(r)
	for _, text := range []string{
		`<feed xml:base="` + w.url + `/api/v1/current/"`, `<link rel="edit" title="Me" href="Me(guid&#39;` + userID + `&#39;)" />`,
		`<d:CurrentDivision m:type="Edm.Int32">100</d:CurrentDivision>`, `<d:UserID m:type="Edm.Guid">` + userID + `</d:UserID>`,
		`<d:FirstName>Jan</d:FirstName>`, `<d:MiddleName>de</d:MiddleName>`, `<d:Title m:null="true" />`,
		`<d:ServerUtcOffset m:type="Edm.Double">0</d:ServerUtcOffset>`, `<d:Legislation m:type="Edm.Int64">1</d:Legislation>`,
	} {
		w.want(got, 200, text)
	}
}

func TestDivisions(t *testing.T) {
	w := newWorld(t, exactsim.Config{})
	w.AddUser(exactsim.User{ID: "u2", Email: "other@example.test", Divisions: []exactsim.Division{{Code: 300, CustomerName: "Third"}}})
	p := w.login()
	tests := map[string]struct {
		codes string
		text  string
	}{
		"/api/v1/101/system/Divisions":    {"[100 101 200]", `"Current":false,"CustomerName":"Acme","Description":"Acme \u003cHolding\u003e","Hid":"1099511627776","IsMainDivision":true,"Status":1}`},
		"/api/v1/101/system/AllDivisions": {"[100 101 200 300]", `"Hid":"2"`},
		"/api/v1/101/hrm/Divisions":       {"[100 101]", `"HID":"1099511627776","Main":true`},
	}
	for path, tt := range tests {
		r := w.api(path, p.Access)
		w.want(r, 200, tt.text)
		codes, _ := page(t, r)
		if got := fmt.Sprint(codes); got != tt.codes {
			t.Errorf("%s: got %s, want %s", path, got, tt.codes)
		}
	}
}

type list struct {
	Results []struct{ Code int }
	Next    string `json:"__next"`
}

// page reads both forms of a list.
func page(t *testing.T, r result) (codes []int, next string) {
	t.Helper()
	var l list
	var d struct{ D json.RawMessage }
	err := json.Unmarshal([]byte(r.body), &d)
	if err == nil && bytes.HasPrefix(d.D, []byte("[")) {
		err = json.Unmarshal(d.D, &l.Results)
	} else if err == nil {
		err = json.Unmarshal(d.D, &l)
	}
	if err != nil {
		t.Fatal(err)
	}
	for _, d := range l.Results {
		codes = append(codes, d.Code)
	}
	return codes, l.Next
}

func TestPaging(t *testing.T) {
	w := newWorld(t, exactsim.Config{})
	u := user()
	u.Divisions = manyDivisions(125)
	w.AddUser(u)
	p := w.login()
	for query, want := range map[string][]int{
		"?$select=Code":         {60, 60, 5},
		"?$top=61&$select=Code": {60, 1},
		"?$top=60":              {60},
	} {
		path, seen, sizes := "/api/v1/1000/system/Divisions"+query, 0, []int(nil)
		for path != "" {
			r := w.api(path, p.Access)
			w.want(r, 200, "")
			if strings.Contains(query, "$select") && strings.Contains(r.body, "Description") {
				t.Error("$select is lost")
			}
			codes, next := page(t, r)
			sizes = append(sizes, len(codes))
			for _, code := range codes {
				if code != 1000+seen {
					t.Fatalf("got %d, want %d", code, 1000+seen)
				}
				seen++
			}
			var ok bool
			if path, ok = strings.CutPrefix(next, w.url); next != "" && !ok {
				t.Fatalf("%q is not absolute", next)
			}
		}
		if fmt.Sprint(sizes) != fmt.Sprint(want) {
			t.Errorf("%s: pages of %v, want %v", query, sizes, want)
		}
	}
}

func TestAPIErrors(t *testing.T) {
	w := newWorld(t, exactsim.Config{ErrorLimit: -1})
	w.AddApp(exactsim.App{ClientID: "narrow", ClientSecret: "x", RedirectURI: redirectURI, NoDivisionScope: true})
	w.AddUser(exactsim.User{ID: "gone", Inactive: true})
	p := w.login()
	narrow := w.tokens(w.post(map[string][]string{"grant_type": {"authorization_code"}, "code": {w.NewCode("narrow", userID, redirectURI)},
		"redirect_uri": {redirectURI}, "client_id": {"narrow"}, "client_secret": {"x"}}))

	tests := map[string]struct {
		path, token string
		status      int
		body        string
		reason      string
	}{
		"no access":           {"/api/v1/999/system/Divisions", p.Access, 403, `{"error":{"code":"","message":{"lang":"","value":"Forbidden"}}}`, "NoDivisionAccess"},
		"unknown property":    {"/api/v1/current/Me?$select=Nope", p.Access, 400, `{"error":{"code":"","message":{"lang":"","value":"Could not find a property named 'Nope'`, ""},
		"unknown option":      {"/api/v1/100/system/Divisions?$expand=Code", p.Access, 400, "$expand", ""},
		"unknown filter":      {"/api/v1/100/system/Divisions?$filter=startswith(Description,'A')", p.Access, 400, "does not understand the $filter", ""},
		"unfinished filter":   {"/api/v1/100/system/Divisions?$filter=Code+eq+1+and+", p.Access, 400, "does not understand the $filter", ""},
		"filter's brackets":   {"/api/v1/100/system/Divisions?$filter=(Code+eq+1+or+Code+eq+2", p.Access, 400, "does not understand the $filter", ""},
		"filter's property":   {"/api/v1/100/system/Divisions?$filter=Nope+eq+1", p.Access, 400, "'Nope'", ""},
		"filter's type":       {"/api/v1/100/crm/Accounts?$filter=ID+eq+'x'", p.Access, 400, "incompatible with operand types", ""},
		"order by nothing":    {"/api/v1/100/system/Divisions?$orderby=Nope", p.Access, 400, "'Nope'", ""},
		"bulk without select": {"/api/v1/100/bulk/CRM/Accounts", p.Access, 400, "Please add a $select or a $top=1 statement to the query string.", ""},
		"no such account":     {"/api/v1/100/crm/Accounts(guid'x')", p.Access, 404, `{"error":`, ""},
		"repeated option":     {"/api/v1/100/system/Divisions?$top=1&$top=2", p.Access, 400, "repeated", ""},
		"bad top":             {"/api/v1/100/system/Divisions?$top=x", p.Access, 400, "$top", ""},
		"bad skiptoken":       {"/api/v1/100/system/Divisions?$skiptoken=7", p.Access, 400, "$skiptoken", ""},
		"unknown resource":    {"/api/v1/100/crm/Contacts", p.Access, 404, `{"error":`, ""},
		"no such division":    {"/api/v1/x/system/Divisions", p.Access, 404, `{"error":`, ""},
		"scope":               {"/api/v1/100/system/Divisions", narrow.Access, 403, "Application Scope Violated. Cannot read 'organization.administration' scope.", ""},
		"unknown token":       {"/api/v1/current/Me", "x", 401, `<a href="/docs/Login.aspx?ReturnUrl=%2fapi%2fv1%2fcurrent%2fMe">`, ""},
		"refresh token":       {"/api/v1/current/Me", p.Refresh, 401, "Object moved", ""},
		"outside of the api":  {"/nothing", p.Access, 404, "", ""},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			r := w.api(tt.path, tt.token)
			w.want(r, tt.status, tt.body)
			if got := r.header.Get("Reason"); got != tt.reason {
				t.Errorf("Reason %q, want %q", got, tt.reason)
			}
		})
	}

	u := user()
	u.Inactive = true
	w.AddUser(u)
	if r := w.api("/api/v1/current/Me", p.Access); r.status != 403 || r.header.Get("Reason") != "InactiveUser" {
		t.Errorf("inactive user: %d %s", r.status, r.body)
	}
	w.AddUser(user())
	w.Advance(600 * time.Second)
	w.want(w.api("/api/v1/current/Me", p.Access), 401, "Object moved")
}

// TestAccounts has the requests that public clients make: picqer's find and findId, ossobv's
// set_division, a page of bulk and of sync, and an account that is created and read back.
func TestAccounts(t *testing.T) {
	w := newWorld(t, exactsim.Config{})
	p := w.login()
	const base, first = "/api/v1/100/crm/Accounts", "00000000-0000-4000-8000-000100000001"
	for query, want := range map[string]string{
		"?$filter=ID+eq+guid'" + strings.ToUpper(first) + "'&$top=1":                                           `"Code":"                 1"`,
		"?$filter=Code+eq+'++++++++++++++++72'&$top=1&$select=ID&$orderby=ID":                                  `000072'`,
		"?$filter=trim(Code)+eq+'2'+and+(Name+eq+'Klant+2+B.V.')&$select=Name":                                 `"Name":"Klant 2 B.V."}]}}`,
		"?$select=ID&$filter=Name+eq+'DOES_NOT_EXIST'":                                                         `{"d":{"results":[]}}`,
		"?$filter=Modified+ge+datetime'2020-01-01'+and+IsSupplier+eq+false&$inlinecount=allpages&$select=Code": `"__count":"75","__next":"`,
		"?$filter=Name+eq+'Klant+1+B.V.'+and+City+eq+'X'+or+Name+eq+'Klant+75+B.V.'&$select=Name":              `{"d":{"results":[{"__metadata":{"uri":"` + w.url + base + `(guid'00000000-0000-4000-8000-000100000075')"`,
		"?$filter=(Name+eq+'Klant+1+B.V.'+or+Name+eq+'Klant+2+B.V.')+and+(trim(Code)+eq+'2')&$select=Code":     `{"d":{"results":[{"__metadata":{"uri":"` + w.url + base + `(guid'00000000-0000-4000-8000-000100000002')"`,
		"?$orderby=Name+desc&$top=1&$select=Name":                                                              `{"d":[{"__metadata":`,
		"?$filter=City+eq+'Delft'&$select=ID":                                                                  `{"d":{"results":[]}}`,
		"(guid'" + first + "')":                                                                                `{"d":{"__metadata":{"uri":"` + w.url + base + `(guid'` + first + `')"`,
	} {
		w.want(w.api(base+query, p.Access), 200, want)
	}
	w.want(w.api("/api/v1/100/bulk/CRM/Accounts?$select=ID", p.Access), 200, `000075"}]}}`)
	w.want(w.api("/api/v1/100/sync/CRM/Accounts?$select=Timestamp&$filter=Timestamp+gt+74L", p.Access), 200, `"Timestamp":"75"}]}}`)

	post := func(contentType, body string) result {
		r := w.request("POST", base, body)
		r.Header.Set("Accept", "application/json")
		r.Header.Set("Content-Type", contentType)
		r.Header.Set("Authorization", "Bearer "+p.Access)
		return w.do(r)
	}
	r := post("application/json; charset=utf-8", `{"Name":"Nieuw","City":"Delft","IsSupplier":true,"Email":null}`)
	w.want(r, 201, `"Code":"                76"`)
	path, ok := strings.CutPrefix(r.header.Get("Location"), w.url)
	if !ok || !strings.HasPrefix(path, base+"(guid'") {
		t.Fatalf("Location: %q", r.header.Get("Location"))
	}
	if got := w.api(path, p.Access); got.status != 200 || got.body != r.body {
		t.Errorf("read back: %d %s", got.status, got.body)
	}
	w.want(w.api(base+"?$filter=City+eq+'Delft'&$select=Name", p.Access), 200, `"Name":"Nieuw"}]}}`)
	for body, want := range map[string]string{
		`{"City":"Delft"}`:          "Mandatory: Name",
		`{"Name":"A","Nope":"B"}`:   "'Nope'",
		`{"Name":"A","Division":1}`: "'Division'",
		`{"Name":"A","Email":true}`: "'Email'",
		`[]`:                        "request stream",
	} {
		w.want(post("application/json", body), 400, want)
	}
	w.want(post("text/plain", `{"Name":"A"}`), 400, "request stream")
	entry := w.request("GET", path, "")
	entry.Header.Set("Authorization", "Bearer "+p.Access)
	w.want(w.do(entry), 200, `standalone="yes"?>`+"\n"+`<entry xml:base="`+w.url+`/api/v1/100/crm/" xmlns:d=`)
}

func TestRateLimits(t *testing.T) {
	w := newWorld(t, exactsim.Config{MinuteLimit: 2, DailyLimit: 3})
	p := w.login()
	call := func() result { return w.api("/api/v1/100/system/Divisions", p.Access) }
	check := func(r result, status int, want map[string]string) {
		t.Helper()
		w.want(r, status, "")
		for _, name := range []string{"Limit", "Remaining", "Reset", "Minutely-Limit", "Minutely-Remaining", "Minutely-Reset"} {
			if got := r.header.Get("X-RateLimit-" + name); got != want[name] {
				t.Errorf("%s: got %q, want %q", name, got, want[name])
			}
		}
		if status == 429 && r.body != "" {
			t.Errorf("429 with a body: %s", r.body)
		}
	}
	const midnight, minute = "1793232000000", "1793204160000" // 00:00 and 16:16 UTC
	check(call(), 200, map[string]string{"Limit": "3", "Remaining": "2", "Reset": midnight,
		"Minutely-Limit": "2", "Minutely-Remaining": "1", "Minutely-Reset": minute})
	w.want(call(), 200, "")
	check(call(), 429, map[string]string{"Minutely-Limit": "2", "Minutely-Remaining": "0", "Minutely-Reset": minute})
	w.want(w.api("/api/v1/101/system/Divisions", p.Access), 200, "") // another company
	w.Advance(time.Minute)
	w.want(call(), 200, "")
	check(call(), 429, map[string]string{"Limit": "3", "Remaining": "0", "Reset": midnight})
	if c := w.Counters(); c.RateLimited != 2 {
		t.Errorf("counters: %+v", c)
	}
}

func TestAPIErrorBlock(t *testing.T) {
	w := newWorld(t, exactsim.Config{})
	p := w.login()
	for range 10 {
		w.want(w.api("/api/v1/current/Me?$select=Nope", p.Access), 400, "")
	}
	w.want(w.api("/api/v1/current/Me", p.Access), 429, "")
	w.want(w.api("/api/v1/100/system/Divisions", p.Access), 200, "") // another endpoint
	w.want(w.do(w.request("GET", "/sandbox/unblock", "")), 404, "")
	w.want(w.api("/api/v1/current/Me", p.Access), 429, "")
	w.want(w.do(w.request("POST", "/sandbox/unblock", "")), 204, "")
	w.want(w.api("/api/v1/current/Me", p.Access), 200, "")
	w.Advance(570 * time.Second)
	w.tokens(w.refresh(p.Refresh)) // and another
}

func TestOnlyGet(t *testing.T) {
	w := newWorld(t, exactsim.Config{})
	p := w.login()
	for path, methods := range map[string][]string{
		"/api/v1/current/Me": {"POST", "DELETE"},
		"/api/oauth2/auth":   {"POST"},
		"/sandbox/sign-in":   {"GET"},
		"/sandbox/consent":   {"DELETE"},
	} {
		for _, method := range methods {
			r := w.request(method, path, "")
			r.Header.Set("Authorization", "Bearer "+p.Access)
			w.want(w.do(r), http.StatusMethodNotAllowed, "")
		}
	}
}
