package exactsim

import "time"

// Event is one request and what the simulator made of it. It holds no secret.
type Event struct {
	Time      time.Time // of the reply
	GrantType string    // of a token request: "authorization_code" or "refresh_token", otherwise ""

	// Outcome is what was decided. It is empty if a fault, or a client that
	// did not wait, kept the request from being carried out.
	Outcome Outcome

	// Generation is that of the refresh token that the request made, 0 if it
	// made none. See Grant.Generation.
	Generation int

	// AccessExpires is when the access token that the request made ends, zero if
	// it made none.
	AccessExpires time.Time

	// Fault is how the reply was then spoilt, "" if it was not.
	Fault FaultKind

	// GaveUp means that the client closed the connection during Fault.Delay.
	GaveUp bool

	// Status is the status that was sent, 0 if the connection was dropped.
	Status int
}

// Exchanged reports whether the request was to redeem a code.
func (e *Event) Exchanged() bool { return e.GrantType == "authorization_code" }

// Rotated reports whether the request made a new refresh token.
func (e *Event) Rotated() bool { return e.Generation > 0 }

// Outcome is what the simulator decided about a request, before any fault
// spoilt the reply, in words.
type Outcome string

// The outcomes that more than one place names.
const (
	Issued           Outcome = "tokens issued"
	TooEarly         Outcome = "too early"         // refused by the rule of 570 s
	OldRefreshToken  Outcome = "old refresh token" // used, superseded, revoked, made up or another client's
	MissingParameter Outcome = "parameter missing"
	InactiveUser     Outcome = "user without rights"           // of the API too
	Blocked          Outcome = "blocked after too many errors" // of the API too
	NotFound         Outcome = "not found"                     // no endpoint at all
	RedirectFollowed Outcome = "redirect followed"             // the path that Redirect points to
	Served           Outcome = "served"
	Unauthorized     Outcome = "no live access token"
	NoDivisionAccess Outcome = "no access to the division"
	RateLimited      Outcome = "call limit reached"
	APIError         Outcome = "api error" // any other error of OData
)

func (s *Sim) log(c *call, a answer, gaveUp bool) {
	if s.cfg.Observe == nil {
		return
	}
	s.mu.Lock()
	e := Event{
		Time:          s.now(),
		GrantType:     c.grantType(),
		Outcome:       a.outcome,
		Generation:    c.generation,
		AccessExpires: c.accessExpires,
		Fault:         c.fault.Kind,
		GaveUp:        gaveUp,
		Status:        a.status,
	}
	s.mu.Unlock()
	s.cfg.Observe(c.Request, e)
}

// grantType is the grant type of a token request, if there is such a type: what a
// client sent in its place might be a secret.
func (c *call) grantType() string {
	t := c.form.Get("grant_type")
	if c.endpoint != TokenEndpoint || t != "authorization_code" && t != "refresh_token" {
		return ""
	}
	return t
}

// Counters are totals since New. Requests are counted when they arrive, also
// those that a Fault then keeps from being served; the rest counts what the
// simulator decided, not what a Fault pretended.
type Counters struct {
	AuthorizeRequests int // to the authorize endpoint; its pages do not count
	TokenRequests     int
	Exchanges         int // token requests with grant_type=authorization_code
	ExchangesIssued   int
	Refreshes         int // token requests with grant_type=refresh_token
	RefreshesIssued   int
	TokenErrors       int // 4xx of the token endpoint, blocks not included
	TooEarly          int // of them, refused by the rule of 570 s
	OldToken          int // of them, refused with "Old refresh token used."
	APIRequests       int // all of /api/v1
	MeRequests        int // of them, current/Me
	Unauthorized      int // of them, refused for want of a live access token
	RateLimited       int // of them, refused by the minutely or daily limit
	Blocked           int // refused after too many errors, at any endpoint
	Faults            int // requests that a Fault was applied to
	RedirectsFollowed int // requests to where a Redirect fault points
}

// Counters returns the totals so far.
func (s *Sim) Counters() Counters {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.counters
}

// arrive counts a request and takes the fault that waits for it.
func (s *Sim) arrive(c *call) Fault {
	s.mu.Lock()
	defer s.mu.Unlock()
	n := &s.counters
	switch c.endpoint {
	case AuthorizeEndpoint:
		n.AuthorizeRequests++
	case TokenEndpoint:
		n.TokenRequests++
		switch c.grantType() {
		case "authorization_code":
			n.Exchanges++
		case "refresh_token":
			n.Refreshes++
		}
	case MeEndpoint:
		n.APIRequests++
		n.MeRequests++
	case DivisionsEndpoint, APIEndpoint:
		n.APIRequests++
	}
	return s.takeFault(c.endpoint)
}

func (s *Sim) count(c *call, a answer) {
	n := &s.counters
	if c.endpoint == TokenEndpoint && a.status >= 400 && a.outcome != Blocked {
		n.TokenErrors++
	}
	issued := &n.ExchangesIssued
	if c.grantType() == "refresh_token" {
		issued = &n.RefreshesIssued
	}
	total := map[Outcome]*int{
		Issued: issued, TooEarly: &n.TooEarly, OldRefreshToken: &n.OldToken, Unauthorized: &n.Unauthorized,
		RateLimited: &n.RateLimited, Blocked: &n.Blocked, RedirectFollowed: &n.RedirectsFollowed,
	}[a.outcome]
	if total != nil {
		*total++
	}
}
