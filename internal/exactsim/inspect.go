package exactsim

import (
	"slices"
	"time"
)

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
