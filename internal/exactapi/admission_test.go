package exactapi_test

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/exactauth/exactauth/internal/exactapi"
	"github.com/exactauth/exactauth/internal/fault"
)

// echo is a server that keeps the requests that it got.
type echo struct {
	*httptest.Server
	mu   sync.Mutex
	seen []*http.Request
}

func newEcho(t testing.TB, answer http.HandlerFunc) *echo {
	e := &echo{}
	e.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		e.mu.Lock()
		e.seen = append(e.seen, r)
		e.mu.Unlock()
		if answer != nil {
			answer(w, r)
		}
	}))
	t.Cleanup(e.Close)
	return e
}

func (e *echo) requests() []*http.Request {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.seen
}

// raw sends bytes unchanged and reads one answer.
func (s *served) raw(request string) (*http.Response, string) {
	s.t.Helper()
	conn, err := net.Dial("tcp", strings.TrimPrefix(s.origin, "http://"))
	if err != nil {
		s.t.Fatal(err)
	}
	defer conn.Close()
	fmt.Fprint(conn, request)
	resp, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil {
		s.t.Fatalf("%q: %v", request, err)
	}
	defer resp.Body.Close()
	body, _ := io.ReadAll(resp.Body)
	return resp, string(body)
}

// Exact's API and files are passed on, and nothing that any server could read as an
// address outside of them: the token endpoint above all, whose errors block the app.
func TestPaths(t *testing.T) {
	t.Parallel()
	upstream := newEcho(t, nil)
	s := serve(t, exactapi.TransportConfig{BaseURL: upstream.URL})
	for _, test := range []struct {
		status int
		paths  []string
	}{
		{200, []string{
			"/api/v1/current/Me", "/API/v1/current/Me?$select=UserID", "/api/v1/", "/api/v1/beta/123456/crm/Accounts", "/api/v1/123456/crm/Accounts/",
			"/api/v1/123456/crm/Accounts(guid'2b5a0000-0000-0000-0000-000000000001')/$links/Contacts", "/api/v1/123456/$batch", "/api/v1/123456/$metadata",
			"/api/v1/1/x(Code=%20'caf%C3%A9',Year=2026)", "/api/v1/1/x('a..b')", "/api/v1/1/x('a%2Fb%2B1@c')", "/docs/SysAttachment.aspx?ID=1&_Division_=2&Download=1",
			"/docs/XMLUpload.aspx?Topic=Accounts&PaymentMethod=B", "/api/v1/1/x?$filter=Method%20eq%20'%2e%2e/%00'",
		}},
		{403, []string{
			"/api/oauth2/token", "/api/oauth2/auth", "/API//oAuth2%2Ftoken", "/api/oauth2%20/token", "/api/oauth2./token", "/api/oauth2;x/token", "/api;a=b/oauth2/token",
			"/api%2Foauth2/token", "/%61pi/oauth2/token", "/api/./oauth2/token", "/api/v1;x/../oauth2/token", "/api/v1./x", "/api/v1%2F..%2Foauth2/token",
			"/api%5Coauth2%5Ctoken", "/x/../api/oauth2/token", "/%2e%2e/x", "//evil.example/x", "/%5Cevil.example/x", "/x", "/api", "/api/v1", "/api/v2/x", "/documents/x", "/a%0d%0aHost:%20x", "/a%00",
		}},
		{400, []string{
			"/api/v1/../oauth2/token", "/api/v1/%2e%2e/oauth2/token", "/api/v1/..%2Foauth2/token", "/api/v1/x%2F..%2F..%2Foauth2/token", "/api/v1/..%5Coauth2%5Ctoken", "/api/v1/%5C..%5Coauth2",
			"/api/v1/..;/oauth2/token", "/api/v1/..%3Bx/oauth2/token", "/api/v1/..%20/oauth2/token", "/api/v1/.../oauth2/token", "/api/v1/%20../oauth2/token", "/api/v1/%252e%252e/oauth2/token",
			"/api/v1/%EF%BC%8E%EF%BC%8E/oauth2/token", "/api/v1/%C0%AE%C0%AE/oauth2/token", "/api/v1/x/.", "/docs/../api/oauth2/token", "/api/v1/x%00", "/api/v1/x%0d%0aHost:%20x", "/api/v1/x%23", "/api/v1/x%3Fy", "/api/v1/x%7f",
		}},
		{404, []string{"", "/"}},
	} {
		for _, path := range test.paths {
			before := len(upstream.requests())
			resp, body := s.raw("GET /" + s.secret + path + " HTTP/1.1\r\nHost: " + strings.TrimPrefix(s.origin, "http://") + "\r\nConnection: close\r\n\r\n")
			if resp.StatusCode != test.status {
				t.Errorf("%s: status %d, want %d: %s", path, resp.StatusCode, test.status, body)
			}
			if passed := len(upstream.requests()) > before; passed != (test.status == 200) {
				t.Errorf("%s: reached the server: %t", path, passed)
			} else if got := upstream.requests(); passed && got[before].RequestURI != path {
				t.Errorf("%s: the server saw %s", path, got[before].RequestURI)
			}
		}
	}
}

// A secret that stands where it would be logged, or passed on to Exact, ends the request.
func TestSecretTwice(t *testing.T) {
	t.Parallel()
	upstream := newEcho(t, nil)
	s := serve(t, exactapi.TransportConfig{BaseURL: upstream.URL})
	host := strings.TrimPrefix(s.origin, "http://")
	escaped := fmt.Sprintf("%%%X", s.secret[0]) + s.secret[1:]
	get := func(target string, headers ...string) string {
		return "GET " + target + " HTTP/1.1\r\n" + strings.Join(append(headers, ""), "\r\n")
	}
	wide := fmt.Sprintf("%%u00%X", s.secret[0]) + s.secret[1:]
	for name, request := range map[string]string{
		"path twice":           get("/" + s.secret + "/" + s.secret + "/api/v1/x"),
		"path and key":         get("/" + s.secret + "/api/v1/x('" + s.secret + "')"),
		"path and query":       get("/" + s.secret + "/api/v1/x?key=" + s.secret),
		"path, escaped":        get("/" + s.secret + "/api/v1/" + escaped),
		"path, escaped twice":  get("/" + s.secret + "/api/v1/" + strings.Replace(escaped, "%", "%25", 1)),
		"query, escaped":       get("/" + s.secret + "/api/v1/x?" + escaped),
		"query, escaped twice": get("/" + s.secret + "/api/v1/x?" + strings.Replace(escaped, "%", "%25", 1)),
		"after a bad escape":   get("/" + s.secret + "/api/v1/x?a=%zz&b=" + escaped),
		"before a bad escape":  get("/" + s.secret + "/api/v1/x?" + escaped + "%"),
		"escaped as by IIS":    get("/" + s.secret + "/api/v1/x?" + wide),
		"in small letters":     get("/" + s.secret + "/api/v1/x?" + strings.ToLower(s.secret)),
		"header and path":      get("/api/v1/" + s.secret),
		"header and query":     get("/api/v1/x?" + s.secret),
		"header that passes":   get("/api/v1/x", "User-Agent: x "+s.secret),
		"header, escaped":      get("/api/v1/x", "X-ExactOnline-Client: %zz"+escaped),
		"second of a header":   get("/api/v1/x", "Accept: */*", "Accept: "+s.secret),
		"method":               s.secret + get("/api/v1/x")[len("GET"):],
		"method, small":        strings.ToLower(s.secret) + get("/api/v1/x")[len("GET"):],
	} {
		resp, body := s.raw(request + "Host: " + host + "\r\nAuthorization: Bearer " + s.secret + "\r\nConnection: close\r\n\r\n")
		if resp.StatusCode != http.StatusBadRequest || readRefusal(t, body).Code != "secret" || strings.Contains(body, s.secret) {
			t.Errorf("%s: status %d: %s", name, resp.StatusCode, body)
		}
	}
	// What a client without the secret sends, misspelt secrets too, is not logged.
	for _, first := range []string{s.secret, "0" + s.secret[1:]} {
		if resp, body := s.raw(first + " /api/v1/x HTTP/1.1\r\nHost: " + host + "\r\nConnection: close\r\n\r\n"); resp.StatusCode != http.StatusUnauthorized {
			t.Errorf("no Bearer: status %d: %s", resp.StatusCode, body)
		}
	}
	// Nor is an odd method of a client with the secret.
	if resp, body := s.raw("0" + s.secret[1:] + " /api/v1/x HTTP/1.1\r\nHost: " + host + "\r\nAuthorization: Bearer " + s.secret + "\r\nConnection: close\r\n\r\n"); resp.StatusCode != http.StatusMethodNotAllowed {
		t.Errorf("an odd method: status %d: %s", resp.StatusCode, body)
	}
	if n := len(upstream.requests()); n > 0 {
		t.Errorf("%d of them reached the server", n)
	}
	if log := strings.ToLower(s.log.String()); strings.Contains(log, strings.ToLower(s.secret[1:])) {
		t.Errorf("the log: %s", log)
	}
}

// A client without the secret, a client that uses another name, and a web page get
// nothing.
func TestStrangersGetNothing(t *testing.T) {
	t.Parallel()
	upstream := newEcho(t, func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, "the books") })
	s := serve(t, exactapi.TransportConfig{BaseURL: upstream.URL})
	host := strings.TrimPrefix(s.origin, "http://")
	_, port, _ := net.SplitHostPort(host)
	good := "/" + s.secret + "/api/v1/current/Me"
	for _, test := range []struct {
		name, line, host, headers string
		status                    int
	}{
		// other users of the machine
		{"no secret", "GET /api/v1/current/Me", host, "", 401},
		{"wrong secret in the path", "GET /" + strings.Repeat("A", 26) + "/api/v1/current/Me", host, "", 401},
		{"half the secret", "GET /" + s.secret[:13] + "/api/v1/current/Me", host, "", 401},
		{"secret and more", "GET /" + s.secret + "A/api/v1/current/Me", host, "", 401},
		{"secret in lower case", "GET /" + strings.ToLower(s.secret) + "/api/v1/current/Me", host, "", 401},
		{"secret with an escape", "GET /%" + fmt.Sprintf("%X", s.secret[0]) + s.secret[1:] + "/api/v1/current/Me", host, "", 401},
		{"secret second", "GET /x/" + s.secret + "/api/v1/current/Me", host, "", 401},
		{"secret in the query", "GET /api/v1/current/Me?" + s.secret, host, "", 401},
		{"secret after two slashes", "GET //" + s.secret + "/api/v1/current/Me", host, "", 401},
		{"wrong bearer", "GET /api/v1/current/Me", host, "Authorization: Bearer " + strings.Repeat("B", 26), 401},
		{"bearer twice", "GET /api/v1/current/Me", host, "Authorization: Bearer " + s.secret + "\r\nAuthorization: Bearer x", 401},
		{"secret as basic", "GET /api/v1/current/Me", host, "Authorization: Basic " + s.secret, 401},
		{"secret as a cookie", "GET /api/v1/current/Me", host, "Cookie: secret=" + s.secret, 401},
		// DNS rebinding
		{"another name", "GET " + good, "evil.example:" + port, "", 421},
		{"another name, no port", "GET " + good, "evil.example", "", 421},
		{"name without port", "GET " + good, "localhost", "", 421},
		{"another port", "GET " + good, "127.0.0.1:1", "", 421},
		{"another loopback", "GET " + good, "127.0.0.2:" + port, "", 421},
		{"IPv6", "GET " + good, "[::1]:" + port, "", 421},
		{"name in the target", "GET http://evil.example" + good, host, "", 421},
		{"forwarded host does not count", "GET " + good, "evil.example", "X-Forwarded-Host: " + host, 421},
		// web pages
		{"cross-site", "GET " + good, host, "Sec-Fetch-Site: cross-site", 403},
		{"same site, another port", "GET " + good, host, "Sec-Fetch-Site: same-site", 403},
		{"unknown kind of site", "GET " + good, host, "Sec-Fetch-Site: other", 403},
		{"origin", "POST " + good, host, "Origin: https://evil.example\r\nContent-Length: 0", 403},
		{"origin null", "POST " + good, host, "Origin: null\r\nContent-Length: 0", 403},
		{"origin of another port", "GET " + good, host, "Origin: http://127.0.0.1:1", 403},
		{"origin by the other name", "GET " + good, host, "Origin: http://localhost:" + port, 403},
		{"preflight", "OPTIONS " + good, host, "Origin: https://evil.example\r\nAccess-Control-Request-Method: GET\r\nAccess-Control-Request-Private-Network: true", 403},
		{"preflight without secret", "OPTIONS /api/v1/current/Me", host, "Origin: https://evil.example\r\nAccess-Control-Request-Method: GET\r\nAccess-Control-Request-Headers: authorization", 403},
		// paths and methods that would mean something else at Exact
		{"nothing", "GET /" + s.secret, host, "", 404},
		{"next to nothing", "GET /" + s.secret + "/", host, "", 404},
		{"options", "OPTIONS " + good, host, "", 405},
		{"trace", "TRACE " + good, host, "", 405},
		{"tunnel", "CONNECT evil.example:443", host, "", 421},
	} {
		headers := test.headers
		if headers != "" {
			headers += "\r\n"
		}
		resp, body := s.raw(test.line + " HTTP/1.1\r\nHost: " + test.host + "\r\n" + headers + "Connection: close\r\n\r\n")
		if resp.StatusCode != test.status {
			t.Errorf("%s: status %d, want %d: %s", test.name, resp.StatusCode, test.status, body)
		}
		if strings.Contains(body, "books") || strings.Contains(body, s.secret) {
			t.Errorf("%s: the answer contains %s", test.name, body)
		}
		for name := range resp.Header {
			if strings.HasPrefix(name, "Access-Control-") {
				t.Errorf("%s: header %s", test.name, name)
			}
		}
	}
	if n := len(upstream.requests()); n > 0 {
		t.Errorf("%d of them reached the server: %s", n, upstream.requests()[0].URL)
	}
	if log := s.log.String(); strings.Contains(log, s.secret) || strings.Contains(log, strings.Repeat("A", 26)) || !strings.Contains(log, "refused=cross_site") {
		t.Errorf("the log: %s", log)
	}
	// All clients without the secret get the same answer.
	_, one := s.raw("GET / HTTP/1.1\r\nHost: " + host + "\r\nConnection: close\r\n\r\n")
	_, two := s.raw("DELETE /" + s.secret[:25] + "/api HTTP/1.1\r\nHost: " + host + "\r\nConnection: close\r\n\r\n")
	if one != two {
		t.Errorf("%q is not %q", one, two)
	}
}

func TestWaysToShowTheSecret(t *testing.T) {
	t.Parallel()
	upstream := newEcho(t, nil)
	s := serve(t, exactapi.TransportConfig{BaseURL: upstream.URL})
	host := strings.TrimPrefix(s.origin, "http://")
	_, port, _ := net.SplitHostPort(host)
	for _, test := range []struct{ name, request, path string }{
		{"path", "GET /" + s.secret + "/api/v1/current/Me?$select=A,B HTTP/1.1\r\nHost: " + host, "/api/v1/current/Me?$select=A,B"},
		{"localhost", "GET /" + s.secret + "/docs/x HTTP/1.1\r\nHost: LocalHost:" + port, "/docs/x"},
		{"bearer", "GET /docs/x HTTP/1.1\r\nHost: " + host + "\r\nAuthorization: bearer " + s.secret, "/docs/x"},
		{"absolute target", "GET " + s.url("/docs/x") + " HTTP/1.1\r\nHost: " + host, "/docs/x"},
		{"typed by a person", "GET /" + s.secret + "/docs/x HTTP/1.1\r\nHost: " + host + "\r\nSec-Fetch-Site: none", "/docs/x"},
		{"its own page", "GET /" + s.secret + "/docs/x HTTP/1.1\r\nHost: " + host + "\r\nSec-Fetch-Site: same-origin\r\nOrigin: http://" + host, "/docs/x"},
		{"escapes stay", "GET /" + s.secret + "/api/v1/1/Items('a%2Fb%20c') HTTP/1.1\r\nHost: " + host, "/api/v1/1/Items('a%2Fb%20c')"},
		{"query stays", "GET /" + s.secret + "/docs/x?$filter=Name%20eq%20'a;b'&x=%zz&& HTTP/1.1\r\nHost: " + host, "/docs/x?$filter=Name%20eq%20'a;b'&x=%zz&&"},
		{"dots in a name", "GET /" + s.secret + "/docs/Sys..Attachment.aspx HTTP/1.1\r\nHost: " + host, "/docs/Sys..Attachment.aspx"},
	} {
		before := len(upstream.requests())
		resp, body := s.raw(test.request + "\r\nConnection: close\r\n\r\n")
		got := upstream.requests()[before:]
		if resp.StatusCode != http.StatusOK || len(got) != 1 {
			t.Errorf("%s: status %d: %s", test.name, resp.StatusCode, body)
			continue
		}
		if got[0].RequestURI != test.path {
			t.Errorf("%s: asked for %s, want %s", test.name, got[0].RequestURI, test.path)
		}
		if auth := got[0].Header.Values("Authorization"); len(auth) != 1 || auth[0] != "Bearer upstream-token" {
			t.Errorf("%s: Authorization %q", test.name, auth)
		}
	}
	if log := s.log.String(); strings.Contains(log, s.secret) || strings.Contains(log, "select") || strings.Contains(log, "upstream-token") {
		t.Errorf("the log: %s", log)
	}
}

// Only headers that are known to be of use pass, in both directions.
func TestHeaders(t *testing.T) {
	t.Parallel()
	answer := http.Header{"Content-Type": {"text/html"}, "Content-Disposition": {"attachment"}, "Content-Language": {"nl"}, "Accept-Ranges": {"bytes"}, "Etag": {`"1"`},
		"Last-Modified": {"Sun, 22 Nov 2026 12:00:00 GMT"}, "Date": {"Sun, 22 Nov 2026 12:00:01 GMT"}, "Retry-After": {"7"}, "Reason": {"Fine"}, "Allow": {"GET"},
		"X-Ratelimit-Remaining": {"4999"}, "X-Ratelimit-Minutely-Reset": {"1638489600000"}, "Dataserviceversion": {"2.0;"}, "Odata-Version": {"4.0"}, "Preference-Applied": {"return=representation"}}
	upstream := newEcho(t, func(w http.ResponseWriter, _ *http.Request) {
		h := w.Header()
		for name, values := range answer {
			h[name] = values
		}
		for _, name := range []string{"Set-Cookie", "Set-Cookie2", "Access-Control-Allow-Origin", "Access-Control-Allow-Private-Network", "Keep-Alive", "X-Hop", "Alt-Svc", "Strict-Transport-Security",
			"Clear-Site-Data", "Exactauth-Error", "Refresh", "Report-To", "NEL", "Reporting-Endpoints", "Content-Security-Policy-Report-Only", "SourceMap", "X-SourceMap", "Service-Worker-Allowed", "Link",
			"WWW-Authenticate", "Proxy-Authenticate", "Authentication-Info", "Public-Key-Pins", "Expect-CT", "Origin-Agent-Cluster", "Critical-CH", "Accept-CH", "X-Frame-Options", "X-XSS-Protection",
			"Server", "Via", "Age", "Warning", "Expires", "Pragma", "Vary", "X-Anything"} {
			h.Set(name, "x")
		}
		h.Set("Connection", "X-Hop")
		h.Set("Cache-Control", "public, max-age=31536000")
		h.Set("Content-Security-Policy", "default-src *")
		h.Set("Referrer-Policy", "unsafe-url")
		h.Set("Trailer", "Set-Cookie, X-Late")
		fmt.Fprint(w, "the books")
		h.Set("X-Late", "1")
		h.Set(http.TrailerPrefix+"Refresh", "0;url=http://evil.example/")
	})
	s := serve(t, exactapi.TransportConfig{BaseURL: upstream.URL})
	want := http.Header{"Accept": {"application/json"}, "Accept-Charset": {"utf-8"}, "Accept-Language": {"nl"}, "Cache-Control": {"no-cache"}, "Content-Type": {"application/json"}, "If-Match": {`"1"`},
		"If-Modified-Since": {"x"}, "If-None-Match": {"*"}, "Prefer": {"return=representation"}, "Range": {"bytes=0-1"}, "User-Agent": {"excel"}, "X-Exactonline-Client": {"x"}, "X-Http-Method": {"MERGE"},
		"Dataserviceversion": {"2.0"}, "Maxdataserviceversion": {"3.0;NetFx"}, "Odata-Version": {"4.0"}, "Odata-Maxversion": {"4.0"}}
	request := want.Clone()
	for _, name := range []string{"Authorization", "Cookie", "Cookie2", "Proxy-Authorization", "X-Mine", "TE", "Upgrade", "Keep-Alive", "Referer", "Sec-Fetch-Mode", "Sec-CH-UA", "Priority", "DNT",
		"Forwarded", "X-Forwarded", "X-Forwarded-For", "X-Forwarded-Host", "X-Forwarded-Port", "X-Forwarded-Proto", "X_Forwarded_For", "X-ForwardedFor", "X-Forwarder-For", "Via", "X-Real-IP", "True-Client-IP",
		"CF-Connecting-IP", "Fastly-Client-IP", "X-Client-IP", "X-Cluster-Client-IP", "X-Originating-IP", "Client-IP", "X-Original-URL", "X-Original-Host", "X-Rewrite-URL", "X-Host", "X-HTTP-Host-Override",
		"X_ORIGINAL_URL", "Content_Type", "Content_Length", "Transfer_Encoding", "Access-Control-Request-Headers", "Upgrade-Insecure-Requests", "Accept-Encoding", "X-Requested-With", "Postman-Token", "X-Anything"} {
		request[name] = []string{"x"}
	}
	request["Sec-Fetch-Site"], request["Connection"], request["Te"] = []string{"none"}, []string{"X-Mine, Authorization"}, []string{"trailers"}
	req, err := http.NewRequest(http.MethodPost, s.url("/docs/x"), io.MultiReader(strings.NewReader("{}"))) // of unknown length, so that trailers can follow
	if err != nil {
		t.Fatal(err)
	}
	req.Header, req.Trailer = request, http.Header{"X-Http-Method-Override": {"DELETE"}}
	resp, err := s.client.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if body, err := io.ReadAll(resp.Body); err != nil || string(body) != "the books" {
		t.Errorf("%q, %v", body, err)
	}
	got := upstream.requests()[0]
	want["Authorization"] = []string{"Bearer upstream-token"} // no Accept-Encoding, because of the range
	if fmt.Sprint(got.Header) != fmt.Sprint(want) || len(got.Trailer) != 0 {
		t.Errorf("Exact sees %v,\nwant %v,\ntrailers %v", got.Header, want, got.Trailer)
	}
	if got.Host != strings.TrimPrefix(upstream.URL, "http://") {
		t.Errorf("Host %q", got.Host)
	}
	answer["Cache-Control"], answer["Content-Security-Policy"] = []string{"no-store"}, []string{"sandbox; default-src 'none'"}
	answer["Cross-Origin-Resource-Policy"], answer["Referrer-Policy"], answer["X-Content-Type-Options"] = []string{"same-origin"}, []string{"no-referrer"}, []string{"nosniff"}
	resp.Header.Del("Content-Length") // the proxy knows it if the end of the answer came with the rest
	if fmt.Sprint(resp.Header) != fmt.Sprint(answer) || len(resp.Trailer) != 0 {
		t.Errorf("the client sees %v,\nwant %v,\ntrailers %v", resp.Header, answer, resp.Trailer)
	}
}

// The method that the proxy judges is the one that Exact obeys.
func TestMethodOverride(t *testing.T) {
	t.Parallel()
	upstream := newEcho(t, nil)
	s := serve(t, exactapi.TransportConfig{BaseURL: upstream.URL})
	for _, method := range []string{http.MethodGet, http.MethodPost} {
		for _, name := range []string{"X-HTTP-Method", "X-HTTP-Method-Override", "X_HTTP_METHOD_OVERRIDE", "X-HTTP_Method-Override", "X-Method-Override", "x.http.method", "HTTP-Method-Override", "XHttpMethodOverride", "X-Method", "_method"} {
			want := http.StatusMethodNotAllowed
			if method == http.MethodPost && name == "X-HTTP-Method" { // OData's own
				want = http.StatusOK
			}
			if status, _, body, err := s.try(context.Background(), method, "/docs/x", nil, http.Header{name: {"MERGE"}}); err != nil || status != want {
				t.Errorf("%s with %s: status %d: %s, %v", method, name, status, body, err)
			}
			if status, _, body, err := s.try(context.Background(), method, "/docs/x?a=b&"+strings.Replace(name, "M", "%4D", 1)+"=DELETE", nil, nil); err != nil || status != http.StatusMethodNotAllowed {
				t.Errorf("%s with parameter %s: status %d: %s, %v", method, name, status, body, err)
			}
		}
	}
	for _, query := range []string{"a=1;_method=DELETE", ";_method=DELETE", "_method=DELETE;a=1", "%u005fmethod=DELETE", "%_meth%4Fd=DELETE", "a=1;x-http-method-override=PUT"} {
		if resp, body := s.raw("GET /" + s.secret + "/docs/x?" + query + " HTTP/1.1\r\nHost: " + strings.TrimPrefix(s.origin, "http://") + "\r\nConnection: close\r\n\r\n"); resp.StatusCode != http.StatusMethodNotAllowed {
			t.Errorf("%s: status %d: %s", query, resp.StatusCode, body)
		}
	}
	if n := len(upstream.requests()); n != 1 {
		t.Errorf("%d requests reached the server", n)
	}
	for _, method := range []string{"PROPFIND", "PURGE", "post", http.MethodTrace, http.MethodOptions} {
		if status, h, _, err := s.try(context.Background(), method, "/docs/x", nil, nil); err != nil || status != http.StatusMethodNotAllowed || !strings.Contains(h.Get("Allow"), "MERGE") {
			t.Errorf("%s: status %d, %v", method, status, err)
		}
	}
}

func TestReadOnly(t *testing.T) {
	t.Parallel()
	upstream := newEcho(t, nil)
	s := serve(t, exactapi.TransportConfig{BaseURL: upstream.URL}, func(c *exactapi.HandlerConfig) { c.ReadOnly = true })
	for _, test := range []struct {
		method, path, header string
		status               int
	}{
		{"GET", "/docs/x", "", 200},
		{"HEAD", "/docs/x", "", 200},
		{"POST", "/docs/x", "", 405},
		{"PUT", "/docs/x", "", 405},
		{"PATCH", "/docs/x", "", 405},
		{"DELETE", "/docs/x", "", 405},
		{"MERGE", "/docs/x", "", 405},
		{"get", "/docs/x", "", 405},
		{"POST", "/api/v1/123456/$batch", "", 405},
		{"GET", "/docs/x", "X-Http-Method", 405},
		{"GET", "/docs/x", "X-Http-Method-Override", 405},
		{"GET", "/docs/x", "X-Method-Override", 405},
		{"GET", "/docs/x", "X_HTTP_METHOD_OVERRIDE", 405},
		{"GET", "/docs/x?x_http_method=DELETE", "", 405},
		{"OPTIONS", "/docs/x", "", 405},
	} {
		header := http.Header{}
		if test.header != "" {
			header.Set(test.header, "DELETE")
		}
		status, h, _, err := s.try(context.Background(), test.method, test.path, nil, header)
		if err != nil || status != test.status {
			t.Errorf("%s %s %s: status %d, want %d (%v)", test.method, test.path, test.header, status, test.status, err)
		}
		if status == 405 && h.Get("Allow") != "GET, HEAD" {
			t.Errorf("%s: Allow %q", test.method, h.Get("Allow"))
		}
	}
	if n := len(upstream.requests()); n != 2 {
		t.Errorf("%d requests reached the server", n)
	}
}

func TestNoAnswer(t *testing.T) {
	t.Parallel()
	s := serve(t, exactapi.TransportConfig{BaseURL: "http://127.0.0.1:1"})
	passes := func(s *served, wantStatus int, code, message string) {
		t.Helper()
		status, h, body := s.get(mePath)
		if r := readRefusal(t, body); status != wantStatus || r.Code != code || !strings.Contains(r.Message, message) {
			t.Errorf("status %d: %s", status, body)
		} else if !r.Retryable || !r.RetryAt.IsZero() || h.Get("Retry-After") != "" {
			t.Errorf("want retryable, at no certain time: %v, %s", h, body)
		}
	}
	passes(s, http.StatusBadGateway, "unreachable", "refused")
	silent := newEcho(t, func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() })
	s = serve(t, exactapi.TransportConfig{BaseURL: silent.URL})
	s.AnswerWithin(50 * time.Millisecond)
	passes(s, http.StatusGatewayTimeout, "timeout", "does not answer")
	breaks := newEcho(t, func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Length", "100")
		fmt.Fprint(w, "half")
		w.(http.Flusher).Flush()
		panic(http.ErrAbortHandler)
	})
	s = serve(t, exactapi.TransportConfig{BaseURL: breaks.URL})
	if _, _, body, err := s.try(context.Background(), http.MethodGet, "/docs/x", nil, nil); err == nil {
		t.Errorf("an answer that broke off looks whole: %q", body)
	}
	if log := s.log.String(); !strings.Contains(log, "status=200") || !strings.Contains(log, "cut_off=true") {
		t.Errorf("the log: %s", log)
	}
}

func TestNew(t *testing.T) {
	t.Parallel()
	for _, test := range []struct{ base, secret string }{
		{"https://start.exactonline.nl/", strings.Repeat("A", 26)},
		{"start.exactonline.nl", strings.Repeat("A", 26)},
		{"https://start.exactonline.nl/api", strings.Repeat("A", 26)},
		{"https://start.exactonline.nl", "short"},
		{"https://start.exactonline.nl", strings.Repeat("A", 25) + "/"},
	} {
		transport, err := exactapi.NewTransport(exactapi.TransportConfig{BaseURL: test.base, Token: constant("t")})
		if err == nil {
			_, err = exactapi.NewHandler(transport, exactapi.HandlerConfig{Secret: fault.NewSecret(test.secret)})
		}
		if err == nil {
			t.Errorf("%q, %q: no error", test.base, test.secret)
		} else if strings.Contains(err.Error(), test.secret) {
			t.Errorf("the error contains the secret: %v", err)
		}
	}
}
