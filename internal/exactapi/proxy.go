// Package exactapi is a reverse proxy for programs that cannot keep a token
// alive themselves: it listens for this machine's own programs, adds a live
// access token to each request and keeps to Exact Online's limits, so that a job
// which outlives a token sees neither the one nor the other.
//
// A [Proxy] is an [http.Handler] for a loopback listener. It passes a request on
// only if that knows the proxy's secret, and only to one server. What comes back
// is streamed as it is, but for the addresses by which a client goes on (see
// [Proxy.ServeHTTP]).
//
// Facts about Exact are cited where they are used. "Exact KB" is Exact's
// knowledge base, a name with a number is an issue of a public client library,
// as picqer/exact-php-client#646.
package exactapi

import (
	"bytes"
	"context"
	"crypto/subtle"
	"encoding/json"
	"errors"
	"io"
	"log"
	"log/slog"
	"net"
	"net/http"
	"net/http/httputil"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/exactauth/exactauth/internal/fault"
)

// Token is a live access token.
type Token struct {
	Access  fault.Secret
	Expires time.Time // by this machine's clock
}

// Config is what a proxy works with.
type Config struct {
	// BaseURL is the server that requests are passed on to, scheme and host:
	// "https://start.exactonline.nl".
	BaseURL string

	// Secret is what a client must know: letters and digits only, as it stands
	// in the path of addresses.
	Secret fault.Secret

	// Token gives a live access token. It is called by one goroutine at a time,
	// again within a second of its last answer while there are requests, with a
	// context that ends with [Proxy.Close] and no sooner: a client that goes
	// away must not take the others' token with it. An error that wraps a
	// *Refusal is answered with that; if that has an Until which is seconds away,
	// the call is repeated then, and those who wait go on waiting.
	Token func(ctx context.Context) (Token, error)

	// Hosts are the authorities that a request may name, as "127.0.0.1:8484":
	// those of the listener, so that a name of a stranger's that leads to this
	// machine (DNS rebinding) leads to nothing. Nil means any, for a socket that
	// no browser can reach.
	Hosts []string

	// ReadOnly lets only GET and HEAD through.
	ReadOnly bool

	// Transport sends the requests. Optional.
	Transport http.RoundTripper

	// Now is the clock. Optional.
	Now func() time.Time

	// Log gets one line for each request, at level Info: no query, no secret, no
	// token. Optional.
	Log *slog.Logger
}

// Refusal is an answer of the proxy's own, made without asking Exact: a JSON
// object {"error":{"code","message","hint","retryable","retry_at"}}, the last
// three if they say something, with the header Retry-After if Until is set.
type Refusal struct {
	Status  int       // of the HTTP answer
	Code    string    // for programs, as "daily_limit"
	Message string    // for people, one line
	Hint    string    // what a person can do; may be empty
	Until   time.Time // from when the same request can succeed; zero if nobody knows

	also http.Header // headers that go with it
}

// Error returns the message.
func (r *Refusal) Error() string { return r.Message }

// retryable reports whether the same request can succeed later without a person.
func (r *Refusal) retryable() bool { return !r.Until.IsZero() }

func (r *Refusal) body() []byte {
	type fields struct {
		Code      string `json:"code"`
		Message   string `json:"message"`
		Hint      string `json:"hint,omitempty"`
		Retryable bool   `json:"retryable"`
		RetryAt   string `json:"retry_at,omitempty"` // RFC 3339, UTC
	}
	f := fields{r.Code, r.Message, r.Hint, r.retryable(), ""}
	if r.retryable() {
		f.RetryAt = r.Until.UTC().Format(time.RFC3339)
	}
	b, err := json.Marshal(map[string]fields{"error": f})
	if err != nil { // strings and a bool
		panic(err)
	}
	return append(b, '\n')
}

func (r *Refusal) header(h http.Header, now time.Time) {
	h.Set("Content-Type", "application/json; charset=utf-8")
	h.Set("Cache-Control", "no-store")
	h.Set(errorHeader, r.Code)
	if r.retryable() {
		h.Set("Retry-After", strconv.Itoa(secondsUntil(r.Until, now)))
	}
	for name, values := range r.also {
		h[name] = values
	}
	guard(h)
}

// errorHeader tells an answer of the proxy's own from one of Exact's.
const errorHeader = "Exactauth-Error"

// secondsUntil rounds up: who comes back a moment too early has come in vain.
func secondsUntil(t, now time.Time) int {
	return max(1, int((t.Sub(now)+time.Second-1)/time.Second))
}

// Proxy passes requests on to Exact Online. It is safe for concurrent use.
type Proxy struct {
	cfg     Config
	base    *url.URL
	reverse *httputil.ReverseProxy
	send    http.RoundTripper
	idle    func() // closes connections that nobody uses
	tokens  *tokens
	gate    *gate
	active  atomic.Int64
}

// New returns a proxy. The error is a base URL or a secret that cannot be used.
func New(cfg Config) (*Proxy, error) {
	base, err := url.Parse(cfg.BaseURL)
	if err != nil || base.Host == "" || base.Scheme+"://"+base.Host != cfg.BaseURL {
		return nil, errors.New("base URL: want scheme and host only")
	}
	if s := cfg.Secret.Reveal(); len(s) < 20 || strings.ContainsFunc(s, func(r rune) bool { return !isWord(r) }) {
		return nil, errors.New("secret: want at least 20 letters and digits")
	}
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	p := &Proxy{cfg: cfg, base: base, send: cfg.Transport, idle: func() {}, gate: newGate(cfg.Now), tokens: newTokens(cfg.Token, cfg.Now)}
	if p.send == nil {
		own := newTransport()
		p.send, p.idle = own, own.CloseIdleConnections
	}
	p.reverse = &httputil.ReverseProxy{
		Rewrite:        p.rewrite,
		Transport:      sender{p},
		ModifyResponse: p.modify,
		ErrorHandler:   p.failed,
		FlushInterval:  -1, // what has come is passed on; nobody waits for a buffer to fill
		BufferPool:     newBuffers(),
		ErrorLog:       log.New(io.Discard, "", 0), // the access log tells
	}
	return p, nil
}

// newTransport is Go's own but for its limits: the time to a first byte is
// bounded, the time of a body is not.
func newTransport() *http.Transport {
	return &http.Transport{
		Proxy:                 http.ProxyFromEnvironment,
		DialContext:           (&net.Dialer{Timeout: 15 * time.Second, KeepAlive: 30 * time.Second}).DialContext,
		ForceAttemptHTTP2:     true,
		TLSHandshakeTimeout:   15 * time.Second,
		ResponseHeaderTimeout: 5 * time.Minute, // Exact thinks for minutes about a broad query, then says 408
		ExpectContinueTimeout: time.Second,
		MaxIdleConnsPerHost:   64,
		IdleConnTimeout:       90 * time.Second,
	}
}

// Active tells how many requests are being served.
func (p *Proxy) Active() int { return int(p.active.Load()) }

// Drain answers from now on, with 503, every request that has not been passed on
// yet: new ones and those that wait for a limit. What has been passed on goes on.
func (p *Proxy) Drain() {
	p.gate.close(ending())
}

func ending() *Refusal {
	return &Refusal{Status: http.StatusServiceUnavailable, Code: "ending", Message: "the proxy is ending"}
}

// Close drains the proxy and waits for a call of Config.Token that is under way,
// whose context it ends: that call may be about to save what nobody else has.
func (p *Proxy) Close() {
	p.Drain()
	p.tokens.close()
	p.idle()
}

// exchange is one request on its way.
type exchange struct {
	path   string // without the secret; empty until the client has shown that it knows it
	prefix string // what the client has before the path: "http://127.0.0.1:8484/SECRET"

	waited              time.Duration // for a limit
	minuteLeft, dayLeft int           // calls, as Exact said last; -1 if it did not
}

type exchangeKey struct{}

// ServeHTTP passes a request on, or refuses it.
//
// The client's Authorization, its cookies, the headers of browsers and those of
// other proxies stay here. The answer comes back without cookies and without
// CORS headers. Bodies stream both ways untouched but for one thing: where a JSON
// or Atom answer links to the next page ("__next", link rel="next"), and in the
// headers Location and Content-Location, the address of Exact is replaced by that
// of the proxy, in the client's own spelling, as a client that follows it would
// get past the proxy and be refused. Other addresses in the data, those of
// "__metadata" among them, are data: they stay.
func (p *Proxy) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	p.active.Add(1)
	defer p.active.Add(-1)
	x := &exchange{minuteLeft: -1, dayLeft: -1}
	rec := &recorder{ResponseWriter: w}
	began, whole := time.Now(), false
	defer func() { p.log(r, x, rec, time.Since(began), whole) }() // also when a panic cuts the connection
	if refusal := p.admit(r, x); refusal != nil {
		p.refuse(rec, refusal)
		whole = true
		return
	}
	if err := keepShortBody(r); err != nil {
		p.refuse(rec, &Refusal{Status: http.StatusBadRequest, Code: "body", Message: "the body of the request broke off"})
		whole = true
		return
	}
	if r.GetBody == nil && r.ContentLength != 0 {
		// An answer may begin before a long body has ended. HTTP/2 can always.
		_ = http.NewResponseController(w).EnableFullDuplex()
	}
	p.reverse.ServeHTTP(rec, r.WithContext(context.WithValue(r.Context(), exchangeKey{}, x)))
	whole = true
}

// admit decides whether a request is one to pass on, and cuts the secret off its
// path. The order counts: who does not know the secret learns nothing of the rest.
func (p *Proxy) admit(r *http.Request, x *exchange) *Refusal {
	host := func(h string) bool { return strings.EqualFold(h, r.Host) }
	if p.cfg.Hosts != nil && !slices.ContainsFunc(p.cfg.Hosts, host) {
		return &Refusal{Status: http.StatusMisdirectedRequest, Code: "host", Message: "the Host of the request is not this proxy's",
			Hint: "use the address that the proxy printed when it started"}
	}
	x.prefix = "http://" + r.Host
	if fromElsewhere(r.Header, x.prefix) {
		return &Refusal{Status: http.StatusForbidden, Code: "cross_site", Message: "web pages may not use this proxy"}
	}
	path, ok := p.authorized(r, x)
	if !ok {
		return &Refusal{Status: http.StatusUnauthorized, Code: "secret", Message: "the proxy's secret is missing or wrong",
			Hint: "use the address that the proxy printed when it started, or its secret as Authorization: Bearer"}
	}
	r.URL = path
	x.path = path.Path
	switch r.Method {
	case http.MethodConnect, http.MethodOptions, http.MethodTrace:
		return &Refusal{Status: http.StatusMethodNotAllowed, Code: "method", Message: r.Method + " is not passed on",
			also: http.Header{"Allow": {"GET, HEAD, POST, PUT, PATCH, DELETE, MERGE"}}}
	}
	if p.cfg.ReadOnly && (r.Method != http.MethodGet && r.Method != http.MethodHead || overridesMethod(r.Header)) {
		return &Refusal{Status: http.StatusMethodNotAllowed, Code: "read_only", Message: "this proxy only reads: GET and HEAD",
			also: http.Header{"Allow": {"GET, HEAD"}}}
	}
	return checkPath(path)
}

// authorized returns the request's address without the secret, and whether the
// client knows the secret: it is the first segment of the path, or a Bearer token.
func (p *Proxy) authorized(r *http.Request, x *exchange) (*url.URL, bool) {
	u := *r.URL
	first, _, _ := strings.Cut(strings.TrimPrefix(u.EscapedPath(), "/"), "/")
	lead := "/" + first
	// A first segment with escapes in it is not the secret, which needs none.
	if p.isSecret(first) && strings.HasPrefix(u.Path, lead) {
		x.prefix += lead
		u.Path = orRoot(u.Path[len(lead):])
		if u.RawPath != "" {
			u.RawPath = orRoot(u.RawPath[len(lead):])
		}
		return &u, true
	}
	if values := r.Header.Values("Authorization"); len(values) == 1 {
		scheme, value, _ := strings.Cut(values[0], " ")
		if strings.EqualFold(scheme, "Bearer") && p.isSecret(strings.TrimSpace(value)) {
			return &u, true
		}
	}
	return nil, false
}

func orRoot(path string) string {
	if path == "" {
		return "/"
	}
	return path
}

func (p *Proxy) isSecret(s string) bool {
	return subtle.ConstantTimeCompare([]byte(s), []byte(p.cfg.Secret.Reveal())) == 1
}

// fromElsewhere reports whether a browser sent the request on behalf of a page
// that is not the proxy's own. Programs send neither header; what a person types
// into the address bar has Sec-Fetch-Site: none.
func fromElsewhere(h http.Header, own string) bool {
	for _, site := range h.Values("Sec-Fetch-Site") {
		if site != "none" && site != "same-origin" {
			return true
		}
	}
	for _, origin := range h.Values("Origin") {
		if !strings.EqualFold(origin, own) {
			return true
		}
	}
	return false
}

// overridesMethod reports whether a header asks for another method than the
// request's own, as OData and many frameworks have it.
func overridesMethod(h http.Header) bool {
	return h.Get("X-Http-Method") != "" || h.Get("X-Http-Method-Override") != "" || h.Get("X-Method-Override") != ""
}

// checkPath refuses paths that would mean one thing here and another at Exact.
// Encoded slashes are passed on as they are, but count as slashes.
func checkPath(u *url.URL) *Refusal {
	bad := &Refusal{Status: http.StatusBadRequest, Code: "path", Message: "the path of the request is not passed on",
		Hint: "it has a segment . or .., an empty one at its beginning, or a control character"}
	if !strings.HasPrefix(u.Path, "/") || strings.HasPrefix(u.Path, "//") || strings.HasPrefix(u.Path, `/\`) {
		return bad
	}
	segments := strings.FieldsFunc(u.Path, func(r rune) bool { return r == '/' || r == '\\' })
	for _, s := range segments {
		if s == "." || s == ".." || strings.ContainsFunc(s, func(r rune) bool { return r < ' ' || r == 0x7f }) {
			return bad
		}
	}
	if len(segments) == 0 { // a person looks whether it works; at Exact it might count as an error
		return &Refusal{Status: http.StatusNotFound, Code: "path", Message: "this is exactauth's proxy; what it passes on has a path, as /api/v1/current/Me"}
	}
	// What is asked of the token endpoint counts against the app's limits there.
	if len(segments) >= 2 && strings.EqualFold(segments[0], "api") && strings.EqualFold(segments[1], "oauth2") {
		return &Refusal{Status: http.StatusForbidden, Code: "path", Message: "/api/oauth2 is not passed on: the proxy adds a live token by itself"}
	}
	return nil
}

// shortBody is the size up to which the body of a request is kept, in bytes, so
// that the request can be sent a second time. What a script posts to Exact is a
// record or a few; a file streams through.
const shortBody = 64 << 10

func keepShortBody(r *http.Request) error {
	if r.ContentLength <= 0 || r.ContentLength > shortBody {
		return nil
	}
	body := make([]byte, r.ContentLength)
	if _, err := io.ReadFull(r.Body, body); err != nil {
		return err
	}
	r.GetBody = func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(body)), nil }
	r.Body, _ = r.GetBody()
	return nil
}

// rewrite turns the client's request into the one that Exact sees. Hop-by-hop
// headers and the usual headers of proxies are gone already.
func (p *Proxy) rewrite(pr *httputil.ProxyRequest) {
	out := pr.Out
	out.URL.Scheme, out.URL.Host = p.base.Scheme, p.base.Host
	out.Host = ""
	out.URL.RawQuery = pr.In.URL.RawQuery // as it came: a filter may hold a semicolon
	for name := range out.Header {
		if staysHere(name) {
			delete(out.Header, name)
		}
	}
}

// staysHere reports whether a header of a request, in canonical form, is not for
// Exact: it is about the way to the proxy, of a browser, or would have the path
// read differently there.
func staysHere(name string) bool {
	switch name {
	case "Authorization", "Cookie", "Cookie2", "Origin", "Referer",
		"Accept-Encoding", // the transport asks for gzip and unpacks: links must be legible
		"Upgrade", "Connection", "Upgrade-Insecure-Requests",
		"Via", "X-Real-Ip", "X-Original-Url", "X-Rewrite-Url", "X-Original-Host", "X-Host":
		return true
	}
	for _, family := range []string{"Sec-", "X-Forwarded-", "Access-Control-"} {
		if strings.HasPrefix(name, family) {
			return true
		}
	}
	return false
}

// modify turns Exact's answer into the one that the client sees.
func (p *Proxy) modify(resp *http.Response) error {
	h := resp.Header
	for name := range h {
		switch {
		case name == "Set-Cookie", name == "Set-Cookie2", name == "Alt-Svc", name == "Strict-Transport-Security",
			name == "Clear-Site-Data", name == "Content-Security-Policy", name == errorHeader,
			strings.HasPrefix(name, "Access-Control-"):
			delete(h, name)
		}
	}
	guard(h)
	x, ok := resp.Request.Context().Value(exchangeKey{}).(*exchange)
	if !ok {
		return nil
	}
	for _, name := range []string{"Location", "Content-Location"} {
		if to := h.Get(name); to != "" {
			h.Set(name, p.ownAddress(to, x.prefix))
		}
	}
	p.replaceLinks(resp, x.prefix)
	return nil
}

// guard adds what keeps a browser from treating Exact's pages and attachments as
// pages of this machine: a script in one of them could read its own address.
func guard(h http.Header) {
	h.Set("Content-Security-Policy", "sandbox; default-src 'none'")
	h.Set("Cross-Origin-Resource-Policy", "same-origin")
	h.Set("Referrer-Policy", "no-referrer")
	h.Set("X-Content-Type-Options", "nosniff")
}

// ownAddress gives the address by which the client reaches, through the proxy,
// what Exact calls to.
func (p *Proxy) ownAddress(to, prefix string) string {
	u, err := url.Parse(to)
	switch {
	case err != nil:
		return to
	case u.Host == "" && u.Scheme == "" && strings.HasPrefix(to, "/"):
		return prefix + to
	case strings.EqualFold(u.Scheme, p.base.Scheme) && strings.EqualFold(u.Host, p.base.Host):
		rest := to[strings.Index(to, "//")+2:]
		if i := strings.IndexAny(rest, "/?#"); i >= 0 {
			return prefix + rest[i:]
		}
		return prefix + "/"
	}
	return to
}

func (p *Proxy) refuse(w http.ResponseWriter, r *Refusal) {
	r.header(w.Header(), p.cfg.Now())
	body := r.body()
	w.Header().Set("Content-Length", strconv.Itoa(len(body)))
	w.WriteHeader(r.Status)
	_, _ = w.Write(body) // a client that has gone needs none
}

// statusGone is what the log has for a client that did not wait for the answer.
const statusGone = 499

// failed answers a request that brought no answer.
func (p *Proxy) failed(w http.ResponseWriter, r *http.Request, err error) {
	var refusal *Refusal
	var timeout net.Error
	switch {
	case r.Context().Err() != nil:
		if rec, ok := w.(*recorder); ok {
			rec.status = statusGone
		}
		panic(http.ErrAbortHandler) // nobody reads it; no answer must look like one
	case errors.As(err, &refusal):
	case errors.As(err, &timeout) && timeout.Timeout():
		refusal = &Refusal{Status: http.StatusGatewayTimeout, Code: "timeout", Message: p.base.Host + " does not answer"}
	default:
		refusal = &Refusal{Status: http.StatusBadGateway, Code: "unreachable", Message: p.base.Host + " cannot be reached" + cause(err)}
	}
	p.refuse(w, refusal)
}

// cause is why the network failed, where that cannot hold an address with a
// password in it, as a setting for an outer proxy can.
func cause(err error) string {
	var op *net.OpError
	if errors.As(err, &op) && op.Err != nil {
		return ": " + op.Op + ": " + op.Err.Error()
	}
	return ""
}

// recorder notes what became of an answer.
type recorder struct {
	http.ResponseWriter
	status int
}

// WriteHeader keeps interim answers (1xx) from the client: what they carry has
// not been looked through.
func (r *recorder) WriteHeader(status int) {
	if status < 200 {
		return
	}
	r.status = status
	r.ResponseWriter.WriteHeader(status)
}

// Unwrap is for http.ResponseController.
func (r *recorder) Unwrap() http.ResponseWriter { return r.ResponseWriter }

// log writes the access log. Of a request that did not show the secret not even
// the path is told: it may be a misspelt secret.
func (p *Proxy) log(r *http.Request, x *exchange, rec *recorder, took time.Duration, whole bool) {
	if p.cfg.Log == nil {
		return
	}
	path := "-"
	if x.path != "" {
		path = fault.Printable(x.path)
	}
	attrs := []slog.Attr{slog.String("method", r.Method), slog.String("path", path), slog.Int("status", rec.status), slog.Int64("ms", took.Milliseconds())}
	if x.waited >= time.Millisecond {
		attrs = append(attrs, slog.Int64("waited_ms", x.waited.Milliseconds()))
	}
	if x.minuteLeft >= 0 {
		attrs = append(attrs, slog.Int("minute_left", x.minuteLeft))
	}
	if x.dayLeft >= 0 {
		attrs = append(attrs, slog.Int("day_left", x.dayLeft))
	}
	if !whole {
		attrs = append(attrs, slog.Bool("cut_off", true))
	}
	if code := rec.Header().Get(errorHeader); code != "" {
		attrs = append(attrs, slog.String("refused", code))
	}
	p.cfg.Log.LogAttrs(context.WithoutCancel(r.Context()), slog.LevelInfo, "request", attrs...)
}

func isWord(r rune) bool {
	return r >= '0' && r <= '9' || r >= 'A' && r <= 'Z' || r >= 'a' && r <= 'z'
}

// buffers keeps the memory of a stream flat: one of these for each.
type buffers struct{ pool sync.Pool }

func newBuffers() *buffers {
	return &buffers{sync.Pool{New: func() any { return new([32 << 10]byte) }}}
}

// Get returns a buffer of 32 KiB.
func (b *buffers) Get() []byte { return b.pool.Get().(*[32 << 10]byte)[:] }

// Put takes back what Get gave.
func (b *buffers) Put(buf []byte) { b.pool.Put((*[32 << 10]byte)(buf)) }
