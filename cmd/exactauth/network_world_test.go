package main

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/rogpeppe/go-internal/testscript"
)

// named passes requests on to a server, and notes those of the program that do not name it:
// those without a user agent of their own. A browser may be any program.
func (w *world) named(server http.Handler) http.Handler {
	return http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		browser := func(path string) bool { return strings.HasPrefix(r.URL.Path, path) }
		if strings.HasPrefix(r.UserAgent(), "Go-http-client") && !slices.ContainsFunc([]string{"/api/oauth2/auth", "/sandbox/", "/authorize", "/login/"}, browser) {
			w.eventsMu.Lock()
			w.unnamed = append(w.unnamed, "a request without the program's name: "+r.Method+" "+r.URL.Path)
			w.eventsMu.Unlock()
		}
		server.ServeHTTP(rw, r)
	})
}

// cmdOuterProxy: outer-proxy STATUS [HEADER: VALUE] starts the proxy of a company, whose
// host and port it puts into PROXY. It answers each CONNECT with a status, after 200 with
// the server of "tls-server" for whatever host.
func cmdOuterProxy(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) == 0 {
		ts.Fatalf("usage: outer-proxy STATUS [HEADER: VALUE]")
	}
	status, err := strconv.Atoi(args[0])
	ts.Check(err)
	inside := strings.TrimPrefix(ts.Getenv("TLS_SERVER"), "https://")
	w := worldOf(ts)
	server := httptest.NewServer(w.named(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		for _, header := range args[1:] {
			name, value, _ := strings.Cut(header, ": ")
			rw.Header().Add(name, value)
		}
		rw.WriteHeader(status)
		if r.Method != http.MethodConnect || status != http.StatusOK {
			return
		}
		client, sent, err := http.NewResponseController(rw).Hijack()
		if err != nil {
			return
		}
		defer client.Close()
		server, err := net.Dial("tcp", inside)
		if err != nil {
			return
		}
		defer server.Close()
		go func() {
			io.Copy(server, sent) // the client may be faster than Hijack
			server.Close()
		}()
		io.Copy(client, server)
	})))
	w.servers = append(w.servers, server)
	ts.Setenv("PROXY", strings.TrimPrefix(server.URL, "http://"))
}

// cmdPortal: portal STATUS LOCATION BODY starts a server that answers everything so, as a
// network with a sign-in page of its own, and puts its address into PORTAL.
func cmdPortal(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 3 {
		ts.Fatalf("usage: portal STATUS LOCATION BODY")
	}
	status, err := strconv.Atoi(args[0])
	ts.Check(err)
	w := worldOf(ts)
	server := httptest.NewServer(w.named(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		if args[1] != "" {
			rw.Header().Set("Location", args[1])
		}
		rw.Header().Set("Content-Type", "text/html")
		rw.WriteHeader(status)
		fmt.Fprint(rw, args[2])
	})))
	w.servers = append(w.servers, server)
	ts.Setenv("PORTAL", server.URL)
}

var baseURL = regexp.MustCompile(`(?m)^base_url .*$`)

// cmdMoved: moved URL makes the login of the default profile one at another server.
func cmdMoved(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 1 {
		ts.Fatalf("usage: moved URL")
	}
	path := worldOf(ts).record("default")
	b, err := os.ReadFile(path)
	ts.Check(err)
	ts.Check(os.WriteFile(path, baseURL.ReplaceAllLiteral(b, []byte("base_url "+args[0])), 0o600))
	ts.Setenv("EXACTAUTH_BASE_URL", args[0])
}
