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

// Status is what a tenant has of Exact.
type Status struct {
	Connections []ConnectionStatus // by name; a tenant that follows the dashboard has one at most
	Domains     []Domain           // the tenant's own first, then custom ones that are in use
	Unreadable  []string           // scopes for want of which something is missing here, each once
}

// ConnectionStatus is one connection, who may use it and who did.
type ConnectionStatus struct {
	Connection
	Apps    []App // that may use it, by name
	SignIns []SignInLog
}

// SignInLog is one sign-in through a connection, or an attempt. Texts are fit
// for a terminal.
type SignInLog struct {
	Time        time.Time
	OK          bool
	User        string // name or id; may be empty for a failure
	App         string // may be empty
	Description string // why it failed, in Auth0's words
}

// Status looks at the Exact connections of a tenant, or at the one of that name.
// What a scope is missing for is left out and named, but for read:connections,
// without which there is nothing to tell. Errors are those of [Tenant.Plan].
func (t *Tenant) Status(ctx context.Context, connection string) (Status, error) {
	found, err := t.connections(ctx, connection)
	if err != nil {
		return Status{}, err
	}
	s := Status{Domains: []Domain{t.Domain}}
	// optional reports whether a read went well; one that may not be is noted.
	optional := func(err error) (bool, error) {
		var missing *ScopeError
		if errors.As(err, &missing) {
			s.lack(missing.Missing[0])
			return false, nil
		}
		return err == nil, err
	}
	custom, err := t.customDomains(ctx)
	if _, err := optional(err); err != nil {
		return Status{}, err
	}
	s.Domains = append(s.Domains, custom...)
	names := map[string]string{}
	if len(found) > 0 {
		apps, err := t.allApps(ctx)
		if _, err := optional(err); err != nil {
			return Status{}, err
		}
		for _, a := range apps {
			names[a.ClientID] = a.Name
		}
	}
	for _, c := range found {
		if !c.OptionsKnown {
			s.lack("read:connections_options")
		}
		one := ConnectionStatus{Connection: c}
		ids, err := c.apps(ctx, t)
		if err != nil {
			return Status{}, err
		}
		for _, id := range ids {
			one.Apps = append(one.Apps, App{ClientID: fault.Printable(id), Name: names[id]})
		}
		slices.SortFunc(one.Apps, func(a, b App) int { return cmp.Or(cmp.Compare(a.Name, b.Name), cmp.Compare(a.ClientID, b.ClientID)) })
		one.SignIns, err = t.signIns(ctx, c)
		if _, err := optional(err); err != nil {
			return Status{}, err
		}
		s.Connections = append(s.Connections, one)
	}
	return s, nil
}

func (s *Status) lack(scope string) {
	if !slices.Contains(s.Unreadable, scope) {
		s.Unreadable = append(s.Unreadable, scope)
	}
}

// customDomains lists those that are in use. Plans without custom domains
// answer 403 (Management API), which means none.
func (t *Tenant) customDomains(ctx context.Context) ([]Domain, error) {
	var list []struct{ Domain, Status string }
	err := t.call(ctx, http.MethodGet, "/custom-domains", fault.Secret{}, &list)
	var refused *APIError
	if errors.As(err, &refused) && (refused.Status == http.StatusForbidden || refused.Status == http.StatusNotFound) {
		return nil, nil
	} else if err != nil {
		return nil, err
	}
	var all []Domain
	for _, l := range list {
		if d, err := ParseDomain(l.Domain); err == nil && l.Status == "ready" {
			all = append(all, d)
		}
	}
	slices.SortFunc(all, func(a, b Domain) int { return strings.Compare(a.origin, b.origin) })
	return all, nil
}

// signIns gives the last few from the tenant's logs, the latest first. Types are
// "s" for a success and "f" for a failure (Auth0 docs, "Log event type codes").
func (t *Tenant) signIns(ctx context.Context, c Connection) ([]SignInLog, error) {
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
	if err := t.call(ctx, http.MethodGet, "/logs?"+q.Encode(), fault.Secret{}, &list); err != nil {
		return nil, err
	}
	var all []SignInLog
	for _, l := range list {
		if l.Type != "s" && l.Type != "f" {
			continue
		}
		all = append(all, SignInLog{
			Time: l.Date, OK: l.Type == "s", User: fault.Printable(cmp.Or(l.UserName, l.UserID)),
			App: fault.Printable(l.ClientName), Description: fault.Printable(l.Description),
		})
	}
	return all, nil
}
