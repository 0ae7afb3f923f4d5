package main

import (
	"context"
	"log/slog"
	"runtime"
	"sync"
	"time"

	"github.com/spf13/cobra"

	"github.com/exactauth/exactauth/internal/config"
	"github.com/exactauth/exactauth/internal/exactauth"
	"github.com/exactauth/exactauth/internal/fault"
	"github.com/exactauth/exactauth/internal/network"
	"github.com/exactauth/exactauth/internal/record"
	"github.com/exactauth/exactauth/internal/term"
)

// app is what all commands share: the outside world and the global flags. Nothing is
// opened before a command needs it.
type app struct {
	term.Terminal // streams, environment, --json and --no-input

	profileName string
	verbose     bool
	timeout     time.Duration

	interrupts *interrupts // nil before they are caught
	pipes      sync.Map    // what secretFile has read, by file
	keys       sync.Map    // of seals, by file: a pipe can be read only once
	started    bool        // the command line was read; a command's own code runs
	opened     []func()    // closes the databases that were opened
}

const (
	defaultTimeout = 90 * time.Second
	loginTimeout   = 5 * time.Minute
)

// rootCmd returns the commands for a command line: only the one that it begins with,
// which saves time at the start, or all if it begins with none. A command that is made
// alone looks and works the same.
func (a *app) rootCmd(args []string) *cobra.Command {
	root := &cobra.Command{
		Use:   "exactauth",
		Short: "Sign in to Exact Online once, hand out live access tokens for months",
		Long: `Sign in to Exact Online once, in your browser. From then on "exactauth token"
prints a live access token whenever a script asks for one.`,
		Example: `  exactauth sandbox --demo         see it work, without an account
  exactauth setup                  register your app, once
  exactauth login                  sign in, once
  exactauth token                  get a live access token, any time
  exactauth whoami                 see who is signed in
  exactauth api current/Me         ask Exact's API`,
		SilenceErrors: true,
		SilenceUsage:  true,
		Version:       version, // for --version
		Args:          unknownCommand,
		RunE:          func(cmd *cobra.Command, _ []string) error { return cmd.Help() },

		PersistentPreRun: func(cmd *cobra.Command, _ []string) {
			a.started = true
			if name := cmd.Name(); name != "token" && name != "version" { // of which one catches them later, the other never
				cmd.SetContext(a.catch(cmd.Context()))
			}
		},
	}
	root.SuggestionsMinimumDistance = 2
	f := root.PersistentFlags()
	f.StringVarP(&a.profileName, "profile", "p", "", "use the profile `NAME` (default: EXACTAUTH_PROFILE, then the one chosen by \"use\")")
	f.BoolVar(&a.JSON, "json", false, "print results and errors as JSON")
	f.BoolVar(&a.NoInput, "no-input", false, "never ask questions")
	f.BoolVarP(&a.verbose, "verbose", "v", false, "log each step on stderr; secrets are never shown")
	f.DurationVar(&a.timeout, "timeout", 0, "give up after this time (default 90s; 5m for login)")
	completeBy(root, "profile", a.completeProfiles)
	root.SetHelpFunc(showHelp)
	cobra.EnableCommandSorting = false // in the order below
	root.SetOut(a.Out)
	root.SetErr(a.Err)
	root.AddGroup(&cobra.Group{ID: "daily", Title: "Every day:"}, &cobra.Group{ID: "setup", Title: "Setting up:"},
		&cobra.Group{ID: "try", Title: "Trying out:"}, &cobra.Group{ID: "more", Title: "More:"})
	root.SetCompletionCommandGroupID("more")
	commands := []struct {
		group, name string
		make        func() *cobra.Command
	}{
		{"daily", "token", a.tokenCmd}, {"daily", "api", a.apiCmd}, {"daily", "exec", a.execCmd}, {"daily", "proxy", a.proxyCmd},
		{"daily", "whoami", a.whoamiCmd}, {"daily", "status", a.statusCmd}, {"daily", "doctor", a.doctorCmd},
		{"setup", "setup", a.setupCmd}, {"setup", "login", a.loginCmd}, {"setup", "logout", a.logoutCmd}, {"setup", "use", a.useCmd},
		{"setup", "profiles", a.profilesCmd}, {"setup", "relay-page", a.relayPageCmd}, {"setup", "auth0", a.auth0Cmd},
		{"try", "sandbox", a.sandboxCmd}, {"more", "version", a.versionCmd}, {"", "exit-codes", exitCodesTopic}, {"", "environment", environmentTopic},
	}
	add := func(name string) { // all for an empty one
		for _, c := range commands {
			if name == "" || name == c.name {
				cmd := c.make()
				cmd.GroupID = c.group
				root.AddCommand(cmd)
			}
		}
	}
	if len(args) > 0 && args[0] != "" {
		add(args[0])
	}
	root.CompletionOptions.DisableDefaultCmd = root.HasSubCommands()
	if !root.HasSubCommands() {
		add("")
		finishCobra(root)
	}
	root.SetFlagErrorFunc(func(cmd *cobra.Command, err error) error { return seeHelp(cmd, err) })
	hintAtArgs(root)
	return root
}

// catch has signals end a context from here on, instead of the program at once. The Go
// runtime starts threads for that, which takes a fifth of the time of a call that has
// nothing to end.
func (a *app) catch(ctx context.Context) context.Context {
	ctx, a.interrupts = catchInterrupts(ctx)
	return ctx
}

// runE returns work as a cobra RunE, with a time limit.
func (a *app) runE(limit time.Duration, work func(ctx context.Context, args []string) error) func(*cobra.Command, []string) error {
	return func(cmd *cobra.Command, args []string) error {
		return a.within(cmd.Context(), limit, func(ctx context.Context) error { return work(ctx, args) })
	}
}

// within runs work with the time limit in --timeout, otherwise with limit. 0 means no
// limit.
func (a *app) within(ctx context.Context, limit time.Duration, work func(context.Context) error) error {
	if a.timeout < 0 {
		return usagef("--timeout %s: want a positive duration", a.timeout)
	}
	if a.timeout > 0 {
		limit = a.timeout
	}
	if limit > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, limit)
		defer cancel()
	}
	return work(ctx)
}

// client returns the client of a profile. It touches no record until it is used.
func (a *app) client(ctx context.Context, p config.Settings) (*exactauth.Client, error) {
	l, err := a.place(ctx, p)
	if err != nil {
		return nil, fault.In(p.Name, err)
	}
	c := &exactauth.Client{
		Profile:      p,
		Store:        l.records,
		Shared:       l.shared != nil,
		ClientSecret: func(ctx context.Context) (fault.Secret, error) { return a.clientSecret(ctx, p) },
		Notice:       a.Note,
		Waiting:      a.Waiting,
		Log:          a.logger(),
		Transport:    network.New(agent()),
	}
	if p.OnLoginEnded != "" {
		c.Ended = func(ctx context.Context, why error) { a.loginEnded(ctx, p, why) }
	}
	if l.shared == nil && runtime.GOOS != "windows" {
		c.WaitUnlocked = l.files.WaitUnlocked
	}
	if l.key == nil { // with a seal no other key stays on the disk
		c.Certificates = l.files
	}
	return c, nil
}

func (a *app) profile() (config.Settings, error) { return config.Resolve(a.Env, a.profileName) }

// current returns the profile that flags, environment and configuration name, and its
// client.
func (a *app) current(ctx context.Context) (config.Settings, *exactauth.Client, error) {
	p, err := a.profile()
	if err != nil {
		return config.Settings{}, nil, err
	}
	c, err := a.client(ctx, p)
	return p, c, err
}

// liveToken returns a live token of the client, within the usual time.
func (a *app) liveToken(ctx context.Context, c *exactauth.Client, want exactauth.Want) (t record.Token, err error) {
	err = a.within(ctx, defaultTimeout, func(ctx context.Context) (err error) {
		t, err = c.Token(ctx, want)
		return err
	})
	return t, err
}

// me asks Exact who is signed in, within the usual time.
func (a *app) me(ctx context.Context, c *exactauth.Client) (me record.User, err error) {
	err = a.within(ctx, defaultTimeout, func(ctx context.Context) error {
		t, err := c.Token(ctx, exactauth.Want{})
		if err == nil {
			me, err = c.Me(ctx, t)
		}
		return err
	})
	return me, err
}

func (a *app) close() {
	for _, end := range a.opened {
		end()
	}
	a.opened = nil
}

func (a *app) logger() *slog.Logger {
	if !a.verbose {
		return nil
	}
	return slog.New(slog.NewTextHandler(&a.Terminal, &slog.HandlerOptions{Level: slog.LevelDebug}))
}
