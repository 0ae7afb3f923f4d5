package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/exactauth/exactauth/internal/callback"
	"github.com/exactauth/exactauth/internal/config"
	"github.com/exactauth/exactauth/internal/fault"
	"github.com/exactauth/exactauth/internal/term"
	"github.com/exactauth/exactauth/internal/tokenstore"
)

type setupOptions struct {
	given      config.Values // the settings that flags were given for, also with an empty value
	secretFile string
}

func (a *app) setupCmd() *cobra.Command {
	o := setupOptions{given: config.Values{}}
	cmd := &cobra.Command{
		Use:   "setup",
		Short: "Set up a profile: which registered app, where",
		Long: `Sets up a profile or changes one. Settings you omit are kept; an empty value removes
the setting (--listen "", --relay=false, --division 0). On a terminal it guides you
through registering an app in Exact's App Center, asks for what is missing, and offers
to sign in at once. If nothing is missing it asks nothing. Without a terminal, and with
--no-input, everything comes from flags, the environment or stdin.

The command line never takes the client secret, since other users could read it
there. It is asked for, or comes from --client-secret-file, EXACTAUTH_CLIENT_SECRET,
EXACTAUTH_CLIENT_SECRET_FILE or a command (--client-secret-command "pass show exact").
It is stored with the tokens, unless a command prints it whenever it is needed.

The tokens are stored in a file of yours, or with --store in a PostgreSQL database
that several machines share. With --seal they are encrypted as age files, whose key is
in the keyring or in a file. Both can be changed later: the login moves along.`,
		Example: `  exactauth setup
  exactauth setup -p acme --region be --division 123456 \
      --client-id 5f3b1c1e-7c0e-4d0a-9b1f-0a6d6f0e2c11 \
      --client-secret-file secret.txt
  exactauth setup -p acme --seal keyring
  exactauth setup -p acme \
      --store "postgres://exactauth@db.example/exactauth?sslmode=verify-full"`,
		Args: cobra.NoArgs,
		RunE: a.runE(0, func(ctx context.Context, _ []string) error { return a.setup(ctx, o) }),
	}
	settingFlags(cmd, o.given)
	completeBy(cmd, "division", a.completeDivisions)
	cmd.Flags().StringVar(&o.secretFile, "client-secret-file", "", "file with the client secret; - is stdin")
	return cmd
}

// settingFlags adds the flags of the settings with these names, or of all if there are
// none. given gets the values.
func settingFlags(cmd *cobra.Command, given config.Values, names ...string) {
	for _, s := range config.Table() {
		if len(names) > 0 && !slices.Contains(names, s.Name) {
			continue
		}
		usage := s.Help
		if s.Default != "" {
			usage += " (default " + s.Default + ")"
		}
		flag := cmd.Flags().VarPF(settingFlag{s, given}, s.Flag(), "", usage)
		if s.Kind == config.Switch {
			flag.NoOptDefVal = "true"
		}
		if len(s.Offers) > 0 {
			complete(cmd, s.Flag(), s.Offers...)
		}
	}
}

type settingFlag struct {
	config.Setting
	given config.Values
}

func (f settingFlag) String() string { return f.given[f.Name] }

func (f settingFlag) Type() string { return [...]string{"string", "bool", "int"}[f.Kind] }

func (f settingFlag) Set(text string) error {
	value, err := f.Parse(text)
	switch {
	case err != nil:
		return err
	case f.Name == "store":
		value = absolute(value, config.StoreInFile)
	case f.Name == "seal":
		value = absolute(value, config.SealAge)
	}
	f.given[f.Name] = value
	return nil
}

// above lays the flags over a table. An empty flag removes a setting, unless the
// setting has a value for its default, or has none: an empty variable in a script must
// not take a seal off.
func (o setupOptions) above(table config.Values) (config.Values, error) {
	table = table.Under(o.given)
	for _, s := range config.Table() {
		value, given := o.given[s.Name]
		switch {
		case !given || value != "" || table[s.Name] == "":
		case s.Removable:
			delete(table, s.Name)
		default:
			return nil, &hinted{usagef("--%s: it is empty, and the profile has one", s.Flag()), "leave it out, or say which: exactauth setup --help"}
		}
	}
	return table, nil
}

func (a *app) setup(ctx context.Context, o setupOptions) error {
	conf, err := config.Read(a.Env)
	if err != nil {
		return err
	}
	name, err := conf.Choose(a.Env, a.profileName)
	if err != nil {
		return err
	}
	return fault.In(name, a.setupProfile(ctx, conf, name, o))
}

func (a *app) setupProfile(ctx context.Context, conf *config.Config, name string, o setupOptions) error {
	for _, other := range conf.Names() {
		if other != name && strings.EqualFold(other, name) {
			return usagef("there is a profile %s, and some systems cannot tell the names of their records apart", other)
		}
	}
	env, err := config.Environment(a.Env)
	if err != nil {
		return err
	}
	if config.HasPassword(o.given["store"]) {
		return &hinted{usagef("--store: other users can read a password on the command line"),
			"leave it out, and pass it by PGPASSFILE, by PGPASSWORD, or with the whole address in EXACTAUTH_STORE or in a file: --store @FILE"}
	}
	before := conf.Profiles[name]
	table, err := o.above(before.Under(env))
	if err != nil {
		return err
	}
	store := table["store"] // for the configuration
	if config.HasPassword(store) && store == env["store"] {
		store = before["store"]
		a.Note("the store's address has a password in it and is not written to the configuration: have EXACTAUTH_STORE set whenever this profile is used")
	}
	if err := config.CheckPassword(name, store); err != nil {
		return err
	}
	limit := time.Duration(defaultTimeout) // of each wait but that for a person's typing
	if o.secretFile == "-" {
		limit = 0
	}
	var secret fault.Secret
	if err := a.within(ctx, limit, func(ctx context.Context) error {
		secret, err = a.givenSecret(ctx, "--client-secret-file", o.secretFile, "EXACTAUTH_CLIENT_SECRET") // a command is run when the secret is needed
		return err
	}); err != nil {
		return err
	}
	old, err := config.Settle(name, before.Under(env)) // where its record is by now
	if err != nil || len(before) == 0 {
		old = config.Settings{}
	}
	known := false
	if err := a.within(ctx, defaultTimeout, func(ctx context.Context) error {
		known, err = a.knownSecret(ctx, name, table, old)
		return err
	}); err != nil {
		return err
	}
	haveSecret := !secret.IsZero() || table["client_secret_command"] != "" || known
	// A person who calls setup without a flag may have mistyped the secret that is there.
	again := len(o.given) == 0 && o.secretFile == "" && table["client_secret_command"] == ""
	guided := a.Interactive() && (table["client_id"] == "" || !haveSecret || again)
	shown := guided && table["client_id"] == "" // the Redirect URI
	if guided {
		if secret, err = a.guide(ctx, name, table, secret, haveSecret); err != nil {
			return err
		}
		haveSecret = true
	}
	p, err := config.Settle(name, table)
	if !haveSecret || table["client_id"] == "" {
		return incomplete(haveSecret, err)
	}
	if err != nil {
		return err
	}
	if old.Name == "" {
		old = p
	}
	table["store"], table["client_id"] = store, p.ClientID // the client id as it is sent
	signedIn := false
	if err := a.within(ctx, defaultTimeout, func(ctx context.Context) error {
		signedIn, err = a.saveSetup(ctx, old, p, table, secret)
		return err
	}); err != nil || a.JSON {
		return err
	}
	if signedIn {
		a.Say("It stays signed in.")
		return nil
	}
	if !shown {
		a.Say("The App Center must have exactly this Redirect URI:\n\n%s\n", p.RedirectURI)
	}
	if guided { // who was asked nothing, such as a script on a terminal, is not asked this either
		now, err := a.Confirm(ctx, "Sign in now?")
		if err != nil && !errors.Is(err, term.ErrNoAnswer) {
			return err
		}
		if now {
			a.Say("")
			a.profileName = name
			return a.within(ctx, loginTimeout, func(ctx context.Context) error { return a.login(ctx, loginOptions{}) })
		}
	}
	a.Say("Next: exactauth login%s", a.profileFlag(name))
	return nil
}

// knownSecret reports whether the record has the secret of this very client. The record
// is where the old settings say, unless a change of its place was interrupted.
func (a *app) knownSecret(ctx context.Context, name string, table config.Values, old config.Settings) (known bool, err error) {
	p, err := config.Settle(name, table)
	if err != nil {
		return false, nil // setup reports later, all at once, what is wrong
	}
	there := p
	if old.Name != "" {
		there.Store, there.Seal = old.Store, old.Seal
	}
	looked := false // in one of them; the other then need not be readable
	for _, p := range slices.Compact([]config.Settings{there, p}) {
		c, openErr := a.client(ctx, p)
		if openErr == nil {
			known, openErr = c.HasClientSecret(ctx)
		}
		if known {
			return true, nil
		}
		looked = looked || openErr == nil
		err = cmp.Or(err, openErr)
	}
	if looked {
		err = nil
	}
	return false, err
}

// incomplete returns all that is missing or wrong in one error.
func incomplete(haveSecret bool, err error) error {
	if !haveSecret {
		missing := fault.New(fault.ErrConfig, "client secret: missing")
		if err == nil {
			err = missing
		} else {
			err = fmt.Errorf("%w; %w", err, missing)
		}
	}
	return &hinted{err, `give what is missing: --client-id (or EXACTAUTH_CLIENT_ID); --client-secret-file FILE, "-" for stdin (or EXACTAUTH_CLIENT_SECRET)`}
}

// saveSetup writes the profile, says so, and reports whether it is signed in.
func (a *app) saveSetup(ctx context.Context, old, p config.Settings, table config.Values, secret fault.Secret) (signedIn bool, err error) {
	c, err := a.client(ctx, p)
	if err != nil {
		return false, err
	}
	had, knownErr := c.Known(ctx)
	moved, err := a.moveRecord(ctx, old, p)
	if err != nil {
		if store := (*tokenstore.Error)(nil); errors.As(err, &store) && store.Kind == tokenstore.Late {
			err = &hinted{err, "the record may be changed already; when this is corrected, run the same \"exactauth setup\" again, which completes it"}
		}
		return false, err
	}
	changed := old.Store != p.Store || old.Seal != p.Seal
	defer func() {
		file, own := (*config.FileError)(nil), (*hinted)(nil)
		if (changed || errors.As(err, &file) && file.Late) && !errors.As(err, &own) && err != nil {
			err = &hinted{err, "the record is changed already; when this is corrected, run the same setup again, which completes it"}
		}
	}()
	err = config.Change(ctx, a.Env, func(conf *config.Config) error {
		conf.Default = cmp.Or(conf.Default, p.Name)
		conf.Profiles[p.Name] = table
		return nil
	}, func() error { // before the file: a configuration without its secret would be half a profile
		keep := p.ClientSecretCommand == "" // otherwise a stored secret would be one copy too many
		err := c.SetClientSecret(ctx, secret, keep)
		if errors.Is(err, fault.ErrConfig) {
			return &hinted{err, fmt.Sprintf(`use another name: "exactauth setup --profile NAME"; or end that login: "exactauth logout --profile %s"`, p.Name)}
		}
		return err
	})
	if err != nil {
		if file := (*config.FileError)(nil); !had && knownErr == nil && !changed && errors.As(err, &file) && file.Late { // no secret stays without a profile
			err = errors.Join(err, c.SetClientSecret(context.WithoutCancel(ctx), fault.Secret{}, false))
		}
		return false, err
	}
	if err := moved(ctx); err != nil {
		return false, err
	}
	if weak := a.weakness(ctx, p); weak != "" {
		a.Note(weak)
	}
	if a.JSON {
		dir, err := config.Dir(a.Env)
		if err != nil {
			return false, err
		}
		return false, a.PrintJSON(map[string]string{"profile": p.Name, "base_url": p.BaseURL, "client_id": p.ClientID,
			"redirect_uri": p.RedirectURI, "store": redacted(p.Store), "seal": p.Seal, "config": filepath.Join(dir, config.FileName)})
	}
	a.Say("Profile %s is set up for %s.", p.Name, p.BaseURL)
	if changed {
		a.Say("Its store is %s now, its seal %s.", redacted(p.Store), fault.Line(p.Seal))
	}
	s, err := c.Status(ctx)
	return err == nil && s.SignedIn, nil
}

// guide asks a person on a terminal for what table and secret lack, and changes table.
func (a *app) guide(ctx context.Context, name string, table config.Values, secret fault.Secret, haveSecret bool) (fault.Secret, error) {
	a.Say("Setting up profile %s. Ctrl-C ends this without a change.", name)
	if table["region"] == "" && table["base_url"] == "" {
		region, err := a.askRegion(ctx)
		if err != nil {
			return secret, err
		}
		table["region"] = region.Code
	}
	if table["client_id"] == "" {
		if err := a.guideRegistration(ctx, table); err != nil {
			return secret, err
		}
		err := a.askFor(ctx, "Client ID: ", func(answer string) error {
			table["client_id"] = answer
			_, err := config.Settle(name, table)
			return err
		})
		if err != nil {
			return secret, err
		}
	}
	given, err := a.askClientSecret(ctx, haveSecret)
	return cmp.Or(given, secret), err
}

// askFor asks a question until there is an answer that take accepts.
func (a *app) askFor(ctx context.Context, question string, take func(answer string) error) error {
	for {
		answer, err := a.Ask(ctx, question)
		if err != nil {
			return err
		}
		if answer == "" {
			continue
		}
		if err = take(answer); err == nil {
			return nil
		}
		a.Say("%s", fault.Line(err.Error()))
	}
}

// askClientSecret asks for a client secret. If there is a current one, Enter keeps it,
// and askClientSecret returns a zero secret.
func (a *app) askClientSecret(ctx context.Context, current bool) (fault.Secret, error) {
	question := "Client Secret (not shown): "
	if current {
		question = "Client Secret (not shown; Enter keeps the current one): "
	}
	for {
		line, err := a.AskSecret(ctx, question)
		if err != nil || current && line == "" {
			return fault.Secret{}, err
		}
		secret, err := secretIn("Client Secret", []byte(line))
		if err == nil {
			return secret, nil
		}
		a.Say("%s", fault.Line(err.Error()))
	}
}

func (a *app) askRegion(ctx context.Context) (config.Region, error) {
	regions := config.Regions()
	var names term.Table
	for _, r := range regions {
		names.Add(r.Code, r.Country)
	}
	a.Say("\nWhere is your Exact Online? An app works in the country it is registered in.\n")
	i, err := a.Choose(ctx, "Country", names)
	return regions[i], err
}

const appCenter = "https://apps.exactonline.com"

// registrationSteps returns the three steps in which an app of that name is registered at
// Exact. The region is zero if it is not known. The Redirect URI is alone on its line, to be
// copied.
func registrationSteps(region config.Region, name, redirectURI string) [3]string {
	choose := fmt.Sprintf(", choose %s,", cmp.Or(region.Country, "your country"))
	if region.AppCenter != "" {
		choose = ""
	}
	return [...]string{fmt.Sprintf(
		`  1. Open %s
     in the browser%s and sign in.
     The app works in that country only.
`, cmp.Or(region.AppCenter, appCenter), choose), fmt.Sprintf(
		`  2. Menu: Manage my apps (or: Register API keys). "Add a new application".
     Give it a name, such as %q, and this Redirect URI, which Exact
     compares letter by letter:

%s

`, name, redirectURI),
		`  3. Save. Then Edit, section Authorization: Client ID and Client Secret are
     there. Copy both now: the secret may be shown only once.
`}
}

// guideRegistration shows how to register an app, step by step. It offers to open the App
// Center and to copy the Redirect URI.
func (a *app) guideRegistration(ctx context.Context, table config.Values) error {
	redirectURI := cmp.Or(table["redirect_uri"], config.DefaultRedirectURI)
	region, err := config.ParseRegion(table["region"])
	known := err == nil
	if !known {
		region, known = regionOf(table["base_url"])
	}
	if !known {
		a.Say("\nThe app at %s must have exactly this Redirect URI:\n\n%s\n", table["base_url"], redirectURI)
		return nil
	}
	steps := registrationSteps(region, "exactauth", redirectURI)
	a.Say(`
Register an app in Exact's App Center, once. Your user needs the right
"Manage subscription" (Master data > Users > Rights).

%s`, steps[0])
	a.Browser = table["browser"]
	if a.CanOpen() {
		open, err := a.Confirm(ctx, "Open the App Center in the browser now?")
		if err != nil {
			return err
		}
		if open {
			a.Open(cmp.Or(region.AppCenter, appCenter))
		}
		a.Say("")
	}
	a.Say("%s", strings.TrimSuffix(steps[1], "\n"))
	copying, err := a.Confirm(ctx, "Copy the Redirect URI to the clipboard?")
	if err != nil {
		return err
	}
	if copying {
		a.Copy(ctx, redirectURI)
	}
	a.Say("\n%s", steps[2])
	return nil
}

func (a *app) relayPageCmd() *cobra.Command {
	return &cobra.Command{
		Use:   "relay-page",
		Short: "Print the page that sends the browser back to this machine",
		Long: `Exact sends the browser to public https addresses only. If you have a static web
host, this one file brings the browser back by itself: upload it unchanged to the
address that you register as Redirect URI, and set up the profile with --relay.

The page sends the browser to exactauth's port on http://127.0.0.1 and nowhere else.
It loads nothing and stores nothing. Your host's log will have the code, which is
useless without the client secret and used up within seconds. Let the host send
"X-Frame-Options: DENY", so that no other page can put this one into a frame. The
host must have no open redirect, which sends visitors wherever the address says (RFC
9700, 4.1.3).`,
		Example: `  exactauth relay-page > callback.html      then upload it
  exactauth setup --relay --redirect-uri https://login.example.com/callback.html`,
		Args: cobra.NoArgs,
		RunE: a.runE(0, func(context.Context, []string) error { return a.Print(callback.RelayPage()) }),
	}
}
