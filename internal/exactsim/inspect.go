package exactsim

import (
	"slices"
	"time"
)

// maxRequests bounds the log of requests; older ones are forgotten.
const maxRequests = 1000

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

// Request is one request as the simulator saw it. It holds no secret.
type Request struct {
	Time      time.Time
	Method    string
	Path      string
	GrantType string // of token requests
	Status    int    // that was sent; 0 if the connection was dropped
	Outcome   string // what was decided, for people
}

// Grant is what the simulator knows of an app's permission from a user.
type Grant struct {
	ClientID, UserID string
	// IssuedAt is when the newest access token was issued, AccessExpires when
	// it ends and RefreshExpires when the newest refresh token does.
	IssuedAt, AccessExpires, RefreshExpires time.Time
	// Generation counts refresh tokens since the sign-in, whose own is the first.
	Generation int
	Revoked    bool
}

// AccessLive reports whether the newest access token is good at now.
func (g Grant) AccessLive(now time.Time) bool { return !g.Revoked && now.Before(g.AccessExpires) }

// TokenState is what a refresh token is good for.
type TokenState int

const (
	Unknown  TokenState = iota // never issued by this simulator
	Current                    // the newest of its grant, to be used next
	Previous                   // the one before, still usable by Grace
	Old                        // used, or superseded by a new sign-in
	Expired                    // not used within Config.RefreshLife
	Revoked                    // the user revoked the grant, or the app is gone
)

func (t TokenState) String() string {
	names := [...]string{"unknown", "current", "previous", "old", "expired", "revoked"}
	if t < 0 || int(t) >= len(names) {
		return "invalid"
	}
	return names[t]
}

// Counters returns the totals so far.
func (s *Sim) Counters() Counters {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.counters
}

// Requests returns the latest requests, at most 1000, in the order of their
// replies.
func (s *Sim) Requests() []Request {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.requests)
}

// Grant returns the newest grant of an app and user.
func (s *Sim) Grant(clientID, userID string) (Grant, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	g := s.grants[grantKey{clientID, userID}]
	if g == nil {
		return Grant{}, false
	}
	return Grant{
		ClientID:       clientID,
		UserID:         userID,
		IssuedAt:       g.issuedAt,
		AccessExpires:  g.issuedAt.Add(s.cfg.TokenLife),
		RefreshExpires: s.refresh[g.current].expires,
		Generation:     g.generation,
		Revoked:        g.revoked,
	}, true
}

// Revoke withdraws a user's permission for an app, as the user can do in the
// Security centre of Exact Online: its tokens stop working at once.
func (s *Sim) Revoke(clientID, userID string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if g := s.grants[grantKey{clientID, userID}]; g != nil {
		g.revoked = true
	}
}

// RefreshTokenState returns what the simulator would think of token now. The
// rule of 570 s is not part of it.
func (s *Sim) RefreshTokenState(token string) TokenState {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.refreshState(token, s.cfg.Now())
}

func (s *Sim) refreshState(token string, now time.Time) TokenState {
	rt, ok := s.refresh[token]
	if !ok {
		return Unknown
	}
	_, registered := s.apps[rt.client]
	switch {
	case rt.revoked || !registered:
		return Revoked
	case rt.superseded || token != rt.current && token != rt.previous:
		return Old
	case !now.Before(rt.expires):
		return Expired
	case token == rt.current:
		return Current
	default:
		return Previous
	}
}

// AccessTokenLive reports whether an API call with token would be let in now.
func (s *Sim) AccessTokenLive(token string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	_, live := s.liveAccess(token, s.cfg.Now())
	return live
}

func (s *Sim) liveAccess(token string, now time.Time) (accessToken, bool) {
	at, ok := s.access[token]
	if !ok {
		return at, false
	}
	_, registered := s.apps[at.client]
	return at, registered && at.live() && now.Before(at.expires)
}

// Secrets returns every client secret, code, access token and refresh token
// that the simulator ever knew or issued, for tests that search output for them.
func (s *Sim) Secrets() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.secrets)
}

// NewCode issues an authorization code without any page, for tests of the
// exchange. It checks nothing; the exchange will.
func (s *Sim) NewCode(clientID, userID, redirectURI string) string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.newCode(grantKey{clientID, userID}, redirectURI, s.cfg.Now())
}

// arrive counts a request and takes the fault that waits for it.
func (s *Sim) arrive(c *call) Fault {
	s.mu.Lock()
	defer s.mu.Unlock()
	n := &s.counters
	at := endpointOf(c.URL.Path)
	switch at {
	case AuthorizeEndpoint:
		n.AuthorizeRequests++
	case TokenEndpoint:
		n.TokenRequests++
		switch grantType(c) {
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
	case noEndpoint:
		if c.URL.Path == redirectedPath {
			n.RedirectsFollowed++
		}
	}
	return s.takeFault(at)
}

// grantType is the grant type of a token request, if it is one that a log can
// hold.
func grantType(c *call) string {
	if c.URL.Path != tokenPath {
		return ""
	}
	form, _ := postForm(c)
	switch t := form.Get("grant_type"); t {
	case "authorization_code", "refresh_token":
		return t
	case "":
		return ""
	default:
		return "other"
	}
}

func (s *Sim) log(c *call, a answer) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.requests) == maxRequests {
		s.requests = slices.Delete(s.requests, 0, 1)
	}
	s.requests = append(s.requests, Request{
		Time:      s.cfg.Now(),
		Method:    c.Method,
		Path:      c.URL.Path,
		GrantType: grantType(c),
		Status:    a.status,
		Outcome:   a.outcome,
	})
}
