package main

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/exactauth/exactauth/internal/auth0"
	"github.com/exactauth/exactauth/internal/callback"
	"github.com/exactauth/exactauth/internal/config"
	"github.com/exactauth/exactauth/internal/fault"
	"github.com/exactauth/exactauth/internal/network"
)

// auth0Options are the flags that all auth0 commands have.
type auth0Options struct {
	domain, custom, connection string
}

func (a *app) auth0Cmd() *cobra.Command {
	var o auth0Options
	cmd := &cobra.Command{
		Use:   "auth0",
		Short: "Set up and test Auth0's connection to Exact Online",
		Long: `Auth0's social connection "exact" lets people sign in with their Exact Online
account. These commands set it up, test it and show it. The connection identifies a
person. It does not give you a token for Exact's API: use "exactauth login" for that.

"setup" and "status" manage the tenant. They need a Management API token in
AUTH0_API_TOKEN, or the credentials of a machine-to-machine app in AUTH0_CLIENT_ID
and AUTH0_CLIENT_SECRET.`,
		Example: `  exactauth auth0 setup --guide --auth0-domain acme.eu.auth0.com --region be
  exactauth auth0 setup --auth0-domain acme.eu.auth0.com --region be \
      --app "My app" --allow-test-callback
  exactauth auth0 test --auth0-domain acme.eu.auth0.com --app "My app"
  exactauth auth0 status --auth0-domain acme.eu.auth0.com`,
		Args: unknownCommand,
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.SuggestionsMinimumDistance = 2
	f := cmd.PersistentFlags()
	f.StringVar(&o.domain, "auth0-domain", "", "the tenant's own host, as acme.eu.auth0.com (default: AUTH0_DOMAIN)")
	f.StringVar(&o.custom, "custom-domain", "", "the custom domain that people sign in at, if there is one (default: AUTH0_CUSTOM_DOMAIN)")
	f.StringVar(&o.connection, "connection", "", `the connection's name (default: the tenant's only one, or "exact")`)
	cmd.AddCommand(a.auth0SetupCmd(&o), a.auth0TestCmd(&o), a.auth0StatusCmd(&o))
	return cmd
}

// auth0Timeout limits the requests between two answers of a person.
const auth0Timeout = 90 * time.Second

// Where Auth0's dashboard shows what people have to enter.
const (
	dashboardDomain   = "Applications > your app > Settings > Domain"
	dashboardClientID = "Applications > your app > Settings > Client ID"
	dashboardExplorer = "Applications > APIs > Auth0 Management API > API Explorer"
)

// tenantDomains are the domain where a tenant is managed and the one where people sign
// in. They differ if there is a custom domain.
type tenantDomains struct{ own, signIn auth0.Domain }

// flags returns the flags that name the domains, for a command line.
func (d tenantDomains) flags() string {
	text := ""
	if !d.own.IsZero() {
		text = " --auth0-domain " + d.own.String()
	}
	if d.signIn != d.own {
		text += " --custom-domain " + d.signIn.String()
	}
	return text
}

func (a *app) tenantDomains(o auth0Options) (d tenantDomains, err error) {
	own, custom := cmp.Or(o.domain, a.Env("AUTH0_DOMAIN")), cmp.Or(o.custom, a.Env("AUTH0_CUSTOM_DOMAIN"))
	if own == "" {
		return d, &hinted{usagef("the Auth0 domain is missing (--auth0-domain or AUTH0_DOMAIN)"), "find it in Auth0's dashboard: " + dashboardDomain + ", as acme.eu.auth0.com"}
	}
	if err = config.CheckProxy(a.Env); err != nil {
		return d, err
	}
	if d.own, err = auth0.ParseDomain(own); err != nil {
		return d, &hinted{err, "find it in Auth0's dashboard: " + dashboardDomain}
	}
	d.signIn = d.own
	if custom != "" {
		if d.signIn, err = auth0.ParseDomain(custom); err != nil {
			return d, &hinted{fmt.Errorf("custom domain: %w", err), "find it in Auth0's dashboard: Branding > Custom Domains"}
		}
	}
	return d, nil
}

func (a *app) auth0Server(d auth0.Domain) auth0.Server {
	return auth0.Server{Domain: d, HTTP: &http.Client{Transport: network.New(agent())}, Waiting: a.Waiting, Log: a.logger()}
}

// tenant returns the tenant to manage, with the credentials of the environment.
func (a *app) tenant(d tenantDomains) (*auth0.Tenant, error) {
	t := &auth0.Tenant{
		Server:       a.auth0Server(d.own),
		APIToken:     a.envSecret("AUTH0_API_TOKEN"),
		ClientID:     strings.TrimSpace(a.Env("AUTH0_CLIENT_ID")),
		ClientSecret: a.envSecret("AUTH0_CLIENT_SECRET"),
	}
	if t.APIToken.IsZero() && (t.ClientID == "" || t.ClientSecret.IsZero()) {
		return nil, &hinted{usagef("the credentials to manage %s are missing: AUTH0_CLIENT_ID and AUTH0_CLIENT_SECRET, or AUTH0_API_TOKEN", d.own),
			"in Auth0's dashboard: Applications > Create Application > Machine to Machine, for the Auth0 Management API, with the scopes " + strings.Join(managementScopes, ", ") + "; or, without any of this: exactauth auth0 setup --print"}
	}
	return t, nil
}

// envSecret returns a secret from the environment, without blanks and line ends, which
// HTTP headers cannot carry.
func (a *app) envSecret(name string) fault.Secret {
	return fault.NewSecret(strings.TrimSpace(a.Env(name)))
}

// managementScopes are all that setup, test and status can use.
var managementScopes = []string{
	"read:connections", "read:connections_options", "create:connections", "update:connections", "update:connections_options",
	"read:clients", "update:clients", "read:logs", "read:custom_domains",
}

// auth0Error adds the hint. Only this function connects Auth0's errors with the names of
// commands, flags and dashboard pages.
func (a *app) auth0Error(err error, d tenantDomains) error {
	var scope *auth0.ScopeError
	var untrue *auth0.TokenError
	hint := ""
	switch {
	case err == nil, errors.As(err, new(*hinted)), errors.As(err, new(*fault.WaitError)):
		return err
	case errors.As(err, &scope):
		hint = a.grantHint(d, scope.Missing, scope.Have)
	case errors.Is(err, auth0.ErrNoGrant):
		hint = a.grantHint(d, managementScopes, nil)
	case errors.Is(err, auth0.ErrNotOwnDomain):
		hint = "--auth0-domain is the tenant's own host, as acme.eu.auth0.com; give a custom domain with --custom-domain"
	case errors.Is(err, auth0.ErrCredentials) && !a.envSecret("AUTH0_API_TOKEN").IsZero():
		hint = "AUTH0_API_TOKEN is valid for 24 hours at most; get a new one in Auth0's dashboard: " + dashboardExplorer
	case errors.Is(err, auth0.ErrCredentials):
		hint = "AUTH0_CLIENT_ID and AUTH0_CLIENT_SECRET are those of a machine-to-machine app of this tenant: Applications > its name > Settings"
	case errors.Is(err, auth0.ErrNoSecret):
		hint = "register an app for Auth0 (exactauth auth0 setup --guide" + d.flags() + ") and give its --client-id and --client-secret-file"
	case errors.Is(err, auth0.ErrNotEnabled):
		hint = "enable it: exactauth auth0 setup" + d.flags() + " --app APP"
	case errors.Is(err, auth0.ErrAppSecret):
		hint = "a regular web app has a secret: --app-secret-file FILE, or AUTH0_APP_SECRET; native and single-page apps have none: omit it"
	case errors.Is(err, auth0.ErrApp):
		hint = "give the client id: " + dashboardClientID
	case errors.Is(err, callback.ErrPort):
		hint = "end that program; or choose another port with --callback http://127.0.0.1:PORT/callback, and allow it for the app: exactauth auth0 setup --allow-test-callback --callback ..."
	case errors.As(err, &untrue):
		hint = tokenHint(untrue)
	case errors.Is(err, fault.ErrDenied):
		hint = "to try again: exactauth auth0 test" + d.flags() + " --app APP"
	case errors.Is(err, fault.ErrTemporary) && networkFix(err) == "":
		hint = "try again later; nothing is done twice"
	case errors.Is(err, fault.ErrConfig):
		hint = "see exactauth auth0 --help"
	default:
		return err
	}
	return &hinted{err, hint}
}

// grantHint says how a management client gets scopes. Auth0 replaces a grant's whole
// list, so the command repeats the scopes that the grant has.
func (a *app) grantHint(d tenantDomains, missing, have []string) string {
	if !a.envSecret("AUTH0_API_TOKEN").IsZero() {
		return "AUTH0_API_TOKEN needs a token with that scope; those of Auth0's dashboard have all: " + dashboardExplorer
	}
	client := clientIDToType(a.Env("AUTH0_CLIENT_ID"), "CLIENT_ID")
	var scopes []string
	for _, s := range slices.Concat(have, missing) {
		scopes = append(scopes, fault.Printable(s))
	}
	text, _ := json.Marshal(scopes) // never fails for strings
	// The command has the list in single quotes.
	list := strings.ReplaceAll(string(text), "'", `\u0027`)
	where := "grant it in Auth0's dashboard: Applications > APIs > Auth0 Management API > Machine to Machine Applications; or with Auth0's CLI: "
	if have == nil {
		return where + fmt.Sprintf(`auth0 api post client-grants --data '{"client_id":"%s","audience":"%s","scope":%s}'`, client, d.own.Audience(), list)
	}
	return where + fmt.Sprintf(`auth0 api patch client-grants/$(auth0 api get client-grants -q client_id=%s -q audience=%s | jq -r '.[0].id') --data '{"scope":%s}'`,
		client, d.own.Audience(), list)
}

// clientIDToType returns a client id for a command that a person copies, or the word in
// its place: what a server or a person names as a client id can be any text.
func clientIDToType(id, word string) string {
	if auth0.LooksLikeClientID(id) {
		return id
	}
	return word
}

func tokenHint(e *auth0.TokenError) string {
	switch e.Claim {
	case "alg":
		return "in Auth0's dashboard: Applications > your app > Settings > Advanced Settings > OAuth > JsonWebToken Signature Algorithm: RS256"
	case "iss":
		return "a token names the domain that people sign in at: if that is a custom one, give it with --custom-domain"
	case "exp", "nbf", "iat":
		return "compare this machine's clock with the right time"
	}
	return "do not trust this sign-in: Auth0 itself does not send such a token; check what is between this machine and Auth0"
}

func regionOf(baseURL string) (config.Region, bool) {
	for _, r := range config.Regions() {
		if r.BaseURL == baseURL {
			return r, true
		}
	}
	return config.Region{}, false
}

// findTestApp returns the client id that --app means. Looking up a name needs the right
// to manage the tenant.
func (a *app) findTestApp(ctx context.Context, d tenantDomains, idOrName string) (string, error) {
	if auth0.LooksLikeClientID(idOrName) {
		return idOrName, nil
	}
	t, err := a.tenant(d)
	if err != nil {
		return "", &hinted{usagef("app %q: that is not a client id, and looking up a name needs the credentials to manage %s", fault.Printable(idOrName), d.own),
			"give the client id: " + dashboardClientID + "; or set AUTH0_CLIENT_ID and AUTH0_CLIENT_SECRET"}
	}
	found, err := t.FindApp(ctx, idOrName)
	return found.ClientID, err
}
