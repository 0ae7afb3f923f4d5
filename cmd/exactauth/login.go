package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/spf13/cobra"

	"github.com/exactauth/exactauth/internal/callback"
	"github.com/exactauth/exactauth/internal/config"
	"github.com/exactauth/exactauth/internal/exactauth"
	"github.com/exactauth/exactauth/internal/fault"
	"github.com/exactauth/exactauth/internal/record"
	"github.com/exactauth/exactauth/internal/term"
)

type loginOptions struct {
	noBrowser, paste, forceLogin, replace bool
}

func (a *app) loginCmd() *cobra.Command {
	var o loginOptions
	cmd := &cobra.Command{
		Use:     "login",
		GroupID: "setup",
		Short:   "Sign in to Exact Online in the browser",
		Long: `Prints the address to sign in at, opens it in the browser, and waits for the
browser to come back. If it ends on a page that cannot be reached, copy the whole
address from the address bar and paste it here: its code is good for 3 minutes.

$BROWSER names another browser. A login that fails leaves the one before as it was.`,
		Example: `  exactauth login
  exactauth login --no-browser           on a server: open it elsewhere, paste
  exactauth login --force-login -p acme  with another account than the browser's`,
		Args: cobra.NoArgs,
		RunE: a.runE(loginTimeout, func(ctx context.Context, _ []string) error { return a.login(ctx, o) }),
	}
	f := cmd.Flags()
	f.BoolVar(&o.noBrowser, "no-browser", false, "only print the address")
	f.BoolVar(&o.paste, "paste", false, "take a pasted address from stdin even if that is no terminal")
	f.BoolVar(&o.forceLogin, "force-login", false, "ask for the account even if the browser is signed in")
	f.BoolVar(&o.replace, "replace", false, "let another user or app take this profile over")
	return cmd
}

func (a *app) login(ctx context.Context, o loginOptions) error {
	p, c, err := a.current()
	if err != nil {
		return err
	}
	over, restore := func() {}, func() {}
	options := exactauth.LoginOptions{
		ForceLogin: o.forceLogin,
		Replace:    o.replace,
		Language:   a.Language(),
		Show:       func(i exactauth.Invitation) { over = a.invite(ctx, i, o) },
		// What follows is not cut off by a first Ctrl-C, and a second ends the program
		// at once: the terminal must be as it was by then.
		Waited: func() { over(); restore() },
	}
	if o.paste || a.Interactive() {
		if options.Paste, restore, err = a.Paste(); err != nil {
			return err
		}
		defer restore()
	}
	done, err := c.Login(ctx, options)
	if err != nil {
		return a.loginError(err)
	}
	a.warnOfTwins(ctx, p, done.User)
	return a.showLogin(p, done)
}

// warnOfTwins names the profiles that this sign-in has ended: Exact keeps one
// login per app and user (help.eenvoudigfactureren.be 101000381087).
func (a *app) warnOfTwins(ctx context.Context, p config.Settings, user record.User) {
	conf, err := config.Read(a.Env)
	if err != nil || user.ID == "" {
		return // nothing is known that could be said
	}
	for _, name := range conf.Names() {
		other, err := config.Settle(name, conf.Profiles[name])
		if err != nil || name == p.Name || other.BaseURL != p.BaseURL || other.ClientID != p.ClientID {
			continue
		}
		c, err := a.client(other)
		if err != nil {
			continue
		}
		if s, err := c.Status(ctx); err == nil && s.SignedIn && s.User.ID == user.ID {
			a.Note(fmt.Sprintf("profile %s has the same app and user, and Exact keeps one login for both: this sign-in has ended that one; register an app for each", name))
		}
	}
}

// loginError adds the flag that a refusal to overwrite asks for.
func (a *app) loginError(err error) error {
	var taken *exactauth.TakenError
	switch {
	case errors.As(err, &taken):
		return &hinted{err, `give that login a profile of its own: "exactauth setup --profile NAME"; or replace this one: "exactauth login --replace --profile ` + a.profileName + `"`}
	case errors.Is(err, fault.ErrConfig) && errors.Is(err, callback.ErrPort):
		return &hinted{err, `end that program; or choose another port in "exactauth setup --redirect-uri" and the App Center; or sign in without it, with EXACTAUTH_LISTEN=none in the environment`}
	}
	return err
}

// invite shows the way to the browser. The address stands alone on its line, so
// that it can be copied from any terminal, and before anything else is tried. What
// it gives is called when the wait for the person is over.
func (a *app) invite(ctx context.Context, i exactauth.Invitation, o loginOptions) (over func()) {
	a.Say("Sign in to Exact Online at this address:\n\n%s\n", i.URL)
	opening := !o.noBrowser && a.CanOpen()
	if !o.noBrowser && !opening {
		a.Say("There is no browser here: open it in the browser of the machine that you sit at.")
	}
	if advice := a.returnAdvice(i, o, opening); advice != "" {
		a.Say("%s", advice)
	}
	if i.SelfSigned {
		if i.Loopback {
			a.Say("If it warns of the certificate there, that is exactauth's own: continue.")
		} else {
			a.Say("If it warns of the certificate there, continue only if the name is in your\nhosts file: then it is exactauth's own. Else do not, and paste.")
		}
	}
	end, limited := ctx.Deadline()
	switch {
	case a.Spins():
		a.Say("The code that the browser brings is good for 3 minutes.")
	case limited:
		a.Say("Waiting until %s; the code that the browser brings is good for 3 minutes.", end.Local().Format("15:04:05"))
	}
	if opening {
		a.Open(i.URL)
	}
	if !i.Listening {
		return a.Spin(ctx, "waiting for the address that you paste", end)
	}
	return a.Spin(ctx, "waiting for the browser", end)
}

// returnAdvice says what the person will see when the browser comes back, and
// what to do if it cannot get here.
func (a *app) returnAdvice(i exactauth.Invitation, o loginOptions, opening bool) string {
	paste := "copy the whole address from its address bar and paste it here."
	pasting := o.paste || a.Interactive()
	where := a.Where()
	switch {
	case !i.Listening:
		return "The browser ends on a page that cannot be reached. That is right:\n" + paste
	case !pasting && i.Loopback:
		return ""
	case !pasting:
		return fmt.Sprintf("The browser must be able to reach %s on this machine.", i.RedirectURI)
	case i.Loopback && opening && where.Editor:
		return fmt.Sprintf("VS Code opens it on your own machine and forwards port %s back here.\nIf the browser then says that a page cannot be reached,\n%s", i.Port, paste)
	case i.Loopback && opening && where.Container == "WSL":
		return "The browser of Windows comes back by itself. If a page cannot be reached,\n" + paste
	case i.Loopback && where.SSH && !opening:
		host, err := os.Hostname()
		if err != nil {
			host = "HOST"
		}
		return fmt.Sprintf("It will say that it cannot reach 127.0.0.1:\n%s\nOr connect with ssh -L %s:127.0.0.1:%[2]s %s, and it comes back by itself.", paste, i.Port, host)
	case !opening, where.Container == "a container":
		return "If the browser then says that a page cannot be reached,\n" + paste
	case !i.Loopback:
		return fmt.Sprintf("If the browser then says that it cannot reach\n%s\n%s", i.RedirectURI, paste)
	}
	return "If the browser runs on another machine:\n" + paste
}

func (a *app) showLogin(p config.Settings, done exactauth.Login) error {
	if done.UserError != nil {
		a.Note("signed in, but it is not known as whom: " + done.UserError.Error())
	}
	if a.JSON {
		return a.PrintJSON(struct {
			Profile          string    `json:"profile"`
			BaseURL          string    `json:"base_url"`
			UserID           string    `json:"user_id,omitempty"`
			UserName         string    `json:"user_name,omitempty"`
			FullName         string    `json:"full_name,omitempty"`
			Email            string    `json:"email,omitempty"`
			CurrentDivision  int       `json:"current_division,omitempty"`
			Division         int       `json:"division,omitempty"`
			AccessExpiresAt  time.Time `json:"access_expires_at"`
			RefreshExpiresAt time.Time `json:"refresh_expires_at"`
		}{p.Name, p.BaseURL, done.User.ID, done.User.UserName, done.User.FullName, done.User.Email, done.User.Division,
			p.Division, seconds(done.Token.ExpiresAt), seconds(done.RefreshExpiresAt)})
	}
	a.Say("") // apart from the invitation
	t := term.Table{{"Signed in as", cmpUser(done.User)}}
	if done.User.Division != 0 {
		t.Add("Current division", done.User.Division)
	}
	t.Add("Profile", p.Name)
	t.Add("Lapses on", done.RefreshExpiresAt.Local().Format("2 January 2006")+", unless a token is fetched before")
	return a.Print(t.String())
}

func cmpUser(m record.User) string {
	if m.ID == "" {
		return "(unknown)"
	}
	return m.String()
}

// seconds is how moments stand in JSON: UTC, without fractions.
func seconds(t time.Time) time.Time { return t.UTC().Truncate(time.Second) }
