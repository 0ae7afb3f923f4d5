package main

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"github.com/exactauth/exactauth/internal/auth0"
	"github.com/exactauth/exactauth/internal/config"
	"github.com/exactauth/exactauth/internal/fault"
)

type auth0SetupOptions struct {
	*auth0Options
	given                               config.Values // region, base URL and client id
	secretFile, app, callback           string
	allowCallback, guide, print, dryRun bool
}

func (a *app) auth0SetupCmd(common *auth0Options) *cobra.Command {
	o := auth0SetupOptions{auth0Options: common, given: config.Values{}}
	cmd := &cobra.Command{
		Use:   "setup",
		Short: "Create or update the connection to Exact Online",
		Long: `Creates the tenant's connection to Exact Online, or updates the existing one, and
lets an app use it. Settings you omit are kept, and so are options that exactauth does
not know. On a terminal it guides you through registering an app in Exact's App Center
and asks for missing values.

Auth0 needs an app of its own in the App Center: an app there has one Redirect URI, so
it cannot also be the app of "exactauth login". No profile is read or changed.

The client secret is never an argument: you are asked for it, or it comes from
--client-secret-file, EXACTAUTH_CLIENT_SECRET or EXACTAUTH_CLIENT_SECRET_FILE.`,
		Example: `  exactauth auth0 setup --guide --auth0-domain acme.eu.auth0.com --region be
  exactauth auth0 setup --auth0-domain acme.eu.auth0.com --region be \
      --client-id 5f3b1c1e-7c0e-4d0a-9b1f-0a6d6f0e2c11 \
      --client-secret-file secret.txt --app "My app" --dry-run
  exactauth auth0 setup --auth0-domain acme.eu.auth0.com --region be --print`,
		Args: cobra.NoArgs,
		RunE: a.runE(0, func(ctx context.Context, _ []string) error { return a.auth0Setup(ctx, o) }),
	}
	f := cmd.Flags()
	settingFlags(cmd, o.given, "region", "base_url", "client_id")
	f.StringVar(&o.secretFile, "client-secret-file", "", "file with the client secret; - is stdin")
	f.StringVar(&o.app, "app", "", "client id or name of the Auth0 app that may use the connection")
	f.BoolVar(&o.allowCallback, "allow-test-callback", false, `let "exactauth auth0 test" come back: add --callback to the app's Allowed Callback URLs`)
	f.StringVar(&o.callback, "callback", auth0.DefaultCallback, "where the browser comes back to in a test")
	f.BoolVar(&o.guide, "guide", false, "only print how to register an app in the App Center; without a request")
	f.BoolVar(&o.dryRun, "dry-run", false, "only show the changes, each request with its secrets masked")
	f.BoolVar(&o.print, "print", false, "only print the commands for Auth0's own CLI; without a request")
	return cmd
}

func (a *app) auth0Setup(ctx context.Context, o auth0SetupOptions) error {
	if o.guide && o.print || o.guide && o.dryRun || o.print && o.dryRun {
		return usagef("--guide, --print and --dry-run cannot be combined")
	}
	if o.domain == "" && a.Env("AUTH0_DOMAIN") == "" && a.Interactive() && !o.guide && !o.print {
		a.Say("Find the tenant's host in Auth0's dashboard: " + dashboardDomain + ".")
		err := a.askFor(ctx, "Auth0 domain: ", func(answer string) error {
			o.domain = answer
			_, err := auth0.ParseDomain(answer)
			return err
		})
		if err != nil {
			return err
		}
	}
	d, err := a.tenantDomains(*o.auth0Options)
	if err != nil {
		return err
	}
	env, err := config.Environment(a.Env)
	if err != nil {
		return err
	}
	exact := env.Under(o.given)
	if exact["region"] != "" && exact["base_url"] != "" {
		return usagef("region and base URL are both given; each decides the other")
	}
	if exact["region"] != "" {
		region, err := config.ParseRegion(exact["region"])
		if err != nil {
			return usagef("region: %w", err)
		}
		exact["base_url"] = region.BaseURL
	}
	wish := auth0.Wish{
		Connection: o.connection,
		ClientID:   config.NormalClientID(exact["client_id"]),
		BaseURL:    strings.TrimSuffix(exact["base_url"], "/"),
		App:        o.app,
	}
	if o.allowCallback {
		wish.Callback = o.callback
	}
	if o.allowCallback && o.app == "" {
		return usagef("--allow-test-callback: the app is missing (--app)")
	}
	if err := wish.Check(); err != nil {
		return a.auth0Error(err, d)
	}
	switch {
	case o.guide:
		return a.printAuth0Guide(d, wish.BaseURL)
	case o.print:
		return a.printAuth0CLI(d, wish)
	}
	t, err := a.tenant(d)
	if err != nil {
		return err
	}
	if wish.ClientSecret, err = a.givenSecret(ctx, "--client-secret-file", o.secretFile, "EXACTAUTH_CLIENT_SECRET"); err != nil {
		return err
	}
	return a.auth0Error(a.carryOut(ctx, o, d, t, wish), d)
}

func (a *app) carryOut(ctx context.Context, o auth0SetupOptions, d tenantDomains, t *auth0.Tenant, wish auth0.Wish) error {
	makePlan := func() (*auth0.Plan, error) {
		ctx, cancel := context.WithTimeout(ctx, auth0Timeout)
		defer cancel()
		return t.Plan(ctx, wish)
	}
	plan, err := makePlan()
	if errors.Is(err, auth0.ErrNoSecret) && a.Interactive() {
		if wish, err = a.askForExact(ctx, d, wish); err == nil {
			plan, err = makePlan()
		}
	}
	if err != nil {
		return err
	}
	if !a.JSON {
		a.Say("Exact's App Center must have exactly this Redirect URI for client id %s:\n\n%s\n", plan.ClientID, d.signIn.Callback())
	}
	if !o.dryRun {
		ctx, cancel := context.WithTimeout(ctx, auth0Timeout)
		defer cancel()
		var done []string
		if err := plan.Apply(ctx, func(c auth0.Change) { done = append(done, c.What...) }); err != nil {
			for _, what := range done {
				a.Note("changed before the error: " + what)
			}
			return err
		}
	}
	return a.showPlan(d, plan, o.dryRun)
}

func (a *app) showPlan(d tenantDomains, plan *auth0.Plan, dry bool) error {
	var lacking []string
	if dry {
		lacking = plan.Lacking()
	}
	if a.JSON {
		return a.PrintJSON(struct {
			Domain string `json:"auth0_domain"`
			*auth0.Plan
			RedirectURI string   `json:"redirect_uri"`
			DryRun      bool     `json:"dry_run"`
			Lacking     []string `json:"lacking_scopes,omitempty"`
		}{d.own.String(), plan, d.signIn.Callback(), dry, lacking})
	}
	if len(plan.Changes) == 0 {
		return a.Print(fmt.Sprintf("Nothing to change: connection %s at %s is correct.\n", plan.Connection, d.own))
	}
	text, requests := fmt.Sprintf("Changed at %s:\n", d.own), ""
	if dry {
		text = fmt.Sprintf("Would be changed at %s:\n", d.own)
	}
	for _, c := range plan.Changes {
		text += "  " + strings.Join(c.What, "\n  ") + "\n"
		var body bytes.Buffer
		if err := json.Indent(&body, c.Body, "", "  "); err != nil {
			return err
		}
		requests += fmt.Sprintf("\n%s %s\n%s\n", c.Method, c.Path, &body)
	}
	if dry {
		text += requests
	}
	if err := a.Print(text); err != nil {
		return err
	}
	if len(lacking) > 0 {
		a.Note("the management token lacks " + fault.List(lacking, " and ") + ", so this would be refused")
	}
	if !dry && plan.App != nil {
		a.Say("\nNext: exactauth auth0 test%s --app %s", d.flags(), clientIDToType(plan.App.ClientID, "APP"))
	}
	return nil
}

// askForExact guides the person through the registration at Exact and asks for the
// resulting client id and secret.
func (a *app) askForExact(ctx context.Context, d tenantDomains, wish auth0.Wish) (auth0.Wish, error) {
	if wish.BaseURL == "" {
		region, err := a.askRegion(ctx)
		if err != nil {
			return wish, err
		}
		wish.BaseURL = region.BaseURL
	}
	a.Say("\n%s", registration(d, wish.BaseURL, ""))
	if wish.ClientID == "" {
		err := a.askFor(ctx, "Client ID: ", func(answer string) error {
			wish.ClientID = config.NormalClientID(answer)
			return wish.Check()
		})
		if err != nil {
			return wish, err
		}
	}
	if wish.ClientSecret.IsZero() {
		var err error
		if wish.ClientSecret, err = a.askClientSecret(ctx, false); err != nil {
			return wish, err
		}
	}
	a.Say("")
	return wish, nil
}

// registration explains how to register an app for Auth0 at Exact. next is the last
// step: a command, or empty.
func registration(d tenantDomains, baseURL, next string) string {
	region, _ := regionOf(baseURL)
	text := `Register an app for Auth0 in Exact's App Center, once. It is an app of its own:
each has one Redirect URI, so the one that "exactauth login" uses cannot be
shared. Your user needs the right "Manage subscription" (Master data > Users >
Rights).

`
	for _, step := range registrationSteps(region, "Auth0", d.signIn.Callback()) {
		text += step
	}
	if next != "" {
		text += "  4. " + next + "\n"
	}
	if d.signIn != d.own {
		text += fmt.Sprintf(`
People sign in at the custom domain %s. A sign-in at
%s ends on an error page of Exact: its callback is another
one, and an app has only one.
`, d.signIn, d.own)
	}
	return text
}

func (a *app) printAuth0Guide(d tenantDomains, baseURL string) error {
	region, known := regionOf(baseURL)
	where := " --region CODE"
	switch {
	case known:
		where = " --region " + region.Code
	case baseURL != "":
		where = " --base-url " + baseURL
	}
	return a.Result(struct {
		Domain      string `json:"auth0_domain"`
		AppCenter   string `json:"app_center"`
		Country     string `json:"country,omitempty"`
		BaseURL     string `json:"base_url,omitempty"`
		RedirectURI string `json:"redirect_uri"`
	}{d.own.String(), cmp.Or(region.AppCenter, appCenter), region.Country, baseURL, d.signIn.Callback()},
		registration(d, baseURL, "exactauth auth0 setup"+d.flags()+where))
}

// printAuth0CLI prints a script that does the same with Auth0's CLI, which has its own
// sign-in. No command line has the secret: a shell variable passes it to the environment
// of jq, and a pipe to auth0, whose answers with secrets are not shown. Pasted whole, the
// script reaches one sh through a here document: the lines after a question are not taken
// as its answer, and it stops at the first command that fails.
func (a *app) printAuth0CLI(d tenantDomains, wish auth0.Wish) error {
	if wish.BaseURL == "" {
		wish.BaseURL = config.Regions()[0].BaseURL
	}
	type step struct {
		Why      string   `json:"why"`
		Commands []string `json:"commands"`
	}
	steps := []step{{"Sign in to Auth0's CLI (github.com/auth0/auth0-cli), with a scope that it does not request by default.", []string{
		"auth0 login --scopes create:connections",
		"auth0 tenants use " + d.own.String()}}}
	// A variable in a text in single quotes: they end before it and begin again behind it.
	client, app := wish.ClientID, clientIDToType(wish.App, `'"$APP_CLIENT_ID"'`)
	if client == "" {
		client = `'"$CLIENT_ID"'`
		steps = append(steps, step{"Type the client id from the App Center.", []string{`printf 'Client id: ' >&2; read -r CLIENT_ID`}})
	}
	steps = append(steps, step{"Type the client secret from the App Center. It appears in no command line.", []string{
		"trap 'stty echo' EXIT INT",
		"printf 'Client secret: ' >&2; stty -echo; read -r EXACT_SECRET; stty echo; echo >&2",
		"export EXACT_SECRET"}})
	if wish.App != "" && app != wish.App {
		steps = append(steps, step{"Type the client id of " + fault.Printable(wish.App) + ", which is in this list.", []string{
			"auth0 apps list", `printf 'Client id of the app: ' >&2; read -r APP_CLIENT_ID`}})
	}
	connection := cmp.Or(wish.Connection, auth0.Strategy)
	options := fmt.Sprintf(`{client_id: "%s", client_secret: env.EXACT_SECRET, baseUrl: "%s", profile: true}`, client, wish.BaseURL)
	steps = append(steps, step{"Look for the connection. Update it if it exists: Auth0 replaces all options, so the existing ones are sent too. Otherwise create it.", []string{
		fmt.Sprintf("FOUND=$(auth0 api get connections -q strategy=%s -q name=%s </dev/null)", auth0.Strategy, connection),
		`ID=$(printf '%s' "$FOUND" | jq -r '.[0].id // empty')`,
		`if [ -n "$ID" ]; then`,
		fmt.Sprintf(`  printf '%%s' "$FOUND" | jq '.[0] | {display_name: (.display_name // .name), options: (.options + %s)}' | auth0 api patch "connections/$ID" >/dev/null`, options),
		"else",
		fmt.Sprintf(`  MADE=$(jq -n '{name: "%s", strategy: "%s", display_name: "Exact Online", options: %s}' | auth0 api post connections)`, connection, auth0.Strategy, options),
		`  ID=$(printf '%s' "$MADE" | jq -r .id)`,
		"fi"}})
	if wish.App != "" {
		steps = append(steps, step{"Let the app use the connection.", []string{
			fmt.Sprintf(`auth0 api patch "connections/$ID/clients" --data '[{"client_id":"%s","status":true}]'`, app)}})
		if wish.Callback != "" {
			steps = append(steps, step{`Allow the callback of "exactauth auth0 test". Auth0 replaces the whole list.`, []string{
				fmt.Sprintf(`auth0 api get 'clients/%s' </dev/null | jq '{callbacks: ((.callbacks // []) + ["%s"] | unique)}' | auth0 api patch 'clients/%[1]s' >/dev/null`, app, wish.Callback)}})
		}
	}
	text := "sh -e /dev/fd/3 3<<'END'\n# Paste all lines up to END.\n"
	text += fmt.Sprintf("# Exact's App Center must have exactly this Redirect URI: %s\n", d.signIn.Callback())
	for _, s := range steps {
		text += "\n# " + s.Why + "\n" + strings.Join(s.Commands, "\n") + "\n"
	}
	return a.Result(map[string]any{"auth0_domain": d.own.String(), "redirect_uri": d.signIn.Callback(), "steps": steps}, text+"END\n")
}
