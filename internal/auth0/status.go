package auth0

import (
	"cmp"
	"context"
	"errors"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/exactauth/exactauth/internal/fault"
)

// Status is what a tenant has for Exact.
type Status struct {
	Connections []ConnectionStatus // by name; a tenant set up in the dashboard has at most one
	Domains     []Domain           // the tenant's own first, then custom ones that are in use
	Unreadable  []string           // scopes that the token lacks, so that something is missing here; each once
}

// ConnectionStatus is one connection, the apps that may use it, and its last sign-ins.
type ConnectionStatus struct {
	Connection
	Apps    []App       `json:"apps"` // by name
	SignIns []SignInLog `json:"sign_ins"`
}

// SignInLog is one sign-in through a connection, successful or not. Texts are
// printable.
type SignInLog struct {
	Time        time.Time `json:"time"` // in UTC, to the second
	OK          bool      `json:"ok"`
	User        string    `json:"user,omitempty"` // name or id
	App         string    `json:"app,omitempty"`
	Description string    `json:"description,omitempty"` // why it failed, in Auth0's words
}

// Status reads the Exact connections of a tenant, or the one of that name. Status leaves
// out what a missing scope hides and names the scope. Only read:connections is needed in
// any case. Errors are those of [Tenant.Plan].
func (t *Tenant) Status(ctx context.Context, connection string) (Status, error) {
	found, err := t.connections(ctx, connection)
	if err != nil {
		return Status{}, err
	}
	s := Status{Domains: []Domain{t.Domain}}
	lack := func(scope string) {
		if !slices.Contains(s.Unreadable, scope) {
			s.Unreadable = append(s.Unreadable, scope)
		}
	}
	// readable notes a missing scope and returns every other error.
	readable := func(err error) error {
		if missing := (*ScopeError)(nil); errors.As(err, &missing) {
			lack(missing.Missing[0])
			return nil
		}
		return err
	}
	custom, err := t.customDomains(ctx)
	if err := readable(err); err != nil {
		return Status{}, err
	}
	s.Domains = append(s.Domains, custom...)
	names := map[string]string{}
	if len(found) > 0 {
		apps, err := t.allApps(ctx)
		if err := readable(err); err != nil {
			return Status{}, err
		}
		for _, a := range apps {
			names[a.ClientID] = a.Name
		}
	}
	for _, c := range found {
		if !c.OptionsKnown {
			lack("read:connections_options")
		}
		one := ConnectionStatus{c, []App{}, []SignInLog{}}
		ids, err := c.apps(ctx, t)
		if err != nil {
			return Status{}, err
		}
		for _, id := range ids {
			one.Apps = append(one.Apps, App{ClientID: fault.Printable(id), Name: names[id]})
		}
		slices.SortFunc(one.Apps, func(a, b App) int {
			return cmp.Or(cmp.Compare(a.Name, b.Name), cmp.Compare(a.ClientID, b.ClientID))
		})
		if err := readable(t.signIns(ctx, c, &one.SignIns)); err != nil {
			return Status{}, err
		}
		s.Connections = append(s.Connections, one)
	}
	return s, nil
}

// customDomains lists those that are in use. A plan without custom domains answers 403
// (Management API), which means none.
func (t *Tenant) customDomains(ctx context.Context) ([]Domain, error) {
	var list []struct{ Domain, Status string }
	err := t.call(ctx, http.MethodGet, "/custom-domains", fault.Secret{}, &list)
	if refused, ok := errors.AsType[*fault.ServerError](err); ok && (refused.Status == http.StatusForbidden || refused.Status == http.StatusNotFound) {
		return nil, nil
	}
	var all []Domain
	for _, l := range list {
		if d, err := ParseDomain(l.Domain); err == nil && l.Status == "ready" {
			all = append(all, d)
		}
	}
	slices.SortFunc(all, func(a, b Domain) int { return cmp.Compare(a.origin, b.origin) })
	return all, err
}

// signIns adds the last few from the tenant's logs, the latest first. Types are "s" for
// a success and "f" for a failure (Auth0 docs, "Log event type codes").
func (t *Tenant) signIns(ctx context.Context, c Connection, all *[]SignInLog) error {
	q := url.Values{
		"q":        {`connection:"` + strings.ReplaceAll(c.rawName, `"`, "") + `" AND type:("s" OR "f")`},
		"sort":     {"date:-1"},
		"per_page": {"5"},
		"page":     {"0"},
	}
	var list []struct {
		Date        time.Time
		Type        string
		Description string
		UserName    string `json:"user_name"`
		UserID      string `json:"user_id"`
		ClientName  string `json:"client_name"`
	}
	err := t.call(ctx, http.MethodGet, "/logs?"+q.Encode(), fault.Secret{}, &list)
	for _, l := range list {
		if l.Type == "s" || l.Type == "f" {
			*all = append(*all, SignInLog{
				Time: l.Date.UTC().Truncate(time.Second), OK: l.Type == "s", User: fault.Printable(cmp.Or(l.UserName, l.UserID)),
				App: fault.Printable(l.ClientName), Description: fault.Printable(l.Description),
			})
		}
	}
	return err
}
