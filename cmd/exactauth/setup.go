package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net"
	"net/url"
	"path/filepath"
	"runtime"
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
		Use:     "setup",
		GroupID: "setup",
		Short:   "Set up a profile: which registered app, where",
		Long: `Sets up a profile or changes one. Settings you omit are kept; an empty value removes
the setting (--listen "", --relay=false, --division 0). On a terminal it guides you
through registering an app in Exact's App Center and asks for what is missing.
Without a terminal everything comes from flags, the environment or stdin.

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

// settingFlag is the flag of a setting.
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
	if a.Interactive() {
		again := len(o.given) == 0 && o.secretFile == "" && table["client_secret_command"] == ""
		if secret, err = a.guide(ctx, name, table, secret, haveSecret, again); err != nil {
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
	return a.within(ctx, defaultTimeout, func(ctx context.Context) error { return a.saveSetup(ctx, old, p, table, secret) })
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

func (a *app) saveSetup(ctx context.Context, old, p config.Settings, table config.Values, secret fault.Secret) (err error) {
	c, err := a.client(ctx, p)
	if err != nil {
		return err
	}
	had, knownErr := c.Known(ctx)
	moved, err := a.moveRecord(ctx, old, p)
	if err != nil {
		if store := (*tokenstore.Error)(nil); errors.As(err, &store) && store.Kind == tokenstore.Late {
			err = &hinted{err, "the record may be changed already; when this is corrected, run the same \"exactauth setup\" again, which completes it"}
		}
		return err
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
		return err
	}
	if err := moved(ctx); err != nil {
		return err
	}
	if weak := a.weakness(ctx, p); weak != "" {
		a.Note(weak)
	}
	if a.JSON {
		dir, err := config.Dir(a.Env)
		if err != nil {
			return err
		}
		return a.PrintJSON(map[string]string{"profile": p.Name, "base_url": p.BaseURL, "client_id": p.ClientID,
			"redirect_uri": p.RedirectURI, "store": redacted(p.Store), "seal": p.Seal, "config": filepath.Join(dir, config.FileName)})
	}
	a.Say("Profile %s is set up for %s.", p.Name, p.BaseURL)
	if changed {
		a.Say("Its tokens are stored in %s now, seal %s.", redacted(p.Store), fault.Line(p.Seal))
	}
	if s, err := c.Status(ctx); err == nil && s.SignedIn {
		a.Say("It stays signed in.")
		return nil
	}
	a.Say("The App Center must have exactly this Redirect URI:\n\n%s\n", p.RedirectURI)
	if a.Interactive() {
		a.explainRedirect(ctx, p)
	}
	a.Say("Next: exactauth login%s", a.profileFlag(p.Name))
	return nil
}

// redirectName looks up the name in the redirect URI, which decides what the browser
// does at the end of a sign-in. It returns an empty name if the browser does not come
// back by that name.
func redirectName(ctx context.Context, p config.Settings) (name string, addrs []string) {
	u, err := url.Parse(p.RedirectURI)
	if err != nil || u.Scheme != "https" || p.Relay || p.Listen != "" || net.ParseIP(u.Hostname()) != nil || u.Hostname() == "localhost" {
		return "", nil
	}
	ctx, cancel := context.WithTimeout(ctx, 3*time.Second)
	defer cancel()
	addrs, _ = net.DefaultResolver.LookupHost(ctx, u.Hostname())
	return u.Hostname(), addrs
}

// explainRedirect says what the browser will do at the end of a sign-in.
func (a *app) explainRedirect(ctx context.Context, p config.Settings) {
	name, addrs := redirectName(ctx, p)
	switch {
	case name == "":
		return
	case slices.Contains(addrs, "127.0.0.1"):
		a.Say("%s leads to this machine: after the sign-in the browser comes back by itself.\n", name)
		return
	case len(addrs) > 0:
		a.Say("Attention: %s leads to %s, which will see your codes.\n"+
			"They are useless without the client secret; still, a name that leads\n"+
			"nowhere is better.\n", name, strings.Join(addrs, ", "))
	default:
		a.Say("%s leads nowhere, so your codes go nowhere. After the\n"+
			"sign-in the browser says that the page cannot be reached, and you copy\n"+
			"the address from its address bar into the terminal.\n", name)
	}
	file := "/etc/hosts"
	if runtime.GOOS == "windows" {
		file = `C:\Windows\System32\drivers\etc\hosts`
	}
	a.Say("To make it come back by itself, add this line to %s:\n\n127.0.0.1 %s\n", file, name)
}

// guide asks a person on a terminal for what table and secret lack, and changes table.
// again makes it ask for a secret that is there: a person who calls setup without a
// flag may have mistyped it.
func (a *app) guide(ctx context.Context, name string, table config.Values, secret fault.Secret, haveSecret, again bool) (fault.Secret, error) {
	if table["client_id"] != "" && haveSecret && !again {
		return secret, nil
	}
	a.Say("Setting up profile %s. Ctrl-C ends this without a change.", name)
	if table["region"] == "" && table["base_url"] == "" {
		region, err := a.askRegion(ctx)
		if err != nil {
			return secret, err
		}
		table["region"] = region.Code
	}
	if table["client_id"] == "" {
		if err := a.explainRegistration(ctx, table); err != nil {
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

// registrationSteps explains how to register an app of that name at Exact. The region is
// zero if it is not known. The Redirect URI is alone on its line, to be copied.
func registrationSteps(region config.Region, name, redirectURI string) string {
	return fmt.Sprintf(`  1. Open %s, choose %s, and sign in.
     The app works in that country only.
  2. Menu: Manage my apps (or: Register API keys). "Add a new application".
  3. Give it a name, such as %q, and this Redirect URI:

%s

     exactly as shown: Exact compares it letter by letter.
  4. Save. Then Edit, section Authorization: Client ID and Client Secret are
     there. Copy both now: the secret may be shown only once.
`, appCenter, cmp.Or(region.Country, "your country"), name, redirectURI)
}

// explainRegistration says how to register an app, and offers to open the App Center.
func (a *app) explainRegistration(ctx context.Context, table config.Values) error {
	region, _ := config.ParseRegion(table["region"]) // there may be none
	a.Say(`
Register an app in Exact's App Center, once. Your user needs the right
"Manage subscription" (Master data > Users > Rights).

%s`, registrationSteps(region, "exactauth", cmp.Or(table["redirect_uri"], config.DefaultRedirectURI)))
	a.Browser = table["browser"]
	if !a.CanOpen() {
		return nil
	}
	open, err := a.Confirm(ctx, "Open the App Center in the browser now?")
	if err != nil {
		return err
	}
	if open {
		a.Open(appCenter)
	}
	a.Say("")
	return nil
}

func (a *app) relayPageCmd() *cobra.Command {
	return &cobra.Command{
		Use:     "relay-page",
		GroupID: "setup",
		Short:   "Print the page that sends the browser back to this machine",
		Long: `Exact sends the browser to public https addresses only. If you have a static web
host, this one file brings the browser back by itself: upload it unchanged to the
address that you register as Redirect URI, and set up the profile with --relay.

The page sends the browser to exactauth's port on http://127.0.0.1 and nowhere else.
It loads nothing and stores nothing. Your host's log will have the code, which is
useless without the client secret and used up within seconds. Let the host send
"X-Frame-Options: DENY", so that no other page can put this one into a frame. No
address of that host may redirect to wherever its visitor says (RFC 9700, 4.1.3).`,
		Example: `  exactauth relay-page > callback.html      then upload it
  exactauth setup --relay --redirect-uri https://login.example.com/callback.html`,
		Args: cobra.NoArgs,
		RunE: a.runE(0, func(context.Context, []string) error { return a.Print(callback.RelayPage()) }),
	}
}
