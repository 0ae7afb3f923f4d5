// Package network sends requests under the program's name, and says who made a request
// fail: the proxy in the environment, a certificate, the name server or the server.
package network

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"net"
	"net/http"
	"net/url"
	"strings"
	"syscall"

	"github.com/exactauth/exactauth/internal/fault"
)

// Transport is an http.Transport with the User-Agent of the program, whose errors are an
// [Error].
type Transport struct {
	*http.Transport
	agent string
}

// New returns a transport for requests that name agent, if they name no other one.
func New(agent string) *Transport {
	t := &Transport{http.DefaultTransport.(*http.Transport).Clone(), agent}
	t.Proxy = func(req *http.Request) (*url.URL, error) {
		proxy, err := http.ProxyFromEnvironment(req)
		if err != nil { // its text has the whole address
			err = errors.New("the variable for the proxy is not the address of one")
		}
		return proxy, err
	}
	t.ProxyConnectHeader = http.Header{"User-Agent": {agent}}
	t.OnProxyConnectResponse = func(_ context.Context, proxy *url.URL, _ *http.Request, resp *http.Response) error {
		if resp.StatusCode == http.StatusOK {
			return nil
		}
		return refused(proxy, resp)
	}
	return t
}

// RoundTrip sends a request.
func (t *Transport) RoundTrip(req *http.Request) (*http.Response, error) {
	if _, named := req.Header["User-Agent"]; !named { // that of a client of "exactauth proxy" is its own, or empty
		req = req.Clone(req.Context())
		req.Header.Set("User-Agent", t.agent)
	}
	resp, err := t.Transport.RoundTrip(req)
	if err != nil {
		proxy, _ := t.Proxy(req) // nil if that failed
		return nil, explain(err, proxy)
	}
	return resp, nil
}

// Alone returns a transport like next, a [Transport] or an *http.Transport, that opens a
// connection for each request. Nil is http.DefaultTransport. Others are returned as they
// are.
func Alone(next http.RoundTripper) http.RoundTripper {
	switch t := next.(type) {
	case nil:
		return Alone(http.DefaultTransport)
	case *Transport:
		return &Transport{Alone(t.Transport).(*http.Transport), t.agent}
	case *http.Transport:
		t = t.Clone()
		t.DisableKeepAlives = true
		return t
	}
	return next
}

// Cause is what made a request fail, as far as a person can do something about it.
type Cause int

// The causes. Those that do not end by themselves are marked as such in [Error.Lasting].
const (
	Unknown       Cause = iota
	ProxyAway           // the proxy cannot be reached
	ProxyPassword       // the proxy wants a name and a password, or others
	ProxyScheme         // the proxy wants a sign-in of a kind that is not supported
	ProxyRefusal        // another answer of the proxy
	Authority           // a certificate of an authority that this machine does not trust
	Certificate         // a certificate that is not valid now, or not for this server
	Name                // the name server does not know the name
)

// Error is a request that failed. Its text has no part of an address but a host's name.
type Error struct {
	Cause Cause
	Proxy string // host and port of the proxy; empty without one

	// Lasting is set if the same request fails until a person changes something. The name
	// of a host is not found for a while on a machine without a network, too.
	Lasting bool

	text string
	err  error // for http.Client; nil after Explain
}

func (e *Error) Error() string { return fault.Printable(e.text) }
func (e *Error) Unwrap() error { return e.err }

// Lasts reports whether err is of a request that fails until a person changes something.
func Lasts(err error) bool {
	e, ok := errors.AsType[*Error](err)
	return ok && e.Lasting
}

// refused is the error for a proxy's answer to CONNECT.
func refused(proxy *url.URL, resp *http.Response) *Error {
	e := &Error{Cause: ProxyRefusal, Proxy: proxy.Host, text: "the proxy " + proxy.Host + " says " + resp.Status}
	e.Lasting = resp.StatusCode/100 != 5 && resp.StatusCode != http.StatusTooManyRequests && resp.StatusCode != http.StatusRequestTimeout
	if to := elsewhere(resp.Header); to != "" {
		e.text += ", a redirect to " + to
	}
	if resp.StatusCode != http.StatusProxyAuthRequired {
		return e
	}
	e.Cause = ProxyPassword
	var schemes []string
	basic := false
	for _, value := range resp.Header.Values("Proxy-Authenticate") {
		scheme, _, _ := strings.Cut(value, " ")
		schemes = append(schemes, scheme)
		basic = basic || strings.EqualFold(scheme, "Basic")
	}
	switch {
	case len(schemes) > 0 && !basic:
		e.Cause = ProxyScheme
		e.text += ": it wants " + fault.List(schemes, " or ")
	case proxy.User != nil:
		e.text += ": it does not accept the name and password in its address"
	default:
		e.text += ": it wants a name and a password"
	}
	return e
}

// Explain returns the error of a request, or of reading an answer, as an [Error] that
// wraps no other one.
func Explain(err error) *Error {
	e := *explain(err, nil)
	e.err = nil
	return &e
}

// explain is Explain for a request through a proxy; nil means that there is none, or that
// it is unknown. Texts of errors can have the address in them, whose query can hold a
// secret, and that of the proxy, with a password: of errors of the way to the proxy only
// the system's text is used.
func explain(err error, proxy *url.URL) *Error {
	if e, ok := errors.AsType[*Error](err); ok {
		return e
	}
	e := &Error{err: err}
	var (
		op        *net.OpError
		timeout   interface{ Timeout() bool }
		name      *net.DNSError
		errno     syscall.Errno
		authority x509.UnknownAuthorityError
		unknown   = errors.As(err, &authority)
		invalid   *tls.CertificateVerificationError
	)
	isOp := errors.As(err, &op)
	toProxy, socks := isOp && op.Op == "proxyconnect", isOp && strings.HasPrefix(op.Op, "socks ")
	who, its, through := "", "its", ""
	if proxy != nil {
		e.Proxy = proxy.Host
		through = "through the proxy " + proxy.Host + ": "
	}
	if toProxy || socks {
		e.Cause, who, its, through = ProxyAway, strings.TrimSpace("the proxy "+e.Proxy), "the proxy's", ""
	}
	switch {
	case errors.As(err, &timeout) && timeout.Timeout(), errors.Is(err, context.DeadlineExceeded):
		e.text = strings.TrimSpace(who + " no answer in time")
	case unknown:
		e.Cause, e.Lasting = Authority, true
		e.text = through + its + " certificate is of an authority that this machine does not trust"
		if authority.Cert != nil {
			e.text += ": " + authority.Cert.Issuer.String()
		}
	case errors.As(err, &invalid):
		e.Cause, e.Lasting = Certificate, true
		e.text = through + its + " certificate is not valid: " + strings.TrimPrefix(invalid.Err.Error(), "x509: ")
	case socks && op.Err != nil: // its texts are constants, or those of the system
		e.Cause, e.text = ProxyRefusal, who+" says: "+op.Err.Error()
		if strings.Contains(op.Err.Error(), "authentication") {
			e.Cause, e.Lasting = ProxyPassword, true
		}
	case toProxy && errors.As(err, &errno):
		e.text = who + " cannot be reached: " + errno.Error()
	case toProxy:
		e.text = who + " cannot be reached or used"
	case errors.As(err, &name) && name.IsNotFound:
		e.Cause, e.text = Name, "the name "+name.Name+" is not found"
	default:
		for wrapped := err; wrapped != nil; wrapped = errors.Unwrap(err) {
			err = wrapped
			if _, more := err.(interface{ Temporary() bool }); !more {
				break
			}
		}
		e.text = through + err.Error()
	}
	return e
}

// elsewhere returns the host that a redirect leads to, or "".
func elsewhere(h http.Header) string {
	to, err := url.Parse(h.Get("Location"))
	if err != nil {
		return ""
	}
	return fault.Printable(to.Hostname())
}

// Stranger describes an answer that may be another party's than the server's, which is
// not known to send redirects and web pages: that of a network with a sign-in page of its
// own (a captive portal), say. It returns "" for other answers.
func Stranger(status int, h http.Header, body []byte) string {
	const portal = ", as of a network with a sign-in page of its own"
	start := bytes.ToLower(bytes.TrimSpace(body[:min(len(body), 512)]))
	switch to := elsewhere(h); {
	case status == http.StatusNetworkAuthenticationRequired:
		return "the network wants a sign-in on its own page"
	case status/100 == 3 && to != "":
		return "a redirect to " + to + portal
	case status/100 == 2 && (bytes.HasPrefix(start, []byte("<!doctype html")) || bytes.HasPrefix(start, []byte("<html"))):
		return "a web page" + portal
	}
	return ""
}
