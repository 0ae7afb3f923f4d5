package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net"
	"net/url"
	"os"
	"runtime"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/exactauth/exactauth/internal/callback"
	"github.com/exactauth/exactauth/internal/config"
	"github.com/exactauth/exactauth/internal/exactauth"
	"github.com/exactauth/exactauth/internal/fault"
	"github.com/exactauth/exactauth/internal/record"
	"github.com/exactauth/exactauth/internal/term"
	"github.com/exactauth/exactauth/internal/trust"
)

type loginOptions struct {
	browser, tokenFile                    string
	noBrowser, paste, forceLogin, replace bool
}

func (a *app) loginCmd() *cobra.Command {
	var o loginOptions
	cmd := &cobra.Command{
		Use:   "login",
		Short: "Sign in to Exact Online in the browser",
		Long: `Prints the sign-in address, opens it in the browser, and waits for the browser to
come back. It says beforehand whether that happens by itself. If not, the browser ends on
a page that cannot be reached: copy the whole address from its address bar and paste it
here. Its code is valid for 3 minutes.

The browser is the command in --browser, in the profile, in $BROWSER (a list with ":"
between; the first that works), or the system's. A failed login leaves the existing
login untouched.

--refresh-token-file takes over the login of another program, which must use the same
app. Stop that program first: a refresh token works once, so its copy is dead after that.`,
		Example: `  exactauth login
  exactauth login --no-browser           on a server: open it elsewhere, paste
  exactauth login --force-login -p acme  with another account than the browser's
  exactauth login --refresh-token-file storage.json`,
		Args: cobra.NoArgs,
		RunE: a.runE(loginTimeout, func(ctx context.Context, _ []string) error { return a.login(ctx, o) }),
	}
	f := cmd.Flags()
	f.StringVar(&o.browser, "browser", "", "command that opens the address, such as \"firefox -P work\"")
	f.BoolVar(&o.noBrowser, "no-browser", false, "only print the address")
	f.BoolVar(&o.paste, "paste", false, "read a pasted address from stdin even if it is no terminal")
	f.BoolVar(&o.forceLogin, "force-login", false, "ask for the account even if the browser is signed in")
	f.StringVar(&o.tokenFile, "refresh-token-file", "", "take over the login in this `FILE` of another program, or - for stdin")
	f.BoolVar(&o.replace, "replace", false, "let another user or app take over this profile")
	return cmd
}

func (a *app) login(ctx context.Context, o loginOptions) error {
	p, c, err := a.current(ctx)
	if err != nil {
		return err
	}
	if err := a.firstKey(ctx, p); err != nil {
		return fault.In(p.Name, err)
	}
	if o.tokenFile != "" {
		return a.takeOver(ctx, p, c, o)
	}
	a.Browser = cmp.Or(o.browser, p.Browser)
	name, addrs := redirectName(ctx, p)
	back := wayBack{o.paste || a.Interactive(), name, addrs}
	if err := back.none(p); err != nil {
		return fault.In(p.Name, err)
	}
	over, restore := func() {}, func() {}
	options := exactauth.LoginOptions{
		ForceLogin: o.forceLogin,
		Replace:    o.replace,
		Language:   a.Language(),
		Next:       "exactauth token" + a.profileFlag(p.Name),
		Show:       func(i exactauth.Invitation) { over = a.invite(ctx, i, o, back) },
		// After the wait, the first Ctrl-C does not end the program and the second ends it
		// at once, so the terminal's modes must be restored now.
		Waited: func() { over(); restore() },
	}
	if back.pasting {
		if options.Paste, restore, err = a.Paste(); err != nil {
			return err
		}
		defer restore()
	}
	done, err := c.Login(ctx, options)
	if err != nil {
		return loginError(p.Name, err)
	}
	a.warnOfTwins(ctx, p, done.User)
	if err := a.showLogin(p, done); err != nil || !a.Interactive() || a.JSON {
		return err
	}
	a.Say("\nFor a token, any time: %s", options.Next)
	return nil
}

// profileFlag returns what a command needs for this profile: nothing if it is the
// default one.
func (a *app) profileFlag(name string) string {
	if conf, err := config.Read(a.Env); err == nil {
		if chosen, err := conf.Choose(a.Env, ""); err == nil && chosen == name {
			return ""
		}
	}
	return " --profile " + name
}

// warnOfTwins names the profiles whose login this sign-in has ended: Exact keeps one
// login per app and user (help.eenvoudigfactureren.be 101000381087).
func (a *app) warnOfTwins(ctx context.Context, p config.Settings, user record.User) {
	conf, err := config.Read(a.Env)
	if err != nil || user.ID == "" {
		return // the profiles cannot be compared
	}
	for _, name := range conf.Names() {
		other, err := config.Settle(name, conf.Profiles[name])
		if err != nil || name == p.Name || other.BaseURL != p.BaseURL || other.ClientID != p.ClientID {
			continue
		}
		c, err := a.client(ctx, other)
		if err != nil {
			continue
		}
		if s, err := c.Status(ctx); err == nil && s.SignedIn && s.User.ID == user.ID {
			a.Note(fmt.Sprintf("profile %s has the same app and user, and Exact keeps one login per app and user: this sign-in has ended its login; register an app for each profile", name))
		}
	}
}

// takeOver is login with another program's refresh token.
func (a *app) takeOver(ctx context.Context, p config.Settings, c *exactauth.Client, o loginOptions) error {
	if o.paste || o.noBrowser || o.forceLogin || o.browser != "" {
		return usagef("--refresh-token-file: there is no sign-in in the browser, so only --replace goes with it")
	}
	text, source, err := a.fileOrStdin(ctx, "--refresh-token-file", o.tokenFile)
	if err != nil {
		return err
	}
	f, err := exactauth.ParseForeign(trust.Text(text))
	if err != nil {
		return usagef("%s: %w", source, err)
	}
	done, err := c.TakeOver(ctx, f, exactauth.LoginOptions{Replace: o.replace})
	if err != nil {
		return takeOverError(p.Name, err)
	}
	a.warnOfTwins(ctx, p, done.User)
	a.Note("the copy that the other program has is dead from now on: a refresh token works once; let that program call exactauth")
	return a.showLogin(p, done)
}

// takeOverError adds the hint to an error that needs one of this command's own.
func takeOverError(profile string, err error) error {
	var later *fault.WaitError
	switch {
	case errors.Is(err, exactauth.ErrSaved), errors.Is(err, exactauth.ErrUnsaved):
	case errors.Is(err, fault.ErrLoginNeeded):
		return &hinted{err, `stop the other program and use its newest file; or sign in: "exactauth login --profile ` + profile + `"`}
	case errors.As(err, &later) && !later.Waits:
		return &hinted{err, "stop the other program, and run the same command again in ten minutes"}
	}
	return loginError(profile, err)
}

// loginError adds the hint to an error that needs one of this command's own.
func loginError(profile string, err error) error {
	var taken *exactauth.TakenError
	switch {
	case networkFix(err) != "": // which is a better hint
	case errors.Is(err, fault.ErrTemporary) && !errors.Is(err, exactauth.ErrSaved) && !errors.Is(err, exactauth.ErrUnsaved) && !errors.As(err, new(*fault.WaitError)):
		// Of a code whose answer did not arrive, whether it has ended the earlier login is not known.
		return &hinted{err, `sign in again later: "exactauth login --profile ` + profile + `"`}
	case errors.As(err, &taken):
		return &hinted{err, `give that login a profile of its own: "exactauth setup --profile NAME"; or replace this one: "exactauth login --replace --profile ` + profile + `"`}
	case errors.Is(err, callback.ErrPort):
		return &hinted{err, `end that program; or choose another port in "exactauth setup --redirect-uri" and the App Center; or sign in without a listener: set EXACTAUTH_LISTEN=none`}
	}
	return err
}

// wayBack is how the answer can come back from the browser.
type wayBack struct {
	pasting bool
	name    string   // in the redirect URI, if the browser comes back by it; otherwise empty
	addrs   []string // where the name leads, as far as this machine knows
}

// redirectName looks up the name in the redirect URI, which decides what the browser
// does at the end of a sign-in. It returns an empty name if the browser does not come
// back by that name.
func redirectName(ctx context.Context, p config.Settings) (name string, addrs []string) {
	u, err := url.Parse(p.RedirectURI)
	if err != nil || u.Scheme != "https" || p.Relay || p.Listen != "" || config.IsLoopback(u.Hostname()) {
		return "", nil
	}
	ctx, cancel := context.WithTimeout(ctx, 3*time.Second)
	defer cancel()
	addrs, _ = net.DefaultResolver.LookupHost(ctx, u.Hostname())
	return u.Hostname(), addrs
}

// leadsHere reports whether a browser on this machine comes back by itself.
func (w wayBack) leadsHere() bool { return slices.Contains(w.addrs, "127.0.0.1") }

// none returns an error if the answer cannot come back: to wait for it would be in vain.
func (w wayBack) none(p config.Settings) error {
	why := w.name + " does not lead to this machine"
	switch {
	case w.pasting || w.name == "" && p.Listen != "none" || w.leadsHere():
		return nil
	case w.name == "":
		why = "nothing listens for the browser (listen is none)"
	}
	return &hinted{fault.New(fault.ErrConfig, "%s, and without a terminal no address can be pasted", why),
		`sign in on a terminal, or pass the browser's last address on standard input: "exactauth login --paste --profile ` + p.Name + `"`}
}

// hostsCommand adds a line to the hosts file of the machine that the person's browser
// runs on. The one for Windows is good in both of its shells.
func (a *app) hostsCommand(name string) (where, command string) {
	line := "127.0.0.1 " + name
	if runtime.GOOS == "windows" || a.Where().Container == "WSL" {
		return "in a terminal\nof Windows that was opened with \"Run as administrator\"", `cmd /c "echo ` + line + `>>%SystemRoot%\System32\drivers\etc\hosts"`
	}
	if os.Geteuid() == 0 {
		return "in another terminal", "echo '" + line + "' >>/etc/hosts"
	}
	return "in another terminal", "echo '" + line + "' | sudo tee -a /etc/hosts"
}

// invite shows the person how to sign in, and opens the browser. The address comes
// first and is alone on its line, so that it can be copied from any terminal. The
// caller calls over when the wait for the person ends.
func (a *app) invite(ctx context.Context, i exactauth.Invitation, o loginOptions, back wayBack) (over func()) {
	a.Say("Sign in to Exact Online at this address:\n\n%s\n", i.URL)
	opening := !o.noBrowser && a.CanOpen()
	if !o.noBrowser && !opening {
		a.Say("There is no browser here: open the address in a browser on your own machine.")
	}
	if advice := a.returnAdvice(i, back, opening); advice != "" {
		a.Say("%s", advice)
	}
	if i.SelfSigned && i.Loopback {
		a.Say("The browser will warn that it does not know the certificate. Continue (Advanced,\nthen Proceed): exactauth made it for itself.")
	}
	end, limited := ctx.Deadline()
	switch {
	case a.Spins():
		a.Say("The code in the browser's last address is valid for 3 minutes.")
	case limited:
		a.Say("Waiting until %s; the code in the browser's last address is valid for 3 minutes.", end.Local().Format("15:04:05"))
	}
	if opening {
		a.Open(i.URL)
	}
	if !i.Listening || back.pasting && back.name != "" && !back.leadsHere() {
		return a.Spin(ctx, "waiting for the address that you paste", end)
	}
	return a.Spin(ctx, "waiting for the browser", end)
}

// returnAdvice says what the person will see when the browser comes back, and what to
// do if it cannot reach this machine.
func (a *app) returnAdvice(i exactauth.Invitation, back wayBack, opening bool) string {
	const paste = "\ncopy the whole address from its address bar and paste it here."
	where := a.Where()
	switch {
	case back.name != "":
		return a.nameAdvice(i, back, opening && !where.SSH && !where.Editor && where.Container != "a container")
	case !i.Listening:
		return "The browser will end on a page that cannot be reached. Then" + paste
	case !back.pasting:
		return ""
	case i.Loopback && opening && where.Editor:
		return fmt.Sprintf("VS Code opens the browser on your own machine and forwards port %s to this one.\nIf the browser then says that a page cannot be reached,%s", i.Port, paste)
	case i.Loopback && opening && where.Container == "WSL":
		return "The browser of Windows comes back by itself. If a page cannot be reached," + paste
	case i.Loopback && where.SSH && !opening:
		host, err := os.Hostname()
		if err != nil {
			host = "HOST"
		}
		return fmt.Sprintf("The browser will say that it cannot reach 127.0.0.1. Then%s\n"+
			"Or connect with ssh -L %s:127.0.0.1:%[2]s %s, and the browser comes back by itself.", paste, i.Port, host)
	case !opening, where.Container == "a container":
		return "If the browser then says that a page cannot be reached," + paste
	}
	return "If the browser runs on another machine," + paste
}

// nameAdvice is returnAdvice for a redirect URI whose name need not lead here. local says
// that the browser is on this machine.
func (a *app) nameAdvice(i exactauth.Invitation, back wayBack, local bool) string {
	const copyIt = "copy the whole address from its address bar and paste it here."
	if back.leadsHere() {
		text := back.name + " leads to this machine: a browser here comes back by itself."
		if i.SelfSigned {
			text += "\nThe first time it warns that it does not know the certificate. If the name is in\n" + // a hostile DNS server could say so, too
				"your hosts file, continue (Advanced, then Proceed): exactauth made it for itself."
		}
		if back.pasting {
			text += "\nIf the browser cannot reach the page, " + copyIt
		}
		return text
	}
	text := fmt.Sprintf("After the sign-in the browser will say that it cannot reach %s.\nThat is expected: %s", back.name, copyIt)
	if len(back.addrs) > 0 {
		text = fmt.Sprintf("Attention: %s leads to %s, not to this machine.\n"+
			"The code goes there; it is useless without the client secret. Whatever page the\n"+
			"browser ends on, %s", back.name, strings.Join(back.addrs, ", "), copyIt)
	}
	if len(back.addrs) > 0 || !local {
		text += "\nIf it warns of a certificate, do not continue; copy the address all the same."
	}
	if local {
		where, command := a.hostsCommand(back.name)
		text += fmt.Sprintf("\n\nTo have it come back by itself from now on, type this once, %s:\n\n%s\n", where, command)
	}
	return text
}

func (a *app) showLogin(p config.Settings, done exactauth.Login) error {
	user := done.User
	if done.UserError != nil {
		a.Note("signed in, but the user is unknown: " + done.UserError.Error())
	}
	if a.JSON {
		return a.PrintJSON(struct {
			Profile          string     `json:"profile"`
			BaseURL          string     `json:"base_url"`
			UserID           string     `json:"user_id,omitempty"`
			UserName         string     `json:"user_name,omitempty"`
			FullName         string     `json:"full_name,omitempty"`
			Email            string     `json:"email,omitempty"`
			CurrentDivision  int        `json:"current_division,omitempty"`
			Division         int        `json:"division,omitempty"`
			AccessExpiresAt  *time.Time `json:"access_expires_at"`
			RefreshExpiresAt *time.Time `json:"refresh_expires_at"`
		}{p.Name, p.BaseURL, user.ID, user.UserName, user.FullName, user.Email, user.Division,
			p.Division, seconds(done.Token.ExpiresAt), seconds(done.RefreshExpiresAt)})
	}
	a.Say("") // between the invitation and the result
	t := term.Table{{"Signed in as", cmp.Or(user.String(), "(unknown)")}}
	if user.Division != 0 {
		t.Add("Current division", user.Division)
	}
	t.Add("Profile", p.Name)
	t.Add("Expires on", done.RefreshExpiresAt.Local().Format("2 January 2006")+", unless a token is fetched before")
	return a.Print(t.String())
}

// seconds returns a time as JSON shows it, in UTC and without fractions of a second, or
// nil for none.
func seconds(t time.Time) *time.Time {
	if t.IsZero() {
		return nil
	}
	t = t.UTC().Truncate(time.Second)
	return &t
}
