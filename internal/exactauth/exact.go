package exactauth

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptrace"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"golang.org/x/oauth2"

	"github.com/exactauth/exactauth/internal/fault"
	"github.com/exactauth/exactauth/internal/record"
)

// This file alone speaks to the token endpoint and reads Exact's error texts;
// nothing above it looks at a status or a text again.

// verdict is what became of one request to the token endpoint.
type verdict int

const (
	unanswered  verdict = iota // it may have been carried out, its answer did not arrive
	granted                    // new tokens
	notSent                    // nothing reached the server, so nothing was spent
	tooEarly                   // nothing was carried out: the last token issued is not old enough
	oldToken                   // the refresh token was used before
	deadToken                  // the refresh token or code has lapsed or never was
	badClient                  // client id, client secret or redirect URI is wrong
	redirected                 // a redirect, which is not followed
	unknownNo                  // refused for a reason that is not known
	numVerdicts                // not a verdict
)

func (v verdict) String() string {
	return [numVerdicts]string{"unanswered", "granted", "not sent", "too early", "old token", "dead token", "bad client", "redirected", "refused"}[v]
}

// answer is the outcome of one request to the token endpoint.
type answer struct {
	verdict verdict
	err     error // what went wrong, without secrets; nil if granted

	access  fault.Secret
	refresh fault.Secret // zero if the answer had none; an error can carry one, too
	life    time.Duration

	sentAt, repliedAt time.Time
	serverDate        time.Time     // zero if the answer had no Date
	retryAfter        time.Duration // zero if the answer did not say
}

func (a *answer) tokens() record.Tokens {
	return record.Tokens{Access: a.access, Refresh: a.refresh, Life: a.life, RequestedAt: a.sentAt, RepliedAt: a.repliedAt, ServerDate: a.serverDate}
}

// exactLife is the life of an access token that Exact states (Exact KB, OAuth step 3);
// it is assumed where an answer states none.
const exactLife = 600 * time.Second

// maxAnswer bounds the body of an answer; a granted one has 1 to 3 KiB.
const maxAnswer = 1 << 20

// exchange redeems an authorization code. A code works once, so it is sent once.
func (c *Client) exchange(ctx context.Context, secret, code fault.Secret) answer {
	return c.ask(ctx, secret, func(ctx context.Context, conf *oauth2.Config) (*oauth2.Token, error) {
		return conf.Exchange(ctx, code.Reveal())
	})
}

// renew sends a refresh token, once.
func (c *Client) renew(ctx context.Context, secret, refresh fault.Secret) answer {
	return c.ask(ctx, secret, func(ctx context.Context, conf *oauth2.Config) (*oauth2.Token, error) {
		return conf.TokenSource(ctx, &oauth2.Token{RefreshToken: refresh.Reveal()}).Token()
	})
}

func (c *Client) ask(ctx context.Context, secret fault.Secret, send func(context.Context, *oauth2.Config) (*oauth2.Token, error)) (a answer) {
	conf := &oauth2.Config{
		ClientID:     c.Profile.ClientID,
		ClientSecret: secret.Reveal(),
		RedirectURL:  c.Profile.RedirectURI,
		Endpoint: oauth2.Endpoint{
			TokenURL: c.Profile.BaseURL + "/api/oauth2/token",
			// Detection would answer any failure with a second request that
			// spends the same token again.
			AuthStyle: oauth2.AuthStyleInParams,
		},
	}
	client := c.http()
	rec := &recorder{next: ownConnection(client.Transport), now: c.now}
	client.Transport = rec

	a.sentAt = c.now()
	token, err := send(context.WithValue(ctx, oauth2.HTTPClient, client), conf)
	a.repliedAt = rec.repliedAt
	if a.repliedAt.Before(a.sentAt) { // no reply, or a clock that was set back meanwhile
		a.repliedAt = a.sentAt
	}
	a.serverDate, _ = http.ParseTime(rec.header.Get("Date"))
	a.retryAfter = fault.RetryAfter(rec.header.Get("Retry-After"), c.now())

	found := scan(rec.body)
	switch {
	case err == nil:
		a.verdict = granted
		a.access, a.refresh = fault.NewSecret(token.AccessToken), fault.NewSecret(found.refresh)
		a.life = time.Duration(token.ExpiresIn) * time.Second
	case rec.status == 0:
		a.verdict = unanswered
		if !rec.connected.Load() {
			a.verdict = notSent
		}
		a.err = fault.Transport(err)
	default:
		a.verdict, a.err = classify(rec.status, rec.header.Get("Content-Type"), rec.body, found)
		// "A failed one may still carry a new refresh token"
		// (picqer/exact-php-client#559): whatever came is kept.
		a.refresh = fault.NewSecret(found.refresh)
		if a.verdict == granted {
			a.access, a.life = fault.NewSecret(found.access), time.Duration(found.life)*time.Second
		}
	}
	if a.life <= 0 {
		a.life = exactLife
	}
	a.life = min(a.life, record.MaxLife)
	c.log().Debug("asked the token endpoint", "url", conf.Endpoint.TokenURL, "verdict", a.verdict.String(),
		slog.Int("status", rec.status), slog.Duration("took", a.repliedAt.Sub(a.sentAt)))
	return a
}

// ownConnection has each request make a connection of its own: one that was idle
// may be closed by the server just as the request is sent, and then nobody knows
// whether it was received.
func ownConnection(next http.RoundTripper) http.RoundTripper {
	if next == nil {
		next = http.DefaultTransport
	}
	if t, ok := next.(*http.Transport); ok {
		t = t.Clone()
		t.DisableKeepAlives = true
		return t
	}
	return next
}

// recorder keeps what x/oauth2 does not hand on: whether a connection came
// about, the headers, the whole body, and the moment of its last byte.
type recorder struct {
	next http.RoundTripper
	now  func() time.Time

	connected atomic.Bool
	status    int // 0 if no complete answer came
	header    http.Header
	body      []byte
	repliedAt time.Time
}

func (r *recorder) RoundTrip(req *http.Request) (*http.Response, error) {
	trace := &httptrace.ClientTrace{GotConn: func(httptrace.GotConnInfo) { r.connected.Store(true) }}
	req = req.Clone(httptrace.WithClientTrace(req.Context(), trace))
	resp, err := r.next.RoundTrip(req)
	if err != nil {
		return nil, err
	}
	r.body, err = io.ReadAll(io.LimitReader(resp.Body, maxAnswer))
	resp.Body.Close()
	r.repliedAt = r.now()
	r.header = resp.Header
	if err != nil && scan(r.body).refresh == "" {
		return nil, err
	}
	r.status = resp.StatusCode
	resp.Body = io.NopCloser(bytes.NewReader(r.body))
	return resp, nil
}

// fields are what an answer's JSON object says, as far as it can be read.
type fields struct {
	access, refresh  string
	life             int
	code, text       string // error and error_description
	object, complete bool   // it began as a JSON object; and ended as one
}

// scan reads an answer's fields one by one, so that an object that was cut off
// after its refresh token still gives the token up.
func scan(body []byte) (f fields) {
	dec := json.NewDecoder(bytes.NewReader(body))
	dec.UseNumber()
	if t, err := dec.Token(); err != nil || t != json.Delim('{') {
		return f
	}
	f.object = true
	for dec.More() {
		key, err := dec.Token()
		if err != nil {
			return f
		}
		var value any
		if err := dec.Decode(&value); err != nil {
			return f
		}
		var text string
		switch v := value.(type) {
		case string:
			text = v
		case json.Number:
			text = v.String()
		}
		switch key {
		case "access_token":
			f.access = text
		case "refresh_token":
			f.refresh = text
		case "expires_in": // a string at Exact (Exact KB, OAuth step 3), a number by RFC 6749
			if n, err := strconv.ParseFloat(text, 64); err == nil && n >= 1 && n < 1<<31 {
				f.life = int(n)
			}
		case "error":
			f.code = text
		case "error_description":
			f.text = text
		}
	}
	_, err := dec.Token()
	f.complete = err == nil
	return f
}

// classify judges an answer that x/oauth2 did not accept: by its text first and
// its status second, since Exact's statuses moved over the years while the
// texts stayed.
func classify(status int, contentType string, body []byte, f fields) (verdict, error) {
	refused := &fault.ServerError{Status: status, Code: fault.Printable(f.code), Description: fault.Printable(f.text)}
	has := func(words string) bool { return strings.Contains(strings.ToLower(f.text), words) }
	switch {
	case f.access != "" && f.refresh != "" && f.code == "" && status/100 == 2:
		return granted, nil // only its end, or its expires_in, was unreadable
	case has("not expired"):
		return tooEarly, refused
	case has("old refresh token"):
		return oldToken, refused
	case has("expired at"), f.code == "invalid_grant", has("signed data extraction"):
		return deadToken, refused
	case f.code == "invalid_client", has("redirect_uri"), has("redirect uri"), has("callback uri"):
		return badClient, refused
	case status/100 == 3:
		return redirected, refused
	}
	// What is left says nothing about the token. A refusal counts towards the
	// errors that block an app, so it is not asked again at once; a fault of the
	// gateway comes from before the place that counts.
	passing := status/100 == 5 || status == http.StatusTooManyRequests || status == http.StatusRequestTimeout
	counts := !passing && (status/100 == 4 || f.code != "")
	switch {
	case len(bytes.TrimSpace(body)) == 0:
		refused.Description = "an empty answer"
	case !f.object:
		refused.Description = "not an answer of the token endpoint but " + strings.TrimSpace("a page "+fault.Printable(contentType))
	case f.code == "" && status/100 == 2:
		refused.Description = "an incomplete answer"
	case f.code == "":
		refused.Description = "a fault of the gateway"
		counts = false
	}
	if counts {
		return unknownNo, refused
	}
	return unanswered, refused
}
