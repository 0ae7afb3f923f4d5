package callback

import (
	"context"
	"crypto/rand"
	"crypto/tls"
	"errors"
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

// ErrPort is the fault.ErrConfig of an address for the browser's answer that cannot be
// listened on.
var ErrPort = fault.Kind(fault.ErrConfig, "port not available")

// place is where the browser will arrive.
type place struct {
	addrs []string // to listen on, all loopback; those after the first may not exist
	tls   bool
	hosts []string // authorities that a request may name; listen sets them for a free port
	path  string   // decoded, as it is compared
}

// placeFor decides where to listen. The browser reaches a loopback redirect URI
// itself. It reaches this machine under any other name by a hosts file or DNS entry, a
// relay page, or a tunnel or reverse proxy that forwards to listen. ok is false if
// there is nothing to listen on.
func placeFor(p config.Settings) (at place, ok bool) {
	redirect, _ := url.Parse(p.RedirectURI) // checked with the settings
	at.path, at.hosts = pathOf(redirect), []string{authority(redirect.Scheme, redirect.Host)}
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
		at.hosts = append(at.hosts, authority(listen.Scheme, listen.Host))
	case config.IsLoopback(redirect.Hostname()):
		at.tls = redirect.Scheme == "https"
		at.addrs = loopbackAddrs(redirect.Hostname(), portOf(redirect))
	default:
		at.tls = true
		at.addrs = []string{net.JoinHostPort("127.0.0.1", portOf(redirect))}
	}
	return at, true
}

// loopbackAddrs returns both addresses of "localhost": browsers differ in which they
// try, and another program could listen on the other.
func loopbackAddrs(host, port string) []string {
	if strings.EqualFold(host, "localhost") {
		return []string{net.JoinHostPort("127.0.0.1", port), net.JoinHostPort("::1", port)}
	}
	return []string{net.JoinHostPort(host, port)}
}

// listener waits for the browser. It takes one answer to its attempt and shows the
// outcome; it refuses everything else and the wait goes on.
type listener struct {
	place
	port    string // of the first address
	sockets []net.Listener
	server  *http.Server

	done     string   // the query of the last page
	language language // of pages, for a browser that asks for neither of ours
	attempt  attempt
	answered atomic.Bool   // after the one answer that counts
	came     chan redirect // buffered for that answer

	outcome Page
	settled chan struct{} // closed once outcome is set
	shown   chan struct{} // buffered; sent to when the browser has fetched the outcome
}

// redirect is an answer to the attempt: a code, or a refusal.
type redirect struct {
	code fault.Secret
	bare bool // pasted without its address, so no state shows whose it is
	err  error
}

// listen binds the addresses. The sign-in address is shown only after it succeeded.
// It speaks TLS if there is a certificate.
func listen(ctx context.Context, at place, cert *tls.Certificate) (*listener, error) {
	l := &listener{
		place: at,
		server: &http.Server{
			ReadHeaderTimeout:            5 * time.Second,
			ReadTimeout:                  10 * time.Second,
			IdleTimeout:                  10 * time.Second,
			MaxHeaderBytes:               32 << 10, // codes of 1 KiB, cookies of other programs on this host
			DisableGeneralOptionsHandler: true,     // it answers whatever host a request names
			ErrorLog:                     log.New(io.Discard, "", 0),
			TLSNextProto:                 map[string]func(*http.Server, *tls.Conn, http.Handler){}, // one request needs no HTTP/2
		},
		// The address with the code redirects to the last page, so that the code stays
		// neither in the address bar nor behind the back button. Another program cannot
		// guess the last page's address.
		done:    "done=" + rand.Text(),
		came:    make(chan redirect, 1),
		settled: make(chan struct{}),
		shown:   make(chan struct{}, 1),
	}
	l.server.Handler = l
	for i, addr := range at.addrs {
		socket, err := new(net.ListenConfig).Listen(ctx, "tcp", addr)
		switch {
		case err != nil && i > 0 && !isInUse(err):
			continue // this machine has no IPv6
		case err != nil:
			l.close()
			return nil, listenError(addr, err)
		case cert != nil:
			socket = tls.NewListener(socket, &tls.Config{Certificates: []tls.Certificate{*cert}, MinVersion: tls.VersionTLS12})
		}
		l.sockets = append(l.sockets, socket)
	}
	_, l.port, _ = net.SplitHostPort(l.sockets[0].Addr().String())
	if len(l.hosts) == 0 {
		l.hosts = []string{net.JoinHostPort("127.0.0.1", l.port)}
	}
	return l, nil
}

func (l *listener) start(a attempt, pages language) {
	l.attempt, l.language = a, pages
	for _, socket := range l.sockets {
		go l.server.Serve(socket) // until finish or close
	}
}

func (l *listener) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	guard(w.Header())
	switch {
	case !l.namedAs(r.Host), r.URL.Path != l.path:
		l.show(w, r, notHere)
		return
	case r.Method != http.MethodGet:
		w.Header().Set("Allow", http.MethodGet)
		l.show(w, r, wrongMethod)
		return
	case r.Header.Get("Sec-Purpose") != "" || r.Header.Get("Purpose") != "" || r.Header.Get("X-Moz") != "":
		// A prefetch is no answer, and would use up the code.
		l.show(w, r, notHere)
		return
	case r.URL.RawQuery == l.done:
		<-l.settled // it is: only the redirect below names this address
		l.show(w, r, l.outcome)
		select {
		case l.shown <- struct{}{}:
		default: // the browser fetches it again
		}
		return
	}
	code, err := l.attempt.accept(r.URL.RawQuery)
	if err != nil && !errors.Is(err, fault.ErrDenied) || !l.answered.CompareAndSwap(false, true) {
		l.show(w, r, notHere)
		return
	}
	l.came <- redirect{code: code, err: err}
	select {
	case <-l.settled:
		w.Header().Set("Location", r.URL.EscapedPath()+"?"+l.done)
		w.WriteHeader(http.StatusSeeOther)
	case <-r.Context().Done():
	}
}

// show writes a page in the language that the browser asks for.
func (l *listener) show(w http.ResponseWriter, r *http.Request, p Page) {
	p.write(w, preferred(strings.Join(r.Header.Values("Accept-Language"), ","), l.language))
}

// namedAs reports whether a request names this listener. The request of a page that
// pointed its own name at this machine (DNS rebinding) does not.
func (l *listener) namedAs(host string) bool {
	scheme := "http"
	if l.tls {
		scheme = "https"
	}
	// A proxy in front may add TLS, whose default port is another one.
	return slices.Contains(l.hosts, authority(scheme, host)) || slices.Contains(l.hosts, authority("https", host))
}

// finish shows the outcome to the browser that brought the answer, and stops listening.
func (l *listener) finish(p Page) {
	l.outcome = p
	close(l.settled)
	if l.answered.Load() {
		// A browser follows the redirect at once. Another client may never do so.
		select {
		case <-l.shown:
		case <-time.After(2 * time.Second):
		}
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	_ = l.server.Shutdown(ctx) // close ends what takes longer
}

func (l *listener) close() {
	l.server.Close()
	for _, s := range l.sockets {
		s.Close() // the server closes only those that it was started on
	}
}
