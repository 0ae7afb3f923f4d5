package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/url"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/exactauth/exactauth/internal/auth0"
	"github.com/exactauth/exactauth/internal/callback"
	"github.com/exactauth/exactauth/internal/fault"
	"github.com/exactauth/exactauth/internal/term"
)

// auth0TestTimeout limits the person's sign-in. If Auth0 shows an error page, the
// browser never comes back.
const auth0TestTimeout = 2 * time.Minute

type auth0TestOptions struct {
	*auth0Options
	app, secretFile, callback string
	urlOnly, noBrowser        bool
}

func (a *app) auth0TestCmd(common *auth0Options) *cobra.Command {
	o := auth0TestOptions{auth0Options: common}
	cmd := &cobra.Command{
		Use:   "test",
		Short: "Sign in through the connection and show the user",
		Long: `Signs you in to an Auth0 app through its connection to Exact Online, as "Try" in
Auth0's dashboard does: in the browser, with PKCE, and with a verified id_token. It
shows who you are according to Auth0. Nothing is stored.

--callback must be one of the app's Allowed Callback URLs, letter by letter:
"exactauth auth0 setup --app APP --allow-test-callback" adds it. An app with a secret
needs --app-secret-file, AUTH0_APP_SECRET or AUTH0_APP_SECRET_FILE. The default of
--timeout is 2 minutes here.`,
		Example: `  exactauth auth0 test --auth0-domain acme.eu.auth0.com \
      --app vG9oZ1mXQ2sT7kLpB4cN8dRfY5hJ3wAe
  exactauth auth0 test --auth0-domain acme.eu.auth0.com \
      --custom-domain login.acme.example --app "My app" \
      --app-secret-file app-secret.txt --json
  exactauth auth0 test --url-only --app "My app"      for another browser`,
		Args: cobra.NoArgs,
		RunE: a.runE(auth0TestTimeout, func(ctx context.Context, _ []string) error { return a.auth0Test(ctx, o) }),
	}
	f := cmd.Flags()
	f.StringVar(&o.app, "app", "", "client id of the Auth0 app to sign in to, or its name, which needs the credentials to manage the tenant (default: AUTH0_APP)")
	f.StringVar(&o.secretFile, "app-secret-file", "", "file with the app's client secret; - is stdin")
	f.StringVar(&o.callback, "callback", auth0.DefaultCallback, "where the browser comes back to: http on a loopback address")
	f.BoolVar(&o.urlOnly, "url-only", false, "print an address for another browser, and end")
	f.BoolVar(&o.noBrowser, "no-browser", false, "only print the address, and wait")
	return cmd
}

func (a *app) auth0Test(ctx context.Context, o auth0TestOptions) error {
	if o.urlOnly && o.noBrowser {
		return usagef("--url-only and --no-browser cannot be combined")
	}
	d, err := a.tenantDomains(*o.auth0Options)
	if err != nil {
		return err
	}
	s := auth0.SignIn{
		Server:     a.auth0Server(d.signIn),
		Connection: cmp.Or(o.connection, auth0.Strategy),
		Callback:   o.callback,
		Language:   a.Language(),
	}
	name := cmp.Or(o.app, a.Env("AUTH0_APP"))
	if name == "" {
		return &hinted{usagef("the app to sign in to is missing (--app or AUTH0_APP)"), "find its client id in Auth0's dashboard: " + dashboardClientID}
	}
	if s.ClientID, err = a.findTestApp(ctx, d, name); err != nil {
		return a.auth0Error(err, d)
	}
	if o.urlOnly {
		return a.auth0Error(a.showAddress(ctx, s), d)
	}
	if s.ClientSecret, err = a.givenSecret(ctx, "--app-secret-file", o.secretFile, "AUTH0_APP_SECRET"); err != nil {
		return err
	}
	user, err := s.Run(ctx, func(address string) { a.inviteToAuth0(ctx, address, o) })
	if refused := (*callback.RefusedError)(nil); errors.Is(err, fault.ErrDenied) && !errors.As(err, &refused) {
		// Auth0 or Exact shows an error page, and the browser never comes back.
		flag := ""
		if o.callback != auth0.DefaultCallback {
			flag = " --callback " + o.callback
		}
		return &hinted{err, fmt.Sprintf("if Auth0 showed \"Callback URL mismatch\", the app does not allow %s, letter by letter: exactauth auth0 setup%s --app %s --allow-test-callback%s; if Exact showed an error, its App Center must have %s",
			o.callback, d.flags(), clientIDToType(s.ClientID, "APP"), flag, d.signIn.Callback())}
	}
	if err != nil {
		return a.auth0Error(err, d)
	}
	return a.showAuth0User(s, user)
}

func (a *app) inviteToAuth0(ctx context.Context, address string, o auth0TestOptions) {
	a.Say("Sign in to Exact Online through Auth0 at this address:\n\n%s\n", address)
	opening := !o.noBrowser && a.CanOpen()
	a.Say("Exact may ask to \"Install unlisted app\": that page is Exact's own and appears once.")
	if !opening {
		u, _ := url.Parse(o.callback) // SignIn.Run has checked it
		a.Say("The browser comes back to %s, so it must be on this machine,\nor on one that is connected with ssh -L %s:127.0.0.1:%[2]s.", o.callback, u.Port())
	}
	if end, ok := ctx.Deadline(); ok {
		a.Say("Waiting until %s.", end.Local().Format("15:04:05"))
	}
	if opening {
		a.Open(address)
	}
}

// showAddress prints an address for a browser that cannot come back here. The browser's
// address bar shows how far it gets.
func (a *app) showAddress(ctx context.Context, s auth0.SignIn) error {
	address, err := s.Address(ctx)
	if err != nil {
		return err
	}
	if err := a.Result(map[string]string{"url": address, "callback": s.Callback}, address+"\n"); err != nil || a.JSON {
		return err
	}
	a.Say(`
Open it in any browser and sign in at Exact. The browser ends on a page that cannot be
reached, %s?...
If its address has code=, the connection works; if it has error=, that is the reason.
The code cannot be used. If Auth0 shows "Callback URL mismatch" instead, the app does
not allow that callback.`, s.Callback)
	return nil
}

func (a *app) showAuth0User(s auth0.SignIn, u auth0.User) error {
	provider, _, _ := strings.Cut(u.Subject, "|")
	if provider != auth0.Strategy {
		a.Note(fmt.Sprintf("Auth0 returned a user of %q, not of %q: accounts may be linked", provider, auth0.Strategy))
	}
	if a.JSON {
		return a.PrintJSON(struct {
			auth0.User
			Connection string `json:"connection"`
			ClientID   string `json:"client_id"`
		}{u, s.Connection, s.ClientID})
	}
	a.Say("") // between the invitation and the result
	var t term.Table
	t.Add("Signed in as", u)
	t.Add("Subject (sub)", u.Subject)
	if u.Name != "" {
		t.Add("Name", u.Name)
	}
	if u.Email != "" {
		verified := "not verified by Auth0"
		if u.EmailVerified {
			verified = "verified"
		}
		t.Add("E-mail", u.Email+", "+verified)
	}
	if u.Division != 0 {
		t.Add("Division", u.Division)
	}
	t.Add("Connection", s.Connection)
	t.Add("Issuer", u.Issuer)
	t.Add("App", fault.Printable(s.ClientID))
	return a.Print(t.String())
}
