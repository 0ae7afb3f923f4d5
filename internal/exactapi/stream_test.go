package exactapi_test

import (
	"context"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/exactauth/exactauth/internal/exactapi"
	"github.com/exactauth/exactauth/internal/exactsim"
)

// Two gigabytes in each direction pass without being kept in memory.
func TestStreamsWithFlatMemory(t *testing.T) {
	size := int64(2 << 30)
	if testing.Short() {
		size = 48 << 20 // more than the heap may grow
	}
	upstream := newEcho(t, func(w http.ResponseWriter, r *http.Request) {
		if r.Method == http.MethodPost {
			n, err := io.Copy(io.Discard, r.Body)
			fmt.Fprint(w, n, err)
		} else if r.URL.Path == "/docs/file" {
			_, _ = io.CopyN(w, zeros{}, size)
		}
	})
	s := serve(t, exactapi.TransportConfig{BaseURL: upstream.URL})
	s.get("/docs/warm")
	const allowed = 32 << 20
	for _, way := range []string{"down", "up"} {
		most, stop := watchHeap()
		began := time.Now()
		var n int64
		var err error
		if way == "down" {
			var resp *http.Response
			if resp, err = s.client.Get(s.url("/docs/file")); err == nil {
				n, err = io.Copy(io.Discard, resp.Body)
				resp.Body.Close()
			}
		} else {
			var text string
			_, _, text, err = s.try(context.Background(), http.MethodPost, "/docs/file", io.LimitReader(zeros{}, size), nil)
			_, _ = fmt.Sscan(text, &n)
		}
		took := time.Since(began)
		close(stop)
		grown := <-most
		if err != nil || n != size {
			t.Errorf("%s: %d bytes of %d: %v", way, n, size, err)
		}
		t.Logf("%s: %d MiB in %s, the heap grew by %.1f MiB at most", way, size>>20, took.Round(time.Millisecond), float64(grown)/(1<<20))
		if grown > allowed {
			t.Errorf("%s: the heap grew by %d MiB", way, grown>>20)
		}
	}
}

// watchHeap reports, once stop is closed, by how much the memory in use by Go grew.
func watchHeap() (most chan int64, stop chan struct{}) {
	inUse := func() int64 {
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		return int64(m.HeapInuse + m.StackInuse)
	}
	runtime.GC()
	before := inUse()
	most, stop = make(chan int64, 1), make(chan struct{})
	go func() {
		peak := before
		for {
			select {
			case <-stop:
				most <- peak - before
				return
			case <-time.After(5 * time.Millisecond):
				peak = max(peak, inUse())
			}
		}
	}()
	return most, stop
}

// An answer is passed on as it arrives, and before a long request has ended.
func TestStreamsBothWaysAtOnce(t *testing.T) {
	t.Parallel()
	for _, media := range []string{"application/octet-stream", "application/json"} {
		t.Run(media, func(t *testing.T) {
			t.Parallel()
			streamBothWays(t, media)
		})
	}
}

func streamBothWays(t *testing.T, media string) {
	upstream := newEcho(t, func(w http.ResponseWriter, r *http.Request) {
		c := http.NewResponseController(w)
		_ = c.EnableFullDuplex()
		w.Header().Set("Content-Type", media)
		w.WriteHeader(http.StatusOK)
		_ = c.Flush()
		b := make([]byte, 1)
		for {
			if n, err := r.Body.Read(b); n == 0 && err != nil {
				return
			}
			_, _ = w.Write(b)
			_ = c.Flush()
		}
	})
	s := serve(t, exactapi.TransportConfig{BaseURL: upstream.URL})
	body, write := io.Pipe()
	req, err := http.NewRequest(http.MethodPost, s.url("/docs/chat"), body)
	if err != nil {
		t.Fatal(err)
	}
	resp, err := s.client.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	for _, c := range "abc" {
		_, _ = write.Write([]byte{byte(c)})
		b := make([]byte, 1)
		if _, err := io.ReadFull(resp.Body, b); err != nil || b[0] != byte(c) {
			t.Errorf("%c came back as %q, %v", c, b, err)
		}
	}
	write.Close()
	if rest, err := io.ReadAll(resp.Body); err != nil || len(rest) != 0 {
		t.Errorf("the end: %q, %v", rest, err)
	}
}

// Bodies arrive unchanged, whatever their size.
func TestBodiesAreUntouched(t *testing.T) {
	t.Parallel()
	const text = `{"d":{"results":[{"__metadata":{"uri":"https://start.exactonline.nl/x"}}]}}`
	upstream := newEcho(t, func(w http.ResponseWriter, r *http.Request) {
		b, _ := io.ReadAll(r.Body)
		w.Header().Set("Reason", fmt.Sprintf("%x %d", sha256.Sum256(b), r.ContentLength))
		w.Header().Set("Content-Type", "application/json")
		_, _ = w.Write(append([]byte(text), b...))
	})
	s := serve(t, exactapi.TransportConfig{BaseURL: upstream.URL})
	for _, size := range []int{0, 1, 64 << 10, 64<<10 + 1, 300 << 10} {
		body := strings.Repeat("é\x00", size/3+1)[:size]
		_, h, got, err := s.try(context.Background(), http.MethodPost, "/docs/x", strings.NewReader(body), nil)
		if err != nil || got != text+body || h.Get("Reason") != fmt.Sprintf("%x %d", sha256.Sum256([]byte(body)), size) {
			t.Errorf("%d bytes: %d came back, %s, %v", size, len(got), h.Get("Reason"), err)
		}
	}
}

// A client that follows the links to the next page stays with the proxy.
func TestPagesAreFollowed(t *testing.T) {
	t.Parallel()
	e := newExact(t, exactsim.Config{})
	var codes []int
	address := e.url(divisionsPath + "?$select=Code")
	for pages := 0; address != ""; pages++ {
		if !strings.HasPrefix(address, e.url("/")) || pages == 5 {
			t.Fatalf("led to %s", strings.ReplaceAll(address, e.secret, "SECRET"))
		}
		status, _, body := e.get(strings.TrimPrefix(address, e.url("")))
		var page struct {
			D struct {
				Results []struct {
					Code     int
					Metadata struct{ URI string } `json:"__metadata"`
				}
				Next string `json:"__next"`
			}
		}
		if err := json.Unmarshal([]byte(body), &page); err != nil || status != http.StatusOK {
			t.Fatalf("status %d, %v: %s", status, err, body)
		}
		for _, r := range page.D.Results {
			codes = append(codes, r.Code)
			if !strings.HasPrefix(r.Metadata.URI, e.base+"/") {
				t.Fatalf("the address of a record has become %s", r.Metadata.URI)
			}
		}
		address = page.D.Next
	}
	if len(codes) != 130 || !slices.IsSorted(codes) {
		t.Errorf("%d divisions", len(codes))
	}
	// If the client sends the secret as a header, links do not contain it.
	req, err := http.NewRequest(http.MethodGet, e.origin+divisionsPath, nil)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer "+e.secret)
	resp, err := e.served.client.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	body, _ := io.ReadAll(resp.Body)
	if !strings.Contains(string(body), `<link rel="next" href="`+e.origin+"/api/v1/") || strings.Contains(string(body), e.secret) {
		t.Errorf("Atom: …%s", body[max(0, len(body)-300):])
	}
}

func TestLocation(t *testing.T) {
	t.Parallel()
	var base string
	upstream := newEcho(t, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Location", base+"/api/v1/1/crm/Accounts(guid'1')")
		w.Header().Set("Content-Location", "/docs/x")
		w.WriteHeader(http.StatusCreated)
	})
	base = upstream.URL
	s := serve(t, exactapi.TransportConfig{BaseURL: base})
	_, h, _, err := s.try(context.Background(), http.MethodPost, "/api/v1/1/crm/Accounts", strings.NewReader("{}"), nil)
	if err != nil || h.Get("Location") != s.url("/api/v1/1/crm/Accounts(guid'1')") || h.Get("Content-Location") != s.url("/docs/x") {
		t.Errorf("Location %s, Content-Location %s, %v", h.Get("Location"), h.Get("Content-Location"), err)
	}
}

// When the proxy is to end, requests in flight go on and others are refused.
func TestDrain(t *testing.T) {
	t.Parallel()
	go_ := make(chan struct{})
	arrived := make(chan struct{}, 10)
	upstream := newEcho(t, func(w http.ResponseWriter, _ *http.Request) {
		arrived <- struct{}{}
		<-go_
		fmt.Fprint(w, "done")
	})
	s := serve(t, exactapi.TransportConfig{BaseURL: upstream.URL})
	answer := make(chan string, 1)
	go func() {
		_, _, body, _ := s.try(context.Background(), http.MethodGet, "/docs/x", nil, nil)
		answer <- body
	}()
	<-arrived
	s.Drain()
	status, _, body := s.get("/docs/y")
	if r := readRefusal(t, body); status != http.StatusServiceUnavailable || r.Code != "ending" {
		t.Errorf("status %d: %s", status, body)
	}
	close(go_)
	if got := <-answer; got != "done" {
		t.Errorf("the request in flight: %q", got)
	}
}
