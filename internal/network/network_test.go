package network_test

import (
	"context"
	"errors"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"strings"
	"sync"
	"syscall"
	"testing"

	"github.com/exactauth/exactauth/internal/network"
)

// An address can hold a secret, and the error of a request has the address in it.
func TestExplain(t *testing.T) {
	t.Parallel()
	err := &url.Error{Op: "Post", URL: "https://start.exactonline.nl/?code=secret", Err: errors.New("connection\nreset")}
	if got := network.Explain(err).Error(); got != "connection reset" {
		t.Error(got)
	}
	// The port is the first part of a password with a slash in it.
	for _, cause := range []error{
		&net.OpError{Op: "dial", Net: "tcp", Err: &net.AddrError{Err: "invalid port", Addr: "hunter2"}},
		&url.Error{Op: "parse", URL: "http://u:hunter2#@proxy", Err: errors.New(`invalid port ":hunter2" after host`)},
		&net.DNSError{Err: "no such host", Name: "hunter2", IsNotFound: true},
	} {
		err.Err = &net.OpError{Op: "proxyconnect", Net: "tcp", Err: cause}
		if got := network.Explain(err); got.Error() != "the proxy cannot be reached or used" || got.Cause != network.ProxyAway {
			t.Error(got)
		}
	}
	err.Err = &net.OpError{Op: "proxyconnect", Net: "tcp", Err: &net.OpError{Op: "dial", Err: os.NewSyscallError("connect", syscall.ECONNREFUSED)}}
	if got := network.Explain(err).Error(); got != "the proxy cannot be reached: "+syscall.ECONNREFUSED.Error() {
		t.Error(got)
	}
	err.Err = context.DeadlineExceeded
	if got := network.Explain(err).Error(); got != "no answer in time" {
		t.Error(got)
	}
}

// Every request names the program, also that to the proxy, and a proxy's password is in
// no error.
func TestTransport(t *testing.T) {
	t.Parallel()
	var mu sync.Mutex
	var agents []string
	answer := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		mu.Lock()
		defer mu.Unlock()
		agents = append(agents, r.UserAgent())
		if r.Method == http.MethodConnect {
			w.Header().Add("Proxy-Authenticate", "Basic")
			w.WriteHeader(http.StatusProxyAuthRequired)
		}
	})
	server := httptest.NewServer(answer)
	defer server.Close()
	here := network.New("exactauth/1")
	defer here.CloseIdleConnections()
	here.Proxy = nil
	for _, next := range []http.RoundTripper{here, network.Alone(here)} {
		resp, err := (&http.Client{Transport: next}).Get(server.URL)
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
	}
	behind := network.New("exactauth/1")
	u, err := url.Parse(server.URL)
	if err != nil {
		t.Fatal(err)
	}
	u.User = url.UserPassword("user", "hunter22")
	behind.Proxy = http.ProxyURL(u)
	_, err = (&http.Client{Transport: network.Alone(behind)}).Get("https://start.exactonline.nl")
	var e *network.Error
	if !errors.As(err, &e) || e.Cause != network.ProxyPassword || !e.Lasting || e.Proxy != u.Host || strings.Contains(err.Error(), "hunter22") {
		t.Errorf("%+v", err)
	}
	mu.Lock()
	defer mu.Unlock()
	if got := strings.Join(agents, " "); got != "exactauth/1 exactauth/1 exactauth/1" {
		t.Error(got)
	}
}

// What a server of the API sends is no stranger's.
func TestStranger(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		status         int
		location, body string
		want           string
	}{
		{200, "", `{"d":[]}`, ""},
		{200, "", "<?xml version=\"1.0\"?><feed>", ""},
		{201, "/api/v1/1/x", "", ""},
		{401, "", "<html>", ""},
		{503, "", "<html>", ""},
		{302, "/docs/Login.aspx", "", ""},
		{302, "http://portal.example/in?x=1", "", "a redirect to portal.example, "},
		{200, "", " \n<!DOCTYPE HTML>", "a web page, "},
		{511, "", "", "the network wants a sign-in "},
	} {
		got := network.Stranger(test.status, http.Header{"Location": {test.location}}, []byte(test.body))
		if !strings.HasPrefix(got, test.want) || (got == "") != (test.want == "") {
			t.Errorf("%d %q %q: %q", test.status, test.location, test.body, got)
		}
	}
}
