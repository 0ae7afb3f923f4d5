package main

import (
	"cmp"
	"context"
	"fmt"
	"io"
	mathrand "math/rand/v2"
	"net"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/spf13/cobra"

	"github.com/exactauth/exactauth/internal/config"
	"github.com/exactauth/exactauth/internal/exactauth"
	"github.com/exactauth/exactauth/internal/exactsim"
	"github.com/exactauth/exactauth/internal/fault"
	"github.com/exactauth/exactauth/internal/term"
	"github.com/exactauth/exactauth/internal/tokenstore"
)

type sandboxOptions struct {
	addr        string
	tokenLife   time.Duration
	autoApprove bool
	demo        bool
	redirectURI string
}

func (a *app) sandboxCmd() *cobra.Command {
	var o sandboxOptions
	cmd := &cobra.Command{
		Use:     "sandbox [flags] [-- CMD [ARG...]]",
		GroupID: "try",
		Short:   "A local Exact Online to try things on",
		Long: `Runs a strict simulator of Exact Online on this machine: its sign-in and consent
pages, its token endpoint with every rule and odd error, current/Me and divisions.

Alone it prints what a program needs to use it, and serves until Ctrl-C. With CMD it
runs that with a profile that is set up and signed in at the simulator, apart from
your own profiles. With --demo it shows a sign-in, a refresh and whoami, and is gone.`,
		Example: `  exactauth sandbox --demo
  exactauth sandbox -- sh -c 'exactauth token; exactauth whoami'
  exactauth sandbox --addr 127.0.0.1:8080 --token-life 60s`,
		RunE: func(cmd *cobra.Command, args []string) error {
			args, err := commandOf(cmd, args)
			if err != nil {
				return err
			}
			return a.runE(0, func(ctx context.Context, args []string) error { return a.sandbox(ctx, o, args) })(cmd, args)
		},
	}
	f := cmd.Flags()
	f.StringVar(&o.addr, "addr", "127.0.0.1:0", "loopback address to serve on; port 0 is a free one")
	f.DurationVar(&o.tokenLife, "token-life", 600*time.Second, "life of an access token, in whole seconds")
	f.StringVar(&o.redirectURI, "redirect-uri", "", "redirect URI to register (default: http on a free loopback port); "+config.DefaultRedirectURI+" rehearses the real one")
	f.BoolVar(&o.autoApprove, "auto-approve", false, "sign in and allow at once, without pages")
	f.BoolVar(&o.demo, "demo", false, "show login, token, refresh and whoami, then end")
	return cmd
}

func (a *app) sandbox(ctx context.Context, o sandboxOptions, command []string) error {
	switch {
	case o.demo && len(command) > 0:
		return usagef("--demo and a command: give one of them")
	case o.tokenLife < time.Second:
		return usagef("--token-life %s: want a second or more", o.tokenLife)
	case o.demo:
		o.tokenLife, o.autoApprove = 3*time.Second, true
	}
	b, err := newSandbox(o)
	if err != nil {
		return err
	}
	defer b.close()
	if _, err := config.Settle(b.profile.Name, b.values()); err != nil {
		return err
	}
	switch {
	case o.demo:
		return a.demo(ctx, b)
	case len(command) > 0:
		return a.inSandbox(ctx, b, command)
	}
	// Of its own, so that nothing of it stays among the user's records.
	dir, err := os.MkdirTemp("", "exactauth-sandbox-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	if err := a.describeSandbox(b, dir); err != nil {
		return err
	}
	<-ctx.Done()
	return context.Cause(ctx)
}

// sandbox is a running simulator with the cast.
type sandbox struct {
	sim     *exactsim.Sim
	server  *http.Server
	profile config.Settings
}

func newSandbox(o sandboxOptions) (*sandbox, error) {
	host, _, err := net.SplitHostPort(o.addr)
	if ip := net.ParseIP(host); err != nil || host != "localhost" && (ip == nil || !ip.IsLoopback()) {
		return nil, usagef("--addr %q: want a loopback address and a port, as 127.0.0.1:8080", o.addr)
	}
	listener, err := net.Listen("tcp", o.addr)
	if err != nil {
		return nil, usagef("--addr: %w", err)
	}
	redirect := o.redirectURI
	if redirect == "" {
		addr, err := quietAddr()
		if err != nil {
			listener.Close()
			return nil, err
		}
		redirect = "http://" + addr + "/callback"
	}

	b := &sandbox{
		sim: exactsim.New(exactsim.Config{TokenLife: o.tokenLife, AutoApprove: o.autoApprove}),
		profile: config.Settings{
			Name:        "sandbox",
			BaseURL:     "http://" + listener.Addr().String(),
			ClientID:    exactsim.ClientID,
			RedirectURI: redirect,
		},
	}
	b.sim.AddCast(redirect)
	b.server = &http.Server{Handler: b.sim, ReadHeaderTimeout: 10 * time.Second}
	go b.server.Serve(listener) // ends with close
	return b, nil
}

// quietAddr gives an address to listen on later: one that is free, and below the
// ports that systems give away, so that nobody is given it until then.
func quietAddr() (string, error) {
	var err error
	for range 50 {
		addr := fmt.Sprintf("127.0.0.1:%d", 14000+mathrand.IntN(6000))
		var l net.Listener
		if l, err = net.Listen("tcp", addr); err == nil {
			return addr, l.Close()
		}
	}
	return "", err
}

func (b *sandbox) close() { b.server.Close() }

// values are the settings of the sandbox's profile.
func (b *sandbox) values() config.Values {
	return config.Values{"base_url": b.profile.BaseURL, "client_id": b.profile.ClientID, "redirect_uri": b.profile.RedirectURI}
}

func (b *sandbox) client(dir string) *exactauth.Client {
	return &exactauth.Client{
		Profile:      b.profile,
		Store:        tokenstore.NewFiles(dir, nil),
		ClientSecret: func(context.Context) (fault.Secret, error) { return fault.NewSecret(exactsim.ClientSecret), nil },
	}
}

// describeSandbox prints what another program needs. The secret is the
// simulator's own and ends with it.
func (a *app) describeSandbox(b *sandbox, dir string) error {
	p := b.profile
	if a.JSON {
		return a.PrintJSON(map[string]string{"base_url": p.BaseURL, "client_id": p.ClientID, "client_secret": exactsim.ClientSecret,
			"redirect_uri": p.RedirectURI, "region": "nl", "state_dir": dir})
	}
	err := a.Print(fmt.Sprintf(`# A simulated Exact Online, region nl. To use it from another shell:
export EXACTAUTH_BASE_URL=%s
export EXACTAUTH_CLIENT_ID=%s
export EXACTAUTH_CLIENT_SECRET=%s
export EXACTAUTH_REDIRECT_URI=%s
export EXACTAUTH_PROFILE=sandbox
export EXACTAUTH_STATE_DIR=%s
`, p.BaseURL, p.ClientID, exactsim.ClientSecret, p.RedirectURI, dir))
	a.Say("Then: exactauth login; exactauth token. Sign in as anna@voorbeeld.example with any password.\nServing until Ctrl-C.")
	return err
}

// inSandbox runs a command with a profile that is ready to use.
func (a *app) inSandbox(ctx context.Context, b *sandbox, command []string) error {
	dir, err := os.MkdirTemp("", "exactauth-sandbox-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	env := func(name string) string { return map[string]string{"EXACTAUTH_CONFIG_DIR": dir}[name] }
	p := b.profile
	c := b.client(filepath.Join(dir, "state"))
	if err := c.SetClientSecret(ctx, fault.NewSecret(exactsim.ClientSecret), false); err != nil {
		return err
	}
	err = config.Change(ctx, env, a.Note, func(conf *config.Config) error {
		conf.Default = p.Name
		conf.Profiles[p.Name] = b.values()
		return nil
	})
	if err != nil {
		return err
	}
	// Signed in as if the person had pasted where the browser ended.
	c.Profile.Listen = "none"
	pasted, paste := io.Pipe()
	defer pasted.Close()
	_, err = c.Login(ctx, exactauth.LoginOptions{Paste: pasted, Show: func(i exactauth.Invitation) {
		u, _ := url.Parse(i.URL) // of our own making
		end := url.Values{"code": {b.sim.NewCode(p.ClientID, exactsim.AnnaID, p.RedirectURI)}, "state": {u.Query().Get("state")}}
		go fmt.Fprintln(paste, p.RedirectURI+"?"+end.Encode())
	}})
	if err != nil {
		return err
	}
	return a.runInside(ctx, command, append(withoutOwn(os.Environ()),
		"EXACTAUTH_CONFIG_DIR="+dir, "EXACTAUTH_STATE_DIR="+filepath.Join(dir, "state")))
}

// withoutOwn drops what would lead the child past its sandbox.
func withoutOwn(env []string) []string {
	var kept []string
	for _, kv := range env {
		if !strings.HasPrefix(kv, "EXACTAUTH_") {
			kept = append(kept, kv)
		}
	}
	return kept
}

// runInside runs a command; "exactauth" is this very program where no other is
// installed.
func (a *app) runInside(ctx context.Context, command, env []string) error {
	path, err := findCommand(command[0])
	if self, selfErr := os.Executable(); selfErr == nil && filepath.Base(self) == "exactauth" {
		if _, missing := exec.LookPath("exactauth"); missing != nil {
			env = append(env, "PATH="+os.Getenv("PATH")+string(os.PathListSeparator)+filepath.Dir(self))
			if command[0] == "exactauth" {
				path, err = self, nil
			}
		}
	}
	if err != nil {
		return err
	}
	return a.runChild(ctx, path, command, env)
}

// demo shows the whole of it: the real login, the real life of a token, against
// the simulator.
func (a *app) demo(ctx context.Context, b *sandbox) error {
	dir, err := os.MkdirTemp("", "exactauth-demo-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	ctx, cancel := context.WithTimeout(ctx, cmp.Or(a.timeout, 30*time.Second))
	defer cancel()
	c := b.client(dir)
	// All of it is the result, for eyes: a line that could not be written is no harm.
	tell := func(format string, args ...any) { fmt.Fprintf(a.Out, format+"\n", args...) }
	tell("A simulated Exact Online runs at %s. Its tokens live 3 seconds, Exact's 600.", b.profile.BaseURL)

	tell("\n$ exactauth login")
	done, err := c.Login(ctx, exactauth.LoginOptions{Show: func(i exactauth.Invitation) {
		tell("Sign in to Exact Online at this address:\n\n%s\n", i.URL)
		if a.CanOpen() {
			a.Open(i.URL)
			go followAfter(ctx, 3*time.Second, i.URL) // if it does not come
		} else {
			tell("(There is no browser here, so the demo goes there itself.)")
			go followAfter(ctx, 0, i.URL)
		}
	}})
	if err != nil {
		return err
	}
	tell("%s", strings.TrimSpace(term.Table{{"Signed in as", done.User.String()}, {"Current division", fmt.Sprint(done.User.Division)}}.String()))

	tell("\n$ exactauth token")
	first, err := c.Token(ctx, exactauth.Want{})
	if err != nil {
		return err
	}
	tell("%s", shortened(first.Access))

	tell("\nThe token ends in %s. Then 24 scripts ask at the same moment:", time.Until(first.ExpiresAt).Round(100*time.Millisecond))
	tell("\n$ for i in $(seq 24); do exactauth token & done")
	select {
	case <-time.After(time.Until(first.ExpiresAt)):
	case <-ctx.Done():
		return context.Cause(ctx)
	}
	same, err := askAtOnce(ctx, b, dir, 24)
	if err != nil {
		return err
	}
	n := b.sim.Counters()
	tell("%s\n24 answers, %d token, %d refresh at the server, %d errors", shortened(same[0]), distinct(same), n.RefreshesIssued, n.TokenErrors)

	tell("\n$ exactauth whoami")
	t, err := c.Token(ctx, exactauth.Want{})
	if err != nil {
		return err
	}
	me, err := c.Me(ctx, t)
	if err != nil {
		return err
	}
	tell("%s", strings.TrimSpace(term.Table{{"User", me.String()}, {"Current division", fmt.Sprint(me.Division)}, {"Exact Online", b.profile.BaseURL}}.String()))
	tell("\nNothing is left behind. At the real Exact: exactauth setup, then exactauth login.")
	return nil
}

// askAtOnce asks as n scripts would: each with a store of its own on dir.
func askAtOnce(ctx context.Context, b *sandbox, dir string, n int) ([]fault.Secret, error) {
	tokens, errs := make([]fault.Secret, n), make([]error, n)
	var all sync.WaitGroup
	for i := range n {
		all.Go(func() {
			t, err := b.client(dir).Token(ctx, exactauth.Want{})
			tokens[i], errs[i] = t.Access, err
		})
	}
	all.Wait()
	for _, err := range errs {
		if err != nil {
			return nil, err // the others met with the same
		}
	}
	return tokens, nil
}

func distinct(secrets []fault.Secret) int {
	seen := map[string]bool{}
	for _, s := range secrets {
		seen[s.Reveal()] = true
	}
	return len(seen)
}

// shortened shows enough of a token to tell it from another.
func shortened(s fault.Secret) string {
	const shown = 24
	text := s.Reveal()
	if len(text) <= shown {
		return "…"
	}
	return fmt.Sprintf("%s… (%d characters)", text[:shown], len(text))
}

// followAfter goes where a browser would go, unless ctx ends before.
func followAfter(ctx context.Context, pause time.Duration, address string) {
	select {
	case <-time.After(pause):
	case <-ctx.Done():
		return
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, address, nil)
	if err != nil {
		return
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return // the login's time limit tells the person
	}
	defer resp.Body.Close()
	_, _ = io.Copy(io.Discard, resp.Body)
}
