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
		{"token endpoint", "POST /" + s.secret + "/api/oauth2/token", host, "Content-Length: 0", 403},
		{"token endpoint, disguised", "GET /" + s.secret + "/API//oAuth2%2Ftoken", host, "", 403},
		{"up", "GET /" + s.secret + "/../x", host, "", 400},
		{"up, escaped", "GET /" + s.secret + "/a/%2e%2e/x", host, "", 400},
		{"up, slash escaped", "GET /" + s.secret + "/a%2f..%2fx", host, "", 400},
		{"up, other slash", "GET /" + s.secret + "/a%5C..%5Cx", host, "", 400},
		{"another host as a path", "GET /" + s.secret + "//evil.example/x", host, "", 400},
		{"line end", "GET /" + s.secret + "/a%0d%0aHost:%20x", host, "", 400},
		{"zero byte", "GET /" + s.secret + "/a%00", host, "", 400},
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
		{"localhost", "GET /" + s.secret + "/x HTTP/1.1\r\nHost: LocalHost:" + port, "/x"},
		{"bearer", "GET /x HTTP/1.1\r\nHost: " + host + "\r\nAuthorization: bearer " + s.secret, "/x"},
		{"absolute target", "GET " + s.url("/x") + " HTTP/1.1\r\nHost: " + host, "/x"},
		{"typed by a person", "GET /" + s.secret + "/x HTTP/1.1\r\nHost: " + host + "\r\nSec-Fetch-Site: none", "/x"},
		{"its own page", "GET /" + s.secret + "/x HTTP/1.1\r\nHost: " + host + "\r\nSec-Fetch-Site: same-origin\r\nOrigin: http://" + host, "/x"},
		{"escapes stay", "GET /" + s.secret + "/Items('a%2Fb%20c') HTTP/1.1\r\nHost: " + host, "/Items('a%2Fb%20c')"},
		{"query stays", "GET /" + s.secret + "/x?$filter=Name%20eq%20'a;b'&x=%zz&& HTTP/1.1\r\nHost: " + host, "/x?$filter=Name%20eq%20'a;b'&x=%zz&&"},
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

// Headers about the client, its browser and other proxies do not reach Exact, and
// headers for a browser do not reach the client.
func TestHeaders(t *testing.T) {
	t.Parallel()
	upstream := newEcho(t, func(w http.ResponseWriter, r *http.Request) {
		h := w.Header()
		h.Set("Set-Cookie", "ASP.NET_SessionId=1")
		h.Set("Access-Control-Allow-Origin", "*")
		h.Set("Access-Control-Allow-Private-Network", "true")
		h.Set("Connection", "X-Hop")
		h.Set("X-Hop", "1")
		h.Set("Keep-Alive", "timeout=5")
		h.Set("Alt-Svc", `h3=":443"`)
		h.Set("Strict-Transport-Security", "max-age=1")
		h.Set("Exactauth-Error", "forged")
		h.Set("ETag", `"1"`)
		h.Set("X-RateLimit-Remaining", "4999")
		h.Set("Reason", "Fine")
	})
	s := serve(t, exactapi.TransportConfig{BaseURL: upstream.URL})
	_, h, _, err := s.try(context.Background(), http.MethodPost, "/x", strings.NewReader("{}"), http.Header{
		"Authorization": {"Bearer of-the-client"}, "Cookie": {"a=b"}, "Proxy-Authorization": {"Basic x"},
		"Connection": {"X-Mine, Authorization"}, "X-Mine": {"1"}, "Te": {"gzip"}, "Upgrade": {"h2c"}, "Keep-Alive": {"1"},
		"X-Forwarded-For": {"10.0.0.1"}, "X-Forwarded-Host": {"evil.example"}, "X-Forwarded-Port": {"1"}, "Forwarded": {"for=1"},
		"X-Real-Ip": {"10.0.0.1"}, "X-Original-Url": {"/api/oauth2/token"}, "X-Rewrite-Url": {"/api/oauth2/token"}, "Via": {"1.1 x"},
		"Referer": {s.url("/page")}, "Sec-Fetch-Site": {"none"}, "Sec-Fetch-Mode": {"navigate"}, "Sec-Ch-Ua": {"x"},
		"Content-Type": {"application/json"}, "Accept": {"application/json"}, "Accept-Language": {"nl"}, "If-Match": {`"1"`},
		"X-Http-Method": {"MERGE"}, "Dataserviceversion": {"2.0"}, "User-Agent": {"excel"},
	})
	if err != nil {
		t.Fatal(err)
	}
	got := upstream.requests()[0]
	want := http.Header{"Authorization": {"Bearer upstream-token"}, "Content-Type": {"application/json"}, "Accept": {"application/json"},
		"Accept-Language": {"nl"}, "If-Match": {`"1"`}, "X-Http-Method": {"MERGE"}, "Dataserviceversion": {"2.0"}, "User-Agent": {"excel"},
		"Accept-Encoding": {"gzip"}, "Content-Length": {"2"}}
	if fmt.Sprint(got.Header) != fmt.Sprint(want) {
		t.Errorf("Exact sees %v,\nwant %v", got.Header, want)
	}
	if got.Host != strings.TrimPrefix(upstream.URL, "http://") {
		t.Errorf("Host %q", got.Host)
	}
	for _, name := range []string{"Set-Cookie", "Access-Control-Allow-Origin", "Access-Control-Allow-Private-Network", "X-Hop", "Keep-Alive", "Alt-Svc", "Strict-Transport-Security", "Exactauth-Error"} {
		if v := h.Get(name); v != "" {
			t.Errorf("the client sees %s: %s", name, v)
		}
	}
	for name, value := range map[string]string{"ETag": `"1"`, "X-RateLimit-Remaining": "4999", "Reason": "Fine",
		"Cross-Origin-Resource-Policy": "same-origin", "Content-Security-Policy": "sandbox; default-src 'none'", "X-Content-Type-Options": "nosniff"} {
		if h.Get(name) != value {
			t.Errorf("the client sees %s: %q, want %q", name, h.Get(name), value)
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
		{"GET", "/x", "", 200},
		{"HEAD", "/x", "", 200},
		{"POST", "/x", "", 405},
		{"PUT", "/x", "", 405},
		{"PATCH", "/x", "", 405},
		{"DELETE", "/x", "", 405},
		{"MERGE", "/x", "", 405},
		{"get", "/x", "", 405},
		{"POST", "/api/v1/123456/$batch", "", 405},
		{"GET", "/x", "X-Http-Method", 405},
		{"GET", "/x", "X-Http-Method-Override", 405},
		{"GET", "/x", "X-Method-Override", 405},
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
	if _, _, body, err := s.try(context.Background(), http.MethodGet, "/x", nil, nil); err == nil {
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
