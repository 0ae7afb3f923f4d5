package main

import (
	"cmp"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"maps"
	mathrand "math/rand/v2"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/spf13/cobra"

	"github.com/exactauth/exactauth/internal/callback"
	"github.com/exactauth/exactauth/internal/config"
	"github.com/exactauth/exactauth/internal/exactauth"
	"github.com/exactauth/exactauth/internal/exactsim"
	"github.com/exactauth/exactauth/internal/fault"
	"github.com/exactauth/exactauth/internal/network"
	"github.com/exactauth/exactauth/internal/record"
	"github.com/exactauth/exactauth/internal/term"
	"github.com/exactauth/exactauth/internal/tokenstore"
)

type sandboxOptions struct {
	exactsim.Config
	addr        string
	strict      bool
	limits      string
	tls         bool
	secretFile  string
	divisions   int
	demo        bool
	redirectURI string
}

func (a *app) sandboxCmd() *cobra.Command {
	var o sandboxOptions
	cmd := &cobra.Command{
		Use:   "sandbox [flags] [-- CMD [ARG...]]",
		Short: "A local Exact Online to try things on",
		Long: `Serves a simulated Exact Online on this machine, as strict as the real one: the
sign-in and consent pages, the token endpoint with its rules and errors, current/Me,
divisions, and crm/Accounts with 75 accounts (also bulk and sync) as an example of a list.

A refresh is allowed in the last 30 seconds of a token, or in its second half if that is
shorter: most clients refresh 10 or 30 seconds early. With --strict-window it is the last
twentieth, as at Exact. A POST to /sandbox/unblock ends a block after too many errors.

Without CMD it prints the settings that a program needs, and serves until Ctrl-C.
With CMD it runs CMD with a profile that is set up and signed in at the simulator,
separate from your own profiles. --demo shows a sign-in, a refresh and whoami.`,
		Example: `  exactauth sandbox --demo
  exactauth sandbox -- sh -c 'exactauth token; exactauth whoami'
  exactauth sandbox --addr 127.0.0.1:8080 --token-life 60s
  exactauth sandbox --tls --divisions 130 --limits minute=5,errors=off`,
		RunE: withCommand(func(ctx context.Context, command []string) error {
			return a.within(ctx, 0, func(ctx context.Context) error { return a.sandbox(ctx, o, command) })
		}),
	}
	f := cmd.Flags()
	f.StringVar(&o.addr, "addr", "127.0.0.1:0", "loopback address to serve on; port 0 is a free one")
	f.DurationVar(&o.TokenLife, "token-life", 600*time.Second, "life of an access token, in whole seconds")
	f.StringVar(&o.redirectURI, "redirect-uri", "", "redirect URI to register (default: http on a free loopback port); "+config.DefaultRedirectURI+" rehearses the real one")
	f.BoolVar(&o.strict, "strict-window", false, "allow a refresh in the last twentieth of a token's life only")
	f.StringVar(&o.limits, "limits", "", "calls and errors before Exact's limits: off, or as minute=60,day=5000,errors=10")
	f.BoolVar(&o.tls, "tls", false, "serve https, with a certificate of its own; --json names its file")
	f.StringVar(&o.secretFile, "client-secret-file", "", "file with the client secret to register, or - for standard input")
	f.IntVar(&o.divisions, "divisions", 2, "how many divisions the user can open")
	f.BoolVar(&o.AutoApprove, "auto-approve", false, "sign in and allow at once, without pages")
	f.BoolVar(&o.demo, "demo", false, "show login, token, refresh and whoami, then end")
	return cmd
}

func (a *app) sandbox(ctx context.Context, o sandboxOptions, command []string) error {
	switch {
	case o.demo && len(command) > 0:
		return usagef("--demo runs no command")
	case o.TokenLife < time.Second:
		return usagef("--token-life %s: want at least 1s", o.TokenLife)
	case o.divisions < 1:
		return usagef("--divisions %d: want at least 1", o.divisions)
	case o.demo:
		o.TokenLife, o.AutoApprove = 3*time.Second, true
	}
	secret := fault.NewSecret(exactsim.ClientSecret)
	if o.secretFile != "" {
		var err error
		if secret, err = a.givenSecret(ctx, "--client-secret-file", o.secretFile, ""); err != nil {
			return err
		}
	}
	if o.limits != "" {
		if err := setLimits(&o.Config, o.limits); err != nil {
			return err
		}
	}
	b, err := newSandbox(o, secret)
	if err != nil {
		return err
	}
	defer b.close()
	switch {
	case o.demo:
		return a.demo(ctx, b)
	case len(command) > 0:
		return a.inSandbox(ctx, b, command)
	}
	if err := a.describeSandbox(b); err != nil {
		return err
	}
	<-ctx.Done()
	return context.Cause(ctx)
}

// sandbox is a running simulator with the cast, and a profile for it.
type sandbox struct {
	sim     *exactsim.Sim
	server  *http.Server
	values  config.Values
	profile config.Settings
	secret  fault.Secret
	caFile  string // with --tls
	http    *network.Transport
	dir     string // for configuration and records, separate from the user's own
}

func setLimits(c *exactsim.Config, text string) error {
	limits := map[string]*int{"minute": &c.MinuteLimit, "day": &c.DailyLimit, "errors": &c.ErrorLimit}
	if text == "off" {
		text = "minute=off,day=off,errors=off"
	}
	for part := range strings.SplitSeq(text, ",") {
		name, value, _ := strings.Cut(part, "=")
		n, err := strconv.Atoi(value)
		switch {
		case limits[name] != nil && value == "off":
			n = -1
		case limits[name] == nil || err != nil || n < 1:
			return usagef("--limits %q: want off, or as minute=60,day=5000,errors=off", text)
		}
		*limits[name] = n
	}
	return nil
}

func newSandbox(o sandboxOptions, secret fault.Secret) (*sandbox, error) {
	host, _, err := net.SplitHostPort(o.addr)
	if err != nil || !config.IsLoopback(host) {
		return nil, usagef("--addr %q: want a loopback address and a port, as 127.0.0.1:8080", o.addr)
	}
	listener, err := net.Listen("tcp", o.addr)
	if err != nil {
		return nil, usagef("--addr: %w", err)
	}
	if !o.strict {
		o.Window = min(30*time.Second, o.TokenLife/2)
	}
	b := &sandbox{sim: exactsim.New(o.Config), secret: secret, http: network.New(agent())}
	b.server = &http.Server{Handler: b.sim, ReadHeaderTimeout: 10 * time.Second}

	redirect := o.redirectURI
	if redirect == "" {
		redirect, err = freeRedirectURI()
	}
	cast := b.sim.AddCast(redirect)
	cast.App.ClientSecret, cast.Anna.Divisions = secret.Reveal(), exactsim.Divisions(o.divisions)
	b.sim.AddApp(cast.App)
	b.sim.AddUser(cast.Anna)
	b.values = config.Values{"base_url": "http://" + listener.Addr().String(), "client_id": exactsim.ClientID, "redirect_uri": redirect}
	if err == nil {
		b.dir, err = os.MkdirTemp("", "exactauth-sandbox-")
	}
	if err == nil && o.tls {
		b.values["base_url"] = "https://" + listener.Addr().String()
		listener, err = b.withTLS(listener, host)
	}
	if err == nil {
		b.profile, err = config.Settle("sandbox", b.values)
	}
	go b.server.Serve(listener) // ends with close
	if err != nil {
		b.close()
		return nil, err
	}
	return b, nil
}

// withTLS returns l with a new certificate, which b.http accepts, and writes that to a file
// without its key.
func (b *sandbox) withTLS(l net.Listener, host string) (net.Listener, error) {
	_, pair, err := callback.NewCertificate(host, time.Now())
	if err != nil {
		return l, err
	}
	b.http.TLSClientConfig = &tls.Config{RootCAs: x509.NewCertPool()}
	b.http.TLSClientConfig.RootCAs.AddCert(pair.Leaf)
	b.caFile = filepath.Join(b.dir, "ca.pem")
	return tls.NewListener(l, &tls.Config{Certificates: []tls.Certificate{pair}}),
		os.WriteFile(b.caFile, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: pair.Leaf.Raw}), 0o600)
}

func (b *sandbox) close() {
	b.server.Close()
	os.RemoveAll(b.dir)
}

// freeRedirectURI returns a redirect URI on a port that is free now, and that is
// below the range from which systems choose ports, so that it stays free until a
// login listens there.
func freeRedirectURI() (string, error) {
	var err error
	for range 50 {
		addr := fmt.Sprintf("127.0.0.1:%d", 14000+mathrand.IntN(6000))
		var l net.Listener
		if l, err = net.Listen("tcp", addr); err == nil {
			return "http://" + addr + "/callback", l.Close()
		}
	}
	return "", err
}

func (b *sandbox) stateDir() string { return filepath.Join(b.dir, "state") }

// client returns a client as a process of its own has it.
func (b *sandbox) client() *exactauth.Client {
	return &exactauth.Client{
		Profile:      b.profile,
		Store:        tokenstore.NewFiles(b.stateDir(), nil),
		ClientSecret: func(context.Context) (fault.Secret, error) { return b.secret, nil },
		Transport:    b.http,
	}
}

// describeSandbox prints what another program needs. The secret is good at the
// simulator only.
func (a *app) describeSandbox(b *sandbox) error {
	shown := map[string]string{"client_secret": b.secret.Reveal(), "state_dir": b.stateDir()}
	maps.Copy(shown, b.values)
	if b.caFile != "" {
		shown["ca_file"] = b.caFile
	}
	if a.JSON {
		shown["region"] = "nl"
		return a.PrintJSON(shown)
	}
	shown["profile"] = b.profile.Name
	err := a.Print(sandboxSettings(runtime.GOOS, shown))
	a.Say("Then: exactauth login; exactauth token. Sign in as %s with any password.\nServing until Ctrl-C.", exactsim.Anna().Email)
	return err
}

// sandboxSettings returns settings as variables for the usual shell of a system.
func sandboxSettings(goos string, settings map[string]string) string {
	shell, format := "shell", "env"
	if goos == "windows" {
		shell, format = "PowerShell", "powershell"
	}
	text := "# A simulated Exact Online, region nl. To use it from another " + shell + ":\n"
	for _, name := range slices.Sorted(maps.Keys(settings)) {
		variable := "EXACTAUTH_" + strings.ToUpper(name)
		if name == "ca_file" {
			variable = "SSL_CERT_FILE"
		}
		text += record.Export(format, variable, settings[name])
	}
	return text
}

// inSandbox runs a command with a profile that is ready to use.
func (a *app) inSandbox(ctx context.Context, b *sandbox, command []string) error {
	c := b.client()
	if err := c.SetClientSecret(ctx, b.secret, false); err != nil {
		return err
	}
	inDir := func(name string) string { return map[string]string{"EXACTAUTH_CONFIG_DIR": b.dir}[name] }
	err := config.Change(ctx, inDir, func(conf *config.Config) error {
		conf.Default = b.profile.Name
		conf.Profiles[b.profile.Name] = b.values
		return nil
	}, nil)
	if err != nil {
		return err
	}
	// Signed in as if the person had pasted the code.
	c.Profile.Listen = "none"
	code := b.sim.NewCode(exactsim.ClientID, exactsim.AnnaID, b.profile.RedirectURI)
	if _, err := c.Login(ctx, exactauth.LoginOptions{Paste: strings.NewReader(code + "\n")}); err != nil {
		return err
	}

	// No setting of the user's own leads the command out of the sandbox.
	env := slices.DeleteFunc(os.Environ(), func(kv string) bool { return strings.HasPrefix(kv, "EXACTAUTH_") })
	env = append(env, "EXACTAUTH_CONFIG_DIR="+b.dir, "EXACTAUTH_STATE_DIR="+b.stateDir())
	if b.caFile != "" { // the first for Go, OpenSSL and Python, the second for Node
		env = append(env, "SSL_CERT_FILE="+b.caFile, "NODE_EXTRA_CA_CERTS="+b.caFile)
	}
	// Where no exactauth is installed, "exactauth" is this program.
	path, err := findCommand(command[0], command[1:]...)
	if self, selfErr := os.Executable(); selfErr == nil && strings.TrimSuffix(filepath.Base(self), ".exe") == "exactauth" {
		env = append(env, "PATH="+os.Getenv("PATH")+string(os.PathListSeparator)+filepath.Dir(self))
		if err != nil && command[0] == "exactauth" {
			path, err = self, nil
		}
	}
	if err != nil {
		return err
	}
	if shell := strings.TrimSuffix(filepath.Base(command[0]), ".exe"); a.Interactive() && slices.Contains([]string{"sh", "bash", "zsh", "dash", "fish", "pwsh", "powershell", "cmd"}, shell) {
		a.Say("In this shell exactauth is signed in to a simulated Exact Online at %s,\nand your own profiles are out of reach. To leave: exit", b.profile.BaseURL)
	}
	return a.runChild(ctx, path, command, env)
}

// demo shows a real login and the real life of a token, at the simulator.
func (a *app) demo(ctx context.Context, b *sandbox) error {
	ctx, cancel := context.WithTimeout(ctx, cmp.Or(a.timeout, 30*time.Second))
	defer cancel()
	c := b.client()
	// A person reads all of it, so a line that could not be written does no harm.
	say := func(format string, args ...any) { fmt.Fprintf(a.Out, format+"\n", args...) }
	say("A simulated Exact Online runs at %s. Its tokens live 3 seconds, Exact's 600.", b.profile.BaseURL)

	say("\n$ exactauth login")
	done, err := c.Login(ctx, exactauth.LoginOptions{Show: func(i exactauth.Invitation) {
		say("Sign in to Exact Online at this address:\n\n%s\n", i.URL)
		if a.CanOpen() {
			a.Open(i.URL)
			go b.follow(ctx, 3*time.Second, i.URL) // in case it does not come
		} else {
			say("(There is no browser here, so the demo goes there itself.)")
			go b.follow(ctx, 0, i.URL)
		}
	}})
	if err != nil {
		return err
	}
	fmt.Fprint(a.Out, term.Table{{"Signed in as", done.User.String()}, {"Current division", fmt.Sprint(done.User.Division)}})

	say("\n$ exactauth token")
	first, err := c.Token(ctx, exactauth.Want{})
	if err != nil {
		return err
	}
	say("%s", shortened(first.Access))

	say("\nThe token ends in %s. Then 24 scripts ask at the same moment:", time.Until(first.ExpiresAt).Round(100*time.Millisecond))
	say("\n$ for i in $(seq 24); do exactauth token & done")
	if err := fault.Pause(ctx, time.Until(first.ExpiresAt)); err != nil {
		return err
	}
	tokens, err := askAtOnce(ctx, b, 24)
	if err != nil {
		return err
	}
	different := map[string]bool{}
	for _, t := range tokens {
		different[t.Reveal()] = true
	}
	n := b.sim.Counters()
	say("%s\n24 answers, %d token, %d refresh at the server, %d errors", shortened(tokens[0]), len(different), n.RefreshesIssued, n.TokenErrors)

	say("\n$ exactauth whoami")
	me, err := a.me(ctx, c)
	if err != nil {
		return err
	}
	fmt.Fprint(a.Out, term.Table{{"User", me.String()}, {"Current division", fmt.Sprint(me.Division)}, {"Exact Online", b.profile.BaseURL}})
	say("\nNothing is left behind. At the real Exact: exactauth setup, then exactauth login.")
	return nil
}

func askAtOnce(ctx context.Context, b *sandbox, n int) ([]fault.Secret, error) {
	tokens, errs := make([]fault.Secret, n), make([]error, n)
	var all sync.WaitGroup
	for i := range n {
		all.Go(func() {
			t, err := b.client().Token(ctx, exactauth.Want{})
			tokens[i], errs[i] = t.Access, err
		})
	}
	all.Wait()
	return tokens, cmp.Or(errs...) // one of them: the others have the same cause
}

// shortened shows enough of a token to distinguish it from another.
func shortened(s fault.Secret) string {
	text := s.Reveal()
	return fmt.Sprintf("%.24s… (%d characters)", text, len(text))
}

// follow goes to an address as a browser does, after a pause.
func (b *sandbox) follow(ctx context.Context, pause time.Duration, address string) {
	if fault.Pause(ctx, pause) != nil {
		return
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, address, nil)
	if err != nil {
		return
	}
	if resp, err := (&http.Client{Transport: b.http}).Do(req); err == nil { // otherwise the login times out and says so
		resp.Body.Close()
	}
}
