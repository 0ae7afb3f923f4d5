package auth0

import (
	"context"
	"crypto/rand"
	"crypto/subtle"
	"encoding/json"
	"errors"
	"log/slog"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/oauth2"

	"github.com/exactauth/exactauth/internal/callback"
	"github.com/exactauth/exactauth/internal/config"
	"github.com/exactauth/exactauth/internal/fault"
)

// SignIn is one sign-in of a person through an Exact connection, for an app that
// may use it.
type SignIn struct {
	// Domain is where people sign in: the tenant's own, or a custom one.
	Domain Domain

	// ClientID is the app's. ClientSecret is zero for apps that have none
	// (native and single-page ones): PKCE is used with all of them.
	ClientID     string
	ClientSecret fault.Secret

	// Connection is the name of the connection.
	Connection string

	// Callback is a loopback address that stands among the app's Allowed
	// Callback URLs just as it is here.
	Callback string

	// Language is that of the last page, "nl" or "en", if the browser asks for
	// neither of them. Optional.
	Language string

	// HTTP makes every request; redirects are never followed. Optional.
	HTTP *http.Client

	// Now is the clock that tokens are held against. Optional.
	Now func() time.Time

	// Waiting is told, before a wait for Auth0's limit of requests, what for
	// and until when. Optional.
	Waiting func(what string, until time.Time)

	// Log gets what was done, for debugging; no secret is ever in it. Optional.
	Log *slog.Logger
}

// User is who signed in, as a verified id_token and the userinfo endpoint say.
// Texts are fit for a terminal; those but Subject and Issuer may be empty.
type User struct {
	Subject       string // "exact|" and the GUID of Exact's user
	Name, Email   string
	EmailVerified bool
	Division      int // the current one at Exact; 0 unless an Action of the tenant puts it into a token
	Issuer        string
}

// endpoints are those of the discovery document that are used.
type endpoints struct {
	Issuer    string
	Authorize string `json:"authorization_endpoint"`
	Token     string `json:"token_endpoint"`
	UserInfo  string `json:"userinfo_endpoint"`
	Keys      string `json:"jwks_uri"`
}

// secrets are what one sign-in makes up for itself. The state is the callback's.
type secrets struct {
	state, nonce string
	verifier     fault.Secret // of PKCE
}

func newVerifier() fault.Secret { return fault.NewSecret(oauth2.GenerateVerifier()) }

func (s SignIn) wire() wire { return wire{s.Domain, s.HTTP, s.Now, s.Waiting, s.Log} }

// Address is where anybody's browser can start the sign-in, to see how far it
// comes: nothing waits for its answer, and its code is good for nobody.
// Errors wrap ErrConfig or ErrTemporary.
func (s SignIn) Address(ctx context.Context) (string, error) {
	at, err := s.discover(ctx)
	if err != nil {
		return "", err
	}
	return s.address(at, secrets{rand.Text(), rand.Text(), newVerifier()}), nil
}

// Run signs a person in: it listens at the callback, tells show the address to
// open in the browser, which show must not wait for, and then the browser
// how it ended. It is done when the id_token is verified and the userinfo
// endpoint speaks of the same user.
//
// Errors wrap ErrDenied (refused, or nobody came before ctx ended), ErrConfig
// with ErrNotEnabled, ErrAppSecret or callback.ErrPort beside it, ErrTemporary,
// or are a *TokenError.
func (s SignIn) Run(ctx context.Context, show func(address string)) (User, error) {
	if err := checkCallback(s.Callback); err != nil {
		return User{}, fault.With(err, fault.ErrConfig)
	}
	at, err := s.discover(ctx)
	if err != nil {
		return User{}, err
	}
	answer, err := callback.Open(ctx, callback.Options{Settings: config.Settings{RedirectURI: s.Callback}, Language: s.Language})
	if err != nil {
		return User{}, err
	}
	defer answer.Close()
	own := secrets{answer.State, rand.Text(), newVerifier()}
	show(s.address(at, own))

	code, err := answer.Code(ctx)
	if refused := (*callback.RefusedError)(nil); errors.As(err, &refused) {
		err = s.refused(refused)
	}
	var user User
	if err == nil {
		user, err = s.redeem(ctx, at, own, code)
	}
	if err != nil {
		answer.Finish(ctx, callback.Failed("U bent niet via Auth0 aangemeld.", err))
		return User{}, err
	}
	answer.Finish(ctx, callback.SignedIn(user.String()+" signed in to Exact Online through Auth0, connection "+s.Connection+".",
		user.String()+" is via Auth0 aangemeld bij Exact Online, met de connectie "+s.Connection+"."))
	return user, nil
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

// discover reads the domain's discovery document (OpenID Connect Discovery 1.0).
// The document must be the domain's own, and name no other place: one of them
// is sent the app's secret.
func (s SignIn) discover(ctx context.Context) (endpoints, error) {
	body, err := s.wire().send(ctx, request{method: http.MethodGet, path: "/.well-known/openid-configuration"})
	if refused := (*APIError)(nil); errors.As(err, &refused) && !errors.Is(err, fault.ErrTemporary) {
		return endpoints{}, fault.Wrap(fault.ErrConfig, refused, "%s is no Auth0 domain: it has no discovery document", s.Domain)
	} else if err != nil {
		return endpoints{}, err
	}
	var at endpoints
	if err := s.wire().decode(body, &at); err != nil {
		return endpoints{}, err
	}
	if at.Issuer != s.Domain.Issuer() {
		return endpoints{}, fault.New(fault.ErrConfig, "%s names itself %q in its discovery document; want %q", s.Domain, fault.Printable(at.Issuer), s.Domain.Issuer())
	}
	for _, e := range []string{at.Authorize, at.Token, at.UserInfo, at.Keys} {
		if !strings.HasPrefix(e, s.Domain.origin+"/") {
			return endpoints{}, fault.New(fault.ErrConfig, "the discovery document of %s leads elsewhere: %q", s.Domain, fault.Printable(e))
		}
	}
	return at, nil
}

func (s SignIn) path(endpoint string) string { return strings.TrimPrefix(endpoint, s.Domain.origin) }

// address asks for a fresh sign-in (prompt=login): with a session that Auth0
// still has, the browser would come back without having been at Exact.
func (s SignIn) address(at endpoints, own secrets) string {
	q := url.Values{
		"response_type":         {"code"},
		"client_id":             {s.ClientID},
		"redirect_uri":          {s.Callback},
		"scope":                 {"openid profile email"},
		"connection":            {s.Connection},
		"prompt":                {"login"},
		"state":                 {own.state},
		"nonce":                 {own.nonce},
		"code_challenge":        {oauth2.S256ChallengeFromVerifier(own.verifier.Reveal())},
		"code_challenge_method": {"S256"},
	}
	return at.Authorize + "?" + q.Encode()
}

// refused puts a refusal that the browser brought into words. Auth0 has one code
// for most of them, invalid_request, so its texts are read here, and only here.
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
		return fault.Wrap(fault.ErrDenied, r, "the sign-in was not carried through")
	case r.Code == "server_error", r.Code == "temporarily_unavailable":
		return fault.Wrap(fault.ErrTemporary, r, "Auth0 could not carry the sign-in through")
	}
	return fault.Wrap(fault.ErrConfig, r, "Auth0 refuses this sign-in")
}

// redeem exchanges the code and finds out whose it is.
func (s SignIn) redeem(ctx context.Context, at endpoints, own secrets, code fault.Secret) (User, error) {
	form := url.Values{
		"grant_type":    {"authorization_code"},
		"client_id":     {s.ClientID},
		"code":          {code.Reveal()},
		"redirect_uri":  {s.Callback},
		"code_verifier": {own.verifier.Reveal()},
	}
	if !s.ClientSecret.IsZero() {
		form.Set("client_secret", s.ClientSecret.Reveal())
	}
	body, err := s.wire().send(ctx, formRequest(s.path(at.Token), form))
	if refused := (*APIError)(nil); errors.As(err, &refused) && !errors.Is(err, fault.ErrTemporary) {
		return User{}, s.notRedeemed(refused)
	} else if err != nil {
		return User{}, err
	}
	var answer struct {
		IDToken     string `json:"id_token"`
		AccessToken string `json:"access_token"`
	}
	if err := s.wire().decode(body, &answer); err != nil {
		return User{}, err
	}
	access := fault.NewSecret(answer.AccessToken)
	token, err := s.verify(ctx, at, own.nonce, fault.NewSecret(answer.IDToken), access)
	if err != nil {
		return User{}, err
	}
	info, err := s.userInfo(ctx, at, access)
	if err != nil {
		return User{}, err
	}
	if subtle.ConstantTimeCompare([]byte(info.text("sub")), []byte(token.text("sub"))) != 1 {
		return User{}, &TokenError{"sub", "the userinfo endpoint speaks of another user, " + orNone(fault.Printable(info.text("sub"))) + ", than the id_token, " + fault.Printable(token.text("sub"))}
	}
	either := func(name string) string {
		if v := info.text(name); v != "" {
			return fault.Printable(v)
		}
		return fault.Printable(token.text(name))
	}
	u := User{Subject: fault.Printable(token.text("sub")), Name: either("name"), Email: either("email"), Issuer: s.Domain.Issuer()}
	u.EmailVerified = string(info["email_verified"]) == "true"
	for _, c := range []claims{info, token} {
		if u.Division == 0 {
			u.Division = c.division()
		}
	}
	return u, nil
}

// notRedeemed says why a code was not taken.
func (s SignIn) notRedeemed(refused *APIError) error {
	switch {
	case refused.Code == "invalid_grant":
		return fault.Wrap(fault.ErrTemporary, refused, "Auth0 did not take the code, which is good for a short time and works once")
	case refused.Code == "unauthorized_client":
		return fault.Wrap(fault.ErrConfig, refused, "the app %s may not exchange codes", fault.Printable(s.ClientID))
	case refused.Status == http.StatusUnauthorized, refused.Code == "invalid_client", refused.Code == "access_denied":
		how := "without its secret"
		if !s.ClientSecret.IsZero() {
			how = "with this secret"
		}
		return fault.Wrap(ErrAppSecret, refused, "Auth0 does not take the app %s %s", fault.Printable(s.ClientID), how)
	}
	return fault.Wrap(fault.ErrConfig, refused, "Auth0 did not take the code")
}

func (s SignIn) userInfo(ctx context.Context, at endpoints, access fault.Secret) (claims, error) {
	if access.IsZero() {
		return nil, &TokenError{"id_token", "no access token came with it, so nobody can be asked about the user"}
	}
	body, err := s.wire().send(ctx, request{method: http.MethodGet, path: s.path(at.UserInfo), bearer: access})
	if refused := (*APIError)(nil); errors.As(err, &refused) && !errors.Is(err, fault.ErrTemporary) {
		return nil, fault.Wrap(fault.ErrConfig, refused, "the userinfo endpoint does not take the access token")
	} else if err != nil {
		return nil, err
	}
	var c claims
	if err := s.wire().decode(body, &c); err != nil {
		return nil, err
	}
	return c, nil
}

// claims are what a token or an answer says, by name.
type claims map[string]json.RawMessage

func (c claims) text(name string) string {
	var s string
	_ = json.Unmarshal(c[name], &s) // what is missing or no string says nothing
	return s
}

// division finds the current division. Auth0 keeps it in the user's profile
// (passport-exact), from where only an Action of the tenant's brings it into a
// token, under a name of its own choice that ends so.
func (c claims) division() int {
	names := make([]string, 0, len(c))
	for name := range c {
		names = append(names, name)
	}
	slices.Sort(names)
	for _, name := range names {
		last := strings.ToLower(strings.ReplaceAll(name[strings.LastIndexByte(name, '/')+1:], "_", ""))
		if last != "currentdivision" && last != "division" {
			continue
		}
		// As passport-exact has it, it is a string.
		if code, err := strconv.Atoi(strings.Trim(string(c[name]), `"`)); err == nil && code > 0 {
			return code
		}
	}
	return 0
}
