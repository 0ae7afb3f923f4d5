package callback_test

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"runtime"
	"runtime/pprof"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
	"unicode"

	"github.com/exactauth/exactauth/internal/callback"
	"github.com/exactauth/exactauth/internal/callback/callbacktest"
	"github.com/exactauth/exactauth/internal/config"
	"github.com/exactauth/exactauth/internal/fault"
	"github.com/exactauth/exactauth/internal/tokenstore"
)

// Web pages and other users of the machine can send the listener whatever they like.
// These tests do, over sockets of their own, and often with the real state and a good
// code. The sign-in must still take the real answer, once, and afterwards nothing may
// listen or run any more.

// siege is a sign-in whose listener is attacked.
type siege struct {
	*sitting
	relay bool
	label string
	tls   bool
	host  string // what a browser calls the listener
}

var sieges atomic.Int64

// besiege starts a sign-in whose goroutines have a label of their own.
func besiege(t *testing.T, ctx context.Context, redirect string, relay bool) *siege {
	t.Helper()
	t.Parallel()
	s := &siege{relay: relay, label: fmt.Sprint(sieges.Add(1)), tls: !relay && strings.HasPrefix(redirect, "https")}
	o := callback.Options{Settings: settings(t, redirect)}
	o.Settings.Relay = relay
	pprof.SetGoroutineLabels(pprof.WithLabels(t.Context(), pprof.Labels("siege", s.label)))
	s.sitting = sit(ctx, t, o)
	pprof.SetGoroutineLabels(t.Context())
	s.host = "127.0.0.1:" + s.Port
	if !relay {
		u, _ := url.Parse(s.RedirectURI)
		s.host = u.Host
	}
	return s
}

// fill replaces the names of values by the values.
func (s *siege) fill(text string) string {
	return strings.NewReplacer("HOST", s.host, "PORT", s.Port, "STATE", s.State, "CODE", url.QueryEscape(goodCode)).Replace(text)
}

// connect opens a socket to the listener, closed with the test.
func (s *siege) connect() net.Conn {
	s.t.Helper()
	conn, err := net.Dial("tcp", "127.0.0.1:"+s.Port)
	if err != nil {
		s.t.Fatal(err)
	}
	s.t.Cleanup(func() { conn.Close() })
	conn.SetDeadline(time.Now().Add(time.Minute)) // a test that hangs is a failure
	return conn
}

// through speaks TLS on it, if that is what the listener wants.
func (s *siege) through(conn net.Conn) net.Conn {
	if !s.tls {
		return conn
	}
	return tls.Client(conn, &tls.Config{InsecureSkipVerify: true, ServerName: "exactauth.test"})
}

// knock sends text unchanged and reads the answer to each request in it.
func (s *siege) knock(text string, methods ...string) (answers []callbacktest.Page, err error) {
	s.t.Helper()
	socket := s.connect()
	defer socket.Close()
	conn := s.through(socket)
	go io.WriteString(conn, s.fill(text)) // which need not be read to its end
	in := bufio.NewReader(conn)
	for _, method := range methods {
		resp, err := http.ReadResponse(in, &http.Request{Method: method})
		if err != nil {
			return answers, err
		}
		body, err := io.ReadAll(resp.Body)
		answers = append(answers, callbacktest.Page{Response: resp, Body: string(body)})
		if err != nil {
			return answers, err
		}
	}
	return answers, nil
}

// turnedAway sends one request, which must get a guarded answer of that status.
func (s *siege) turnedAway(request string, status int) {
	s.t.Helper()
	method, _, _ := strings.Cut(request, " ")
	answers, err := s.knock(request+"\r\n\r\n", method)
	if err != nil {
		s.t.Errorf("%.80q: %v", request, err)
		return
	}
	if answers[0].StatusCode != status {
		s.t.Errorf("%.80q: %s, want %d", request, answers[0].Status, status)
	}
	callbacktest.CheckGuarded(s.t, answers[0])
	s.revealsNothing(request, answers[0])
}

func (s *siege) revealsNothing(request string, answer callbacktest.Page) {
	s.t.Helper()
	var all bytes.Buffer
	answer.Header.Write(&all)
	all.WriteString(answer.Body)
	for _, secret := range []string{s.State, goodCode, "Anna de Vries"} {
		if strings.Contains(all.String(), secret) {
			s.t.Errorf("%.80q: the answer reveals %.10s…", request, secret)
		}
	}
}

// arrival is the real answer, as it comes to the listener.
func (s *siege) arrival() string {
	answer := s.answer()
	if s.relay {
		_, query, _ := strings.Cut(answer, "?")
		return "http://" + s.host + "/callback?" + query
	}
	return answer
}

// holds: after the attack the real answer is taken, and then everything ends.
func (s *siege) holds() {
	s.t.Helper()
	select {
	case <-s.done:
		s.t.Fatal("the sign-in was ended: ", s.err)
	default:
	}
	page := callbacktest.Browse(s.t, s.arrival())
	s.succeeds()
	callbacktest.CheckGuarded(s.t, page)
	if page.StatusCode != http.StatusOK || !strings.Contains(page.Body, "Anna de Vries") {
		s.t.Errorf("the last page: %d %s", page.StatusCode, page.Body)
	}
	s.gone()
}

// gone: after the sign-in its port is free, and its goroutines end.
func (s *siege) gone() {
	s.t.Helper()
	addrs := []string{"127.0.0.1:" + s.Port}
	if strings.HasPrefix(s.host, "localhost") {
		addrs = append(addrs, "[::1]:"+s.Port)
	}
	for _, addr := range addrs {
		again, err := net.Listen("tcp", addr)
		if err != nil {
			s.t.Errorf("the port is not free: %v", err)
			continue
		}
		again.Close()
	}
	for range 2000 {
		var all bytes.Buffer
		pprof.Lookup("goroutine").WriteTo(&all, 1)
		if !strings.Contains(all.String(), `"siege":"`+s.label+`"`) {
			return
		}
		time.Sleep(10 * time.Millisecond)
	}
	s.t.Error("goroutines of the sign-in are left")
}

// A page that points its own name at this machine (DNS rebinding) is refused, even if it
// knew the state.
func TestHostileNames(t *testing.T) {
	names := []string{
		"evil.test", "evil.test:PORT", "127.0.0.1:PORT.evil.test", "127.0.0.1.evil.test:PORT", "127.0.0.1.:PORT", "127.0.0.2:PORT",
		"0.0.0.0:PORT", "127.1:PORT", "2130706433:PORT", "0x7f.1:PORT", "[::1]:PORT", "[::ffff:127.0.0.1]:PORT",
		"HOST:80", "127.0.0.1:0PORT", ":PORT", "", "evil.test,HOST",
	}
	for _, test := range []struct {
		name, redirect string
		relay          bool
		others         []string
	}{
		{"http", loopback, false, []string{"localhost:PORT", "exactauth.test:PORT"}},
		{"https", mappedTLS, false, []string{"localhost:PORT", "127.0.0.1:PORT", "exactauth.test", "exactauth.test:443", "sub.exactauth.test:PORT", "exactauth.test.:PORT"}},
		{"relay", "https://relay.test:%s/exact.html", true, []string{"localhost:PORT", "relay.test", "relay.test:PORT"}},
	} {
		t.Run(test.name, func(t *testing.T) {
			s := besiege(t, t.Context(), test.redirect, test.relay)
			for _, name := range append(names, test.others...) {
				s.turnedAway("GET /callback?code=CODE&state=STATE HTTP/1.1\r\nHost: "+name, http.StatusNotFound)
			}
			// A target with a name of its own counts before the Host header (RFC 9112, section 3.2.2).
			s.turnedAway("GET http://evil.test/callback?code=CODE&state=STATE HTTP/1.1\r\nHost: HOST", http.StatusNotFound)
			s.turnedAway("GET https://evil.test:PORT/callback?code=CODE&state=STATE HTTP/1.1\r\nHost: HOST", http.StatusNotFound)
			s.turnedAway("GET http://HOST/callback?code=CODE&state=x HTTP/1.1\r\nHost: evil.test", http.StatusNotFound)
			s.turnedAway("GET /callback?code=CODE&state=STATE HTTP/1.0", http.StatusNotFound) // no name at all
			s.turnedAway("GET /callback?code=CODE&state=STATE HTTP/1.1\r\nHost: evil.test\r\nX-Forwarded-Host: HOST\r\nForwarded: host=HOST", http.StatusNotFound)
			s.holds()
		})
	}
}

// A path, method or state that is nearly right is wrong.
func TestHostileRequests(t *testing.T) {
	const good = "?code=CODE&state=STATE HTTP/1.1\r\nHost: HOST"
	t.Run("paths", func(t *testing.T) {
		s := besiege(t, t.Context(), loopback, false)
		for _, path := range []string{
			"//callback", "/callback/", "/callback//", "/callback/.", "/./callback", "/callback/../callback", "/x/../callback", "/callback/..",
			"/callback%2F", "/%2Fcallback", "/callback%00", "/callback%20", "/callback%0A", "/callback%3F", "/CALLBACK", "/Callback", "/callback;x",
			"/callback.html", "/callback/x", "/callbac", "/callback%c0%af", "/c%E2%80%8Ballback", "/%2563allback", "/",
		} {
			s.turnedAway("GET "+path+good, http.StatusNotFound)
		}
		s.turnedAway("GET /%63allback?code=CODE&state=x HTTP/1.1\r\nHost: HOST", http.StatusNotFound) // the same path, another state
		s.holds()
	})
	t.Run("methods", func(t *testing.T) {
		s := besiege(t, t.Context(), loopback, false)
		for _, method := range []string{"HEAD", "POST", "OPTIONS", "PUT", "DELETE", "PATCH", "TRACE", "CONNECT", "PROPFIND", "get", "GETT"} {
			s.turnedAway(method+" /callback"+good, http.StatusMethodNotAllowed)
		}
		s.turnedAway("CONNECT HOST HTTP/1.1\r\nHost: HOST", http.StatusNotFound)
		s.turnedAway("CONNECT evil.test:443 HTTP/1.1\r\nHost: evil.test:443", http.StatusNotFound)
		// What a form or a script would send from another site.
		s.turnedAway("POST /callback HTTP/1.1\r\nHost: HOST\r\nContent-Type: application/x-www-form-urlencoded\r\nContent-Length: 3\r\n\r\na=b", http.StatusMethodNotAllowed)
		s.turnedAway("POST /callback"+good+"\r\nX-HTTP-Method-Override: GET", http.StatusMethodNotAllowed)
		s.turnedAway("OPTIONS /callback"+good+"\r\nOrigin: https://evil.test\r\nAccess-Control-Request-Method: GET\r\nAccess-Control-Request-Private-Network: true", http.StatusMethodNotAllowed)
		s.holds()
	})
	t.Run("parameters", func(t *testing.T) {
		s := besiege(t, t.Context(), loopback, false)
		for _, query := range []string{
			// Names in escapes are the same names.
			"code=CODE&%63ode=other&state=STATE", "code=CODE&state=STATE&%73tate=x", "state=x&code=CODE&%73%74%61%74%65=STATE",
			"error=a&%65rror=b&state=STATE", "error=a&error_description=b&error%5Fdescription=c&state=STATE", "code=CODE&code=&state=STATE", "code=CODE&state=STATE&state",
			// Names that only some programs treat as the same.
			"code=CODE&State=STATE", "code=CODE&state%00=STATE", "code=CODE&+state=STATE", "code=CODE&state%5B%5D=STATE", "code=CODE;state=STATE", "state=STATE&CODE",
			// Nearly our state.
			"code=CODE&state=STATE%00", "code=CODE&state=STATE+", "code=CODE&state=%20STATE", "code=CODE&state=STATE%0A", "code=CODE&state=STATE%3D",
			"code=CODE&state=STATESTATE", "code=CODE&state=%E2%80%8BSTATE", "code=CODE&state=*", "code=CODE&state=null",
			"code=CODE&state=" + s.State[:42], "code=CODE&state=" + s.State[1:], "code=CODE&state=" + strings.ToLower(s.State) + strings.ToUpper(s.State),
			// A refusal without our state proves nothing.
			"error=access_denied", "error=access_denied&state=", "error=access_denied&state=" + s.State[:42], "error=%00&state=STATE", "error_description=no&state=STATE",
			"done", "done=", "done&code=CODE&state=x", "",
		} {
			s.turnedAway("GET /callback?"+query+" HTTP/1.1\r\nHost: HOST", http.StatusNotFound)
		}
		// Our state in other places than the query.
		s.turnedAway("GET /callback?code=CODE HTTP/1.1\r\nHost: HOST\r\nCookie: state=STATE\r\nState: STATE\r\nReferer: http://HOST/callback?state=STATE", http.StatusNotFound)
		s.turnedAway("GET /callback?code=CODE HTTP/1.1\r\nHost: HOST\r\nContent-Type: application/x-www-form-urlencoded\r\nContent-Length: 49\r\n\r\nstate=STATE", http.StatusNotFound)
		s.holds()
	})
}

// Ten thousand requests of every wrong kind, many at a time on each connection.
func TestHostileFlood(t *testing.T) {
	s := besiege(t, t.Context(), loopback, false)
	kinds := []struct {
		method, rest string
		status       int
	}{
		{"GET", "/callback?code=CODE&state=AAAA HTTP/1.1\r\nHost: HOST", 404},
		{"GET", "/callback?error=access_denied HTTP/1.1\r\nHost: HOST", 404},
		{"GET", "/callback?code=CODE&state=STATE HTTP/1.1\r\nHost: evil.test", 404},
		{"GET", "/favicon.ico HTTP/1.1\r\nHost: HOST", 404},
		{"GET", "/callback?done HTTP/1.1\r\nHost: HOST", 404},
		{"GET", "/callback?code=CODE&state=STATE HTTP/1.1\r\nHost: HOST\r\nSec-Purpose: prefetch;anonymous-client-ip", 404},
		{"HEAD", "/callback?code=CODE&state=STATE HTTP/1.1\r\nHost: HOST", 405},
		{"POST", "/callback?code=CODE&state=STATE HTTP/1.1\r\nHost: HOST\r\nContent-Length: 0", 405},
		{"GET", "/callback?" + strings.Repeat("a=b&", 50) + " HTTP/1.1\r\nHost: HOST", 404},
		{"GET", "/callback?code=CODE&code=CODE&state=STATE HTTP/1.1\r\nHost: HOST", 404},
	}
	const connections, rounds, burst = 10, 20, 50
	var wg sync.WaitGroup
	for range connections {
		conn := s.connect()
		wg.Go(func() {
			in := bufio.NewReader(conn)
			for range rounds {
				var out strings.Builder
				for i := range burst {
					k := kinds[i%len(kinds)]
					out.WriteString(k.method + " " + k.rest + "\r\n\r\n")
				}
				if _, err := io.WriteString(conn, s.fill(out.String())); err != nil {
					t.Error(err)
					return
				}
				for i := range burst {
					k := kinds[i%len(kinds)]
					resp, err := http.ReadResponse(in, &http.Request{Method: k.method})
					if err != nil {
						t.Error(err)
						return
					}
					io.Copy(io.Discard, resp.Body)
					if resp.StatusCode != k.status || resp.Header.Get("Cache-Control") != "no-store" {
						t.Errorf("%s %.60s: %s %v", k.method, k.rest, resp.Status, resp.Header)
					}
				}
			}
		})
	}
	wg.Wait()
	s.holds()
}

// Connections with an unfinished request do not block the real answer, and are closed
// at the end of the sign-in.
func TestHostileHeldConnections(t *testing.T) {
	const of = 40 // of each kind
	for _, test := range []struct {
		name, redirect string
		leaves         bool // the person does, before an answer comes
	}{
		{"http", loopback, false},
		{"https", mappedTLS, false},
		{"http, left", "http://localhost:%s/callback", true},
		{"https, left", mappedTLS, true},
	} {
		t.Run(test.name, func(t *testing.T) {
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			s := besiege(t, ctx, test.redirect, false)
			var held []net.Conn
			hold := func(socket, conn net.Conn, begun string) {
				if _, err := io.WriteString(conn, s.fill(begun)); err != nil {
					t.Fatal(err)
				}
				held = append(held, socket)
			}
			for range of {
				for _, begun := range []string{
					"", "G", "GET /callback?code=CODE&state=STA", "GET /callback?code=CODE&state=STATE HTTP/1.1\r\nHost: HOST\r\nX-Slow:",
					"POST /callback HTTP/1.1\r\nHost: HOST\r\nContent-Length: 1000000\r\n\r\nx",
					"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", // a TLS handshake's first bytes
				} {
					socket := s.connect()
					hold(socket, socket, begun)
				}
				if s.tls { // and inside of TLS
					socket := s.connect()
					hold(socket, s.through(socket), "GET /callback?code=CODE&state=STA")
				}
			}
			if test.leaves {
				cancel()
				if _, err := s.end(); !errors.Is(err, context.Canceled) {
					t.Error(err)
				}
				s.gone()
			} else {
				s.holds()
			}
			for _, conn := range held {
				if _, err := io.Copy(io.Discard, conn); errors.Is(err, os.ErrDeadlineExceeded) {
					t.Fatal("a connection is still open")
				}
			}
		})
	}
}

// Requests that are too large, or no HTTP at all, end only their own connection. The
// HTTP server itself answers them: the answers are no pages and repeat nothing.
func TestHostileNoise(t *testing.T) {
	const mark = "<script>alert(1)</script>"
	good := "GET /callback?code=CODE&state=STATE HTTP/1.1\r\nHost: HOST\r\n"
	for name, redirect := range map[string]string{"http": loopback, "https": mappedTLS} {
		t.Run(name, func(t *testing.T) {
			s := besiege(t, t.Context(), redirect, false)
			for what, text := range map[string]string{
				"long target":          "GET /callback?code=CODE&state=STATE&x=" + strings.Repeat(mark, 5_000) + " HTTP/1.1\r\nHost: HOST\r\n\r\n",
				"long header":          good + "X: " + strings.Repeat(mark, 5_000) + "\r\n\r\n",
				"many headers":         good + strings.Repeat("X: "+mark+"\r\n", 5_000) + "\r\n",
				"long method":          strings.Repeat("G", 100_000) + "ET /callback?code=CODE&state=STATE HTTP/1.1\r\nHost: HOST\r\n\r\n",
				"no line end":          strings.Repeat("A", 100_000),
				"two hosts":            good + "Host: HOST\r\n\r\n",
				"host with a tag":      "GET /callback?code=CODE&state=STATE HTTP/1.1\r\nHost: " + mark + "\r\n\r\n",
				"host with a user":     "GET /callback?code=CODE&state=STATE HTTP/1.1\r\nHost: evil.test@HOST\r\n\r\n",
				"target with a user":   "GET http://HOST@evil.test/callback?code=CODE&state=STATE HTTP/1.1\r\nHost: HOST\r\n\r\n",
				"no host":              "GET /callback?code=CODE&state=STATE HTTP/1.1\r\n\r\n",
				"header with a tag":    good + mark + ": x\r\n\r\n",
				"method with a tag":    mark + " /callback?code=CODE&state=STATE HTTP/1.1\r\nHost: HOST\r\n\r\n",
				"version with a tag":   "GET /callback?code=CODE&state=STATE HTTP/" + mark + "\r\nHost: HOST\r\n\r\n",
				"another version":      "GET /callback?code=CODE&state=STATE HTTP/9.9\r\nHost: HOST\r\n\r\n",
				"HTTP/0.9":             "GET /callback?code=CODE&state=STATE\r\n\r\n",
				"folded header":        good + "\r\n X: " + mark + "\r\n\r\n",
				"expectation":          good + "Expect: " + mark + "\r\n\r\n",
				"unknown coding":       good + "Transfer-Encoding: " + mark + "\r\n\r\n",
				"two lengths":          good + "Content-Length: 1\r\nContent-Length: 2\r\n\r\n",
				"options of all":       "OPTIONS * HTTP/1.1\r\nHost: evil.test\r\nX: " + mark + "\r\n\r\n",
				"HTTP/2":               "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\x00\x00\x00\x04\x00\x00\x00\x00\x00",
				"control characters":   "GET /callback?code=CODE&state=STATE\x1b[2J HTTP/1.1\r\nHost: HOST\r\n\r\n",
				"line feed in the URL": "GET /callback?code=CODE&state=STATE\nX: y HTTP/1.1\r\nHost: HOST\r\n\r\n",
				"zeros":                strings.Repeat("\x00", 100_000),
				"SSH":                  "SSH-2.0-OpenSSH_9.9\r\n",
				"TLS, cut":             "\x16\x03\x01\x00\x05\x01\x00\x00\x01\x00\r\n\r\n",
			} {
				if strings.HasPrefix(text, good) && what != "two hosts" && what != "expectation" {
					text = strings.Replace(text, "state=STATE", "state=x", 1) // some of these may be read as HTTP
				}
				// The answer is lost if the connection is reset while the rest is being sent.
				answers, _ := s.knock(text, http.MethodGet)
				for _, answer := range answers {
					ok := answer.StatusCode >= 400 || what == "options of all" && answer.Body == ""
					if !ok || strings.Contains(answer.Body, "alert") || strings.Contains(answer.Status, "alert") || answer.Header.Get("Location") != "" {
						t.Errorf("%s: %s %.200q", what, answer.Status, answer.Body)
					}
					if strings.Contains(answer.Header.Get("Content-Type"), "html") {
						callbacktest.CheckGuarded(t, answer)
					}
					s.revealsNothing(what, answer)
				}
			}
			s.holds()
		})
	}
	t.Run("the other protocol", func(t *testing.T) {
		s := besiege(t, t.Context(), mappedTLS, false)
		s.tls = false
		answers, err := s.knock(good+"\r\n", http.MethodGet) // may be reset behind the answer
		if len(answers) == 0 || answers[0].StatusCode != http.StatusBadRequest {
			t.Errorf("http to the https listener: %v, %v", answers, err)
		}
		s.tls = true
		for _, old := range []uint16{tls.VersionTLS10, tls.VersionTLS11} {
			conn := tls.Client(s.connect(), &tls.Config{InsecureSkipVerify: true, MinVersion: old, MaxVersion: old})
			if conn.Handshake() == nil {
				t.Errorf("TLS version %#x is spoken", old)
			}
		}
		h2 := tls.Client(s.connect(), &tls.Config{InsecureSkipVerify: true, NextProtos: []string{"h2"}})
		if err := h2.Handshake(); err == nil && h2.ConnectionState().NegotiatedProtocol != "" {
			t.Error("HTTP/2 is spoken")
		}
		h2.Close()
		s.holds()
	})
	t.Run("TLS to the http listener", func(t *testing.T) {
		s := besiege(t, t.Context(), loopback, false)
		if tls.Client(s.connect(), &tls.Config{InsecureSkipVerify: true}).Handshake() == nil {
			t.Error("TLS is spoken")
		}
		s.holds()
	})
}

// Requests that follow one another on a connection without waiting are judged
// one by one, and the real one among them counts once.
func TestHostilePipeline(t *testing.T) {
	for name, redirect := range map[string]string{"http": loopback, "https": mappedTLS} {
		t.Run(name, func(t *testing.T) {
			s := besiege(t, t.Context(), redirect, false)
			const get = "GET /callback?code=CODE&state=STATE HTTP/1.1\r\nHost: HOST\r\n\r\n"
			answers, err := s.knock(strings.Replace(get, "STATE", "x", 1)+strings.Replace(get, "HOST", "evil.test", 1)+
				get+get+strings.Replace(get, "code=CODE", "error=no", 1)+"GET /callback?done=guessed HTTP/1.1\r\nHost: HOST\r\nConnection: close\r\n\r\n",
				"GET", "GET", "GET", "GET", "GET", "GET")
			if err != nil {
				t.Fatal(err)
			}
			for i, want := range []int{404, 404, 303, 404, 404, 404} {
				if answers[i].StatusCode != want {
					t.Errorf("answer %d: %s, want %d", i, answers[i].Status, want)
				}
				callbacktest.CheckGuarded(t, answers[i])
			}
			s.succeeds()
			s.gone()
		})
	}
}

// While the code is being redeemed, no other answer is taken and nothing is revealed.
func TestHostileWhileRedeeming(t *testing.T) {
	t.Run("others come", func(t *testing.T) {
		s := besiege(t, t.Context(), loopback, false)
		answer := s.answer()
		_, query, _ := strings.Cut(answer, "?")
		s.redeem = func() {
			for range 20 {
				s.turnedAway("GET /callback?code=CODE&state=STATE HTTP/1.1\r\nHost: HOST", http.StatusNotFound)
				s.turnedAway("GET /callback?error=access_denied&state=STATE HTTP/1.1\r\nHost: HOST", http.StatusNotFound)
				s.turnedAway("GET /callback?"+query+" HTTP/1.1\r\nHost: HOST", http.StatusNotFound) // the same again
				s.turnedAway("GET /callback?done HTTP/1.1\r\nHost: HOST", http.StatusNotFound)
			}
		}
		page := callbacktest.Browse(t, answer)
		s.succeeds()
		if !strings.Contains(page.Body, "Anna de Vries") {
			t.Error(page.Body)
		}
		s.gone()
	})
	t.Run("the browser leaves", func(t *testing.T) {
		s := besiege(t, t.Context(), mappedTLS, false)
		socket := s.connect()
		s.redeem = func() { socket.Close() }
		if _, err := io.WriteString(s.through(socket), s.fill("GET /callback?code=CODE&state=STATE HTTP/1.1\r\nHost: HOST\r\n\r\n")); err != nil {
			t.Fatal(err)
		}
		s.succeeds()
		s.gone()
	})
}

// After the sign-in nothing of it is left, however it ended.
func TestHostileEnds(t *testing.T) {
	t.Run("refused", func(t *testing.T) {
		s := besiege(t, t.Context(), loopback, false)
		callbacktest.Browse(t, s.RedirectURI+"?error=access_denied&state="+s.State)
		if _, err := s.end(); !errors.Is(err, fault.ErrDenied) {
			t.Error(err)
		}
		s.gone()
	})
	t.Run("by a relay page", func(t *testing.T) {
		besiege(t, t.Context(), "https://relay.test:%s/exact.html", true).holds()
	})
}

// Text of strangers is not repeated. The server's text of a refusal is shown, and can
// neither run, nor hide, nor move anything.
func TestHostileText(t *testing.T) {
	texts := map[string]string{
		"html":       `"><script>alert(1)</script><img src=x onerror=alert(1)>'--></title><style>*{}`,
		"entities":   `&lt;script&gt;&#60;b&#62;&amp;`,
		"template":   `{{.Title}}{{define "x"}}`,
		"escapes":    "\x1b[2J\x1b[31m\x1b]8;;http://evil.test\x07click\x1b]8;;\x07\x1b]0;title\x07\x1bc",
		"C1":         "\u009b2J\u009d0;title\u009c\u0090",
		"lines":      "one\r\nSet-Cookie: a=b\r\n\r\n\vtwo\ftwo\u0085three\u2028four\u2029five\r$ rm -rf",
		"bidi":       "\u202eevil\u202c \u2066x\u2069 \u200f\u061c",
		"invisible":  "a\u200bb\u200cc\u2060d\ufeffe\u00adf\U000e0041",
		"not UTF-8":  "a\xff\xfe\xc0\xafb\xed\xa0\x80",
		"backspaces": "safe\b\b\b\bevil\x7f\x00",
		"long":       strings.Repeat("long ", 1000),
	}
	t.Run("of strangers", func(t *testing.T) {
		s := besiege(t, t.Context(), loopback, false)
		for name, text := range texts {
			mark := "evilmark" + url.QueryEscape(text)
			for _, request := range []string{
				"GET /" + mark + " HTTP/1.1\r\nHost: HOST",
				"GET /callback?error=" + mark + "&error_description=" + mark + "&state=" + mark + " HTTP/1.1\r\nHost: HOST",
				"GET /callback?" + mark + " HTTP/1.1\r\nHost: HOST\r\nReferer: http://" + mark + "/\r\nUser-Agent: " + mark + "\r\nOrigin: http://" + mark,
			} {
				answers, err := s.knock(request+"\r\n\r\n", http.MethodGet)
				if err != nil {
					t.Fatal(name, err)
				}
				var all bytes.Buffer
				answers[0].Header.Write(&all)
				if strings.Contains(all.String()+answers[0].Body, "evilmark") || answers[0].StatusCode != http.StatusNotFound {
					t.Errorf("%s: %s %s", name, answers[0].Status, answers[0].Body)
				}
			}
		}
		s.holds()
	})
	for name, text := range texts {
		t.Run("of the server, "+name, func(t *testing.T) {
			s := besiege(t, t.Context(), loopback, false)
			q := url.Values{"error": {"denied" + text}, "error_description": {"because" + text}, "state": {s.State}}
			page := callbacktest.Browse(t, s.RedirectURI+"?"+q.Encode())
			_, err := s.end()
			if !errors.Is(err, fault.ErrDenied) || !strings.Contains(err.Error(), "denied") || len(err.Error()) > 2000 {
				t.Errorf("%.300q", err)
			}
			callbacktest.CheckGuarded(t, page)
			rest := strings.NewReplacer("<!doctype html>", "", "\n", "").Replace(page.Body)
			for where, shown := range map[string]string{"error": err.Error(), "page": rest} {
				if i := strings.IndexFunc(shown, func(r rune) bool { return !unicode.IsPrint(r) }); i >= 0 {
					t.Errorf("the %s has %q", where, shown[i:min(i+10, len(shown))])
				}
			}
			for _, tag := range []string{"<script", "<img", "<b>"} {
				if strings.Contains(page.Body, tag) {
					t.Errorf("the page has %s", tag)
				}
			}
			if strings.Count(page.Body, "<style>") != 1 || strings.Count(page.Body, "</title>") != 1 || !strings.Contains(page.Body, "refused") {
				t.Errorf("the page: %s", page.Body)
			}
			if len(page.Header.Values("Set-Cookie")) > 0 {
				t.Error("a header came in by the text")
			}
			s.gone()
		})
	}
}

// A port in use, on whatever address the browser might try, is an error of Open that
// names the port. The program that had it first is not disturbed.
func TestHostileHolder(t *testing.T) {
	for _, test := range []struct {
		redirect, holder string
		only             string // the system where the holder is in the way; empty: all
	}{
		{loopback, "127.0.0.1", ""},
		{mappedTLS, "127.0.0.1", ""},
		{"http://localhost:%s/callback", "127.0.0.1", ""},
		{"http://localhost:%s/callback", "::1", ""},
		{loopback, "0.0.0.0", "linux"}, // elsewhere a single address can be listened on beside all of them, and takes precedence
		{"http://localhost:%s/callback", "::", "linux"},
		{mappedTLS, "0.0.0.0", "linux"},
		{"http://localhost:%s/callback", "another sign-in", ""},
		{mappedTLS, "another sign-in", ""},
	} {
		t.Run(test.holder+" and "+test.redirect[:10], func(t *testing.T) {
			if test.only != "" && test.only != runtime.GOOS {
				t.Skip("only on ", test.only)
			}
			fails := func(p config.Settings) {
				t.Helper()
				u, _ := url.Parse(p.RedirectURI)
				_, err := callback.Open(t.Context(), callback.Options{Settings: p, Certificates: tokenstore.NewFiles(t.TempDir(), nil)})
				for _, err := range []error{err, callback.Try(t.Context(), p)} {
					if !errors.Is(err, callback.ErrPort) || !errors.Is(err, fault.ErrConfig) || !strings.Contains(err.Error(), u.Port()) {
						t.Errorf("got %v", err)
					}
				}
			}
			if test.holder == "another sign-in" {
				s := besiege(t, t.Context(), test.redirect, false)
				fails(config.Settings{RedirectURI: s.RedirectURI})
				s.holds()
				return
			}
			if strings.Contains(test.holder, ":") {
				needIPv6(t)
			}
			t.Parallel()
			p := settings(t, test.redirect)
			u, _ := url.Parse(p.RedirectURI)
			holder, err := net.Listen("tcp", net.JoinHostPort(test.holder, u.Port()))
			if err != nil {
				t.Fatal(err)
			}
			defer holder.Close()
			fails(p)
			holder.Close()
			callbacktest.CheckClosed(t, u.Port()) // nothing of the first try is left
			s := sit(t.Context(), t, callback.Options{Settings: p})
			callbacktest.Browse(t, s.answer())
			s.succeeds()
		})
	}
}
