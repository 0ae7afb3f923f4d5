package exactapi_test

import (
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"runtime/pprof"
	"slices"
	"testing"
	"time"

	"github.com/exactauth/exactauth/internal/exactapi"
	"github.com/exactauth/exactauth/internal/fault"
)

// BenchmarkProxy gets a kilobyte from a server on the same machine, directly and
// through the proxy in turn, and reports both times and the difference.
func BenchmarkProxy(b *testing.B) {
	body := make([]byte, 1<<10)
	upstream := newEcho(b, func(w http.ResponseWriter, _ *http.Request) {
		limits(w.Header(), 59, 4999)
		w.Header().Set("Content-Type", "application/json; charset=utf-8")
		_, _ = w.Write(body)
	})
	s := serve(b, exactapi.TransportConfig{BaseURL: upstream.URL})
	ask := func(address string) time.Duration {
		began := time.Now()
		resp, err := s.client.Get(address)
		if err != nil {
			b.Fatal(err)
		}
		n, err := io.Copy(io.Discard, resp.Body)
		resp.Body.Close()
		if err != nil || n != 1<<10 || resp.StatusCode != http.StatusOK {
			b.Fatal(resp.Status, n, err)
		}
		return time.Since(began)
	}
	const path = "/api/v1/123456/crm/Accounts"
	for range 50 { // connections, pools
		ask(upstream.URL + path)
		ask(s.url(path))
	}
	var direct, proxied []time.Duration
	b.ResetTimer()
	for range b.N {
		direct = append(direct, ask(upstream.URL+path))
		proxied = append(proxied, ask(s.url(path)))
	}
	b.StopTimer()
	slices.Sort(direct)
	slices.Sort(proxied)
	at := func(all []time.Duration, percent int) float64 {
		return float64(all[(len(all)-1)*percent/100].Nanoseconds()) / 1000
	}
	for _, percent := range []int{50, 99} {
		b.ReportMetric(at(direct, percent), fmt.Sprintf("direct-p%d-µs", percent))
		b.ReportMetric(at(proxied, percent), fmt.Sprintf("proxied-p%d-µs", percent))
		b.ReportMetric(at(proxied, percent)-at(direct, percent), fmt.Sprintf("added-p%d-µs", percent))
	}
	b.ReportMetric(0, "ns/op") // of both together
}

// costOf is set in a process that serves a proxy, "bare" or "ours", for BenchmarkCost.
const costOf = "EXACTAPI_COST_OF"

// serveForCost serves a proxy to the server that the command line names, until the end of
// its input. It prints the proxy's address.
func serveForCost(kind, upstream string) {
	base, err := url.Parse(upstream)
	if err != nil {
		panic(err)
	}
	secret := "01234567890123456789"
	transport := http.DefaultTransport.(*http.Transport).Clone()
	transport.MaxIdleConnsPerHost = 64 // as ours
	var handler http.Handler = &httputil.ReverseProxy{Rewrite: func(r *httputil.ProxyRequest) { r.SetURL(base) }, Transport: transport}
	server := httptest.NewUnstartedServer(nil)
	address := server.Listener.Addr().String()
	if kind == "ours" {
		t, err := exactapi.NewTransport(exactapi.TransportConfig{BaseURL: upstream, Token: constant("upstream-token")})
		if err != nil {
			panic(err)
		}
		if handler, err = exactapi.NewHandler(t, exactapi.HandlerConfig{Secret: fault.NewSecret(secret), Hosts: []string{address}}); err != nil {
			panic(err)
		}
		address += "/" + secret
	}
	server.Config.Handler = handler
	server.Start()
	if file := os.Getenv("EXACTAPI_PROFILE"); file != "" && kind == "ours" {
		out, err := os.Create(file)
		if err == nil {
			err = pprof.StartCPUProfile(out)
		}
		if err != nil {
			panic(err)
		}
		defer pprof.StopCPUProfile()
	}
	fmt.Println("http://" + address)
	_, _ = io.Copy(io.Discard, os.Stdin)
}
