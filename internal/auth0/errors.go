package auth0

import (
	"fmt"
	"strings"

	"github.com/exactauth/exactauth/internal/fault"
)

// Errors of this package wrap one of fault's kinds (ErrConfig, ErrDenied,
// ErrTemporary), or a [TokenError], or come from the caller's context as they
// are. Beside their kind they wrap one of these where a caller can say what to
// do about it.
var (
	// ErrNoGrant: the management client may not ask for tokens for the
	// Management API at all.
	ErrNoGrant = fault.Kind(fault.ErrConfig, "no grant for the Management API")
	// ErrNotOwnDomain: the domain has no Management API, as custom ones have not.
	ErrNotOwnDomain = fault.Kind(fault.ErrConfig, "not the tenant's own domain")
	// ErrCredentials: management credentials or token are wrong or have lapsed.
	ErrCredentials = fault.Kind(fault.ErrConfig, "management credentials refused")
	// ErrNotEnabled: the app may not use the connection, or there is none.
	ErrNotEnabled = fault.Kind(fault.ErrConfig, "connection not enabled")
	// ErrAppSecret: the token endpoint does not take the app for who it says it is.
	ErrAppSecret = fault.Kind(fault.ErrConfig, "app not authenticated")
	// ErrNoSecret: a new client id, or a new connection, has no client secret.
	ErrNoSecret = fault.Kind(fault.ErrConfig, "client secret missing")
	// ErrApp: there is no such app, or more than one.
	ErrApp = fault.Kind(fault.ErrConfig, "app not found")
)

// ScopeError is wrapped by an ErrConfig: the management token lacks scopes.
// Nothing was changed by the request that needed them.
type ScopeError struct {
	Missing []string // as "create:connections"; any one of them will do if AnyOf
	Have    []string // what the token has; nil if that is not known
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
	return "the management token lacks the " + scope + strings.Join(e.Missing, sep)
}

// APIError is a refusal in Auth0's words, of the Management API (statusCode,
// error, message, errorCode) or of an OAuth endpoint (error, error_description).
// All texts are fit for a terminal.
type APIError struct {
	Status  int    // of the HTTP answer
	Code    string // as "invalid_body" or "access_denied"; may be empty
	Message string // for people; may be empty
}

func (e *APIError) Error() string {
	words := []string{fmt.Sprintf("HTTP %d", e.Status)}
	for _, s := range []string{e.Code, e.Message} {
		if s != "" {
			words = append(words, s)
		}
	}
	return strings.Join(words, ": ")
}

// TokenError says why what an issuer sent does not prove who signed in. It is of
// no other kind: either the issuer is not the one that was meant, or it errs.
type TokenError struct {
	Claim string // what is wrong: "alg", "kid", "signature", "iss", "aud", "azp", "exp", "nbf", "iat", "nonce", "at_hash", "sub", or "id_token" for all of it
	Text  string
}

func (e *TokenError) Error() string { return "the id_token is refused: " + e.Text }
