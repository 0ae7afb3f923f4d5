// Package auth0 sets up Auth0's social connection for Exact Online (strategy
// "exact") in a tenant and tries it out: [Tenant.Plan] finds out what has to
// change and [Plan.Apply] changes it, [Tenant.Status] tells what is there, and
// [SignIn.Run] signs a person in through it, as the dashboard's "Try" does.
//
// Facts about Auth0 are cited where they are used. "Management API" is its
// reference (auth0.com/docs/api/management/v2), "connection schema" the OpenAPI
// schema of the exact strategy there, "passport-exact" the npm package of that
// name (auth0/passport-exact 0.1.4), which shows what the strategy does at
// Exact: it asks who the user is once, at the sign-in, as Atom XML.
package auth0

import (
	"fmt"
	"net/url"
	"strings"

	"github.com/exactauth/exactauth/internal/config"
	"github.com/exactauth/exactauth/internal/fault"
)

// Strategy is Auth0's name for the kind of connection, and the name that a
// connection is given here unless the caller has another (connection schema).
const Strategy = "exact"

// DefaultCallback is where the browser comes back to after [SignIn.Run]. Auth0
// compares it as a whole string with the app's Allowed Callback URLs, so the
// port is fixed; it is not that of an ordinary sign-in at Exact, which may be
// waiting at the same time.
const DefaultCallback = "http://127.0.0.1:8485/callback"

// Domain is a host that an Auth0 tenant answers on: the one that it was made
// with, as acme.eu.auth0.com, or a custom one, as login.acme.example. The zero
// Domain is none.
type Domain struct{ origin string }

// ParseDomain reads a domain as people write it: a host, or the address of its
// root. Nothing is guessed: the region is part of the name, but not of the
// names of tenants that were made in the US before June 2020, so a tenant's
// bare name says too little (Auth0 docs, "Identify your domain for redirects").
// http is for loopback addresses only. Errors wrap ErrConfig.
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
	wrong := func(why string) (Domain, error) {
		return Domain{}, fault.New(fault.ErrConfig, "Auth0 domain %q: %s", fault.Printable(s), why)
	}
	switch {
	case err != nil || u.User != nil || u.Scheme != "https" && u.Scheme != "http": // what url.Parse says could repeat a password
		return Domain{}, fault.New(fault.ErrConfig, "the Auth0 domain is not a host, as acme.eu.auth0.com")
	case u.Hostname() == "auth0.com", u.Hostname() == "manage.auth0.com":
		return wrong("that is Auth0's own site; want the tenant's host, as acme.eu.auth0.com")
	case u.Path != "" && u.Path != "/", u.RawQuery != "", strings.Contains(text, "#"):
		return wrong("want the host only, as acme.eu.auth0.com")
	case config.IsLoopback(u.Hostname()):
		return Domain{u.Scheme + "://" + u.Host}, nil
	case u.Scheme == "http":
		return wrong("http is for loopback addresses only")
	case !isHostName(u.Host):
		return wrong("that is not a host name such as acme.eu.auth0.com")
	}
	return Domain{"https://" + u.Host}, nil
}

// IsZero reports whether there is no domain.
func (d Domain) IsZero() bool { return d.origin == "" }

// String is the domain as [ParseDomain] takes it: the host, with its scheme only
// if that is http.
func (d Domain) String() string { return strings.TrimPrefix(d.origin, "https://") }

// Callback is where Exact must send the browser: the App Center's Redirect URI
// for an app that is used through this domain (Auth0 docs, "Exact").
func (d Domain) Callback() string { return d.origin + "/login/callback" }

// Issuer is how the domain names itself in id_tokens: with a trailing slash
// (Auth0 docs, "Validate ID Tokens").
func (d Domain) Issuer() string { return d.origin + "/" }

// Audience is what a token for the Management API is made for. Only a tenant's
// own domain has one (Auth0 docs, "Custom domains: Use the Management API").
func (d Domain) Audience() string { return d.origin + "/api/v2/" }

// isHostName reports whether s is a name below some domain. A port is no part of
// it, nor are characters that a browser would write otherwise.
func isHostName(s string) bool {
	labels := strings.Split(s, ".")
	last := labels[len(labels)-1]
	for _, l := range labels {
		if !isLabel(l) {
			return false
		}
	}
	return len(labels) > 1 && len(s) <= 253 && last[0] > '9' // else it is an address
}

func isLabel(s string) bool {
	return s != "" && len(s) <= 63 && consistsOf(s, "-_") && s[0] != '-' && s[len(s)-1] != '-'
}

// consistsOf reports whether s has only letters of ASCII, digits and what is in
// more.
func consistsOf(s, more string) bool {
	for _, r := range s {
		if !('a' <= r && r <= 'z' || 'A' <= r && r <= 'Z' || '0' <= r && r <= '9' || strings.ContainsRune(more, r)) {
			return false
		}
	}
	return true
}

// LooksLikeClientID reports whether s has the shape of the client id that Auth0
// gives an app, so that it need not be looked up by name.
func LooksLikeClientID(s string) bool { return len(s) == 32 && consistsOf(s, "") }

// checkConnectionName applies the connection schema: letters and digits, and
// single hyphens between them.
func checkConnectionName(name string) error {
	if name == "" || len(name) > 128 || !consistsOf(name, "-") || strings.Contains("-"+name+"-", "--") {
		return fmt.Errorf("connection %q: want at most 128 letters, digits and single hyphens between them", fault.Printable(name))
	}
	return nil
}

func checkBaseURL(s string) error {
	u, err := url.Parse(s)
	if err != nil || u.Scheme != "https" || !isHostName(u.Hostname()) && !config.IsLoopback(u.Hostname()) || s != "https://"+u.Host || len(s) > 128 {
		return fmt.Errorf("base URL %q: Auth0 takes https and a host, at most 128 characters, as https://start.exactonline.nl", fault.Printable(s))
	}
	return nil
}

// checkCallback takes what callback.Open can listen on with http.
func checkCallback(s string) error {
	u, err := url.Parse(s)
	if err != nil || u.Scheme != "http" || !config.IsLoopback(u.Hostname()) || u.Port() == "" || u.User != nil || !consistsOf(u.Path, "/-_.~") || s != "http://"+u.Host+u.Path {
		return fmt.Errorf("callback %q: want http, a loopback address and a port, as %s", fault.Printable(s), DefaultCallback)
	}
	return nil
}
