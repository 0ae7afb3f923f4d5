package exactapi

import (
	"bytes"
	"cmp"
	"context"
	"crypto/subtle"
	"encoding/hex"
	"errors"
	"io"
	"log"
	"log/slog"
	"maps"
	"net"
	"net/http"
	"net/http/httputil"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"
	"unicode"

	"github.com/exactauth/exactauth/internal/fault"
	"github.com/exactauth/exactauth/internal/network"
)

// HandlerConfig has what a [Handler] needs beside its transport.
type HandlerConfig struct {
	// Secret is what a client must know: letters and digits only, because it is
	// part of the path of addresses.
	Secret fault.Secret

	// Hosts are the authorities that a request may name, such as "127.0.0.1:8484":
	// those of the listener, so that a stranger's name that resolves to this
	// machine (DNS rebinding) is refused. Nil allows any, for a socket that no
	// browser can reach.
	Hosts []string

	// ReadOnly allows only GET and HEAD.
	ReadOnly bool

	// Log gets one line for each request, at level Info, without query, secret and
	// token. Nil is no log.
	Log *slog.Logger
}

// Handler is a reverse proxy to Exact for this machine's own programs. It is safe
// for concurrent use.
type Handler struct {
	cfg       HandlerConfig
	transport *Transport
	active    atomic.Int64
	rooms     sync.Pool // of *[roomSize]byte, for the bodies of answers
}

// NewHandler returns a handler that sends requests with t, or an error if the
// secret cannot be used.
func NewHandler(t *Transport, cfg HandlerConfig) (*Handler, error) {
	if s := cfg.Secret.Reveal(); len(s) < 20 || strings.Trim(s, fault.Alphanumeric) != "" {
		return nil, errors.New("secret: want at least 20 letters and digits")
	}
	return &Handler{cfg: cfg, transport: t, rooms: sync.Pool{New: func() any { return new([roomSize]byte) }}}, nil
}

// Active returns how many requests are being served.
func (h *Handler) Active() int { return int(h.active.Load()) }

// ServeHTTP passes a request on, or refuses it with a [Refusal].
//
// Addresses, methods and headers pass if they are known to be of use to a client of
// Exact's API; all others are refused, or removed if that changes no meaning. Bodies
// are streamed unchanged in both directions, with one exception: where a JSON or Atom
// answer links to the next page ("__next", link rel="next"), and in headers such as
// Location, Exact's address is replaced by the handler's. Other addresses in the data,
// such as those of "__metadata", are data and stay.
func (h *Handler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	h.active.Add(1)
	defer h.active.Add(-1)
	x := &exchange{Handler: h, ResponseWriter: w, report: report{minuteLeft: -1, dayLeft: -1}}
	began, whole := time.Now(), false
	defer func() { // also when a panic ends the connection
		if x.body.err != nil && !whole {
			_ = x.FlushError() // a client that saw no head would send its request again
		}
		x.log(r, time.Since(began), whole)
	}()
	refusal := x.admit(r)
	if refusal == nil && keepShortBody(r) != nil {
		refusal = &Refusal{Status: http.StatusBadRequest, Code: "body", Message: "the body of the request broke off"}
	}
	if refusal != nil {
		refusal.write(x, h.transport.now())
	} else {
		x.pass(r)
	}
	whole = true
}

// exchange is one request and its answer. It is the ResponseWriter of the answer, the
// RoundTripper of the request, and the BufferPool of both.
type exchange struct {
	*Handler
	http.ResponseWriter
	report
	path   string // without the secret; empty until the client has shown the secret
	prefix string // the client's spelling of the base URL: "http://127.0.0.1:8484/SECRET"
	status int    // of the answer

	reverse httputil.ReverseProxy
	body    body // of the answer
	room    *[roomSize]byte
}

func (x *exchange) pass(r *http.Request) {
	if !repeatable(r) {
		// An answer may begin before a long body has ended. HTTP/2 can always do that.
		_ = http.NewResponseController(x.ResponseWriter).EnableFullDuplex()
	}
	x.reverse = httputil.ReverseProxy{
		Rewrite:        x.rewrite,
		Transport:      x,
		ModifyResponse: x.modify,
		ErrorHandler:   x.failed,
		FlushInterval:  -1, // pass on at once what has come
		BufferPool:     x,
		ErrorLog:       log.New(io.Discard, "", 0), // the handler's own log has the request
	}
	x.reverse.ServeHTTP(x, r)
}

// roomSize is the size, in bytes, of a buffer for the body of an answer.
const roomSize = 32 << 10

// Get lends the one buffer of the exchange, for what is read ahead and for ReverseProxy.
func (x *exchange) Get() []byte {
	if x.room == nil {
		x.room = x.rooms.Get().(*[roomSize]byte)
	}
	return x.room[:]
}

// Put takes it back, when ReverseProxy has copied the body.
func (x *exchange) Put([]byte) { x.rooms.Put(x.room) }

// RoundTrip sends the request, and returns an answer without trailers: these are
// headers that come too late to be examined.
func (x *exchange) RoundTrip(req *http.Request) (*http.Response, error) {
	resp, err := x.transport.roundTrip(req, &x.report)
	if err != nil {
		return nil, err
	}
	// A copy, because the body adds its trailers to the original.
	answer := *resp
	answer.Trailer = nil
	return &answer, nil
}

// WriteHeader adds headers that stop a browser from storing Exact's pages and
// attachments, and from treating them as pages of this machine: a script in them
// could read its own address, and the secret in it. Interim answers (1xx) do not reach
// the client, because their headers have not been examined.
func (x *exchange) WriteHeader(status int) {
	if status < 200 {
		return
	}
	x.status = status
	h := x.Header()
	values := [...]string{"no-store", "sandbox; default-src 'none'", "same-origin", "no-referrer", "nosniff"}
	for i, name := range [...]string{"Cache-Control", "Content-Security-Policy", "Cross-Origin-Resource-Policy", "Referrer-Policy", "X-Content-Type-Options"} {
		h[name] = values[i : i+1 : i+1]
	}
	x.ResponseWriter.WriteHeader(status)
}

// FlushError is for http.ResponseController. The end of an answer needs no flush: it
// leaves with the last part of the body.
func (x *exchange) FlushError() error {
	if x.body.ended.Load() {
		return nil
	}
	return http.NewResponseController(x.ResponseWriter).Flush()
}

// passedMethods are the methods that pass, unless the proxy only reads.
const passedMethods = "GET, HEAD, POST, PUT, PATCH, DELETE, MERGE"

// admit decides whether a request is passed on, and removes the secret from its
// path. The order counts: a client without the secret learns nothing of the rest.
func (x *exchange) admit(r *http.Request) *Refusal {
	isOwn := func(host string) bool { return strings.EqualFold(host, r.Host) }
	if x.cfg.Hosts != nil && !slices.ContainsFunc(x.cfg.Hosts, isOwn) {
		return &Refusal{Status: http.StatusMisdirectedRequest, Code: "host", Message: "the Host of the request is not this proxy's",
			Hint: "use the address that the proxy printed when it started"}
	}
	x.prefix = "http://" + r.Host
	if fromElsewhere(r.Header, x.prefix) {
		return &Refusal{Status: http.StatusForbidden, Code: "cross_site", Message: "web pages may not use this proxy"}
	}
	if !x.authorize(r) {
		return &Refusal{Status: http.StatusUnauthorized, Code: "secret", Message: "the proxy's secret is missing or wrong",
			Hint: "use the address that the proxy printed when it started, or its secret as Authorization: Bearer"}
	}
	shown := []string{r.Method, r.URL.Path, r.URL.RawQuery} // to the log, or to Exact
	for name, values := range r.Header {
		if slices.Contains(toExact, name) {
			shown = append(shown, values...)
		}
	}
	if slices.ContainsFunc(shown, x.hasSecret) {
		return &Refusal{Status: http.StatusBadRequest, Code: "secret",
			Message: "the proxy's secret is in the address a second time, in its query, or in the method or a header that Exact would get"}
	}
	x.path = r.URL.Path
	return Check(r, x.cfg.ReadOnly)
}

// Check refuses a request that must not reach Exact: by its method, or the other one
// that its headers or parameters name, and by its path.
func Check(r *http.Request, readOnly bool) *Refusal {
	methods, code, message := passedMethods, "method", r.Method+" is not passed on"
	if readOnly {
		methods, code, message = "GET, HEAD", "read_only", "this proxy only reads: GET and HEAD"
	}
	overridden := overridesMethod(r)
	if overridden && !readOnly {
		message = "the request names another method than its own; only the header X-HTTP-Method of a POST is passed on"
	}
	if overridden || !slices.Contains(strings.Split(methods, ", "), r.Method) {
		return &Refusal{Status: http.StatusMethodNotAllowed, Code: code, Message: message, also: http.Header{"Allow": {methods}}}
	}
	return checkPath(r.URL)
}

// authorize reports whether the client knows the secret: it is the first segment
// of the path, which authorize then removes, or a Bearer token.
func (x *exchange) authorize(r *http.Request) bool {
	first, _, _ := strings.Cut(strings.TrimPrefix(r.URL.EscapedPath(), "/"), "/")
	lead := "/" + first
	// The secret needs no escapes, so a first segment with escapes is not the secret.
	if x.isSecret(first) && strings.HasPrefix(r.URL.Path, lead) {
		u := *r.URL
		x.prefix += lead
		u.Path = cmp.Or(u.Path[len(lead):], "/")
		if u.RawPath != "" {
			u.RawPath = cmp.Or(u.RawPath[len(lead):], "/")
		}
		r.URL = &u
		return true
	}
	values := r.Header.Values("Authorization")
	if len(values) != 1 {
		return false
	}
	scheme, value, _ := strings.Cut(values[0], " ")
	return strings.EqualFold(scheme, "Bearer") && x.isSecret(strings.TrimSpace(value))
}

func (h *Handler) isSecret(s string) bool {
	return subtle.ConstantTimeCompare([]byte(s), []byte(h.cfg.Secret.Reveal())) == 1
}

// hasSecret reports whether the secret is in a part of a request, in capitals or not
// and escaped up to three times.
func (h *Handler) hasSecret(text string) bool {
	secret := strings.ToLower(h.cfg.Secret.Reveal())
	for i := 0; i < 4 && len(text) >= len(secret); i++ { // unescaped it is no longer
		if strings.Contains(strings.ToLower(text), secret) {
			return true
		}
		text = unescape(text)
	}
	return false
}

// escaped is an escaped byte, also as IIS reads it: %41, %u0041.
var escaped = sync.OnceValue(func() *regexp.Regexp { return regexp.MustCompile("%(?:[uU]00)?[0-9A-Fa-f]{2}") })

// unescape decodes what is well escaped and leaves the rest as it is: a server may do so,
// where those of package net/url return an error.
func unescape(text string) string {
	if !strings.Contains(text, "%") {
		return text
	}
	return escaped().ReplaceAllStringFunc(text, func(code string) string {
		plain, _ := hex.DecodeString(code[len(code)-2:])
		return string(plain)
	})
}

// fromElsewhere reports whether a browser sent the request on behalf of a page
// that is not the proxy's own. Programs send neither header; an address that a
// person types has Sec-Fetch-Site: none.
func fromElsewhere(h http.Header, own string) bool {
	foreignSite := func(site string) bool { return site != "none" && site != "same-origin" }
	foreignOrigin := func(origin string) bool { return !strings.EqualFold(origin, own) }
	return slices.ContainsFunc(h.Values("Sec-Fetch-Site"), foreignSite) || slices.ContainsFunc(h.Values("Origin"), foreignOrigin)
}

// overridesMethod reports whether a header or parameter names another method than the
// request's own, as many frameworks allow: X-HTTP-Method-Override, X_HTTP_METHOD,
// _method. One form is OData's own: X-HTTP-Method, once, in a POST.
func overridesMethod(r *http.Request) bool {
	notLetter := func(c rune) rune {
		if c >= 'a' && c <= 'z' {
			return c
		}
		return -1
	}
	isOverride := func(name string) bool {
		word := strings.TrimSuffix(strings.Map(notLetter, strings.ToLower(name)), "override")
		return strings.TrimPrefix(strings.TrimPrefix(word, "x"), "http") == "method"
	}
	for name, values := range r.Header {
		if isOverride(name) && !(name == "X-Http-Method" && len(values) == 1 && r.Method == http.MethodPost) {
			return true
		}
	}
	separates := func(c rune) bool { return c == '&' || c == ';' } // some servers take both
	return slices.ContainsFunc(strings.FieldsFunc(r.URL.RawQuery, separates), func(parameter string) bool {
		name, _, _ := strings.Cut(parameter, "=")
		return isOverride(unescape(name))
	})
}

// checkPath accepts the addresses of Exact's REST API, /api/v1/, and of attachments and
// the XML API, /docs/ (such as SysAttachment.aspx and XMLUpload.aspx), if no server can
// read them as leading out of there: they have only characters that names and keys of
// the API have, and no segment of dots alone. Encoded slashes are passed on unchanged,
// but count as slashes here. So the token endpoint gets no request in any spelling:
// those would count against the app's limits.
func checkPath(u *url.URL) *Refusal {
	refuse := func(status int, message string) *Refusal {
		return &Refusal{Status: status, Code: "path", Message: message}
	}
	if u.Path == "/" { // a person tries whether the proxy works; at Exact it might count as an error
		return refuse(http.StatusNotFound, "this is exactauth's proxy; it passes on requests with a path, such as /api/v1/current/Me")
	}
	path := strings.ToLower(u.EscapedPath())
	if !strings.HasPrefix(path, "/api/v1/") && !strings.HasPrefix(path, "/docs/") {
		return refuse(http.StatusForbidden, "only paths below /api/v1/ and /docs/ are passed on; a live token is added to them")
	}
	isStrange := func(c rune) bool {
		return !unicode.IsLetter(c) && !unicode.IsDigit(c) && !strings.ContainsRune("/-_.~$'(),=:@+ ", c)
	}
	onlyDots := func(segment string) bool { return segment != "" && strings.Trim(segment, ". ") == "" }
	if strings.ContainsFunc(u.Path, isStrange) || slices.ContainsFunc(strings.Split(u.Path, "/"), onlyDots) {
		return refuse(http.StatusBadRequest, "the path has a segment of dots, or a character that the API does not use in paths")
	}
	return nil
}

// shortBody is the size, in bytes, up to which the body of a request is kept so
// that the request can be sent a second time. A script posts a record or a few;
// a file is streamed.
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

func (x *exchange) rewrite(pr *httputil.ProxyRequest) {
	out := pr.Out
	out.URL.Scheme, out.URL.Host, _ = strings.Cut(x.transport.base, "://")
	out.Host = ""
	out.URL.RawQuery = pr.In.URL.RawQuery // unchanged: a filter may contain a semicolon
	out.Trailer = nil
	maps.DeleteFunc(out.Header, func(name string, _ []string) bool { return !slices.Contains(toExact, name) })
}

// toExact are the headers of a request that pass. Accept-Encoding does not: the transport
// asks for gzip and unpacks it, because links must be legible. The clients of
// picqer/exact-php-client send X-ExactOnline-Client.
var toExact = []string{"Accept", "Accept-Charset", "Accept-Language", "Cache-Control", "Content-Disposition", "Content-Encoding",
	"Content-Language", "Content-Md5", "Content-Type", "If-Match", "If-Modified-Since", "If-None-Match", "If-Range",
	"If-Unmodified-Since", "Pragma", "Prefer", "Range", "User-Agent",
	"Dataserviceversion", "Maxdataserviceversion", "Mindataserviceversion", "Odata-Maxversion", "Odata-Version", "X-Http-Method",
	"X-Exactonline-Applicationkey", "X-Exactonline-Client"}

// modify turns Exact's answer into the one that the client sees. It reads ahead what
// leaves with the head in one write: an answer of known length that fits in a room, and
// the first part of one with links, whose length can be known then.
func (x *exchange) modify(resp *http.Response) error {
	addresses := []string{"Content-Location", "Dataserviceid", "Location", "Odata-Entityid"}
	others := []string{"Accept-Ranges", "Allow", "Content-Disposition", "Content-Encoding", "Content-Language",
		"Content-Length", "Content-Range", "Content-Type", "Dataserviceversion", "Date", "Etag", "Last-Modified", "Odata-Version",
		"Preference-Applied", "Reason", "Retry-After"}
	l, h := links{x.transport.base, x.prefix}, x.Header()
	for name, values := range resp.Header {
		switch {
		case slices.Contains(others, name), isLimit(name):
			h[name] = values
		case slices.Contains(addresses, name):
			h[name] = []string{l.address(values[0])}
		}
	}
	b, length := &x.body, resp.ContentLength
	l.body(b, resp)
	if b.edits != nil {
		delete(h, "Content-Length")
	}
	if resp.Body != http.NoBody && repeatable(resp.Request) && (b.edits != nil || length >= 0 && length <= roomSize) {
		b.fill(x.Get(), int(min(length, roomSize)))
		if b.ended.Load() {
			h["Content-Length"] = []string{strconv.Itoa(len(b.out))}
			x.reverse.FlushInterval, resp.ContentLength = 0, 0 // of an unknown length each part would be flushed
		}
	}
	resp.Header, resp.Body = nil, b // no header is left to copy
	return nil
}

// statusGone is the log's status of a request whose client did not wait for the answer.
const statusGone = 499

// failed answers a request that got no answer from Exact.
func (x *exchange) failed(_ http.ResponseWriter, r *http.Request, err error) {
	_, host, _ := strings.Cut(x.transport.base, "://")
	var refusal *Refusal
	var slow net.Error
	switch {
	case r.Context().Err() != nil:
		x.status = statusGone
		panic(http.ErrAbortHandler) // the client has gone; nothing must look like an answer
	case errors.As(err, &refusal):
	case errors.As(err, new(sourceError)):
		refusal = &Refusal{Status: http.StatusBadGateway, Code: "token", Message: "there is no live access token"}
	case errors.As(err, &slow) && slow.Timeout():
		refusal = &Refusal{Status: http.StatusGatewayTimeout, Code: "timeout", Message: host + " does not answer", passing: true}
	default:
		why := network.Explain(err)
		refusal = &Refusal{Status: http.StatusBadGateway, Code: "unreachable", Message: host + " cannot be reached: " + why.Error(), passing: !why.Lasting}
	}
	refusal.write(x, x.transport.now())
}

// log writes the access log. Until the client has shown the secret nothing of its request
// is logged, since anything may be a misspelt secret; later no method but one that passes.
func (x *exchange) log(r *http.Request, took time.Duration, whole bool) {
	if x.cfg.Log == nil {
		return
	}
	method, path := "-", "-"
	if x.path != "" {
		path = fault.Printable(x.path)
		if slices.Contains(strings.Split(passedMethods, ", "), r.Method) {
			method = r.Method
		}
	}
	known := func(is bool, a slog.Attr) slog.Attr {
		if !is {
			return slog.Attr{} // which handlers ignore
		}
		return a
	}
	code := x.Header().Get(errorHeader)
	x.cfg.Log.LogAttrs(context.WithoutCancel(r.Context()), slog.LevelInfo, "request",
		slog.String("method", method), slog.String("path", path), slog.Int("status", x.status), slog.Int64("ms", took.Milliseconds()),
		known(x.waited >= time.Millisecond, slog.Int64("waited_ms", x.waited.Milliseconds())),
		known(x.minuteLeft >= 0, slog.Int("minute_left", x.minuteLeft)),
		known(x.dayLeft >= 0, slog.Int("day_left", x.dayLeft)),
		known(!whole, slog.Bool("cut_off", true)),
		known(code != "", slog.String("refused", code)))
}
