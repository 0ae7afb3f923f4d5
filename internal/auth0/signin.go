package auth0

import (
	"cmp"
	"context"
	"crypto/rand"
	"crypto/subtle"
	"encoding/json"
	"errors"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/oauth2"

	"github.com/exactauth/exactauth/internal/callback"
	"github.com/exactauth/exactauth/internal/config"
	"github.com/exactauth/exactauth/internal/fault"
)

// SignIn is one sign-in of a person through an Exact connection, for an app that may
// use the connection. The domain of its Server is where people sign in: the tenant's
// own, or a custom one.
type SignIn struct {
	Server

	// ClientID is the app's. ClientSecret is zero for an app that has none (a native or
	// single-page one); PKCE is used with all apps.
	ClientID     string
	ClientSecret fault.Secret

	// Connection is the name of the connection.
	Connection string

	// Callback is one of the app's Allowed Callback URLs, letter by letter. It is on a
	// loopback address.
	Callback string

	// Language is as in callback.Options.
	Language string
}

// User is the person who signed in, according to a verified id_token and the userinfo
// endpoint. Texts are printable; all but Subject and Issuer may be empty.
type User struct {
	Subject       string `json:"sub"` // "exact|" and the GUID of Exact's user
	Name          string `json:"name"`
	Email         string `json:"email"`
	EmailVerified bool   `json:"email_verified"`
	Division      int    `json:"current_division,omitempty"` // at Exact; 0 unless an Action of the tenant puts it into a token
	Issuer        string `json:"issuer"`
}

// String names the user for people.
func (u User) String() string {
	switch {
	case u.Name != "" && u.Email != "" && u.Name != u.Email:
		return u.Name + " <" + u.Email + ">"
	case u.Name != "":
		return u.Name
	case u.Email != "":
		return u.Email
	}
	return u.Subject
}

// endpoints are the parts of the discovery document that are used.
type endpoints struct {
	Issuer    string
	Authorize string `json:"authorization_endpoint"`
	Token     string `json:"token_endpoint"`
	UserInfo  string `json:"userinfo_endpoint"`
	Keys      string `json:"jwks_uri"`

	NamesItself bool `json:"authorization_response_iss_parameter_supported"` // RFC 9207
}

// Address is where another browser can start the sign-in, to see how far it gets: this
// program does not wait for the answer, and without it the code is worthless. Errors
// wrap ErrConfig or ErrTemporary.
func (s SignIn) Address(ctx context.Context) (string, error) {
	at, err := s.discover(ctx)
	if err != nil {
		return "", err
	}
	return s.address(at, rand.Text(), rand.Text(), oauth2.GenerateVerifier()), nil
}

// Run signs a person in. It listens at the callback, calls show with the address to
// open in the browser, waits for the browser, and shows the outcome in the browser. The
// sign-in is complete when the id_token is verified and the userinfo endpoint names the
// same user. show must not wait for the browser.
//
// Errors wrap ErrDenied (refused, or timed out), ErrConfig (some of them ErrNotEnabled,
// ErrAppSecret or callback.ErrPort), or ErrTemporary, or are a *TokenError.
func (s SignIn) Run(ctx context.Context, show func(address string)) (User, error) {
	if err := checkCallback(s.Callback); err != nil {
		return User{}, err
	}
	at, err := s.discover(ctx)
	if err != nil {
		return User{}, err
	}
	answer, err := callback.Open(ctx, callback.Options{
		Settings: config.Settings{RedirectURI: s.Callback}, Language: s.Language,
		Issuer: callback.Issuer{URL: at.Issuer, Promised: at.NamesItself},
	})
	if err != nil {
		return User{}, err
	}
	defer answer.Close()
	nonce, verifier := rand.Text(), oauth2.GenerateVerifier()
	show(s.address(at, answer.State, nonce, verifier))

	code, err := answer.Code(ctx)
	if refused := (*callback.RefusedError)(nil); errors.As(err, &refused) {
		err = s.refused(refused)
	}
	var user User
	if err == nil {
		user, err = s.redeem(ctx, at, nonce, verifier, code)
	}
	if err != nil {
		answer.Finish(ctx, callback.Failed("U bent niet via Auth0 aangemeld.", err))
		return User{}, err
	}
	answer.Finish(ctx, callback.SignedIn(user.String()+" signed in to Exact Online through Auth0, connection "+s.Connection+".",
		user.String()+" is via Auth0 aangemeld bij Exact Online, met de connectie "+s.Connection+".", ""))
	return user, nil
}

// discover reads the domain's discovery document (OpenID Connect Discovery 1.0). The
// document must be the domain's own and name no other host, since one of its endpoints
// gets the app's secret.
func (s SignIn) discover(ctx context.Context) (endpoints, error) {
	var at endpoints
	err := s.ask(ctx, request{method: http.MethodGet, path: "/.well-known/openid-configuration"}, &at, func(r *fault.ServerError) error {
		return fault.Wrap(fault.ErrConfig, r, "%s is no Auth0 domain: it has no discovery document", s.Domain)
	})
	if err == nil && at.Issuer != s.Domain.Issuer() {
		err = fault.New(fault.ErrConfig, "%s names itself %q in its discovery document; want %q", s.Domain, fault.Printable(at.Issuer), s.Domain.Issuer())
	}
	for _, e := range []string{at.Authorize, at.Token, at.UserInfo, at.Keys} {
		if err == nil && !strings.HasPrefix(e, s.Domain.origin+"/") {
			err = fault.New(fault.ErrConfig, "the discovery document of %s leads elsewhere: %q", s.Domain, fault.Printable(e))
		}
	}
	return at, err
}

func (s SignIn) path(endpoint string) string { return strings.TrimPrefix(endpoint, s.Domain.origin) }

// address asks for a fresh sign-in (prompt=login). If Auth0 still had a session, the
// browser would otherwise come back without a visit to Exact.
func (s SignIn) address(at endpoints, state, nonce, verifier string) string {
	q := url.Values{
		"response_type":         {"code"},
		"client_id":             {s.ClientID},
		"redirect_uri":          {s.Callback},
		"scope":                 {"openid profile email"},
		"connection":            {s.Connection},
		"prompt":                {"login"},
		"state":                 {state},
		"nonce":                 {nonce},
		"code_challenge":        {oauth2.S256ChallengeFromVerifier(verifier)},
		"code_challenge_method": {"S256"},
	}
	return at.Authorize + "?" + q.Encode()
}

// refused explains a refusal that the browser brought. Auth0 has one code for most of
// them, invalid_request, so this function reads their texts. It is the only one that
// does.
func (s SignIn) refused(r *callback.RefusedError) error {
	text := strings.ToLower(r.Description)
	app, connection := fault.Printable(s.ClientID), fault.Printable(s.Connection)
	switch {
	case strings.Contains(text, "connection was not found"):
		return fault.Wrap(ErrNotEnabled, r, "the app %s may not use a connection named %s, or there is none", app, connection)
	case strings.Contains(text, "no connections enabled for the client"):
		return fault.Wrap(ErrNotEnabled, r, "no connection is enabled for the app %s", app)
	case strings.Contains(text, "connection was disabled"), strings.Contains(text, "connection is disabled"):
		return fault.Wrap(ErrNotEnabled, r, "the connection %s is disabled", connection)
	case r.Code == "access_denied":
		return fault.Wrap(fault.ErrDenied, r, "sign-in refused")
	case r.Code == "login_required", r.Code == "consent_required", r.Code == "interaction_required":
		return fault.Wrap(fault.ErrDenied, r, "the sign-in was not completed")
	case r.Code == "server_error", r.Code == "temporarily_unavailable":
		return fault.Wrap(fault.ErrTemporary, r, "Auth0 could not complete the sign-in")
	}
	return fault.Wrap(fault.ErrConfig, r, "Auth0 refuses this sign-in")
}

func (s SignIn) redeem(ctx context.Context, at endpoints, nonce, verifier string, code fault.Secret) (User, error) {
	form := url.Values{
		"grant_type":    {"authorization_code"},
		"client_id":     {s.ClientID},
		"code":          {code.Reveal()},
		"redirect_uri":  {s.Callback},
		"code_verifier": {verifier},
	}
	if !s.ClientSecret.IsZero() {
		form.Set("client_secret", s.ClientSecret.Reveal())
	}
	var answer struct {
		IDToken     string `json:"id_token"`
		AccessToken string `json:"access_token"`
	}
	if err := s.ask(ctx, formRequest(s.path(at.Token), form), &answer, s.notRedeemed); err != nil {
		return User{}, err
	}
	access := fault.NewSecret(answer.AccessToken)
	token, err := s.verify(ctx, at, nonce, fault.NewSecret(answer.IDToken), access)
	if err != nil {
		return User{}, err
	}
	if access.IsZero() {
		return User{}, &TokenError{"id_token", "no access token came with it, so the userinfo endpoint cannot be asked"}
	}
	var info claims
	err = s.ask(ctx, request{method: http.MethodGet, path: s.path(at.UserInfo), bearer: access}, &info, func(r *fault.ServerError) error {
		return fault.Wrap(fault.ErrConfig, r, "the userinfo endpoint refuses the access token")
	})
	if err != nil {
		return User{}, err
	}
	subject := token.text("sub")
	if subtle.ConstantTimeCompare([]byte(info.text("sub")), []byte(subject)) != 1 {
		return User{}, &TokenError{"sub", "the userinfo endpoint names another user, " + orNone(info.text("sub")) + ", than the id_token, " + fault.Printable(subject)}
	}
	either := func(name string) string { return fault.Printable(cmp.Or(info.text(name), token.text(name))) }
	return User{
		Subject: fault.Printable(subject), Name: either("name"), Email: either("email"), EmailVerified: string(info["email_verified"]) == "true",
		Division: cmp.Or(info.division(), token.division()), Issuer: s.Domain.Issuer(),
	}, nil
}

func (s SignIn) notRedeemed(r *fault.ServerError) error {
	switch {
	case r.Code == "invalid_grant":
		return fault.Wrap(fault.ErrTemporary, r, "Auth0 refuses the code, which is valid for a short time and works once")
	case r.Code == "unauthorized_client":
		return fault.Wrap(fault.ErrConfig, r, "the app %s may not exchange codes", fault.Printable(s.ClientID))
	case r.Status == http.StatusUnauthorized, r.Code == "invalid_client", r.Code == "access_denied":
		how := "without its secret"
		if !s.ClientSecret.IsZero() {
			how = "with this secret"
		}
		return fault.Wrap(ErrAppSecret, r, "Auth0 refuses the app %s %s", fault.Printable(s.ClientID), how)
	}
	return fault.Wrap(fault.ErrConfig, r, "Auth0 refuses the code")
}

// claims are the claims of a token or of the userinfo endpoint, by name.
type claims map[string]json.RawMessage

// text returns a claim, which is empty if it is missing or no string.
func (c claims) text(name string) string {
	var s string
	_ = json.Unmarshal(c[name], &s)
	return s
}

// division finds the current division. Auth0 keeps it in the user's profile
// (passport-exact). Only an Action of the tenant puts it into a token, under a name of
// its own that ends in this word.
func (c claims) division() int {
	for _, name := range slices.Sorted(maps.Keys(c)) {
		last := strings.ToLower(strings.ReplaceAll(name[strings.LastIndexByte(name, '/')+1:], "_", ""))
		if last != "currentdivision" && last != "division" {
			continue
		}
		// passport-exact makes it a string.
		if code, err := strconv.Atoi(strings.Trim(string(c[name]), `"`)); err == nil && code > 0 {
			return code
		}
	}
	return 0
}
