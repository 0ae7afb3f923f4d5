package auth0

import (
	"bytes"
	"cmp"
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"log/slog"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/exactauth/exactauth/internal/fault"
)

// Tenant is an Auth0 tenant and the right to manage it. It must not be changed
// once used, nor used by two goroutines at once.
type Tenant struct {
	// Domain is the one that the tenant was made with: custom domains have no
	// Management API.
	Domain Domain

	// APIToken is a token for the Management API, good for 24 hours at most.
	// Without one it is asked for with ClientID and ClientSecret, those of a
	// machine-to-machine app (Auth0 docs, "Management API access tokens").
	APIToken     fault.Secret
	ClientID     string
	ClientSecret fault.Secret

	// HTTP makes every request; redirects are never followed. Optional.
	HTTP *http.Client

	// Now is the clock. Optional.
	Now func() time.Time

	// Waiting is told, before a wait for Auth0's limit of requests, what for
	// and until when. Optional.
	Waiting func(what string, until time.Time)

	// Log gets what was done, for debugging; no secret is ever in it. Optional.
	Log *slog.Logger

	bearer fault.Secret // zero until it is needed
	scopes []string     // that bearer has; nil if that is not known
}

func (t *Tenant) wire() wire { return wire{t.Domain, t.HTTP, t.Now, t.Waiting, t.Log} }

// authorize gets a token for the Management API. Its life is longer than any use
// of a Tenant.
func (t *Tenant) authorize(ctx context.Context) error {
	if !t.bearer.IsZero() {
		return nil
	}
	if !t.APIToken.IsZero() {
		t.bearer, t.scopes = t.APIToken, scopesOf(t.APIToken)
		return nil
	}
	body, err := t.wire().send(ctx, formRequest("/oauth/token", url.Values{
		"grant_type":    {"client_credentials"},
		"client_id":     {t.ClientID},
		"client_secret": {t.ClientSecret.Reveal()},
		"audience":      {t.Domain.Audience()},
	}))
	if refused := (*APIError)(nil); errors.As(err, &refused) && !errors.Is(err, fault.ErrTemporary) {
		return t.noToken(refused)
	} else if err != nil {
		return err
	}
	var answer struct {
		Token string  `json:"access_token"`
		Scope *string `json:"scope"`
	}
	if err := t.wire().decode(body, &answer); err != nil {
		return err
	}
	if answer.Token == "" {
		return fault.New(fault.ErrTemporary, "the answer of %s has no management token", t.Domain)
	}
	t.bearer = fault.NewSecret(answer.Token)
	if answer.Scope != nil {
		t.scopes = append([]string{}, strings.Fields(*answer.Scope)...)
	}
	return nil
}

// noToken says why there is no management token. The texts are those of Auth0's
// token endpoint; it has one code for all of them, access_denied.
func (t *Tenant) noToken(refused *APIError) error {
	switch {
	case strings.Contains(refused.Message, "Service not found"):
		return fault.Wrap(ErrNotOwnDomain, refused, "%s has no Management API", t.Domain)
	case refused.Status == http.StatusForbidden:
		return fault.Wrap(ErrNoGrant, refused, "the client %s may not use the Management API of %s", fault.Printable(t.ClientID), t.Domain)
	}
	return fault.Wrap(ErrCredentials, refused, "%s does not take the management client's id and secret", t.Domain)
}

// scopesOf reads the scopes from a token that is a JWT. They only serve to tell
// early what is missing; Auth0 is the judge.
func scopesOf(token fault.Secret) []string {
	parts := strings.Split(token.Reveal(), ".")
	if len(parts) != 3 {
		return nil
	}
	payload, err := base64.RawURLEncoding.DecodeString(parts[1])
	if err != nil {
		return nil
	}
	var claims struct {
		Scope *string `json:"scope"`
	}
	if json.Unmarshal(payload, &claims) != nil || claims.Scope == nil {
		return nil
	}
	return append([]string{}, strings.Fields(*claims.Scope)...)
}

// lacking returns those of the scopes that the token is known not to have.
func (t *Tenant) lacking(scopes []string) (missing []string) {
	if t.scopes == nil {
		return nil
	}
	for _, s := range scopes {
		if !slices.Contains(t.scopes, s) && !slices.Contains(missing, s) {
			missing = append(missing, s)
		}
	}
	return missing
}

// call asks the Management API; path is below /api/v2. The answer is decoded
// into answer unless that is nil.
func (t *Tenant) call(ctx context.Context, method, path string, body fault.Secret, answer any) error {
	if err := t.authorize(ctx); err != nil {
		return err
	}
	r := request{method: method, path: "/api/v2" + path, bearer: t.bearer}
	if !body.IsZero() {
		r.contentType, r.body = "application/json", body
	}
	text, err := t.wire().send(ctx, r)
	if refused := (*APIError)(nil); errors.As(err, &refused) && !errors.Is(err, fault.ErrTemporary) {
		return t.refused(refused, method, path)
	} else if err != nil {
		return err
	}
	if answer == nil {
		return nil
	}
	return t.wire().decode(text, answer)
}

// missingScopes reads the scopes from the sentence in which the Management API
// names those that it wants: "Insufficient scope, expected any of: a,b".
func missingScopes(message string) (scopes []string, any bool) {
	for _, kind := range []string{"any", "all"} {
		if _, list, found := strings.Cut(message, "expected "+kind+" of:"); found {
			return strings.FieldsFunc(list, func(r rune) bool { return r == ',' || r == ' ' }), kind == "any"
		}
	}
	return nil, false
}

// refused turns a refusal of the Management API into an error of its kind.
func (t *Tenant) refused(refused *APIError, method, path string) error {
	what := method + " /api/v2" + strings.SplitN(path, "?", 2)[0]
	if missing, any := missingScopes(refused.Message); len(missing) > 0 && refused.Status == http.StatusForbidden {
		return fault.Wrap(fault.ErrConfig, &ScopeError{Missing: missing, Have: t.scopes, AnyOf: any}, "%s refuses %s", t.Domain, what)
	}
	if refused.Status == http.StatusUnauthorized {
		return fault.Wrap(ErrCredentials, refused, "%s does not take the management token", t.Domain)
	}
	return fault.Wrap(fault.ErrConfig, refused, "%s refuses %s", t.Domain, what)
}

// Connection is an Exact connection of a tenant. Texts are fit for a terminal.
type Connection struct {
	ID          string // as "con_1a2b3c"
	Name        string // what /authorize and users' identities know it by
	DisplayName string // on the button of the sign-in page; may be empty
	// OptionsKnown is whether the token may read the options
	// (read:connections_options); without it the fields below are zero.
	OptionsKnown bool
	ClientID     string // of the app in Exact's App Center
	HasSecret    bool   // whether that app's client secret is there
	BaseURL      string // of Exact Online; the default if nothing else is set
	Profile      bool   // whether the basic profile attributes are asked for

	rawID, rawName string
	rawDisplayName *string
	options        map[string]json.RawMessage // all but the client secret
	secret         fault.Secret
}

// defaultBaseURL is where the strategy goes if baseUrl is not set
// (passport-exact, connection schema).
const defaultBaseURL = "https://start.exactonline.nl"

// connections lists the tenant's Exact connections, by name if name is empty.
func (t *Tenant) connections(ctx context.Context, name string) ([]Connection, error) {
	q := url.Values{"strategy": {Strategy}}
	if name != "" {
		q.Set("name", name)
	}
	var list []struct {
		ID, Name, Strategy string
		DisplayName        *string                    `json:"display_name"`
		Options            map[string]json.RawMessage `json:"options"`
	}
	if err := t.call(ctx, http.MethodGet, "/connections?"+q.Encode(), fault.Secret{}, &list); err != nil {
		return nil, err
	}
	var all []Connection
	for _, l := range list {
		if l.Strategy != Strategy || name != "" && l.Name != name {
			continue
		}
		c := Connection{
			ID: fault.Printable(l.ID), Name: fault.Printable(l.Name),
			rawID: l.ID, rawName: l.Name, rawDisplayName: l.DisplayName,
		}
		if l.DisplayName != nil {
			c.DisplayName = fault.Printable(*l.DisplayName)
		}
		if l.Options != nil {
			c.readOptions(l.Options)
		}
		all = append(all, c)
	}
	slices.SortFunc(all, func(a, b Connection) int { return cmp.Compare(a.Name, b.Name) })
	return all, nil
}

func (c *Connection) readOptions(options map[string]json.RawMessage) {
	text := func(name string) string {
		var s string
		_ = json.Unmarshal(options[name], &s) // what is missing or no string is none
		return s
	}
	// Answers hold the secret in the clear (Management API); should they mask it
	// one day, the mask must not be written back as the secret.
	if secret := text("client_secret"); strings.Trim(secret, "*") != "" {
		c.secret = fault.NewSecret(secret)
	}
	delete(options, "client_secret")
	c.OptionsKnown, c.options = true, options
	c.HasSecret = !c.secret.IsZero()
	c.ClientID = fault.Printable(text("client_id"))
	c.BaseURL = fault.Printable(cmp.Or(text("baseUrl"), defaultBaseURL))
	_ = json.Unmarshal(options["profile"], &c.Profile)
}

// apps returns the client ids of the apps that may use a connection. It goes by
// checkpoints: an answer names the next (Management API).
func (c *Connection) apps(ctx context.Context, t *Tenant) ([]string, error) {
	var ids []string
	next := ""
	for range 100 { // a list that goes in a circle must end
		q := url.Values{"take": {"100"}}
		if next != "" {
			q.Set("from", next)
		}
		var page struct {
			Clients []struct {
				ClientID string `json:"client_id"`
			}
			Next string
		}
		if err := t.call(ctx, http.MethodGet, "/connections/"+url.PathEscape(c.rawID)+"/clients?"+q.Encode(), fault.Secret{}, &page); err != nil {
			return nil, err
		}
		for _, p := range page.Clients {
			ids = append(ids, p.ClientID)
		}
		if page.Next == "" {
			return ids, nil
		}
		next = page.Next
	}
	return nil, fault.New(fault.ErrTemporary, "the list of the connection's apps at %s does not end", t.Domain)
}

// App is an application of a tenant: what signs people in there.
type App struct {
	ClientID string
	Name     string // fit for a terminal; empty if it could not be read

	callbacks []string
}

// String names the app for people.
func (a App) String() string {
	if a.Name == "" {
		return fault.Printable(a.ClientID)
	}
	return a.Name + " (" + fault.Printable(a.ClientID) + ")"
}

// allApps lists the tenant's apps, without the one that stands for all of them.
func (t *Tenant) allApps(ctx context.Context) ([]App, error) {
	const pageSize = 100
	var all []App
	for page := range 100 {
		q := url.Values{
			"fields": {"client_id,name,callbacks"}, "include_fields": {"true"}, "is_global": {"false"},
			"page": {jsonText(page)}, "per_page": {jsonText(pageSize)},
		}
		var list []struct {
			ClientID  string `json:"client_id"`
			Name      string
			Callbacks []string
		}
		if err := t.call(ctx, http.MethodGet, "/clients?"+q.Encode(), fault.Secret{}, &list); err != nil {
			return nil, err
		}
		for _, l := range list {
			all = append(all, App{l.ClientID, fault.Printable(l.Name), l.Callbacks})
		}
		if len(list) < pageSize {
			return all, nil
		}
	}
	return nil, fault.New(fault.ErrTemporary, "the list of apps of %s does not end", t.Domain)
}

// FindApp finds an app by its client id or, if that is nobody's, by its name.
// Errors wrap ErrApp beside ErrConfig if there is none or more than one.
func (t *Tenant) FindApp(ctx context.Context, idOrName string) (App, error) {
	all, err := t.allApps(ctx)
	if err != nil {
		return App{}, err
	}
	var found []App
	var names []string
	for _, a := range all {
		if a.ClientID == idOrName {
			return a, nil
		}
		if a.Name == idOrName {
			found = append(found, a)
		}
		names = append(names, a.String())
	}
	shown := fault.Printable(idOrName)
	switch {
	case len(found) == 1:
		return found[0], nil
	case len(found) > 1:
		ids := make([]string, len(found))
		for i, a := range found {
			ids[i] = fault.Printable(a.ClientID)
		}
		return App{}, fault.New(ErrApp, "%d apps of %s have the name %q: %s", len(found), t.Domain, shown, strings.Join(ids, ", "))
	}
	const enough = 10
	if len(names) > enough {
		names = append(names[:enough], "and more")
	}
	return App{}, fault.New(ErrApp, "app %q: %s has none of that client id or name, but: %s", shown, t.Domain, strings.Join(names, ", "))
}

// jsonText is v in JSON. V holds nothing that JSON cannot.
func jsonText(v any) string {
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(v); err != nil {
		panic(err)
	}
	return strings.TrimSuffix(b.String(), "\n")
}
