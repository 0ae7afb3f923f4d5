package main

import (
	"bytes"
	"context"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/http/httptrace"
	"net/url"
	"strings"
	"syscall"
	"testing/iotest"
	"time"

	"github.com/exactauth/exactauth/internal/exactsim"
)

const (
	tokenPath = "/api/oauth2/token"
	wire      = "wire" // the step of a request that is on its way
)

// request is a token request as it arrived, with the simulator's event.
type request struct {
	exactsim.Event
	sender          *process // nil: another program
	used            string   // the refresh token or code
	user            string   // whose that is
	access, refresh string   // the tokens in the answer as it was sent, if they are whole
	whole           bool     // the answer has reached the sender, with a new refresh token
	misled          bool     // the answer refused what the simulator granted or would have granted
}

// network is an http.RoundTripper without sockets.
type network struct{ p *process }

// RoundTrip sends the request on its way, on which it stays even if its sender dies.
func (n network) RoundTrip(req *http.Request) (*http.Response, error) {
	p, w, ctx := n.p, n.p.w, req.Context()
	var body []byte
	if req.Body != nil {
		body, _ = io.ReadAll(req.Body)
		req.Body.Close()
	}
	w.do(func() {
		if p.asked.IsZero() {
			p.asked = time.Now() // the limit counts from the first try
		}
	})
	step := "send"
	if req.URL.Path != tokenPath {
		step = "ask"
	}
	e := p.step(step)
	if ctx.Err() != nil { // it was stopped for so long, and may begin again
		return nil, ctx.Err()
	}
	if _, down := w.during(serverDown, nil); down || e.kind == notConnected {
		return nil, w.netFailed(p, &net.OpError{Op: "dial", Net: "tcp", Err: syscall.ECONNREFUSED})
	}
	if trace := httptrace.ContextClientTrace(ctx); trace != nil && trace.GotConn != nil {
		trace.GotConn(httptrace.GotConnInfo{})
	}
	there, back := p.latency(wire), p.latency(wire)
	switch e.kind {
	case slowRequest:
		there += e.lasts
	case slowReply:
		back += e.lasts
	}
	q := &request{sender: p}
	answered := make(chan *http.Response, 1)
	req = req.Clone(context.Background())
	w.all.Go(func() {
		p.pass(context.Background(), there)
		resp := w.serve(q, req, body, e)
		p.pass(context.Background(), back)
		answered <- resp
	})
	select {
	case resp := <-answered:
		switch e := p.step("reply"); {
		case resp == nil || e.kind == answerSpoilt:
			return nil, io.ErrUnexpectedEOF
		case q.refresh != "":
			w.do(func() { q.whole = true })
		}
		return resp, nil
	case <-p.life.Done():
		p.exitIfOver()
	case <-ctx.Done():
	}
	if req.URL.Path == tokenPath {
		w.do(func() { w.judge(gaveUp, p, q) })
	}
	return nil, w.netFailed(p, ctx.Err())
}

// netFailed notes that the network has failed a process.
func (w *world) netFailed(p *process, err error) error {
	w.do(func() { p.troubled, w.bad = true, time.Now() })
	return err
}

func (w *world) observe(_ *http.Request, e exactsim.Event) { w.event = e }

// serve has the simulator answer a request, spoilt by what is on or by e. It returns nil
// if no answer comes.
func (w *world) serve(q *request, r *http.Request, body []byte, e event) *http.Response {
	w.mu.Lock()
	defer w.mu.Unlock()
	form, _ := url.ParseQuery(string(body))
	q.used = form.Get("refresh_token") + form.Get("code")
	q.user = w.whose[q.used]
	usable, known := w.usable(q.used), len(w.sim.Secrets())
	if refuses, on := w.during(refusing, nil); on {
		e = refuses
	}
	if f := e.fault(); f != nil {
		spoilt := *f
		if r.URL.Path != tokenPath {
			spoilt.On = exactsim.MeEndpoint
		}
		w.sim.Inject(spoilt)
		if w.bad = time.Now(); q.sender != nil {
			q.sender.troubled = true
		}
	}
	r.Body = io.NopCloser(bytes.NewReader(body))
	rec := httptest.NewRecorder()
	w.send(rec, r)
	w.sim.ClearFaults()
	q.Event = w.event
	q.misled = q.Fault != "" && q.Status/100 == 4 && (usable || r.URL.Path != tokenPath)
	if q.Rotated() || q.misled {
		w.requests = append(w.requests, q)
		w.requests = w.requests[max(0, len(w.requests)-100):]
	}
	if r.URL.Path == tokenPath {
		said := strings.ReplaceAll(rec.Body.String(), "%21", "!") // as a form has it
		for _, token := range w.sim.Secrets()[known:] {
			switch refresh := w.sim.RefreshTokenState(token) != exactsim.Unknown; {
			case refresh && strings.Contains(said, token):
				q.refresh, w.whose[token] = token, q.user
			case strings.Contains(said, token):
				q.access = token
			}
		}
		if g, ok := w.sim.Grant(exactsim.ClientID, q.user); ok && q.Outcome == exactsim.TooEarly && time.Since(g.IssuedAt)+w.apart() > life/20*19 {
			w.bad = time.Now() // by another machine's clock it was time
		}
		w.count["requests"]++
		if q.Outcome != "" {
			w.count[string(q.Outcome)]++
		}
		if q.sender != nil {
			w.note(q.sender, "served", when(q.Outcome != exactsim.Issued || q.Fault != "", "%s: %s %d %s", q.GrantType, q.Outcome, q.Status, q.Fault))
			w.judge(served, q.sender, q)
		}
	}
	if q.Status == 0 {
		return nil
	}
	resp := rec.Result()
	if w.undated {
		resp.Header.Del("Date")
	}
	if q.Fault == exactsim.CutBody || q.Fault == exactsim.CutLate {
		resp.Body = io.NopCloser(io.MultiReader(resp.Body, iotest.ErrReader(io.ErrUnexpectedEOF)))
	}
	return resp
}

// send has the simulator write its answer, or as much of it as arrives.
func (w *world) send(rec *httptest.ResponseRecorder, r *http.Request) {
	defer func() {
		if err := recover(); err != nil && err != http.ErrAbortHandler {
			panic(err)
		}
	}()
	w.sim.ServeHTTP(rec, r)
}

// signInElsewhere signs the same user in to the same app with another program, which
// ends this login.
func (w *world) signInElsewhere() {
	form := url.Values{"grant_type": {"authorization_code"}, "client_id": {exactsim.ClientID}, "client_secret": {exactsim.ClientSecret},
		"redirect_uri": {redirectURI}, "code": {w.newCode(exactsim.AnnaID)}}
	r, _ := http.NewRequest(http.MethodPost, baseURL+tokenPath, nil)
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	w.serve(&request{}, r, []byte(form.Encode()), event{})
}
