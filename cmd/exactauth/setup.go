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

	"github.com/exactauth/exactauth/internal/config"
	"github.com/exactauth/exactauth/internal/fault"
	"github.com/exactauth/exactauth/internal/term"
	"github.com/exactauth/exactauth/internal/tokenstore/pgstore"
)

type setupOptions struct {
	config.Profile
	secretFile string
}

func (a *app) setupCmd() *cobra.Command {
	var o setupOptions
	cmd := &cobra.Command{
		Use:     "setup",
		GroupID: "setup",
		Short:   "Set up a profile: which registered app, where",
		Long: `Sets up a profile, or changes one: values that are not given stay, and those given
empty go (--listen "", --relay=false, --division 0). On a terminal it guides you
through registering an app in Exact's App Center and asks for what is missing.
Without one everything comes from flags, the environment or stdin.

The client secret is never taken from the command line, where other users could
read it: it is asked for, or comes from --client-secret-file, EXACTAUTH_CLIENT_SECRET,
EXACTAUTH_CLIENT_SECRET_FILE or a command (--client-secret-command "pass show exact").
It is kept with the tokens; a command is run whenever it is needed instead.

The tokens are kept in a file of yours; with --store in a PostgreSQL database that
several machines share. They are kept as they are; with --seal as age files whose key
is in the keyring or in a file. Both can be changed later: the login moves along.`,
		Example: `  exactauth setup
  exactauth setup -p acme --region be --division 123456 \
      --client-id 5f3b1c1e-7c0e-4d0a-9b1f-0a6d6f0e2c11 \
      --client-secret-file secret.txt
  exactauth setup -p acme --seal keyring
  exactauth setup -p acme \
      --store "postgres://exactauth@db.example/exactauth?sslmode=verify-full"`,
		Args: cobra.NoArgs,
	}
	cmd.RunE = a.runE(0, func(ctx context.Context, _ []string) error { return a.setup(ctx, o, cmd.Flags().Changed) })
	var codes []string
	for _, r := range config.Regions() {
		codes = append(codes, r.Code)
	}
	f := cmd.Flags()
	f.StringVar(&o.Region, "region", "", "country of your Exact Online: "+strings.Join(codes, ", ")+" (default nl)")
	f.StringVar(&o.BaseURL, "base-url", "", "instead of --region: where Exact Online is, as https://start.exactonline.nl")
	f.StringVar(&o.ClientID, "client-id", "", "client id from the App Center, a GUID")
	f.StringVar(&o.secretFile, "client-secret-file", "", "file with the client secret; - is stdin")
	f.StringVar(&o.ClientSecretCommand, "client-secret-command", "", "command that prints the client secret")
	f.StringVar(&o.RedirectURI, "redirect-uri", "", "redirect URI exactly as registered (default "+config.DefaultRedirectURI+")")
	f.StringVar(&o.Listen, "listen", "", "where the browser arrives if not at the redirect URI: http://127.0.0.1:PORT, or none")
	f.BoolVar(&o.Relay, "relay", false, "a relay page at the redirect URI sends the browser on to this machine")
	f.StringVar(&o.TLSCert, "tls-cert", "", "certificate (PEM file) for the redirect URI's name, instead of exactauth's own")
	f.StringVar(&o.TLSKey, "tls-key", "", "key (PEM file) of that certificate")
	f.IntVar(&o.Division, "division", 0, "pin this division for scripts")
	f.StringVar(&o.Store, "store", "", "where the tokens are kept: file, postgres://USER@HOST/DATABASE, or @FILE with that address in it (default file)")
	f.StringVar(&o.Seal, "seal", "", "how the tokens are sealed: none, keyring, or age:FILE with an age identity in it (default none)")
	complete(cmd, "region", codes...)
	complete(cmd, "store", storeFile, "postgres://", storeInFile)
	complete(cmd, "seal", sealNone, sealKeyring, sealAge)
	completeBy(cmd, "division", a.completeDivisions)
	return cmd
}

// without takes out of c what flags were given empty for, which is another thing than
// not to give them: Under, which lays the others over it, does not tell the two apart.
func (o setupOptions) without(c config.Profile, given func(flag string) bool) (left config.Profile, taken bool, err error) {
	empty := func(flag string, is bool) bool {
		taken = taken || is && given(flag)
		return is && given(flag)
	}
	place := o.Region + o.BaseURL // either of them replaces both
	for _, f := range []struct{ flag, is, was string }{
		{"region", place, c.Region}, {"base-url", place, c.BaseURL}, {"client-id", o.ClientID, c.ClientID},
		{"store", o.Store, c.Store}, {"seal", o.Seal, c.Seal},
	} {
		// They have words for what is usual, or none is. An empty variable in a script is
		// not to take a seal off.
		if empty(f.flag, f.is == "") && f.was != "" {
			return c, taken, &hinted{usagef("--%s: it is empty, and the profile has one", f.flag), "leave it out, or say which: exactauth setup --help"}
		}
	}
	for _, f := range []struct {
		flag, is string
		of       *string
	}{
		{"redirect-uri", o.RedirectURI, &c.RedirectURI}, {"listen", o.Listen, &c.Listen}, {"tls-cert", o.TLSCert, &c.TLSCert},
		{"tls-key", o.TLSKey, &c.TLSKey}, {"client-secret-command", o.ClientSecretCommand, &c.ClientSecretCommand},
	} {
		if empty(f.flag, f.is == "") {
			*f.of = ""
		}
	}
	if empty("relay", !o.Relay) {
		c.Relay = false
	}
	if empty("division", o.Division == 0) {
		c.Division = 0
	}
	return c, taken, nil
}

func (a *app) setup(ctx context.Context, o setupOptions, given func(flag string) bool) error {
	conf, err := a.readConfig()
	if err != nil {
		return err
	}
	name, err := a.nameIn(conf)
	if err != nil {
		return err
	}
	a.profileName = name
	for other := range conf.Profiles {
		if other != name && strings.EqualFold(other, name) {
			return usagef("profile %s: there is %s already, and some systems do not tell their records apart", name, other)
		}
	}
	env, err := a.envConfig()
	if err != nil {
		return err
	}
	if pgstore.HasPassword(o.Store) {
		return &hinted{usagef("--store: other users can read a password that stands on the command line"),
			"leave it out, and give it by PGPASSFILE, by PGPASSWORD, or with the whole address in EXACTAUTH_STORE or in a file: --store @FILE"}
	}
	o.Store, o.Seal = absolute(o.Store, storeInFile), absolute(o.Seal, sealAge)
	before := conf.Profiles[name]
	table, taken, err := o.without(before.Under(env), given)
	if err != nil {
		return err
	}
	table = table.Under(o.Profile)
	if o.Division < 0 {
		return usagef("--division %d: a division's code is a positive number", o.Division)
	}
	keptStore := table.Store
	if pgstore.HasPassword(keptStore) && keptStore == env.Store {
		keptStore = before.Store // with its password it is for the environment alone
		a.Note("the store's address has a password in it and is not written to the configuration: have EXACTAUTH_STORE set whenever this profile is used")
	}
	if err := noPassword(name, keptStore); err != nil {
		return err
	}
	secret, err := a.setupSecret(ctx, o, table)
	if err != nil {
		return err
	}
	lived, err := a.decide(name, before.Under(env)) // where its record is by now
	if err != nil || before == (config.Profile{}) {
		lived = config.Settings{}
	}
	known, err := a.knownSecret(ctx, name, table, lived)
	if err != nil {
		return err
	}
	haveSecret := !secret.IsZero() || table.ClientSecretCommand != "" || known
	if a.Interactive() {
		g := &guide{a}
		again := o == setupOptions{} && !taken && table.ClientSecretCommand == ""
		if table, secret, err = g.run(ctx, name, table, secret, haveSecret, again); err != nil {
			return err
		}
	} else if err := missingForSetup(name, table, haveSecret, a.decide); err != nil {
		return err
	}
	p, err := a.decide(name, table)
	if err != nil {
		return err
	}
	save := table
	save.Store = keptStore
	if lived.Name == "" {
		lived = p
	}
	return a.saveSetup(ctx, lived, p, save, secret)
}

// setupSecret gives the secret that is to be kept, zero if none was given.
func (a *app) setupSecret(ctx context.Context, o setupOptions, table config.Profile) (fault.Secret, error) {
	switch {
	case o.secretFile == "-":
		return readSecret("standard input", a.In)
	case o.secretFile != "":
		return readSecretFile("--client-secret-file", o.secretFile)
	}
	return a.clientSecret(ctx, config.Settings{}) // a command is run by those who need the secret
}

// knownSecret reports whether the record has the secret of this very client. The
// record is where it lived, unless a change of its place was cut off.
func (a *app) knownSecret(ctx context.Context, name string, table config.Profile, lived config.Settings) (known bool, err error) {
	p, err := a.decide(name, table)
	if err != nil {
		return false, nil // what is wrong is told later, all at once
	}
	at := []config.Settings{p}
	if lived.Name != "" && (lived.Store != p.Store || lived.Seal != p.Seal) {
		before := p
		before.Store, before.Seal = lived.Store, lived.Seal
		at = []config.Settings{before, p}
	}
	looked := false // in one of them; the other then need not be readable
	for _, p := range at {
		c, openErr := a.client(p)
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

// missingForSetup tells all that is missing or wrong in one error.
func missingForSetup(name string, table config.Profile, haveSecret bool, decide func(string, ...config.Profile) (config.Settings, error)) error {
	var missing []string
	wrong := table
	if table.ClientID == "" {
		missing = append(missing, "client id (--client-id or EXACTAUTH_CLIENT_ID)")
		wrong.ClientID = "00000000-0000-0000-0000-000000000000" // its absence is told once
	}
	if !haveSecret {
		missing = append(missing, `client secret (--client-secret-file FILE, "-" for stdin, or EXACTAUTH_CLIENT_SECRET)`)
	}
	_, err := decide(name, wrong)
	switch {
	case len(missing) == 0:
		return err
	case err == nil:
		return usagef("profile %s: missing: %s", name, strings.Join(missing, "; "))
	}
	return usagef("%w; missing: %s", err, strings.Join(missing, "; "))
}

func (a *app) saveSetup(ctx context.Context, lived, p config.Settings, table config.Profile, secret fault.Secret) error {
	ctx, cancel := context.WithTimeout(ctx, defaultTimeout)
	defer cancel()
	c, err := a.client(p)
	if err != nil {
		return err
	}
	moved, err := a.moveRecord(ctx, lived, p)
	if err != nil {
		return err
	}
	// The record first: a configuration without its secret would be half a profile.
	keep := table.ClientSecretCommand == "" // else a stored one would be one copy too many
	if err := c.SetClientSecret(ctx, secret, keep); err != nil {
		if errors.Is(err, fault.ErrConfig) {
			return &hinted{err, fmt.Sprintf(`use another name: "exactauth setup --profile NAME"; or end that login: "exactauth logout --profile %s"`, p.Name)}
		}
		return err
	}
	table.ClientID = p.ClientID // as it is sent
	isDefault := false
	err = a.changeConfig(ctx, func(conf *config.Config) error {
		if conf.Default == "" {
			conf.Default = p.Name
		}
		isDefault = conf.Default == p.Name
		conf.Profiles[p.Name] = table
		return nil
	})
	if err != nil {
		return err
	}
	if err := moved(ctx); err != nil {
		return err
	}
	if a.JSON {
		dir, err := a.configDir()
		if err != nil {
			return err
		}
		return a.PrintJSON(map[string]string{"profile": p.Name, "base_url": p.BaseURL, "client_id": p.ClientID,
			"redirect_uri": p.RedirectURI, "store": redacted(p.Store), "seal": p.Seal, "config": filepath.Join(dir, config.Name)})
	}
	a.Say("Profile %s is set up for %s.", p.Name, p.BaseURL)
	if lived.Store != p.Store || lived.Seal != p.Seal {
		a.Say("It is kept in %s now, seal %s.", redacted(p.Store), p.Seal)
	}
	if s, err := c.Status(ctx); err == nil && s.SignedIn {
		a.Say("It stays signed in.")
		return nil
	}
	a.Say("The App Center must have exactly this Redirect URI:\n\n%s\n", p.RedirectURI)
	if a.Interactive() {
		a.explainRedirect(ctx, p)
	}
	next := "exactauth login"
	if !isDefault {
		next += " --profile " + p.Name
	}
	a.Say("Next: %s", next)
	return nil
}

// explainRedirect says what the browser will do at the end of a sign-in, which
// depends on where the name in the redirect URI leads on this machine.
func (a *app) explainRedirect(ctx context.Context, p config.Settings) {
	u, err := url.Parse(p.RedirectURI)
	if err != nil || u.Scheme != "https" || p.Relay || p.Listen != "" || net.ParseIP(u.Hostname()) != nil || u.Hostname() == "localhost" {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, 2*time.Second)
	defer cancel()
	addrs, err := net.DefaultResolver.LookupHost(ctx, u.Hostname())
	switch {
	case err == nil && slices.Contains(addrs, "127.0.0.1"):
		a.Say("%s leads to this machine: after signing in the browser comes back by itself.\n", u.Hostname())
		return
	case err == nil:
		a.Say("Attention: %s leads to %s, which will see your codes.\n"+
			"They are useless without the client secret; still, a name that leads\n"+
			"nowhere is better.\n", u.Hostname(), strings.Join(addrs, ", "))
	default:
		a.Say("%s leads nowhere, so your codes go nowhere. After\n"+
			"signing in the browser says that the page cannot be reached, and you\n"+
			"copy the address from its address bar into the terminal.\n", u.Hostname())
	}
	file := "/etc/hosts"
	if runtime.GOOS == "windows" {
		file = `C:\Windows\System32\drivers\etc\hosts`
	}
	a.Say("To have it come back by itself, add this line to %s:\n\n127.0.0.1 %s\n", file, u.Hostname())
}

// guide asks a person on a terminal for what is missing.
type guide struct{ *app }

// run asks for what table and secret lack. again has it ask for a secret though
// there is one, since who calls setup without a flag may have mistyped it.
func (g *guide) run(ctx context.Context, name string, table config.Profile, secret fault.Secret, haveSecret, again bool) (config.Profile, fault.Secret, error) {
	if table.ClientID != "" && haveSecret && !again {
		return table, secret, nil
	}
	g.Say("Setting up profile %s. Ctrl-C ends this without a change.", name)
	if table.Region == "" && table.BaseURL == "" {
		region, err := g.askRegion(ctx)
		if err != nil {
			return table, secret, err
		}
		table.Region = region.Code
	}
	if table.ClientID == "" {
		if err := g.explain(ctx, table); err != nil {
			return table, secret, err
		}
		for table.ClientID == "" {
			answer, err := g.Ask(ctx, "Client ID: ")
			if err != nil {
				return table, secret, err
			}
			if answer == "" {
				continue
			}
			trial := table
			trial.ClientID = config.NormalClientID(answer)
			if _, err := g.decide(name, trial); err != nil {
				g.Say("%v", err)
				continue
			}
			table = trial
		}
	}
	for {
		question := "Client Secret (not shown): "
		if haveSecret {
			question = "Client Secret (not shown; Enter keeps the one there is): "
		}
		line, err := g.AskSecret(ctx, question)
		if err != nil {
			return table, secret, err
		}
		if haveSecret && line == "" {
			return table, secret, nil
		}
		if given, err := readSecret("Client Secret", strings.NewReader(line)); err == nil {
			return table, given, nil
		} else {
			g.Say("%v", err)
		}
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

func (g *guide) explain(ctx context.Context, table config.Profile) error {
	redirect := table.RedirectURI
	if redirect == "" {
		redirect = config.DefaultRedirectURI
	}
	country := "your country"
	if r, err := config.ParseRegion(table.Region); err == nil {
		country = r.Country
	}
	g.Say(`
Register an app in Exact's App Center, once. Your user needs the right
"Manage subscription" (Master data > Users > Rights).

  1. Open %s, choose %s, and sign in.
  2. Menu: Manage my apps (or: Register API keys). "Add a new application".
  3. Give it a name, such as "exactauth", and this Redirect URI:

%s

     exactly as it stands here: Exact compares it letter by letter.
  4. Save. Then Edit, section Authorization: Client ID and Client Secret are
     there. Copy both now: the secret may be shown only once.
`, appCenter, country, redirect)
	if !g.CanOpen() {
		return nil
	}
	open, err := g.Confirm(ctx, "Open the App Center in the browser now?")
	if err != nil {
		return err
	}
	if open {
		g.Open(appCenter)
	}
	g.Say("")
	return nil
}
