package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/exactauth/exactauth/internal/callback"
	"github.com/exactauth/exactauth/internal/config"
	"github.com/exactauth/exactauth/internal/exactauth"
	"github.com/exactauth/exactauth/internal/fault"
	"github.com/exactauth/exactauth/internal/network"
	"github.com/exactauth/exactauth/internal/term"
)

func (a *app) doctorCmd() *cobra.Command {
	offline := false
	cmd := &cobra.Command{
		Use:   "doctor",
		Short: "Find out what is wrong, and how to fix it",
		Long: `Checks everything that a sign-in and a refresh need: the configuration, the store of
the tokens and who else can read it, the lock, the seal, the login itself, the port
and the browser for the next sign-in. Without --offline it also checks the connection
to Exact Online, the clock, whether Exact knows the app and its redirect URI, and, if
there is a live token, whether Exact lets the user use its API.

It fetches no token. Each check is one line; a check that warns or fails has a second
line with the fix.

The exit code is 0 if no check fails, otherwise that of the first failure.`,
		Example: `  exactauth doctor
  exactauth doctor --offline -p acme
  exactauth doctor --json`,
		Args: cobra.NoArgs,
		RunE: a.runE(defaultTimeout, func(ctx context.Context, _ []string) error { return a.doctor(ctx, offline) }),
	}
	cmd.Flags().BoolVar(&offline, "offline", false, "connect to nothing outside this machine but the store")
	return cmd
}

type finding struct {
	Check string `json:"check"`
	State string `json:"state"` // ok, warn or fail
	Text  string `json:"text"`
	Fix   string `json:"fix,omitempty"`

	err error
}

type examination struct {
	*app
	profile  string
	findings []finding
}

// hint is the app's, with the profile in it.
func (e *examination) hint(err error) string { return e.app.hint(fault.In(e.profile, err)) }

func (e *examination) ok(check, format string, args ...any) {
	e.findings = append(e.findings, finding{Check: check, State: "ok", Text: fmt.Sprintf(format, args...)})
}

func (e *examination) warn(check, fix, format string, args ...any) {
	e.findings = append(e.findings, finding{Check: check, State: "warn", Text: fmt.Sprintf(format, args...), Fix: fix})
}

// fail adds an error. Without a fix of its own it shows the error's hint.
func (e *examination) fail(check, fix string, err error) {
	e.findings = append(e.findings, finding{check, "fail", err.Error(), cmp.Or(fix, e.hint(err)), err})
}

func (a *app) doctor(ctx context.Context, offline bool) error {
	p, err := a.profile()
	e := &examination{app: a, profile: p.Name}
	if err != nil {
		e.fail("configuration", "", err)
	} else {
		e.configuration(p)
		c, reachable := e.store(ctx, p)
		if reachable {
			e.login(ctx, p, c)
		}
		e.secret(ctx, p, c, reachable)
		e.signIn(ctx, p, offline)
		if !offline && e.network(ctx, p) && reachable {
			e.user(ctx, c)
		}
	}
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	if err := a.Result(map[string]any{"schema_version": statusSchema, "profile": p.Name, "checks": e.findings}, e.text()); err != nil {
		return err
	}
	for _, f := range e.findings {
		if f.err != nil {
			return &reported{int(codeOf(f.err))}
		}
	}
	return nil
}

func (e *examination) text() string {
	width := 0
	for _, f := range e.findings {
		width = max(width, len(f.Check))
	}
	colours := map[string]term.Colour{"ok": term.Green, "warn": term.Yellow, "fail": term.Red}
	var b strings.Builder
	for _, f := range e.findings {
		fmt.Fprintf(&b, "%s  %-*s  %s\n", e.Paint(colours[f.State], fmt.Sprintf("%-4s", f.State)), width, f.Check, fault.Line(f.Text))
		if f.Fix != "" {
			fmt.Fprintf(&b, "%*s  fix: %s\n", 4+2+width, "", fault.Line(f.Fix))
		}
	}
	return b.String()
}

func (e *examination) configuration(p config.Settings) {
	dir, err := config.Dir(e.Env)
	path := filepath.Join(dir, config.FileName)
	if err == nil {
		_, err = os.Stat(path)
	}
	if err != nil {
		e.ok("configuration", "profile %s, from the environment alone", p.Name)
	} else {
		e.ok("configuration", "profile %s in %s", p.Name, path)
	}
	for _, s := range config.Table() {
		if s.Env != "" && e.Env(s.Env) != "" {
			e.warn("environment", "unset "+s.Env+", if that is not intended", "%s overrides the configuration", s.Env)
		}
	}
}

// store checks that the record's place is private, can be locked and has room.
func (e *examination) store(ctx context.Context, p config.Settings) (c *exactauth.Client, reachable bool) {
	c, err := e.client(ctx, p)
	if err != nil {
		e.fail("store", "", err)
		return nil, false
	}
	shown := redacted(p.Store)
	if p.Store == config.StoreFile {
		shown, _ = config.StateDir(e.Env) // as client has found it
		if kind := remoteFileSystem(shown); kind != "" {
			e.warn("store", "name a directory on a disk of this machine with EXACTAUTH_STATE_DIR, or share the login: exactauth setup --store postgres://...",
				"%s is on %s, whose locks are not reliable", shown, kind)
		}
	}
	if weak := e.weakness(ctx, p); weak != "" {
		e.warn("store", "leave sslmode out, with sslrootcert=FILE for an authority of your own: exactauth setup --store ...", "%s", weak)
	}
	trying, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	err = c.TryStore(trying)
	if err != nil && !errors.Is(err, fault.ErrLoginNeeded) { // which login reports
		e.fail("store", "", err)
		return c, !errors.Is(err, fault.ErrRecord) && errors.Is(err, context.DeadlineExceeded)
	}
	e.ok("store", "%s can be locked, read and written; seal %s", shown, p.Seal)
	return c, true
}

func (e *examination) login(ctx context.Context, p config.Settings, c *exactauth.Client) {
	s, err := c.Status(ctx)
	err = cmp.Or(err, s.Problem)
	user, left := cmp.Or(s.User.String(), "an unknown user"), time.Until(s.RefreshExpiresAt)
	switch {
	case errors.Is(err, fault.ErrTemporary):
		e.warn("login", e.hint(err), "%v", err)
	case errors.Is(err, fault.ErrConfig):
		e.fail("login", "compare with the App Center (an app that was registered again has another id and secret), then: exactauth setup -p "+p.Name+" --client-secret-file FILE", err)
	case err != nil:
		e.fail("login", "", err)
	case left < 7*24*time.Hour:
		e.warn("login", "fetch a token regularly, by a timer: see docs/automation.md", "signed in as %s, but no token was fetched for a long time: the login lapses in %s", user, days(left))
	default:
		e.ok("login", "signed in as %s; the login lapses in %s unless a token is fetched", user, days(left))
	}
}

// secret checks where the client secret comes from. It neither shows nor tries the
// secret: a wrong one is an error at Exact, and ten errors block the app.
func (e *examination) secret(ctx context.Context, p config.Settings, c *exactauth.Client, reachable bool) {
	const check = "client secret"
	text, file := e.Env("EXACTAUTH_CLIENT_SECRET"), e.Env("EXACTAUTH_CLIENT_SECRET_FILE")
	source := "client_secret_command"
	switch {
	case strings.TrimSpace(text) != "":
		source = "EXACTAUTH_CLIENT_SECRET"
	case file != "":
		source = file
	}
	if strings.TrimSpace(text) != text {
		e.warn(check, "set EXACTAUTH_CLIENT_SECRET without blanks and line ends", "EXACTAUTH_CLIENT_SECRET has blanks or line ends around it, which are ignored")
	}
	if source == "client_secret_command" && !reachable { // a command runs, and a record is read, after the store was judged
		return
	}
	secret, err := e.clientSecret(ctx, p)
	known := false
	if err == nil && secret.IsZero() {
		known, err = c.HasClientSecret(ctx)
	}
	switch {
	case err != nil:
		e.fail(check, "", err)
	case known:
		e.ok(check, "stored with the tokens")
	case secret.IsZero():
		e.fail(check, "exactauth setup -p "+p.Name+" --client-secret-file FILE", usagef("there is none for this client id, neither with the tokens nor in the environment"))
	default:
		e.ok(check, "from %s, %d characters", source, len(secret.Reveal()))
	}
}

// signIn checks what the next sign-in needs of this machine.
func (e *examination) signIn(ctx context.Context, p config.Settings, offline bool) {
	if err := callback.Try(ctx, p); err != nil {
		e.warn("port", "end that program, or name another port in the App Center and with \"exactauth setup --redirect-uri\"; to paste the address instead: exactauth setup --listen none", "%v", err)
	} else if p.Listen == "none" {
		e.ok("port", "not needed: the address is pasted")
	} else {
		e.ok("port", "free for the sign-in")
	}
	if !offline {
		switch name, addrs := redirectName(ctx, p); {
		case name == "":
		case len(addrs) == 0:
			e.ok("redirect name", "%s leads nowhere, so the address is pasted at the end of a sign-in", name)
		case slices.Contains(addrs, "127.0.0.1"):
			e.ok("redirect name", "%s leads to this machine", name)
		default:
			e.warn("redirect name", "use a name that leads nowhere, such as "+config.DefaultRedirectURI, "%s leads to %s, which will see the codes", name, strings.Join(addrs, ", "))
		}
	}
	e.browser(p)
}

func (e *examination) browser(p config.Settings) {
	e.Browser = p.Browser
	commands, source, err := e.Openers()
	if err != nil {
		e.warn("browser", "correct the quotes, or leave it out", "%v", err)
		return
	}
	for _, c := range commands {
		if path, err := exec.LookPath(c[0]); err == nil {
			e.ok("browser", "%s, from %s", path, source)
			return
		}
	}
	where := e.Where()
	switch {
	case len(commands) > 0 && source == "the system":
		e.warn("browser", "name one: exactauth setup --browser COMMAND", "none of the system's commands that open an address is here (%s)", commands[0][0])
	case len(commands) > 0:
		e.warn("browser", "correct it, or leave it out", "%s names %s, which does not exist", source, commands[0][0])
	case where.SSH || where.Container != "" || !where.Display:
		e.ok("browser", "none can be shown here: use \"exactauth login --no-browser\" and open the address elsewhere")
	}
}

// network takes the way to Exact as a sign-in does, one step after the other. It reports
// whether Exact answered.
func (e *examination) network(ctx context.Context, p config.Settings) (answered bool) {
	u, _ := url.Parse(p.BaseURL) // Settle has checked it
	host := u.Hostname()
	proxy, _ := http.ProxyFromEnvironment(&http.Request{URL: u}) // config.Environment has checked it
	fix := "check the network, the firewall and the proxy; Exact's state: https://status.exact.com"
	if proxy != nil {
		e.ok("proxy", "%s://%s, from the environment", proxy.Scheme, proxy.Host)
	} else if net.ParseIP(host) == nil {
		if _, err := net.DefaultResolver.LookupHost(ctx, host); err != nil {
			e.fail("DNS", here.names,
				fmt.Errorf("%w: the name %s is not found", fault.ErrTemporary, host))
			return false
		}
		e.ok("DNS", "%s is found", host)
	}
	probe, err := (&exactauth.Client{Profile: p, Log: e.logger(), Transport: network.New(agent())}).Probe(ctx)
	if err != nil {
		e.fail("Exact Online", cmp.Or(networkFix(err), fix), err)
		return false
	}
	if probe.Elsewhere != "" {
		e.warn("Exact Online", "open a page in a browser and sign in to the network; if there is none to sign in to, Exact may be under maintenance: https://status.exact.com",
			"%s answers with %s", p.BaseURL, probe.Elsewhere)
		return false
	}
	// Exact's tokens live for ten minutes, and certificates have dates too.
	switch off := probe.LocalDate.Sub(probe.ServerDate).Round(time.Second); {
	case probe.ServerDate.IsZero():
	case off.Abs() <= 30*time.Second:
		e.ok("clock", "within 30s of the server's")
	case off < 0:
		e.warn("clock", here.clock, "this machine is %s behind Exact's server", off.Abs())
	default:
		e.warn("clock", here.clock, "this machine is %s ahead of Exact's server", off)
	}
	switch {
	case probe.Refused == nil:
		e.ok("app", "%s accepts the client id and redirect URI", p.BaseURL)
	case errors.Is(probe.Refused, exactauth.ErrRedirectURI):
		e.fail("app", "in the App Center the Redirect URI must be exactly "+p.RedirectURI+", or set the one that is there: exactauth setup -p "+p.Name+" --redirect-uri URI", probe.Refused)
	default:
		e.fail("app", "an app works only in the country that it was registered in: exactauth setup -p "+p.Name+
			" --region CODE; an app that was registered again has another client id and secret", probe.Refused)
	}
	return true
}

// networkFix returns what a person can do about a request that failed, or "".
func networkFix(err error) string {
	e, ok := errors.AsType[*network.Error](err)
	if !ok {
		return ""
	}
	switch e.Cause {
	case network.ProxyAway:
		return "check that the proxy can be reached, and its address in HTTPS_PROXY; or put the server's name into NO_PROXY"
	case network.ProxyPassword:
		return "put the name and password into the proxy's address: HTTPS_PROXY=http://USER:PASSWORD@HOST:PORT, with special characters percent-encoded (@ as %40)"
	case network.ProxyScheme:
		return "exactauth speaks Basic only, neither NTLM nor Negotiate: run a local proxy that does (cntlm, px) and name that in HTTPS_PROXY, or ask for one with a name and a password"
	case network.ProxyRefusal:
		return "the proxy's administrator can let the server's name through; a redirect may lead to a sign-in: open that in a browser; or put the name into NO_PROXY"
	case network.Authority:
		trust := "name a file with its certificate (PEM) in SSL_CERT_FILE, or install it: /usr/local/share/ca-certificates and update-ca-certificates, or /etc/pki/ca-trust/source/anchors and update-ca-trust"
		switch runtime.GOOS {
		case "windows":
			trust = "install its certificate: certutil -user -addstore Root FILE"
		case "darwin":
			trust = "install its certificate: security add-trusted-cert -r trustRoot -k ~/Library/Keychains/login.keychain-db FILE"
		}
		return "if that authority is your company's or your own, " + trust + "; otherwise use another network"
	case network.Certificate:
		return "check this machine's clock, and whether the network wants a sign-in of its own: open a page in a browser"
	case network.Name:
		return here.names
	}
	return ""
}

// user asks Exact who is signed in, which shows what Exact does not allow the user or the
// app. It uses a token only if one is live: to fetch one spends a refresh token.
func (e *examination) user(ctx context.Context, c *exactauth.Client) {
	t, live := c.Live(ctx)
	if !live {
		e.ok("user", `not asked, since no token is live; "exactauth whoami" fetches one`)
		return
	}
	switch me, err := c.Me(ctx, t); {
	case errors.Is(err, fault.ErrTemporary):
		e.warn("user", e.hint(err), "%v", err)
	case err != nil:
		e.fail("user", "", err)
	default:
		e.ok("user", "Exact lets %s use its API", me)
	}
}
