package auth0

import (
	"cmp"
	"context"
	"crypto"
	"crypto/rsa"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"math/big"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/exactauth/exactauth/internal/fault"
)

// leeway is how far clocks may be apart, where a token is not valid yet.
const leeway = 5 * time.Minute

// verify checks everything that an id_token must prove (OpenID Connect Core 1.0,
// 3.1.3.7) and returns its claims. Only RS256 is accepted, so a token cannot choose how
// it is checked.
func (s SignIn) verify(ctx context.Context, at endpoints, nonce string, idToken, access fault.Secret) (claims, error) {
	refuse := func(claim, format string, args ...any) (claims, error) {
		return nil, &TokenError{claim, fmt.Sprintf(format, args...)}
	}
	var head struct {
		Alg, Kid string
		Crit     json.RawMessage // extensions that must be understood (RFC 7515, 4.1.11)
	}
	parts := splitJWT(idToken)
	switch {
	case idToken.IsZero():
		return refuse("id_token", "there is none in the answer")
	case parts == nil, json.Unmarshal(parts[0], &head) != nil:
		return refuse("id_token", "it is not a signed token (JWS)")
	case strings.EqualFold(head.Alg, "none"), head.Alg == "":
		return refuse("alg", "it is not signed (alg none)")
	case head.Alg != "RS256":
		return refuse("alg", "it is signed with %s; only RS256 is accepted", fault.Printable(head.Alg))
	case head.Crit != nil:
		return refuse("crit", "it demands extensions, and none is known here")
	}
	keys, err := s.keys(ctx, at, head.Kid)
	if err != nil {
		return nil, err
	}
	if len(keys) == 0 {
		return refuse("kid", "its key %q is not among those that %s publishes", fault.Printable(head.Kid), s.Domain)
	}
	signed := idToken.Reveal()
	digest := sha256.Sum256([]byte(signed[:strings.LastIndexByte(signed, '.')]))
	if !slices.ContainsFunc(keys, func(key *rsa.PublicKey) bool {
		return rsa.VerifyPKCS1v15(key, crypto.SHA256, digest[:], parts[2]) == nil
	}) {
		return refuse("signature", "its signature is wrong")
	}
	var c claims
	var token struct {
		Iss, Sub, Nonce, Azp string
		Aud                  json.RawMessage
		Exp, Nbf, Iat        float64 // NumericDate (RFC 7519, 2)
		AtHash               string  `json:"at_hash"`
	}
	if json.Unmarshal(parts[1], &c) != nil || json.Unmarshal(parts[1], &token) != nil {
		return refuse("id_token", "its claims cannot be read")
	}
	var audience []string
	if json.Unmarshal(token.Aud, &audience) != nil { // one alone may be a string
		audience = []string{c.text("aud")}
	}
	now := s.now()
	clock := func(seconds float64) string { return fault.Clock(time.Unix(int64(seconds), 0)) }
	latest := float64(now.Add(leeway).Unix())
	hash := sha256.Sum256([]byte(access.Reveal()))
	switch {
	case token.Iss != s.Domain.Issuer():
		return refuse("iss", "its issuer is %q; want %q", fault.Printable(token.Iss), s.Domain.Issuer())
	case !slices.Contains(audience, s.ClientID):
		return refuse("aud", "it is meant for %s, not for the app %s", orNone(strings.Join(audience, ", ")), fault.Printable(s.ClientID))
	case token.Azp != "" && token.Azp != s.ClientID, token.Azp == "" && len(audience) > 1:
		return refuse("azp", "it was made for another app (azp %s)", orNone(token.Azp))
	case token.Exp == 0:
		return refuse("exp", "it does not say when it expires")
	case token.Exp < float64(now.Unix()):
		return refuse("exp", "it has expired: at %s, and it is %s here", clock(token.Exp), fault.Clock(now))
	case token.Nbf > latest:
		return refuse("nbf", "it is not valid yet: not before %s, and it is %s here", clock(token.Nbf), fault.Clock(now))
	case token.Iat > latest:
		return refuse("iat", "it is from the future: issued at %s, and it is %s here", clock(token.Iat), fault.Clock(now))
	case token.Sub == "":
		return refuse("sub", "it names no user (sub)")
	case token.Nonce == "":
		return refuse("nonce", "it has no nonce, so it may be from another sign-in")
	case token.Nonce != nonce:
		return refuse("nonce", "its nonce is not this sign-in's")
	case token.AtHash != "" && token.AtHash != base64.RawURLEncoding.EncodeToString(hash[:len(hash)/2]):
		return refuse("at_hash", "it belongs to another access token (at_hash)")
	}
	return c, nil
}

// splitJWT decodes the parts of a token in compact form: head, claims, signature. It
// returns nil if the token is none.
func splitJWT(token fault.Secret) (parts [][]byte) {
	for text := range strings.SplitSeq(token.Reveal(), ".") {
		part, err := base64.RawURLEncoding.DecodeString(text)
		if err != nil {
			return nil
		}
		parts = append(parts, part)
	}
	if len(parts) != 3 {
		return nil
	}
	return parts
}

// keys reads the domain's public keys with that id; all, if the token names none.
func (s SignIn) keys(ctx context.Context, at endpoints, kid string) (keys []*rsa.PublicKey, err error) {
	var set struct{ Keys []json.RawMessage }
	err = s.ask(ctx, request{method: http.MethodGet, path: s.path(at.Keys)}, &set, func(r *fault.ServerError) error {
		return fault.Wrap(fault.ErrTemporary, r, "%s does not show its keys", s.Domain)
	})
	for _, text := range set.Keys {
		var key struct{ Kty, Use, Kid, N, E string }
		if json.Unmarshal(text, &key) != nil || key.Kty != "RSA" || key.Use == "enc" || kid != "" && key.Kid != kid {
			continue
		}
		n, errN := base64.RawURLEncoding.DecodeString(key.N)
		e, errE := base64.RawURLEncoding.DecodeString(key.E)
		if errN == nil && errE == nil && len(e) < 4 { // crypto/rsa judges the rest
			keys = append(keys, &rsa.PublicKey{N: new(big.Int).SetBytes(n), E: int(new(big.Int).SetBytes(e).Int64())})
		}
	}
	return keys, err
}

func orNone(s string) string { return cmp.Or(fault.Printable(s), "none") }
