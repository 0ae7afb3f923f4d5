package auth0

import (
	"cmp"
	"context"
	"crypto"
	"crypto/rsa"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/coreos/go-oidc/v3/oidc"
	"github.com/go-jose/go-jose/v4"

	"github.com/exactauth/exactauth/internal/fault"
)

// leeway is how far clocks may be apart, where a token is not valid yet.
const leeway = 5 * time.Minute

// verify checks everything that an id_token must prove (OpenID Connect Core 1.0,
// 3.1.3.7) and returns its claims. go-oidc checks the signature and its algorithm. The
// other claims are checked here, since the errors of go-oidc do not say which is wrong.
func (s SignIn) verify(ctx context.Context, at endpoints, nonce string, idToken, access fault.Secret) (claims, error) {
	refuse := func(claim, format string, args ...any) (claims, error) {
		return nil, &TokenError{claim, fmt.Sprintf(format, args...)}
	}
	var head struct{ Alg, Kid string }
	switch isJWT := decodeJWT(idToken, 0, &head); {
	case idToken.IsZero():
		return refuse("id_token", "there is none in the answer")
	case !isJWT:
		return refuse("id_token", "it is not a signed token (JWS)")
	case strings.EqualFold(head.Alg, "none"), head.Alg == "":
		return refuse("alg", "it is not signed (alg none)")
	case head.Alg != oidc.RS256:
		return refuse("alg", "it is signed with %s; only RS256 is accepted", fault.Printable(head.Alg))
	}
	keys, err := s.keys(ctx, at, head.Kid)
	if err != nil {
		return nil, err
	}
	if len(keys.PublicKeys) == 0 {
		return refuse("kid", "its key %q is not among those that %s publishes", fault.Printable(head.Kid), s.Domain)
	}
	token, err := oidc.NewVerifier("", keys, &oidc.Config{
		SupportedSigningAlgs: []string{oidc.RS256}, SkipIssuerCheck: true, SkipClientIDCheck: true, SkipExpiryCheck: true,
	}).Verify(ctx, idToken.Reveal())
	if err != nil {
		if _, wrong := keys.VerifySignature(ctx, idToken.Reveal()); wrong != nil {
			return refuse("signature", "its signature is wrong")
		}
		return refuse("id_token", "its claims cannot be read")
	}
	var c claims
	var times struct{ Nbf float64 }
	if token.Claims(&c) != nil || token.Claims(&times) != nil {
		return refuse("id_token", "its claims cannot be read")
	}
	now, notBefore, azp := s.now(), time.Unix(int64(times.Nbf), 0), c.text("azp")
	switch {
	case token.Issuer != s.Domain.Issuer():
		return refuse("iss", "its issuer is %q; want %q", fault.Printable(token.Issuer), s.Domain.Issuer())
	case !slices.Contains(token.Audience, s.ClientID):
		return refuse("aud", "it is meant for %s, not for the app %s", orNone(strings.Join(token.Audience, ", ")), fault.Printable(s.ClientID))
	case azp != "" && azp != s.ClientID, azp == "" && len(token.Audience) > 1:
		return refuse("azp", "it was made for another app (azp %s)", orNone(azp))
	case token.Expiry.IsZero():
		return refuse("exp", "it does not say when it expires")
	case token.Expiry.Before(now):
		return refuse("exp", "it has expired: at %s, and it is %s here", fault.Clock(token.Expiry), fault.Clock(now))
	case notBefore.After(now.Add(leeway)):
		return refuse("nbf", "it is not valid yet: not before %s, and it is %s here", fault.Clock(notBefore), fault.Clock(now))
	case token.IssuedAt.After(now.Add(leeway)):
		return refuse("iat", "it is from the future: issued at %s, and it is %s here", fault.Clock(token.IssuedAt), fault.Clock(now))
	case token.Subject == "":
		return refuse("sub", "it names no user (sub)")
	case token.Nonce == "":
		return refuse("nonce", "it has no nonce, so it may be from another sign-in")
	case token.Nonce != nonce:
		return refuse("nonce", "its nonce is not this sign-in's")
	case token.AccessTokenHash != "" && token.VerifyAccessToken(access.Reveal()) != nil:
		return refuse("at_hash", "it belongs to another access token (at_hash)")
	}
	return c, nil
}

// decodeJWT decodes one part of a token in compact form, head (0) or claims (1), and
// reports whether the token is one.
func decodeJWT(token fault.Secret, part int, into any) bool {
	parts := strings.Split(token.Reveal(), ".")
	if len(parts) != 3 {
		return false
	}
	text, err := base64.RawURLEncoding.DecodeString(parts[part])
	return err == nil && json.Unmarshal(text, into) == nil
}

// keys reads the domain's public keys with that id; all, if the token names none.
func (s SignIn) keys(ctx context.Context, at endpoints, kid string) (*oidc.StaticKeySet, error) {
	var set struct{ Keys []json.RawMessage }
	err := s.ask(ctx, request{method: http.MethodGet, path: s.path(at.Keys)}, &set, func(r *fault.ServerError) error {
		return fault.Wrap(fault.ErrTemporary, r, "%s does not show its keys", s.Domain)
	})
	var keys []crypto.PublicKey
	for _, text := range set.Keys {
		var key jose.JSONWebKey
		if json.Unmarshal(text, &key) != nil || key.Use == "enc" {
			continue // of a kind that is not used here
		}
		if public, ok := key.Key.(*rsa.PublicKey); ok && (kid == "" || key.KeyID == kid) {
			keys = append(keys, public)
		}
	}
	return &oidc.StaticKeySet{PublicKeys: keys}, err
}

func orNone(s string) string { return cmp.Or(fault.Printable(s), "none") }
