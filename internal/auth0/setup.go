package auth0

import (
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

// Wish is how an Exact connection should be. What is left empty stays as it is.
type Wish struct {
	// Connection is its name; empty means the only one that the tenant has, or
	// a new one called "exact".
	Connection string

	// ClientID and ClientSecret are those of an app in Exact's App Center whose
	// Redirect URI is this tenant's [Domain.Callback]. A GUID in lower case,
	// without braces; at most 255 characters (connection schema).
	ClientID     string
	ClientSecret fault.Secret

	// BaseURL is the instance of Exact Online that the app is registered at; a
	// new connection gets the Dutch one if it is empty, as Auth0 does.
	BaseURL string

	// App is the client id or name of an Auth0 app that may use the connection.
	App string

	// Callback is added to the app's Allowed Callback URLs.
	Callback string
}

// Check returns what is wrong with the wish, wrapping ErrConfig.
func (w Wish) Check() error {
	var faults []string
	if w.Connection != "" {
		if err := checkConnectionName(w.Connection); err != nil {
			faults = append(faults, err.Error())
		}
	}
	if w.ClientID != "" && !config.IsGUID(w.ClientID) {
		faults = append(faults, fmt.Sprintf("client id: %q is not a GUID such as 5f3b1c1e-7c0e-4d0a-9b1f-0a6d6f0e2c11", fault.Printable(w.ClientID)))
	}
	if len(w.ClientSecret.Reveal()) > 255 {
		faults = append(faults, "client secret: Auth0 takes at most 255 characters")
	}
	if w.BaseURL != "" {
		if err := checkBaseURL(w.BaseURL); err != nil {
			faults = append(faults, err.Error())
		}
	}
	if w.Callback != "" {
		if err := checkCallback(w.Callback); err != nil {
			faults = append(faults, err.Error())
		}
		if w.App == "" {
			faults = append(faults, "a callback is an app's, and no app is named")
		}
	}
	if len(faults) > 0 {
		return fault.New(fault.ErrConfig, "%s", strings.Join(faults, "; "))
	}
	return nil
}

// Plan is what has to change for a wish to be true. Making one changes nothing.
type Plan struct {
	Connection string // its name
	ID         string // empty as long as there is none
	ClientID   string // as it will be
	BaseURL    string // as it will be
	App        *App   // that may use it; nil if the wish names none
	Changes    []Change

	tenant *Tenant
}

// Change is one request that changes the tenant.
type Change struct {
	What   []string // in words, one line each
	Method string
	Path   string          // as "/api/v2/connections"; {id} stands for that of a connection that is yet to be made
	Body   json.RawMessage // with every secret masked

	body   fault.Secret // as it is sent
	scopes []string     // that it needs
}

// Plan compares the tenant with a wish. Errors wrap ErrConfig, with ErrNoSecret
// or ErrApp or a *ScopeError beside it, or ErrTemporary.
//
// Auth0 replaces all options of a connection at once (Management API, PATCH
// /connections/{id}), so there is no plan for one whose options the token cannot
// read: those that are not known would be lost.
func (t *Tenant) Plan(ctx context.Context, w Wish) (*Plan, error) {
	if err := w.Check(); err != nil {
		return nil, err
	}
	have, err := t.find(ctx, w.Connection)
	if err != nil {
		return nil, err
	}
	p := &Plan{tenant: t}
	if have == nil {
		err = p.create(w)
	} else {
		err = p.mend(*have, w)
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

const masked = `"[secret]"`

func (p *Plan) create(w Wish) error {
	if w.ClientID == "" || w.ClientSecret.IsZero() {
		return fault.New(ErrNoSecret, "%s has no Exact connection yet, and a new one needs the client id and client secret of an app in Exact's App Center", p.tenant.Domain)
	}
	p.Connection, p.ClientID, p.BaseURL = w.Connection, w.ClientID, w.BaseURL
	if p.Connection == "" {
		p.Connection = Strategy
	}
	if p.BaseURL == "" {
		p.BaseURL = defaultBaseURL
	}
	options := map[string]json.RawMessage{
		"client_id": raw(w.ClientID),
		"baseUrl":   raw(p.BaseURL),
		"profile":   raw(true),
	}
	top := map[string]json.RawMessage{"name": raw(p.Connection), "strategy": raw(Strategy), "display_name": raw("Exact Online")}
	p.add(Change{
		What:   []string{fmt.Sprintf("connection %s: new, for %s with client id %s", p.Connection, p.BaseURL, p.ClientID)},
		Method: http.MethodPost, Path: "/connections", scopes: []string{"create:connections"},
	}, top, options, w.ClientSecret)
	return nil
}

// mend compares a connection with the wish; what the wish does not know of is
// written back as it was read.
func (p *Plan) mend(have Connection, w Wish) error {
	p.Connection, p.ID = have.Name, have.ID
	if !have.OptionsKnown {
		missing := []string{"read:connections_options"}
		return fault.Wrap(fault.ErrConfig, &ScopeError{Missing: missing, Have: p.tenant.scopes},
			"the options of connection %s at %s cannot be read, and a change would lose those that are not known", have.Name, p.tenant.Domain)
	}
	p.ClientID, p.BaseURL = have.ClientID, have.BaseURL
	options := maps.Clone(have.options)
	var what []string
	changed := func(format string, args ...any) {
		what = append(what, fmt.Sprintf("connection %s: ", have.Name)+fmt.Sprintf(format, args...))
	}
	if w.BaseURL != "" && w.BaseURL != have.BaseURL {
		changed("base URL %s, before %s", w.BaseURL, have.BaseURL)
		p.BaseURL, options["baseUrl"] = w.BaseURL, raw(w.BaseURL)
	}
	secret := have.secret
	if w.ClientID != "" && w.ClientID != have.ClientID {
		changed("client id %s, before %s", w.ClientID, orNone(have.ClientID))
		p.ClientID, options["client_id"] = w.ClientID, raw(w.ClientID)
		secret = fault.Secret{} // it is the other app's
	}
	if !w.ClientSecret.IsZero() && w.ClientSecret.Reveal() != have.secret.Reveal() {
		changed("another client secret")
	}
	if !w.ClientSecret.IsZero() {
		secret = w.ClientSecret
	}
	switch {
	case p.ClientID == "":
		return fault.New(ErrNoSecret, "connection %s at %s has no client id yet", have.Name, p.tenant.Domain)
	case secret.IsZero():
		return fault.New(ErrNoSecret, "connection %s at %s: the client secret of client id %s is not there", have.Name, p.tenant.Domain, p.ClientID)
	}
	if !have.Profile {
		changed("basic profile attributes are asked for")
		options["profile"] = raw(true)
	}
	if len(what) == 0 {
		return nil
	}
	// A PATCH without it would reset it to the name.
	displayName := have.rawName
	if have.rawDisplayName != nil {
		displayName = *have.rawDisplayName
	}
	p.add(Change{
		What: what, Method: http.MethodPatch, Path: "/connections/" + url.PathEscape(have.rawID),
		scopes: []string{"update:connections", "update:connections_options"},
	}, map[string]json.RawMessage{"display_name": raw(displayName)}, options, secret)
	return nil
}

func orNone(s string) string {
	if s == "" {
		return "none"
	}
	return s
}

// enable lets the app use the connection, and the app the callback.
func (p *Plan) enable(ctx context.Context, have *Connection, w Wish) error {
	app, err := p.tenant.FindApp(ctx, w.App)
	if noScope := (*ScopeError)(nil); errors.As(err, &noScope) && LooksLikeClientID(w.App) && w.Callback == "" {
		app, err = App{ClientID: w.App}, nil // enough to enable it; its name is for people
	}
	if err != nil {
		return err
	}
	p.App = &app
	var enabled []string
	path := "/connections/{id}/clients"
	if have != nil {
		path = "/connections/" + url.PathEscape(have.rawID) + "/clients"
		if enabled, err = have.apps(ctx, p.tenant); err != nil {
			return err
		}
	}
	if !slices.Contains(enabled, app.ClientID) {
		// enabled_clients of the connection itself is "not recommended" (connection schema).
		body := jsonText([]map[string]any{{"client_id": app.ClientID, "status": true}})
		p.Changes = append(p.Changes, Change{
			What:   []string{fmt.Sprintf("app %s: connection %s enabled", app, p.Connection)},
			Method: http.MethodPatch, Path: "/api/v2" + path, Body: json.RawMessage(body),
			body: fault.NewSecret(body), scopes: []string{"update:connections"},
		})
	}
	if w.Callback != "" && !slices.Contains(app.callbacks, w.Callback) {
		// The whole list is replaced (Management API, PATCH /clients/{id}).
		body := jsonText(map[string]any{"callbacks": append(slices.Clone(app.callbacks), w.Callback)})
		p.Changes = append(p.Changes, Change{
			What:   []string{fmt.Sprintf("app %s: callback %s allowed", app, fault.Printable(w.Callback))},
			Method: http.MethodPatch, Path: "/api/v2/clients/" + url.PathEscape(app.ClientID), Body: json.RawMessage(body),
			body: fault.NewSecret(body), scopes: []string{"update:clients"},
		})
	}
	return nil
}

// add completes a change of the connection with its body, sent and shown.
func (p *Plan) add(c Change, top, options map[string]json.RawMessage, secret fault.Secret) {
	c.Path = "/api/v2" + c.Path
	body := func(options map[string]json.RawMessage) string {
		whole := maps.Clone(top)
		whole["options"] = raw(options)
		return jsonText(whole)
	}
	sent := maps.Clone(options)
	sent["client_secret"] = raw(secret.Reveal())
	shown := maps.Clone(sent)
	for name := range shown { // what is foreign here can be secret, too
		for _, word := range []string{"secret", "token", "password", "key"} {
			if strings.Contains(strings.ToLower(name), word) {
				shown[name] = json.RawMessage(masked)
			}
		}
	}
	c.body, c.Body = fault.NewSecret(body(sent)), json.RawMessage(body(shown))
	p.Changes = append(p.Changes, c)
}

func raw(v any) json.RawMessage { return json.RawMessage(jsonText(v)) }

// Lacking returns the scopes that Apply would need and the token is known not to
// have.
func (p *Plan) Lacking() []string {
	var scopes []string
	for _, c := range p.Changes {
		scopes = append(scopes, c.scopes...)
	}
	return p.tenant.lacking(scopes)
}

// Apply makes the changes in their order, and tells done of each that was made.
// An error leaves those made that done was told of; a new plan takes up the
// rest. If it is known before the first that a scope is missing, none is made.
// Errors are those of [Tenant.Plan].
func (p *Plan) Apply(ctx context.Context, done func(Change)) error {
	if missing := p.Lacking(); len(missing) > 0 {
		return fault.Wrap(fault.ErrConfig, &ScopeError{Missing: missing, Have: p.tenant.scopes}, "nothing was changed at %s", p.tenant.Domain)
	}
	rawID := ""
	for _, c := range p.Changes {
		path := strings.TrimPrefix(strings.ReplaceAll(c.Path, "{id}", url.PathEscape(rawID)), "/api/v2")
		if c.Method == http.MethodPost {
			var made struct{ ID string }
			if err := p.tenant.call(ctx, c.Method, path, c.body, &made); err != nil {
				return err
			}
			if made.ID == "" {
				return fault.New(fault.ErrTemporary, "the answer of %s does not name the new connection", p.tenant.Domain)
			}
			rawID, p.ID = made.ID, fault.Printable(made.ID)
		} else if err := p.tenant.call(ctx, c.Method, path, c.body, nil); err != nil {
			return err
		}
		done(c)
	}
	return nil
}
