package auth0

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"github.com/exactauth/exactauth/internal/fault"
)

// Tenant is an Auth0 tenant and the right to manage it. The domain of its Server is the
// one that the tenant was made with: custom domains have no Management API. A Tenant
// must not be changed once used, nor used by two goroutines at once.
type Tenant struct {
	Server

	// APIToken is a token for the Management API, valid for 24 hours at most. If it is
	// zero, a token is requested with ClientID and ClientSecret, those of a
	// machine-to-machine app (Auth0 docs, "Management API access tokens").
	APIToken     fault.Secret
	ClientID     string
	ClientSecret fault.Secret

	bearer fault.Secret // zero until it is needed
	scopes []string     // of bearer; nil if they are not known
}

// authorize gets a token for the Management API. The token outlives every use of a
// Tenant.
func (t *Tenant) authorize(ctx context.Context) error {
	if !t.bearer.IsZero() {
		return nil
	}
	var answer struct {
		Token string  `json:"access_token"`
		Scope *string `json:"scope"`
	}
	t.bearer = t.APIToken
	if t.bearer.IsZero() {
		err := t.ask(ctx, formRequest("/oauth/token", url.Values{
			"grant_type":    {"client_credentials"},
			"client_id":     {t.ClientID},
			"client_secret": {t.ClientSecret.Reveal()},
			"audience":      {t.Domain.Audience()},
		}), &answer, t.noToken)
		if err != nil {
			return err
		}
		if answer.Token == "" {
			return fault.New(fault.ErrTemporary, "the answer of %s has no management token", t.Domain)
		}
		t.bearer = fault.NewSecret(answer.Token)
	} else {
		// A JWT names its scopes. They only serve to name a missing one early; Auth0
		// decides.
		decodeJWT(t.APIToken, 1, &answer)
	}
	if answer.Scope != nil {
		t.scopes = append([]string{}, strings.Fields(*answer.Scope)...)
	}
	return nil
}

// noToken explains why the token endpoint refused. It has one code for all reasons,
// access_denied, so its texts are read here.
func (t *Tenant) noToken(r *fault.ServerError) error {
	switch {
	case strings.Contains(r.Description, "Service not found"):
		return fault.Wrap(ErrNotOwnDomain, r, "%s has no Management API", t.Domain)
	case r.Status == http.StatusForbidden:
		return fault.Wrap(ErrNoGrant, r, "the client %s may not use the Management API of %s", fault.Printable(t.ClientID), t.Domain)
	}
	return fault.Wrap(ErrCredentials, r, "%s refuses the management client's id and secret", t.Domain)
}

// call sends a request to the Management API; path is below /api/v2. The answer is
// decoded into answer unless that is nil.
func (t *Tenant) call(ctx context.Context, method, path string, body fault.Secret, answer any) error {
	if err := t.authorize(ctx); err != nil {
		return err
	}
	req := request{method: method, path: "/api/v2" + path, bearer: t.bearer}
	if !body.IsZero() {
		req.contentType, req.body = "application/json", body
	}
	return t.ask(ctx, req, answer, func(r *fault.ServerError) error {
		what, _, _ := strings.Cut(method+" "+req.path, "?")
		missing, any := missingScopes(r.Description)
		switch {
		case len(missing) > 0 && r.Status == http.StatusForbidden:
			return fault.Wrap(fault.ErrConfig, &ScopeError{Missing: missing, Have: t.scopes, AnyOf: any}, "%s refuses %s", t.Domain, what)
		case r.Status == http.StatusUnauthorized:
			return fault.Wrap(ErrCredentials, r, "%s refuses the management token", t.Domain)
		}
		return fault.Wrap(fault.ErrConfig, r, "%s refuses %s", t.Domain, what)
	})
}

// missingScopes reads the scopes from the sentence in which the Management API names
// those that it wants: "Insufficient scope, expected any of: a,b".
func missingScopes(message string) (scopes []string, any bool) {
	for _, kind := range []string{"any", "all"} {
		if _, list, found := strings.Cut(message, "expected "+kind+" of:"); found {
			return strings.FieldsFunc(list, func(r rune) bool { return r == ',' || r == ' ' }), kind == "any"
		}
	}
	return nil, false
}

// Connection is an Exact connection of a tenant. Texts are printable.
type Connection struct {
	ID          string `json:"id"`                     // such as "con_1a2b3c"
	Name        string `json:"name"`                   // in /authorize and in users' identities
	DisplayName string `json:"display_name,omitempty"` // on the button of the sign-in page
	// OptionsKnown is whether the token may read the options
	// (read:connections_options); if not, the fields below are zero.
	OptionsKnown bool   `json:"options_known"`
	ClientID     string `json:"client_id,omitempty"` // of the app in Exact's App Center
	HasSecret    bool   `json:"has_client_secret"`   // whether that app's client secret is set
	BaseURL      string `json:"base_url,omitempty"`  // of Exact Online; the default if it is not set
	Profile      bool   `json:"-"`                   // whether the basic profile attributes are requested

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
	text := claims(options).text
	// Answers have the secret in clear text (Management API). If they mask it one day,
	// the mask must not be written back as the secret.
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

// apps returns the client ids of the apps that may use a connection. Each page names
// the next one (Management API, checkpoint pagination).
func (c *Connection) apps(ctx context.Context, t *Tenant) ([]string, error) {
	var ids []string
	next := ""
	for range 100 { // not for ever, if the pages form a circle
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

// App is an application of a tenant, which people sign in to.
type App struct {
	ClientID string `json:"client_id"`
	Name     string `json:"name,omitempty"` // printable; empty if it could not be read

	callbacks []string
}

// String names the app for people.
func (a App) String() string {
	if a.Name == "" {
		return fault.Printable(a.ClientID)
	}
	return a.Name + " (" + fault.Printable(a.ClientID) + ")"
}

// allApps lists the tenant's apps, without the global one that represents all of them.
func (t *Tenant) allApps(ctx context.Context) ([]App, error) {
	const pageSize = 100
	var all []App
	for page := range 100 {
		q := url.Values{
			"fields": {"client_id,name,callbacks"}, "include_fields": {"true"}, "is_global": {"false"},
			"page": {strconv.Itoa(page)}, "per_page": {strconv.Itoa(pageSize)},
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

// FindApp finds an app by its client id, or by its name if no app has that id. Errors
// wrap ErrApp if there is none or more than one.
func (t *Tenant) FindApp(ctx context.Context, idOrName string) (App, error) {
	all, err := t.allApps(ctx)
	if err != nil {
		return App{}, err
	}
	var found App
	var ids, names []string // of the apps with that name, and of all apps
	for _, a := range all {
		switch idOrName {
		case a.ClientID:
			return a, nil
		case a.Name:
			found, ids = a, append(ids, fault.Printable(a.ClientID))
		}
		names = append(names, a.String())
	}
	const enough = 10
	shown := fault.Printable(idOrName)
	switch {
	case len(ids) == 1:
		return found, nil
	case len(ids) > 1:
		return App{}, fault.New(ErrApp, "%d apps of %s have the name %q: %s", len(ids), t.Domain, shown, strings.Join(ids, ", "))
	case len(names) > enough:
		names = append(names[:enough], "and more")
	}
	return App{}, fault.New(ErrApp, "app %q: %s has no app of that client id or name, but: %s", shown, t.Domain, strings.Join(names, ", "))
}

// jsonOf returns v, which has only values that JSON has, in JSON.
func jsonOf(v any) json.RawMessage {
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	_ = enc.Encode(v) // never fails for such values
	return bytes.TrimSuffix(b.Bytes(), []byte("\n"))
}
