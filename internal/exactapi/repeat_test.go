package exactapi_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/exactauth/exactauth/internal/exactapi"
	"github.com/exactauth/exactauth/internal/exactsim"
	"github.com/exactauth/exactauth/internal/fault"
)

// repeating returns a transport that repeats a GET after short pauses, and its client.
func repeating(t testing.TB, cfg exactapi.TransportConfig) *exactapi.Client {
	t.Helper()
	cfg.Repeat = true
	if cfg.Token == nil {
		cfg.Token = constant("t")
	}
	next, _ := transport(t, cfg)
	next.Hasten()
	return next.Client()
}

// A GET is sent three times at most, a request that changes data once.
func TestRepeat(t *testing.T) {
	t.Parallel()
	lose := func(w http.ResponseWriter) { panic(http.ErrAbortHandler) }
	answer := func(status int, header ...string) func(http.ResponseWriter) {
		return func(w http.ResponseWriter) {
			for i := 0; i < len(header); i += 2 {
				w.Header().Set(header[i], header[i+1])
			}
			w.WriteHeader(status)
		}
	}
	for _, test := range []struct {
		name, method string
		first        func(http.ResponseWriter)
		failures     int // that precede answers of status 200
		status, sent int // status 0: an error
	}{
		{"408", "GET", answer(408), 2, 200, 3},
		{"500", "GET", answer(500), 2, 200, 3},
		{"503 for a second", "GET", answer(503, "Retry-After", "1"), 1, 200, 2},
		{"503 for an hour", "GET", answer(503, "Retry-After", "3600"), 1, 503, 1},
		{"lost", "GET", lose, 2, 200, 3},
		{"HEAD lost", "HEAD", lose, 1, 200, 2},
		{"too often", "GET", answer(502), 9, 502, 3},
		{"lost too often", "GET", lose, 9, 0, 3},
		{"400", "GET", answer(400), 1, 400, 1},
		{"501 of a POST", "POST", answer(501), 1, 501, 1},
		{"408 of a POST", "POST", answer(408), 1, 408, 1},
		{"POST lost", "POST", lose, 1, 0, 1},
		{"PUT lost", "PUT", lose, 1, 0, 1},
		{"DELETE lost", "DELETE", lose, 1, 0, 1},
		{"429 for a second", "GET", answer(429, "Retry-After", "1"), 1, 200, 2},
		{"429 of a POST for a second", "POST", answer(429, "Retry-After", "1"), 1, 200, 2},
		{"429 for an hour", "GET", answer(429, "Retry-After", "3600"), 1, 0, 1},
		{"429 for an unknown time", "GET", answer(429), 1, 0, 1},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			var n atomic.Int64
			server := newEcho(t, func(w http.ResponseWriter, _ *http.Request) {
				if n.Add(1) <= int64(test.failures) {
					test.first(w)
				}
			})
			c := repeating(t, exactapi.TransportConfig{BaseURL: server.URL})
			var body io.Reader
			if test.method == "POST" || test.method == "PUT" {
				body = strings.NewReader("{}")
			}
			req, err := http.NewRequestWithContext(t.Context(), test.method, server.URL+mePath, body)
			if err != nil {
				t.Fatal(err)
			}
			status := 0
			resp, err := c.Do(req)
			if err == nil {
				status = resp.StatusCode
				resp.Body.Close()
			}
			if status != test.status || int(n.Load()) != test.sent {
				t.Errorf("status %d after %d requests, %v; want %d after %d", status, n.Load(), err, test.status, test.sent)
			}
			uncertain := errors.Is(err, exactapi.ErrUncertain)
			if want := status == 0 && body != nil || test.name == "DELETE lost"; uncertain != want || status == 0 && errors.Is(err, fault.ErrTemporary) == want {
				t.Errorf("got %v", err)
			}
			if uncertain && !strings.Contains(err.Error(), "may have carried the request out") {
				t.Errorf("got %v", err)
			}
		})
	}
}

// What was not sent was not carried out.
func TestPostThatWasNotSent(t *testing.T) {
	t.Parallel()
	c := repeating(t, exactapi.TransportConfig{BaseURL: "http://127.0.0.1:1"})
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, "http://127.0.0.1:1"+mePath, strings.NewReader("{}"))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := c.Do(req); !errors.Is(err, fault.ErrTemporary) || errors.Is(err, exactapi.ErrUncertain) {
		t.Errorf("got %v", err)
	}
}

// A page that breaks off is requested again, and none of its records comes twice.
func TestRepeatPage(t *testing.T) {
	t.Parallel()
	var broken atomic.Int64
	server := newEcho(t, func(w http.ResponseWriter, r *http.Request) {
		body := `{"d":{"results":[1,2],"__next":"http://` + r.Host + `/api/v1/two"}}`
		if r.URL.Path == "/api/v1/two" {
			body = `{"d":[3]}`
		}
		if r.Header.Get("Prefer") != "x" {
			body = ""
		}
		if broken.Add(1)%2 == 1 {
			w.Header().Set("Content-Length", fmt.Sprint(len(body)))
			fmt.Fprint(w, body[:len(body)-3])
			w.(http.Flusher).Flush()
			panic(http.ErrAbortHandler)
		}
		fmt.Fprint(w, body)
	})
	c := repeating(t, exactapi.TransportConfig{BaseURL: server.URL})
	c.Header = http.Header{"Prefer": {"x"}}
	var got []int
	for n, err := range exactapi.Records[int](t.Context(), c, "/api/v1/one") {
		if err != nil {
			t.Fatal(err)
		}
		got = append(got, n)
	}
	if fmt.Sprint(got) != "[1 2 3]" || len(server.requests()) != 4 {
		t.Errorf("%v after %d requests", got, len(server.requests()))
	}
}

// waits keeps what a transport says of its waits for limits.
type waits struct {
	mu    sync.Mutex
	until []time.Time
}

func (w *waits) add(_ context.Context, until time.Time) (over func()) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if !until.IsZero() {
		w.until = append(w.until, until)
	}
	return func() {}
}

// A wait for the minute is announced. One that is too long is none.
func TestWaitIsAnnounced(t *testing.T) {
	t.Parallel()
	e := newExact(t, exactsim.Config{MinuteLimit: 2, TokenLife: time.Hour})
	e.before(time.Minute, 2*time.Second)
	minute := time.Now().Add(2 * time.Second)
	var w waits
	c := repeating(t, exactapi.TransportConfig{BaseURL: e.base, Token: e.token, Waiting: w.add})
	for range 2 { // two records would fit into a page
		for _, err := range exactapi.Records[json.RawMessage](t.Context(), c, divisionsPath+"?$top=1") {
			if err != nil {
				t.Fatal(err)
			}
		}
	}
	short, cancel := context.WithTimeout(t.Context(), time.Second)
	defer cancel()
	began := time.Now()
	var later *fault.WaitError
	for _, err := range exactapi.Records[json.RawMessage](short, c, divisionsPath+"?$top=1") {
		if !errors.As(err, &later) || !later.Waits || later.Until.Sub(minute).Abs() > 2*time.Second || short.Err() != nil {
			t.Errorf("got %v after %s", err, time.Since(began))
		}
	}
	if later == nil || len(w.until) != 0 {
		t.Errorf("announced %v", w.until)
	}
	for _, err := range exactapi.Records[json.RawMessage](t.Context(), c, divisionsPath+"?$top=1") {
		if err != nil {
			t.Error(err)
		}
	}
	if n := e.sim.Counters().RateLimited; n != 0 || len(w.until) != 1 || w.until[0].Sub(minute).Abs() > 2*time.Second {
		t.Errorf("announced %v, %d refused by Exact", w.until, n)
	}
}

// However long a collection is, one page of it is in memory.
func TestRecordsWithFlatMemory(t *testing.T) {
	const pages, perPage = 120, 60
	records := strings.Repeat(fmt.Sprintf(`{"text":%q},`, strings.Repeat("x", 4000)), perPage)
	server := newEcho(t, nil)
	server.Config.Handler = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		next := ""
		n := 1
		if _, _ = fmt.Sscanf(r.URL.RawQuery, "page=%d", &n); n < pages {
			next = fmt.Sprintf(`,"__next":"http://%s/api/v1/1/x?page=%d"`, r.Host, n+1)
		}
		fmt.Fprintf(w, `{"d":{"results":[%s]%s}}`, strings.TrimSuffix(records, ","), next)
	})
	c := repeating(t, exactapi.TransportConfig{BaseURL: server.URL})
	most, stop := watchHeap()
	n, size := 0, 0
	for record, err := range exactapi.Records[json.RawMessage](t.Context(), c, "/api/v1/1/x") {
		if err != nil {
			t.Fatal(err)
		}
		n++
		size += len(record)
	}
	close(stop)
	grown := <-most
	t.Logf("%d records, %d MiB, the heap grew by %.1f MiB at most", n, size>>20, float64(grown)/(1<<20))
	if n != pages*perPage || size < 24<<20 || grown > 12<<20 {
		t.Errorf("%d records, %d MiB, the heap grew by %d MiB", n, size>>20, grown>>20)
	}
}
