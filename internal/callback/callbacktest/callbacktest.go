// Package callbacktest has what the tests of a sign-in need: a port for its redirect
// URI, a browser, and the checks that every page must pass.
package callbacktest

import (
	"context"
	"crypto/tls"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
)

// Port returns a port of 127.0.0.1 on which nothing listens. For the next minute the
// system assigns it to no other process and no connection: the one that Port has made and
// ended on it is in the state TIME_WAIT, in which only a program that names the port can
// listen on it. It panics if the machine has no port left.
func Port() string {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		panic(err)
	}
	defer l.Close()
	client, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		panic(err)
	}
	defer client.Close()
	server, err := l.Accept()
	if err != nil {
		panic(err)
	}
	server.Close() // first: the side that ends a connection keeps its state
	_, _ = io.ReadAll(client)
	_, port, _ := net.SplitHostPort(l.Addr().String())
	return port
}

// Page is an answer that a browser got.
type Page struct {
	*http.Response
	Body string
}

// Browser makes requests with these headers. All names lead to this machine, and all
// certificates are good.
type Browser struct {
	Header http.Header
	Host   string // of the header Host, if it is not the address's
	Follow bool   // redirects
}

// Open makes one request.
func (b Browser) Open(t *testing.T, method, address string) (Page, error) {
	t.Helper()
	transport := &http.Transport{
		TLSClientConfig: &tls.Config{InsecureSkipVerify: true},
		DialContext: func(ctx context.Context, network, addr string) (net.Conn, error) {
			if host, port, _ := net.SplitHostPort(addr); net.ParseIP(host) == nil && host != "localhost" {
				addr = "127.0.0.1:" + port
			}
			return new(net.Dialer).DialContext(ctx, network, addr)
		},
	}
	defer transport.CloseIdleConnections()
	client := &http.Client{Transport: transport}
	if !b.Follow {
		client.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	}
	r, err := http.NewRequestWithContext(t.Context(), method, address, nil)
	if err != nil {
		return Page{}, err
	}
	for name, values := range b.Header {
		r.Header[name] = values
	}
	r.Host = b.Host
	resp, err := client.Do(r)
	if err != nil {
		return Page{}, err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	return Page{resp, string(body)}, err
}

// Browse follows an address to its end, as a browser does.
func Browse(t *testing.T, address string) Page {
	t.Helper()
	page, err := Browser{Follow: true}.Open(t, http.MethodGet, address)
	if err != nil {
		t.Fatal(err)
	}
	return page
}

// CheckGuarded checks what every answer of the listener must have.
func CheckGuarded(t *testing.T, page Page) {
	t.Helper()
	h := page.Header
	for name, want := range map[string]string{
		"Cache-Control":          "no-store",
		"Referrer-Policy":        "no-referrer",
		"X-Content-Type-Options": "nosniff",
	} {
		if h.Get(name) != want {
			t.Errorf("%s: %q, want %q", name, h.Get(name), want)
		}
	}
	if csp := h.Get("Content-Security-Policy"); !strings.HasPrefix(csp, "default-src 'none'") || strings.Contains(csp, "unsafe") || strings.Contains(csp, "script-src") != strings.Contains(page.Body, `<button id="copy"`) {
		t.Errorf("Content-Security-Policy: %q", csp)
	}
	if len(h.Values("Set-Cookie")) > 0 {
		t.Error("a cookie is set")
	}
	if strings.Contains(page.Body, "stampNL001") {
		t.Error("the page shows a code")
	}
}

// CheckClosed checks that no program listens on a port.
func CheckClosed(t *testing.T, port string) {
	t.Helper()
	if conn, err := net.Dial("tcp", "127.0.0.1:"+port); err == nil {
		conn.Close()
		t.Error("a program still listens")
	}
}
