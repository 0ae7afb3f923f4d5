package exactsim

import (
	"slices"
	"time"
)

// Grant is what the simulator knows of an app's permission from a user.
type Grant struct {
	// IssuedAt is when the newest access token was issued, and AccessExpires when it ends.
	IssuedAt, AccessExpires time.Time
	// Generation counts refresh tokens since the sign-in, whose own is the first.
	Generation int
	Revoked    bool // by the user
}

// TokenState is what a refresh token is good for.
type TokenState string

const (
	Unknown  TokenState = "unknown"  // never issued by this simulator
	Current  TokenState = "current"  // the newest of its grant, to be used next
	Previous TokenState = "previous" // the one before, still usable by Grace
	Old      TokenState = "old"      // used, or superseded by a new sign-in
	Expired  TokenState = "expired"  // not used for 30 days
	Revoked  TokenState = "revoked"  // the user revoked the grant, or the app is gone
)

// Grant returns the newest grant of an app and user.
func (s *Sim) Grant(clientID, userID string) (Grant, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	g := s.grants[grantKey{clientID, userID}]
	if g == nil {
		return Grant{}, false
	}
	return g.Grant, true
}

// Revoke withdraws a user's permission for an app, as the user can do in the
// Security centre of Exact Online: its tokens stop working at once.
func (s *Sim) Revoke(clientID, userID string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if g := s.grants[grantKey{clientID, userID}]; g != nil {
		g.Revoked = true
	}
}

// RefreshTokenState returns what token is good for now. It leaves out the rule of
// 570 s.
func (s *Sim) RefreshTokenState(token string) TokenState {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.refreshState(token, s.now())
}

func (s *Sim) refreshState(text string, now time.Time) TokenState {
	t, ok := s.refresh[text]
	if !ok {
		return Unknown
	}
	_, registered := s.apps[t.client]
	switch {
	case t.Revoked || !registered:
		return Revoked
	case t.superseded || !t.newest() && t.generation != t.previous:
		return Old
	case !now.Before(t.expires):
		return Expired
	case t.newest():
		return Current
	default:
		return Previous
	}
}

// AccessTokenLive reports whether an API call with token would be let in now.
func (s *Sim) AccessTokenLive(token string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	_, live := s.liveAccess(token, s.now())
	return live
}

func (s *Sim) liveAccess(text string, now time.Time) (token, bool) {
	t, ok := s.access[text]
	if !ok {
		return t, false
	}
	_, registered := s.apps[t.client]
	return t, registered && t.live() && now.Before(t.expires)
}

// Secrets returns every client secret, code, access token and refresh token
// that the simulator ever knew or issued, for tests that search output for them.
func (s *Sim) Secrets() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.secrets)
}

// NewCode issues an authorization code without any page, as if the user had
// signed in and allowed the app. It checks nothing; the exchange does.
func (s *Sim) NewCode(clientID, userID, redirectURI string) string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.newCode(grantKey{clientID, userID}, redirectURI, s.now())
}
