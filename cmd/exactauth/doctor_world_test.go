package main

import (
	"crypto/tls"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/exactauth/exactauth/internal/callback"
)

// cmdTLSServer starts a server whose certificate is Exact's only by its name, and puts its
// address into TLS_SERVER.
func cmdTLSServer(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) > 0 {
		ts.Fatalf("usage: tls-server")
	}
	server := httptest.NewUnstartedServer(http.NotFoundHandler())
	server.Config.ErrorLog = log.New(io.Discard, "", 0) // the refusals of its certificate
	both, _, err := callback.NewCertificate("start.exactonline.nl", time.Now())
	ts.Check(err)
	pair, err := tls.X509KeyPair(both, both)
	ts.Check(err)
	server.TLS = &tls.Config{Certificates: []tls.Certificate{pair}}
	server.StartTLS()
	ts.Defer(server.Close)
	ts.Setenv("TLS_SERVER", server.URL)
}
