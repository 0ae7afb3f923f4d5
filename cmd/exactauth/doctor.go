package main

import (
	"cmp"
	"context"
	"crypto/tls"
	"crypto/x509"
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
	"github.com/exactauth/exactauth/internal/term"
)

func (a *app) doctorCmd() *cobra.Command {
	offline := false
	cmd := &cobra.Command{
		Use:     "doctor",
		GroupID: "daily",
		Short:   "Find out what is wrong, and what to do about it",
		Long: `Looks at everything that a sign-in and a refresh need: the configuration, where the
tokens are kept and who else can read them, the lock, the seal, the login itself, the
port and the browser for the next sign-in, and, unless --offline is given, the way to
Exact Online, its clock, and whether it knows the app and its redirect URI.

It spends nothing: no token is fetched or used, no error is caused at Exact. Each check
is one line; what is not well has a second one that says what to do.

It ends with 0 if nothing fails, else with the exit code that the first failure would
have had.`,
		Example: `  exactauth doctor
  exactauth doctor --offline -p acme
  exactauth doctor --json`,
		Args: cobra.NoArgs,
		RunE: a.runE(defaultTimeout, func(ctx context.Context, _ []string) error { return a.doctor(ctx, offline) }),
	}
	cmd.Flags().BoolVar(&offline, "offline", false, "ask nothing outside this machine but the store")
	return cmd
}

// finding is the outcome of one check.
type finding struct {
	Check string `json:"check"`
	State string `json:"state"` // ok, warn or fail
	Text  string `json:"text"`
	Fix   string `json:"fix,omitempty"`

	err error
}

const (
	healthy = "ok"
	uneasy  = "warn"
	ill     = "fail"
)

// examination collects findings.
type examination struct {
	*app
	findings []finding
}

func (e *examination) ok(check, format string, args ...any) {
	e.findings = append(e.findings, finding{Check: check, State: healthy, Text: fmt.Sprintf(format, args...)})
}

func (e *examination) warn(check, fix, format string, args ...any) {
	e.findings = append(e.findings, finding{Check: check, State: uneasy, Text: fmt.Sprintf(format, args...), Fix: fix})
}

// fail notes an error. Without a fix of its own the error's hint is it.
func (e *examination) fail(check, fix string, err error) {
	if fix == "" {
		fix = e.hint(err)
	}
	e.findings = append(e.findings, finding{Check: check, State: ill, Text: err.Error(), Fix: fix, err: err})
}

func (a *app) doctor(ctx context.Context, offline bool) error {
	e := &examination{app: a}
	if p, ok := e.configuration(); ok {
		c, reachable := e.store(ctx, p)
		if reachable {
			e.login(ctx, p, c)
		}
		e.secret(ctx, p, c, reachable)
		e.signIn(ctx, p, offline)
		if !offline {
			e.network(ctx, p)
		}
	}
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	var first error
	for _, f := range e.findings {
		if f.err != nil && first == nil {
			first = f.err
		}
	}
	var err error
	if a.JSON {
		err = a.PrintJSON(map[string]any{"schema_version": statusSchema, "profile": a.profileName, "checks": e.findings})
	} else {
		err = a.Print(e.text())
	}
	if err != nil || first == nil {
		return err
	}
	return &reported{codeOf(first)}
}

// reported ends the program with an exit code after the errors were printed.
type reported struct{ code exitCode }

func (*reported) Error() string { return "the errors above" }

func (e *examination) text() string {
	width := 0
	for _, f := range e.findings {
		width = max(width, len(f.Check))
	}
	var b strings.Builder
	for _, f := range e.findings {
		fmt.Fprintf(&b, "%s  %-*s  %s\n", e.paint(f.State), width, f.Check, f.Text)
		if f.Fix != "" {
			fmt.Fprintf(&b, "%s  fix: %s\n", strings.Repeat(" ", 4+2+width), f.Fix)
		}
	}
	return b.String()
}

// paint pads a state and colours it.
func (e *examination) paint(state string) string {
	c := map[string]term.Colour{healthy: term.Green, uneasy: term.Yellow, ill: term.Red}[state]
	return e.Paint(c, fmt.Sprintf("%-4s", state))
}

func (e *examination) configuration() (config.Settings, bool) {
	dir, err := config.Dir(e.Env)
	if err != nil {
		e.fail("configuration", "", err)
		return config.Settings{}, false
	}
	p, err := e.profile()
	if err != nil {
		e.fail("configuration", "", err)
		return config.Settings{}, false
	}
	path := filepath.Join(dir, config.FileName)
	if info, err := os.Stat(path); err != nil {
		e.ok("configuration", "profile %s, all of it from the environment", p.Name)
	} else if runtime.GOOS != "windows" && info.Mode().Perm()&0o020 != 0 {
		e.warn("configuration", "chmod g-w "+path, "profile %s in %s, which every member of its group can change", p.Name, path)
	} else {
		e.ok("configuration", "profile %s in %s", p.Name, path)
	}
	for _, v := range []string{"EXACTAUTH_BASE_URL", "EXACTAUTH_REGION", "EXACTAUTH_CLIENT_ID", "EXACTAUTH_STORE", "EXACTAUTH_SEAL", "EXACTAUTH_REDIRECT_URI", "EXACTAUTH_LISTEN", "EXACTAUTH_DIVISION"} {
		if e.Env(v) != "" {
			e.warn("environment", "unset "+v+", if that is not meant", "%s counts instead of the configuration", v)
		}
	}
	return p, true
}

// store looks at the place of the record: that it is there, ours alone, can be
// locked and has room.
func (e *examination) store(ctx context.Context, p config.Settings) (*exactauth.Client, bool) {
	c, err := e.client(p)
	if err != nil {
		e.fail("store", "", err)
		return nil, false
	}
	shown := redacted(p.Store)
	if p.Store == config.StoreFile {
		dir, err := config.StateDir(e.Env)
		if err != nil {
			e.fail("store", "", err)
			return nil, false
		}
		shown = dir
		if kind := remoteFileSystem(dir); kind != "" {
			e.warn("store", "name a directory on a disk of this machine with EXACTAUTH_STATE_DIR, or share the login: exactauth setup --store postgres://...",
				"%s is on %s, whose locks cannot be relied on", dir, kind)
		}
	}
	trying, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	err = c.TryStore(trying)
	switch {
	case errors.Is(err, fault.ErrLoginNeeded): // told of the login
	case err != nil:
		e.fail("store", "", err)
		return c, !errors.Is(err, fault.ErrRecord) && errors.Is(err, context.DeadlineExceeded)
	}
	e.ok("store", "%s can be locked, read and written; seal %s", shown, p.Seal)
	return c, true
}

func (e *examination) login(ctx context.Context, p config.Settings, c *exactauth.Client) {
	s, err := c.Status(ctx)
	if err == nil {
		err = s.Problem
	}
	user := cmp.Or(s.User.String(), "a user who is not known")
	switch {
	case errors.Is(err, fault.ErrTemporary):
		e.warn("login", e.hint(err), "%v", err)
	case err != nil:
		fix := ""
		if errors.Is(err, fault.ErrConfig) {
			fix = "compare with the App Center (an app that was made anew has another id and secret), then: exactauth setup -p " + p.Name + " --client-secret-file FILE"
		}
		e.fail("login", fix, err)
	case time.Until(s.RefreshExpiresAt) < 7*24*time.Hour:
		e.warn("login", "fetch a token now and then, by a timer: see docs/automation.md", "signed in as %s, but nobody has fetched a token for long: it lapses in %s",
			user, days(time.Until(s.RefreshExpiresAt)))
	default:
		e.ok("login", "signed in as %s, lapses in %s unless a token is fetched", user, days(time.Until(s.RefreshExpiresAt)))
	}
}

// secret looks at where the client secret comes from. It is not shown and not
// tried: a wrong one is an error at Exact, and ten of them block the app.
func (e *examination) secret(ctx context.Context, p config.Settings, c *exactauth.Client, reachable bool) {
	const check = "client secret"
	if raw := e.Env("EXACTAUTH_CLIENT_SECRET"); strings.TrimSpace(raw) != raw {
		e.warn(check, "set EXACTAUTH_CLIENT_SECRET without blanks and line ends", "EXACTAUTH_CLIENT_SECRET has blanks or line ends around it, which are left out")
	}
	file := e.Env("EXACTAUTH_CLIENT_SECRET_FILE")
	if info, err := os.Stat(file); file != "" && err == nil && runtime.GOOS != "windows" && info.Mode().Perm()&0o004 != 0 {
		e.warn(check, "chmod 600 "+file, "%s can be read by every user of this machine", file)
	}
	secret, err := e.clientSecret(ctx, p)
	switch {
	case err != nil:
		e.fail(check, "", err)
		return
	case !secret.IsZero():
		source := "client_secret_command"
		switch {
		case strings.TrimSpace(e.Env("EXACTAUTH_CLIENT_SECRET")) != "":
			source = "EXACTAUTH_CLIENT_SECRET"
		case file != "":
			source = file
		}
		if strings.ContainsAny(secret.Reveal(), " \t\r\n") {
			e.fail(check, "copy it anew from the App Center: Edit, section Authorization", usagef("from %s: there is a blank in it, and Exact's have none", source))
			return
		}
		e.ok(check, "from %s, %d characters", source, len(secret.Reveal()))
		return
	case !reachable:
		return
	}
	switch known, err := c.HasClientSecret(ctx); {
	case err != nil:
		e.fail(check, "", err)
	case !known:
		e.fail(check, "exactauth setup -p "+p.Name+" --client-secret-file FILE", usagef("there is none for this client id, neither with the tokens nor in the environment"))
	default:
		e.ok(check, "kept with the tokens")
	}
}

// signIn looks at what the next sign-in needs of this machine.
func (e *examination) signIn(ctx context.Context, p config.Settings, offline bool) {
	if err := callback.Try(ctx, p); err != nil {
		e.warn("port", "end that program, or name another port in the App Center and with \"exactauth setup --redirect-uri\"; pasting the address works without it: set listen to none", "%v", err)
	} else if p.Listen == "none" {
		e.ok("port", "none is listened on; the address is pasted")
	} else {
		e.ok("port", "free for the sign-in")
	}
	if u, err := url.Parse(p.RedirectURI); err == nil && !offline && u.Scheme == "https" && !p.Relay && p.Listen == "" && net.ParseIP(u.Hostname()) == nil && u.Hostname() != "localhost" {
		e.redirectName(ctx, u.Hostname())
	}
	switch where, own := e.Where(), e.Browser(); {
	case own != nil:
		if _, err := exec.LookPath(own[0]); err != nil {
			e.warn("browser", "correct BROWSER, or unset it", "BROWSER names %s, which is not there", own[0])
			return
		}
		e.ok("browser", "$BROWSER opens it")
	case where.SSH || where.Container != "" || !where.Display:
		e.ok("browser", "none can be shown here: use \"exactauth login --no-browser\" and open the address elsewhere")
	default:
		e.ok("browser", "the system's")
	}
}

// redirectName says where the browser goes at the end of a sign-in.
func (e *examination) redirectName(ctx context.Context, host string) {
	ctx, cancel := context.WithTimeout(ctx, 3*time.Second)
	defer cancel()
	addrs, err := net.DefaultResolver.LookupHost(ctx, host)
	switch {
	case err != nil:
		e.ok("redirect name", "%s leads nowhere, so the address is pasted at the end of a sign-in", host)
	case slices.Contains(addrs, "127.0.0.1"):
		e.ok("redirect name", "%s leads to this machine", host)
	default:
		e.warn("redirect name", "take a name that leads nowhere, such as "+config.DefaultRedirectURI, "%s leads to %s, which will see the codes", host, strings.Join(addrs, ", "))
	}
}

// network goes the way to Exact as a sign-in does, one step after the other.
func (e *examination) network(ctx context.Context, p config.Settings) {
	u, err := url.Parse(p.BaseURL)
	if err != nil {
		e.fail("network", "", err) // it was checked
		return
	}
	proxy, err := http.ProxyFromEnvironment(&http.Request{URL: u})
	switch {
	case err != nil:
		e.fail("proxy", "correct HTTPS_PROXY or HTTP_PROXY", usagef("the proxy in the environment is no address"))
		return
	case proxy != nil:
		e.ok("proxy", "%s://%s, from the environment", proxy.Scheme, proxy.Host)
	}
	if proxy == nil && net.ParseIP(u.Hostname()) == nil {
		if _, err := net.DefaultResolver.LookupHost(ctx, u.Hostname()); err != nil {
			e.fail("DNS", "look at the network and its name server (/etc/resolv.conf); behind a proxy set HTTPS_PROXY",
				fmt.Errorf("%w: the name %s is not found", fault.ErrTemporary, u.Hostname()))
			return
		}
		e.ok("DNS", "%s is found", u.Hostname())
	}
	probe, err := (&exactauth.Client{Profile: p, Log: e.logger()}).Probe(ctx)
	if err != nil {
		fix := "look at the network, the firewall and the proxy; Exact's state: https://status.exact.com"
		var authority x509.UnknownAuthorityError
		var verification *tls.CertificateVerificationError
		var name x509.HostnameError
		switch {
		case errors.As(err, &authority), errors.As(err, &name):
			fix = "something in between shows a certificate of its own, as company networks do: have its authority installed on this machine, or name its file in SSL_CERT_FILE"
		case errors.As(err, &verification):
			fix = "look at this machine's clock and its list of authorities (package ca-certificates)"
		case proxy != nil:
			fix = fmt.Sprintf("see that the proxy %s can be reached and lets %s through, or put that into NO_PROXY", proxy.Host, u.Hostname())
		}
		e.fail("Exact Online", fix, err)
		return
	}
	e.clock(probe)
	switch {
	case probe.Refused == nil:
		e.ok("app", "%s says nothing against client id and redirect URI", p.BaseURL)
	case exactauth.IsRedirectRefused(probe.Refused):
		e.fail("app", "in the App Center the Redirect URI must be exactly "+p.RedirectURI+", or set the one that is there: exactauth setup -p "+p.Name+" --redirect-uri URI", probe.Refused)
	default:
		e.fail("app", "an app works only in the country that it was registered in: exactauth setup -p "+p.Name+
			" --region CODE; one that was made anew in the App Center has another client id and secret", probe.Refused)
	}
}

// clock compares the clocks. Exact's tokens live for ten minutes, and certificates
// have dates too.
func (e *examination) clock(probe exactauth.Probe) {
	if probe.ServerDate.IsZero() {
		return
	}
	off := probe.LocalDate.Sub(probe.ServerDate).Round(time.Second)
	if off.Abs() > 30*time.Second {
		direction := "ahead of"
		if off < 0 {
			direction = "behind"
		}
		e.warn("clock", "set it, and have it kept right: timedatectl set-ntp true", "this machine is %s %s Exact's server", off.Abs(), direction)
		return
	}
	e.ok("clock", "within 30s of the server's")
}
