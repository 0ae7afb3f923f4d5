package auth0

import (
	"github.com/exactauth/exactauth/internal/fault"
)

// Errors of this package wrap one of fault's kinds (ErrConfig, ErrDenied,
// ErrTemporary), or a [TokenError], or are the cause of the caller's context. Some wrap
// a narrower kind, so that the caller can say what to do about it.
var (
	// ErrNoGrant: the management client may not get tokens for the Management API.
	ErrNoGrant = fault.Kind(fault.ErrConfig, "no grant for the Management API")
	// ErrNotOwnDomain: the domain has no Management API. Custom domains have none.
	ErrNotOwnDomain = fault.Kind(fault.ErrConfig, "not the tenant's own domain")
	// ErrCredentials: the management credentials or token are wrong or have expired.
	ErrCredentials = fault.Kind(fault.ErrConfig, "management credentials refused")
	// ErrNotEnabled: the app may not use the connection, or the connection does not exist.
	ErrNotEnabled = fault.Kind(fault.ErrConfig, "connection not enabled")
	// ErrAppSecret: the app's client authentication failed at the token endpoint.
	ErrAppSecret = fault.Kind(fault.ErrConfig, "app not authenticated")
	// ErrNoSecret: a new client id, or a new connection, has no client secret.
	ErrNoSecret = fault.Kind(fault.ErrConfig, "client secret missing")
	// ErrApp: the app does not exist, or several apps have that name.
	ErrApp = fault.Kind(fault.ErrConfig, "app not found")
)

// ScopeError is wrapped by an ErrConfig: the management token lacks scopes. The request
// that needed them changed nothing.
type ScopeError struct {
	Missing []string // such as "create:connections"; one of them is enough if AnyOf
	Have    []string // the token's scopes; nil if they are not known
	AnyOf   bool
}

func (e *ScopeError) Error() string {
	scope, sep := "scope ", " and "
	switch {
	case e.AnyOf:
		sep = " or "
	case len(e.Missing) > 1:
		scope = "scopes "
	}
	return "the management token lacks the " + scope + fault.List(e.Missing, sep)
}

// TokenError says why an id_token does not prove who signed in. It has no other kind:
// the issuer is not the intended one, or it has a fault.
type TokenError struct {
	Claim string // what is wrong: "alg", "kid", "signature", "iss", "aud", "azp", "exp", "nbf", "iat", "nonce", "at_hash", "sub", or "id_token" for all of it
	Text  string
}

func (e *TokenError) Error() string { return "the id_token is refused: " + e.Text }
