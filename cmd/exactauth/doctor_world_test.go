package main

import (
	"io"
	"log"
	"net/http"
	"net/http/httptest"

	"github.com/rogpeppe/go-internal/testscript"
)

// cmdTLSServer starts a server whose certificate nobody has vouched for, and puts
// its address into TLS_SERVER.
func cmdTLSServer(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) > 0 {
		ts.Fatalf("usage: tls-server")
	}
	server := httptest.NewUnstartedServer(http.NotFoundHandler())
	server.Config.ErrorLog = log.New(io.Discard, "", 0) // the refusals of its certificate
	server.StartTLS()
	ts.Defer(server.Close)
	ts.Setenv("TLS_SERVER", server.URL)
}
