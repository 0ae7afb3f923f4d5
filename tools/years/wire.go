package main

import (
	"bytes"
	"context"
	"io"
	"net"
	"net/http"
	"net/http/httptrace"
	"net/url"
	"strings"
	"syscall"
	"time"

	"github.com/exactauth/exactauth/internal/exactsim"
)

const tokenPath = "/api/oauth2/token"

// request is a token request as it arrived, with the simulator's event.
type request struct {
	exactsim.Event
	sender          *process // nil: another program
	used            string   // the refresh token or code
	user            string   // whose that is
	access, refresh string   // the tokens in the answer as it was sent, if they are whole
	from, until     time.Time
	whole           bool // the answer has reached the sender, with a new refresh token
	misled          bool // the answer refused what the simulator would have granted
	saved           bool // a record had its refresh token
}

func (q *request) exchange() bool { return q.GrantType == "authorization_code" }

// rotated reports whether the simulator made a new refresh token.
func (q *request) rotated() bool { return q.Generation > 0 }

// network is an http.RoundTripper without sockets.
type network struct{ p *process }

// RoundTrip sends the request on its way, on which it stays even if its sender dies.
func (n network) RoundTrip(req *http.Request) (*http.Response, error) {
	p, w := n.p, n.p.w
	var body []byte
	if req.Body != nil {
		body, _ = io.ReadAll(req.Body)
		req.Body.Close()
	}
	t := p.step("send")
	if t.kind == notConnected || w.now(serverDown) {
		p.bad()
		return nil, &net.OpError{Op: "dial", Net: "tcp", Err: syscall.ECONNREFUSED}
	}
	if trace := httptrace.ContextClientTrace(req.Context()); trace != nil && trace.GotConn != nil {
		trace.GotConn(httptrace.GotConnInfo{})
	}
	q := &request{sender: p}
	answered := make(chan *http.Response, 1)
	ctx := req.Context()
	out, _ := http.NewRequestWithContext(context.WithValue(context.Background(), requestKey{}, q), req.Method, req.URL.String(), bytes.NewReader(body))
	out.Header = req.Header.Clone()
	there, back := w.trip(p, t)
	w.all.Go(func() {
		w.travel(p, there)
		resp := w.serve(p, q, out, body, t)
		w.travel(p, back)
		answered <- resp
	})
	select {
	case resp := <-answered:
		t := p.step("reply")
		switch {
		case resp == nil || t.kind == answerSpoilt:
			return nil, io.ErrUnexpectedEOF
		case q.refresh != "":
			w.mu.Lock()
			q.whole = true
			w.mu.Unlock()
		}
		return resp, nil
	case <-p.killed:
		p.exitIfDead()
	case <-ctx.Done():
	}
	p.bad()
	return nil, ctx.Err()
}

// bad notes that the network has failed a process.
func (p *process) bad() {
	p.w.mu.Lock()
	defer p.w.mu.Unlock()
	p.troubled, p.w.memory.unreached = true, true
	p.w.trouble()
}

// trip draws how long the ways there and back take.
func (w *world) trip(p *process, t trouble) (there, back time.Duration) {
	w.mu.Lock()
	defer w.mu.Unlock()
	there, back = p.latency("wire"), p.latency("wire")
	switch t.kind {
	case slowRequest:
		there += t.lasts
	case slowReply:
		back += t.lasts
	}
	return there, back
}

// travel lets time pass for a request of p, whatever becomes of p.
func (w *world) travel(p *process, d time.Duration) {
	if w.turns != nil {
		w.turns.wait(p, "wire")
		return
	}
	time.Sleep(d.Truncate(time.Microsecond) + slots*time.Nanosecond + p.slot())
}

// requestKey is the key of a *request in the context of what the simulator serves.
type requestKey struct{}

func observe(r *http.Request, e exactsim.Event) {
	if q, ok := r.Context().Value(requestKey{}).(*request); ok {
		q.Event = e
	}
}

// serve has the simulator answer a request, spoilt by what is on or by t. It returns nil
// if no answer comes.
func (w *world) serve(p *process, q *request, r *http.Request, body []byte, t trouble) *http.Response {
	w.mu.Lock()
	defer w.mu.Unlock()
	form, _ := url.ParseQuery(string(body))
	q.used = form.Get("refresh_token") + form.Get("code")
	q.user = w.codes[q.used]
	if w.setApp(); w.disabled {
		w.trouble()
	}
	at := exactsim.TokenEndpoint
	if r.URL.Path != tokenPath {
		at = exactsim.MeEndpoint
	}
	var spoilt *exactsim.Fault
	if s, on := w.during(maintenance, -1); on {
		spoilt = &exactsim.Fault{Kind: exactsim.Status, Status: 503, RetryAfter: [...]string{"", "600", "86400"}[s.answer%3]}
	} else if s, on := w.during(refusing, -1); on {
		spoilt = &refusals[s.answer%len(refusals)]
	} else if t.kind == answerSpoilt {
		spoilt = &answers[t.answer%len(answers)]
	}
	before := w.sim.RefreshTokenState(q.used)
	if spoilt != nil {
		f := *spoilt
		f.On = at
		w.sim.Inject(f)
		w.trouble()
		if p != nil {
			p.troubled = true
		}
	}
	rec := &recorder{header: http.Header{}}
	func() {
		defer func() {
			if err := recover(); err != nil && err != http.ErrAbortHandler {
				panic(err)
			}
			rec.cut = rec.cut || rec.status == 0
		}()
		rec.cut = true
		w.sim.ServeHTTP(rec, r)
		rec.cut = false
	}()
	w.sim.ClearFaults()
	if at == exactsim.TokenEndpoint {
		w.arrived(p, q, before, rec.body.String())
	}
	return rec.response()
}

// setApp disables and enables the app at the simulator.
func (w *world) setApp() {
	if off := w.now(appDisabled); off != w.disabled {
		w.disabled = off
		if off {
			w.sim.RemoveApp(exactsim.ClientID)
			return
		}
		w.sim.AddApp(exactsim.App{ClientID: exactsim.ClientID, ClientSecret: exactsim.ClientSecret, RedirectURI: redirectURI})
	}
}

// arrived notes what the simulator made of a token request, and judges it.
func (w *world) arrived(p *process, q *request, before exactsim.TokenState, said string) {
	w.count.requests++
	g, ok := w.sim.Grant(exactsim.ClientID, q.user)
	if q.rotated() && ok {
		if q.Outcome == exactsim.Issued {
			q.from, q.until = g.IssuedAt, g.AccessExpires
			if q.GrantType == "refresh_token" {
				w.count.refreshes++
			}
		}
		q.access, q.refresh = carried(said)
		w.codes[q.refresh] = q.user
		if q.exchange() {
			for _, earlier := range w.requests {
				if earlier.user == q.user && earlier.until.After(q.from) {
					earlier.until = q.from
				}
			}
		}
	}
	q.misled = q.Fault != "" && !q.rotated() && q.Status/100 == 4 && (before == exactsim.Current || before == exactsim.Previous)
	if len(w.requests) == 64 {
		w.requests = append(w.requests[:0], w.requests[16:]...)
	}
	w.requests = append(w.requests, q)
	w.judgeRequest(p, q)
}

// Lengths and marks of the simulator's tokens, after "stampNL001.".
const (
	stamp        = "stampNL001."
	accessLength = 850
	length       = 420 // of a refresh token
)

// carried returns the tokens that an answer has whole, however it is dressed.
func carried(said string) (access, refresh string) {
	said = strings.ReplaceAll(said, "%21", "!")
	for {
		i := strings.Index(said, stamp)
		if i < 0 {
			return access, refresh
		}
		said = said[i:]
		switch rest := said[len(stamp):]; {
		case strings.HasPrefix(rest, "gAAAA") && len(said) >= accessLength:
			access = said[:accessLength]
		case len(said) >= length && rest[4] == '!':
			refresh = said[:length]
		}
		said = said[len(stamp):]
	}
}

// recorder is an http.ResponseWriter.
type recorder struct {
	header http.Header
	status int
	body   bytes.Buffer
	cut    bool
}

func (r *recorder) Header() http.Header         { return r.header }
func (r *recorder) WriteHeader(status int)      { r.status = status }
func (r *recorder) Write(b []byte) (int, error) { return r.body.Write(b) }
func (r *recorder) Flush()                      {}

// response is what arrives: nil if nothing does.
func (r *recorder) response() *http.Response {
	if r.status == 0 {
		return nil
	}
	var body io.Reader = &r.body
	if r.cut {
		body = io.MultiReader(body, broken{})
	}
	return &http.Response{StatusCode: r.status, Header: r.header, Body: io.NopCloser(body), ContentLength: -1, Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1}
}

type broken struct{}

func (broken) Read([]byte) (int, error) { return 0, io.ErrUnexpectedEOF }

// signInElsewhere signs the same user in to the same app with another program, which
// ends this login.
func (w *world) signInElsewhere() {
	form := url.Values{"grant_type": {"authorization_code"}, "client_id": {exactsim.ClientID}, "client_secret": {exactsim.ClientSecret},
		"redirect_uri": {redirectURI}, "code": {w.sim.NewCode(exactsim.ClientID, exactsim.AnnaID, redirectURI)}}
	w.mu.Lock()
	w.codes[form.Get("code")] = exactsim.AnnaID
	w.mu.Unlock()
	q := &request{}
	r, _ := http.NewRequestWithContext(context.WithValue(context.Background(), requestKey{}, q), http.MethodPost, baseURL+tokenPath, strings.NewReader(form.Encode()))
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	w.serve(nil, q, r, []byte(form.Encode()), trouble{})
}
