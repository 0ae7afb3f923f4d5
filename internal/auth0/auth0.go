// Package auth0 sets up and tests Auth0's social connection for Exact Online (strategy
// "exact") in a tenant. [Tenant.Plan] finds what has to change and [Plan.Apply] changes
// it, [Tenant.Status] reports what the tenant has, and [SignIn.Run] signs a person in
// through the connection, as the dashboard's "Try" does.
//
// Facts about Auth0 are cited where they are used. "Management API" is its reference
// (auth0.com/docs/api/management/v2), "connection schema" the OpenAPI schema of the
// exact strategy there, and "passport-exact" the npm package of that name
// (auth0/passport-exact 0.1.4). Its source shows what the strategy does at Exact: it
// asks who the user is once, at the sign-in, as Atom XML.
package auth0

import (
	"net/url"
	"strings"

	"github.com/exactauth/exactauth/internal/config"
	"github.com/exactauth/exactauth/internal/fault"
)

// Strategy is Auth0's name for the kind of connection, and the default name of a new
// connection (connection schema).
const Strategy = "exact"

// DefaultCallback is where the browser comes back to after [SignIn.Run]. Auth0
// compares it as a whole string with the app's Allowed Callback URLs, so the port is
// fixed. The port differs from that of a sign-in at Exact, which may run at the same
// time.
const DefaultCallback = "http://127.0.0.1:8485/callback"

// Domain is a host name of an Auth0 tenant: the one that it was made with, such as
// acme.eu.auth0.com, or a custom one, such as login.acme.example. The zero Domain is
// none.
type Domain struct{ origin string }

// ParseDomain reads a domain as people write it: a host, or the address of its root.
// A tenant's bare name is not enough: the region is part of the host, except for
// tenants made in the US before June 2020 (Auth0 docs, "Identify your domain for
// redirects"). http is for loopback addresses only. Errors wrap ErrConfig.
func ParseDomain(s string) (Domain, error) {
	text := strings.ToLower(strings.TrimSpace(s))
	if text == "" {
		return Domain{}, fault.New(fault.ErrConfig, "the Auth0 domain is missing")
	}
	if isLabel(text) && text != "localhost" {
		return Domain{}, fault.New(fault.ErrConfig, "Auth0 domain %q: that is a tenant's name; want the whole host, as %[1]s.eu.auth0.com, or %[1]s.auth0.com for a tenant made in the US before June 2020", text)
	}
	if !strings.Contains(text, "://") {
		text = "https://" + text
	}
	u, err := url.Parse(text)
	if err != nil || u.User != nil || u.Scheme != "https" && u.Scheme != "http" { // without url.Parse's text, which may repeat a password
		return Domain{}, fault.New(fault.ErrConfig, "the Auth0 domain is not a host, as acme.eu.auth0.com")
	}
	wrong := ""
	switch loopback := config.IsLoopback(u.Hostname()); {
	case u.Hostname() == "auth0.com", u.Hostname() == "manage.auth0.com":
		wrong = "that is Auth0's own site; want the tenant's host, as acme.eu.auth0.com"
	case u.Path != "" && u.Path != "/", u.RawQuery != "", strings.Contains(text, "#"):
		wrong = "want the host only, as acme.eu.auth0.com"
	case !loopback && u.Scheme == "http":
		wrong = "http is for loopback addresses only"
	case !loopback && !isHostName(u.Host):
		wrong = "that is not a host name such as acme.eu.auth0.com"
	default:
		return Domain{u.Scheme + "://" + u.Host}, nil
	}
	return Domain{}, fault.New(fault.ErrConfig, "Auth0 domain %q: %s", fault.Printable(s), wrong)
}

// IsZero reports whether there is no domain.
func (d Domain) IsZero() bool { return d.origin == "" }

// String returns the domain as [ParseDomain] reads it: the host, with its scheme only
// if that is http.
func (d Domain) String() string { return strings.TrimPrefix(d.origin, "https://") }

// Callback is where Exact sends the browser: the App Center's Redirect URI for an app
// that is used through this domain (Auth0 docs, "Exact").
func (d Domain) Callback() string { return d.origin + "/login/callback" }

// Issuer is the domain's name in id_tokens, with a trailing slash (Auth0 docs,
// "Validate ID Tokens").
func (d Domain) Issuer() string { return d.origin + "/" }

// Audience is the audience of a token for the Management API, which only a tenant's
// own domain has (Auth0 docs, "Custom domains: Use the Management API").
func (d Domain) Audience() string { return d.origin + "/api/v2/" }

// isHostName reports whether s is a name with a dot, without a port, in the characters
// that browsers write.
func isHostName(s string) bool {
	labels := strings.Split(s, ".")
	last := labels[len(labels)-1]
	for _, l := range labels {
		if !isLabel(l) {
			return false
		}
	}
	return len(labels) > 1 && len(s) <= 253 && last[0] > '9' // otherwise it is an IP address
}

func isLabel(s string) bool {
	return s != "" && len(s) <= 63 && consistsOf(s, "-_") && s[0] != '-' && s[len(s)-1] != '-'
}

// consistsOf reports whether s has only ASCII letters, digits and characters of more.
func consistsOf(s, more string) bool { return strings.Trim(s, fault.Alphanumeric+more) == "" }

// LooksLikeClientID reports whether s has the form of an Auth0 client id. Such an app
// need not be looked up by name.
func LooksLikeClientID(s string) bool { return len(s) == 32 && consistsOf(s, "") }

// checkCallback accepts http on a loopback address and a port, in characters that need
// no quoting. Errors wrap ErrConfig.
func checkCallback(s string) error {
	u, err := url.Parse(s)
	if err != nil || u.Scheme != "http" || !config.IsLoopback(u.Hostname()) || u.Port() == "" || u.User != nil || !consistsOf(u.Path, "/-_.~") || s != "http://"+u.Host+u.Path {
		return fault.New(fault.ErrConfig, "callback %q: want http, a loopback address and a port, as %s", fault.Printable(s), DefaultCallback)
	}
	return nil
}
