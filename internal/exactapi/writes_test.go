package exactapi_test

import (
	"bufio"
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/http/httptrace"
	"net/http/httputil"
	"net/textproto"
	"net/url"
	"runtime"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/exactauth/exactauth/internal/exactapi"
)

// aPage is an answer as Exact's, of 911 bytes times size without the address of the next
// page; that is next, or "".
func aPage(size int, next string) string {
	if next != "" {
		next = `,"__next":"` + next + `/api/v1/1/x?$skiptoken=guid'1'"`
	}
	return `{"d":{"results":[` + strings.Repeat(`{"ID":"0b4ae1ed","Name":"Voorbeeld"},`, 24*size) + `{}]` + next + `}}`
}

// An answer that fits leaves in one write with its head. It has a Content-Length: Exact's
// if nothing was rewritten, otherwise the right one, if that is known with the first part.
func TestWrites(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name, method, media  string
		next, gzip, noLength bool
		status               int
		size                 int // of the page; 0 is 1
	}{
		{name: "JSON", media: "application/json; charset=utf-8"},
		{name: "JSON with a next page", media: "application/json; charset=utf-8", next: true},
		{name: "JSON, compressed", media: "application/json", gzip: true},
		{name: "JSON with a next page, compressed", media: "application/json", next: true, gzip: true},
		{name: "JSON of three kilobytes", media: "application/json", size: 3},
		{name: "JSON of twenty kilobytes", media: "application/json", size: 20, next: true},
		{name: "JSON of twenty kilobytes, compressed", media: "application/json", size: 20, next: true, gzip: true},
		{name: "long JSON with a next page", media: "application/json", size: 100, next: true, noLength: true},
		{name: "long JSON, compressed", media: "application/json", size: 100, next: true, gzip: true, noLength: true},
		{name: "a long attachment", media: "application/pdf", size: 100},
		{name: "an error", media: "application/json", status: http.StatusBadRequest},
		{name: "an attachment", media: "application/pdf"},
		{name: "an empty answer", media: "application/json", status: http.StatusNoContent},
		{name: "HEAD", media: "application/json", method: http.MethodHead},
		{name: "POST", media: "application/json", method: http.MethodPost},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			upstream := newEcho(t, func(w http.ResponseWriter, r *http.Request) {
				page := aPage(max(test.size, 1), "")
				if test.next {
					page = aPage(max(test.size, 1), "http://"+r.Host)
				}
				limits(w.Header(), 59, 4999)
				w.Header().Set("Content-Type", test.media)
				switch {
				case test.status == http.StatusNoContent:
					w.WriteHeader(test.status)
				case test.gzip:
					w.Header().Set("Content-Encoding", "gzip")
					z := gzip.NewWriter(w)
					_, _ = io.WriteString(z, page)
					z.Close()
				default:
					w.Header().Set("Content-Length", strconv.Itoa(len(page)))
					w.WriteHeader(max(test.status, http.StatusOK))
					_, _ = io.WriteString(w, page)
				}
			})
			s := serve(t, exactapi.TransportConfig{BaseURL: upstream.URL})
			var sent io.Reader
			if test.method == http.MethodPost {
				sent = strings.NewReader("{}")
			}
			_, h, body, err := s.try(context.Background(), test.method, "/api/v1/1/x", sent, nil)
			want := aPage(max(test.size, 1), "")
			if test.next {
				want = aPage(max(test.size, 1), s.url(""))
			}
			length := strconv.Itoa(len(want))
			switch {
			case test.status == http.StatusNoContent:
				want, length = "", ""
			case test.noLength:
				length = ""
			case test.method == http.MethodHead:
				want = ""
			}
			if err != nil || body != want || h.Get("Content-Length") != length {
				t.Errorf("Content-Length %q, want %q; %v, %d bytes: …%s", h.Get("Content-Length"), length, err, len(body), body[max(0, len(body)-100):])
			}
			if n := s.writes.Load(); n != 1 && test.size <= 3 {
				t.Errorf("%d writes", n)
			}
		})
	}
}

// lateFlushes counts the flushes after a whole body.
type lateFlushes struct {
	*httptest.ResponseRecorder
	whole int
	late  atomic.Int64
}

func (w *lateFlushes) Flush() {
	if w.Body.Len() == w.whole {
		w.late.Add(1)
	}
}

// The last part of an answer of unknown length that has come with its end leaves with it,
// not in a flush before.
func TestNoFlushAtTheEnd(t *testing.T) {
	t.Parallel()
	for _, media := range []string{"application/json", "application/xml"} {
		for _, size := range []int{10, 3000} {
			upstream := newEcho(t, func(w http.ResponseWriter, r *http.Request) {
				c, _, err := http.NewResponseController(w).Hijack()
				if err != nil {
					return
				}
				defer c.Close()
				// In one piece: the server's own writer could send the end later.
				fmt.Fprintf(c, "HTTP/1.1 200 OK\r\nContent-Type: %s\r\nTransfer-Encoding: chunked\r\n\r\n%x\r\n%s\r\n0\r\n\r\n", media, size, strings.Repeat("x", size))
			})
			s := serve(t, exactapi.TransportConfig{BaseURL: upstream.URL})
			w := &lateFlushes{ResponseRecorder: httptest.NewRecorder(), whole: size}
			r := httptest.NewRequest(http.MethodGet, s.url("/docs/x"), nil)
			s.ServeHTTP(w, r)
			if n := w.late.Load(); n != 0 || w.Body.Len() != size {
				t.Errorf("%s, %d bytes: %d flushes after %d bytes", media, size, n, w.Body.Len())
			}
		}
	}
}

// Each part of an answer is passed on before the next one comes, and the head of a stream
// before its first part.
func TestSlowAnswers(t *testing.T) {
	t.Parallel()
	headFirst := func(media string) bool { return strings.HasSuffix(media, "stream") } // no links in it
	for _, test := range []struct{ media, length string }{
		{"text/event-stream", ""}, {"application/octet-stream", ""}, {"application/octet-stream", "1000000"}, {"application/json", ""}, {"application/atom+xml", ""},
	} {
		t.Run(test.media+test.length, func(t *testing.T) {
			t.Parallel()
			seen := make(chan struct{})
			upstream := newEcho(t, func(w http.ResponseWriter, r *http.Request) {
				w.Header().Set("Content-Type", test.media)
				if test.length != "" {
					w.Header().Set("Content-Length", test.length)
				}
				for i := range 4 {
					if i > 0 || headFirst(test.media) {
						w.(http.Flusher).Flush()
						select {
						case <-seen:
						case <-r.Context().Done():
							return
						}
					}
					fmt.Fprint(w, i)
				}
			})
			s := serve(t, exactapi.TransportConfig{BaseURL: upstream.URL})
			ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
			defer cancel()
			req, err := http.NewRequestWithContext(ctx, http.MethodGet, s.url("/docs/x"), nil)
			if err != nil {
				t.Fatal(err)
			}
			resp, err := s.client.Do(req)
			if err != nil {
				t.Fatal(err)
			}
			defer resp.Body.Close()
			if headFirst(test.media) {
				seen <- struct{}{}
			}
			for i := range 4 {
				b := make([]byte, 1)
				if _, err := io.ReadFull(resp.Body, b); err != nil || string(b) != strconv.Itoa(i) {
					t.Fatalf("part %d: %q, %v", i, b, err)
				}
				if i < 3 {
					seen <- struct{}{}
				}
			}
		})
	}
}

// An answer that breaks off does not look whole, wherever it breaks off, and the client
// sees its head: it must not take the connection for an idle one that has ended, and send
// the request again.
func TestBrokenAnswers(t *testing.T) {
	t.Parallel()
	for name, answer := range map[string]string{
		"JSON":                "Content-Type: application/json\r\nContent-Length: 100\r\n\r\n{\"d\":",
		"JSON without a body": "Content-Type: application/json\r\nContent-Length: 100\r\n\r\n",
		"JSON in chunks":      "Content-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n5\r\n{\"d\":\r\n",
		"JSON, wrong chunks":  "Content-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n5\r\n{\"d\":\r\nno number\r\n",
		"JSON, bad gzip":      "Content-Type: application/json\r\nContent-Encoding: gzip\r\nContent-Length: 5\r\n\r\n{\"d\":",
		"text":                "Content-Type: text/plain\r\nContent-Length: 100\r\n\r\nhalf",
		"long text":           "Content-Type: text/plain\r\nContent-Length: 100000\r\n\r\nhalf",
		"long, without any":   "Content-Type: text/plain\r\nContent-Length: 100000\r\n\r\n",
		"text in chunks":      "Content-Type: text/plain\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nhalf\r\n",
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			upstream := newEcho(t, func(w http.ResponseWriter, r *http.Request) {
				if r.URL.Path != "/docs/x" {
					return
				}
				c, to, err := http.NewResponseController(w).Hijack()
				if err != nil {
					return
				}
				defer c.Close()
				fmt.Fprint(to, "HTTP/1.1 200 OK\r\n"+answer)
				to.Flush()
			})
			s := serve(t, exactapi.TransportConfig{BaseURL: upstream.URL})
			s.get("/docs/whole") // a client sends again on a connection that it has used
			status, _, body, err := s.try(context.Background(), http.MethodGet, "/docs/x", nil, nil)
			if err == nil || status != http.StatusOK {
				t.Errorf("status %d, %q, %v", status, body, err)
			}
			if n := len(upstream.requests()); n != 2 {
				t.Errorf("%d requests", n)
			}
			if log := s.log.String(); !strings.Contains(log, "cut_off=true") {
				t.Errorf("the log: %s", log)
			}
		})
	}
}

// Interim answers do not reach the client, and leave nothing in the final one.
func TestInterimAnswers(t *testing.T) {
	t.Parallel()
	upstream := newEcho(t, func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Etag", "early")
		w.WriteHeader(http.StatusEarlyHints)
		w.Header().Del("Etag")
		fmt.Fprint(w, "done")
	})
	s := serve(t, exactapi.TransportConfig{BaseURL: upstream.URL})
	ctx := httptrace.WithClientTrace(context.Background(), &httptrace.ClientTrace{Got1xxResponse: func(code int, _ textproto.MIMEHeader) error {
		return errors.New(http.StatusText(code))
	}})
	if status, h, body, err := s.try(ctx, http.MethodGet, "/docs/x", nil, nil); err != nil || status != http.StatusOK || body != "done" || h.Get("Etag") != "" {
		t.Errorf("status %d, %v, %q, %v", status, h, body, err)
	}
}

// A client that waits for leave to send its body gets it if the request passes, and is
// refused before it sends the body if not.
func TestExpectContinue(t *testing.T) {
	t.Parallel()
	upstream := newEcho(t, func(w http.ResponseWriter, r *http.Request) {
		n, err := io.Copy(io.Discard, r.Body)
		fmt.Fprint(w, n, err)
	})
	s := serve(t, exactapi.TransportConfig{BaseURL: upstream.URL})
	for path, want := range map[string]string{"/docs/x": "HTTP/1.1 100 Continue\r\n", "/api/oauth2/token": "HTTP/1.1 403 Forbidden\r\n"} {
		for _, size := range []int{10, 200 << 10} {
			conn, err := net.Dial("tcp", strings.TrimPrefix(s.origin, "http://"))
			if err != nil {
				t.Fatal(err)
			}
			defer conn.Close()
			_ = conn.SetDeadline(time.Now().Add(time.Minute))
			fmt.Fprintf(conn, "POST /%s%s HTTP/1.1\r\nHost: %s\r\nExpect: 100-continue\r\nContent-Length: %d\r\n\r\n", s.secret, path, strings.TrimPrefix(s.origin, "http://"), size)
			from := bufio.NewReader(conn)
			if line, err := from.ReadString('\n'); err != nil || line != want {
				t.Fatalf("%s: %q, %v", path, line, err)
			}
			if path != "/docs/x" {
				continue
			}
			_, _ = from.ReadString('\n')
			fmt.Fprint(conn, strings.Repeat("x", size))
			resp, err := http.ReadResponse(from, nil)
			if err != nil {
				t.Fatal(err)
			}
			body, _ := io.ReadAll(resp.Body)
			resp.Body.Close()
			if string(body) != fmt.Sprint(size, nil) {
				t.Errorf("%s", body)
			}
		}
	}
}

// The proxy allocates little more for a request than a bare httputil.ReverseProxy.
func TestAllocations(t *testing.T) {
	page := aPage(1, "")
	upstream := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		limits(w.Header(), 1<<30, 1<<30)
		w.Header()["X-RateLimit-Minutely-Limit"] = []string{strconv.Itoa(1 << 30)}
		w.Header().Set("Content-Type", "application/json; charset=utf-8")
		_, _ = io.WriteString(w, page)
	}))
	defer upstream.Close()
	base, err := url.Parse(upstream.URL)
	if err != nil {
		t.Fatal(err)
	}
	s := serve(t, exactapi.TransportConfig{BaseURL: upstream.URL}, func(cfg *exactapi.HandlerConfig) { cfg.Log = nil })
	transport := http.DefaultTransport.(*http.Transport).Clone()
	defer transport.CloseIdleConnections()
	bare := &httputil.ReverseProxy{Transport: transport, Rewrite: func(r *httputil.ProxyRequest) { r.SetURL(base) }}
	of := func(h http.Handler, address string) (count, size float64) {
		var before, after runtime.MemStats
		const runs = 300
		once := func() {
			r := httptest.NewRequest(http.MethodGet, address, nil)
			r.Header.Set("Accept", "application/json")
			w := httptest.NewRecorder()
			h.ServeHTTP(w, r)
			if w.Body.Len() != len(page) {
				t.Fatal(w.Code, w.Body)
			}
		}
		for range 10 { // connections, pools
			once()
		}
		runtime.ReadMemStats(&before)
		for range runs {
			once()
		}
		runtime.ReadMemStats(&after)
		return float64(after.Mallocs-before.Mallocs) / runs, float64(after.TotalAlloc-before.TotalAlloc) / runs
	}
	bareCount, bareSize := of(bare, s.origin+"/api/v1/1/x")
	count, size := of(s.Handler, s.url("/api/v1/1/x"))
	t.Logf("%.0f allocations of %.0f bytes for a request; the bare proxy %.0f of %.0f", count, size, bareCount, bareSize)
	if count > bareCount+45 || size > bareSize {
		t.Error("want at most 45 allocations more, and fewer bytes")
	}
}

// Connections that wait for their next request hold no buffers for bodies.
func TestIdleConnections(t *testing.T) {
	upstream := newEcho(t, func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		_, _ = io.WriteString(w, aPage(1, ""))
	})
	s := serve(t, exactapi.TransportConfig{BaseURL: upstream.URL}, func(cfg *exactapi.HandlerConfig) { cfg.Log = nil })
	const connections = 300
	inUse := func() int64 {
		runtime.GC()
		runtime.GC() // pools
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		return int64(m.HeapAlloc + m.StackInuse)
	}
	conns := make([]net.Conn, connections)
	host := strings.TrimPrefix(s.origin, "http://")
	ask := func(conn net.Conn) {
		fmt.Fprintf(conn, "GET /%s/docs/x HTTP/1.1\r\nHost: %s\r\n\r\n", s.secret, host)
		resp, err := http.ReadResponse(bufio.NewReader(conn), nil)
		if err != nil {
			t.Fatal(err)
		}
		if n, err := io.Copy(io.Discard, resp.Body); err != nil || n != int64(len(aPage(1, ""))) {
			t.Fatal(n, err)
		}
		resp.Body.Close()
	}
	s.get("/docs/x")
	before := inUse()
	for i := range conns {
		conn, err := net.Dial("tcp", host)
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		ask(conn)
		conns[i] = conn
	}
	each := (inUse() - before) / connections
	t.Logf("%d bytes for each idle connection", each)
	if each > 40<<10 {
		t.Error("want at most 40 KiB")
	}
	for _, conn := range conns {
		ask(conn)
	}
}
