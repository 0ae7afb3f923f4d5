package exactauth

import (
	"context"
	"crypto/rand"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"github.com/exactauth/exactauth/internal/config"
	"github.com/exactauth/exactauth/internal/fault"
)

// place is where the browser is to arrive.
type place struct {
	addrs []string // to listen on, all loopback; the others after the first only where they exist
	tls   bool
	hosts []string // authorities that a request may name; filled in by listen for a free port
	path  string   // decoded, as it is compared
}

// placeFor applies the table of redirect URI and listen: a loopback redirect
// URI is listened on itself; for any other name the browser reaches this
// machine by a hosts file or DNS entry, a relay page, or something that forwards
// to listen. ok is false if there is nothing to listen for.
func placeFor(p config.Settings) (at place, ok bool) {
	redirect, _ := url.Parse(p.RedirectURI) // checked with the profile
	at.path = pathOf(redirect)
	switch {
	case p.Listen == "none":
		return place{}, false
	case p.Relay:
		return place{addrs: []string{"127.0.0.1:0"}, path: "/callback"}, true
	case p.Listen != "":
		listen, _ := url.Parse(p.Listen)
		at.tls = listen.Scheme == "https"
		at.addrs = loopbackAddrs(listen.Hostname(), listen.Port())
		// A reverse proxy passes the public name on, a tunnel may not.
		at.hosts = []string{authority(redirect.Scheme, redirect.Host), authority(listen.Scheme, listen.Host)}
	case config.IsLoopback(redirect.Hostname()):
		at.tls = redirect.Scheme == "https"
		at.addrs = loopbackAddrs(redirect.Hostname(), portOf(redirect))
		at.hosts = []string{authority(redirect.Scheme, redirect.Host)}
	default:
		at.tls = true
		at.addrs = []string{net.JoinHostPort("127.0.0.1", portOf(redirect))}
		at.hosts = []string{authority(redirect.Scheme, redirect.Host)}
	}
	return at, true
}

// loopbackAddrs gives both addresses of "localhost", since browsers differ in
// which of them they try, and a stranger could sit on the other.
func loopbackAddrs(host, port string) []string {
	if strings.EqualFold(host, "localhost") {
		return []string{net.JoinHostPort("127.0.0.1", port), net.JoinHostPort("::1", port)}
	}
	return []string{net.JoinHostPort(host, port)}
}

func portOf(u *url.URL) string {
	switch {
	case u.Port() != "":
		return u.Port()
	case u.Scheme == "https":
		return "443"
	}
	return "80"
}

// listener waits for the browser. It takes one answer to its attempt and shows
// what became of it; everything else is turned away and the wait goes on.
type listener struct {
	place
	port    string // of the first address
	sockets []net.Listener
	server  *http.Server

	done     string   // the query of the last page
	language language // of pages, if the browser asks for none of theirs
	attempt  *attempt
	answered atomic.Bool   // one answer is enough
	came     chan redirect // buffered for it

	outcome atomic.Pointer[page]
	settled chan struct{} // closed once outcome is set
	shown   chan struct{} // closed once the browser has fetched the outcome
	seen    atomic.Bool
}

// redirect is an answer to the attempt: a code, or a refusal.
type redirect struct {
	code fault.Secret
	err  error
}

// listen binds, which must succeed before anybody is told the address.
func listen(ctx context.Context, at place, cert *tls.Certificate) (*listener, error) {
	l := &listener{
		place: at,
		// The code's own address is answered by a redirect to the last page, so
		// that the code stays neither in the address bar nor behind the back
		// button. Nobody else can guess that page's address.
		done:    "done=" + rand.Text(),
		came:    make(chan redirect, 1),
		settled: make(chan struct{}),
		shown:   make(chan struct{}),
	}
	var sockets []net.Listener
	for i, addr := range at.addrs {
		socket, err := new(net.ListenConfig).Listen(ctx, "tcp", addr)
		if err != nil {
			if i > 0 && !errors.Is(err, errInUse) {
				continue // this machine has no IPv6
			}
			for _, s := range sockets {
				s.Close()
			}
			return nil, listenError(addr, err)
		}
		sockets = append(sockets, socket)
	}
	_, l.port, _ = net.SplitHostPort(sockets[0].Addr().String())
	if len(l.hosts) == 0 {
		l.hosts = []string{net.JoinHostPort("127.0.0.1", l.port)}
	}
	l.server = &http.Server{
		Handler:                      l,
		ReadHeaderTimeout:            5 * time.Second,
		ReadTimeout:                  10 * time.Second,
		IdleTimeout:                  10 * time.Second,
		MaxHeaderBytes:               32 << 10, // codes of 1 KiB, cookies of other things on this host
		DisableGeneralOptionsHandler: true,     // it would answer whatever Host is named
		ErrorLog:                     log.New(io.Discard, "", 0),
		TLSNextProto:                 map[string]func(*http.Server, *tls.Conn, http.Handler){}, // one request needs no HTTP/2
	}
	for i := range sockets {
		if at.tls {
			sockets[i] = tls.NewListener(sockets[i], &tls.Config{Certificates: []tls.Certificate{*cert}, MinVersion: tls.VersionTLS12})
		}
	}
	l.sockets = sockets
	return l, nil
}

// start takes requests, for this attempt.
func (l *listener) start(a *attempt, pages language) {
	l.attempt, l.language = a, pages
	for _, socket := range l.sockets {
		go l.server.Serve(socket) // ends with finish or close
	}
}

func listenError(addr string, err error) error {
	_, port, _ := net.SplitHostPort(addr)
	text := "cannot listen on " + addr + ": " + fault.Printable(err.Error())
	switch {
	case errors.Is(err, errInUse):
		holder := portHolder(addr)
		if holder == "" {
			holder = "another program, maybe another sign-in"
		}
		text = fmt.Sprintf("port %s of %s is in use by %s", port, strings.TrimSuffix(addr, ":"+port), holder)
	case errors.Is(err, errForbidden):
		text = fmt.Sprintf("port %s cannot be listened on: %s", port, forbiddenAdvice)
	}
	return fault.New(ErrPort, "%s", text)
}

func (l *listener) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	guard(w.Header())
	switch {
	case !l.namedAs(r.Host), r.URL.Path != l.path:
		l.show(w, r, notHere)
		return
	case r.Method != http.MethodGet:
		w.Header().Set("Allow", http.MethodGet)
		l.show(w, r, notLikeThis)
		return
	case r.Header.Get("Sec-Purpose") != "" || r.Header.Get("Purpose") != "" || r.Header.Get("X-Moz") != "":
		// A look ahead by the browser is nobody's answer, and would use up the code.
		l.show(w, r, notHere)
		return
	case r.URL.RawQuery == l.done:
		p := l.outcome.Load()
		if p == nil {
			l.show(w, r, notHere)
			return
		}
		l.show(w, r, *p)
		if l.seen.CompareAndSwap(false, true) {
			close(l.shown)
		}
		return
	}
	code, err := l.attempt.accept(r.URL.RawQuery)
	if err != nil && !errors.Is(err, fault.ErrDenied) || !l.answered.CompareAndSwap(false, true) {
		l.show(w, r, notHere)
		return
	}
	l.came <- redirect{code, err}
	select {
	case <-l.settled:
		w.Header().Set("Location", r.URL.EscapedPath()+"?"+l.done)
		w.WriteHeader(http.StatusSeeOther)
	case <-r.Context().Done():
	}
}

// show writes a page in the language of the person before the browser.
func (l *listener) show(w http.ResponseWriter, r *http.Request, p page) {
	p.write(w, preferred(strings.Join(r.Header.Values("Accept-Language"), ","), l.language))
}

// namedAs reports whether a request names this place: a page that had its own
// name lead here (DNS rebinding) does not.
func (l *listener) namedAs(host string) bool {
	scheme := "http"
	if l.tls {
		scheme = "https"
	}
	// A proxy in front may add TLS, and its default port is another one.
	return slices.Contains(l.hosts, authority(scheme, host)) || slices.Contains(l.hosts, authority("https", host))
}

// finish shows the outcome to the browser that brought the answer, and closes.
func (l *listener) finish(p page) {
	l.outcome.Store(&p)
	close(l.settled)
	if l.answered.Load() {
		// A browser follows at once; what is no browser is not waited for long.
		select {
		case <-l.shown:
		case <-time.After(2 * time.Second):
		}
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	if l.server.Shutdown(ctx) != nil {
		l.server.Close()
	}
}

// close stops at once.
func (l *listener) close() {
	l.server.Close()
	for _, s := range l.sockets {
		s.Close() // the server knows only those that it was started on
	}
}
