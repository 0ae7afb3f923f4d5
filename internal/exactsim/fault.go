package exactsim

import (
	"cmp"
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Endpoint is where a Fault strikes.
type Endpoint string

const (
	TokenEndpoint     Endpoint = "token"     // /api/oauth2/token
	AuthorizeEndpoint Endpoint = "authorize" // not the pages behind it
	APIEndpoint       Endpoint = "api"       // all of /api/v1, the two below included
	MeEndpoint        Endpoint = "me"        // current/Me
	DivisionsEndpoint Endpoint = "divisions" // the three lists of divisions
)

func endpointOf(path string) Endpoint {
	switch {
	case path == tokenPath:
		return TokenEndpoint
	case path == authorizePath:
		return AuthorizeEndpoint
	case path == mePath:
		return MeEndpoint
	case strings.HasPrefix(path, apiPath) && strings.HasSuffix(strings.ToLower(path), "divisions"):
		return DivisionsEndpoint
	case strings.HasPrefix(path, apiPath):
		return APIEndpoint
	default:
		return ""
	}
}

// FaultKind is how a reply is spoilt.
type FaultKind string

const (
	// Slow sends the right reply after Fault.Delay. With Commit the work is
	// done before the delay, otherwise after it and only if the client still
	// waits.
	Slow FaultKind = "slow"
	// Drop closes the connection without a reply.
	Drop FaultKind = "drop"
	// Empty sends an empty body, by default with status 200. Exact's token
	// endpoint does so now and then (picqer/exact-php-client#54).
	Empty FaultKind = "empty"
	// Gateway sends the JSON of a fault in the Apigee gateway in front of Exact,
	// by default with status 404. It is in the source of a public C# client, which asks
	// again each minute then.
	Gateway FaultKind = "gateway"
	// GatewayVariables is another one, by default with status 500
	// (exactonline/exactonline-api-dotnet-client#152).
	GatewayVariables FaultKind = "gateway-variables"
	// InvalidGrant refuses a refresh token for a reason of Exact's own, by default with
	// status 400: five minutes after it was issued, and on other days for good
	// (picqer/exact-php-client#471 and #573, websmurf/laravel-exact-online#25). A
	// refusal at night after which the same token works was seen, too
	// (picqer/exact-php-client#497).
	InvalidGrant FaultKind = "invalid-grant"
	// ScopeViolated is an app without a scope that the endpoint needs, which since 2024
	// a production app meets without a review (picqer/exact-php-client#659). Status 403.
	ScopeViolated FaultKind = "scope-violated"
	// DivisionScope is a user without the division, in the app's consent. Status 403
	// (barcodescan.nl).
	DivisionScope FaultKind = "division-scope"
	// Identity is the sign-in page for an account that One Exact Identity does not let
	// connect (status.exact.com, April 2026). Its status is unknown; here 403.
	Identity FaultKind = "identity"
	// Status sends an empty body, by default with status 503.
	Status FaultKind = "status"
	// HTML sends a web page, by default with status 200.
	HTML FaultKind = "html"
	// Truncated sends the first half of the right reply as if it were all.
	Truncated FaultKind = "truncated"
	// CutBody announces the right reply and closes the connection after half.
	CutBody FaultKind = "cut"
	// CutLate is CutBody after all but the last byte: the tokens have arrived.
	CutLate FaultKind = "cut-late"
	// Form sends the right reply form-encoded instead of as JSON.
	Form FaultKind = "form"
	// ByteOrderMark sends the right reply after a byte order mark.
	ByteOrderMark FaultKind = "byte-order-mark"
	// Huge sends 10 MiB in the form of a token reply. Its tokens are not real.
	Huge FaultKind = "huge"
	// NoRefreshToken sends the right reply without refresh_token.
	NoRefreshToken FaultKind = "no-refresh-token"
	// EmptyRefreshToken sends the right reply with an empty refresh_token
	// (exactonline/exactonline-api-dotnet-client#150).
	EmptyRefreshToken FaultKind = "empty-refresh-token"
	// NumberExpiresIn sends the right reply with expires_in as a number.
	NumberExpiresIn FaultKind = "number"
	// RefreshTokenInError refuses a good refresh token as used too early, but
	// replaces it: the body of the error carries the new one
	// (picqer/exact-php-client#559).
	RefreshTokenInError FaultKind = "refresh-token-in-error"
	// Redirect sends the client, credentials and all, to another path, by
	// default with status 307. Counters.RedirectsFollowed counts who follows.
	Redirect FaultKind = "redirect"
	// Raw sends Fault.Body as JSON, by default with status 200.
	Raw FaultKind = "raw"
)

// spoiling is what a kind of fault does with a reply.
type spoiling struct {
	carries bool // made of the right reply, for which the request must be carried out
	reply   func(f Fault, right answer, c *call) answer
}

const (
	redirectedPath = "/api/oauth2/redirected"
	hugeBody       = 10 << 20
)

// kinds has what each kind does. It is a function, as the program that has the simulator in
// it would make the map at each start.
func kinds() map[FaultKind]spoiling {
	return map[FaultKind]spoiling{
		Slow:  {reply: unspoilt},
		Drop:  {reply: func(_ Fault, right answer, _ *call) answer { return empty(0, right.outcome) }},
		Empty: {reply: bare(http.StatusOK)},
		Gateway: {reply: func(f Fault, right answer, c *call) answer {
			text := jsonText("Unable to identify proxy for host: " + c.Host + " and url: " + c.URL.Path)
			return f.says(right, http.StatusNotFound, "application/json", `{"fault":{"faultstring":`+string(text)+
				`,"detail":{"errorcode":"messaging.adaptors.http.flow.ApplicationNotFound"}}}`)
		}},
		GatewayVariables: says(http.StatusInternalServerError, "application/json",
			`{"fault":{"faultstring":"Failed to execute the ExtractVariables: ExtractVariables","detail":{"errorcode":"steps.extractvariables.ExecutionFailed"}}}`),
		InvalidGrant: says(http.StatusBadRequest, jsonType,
			`{"error":"invalid_grant","error_description":"Token is not allowed, because of invalid or empty chainId"}`),
		ScopeViolated: says(http.StatusForbidden, jsonType,
			`{"error":{"code":"","message":{"lang":"","value":"Forbidden - Application Scope Violated. Cannot read 'crm.accounts' scope."}}}`),
		DivisionScope: says(http.StatusForbidden, jsonType,
			`{"error":{"code":"","message":{"lang":"","value":"Forbidden - User division is not within division scope."}}}`),
		Identity: says(http.StatusForbidden, "text/html; charset=utf-8", "<!DOCTYPE html>\n<html lang=\"en\"><head><title>Exact Online</title></head><body><p>"+
			"Your One Exact Identity account is configured for multiple users. API Connections do not support this type of account.</p></body></html>\n"),
		Status: {reply: bare(http.StatusServiceUnavailable)},
		HTML: says(http.StatusOK, "text/html; charset=utf-8", "<!DOCTYPE html>\n<html lang=\"en\"><head><title>Exact Online</title></head>"+
			"<body><h1>Something went wrong</h1></body></html>\n"),
		Truncated:     {true, func(_ Fault, a answer, _ *call) answer { a.body = a.body[:len(a.body)/2]; return a }},
		CutBody:       {true, unspoilt},
		CutLate:       {true, unspoilt},
		Form:          {true, formEncoded},
		ByteOrderMark: {true, func(_ Fault, a answer, _ *call) answer { a.body = append([]byte("\ufeff"), a.body...); return a }},
		Huge: {reply: func(f Fault, right answer, _ *call) answer {
			return f.says(right, http.StatusOK, jsonType, `{"access_token":"`+strings.Repeat("A", hugeBody)+
				`","token_type":"bearer","expires_in":"600","refresh_token":"A"}`)
		}},
		NoRefreshToken:      {true, unspoilt},
		EmptyRefreshToken:   {true, unspoilt},
		NumberExpiresIn:     {true, unspoilt},
		RefreshTokenInError: {true, unspoilt},
		Redirect: {reply: func(f Fault, right answer, _ *call) answer {
			return redirect(cmp.Or(f.Status, http.StatusTemporaryRedirect), right.outcome, redirectedPath)
		}},
		Raw: {reply: func(f Fault, right answer, _ *call) answer { return f.says(right, http.StatusOK, jsonType, f.Body) }},
	}
}

// FaultKinds returns all kinds.
func FaultKinds() []FaultKind { return slices.Sorted(maps.Keys(kinds())) }

// unspoilt is of the kinds that change the reply elsewhere: when it is made, or when it is sent.
func unspoilt(_ Fault, right answer, _ *call) answer { return right }

func bare(status int) func(Fault, answer, *call) answer {
	return func(f Fault, right answer, _ *call) answer { return empty(cmp.Or(f.Status, status), right.outcome) }
}

func says(status int, contentType, body string) spoiling {
	return spoiling{reply: func(f Fault, right answer, _ *call) answer { return f.says(right, status, contentType, body) }}
}

func (f Fault) says(right answer, status int, contentType, body string) answer {
	return reply(cmp.Or(f.Status, status), right.outcome, contentType, []byte(body))
}

func formEncoded(_ Fault, right answer, _ *call) answer {
	var fields map[string]any
	if err := json.Unmarshal(right.body, &fields); err != nil {
		return right // not the reply of the token endpoint
	}
	form := url.Values{}
	for name, value := range fields {
		form.Set(name, fmt.Sprint(value))
	}
	return reply(right.status, right.outcome, "application/x-www-form-urlencoded", []byte(form.Encode()))
}

// Fault is something that goes wrong with one or more replies.
type Fault struct {
	On    Endpoint  // TokenEndpoint if empty
	Kind  FaultKind // Slow if empty
	Times int       // how many requests it strikes: 0 means 1, negative means all until ClearFaults

	// Commit carries out the request before its reply is spoilt: a token request
	// rotates the refresh token, and the client never sees the new one. The kinds
	// that are made of the right reply always do.
	Commit bool

	// Delay comes before the reply, in real time. A committed request stays
	// carried out if the client stops waiting.
	Delay time.Duration

	Status     int    // of the kinds that send one; each has its default
	RetryAfter string // header Retry-After, if not empty
	Reason     string // header Reason, if not empty
	Body       string // of Raw
}

// Inject queues a fault. A request takes the first in the queue that is meant
// for its endpoint. Inject panics if there is no such kind or endpoint.
func (s *Sim) Inject(f Fault) {
	s.mu.Lock()
	defer s.mu.Unlock()
	f.On, f.Kind, f.Times = cmp.Or(f.On, TokenEndpoint), cmp.Or(f.Kind, Slow), cmp.Or(f.Times, 1)
	if !slices.Contains([]Endpoint{TokenEndpoint, AuthorizeEndpoint, APIEndpoint, MeEndpoint, DivisionsEndpoint}, f.On) || kinds()[f.Kind].reply == nil {
		panic("exactsim: no fault " + string(f.Kind) + " on " + string(f.On))
	}
	s.faults = append(s.faults, f)
}

// ClearFaults empties the queue of faults.
func (s *Sim) ClearFaults() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.faults = nil
}

// takeFault returns the fault for a request. The zero Fault is none: the right
// reply, at once.
func (s *Sim) takeFault(at Endpoint) Fault {
	for i := range s.faults {
		f := &s.faults[i]
		onAPI := f.On == APIEndpoint && (at == MeEndpoint || at == DivisionsEndpoint)
		if f.On != at && !onAPI {
			continue
		}
		taken := *f
		if f.Times > 0 {
			if f.Times--; f.Times == 0 {
				s.faults = slices.Delete(s.faults, i, i+1)
			}
		}
		s.counters.Faults++
		return taken
	}
	return Fault{}
}

// commits reports whether the request is carried out before the delay.
func (f Fault) commits() bool { return f.Commit || kinds()[f.Kind].carries }

// answers reports whether the right reply is needed at all.
func (f Fault) answers() bool { return f.Kind == "" || f.Kind == Slow || kinds()[f.Kind].carries }

// spoil returns the reply that the fault makes of the right one.
func (f Fault) spoil(right answer, c *call) answer {
	a := right
	if f.Kind != "" {
		a = kinds()[f.Kind].reply(f, right, c)
	}
	if f.RetryAfter != "" {
		a.header.Set("Retry-After", f.RetryAfter)
	}
	if f.Reason != "" {
		a.header.Set("Reason", f.Reason)
	}
	return a
}

// send writes the reply, or as much of it as the fault lets through.
func (f Fault) send(w http.ResponseWriter, a answer) {
	if f.Kind == Drop {
		panic(http.ErrAbortHandler)
	}
	body := a.body
	switch f.Kind {
	case CutBody:
		body = body[:len(body)/2]
	case CutLate:
		body = body[:max(len(body)-1, 0)]
	}
	w.Header().Set("Content-Length", strconv.Itoa(len(a.body)))
	w.WriteHeader(a.status)
	if _, err := w.Write(body); err != nil {
		return // the client has gone
	}
	if len(body) < len(a.body) {
		_ = http.NewResponseController(w).Flush() // unflushed, less arrives; that is cut too
		panic(http.ErrAbortHandler)
	}
}
