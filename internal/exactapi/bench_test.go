package exactapi_test

import (
	"fmt"
	"io"
	"net/http"
	"slices"
	"testing"
	"time"

	"github.com/exactauth/exactauth/internal/exactapi"
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
