package auth0

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"github.com/exactauth/exactauth/internal/config"
	"github.com/exactauth/exactauth/internal/fault"
)

// Wish is how an Exact connection should be. An empty field leaves the setting as it is.
type Wish struct {
	// Connection is the connection's name. Empty means the only one that the tenant
	// has, or a new one called "exact".
	Connection string

	// ClientID and ClientSecret are those of an app in Exact's App Center whose Redirect
	// URI is this tenant's [Domain.Callback]: a GUID in lower case without braces, and at
	// most 255 characters (connection schema).
	ClientID     string
	ClientSecret fault.Secret

	// BaseURL is the instance of Exact Online that the app is registered at. A new
	// connection gets the Dutch one if it is empty, as Auth0 does.
	BaseURL string

	// App is the client id or name of an Auth0 app that may use the connection.
	App string

	// Callback is added to the app's Allowed Callback URLs.
	Callback string
}

// Check returns everything that is wrong with the wish, wrapping ErrConfig.
func (w Wish) Check() error {
	var faults []string
	want := func(ok bool, format string, args ...any) {
		if !ok {
			faults = append(faults, fmt.Sprintf(format, args...))
		}
	}
	// The connection schema allows letters, digits, and single hyphens between them.
	want(len(w.Connection) <= 128 && consistsOf(w.Connection, "-") && (w.Connection == "" || !strings.Contains("-"+w.Connection+"-", "--")),
		"connection %q: want at most 128 letters, digits and single hyphens between them", fault.Printable(w.Connection))
	want(w.ClientID == "" || config.IsGUID(w.ClientID),
		"client id: %q is not a GUID such as 5f3b1c1e-7c0e-4d0a-9b1f-0a6d6f0e2c11", fault.Printable(w.ClientID))
	want(len(w.ClientSecret.Reveal()) <= 255, "client secret: Auth0 accepts at most 255 characters")
	u, err := url.Parse(w.BaseURL)
	want(w.BaseURL == "" || err == nil && w.BaseURL == "https://"+u.Host && (isHostName(u.Hostname()) || config.IsLoopback(u.Hostname())) && len(w.BaseURL) <= 128,
		"base URL %q: Auth0 accepts https and a host, at most 128 characters, as https://start.exactonline.nl", fault.Printable(w.BaseURL))
	if w.Callback != "" {
		err := checkCallback(w.Callback)
		want(err == nil, "%v", err)
		want(w.App != "", "the app that the callback is for is missing")
	}
	if len(faults) > 0 {
		return fault.New(fault.ErrConfig, "%s", strings.Join(faults, "; "))
	}
	return nil
}

// Plan is what has to change so that a wish is true.
type Plan struct {
	Connection string   `json:"connection"`              // its name
	ID         string   `json:"connection_id,omitempty"` // empty until the connection exists
	BaseURL    string   `json:"base_url"`                // as it will be
	ClientID   string   `json:"client_id"`               // as it will be
	App        *App     `json:"app,omitempty"`           // that may use it; nil if the wish names none
	Changes    []Change `json:"changes"`

	tenant *Tenant
}

// Change is one request that changes the tenant.
type Change struct {
	What   []string        `json:"what"` // in words, one line each
	Method string          `json:"method"`
	Path   string          `json:"path"` // such as "/api/v2/connections"; {id} is a connection that Apply will make
	Body   json.RawMessage `json:"body"` // with every secret masked

	body   fault.Secret // as it is sent
	scopes []string     // that it needs
}

// Plan compares the tenant with a wish. It changes nothing. Errors wrap ErrConfig (some
// of them ErrNoSecret, ErrApp or a *ScopeError) or ErrTemporary.
//
// Auth0 replaces all options of a connection at once (Management API, PATCH
// /connections/{id}). If the token cannot read the options, Plan fails, since a change
// would lose the unknown ones.
func (t *Tenant) Plan(ctx context.Context, w Wish) (*Plan, error) {
	if err := w.Check(); err != nil {
		return nil, err
	}
	have, err := t.find(ctx, w.Connection)
	if err != nil {
		return nil, err
	}
	p := &Plan{tenant: t, Changes: []Change{}}
	if have == nil {
		err = p.create(w)
	} else {
		err = p.update(*have, w)
	}
	if err == nil && w.App != "" {
		err = p.enable(ctx, have, w)
	}
	if err != nil {
		return nil, err
	}
	return p, nil
}

// find returns the connection that a name means, nil if there is none yet.
func (t *Tenant) find(ctx context.Context, name string) (*Connection, error) {
	all, err := t.connections(ctx, name)
	if err != nil || len(all) == 0 {
		return nil, err
	}
	if len(all) == 1 {
		return &all[0], nil
	}
	var names []string
	for i, c := range all {
		if c.rawName == Strategy {
			return &all[i], nil
		}
		names = append(names, c.Name)
	}
	return nil, fault.New(fault.ErrConfig, "%s has %d Exact connections, and none is called %q: %s", t.Domain, len(all), Strategy, strings.Join(names, ", "))
}

func (p *Plan) create(w Wish) error {
	if w.ClientID == "" || w.ClientSecret.IsZero() {
		return fault.New(ErrNoSecret, "%s has no Exact connection yet, and a new one needs the client id and client secret of an app in Exact's App Center", p.tenant.Domain)
	}
	p.Connection, p.ClientID, p.BaseURL = cmp.Or(w.Connection, Strategy), w.ClientID, cmp.Or(w.BaseURL, defaultBaseURL)
	p.addConnection(Change{
		What:   []string{fmt.Sprintf("connection %s: new, for %s with client id %s", p.Connection, p.BaseURL, p.ClientID)},
		Method: http.MethodPost, Path: "/connections", scopes: []string{"create:connections"},
	}, map[string]any{"name": p.Connection, "strategy": Strategy, "display_name": "Exact Online"},
		map[string]json.RawMessage{"client_id": jsonOf(w.ClientID), "baseUrl": jsonOf(p.BaseURL), "profile": jsonOf(true)}, w.ClientSecret)
	return nil
}

// update compares a connection with the wish. Options that the wish does not know are
// written back as they were read.
func (p *Plan) update(have Connection, w Wish) error {
	p.Connection, p.ID = have.Name, have.ID
	if !have.OptionsKnown {
		missing := []string{"read:connections_options"}
		return fault.Wrap(fault.ErrConfig, &ScopeError{Missing: missing, Have: p.tenant.scopes},
			"the options of connection %s at %s cannot be read, and a change would lose those that are not known", have.Name, p.tenant.Domain)
	}
	p.ClientID, p.BaseURL = cmp.Or(w.ClientID, have.ClientID), cmp.Or(w.BaseURL, have.BaseURL)
	options, secret := maps.Clone(have.options), have.secret
	var what []string
	changed := func(format string, args ...any) {
		what = append(what, fmt.Sprintf("connection %s: ", have.Name)+fmt.Sprintf(format, args...))
	}
	if p.BaseURL != have.BaseURL {
		changed("base URL %s, before %s", p.BaseURL, have.BaseURL)
		options["baseUrl"] = jsonOf(p.BaseURL)
	}
	if p.ClientID != have.ClientID {
		changed("client id %s, before %s", p.ClientID, orNone(have.ClientID))
		options["client_id"] = jsonOf(p.ClientID)
		secret = fault.Secret{} // it is the other app's
	}
	if !w.ClientSecret.IsZero() {
		if secret = w.ClientSecret; secret.Reveal() != have.secret.Reveal() {
			changed("another client secret")
		}
	}
	switch {
	case p.ClientID == "":
		return fault.New(ErrNoSecret, "connection %s at %s has no client id yet", have.Name, p.tenant.Domain)
	case secret.IsZero():
		return fault.New(ErrNoSecret, "connection %s at %s: the client secret of client id %s is missing", have.Name, p.tenant.Domain, p.ClientID)
	}
	if !have.Profile {
		changed("basic profile attributes are requested")
		options["profile"] = jsonOf(true)
	}
	if len(what) == 0 {
		return nil
	}
	displayName := have.rawName // which a PATCH without it would reset it to
	if have.rawDisplayName != nil {
		displayName = *have.rawDisplayName
	}
	p.addConnection(Change{
		What: what, Method: http.MethodPatch, Path: "/connections/" + url.PathEscape(have.rawID),
		scopes: []string{"update:connections", "update:connections_options"},
	}, map[string]any{"display_name": displayName}, options, secret)
	return nil
}

// enable lets the app use the connection, and the app's users come back to the callback.
func (p *Plan) enable(ctx context.Context, have *Connection, w Wish) error {
	app, err := p.tenant.FindApp(ctx, w.App)
	if noScope := (*ScopeError)(nil); errors.As(err, &noScope) && LooksLikeClientID(w.App) && w.Callback == "" {
		app, err = App{ClientID: w.App}, nil // its name, which people would see, is not needed
	}
	if err != nil {
		return err
	}
	p.App = &app
	var enabled []string
	id := "{id}"
	if have != nil {
		id = url.PathEscape(have.rawID)
		if enabled, err = have.apps(ctx, p.tenant); err != nil {
			return err
		}
	}
	if !slices.Contains(enabled, app.ClientID) {
		// The connection schema does not recommend the connection's own enabled_clients.
		p.add(Change{
			What: []string{fmt.Sprintf("app %s: connection %s enabled", app, p.Connection)}, Method: http.MethodPatch,
			Path: "/connections/" + id + "/clients", Body: jsonOf([]map[string]any{{"client_id": app.ClientID, "status": true}}), scopes: []string{"update:connections"},
		})
	}
	if w.Callback != "" && !slices.Contains(app.callbacks, w.Callback) {
		// The request replaces the whole list (Management API, PATCH /clients/{id}).
		p.add(Change{
			What: []string{fmt.Sprintf("app %s: callback %s allowed", app, fault.Printable(w.Callback))}, Method: http.MethodPatch,
			Path: "/clients/" + url.PathEscape(app.ClientID), Body: jsonOf(map[string]any{"callbacks": append(slices.Clone(app.callbacks), w.Callback)}), scopes: []string{"update:clients"},
		})
	}
	return nil
}

// add plans a change whose path is below /api/v2. Its body has no secret unless body is
// set.
func (p *Plan) add(c Change) {
	c.Path = "/api/v2" + c.Path
	if c.body.IsZero() {
		c.body = fault.NewSecret(string(c.Body))
	}
	p.Changes = append(p.Changes, c)
}

// addConnection plans a change of the connection, with these options and that secret.
func (p *Plan) addConnection(c Change, top map[string]any, options map[string]json.RawMessage, secret fault.Secret) {
	options["client_secret"] = jsonOf(secret.Reveal())
	top["options"] = options
	c.body = fault.NewSecret(string(jsonOf(top)))
	for name := range options { // an unknown option can be a secret too
		for _, word := range []string{"secret", "token", "password", "key"} {
			if strings.Contains(strings.ToLower(name), word) {
				options[name] = jsonOf("[secret]")
			}
		}
	}
	c.Body = jsonOf(top)
	p.add(c)
}

// Lacking returns the scopes that Apply needs and that the token is known not to have.
func (p *Plan) Lacking() (missing []string) {
	for _, c := range p.Changes {
		for _, s := range c.scopes {
			if p.tenant.scopes != nil && !slices.Contains(p.tenant.scopes, s) && !slices.Contains(missing, s) {
				missing = append(missing, s)
			}
		}
	}
	return missing
}

// Apply makes the changes in their order and calls done after each. After an error the
// earlier changes stay, and a new plan has the rest. If a scope is known to be missing,
// Apply makes no change. Errors are those of [Tenant.Plan].
func (p *Plan) Apply(ctx context.Context, done func(Change)) error {
	if missing := p.Lacking(); len(missing) > 0 {
		return fault.Wrap(fault.ErrConfig, &ScopeError{Missing: missing, Have: p.tenant.scopes}, "nothing was changed at %s", p.tenant.Domain)
	}
	rawID := ""
	for _, c := range p.Changes {
		var made struct{ ID string }
		var answer any
		if c.Method == http.MethodPost {
			answer = &made
		}
		path := strings.TrimPrefix(strings.ReplaceAll(c.Path, "{id}", url.PathEscape(rawID)), "/api/v2")
		if err := p.tenant.call(ctx, c.Method, path, c.body, answer); err != nil {
			return err
		}
		if answer != nil {
			if made.ID == "" {
				return fault.New(fault.ErrTemporary, "the answer of %s does not name the new connection", p.tenant.Domain)
			}
			rawID, p.ID = made.ID, fault.Printable(made.ID)
		}
		done(c)
	}
	return nil
}
