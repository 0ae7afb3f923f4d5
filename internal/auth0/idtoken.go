package auth0

import (
	"context"
	"crypto"
	"crypto/rsa"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/coreos/go-oidc/v3/oidc"
	"github.com/go-jose/go-jose/v4"

	"github.com/exactauth/exactauth/internal/fault"
)

// leeway is how far clocks may be apart; go-oidc allows as much for nbf.
const leeway = 5 * time.Minute

// verify holds an id_token against everything that it must prove (OpenID Connect
// Core 1.0, 3.1.3.7), and returns its claims. Signature, algorithm, issuer,
// audience and validity are go-oidc's to judge; why it refuses a token is found
// out here, since its errors cannot be told apart.
func (s SignIn) verify(ctx context.Context, at endpoints, nonce string, idToken, access fault.Secret) (claims, error) {
	refuse := func(claim, format string, args ...any) (claims, error) {
		return nil, &TokenError{claim, fmt.Sprintf(format, args...)}
	}
	head, ok := headOf(idToken)
	switch {
	case idToken.IsZero():
		return refuse("id_token", "there is none in the answer")
	case !ok:
		return refuse("id_token", "it is not a signed token (JWS)")
	case strings.EqualFold(head.Alg, "none"), head.Alg == "":
		return refuse("alg", "it is not signed (alg none)")
	case head.Alg != oidc.RS256:
		return refuse("alg", "it is signed with %s; only RS256 is taken", fault.Printable(head.Alg))
	}
	keys, err := s.keys(ctx, at, head.Kid)
	if err != nil {
		return nil, err
	}
	if len(keys.PublicKeys) == 0 {
		return refuse("kid", "its key %q is none of those that %s publishes", fault.Printable(head.Kid), s.Domain)
	}
	want := &oidc.Config{ClientID: s.ClientID, SupportedSigningAlgs: []string{oidc.RS256}, Now: s.wire().now}
	token, err := oidc.NewVerifier(s.Domain.Issuer(), keys, want).Verify(ctx, idToken.Reveal())
	if err != nil {
		return nil, s.explain(ctx, keys, idToken, err)
	}
	var c claims
	if err := token.Claims(&c); err != nil {
		return refuse("id_token", "its claims cannot be read")
	}
	azp := c.text("azp")
	switch {
	case token.Subject == "":
		return refuse("sub", "it names no user (sub)")
	case token.IssuedAt.After(s.wire().now().Add(leeway)):
		return refuse("iat", "it is from the future: issued at %s, and it is %s here", fault.Clock(token.IssuedAt), fault.Clock(s.wire().now()))
	case token.Nonce == "":
		return refuse("nonce", "it has no nonce, so it may be from another sign-in")
	case token.Nonce != nonce:
		return refuse("nonce", "its nonce is not this sign-in's")
	case azp != "" && azp != s.ClientID, azp == "" && len(token.Audience) > 1:
		return refuse("azp", "it was made for another app (azp %s)", orNone(fault.Printable(azp)))
	case token.AccessTokenHash != "" && token.VerifyAccessToken(access.Reveal()) != nil:
		return refuse("at_hash", "it belongs to another access token (at_hash)")
	}
	return c, nil
}

// explain finds out what go-oidc refused a token for, in the order in which it
// looks.
func (s SignIn) explain(ctx context.Context, keys *oidc.StaticKeySet, idToken fault.Secret, err error) error {
	payload, badSignature := keys.VerifySignature(ctx, idToken.Reveal())
	if badSignature != nil {
		return &TokenError{"signature", "its signature is wrong"}
	}
	var c claims
	if json.Unmarshal(payload, &c) != nil {
		return &TokenError{"id_token", "its claims cannot be read"}
	}
	var audience []string
	if json.Unmarshal(c["aud"], &audience) != nil {
		audience = []string{c.text("aud")}
	}
	var times struct{ Exp, Nbf *float64 }
	_ = json.Unmarshal(payload, &times) // what is no number was refused as that
	now := s.wire().now()
	moment := func(seconds *float64) time.Time { return time.Unix(int64(*seconds), 0) }
	var expired *oidc.TokenExpiredError
	switch {
	case c.text("iss") != s.Domain.Issuer():
		return &TokenError{"iss", fmt.Sprintf("its issuer is %q; want %q", fault.Printable(c.text("iss")), s.Domain.Issuer())}
	case !slices.Contains(audience, s.ClientID):
		return &TokenError{"aud", fmt.Sprintf("it is meant for %s, not for the app %s", orNone(fault.Printable(strings.Join(audience, ", "))), fault.Printable(s.ClientID))}
	case errors.As(err, &expired) && times.Exp == nil:
		return &TokenError{"exp", "it does not say when it expires"}
	case errors.As(err, &expired):
		return &TokenError{"exp", fmt.Sprintf("it has expired: at %s, and it is %s here", fault.Clock(moment(times.Exp)), fault.Clock(now))}
	case times.Nbf != nil && moment(times.Nbf).After(now):
		return &TokenError{"nbf", fmt.Sprintf("it is not valid yet: not before %s, and it is %s here", fault.Clock(moment(times.Nbf)), fault.Clock(now))}
	}
	return &TokenError{"id_token", fault.Printable(strings.TrimPrefix(err.Error(), "oidc: "))}
}

type head struct{ Alg, Kid string }

// headOf reads the head of a token in compact form.
func headOf(token fault.Secret) (head, bool) {
	parts := strings.Split(token.Reveal(), ".")
	if len(parts) != 3 {
		return head{}, false
	}
	text, err := base64.RawURLEncoding.DecodeString(parts[0])
	var h head
	return h, err == nil && json.Unmarshal(text, &h) == nil
}

// keys fetches the RSA keys with the id kid. A token without one is held against
// all of them.
func (s SignIn) keys(ctx context.Context, at endpoints, kid string) (*oidc.StaticKeySet, error) {
	body, err := s.wire().send(ctx, request{method: http.MethodGet, path: s.path(at.Keys)})
	if refused := (*APIError)(nil); errors.As(err, &refused) && !errors.Is(err, fault.ErrTemporary) {
		return nil, fault.Wrap(fault.ErrTemporary, refused, "%s does not give its keys", s.Domain)
	} else if err != nil {
		return nil, err
	}
	var set struct{ Keys []json.RawMessage }
	if err := s.wire().decode(body, &set); err != nil {
		return nil, err
	}
	var keys []crypto.PublicKey
	for _, text := range set.Keys {
		var key jose.JSONWebKey
		if json.Unmarshal(text, &key) != nil || key.Use == "enc" {
			continue // of a kind that is not taken here
		}
		if public, ok := key.Key.(*rsa.PublicKey); ok && (kid == "" || key.KeyID == kid) {
			keys = append(keys, public)
		}
	}
	return &oidc.StaticKeySet{PublicKeys: keys}, nil
}
