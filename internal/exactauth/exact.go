package exactauth

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"io"
	"log/slog"
	"math"
	"net/http"
	"net/http/httptrace"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"github.com/exactauth/exactauth/internal/exactapi"
	"github.com/exactauth/exactauth/internal/fault"
	"github.com/exactauth/exactauth/internal/network"
	"github.com/exactauth/exactauth/internal/record"
)

// This file alone speaks to the token endpoint and reads Exact's error texts; nothing
// above it looks at a status or a text again.

// outcome is what became of one request to the token endpoint.
type outcome int

const (
	unanswered  outcome = iota // it may have been carried out, but its answer did not arrive
	granted                    // new tokens
	notSent                    // nothing reached the server, so nothing was spent
	tooEarly                   // nothing was carried out: the last token issued is not old enough
	oldToken                   // the refresh token was used before
	deadToken                  // the refresh token or code has lapsed or never existed
	badClient                  // client id, client secret or redirect URI is wrong
	redirected                 // a redirect, which is not followed
	refused                    // refused for an unknown reason
	forbidden                  // refused until a person changes a right or a licence at Exact
	numOutcomes                // not an outcome
)

func (o outcome) String() string {
	return [numOutcomes]string{"unanswered", "granted", "not sent", "too early", "old token", "dead token", "bad client", "redirected", "refused", "forbidden"}[o]
}

// answer is the result of one request to the token endpoint.
type answer struct {
	outcome outcome
	err     error // what went wrong, without secrets; nil if granted

	access  fault.Secret
	refresh fault.Secret // zero if the answer had none; an error can have one, too
	life    time.Duration

	sentAt, repliedAt time.Time
	serverDate        time.Time     // zero if the answer had no Date
	retryAfter        time.Duration // zero if the answer named no time
}

func (a *answer) tokens() record.Tokens {
	return record.Tokens{Access: a.access, Refresh: a.refresh, Life: a.life, RequestedAt: a.sentAt, RepliedAt: a.repliedAt, ServerDate: a.serverDate}
}

// exactLife is the life of an access token that Exact states (Exact KB, OAuth step 3).
// It is assumed if an answer states none.
const exactLife = 600 * time.Second

// maxAnswer is the longest body that is read; a granted answer has 1 to 3 KiB.
const maxAnswer = 1 << 20

// exchange redeems an authorization code. A code works once, so it is sent once.
func (c *Client) exchange(ctx context.Context, secret, code fault.Secret) answer {
	return c.ask(ctx, secret, url.Values{"grant_type": {"authorization_code"}, "code": {code.Reveal()}, "redirect_uri": {c.Profile.RedirectURI}})
}

// renew sends a refresh token, once.
func (c *Client) renew(ctx context.Context, secret, refresh fault.Secret) answer {
	return c.ask(ctx, secret, url.Values{"grant_type": {"refresh_token"}, "refresh_token": {refresh.Reveal()}})
}

// ask sends a request once. golang.org/x/oauth2 would return neither what an answer that
// it does not accept says, nor whether there was a connection, nor the time of the last byte.
func (c *Client) ask(ctx context.Context, secret fault.Secret, form url.Values) (a answer) {
	form.Set("client_id", c.Profile.ClientID)
	form.Set("client_secret", secret.Reveal())
	address := c.Profile.BaseURL + "/api/oauth2/token"
	var connected atomic.Bool
	trace := &httptrace.ClientTrace{GotConn: func(httptrace.GotConnInfo) { connected.Store(true) }}
	req, err := http.NewRequestWithContext(httptrace.WithClientTrace(ctx, trace), http.MethodPost, address, strings.NewReader(form.Encode()))
	a.sentAt = c.now()
	var resp *http.Response
	if err == nil {
		req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		// The server may close an idle connection just as the request is sent, and then it is
		// unknown whether the server received the request. So each has a connection of its own.
		client := c.http()
		client.Transport = network.Alone(client.Transport)
		resp, err = client.Do(req)
	}
	var body []byte
	if err == nil {
		body, err = io.ReadAll(io.LimitReader(resp.Body, maxAnswer))
		resp.Body.Close()
		body = bytes.TrimPrefix(body, []byte(byteOrderMark))
		a.repliedAt = c.now()
		a.serverDate, _ = http.ParseTime(resp.Header.Get("Date"))
		a.retryAfter = fault.RetryAfter(resp.Header.Get("Retry-After"), c.now())
		if reason := exactapi.Reason(resp); reason != "" { // it may be in the status line
			resp.Header.Set("Reason", reason)
		}
	}
	if a.repliedAt.Before(a.sentAt) { // no reply, or a clock that was set back meanwhile
		a.repliedAt = a.sentAt
	}
	found := scan(body)
	if err != nil && found.form { // its last field may be cut
		found.access, found.refresh = "", ""
	}
	status := 0
	switch {
	// The status of a refusal says that it counts as an error, even if its body was cut.
	case resp == nil, err != nil && found.refresh == "" && resp.StatusCode/100 != 4:
		a.outcome = unanswered
		if !connected.Load() {
			a.outcome = notSent
		}
		a.err = network.Explain(err)
	default:
		status = resp.StatusCode
		a.outcome, a.err = classify(status, resp.Header, body, found)
		// "A failed one may still carry a new refresh token"
		// (picqer/exact-php-client#559).
		a.refresh = fault.NewSecret(found.refresh)
		if a.outcome == granted {
			a.access, a.life = fault.NewSecret(found.access), time.Duration(found.life)*time.Second
			if a.refresh.IsZero() && !found.odd { // RFC 6749, section 6: the old one stays
				a.refresh = fault.NewSecret(form.Get("refresh_token"))
			}
		}
	}
	if a.life <= 0 {
		a.life = exactLife
	}
	a.life = min(a.life, record.MaxLife)
	c.log().Debug("asked the token endpoint", "url", address, "outcome", a.outcome.String(),
		slog.Int("status", status), slog.Duration("took", a.repliedAt.Sub(a.sentAt)))
	return a
}

const byteOrderMark = "\ufeff"

// reply is what an answer says, as far as it can be read.
type reply struct {
	access, refresh string
	life            int
	code, text      string // error and error_description, or their counterparts in Exact's other forms
	object          bool   // the answer began as a JSON object, or is a form
	form            bool
	whole           bool // it was read to its end
	failed          bool // it has an error
	gateway         bool // it is a fault of the gateway in front of Exact
	odd             bool // it had a token that is none, and is left out
}

// scan reads an answer, a JSON object or a form, whatever its Content-Type says.
func scan(body []byte) reply {
	body = bytes.TrimPrefix(body, []byte(byteOrderMark))
	if f := scanObject(body); f.object {
		return f
	}
	form, err := url.ParseQuery(string(bytes.TrimSpace(body)))
	if err != nil || !form.Has("access_token") && !form.Has("refresh_token") && !form.Has("error") {
		return reply{}
	}
	f := reply{object: true, form: true, whole: true}
	for name, values := range form {
		if len(values) > 1 {
			return reply{}
		}
		f.set(name, values[0])
	}
	return f
}

// scanObject reads an object field by field, so that the refresh token is found even if
// the object was cut off after it.
func scanObject(body []byte) (f reply) {
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
		f.set(key, value)
	}
	if _, err := dec.Token(); err == nil {
		_, err = dec.Token()
		f.whole = err == io.EOF
	}
	return f
}

// set reads one field. Besides the errors of OAuth there are those of Exact's API,
// {"error":{"code":"","message":{"lang":"","value":"Forbidden"}}}, of web servers,
// {"message":"Unauthorized"}, and of the gateway, {"fault":{"faultstring":"…"}}.
func (f *reply) set(key json.Token, value any) {
	name, _ := key.(string)
	text := scalar(value)
	object, _ := value.(map[string]any)
	switch strings.ToLower(name) {
	case "access_token":
		f.access = f.token(text)
	case "refresh_token":
		f.refresh = f.token(text)
	case "expires_in": // a string at Exact (Exact KB, OAuth step 3), a number by RFC 6749
		if n, err := strconv.ParseFloat(text, 64); err == nil && n >= 1 && !math.IsInf(n, 1) {
			f.life = int(min(n, math.MaxInt32))
		}
	case "error":
		f.failed, f.code = value != nil && value != "", cmp.Or(text, scalar(object["code"]))
		message, _ := object["message"].(map[string]any)
		f.text = cmp.Or(scalar(object["message"]), scalar(message["value"]), f.text)
	case "error_description", "message":
		f.text = cmp.Or(text, f.text)
	case "fault":
		f.gateway, f.text = true, cmp.Or(scalar(object["faultstring"]), f.text)
	}
}

func (f *reply) token(text string) string {
	if !record.IsToken(text) {
		f.odd = f.odd || text != ""
		return ""
	}
	return text
}

// scalar returns the text of a string or number, "" of anything else.
func scalar(value any) string {
	switch v := value.(type) {
	case string:
		return v
	case json.Number:
		return v.String()
	}
	return ""
}

// classify judges an answer: by its text first and its status second, since Exact has
// changed its statuses over the years and not its texts. Exact names the cause in the
// header Reason, too (picqer/exact-php-client#451, websmurf/laravel-exact-online#31).
func classify(status int, header http.Header, body []byte, f reply) (outcome, error) {
	reason := header.Get("Reason")
	why := func(kind string) error {
		text := f.text
		if strings.Contains(reason, text) {
			text = "" // it would be there twice
		}
		said := []string{f.code, reason, kind, text}
		for i, s := range said {
			said[i] = fault.Printable(s)
		}
		said = slices.DeleteFunc(said, func(s string) bool { return s == "" })
		e := &fault.ServerError{Status: status}
		if len(said) > 0 {
			e.Code, e.Description = said[0], strings.Join(said[1:], ": ")
		}
		return e
	}
	stranger := network.Stranger(status, header, body)
	has := func(words string) bool { return strings.Contains(strings.ToLower(reason+"\n"+f.text), words) }
	switch {
	case f.access != "" && (f.refresh != "" || f.whole) && !f.failed && status/100 == 2:
		return granted, nil
	case has("not expired"):
		return tooEarly, why("")
	case has("old refresh token"):
		return oldToken, why("")
	case has("expired at"), f.code == "invalid_grant", has("signed data extraction"):
		return deadToken, why("")
	case f.code == "invalid_client", has("redirect_uri"), has("redirect uri"), has("callback uri"):
		return badClient, why("")
	case status/100 == 3:
		return redirected, why(stranger)
	}
	// No other answer says anything about the token. A refusal counts towards the errors
	// that block an app, so it is not followed by another request at once; a fault of the
	// gateway happens before Exact counts.
	kind := ""
	switch {
	case len(bytes.TrimSpace(body)) == 0:
		kind = "an empty answer"
	case !f.object:
		kind = cmp.Or(stranger, "not an answer of the token endpoint but "+strings.TrimSpace("a page "+header.Get("Content-Type")))
	case f.gateway:
		kind = "a fault of the gateway"
	case f.odd:
		kind = "a token of characters that no token has"
	case !f.failed && status/100 == 2:
		kind = "an incomplete answer"
	case f.code == "" && f.text == "" && reason == "":
		kind = "an answer without a reason"
	}
	passing := status/100 == 5 || status == http.StatusTooManyRequests || status == http.StatusRequestTimeout
	switch {
	case passing, f.gateway, status/100 != 4 && !f.failed:
		return unanswered, why(kind)
	}
	switch _, cause := exactapi.Forbidden(reason + "\n" + f.text); cause {
	case exactapi.ErrUser, exactapi.ErrLicence:
		return forbidden, why(kind)
	}
	return refused, why(kind)
}
