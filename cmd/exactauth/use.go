package main

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/exactauth/exactauth/internal/config"
	"github.com/exactauth/exactauth/internal/exactapi"
)

func (a *app) useCmd() *cobra.Command {
	division := -1
	cmd := &cobra.Command{
		Use:   "use [NAME]",
		Short: "Choose the default profile, or pin a division",
		Long: `Makes NAME the default profile. With --division it pins the division that scripts get
as EXACT_DIVISION, whichever division is open in the user's browser; 0 pins none. If
a token is live, it asks Exact whether the user can open the division.
Without NAME, --division changes the profile in use.`,
		Example: `  exactauth use acme
  exactauth use --division 123456
  exactauth use beta --division 0`,
		Args:              cobra.MaximumNArgs(1),
		RunE:              a.runE(defaultTimeout, func(ctx context.Context, args []string) error { return a.use(ctx, args, division) }),
		ValidArgsFunction: a.completeProfiles,
	}
	cmd.Flags().IntVar(&division, "division", -1, "pin this division for scripts; 0 for none")
	cmd.Flags().Lookup("division").DefValue = "0" // 0 in the help, for no division
	completeBy(cmd, "division", a.completeDivisions)
	return cmd
}

func (a *app) use(ctx context.Context, args []string, division int) error {
	if len(args) == 0 && division == -1 {
		return &hinted{usagef("no profile named"), "name one: exactauth use NAME; the names: exactauth profiles"}
	}
	if division < -1 {
		return usagef("--division %d: want a division's code, a positive number", division)
	}
	name := a.profileName
	if len(args) > 0 {
		name = args[0]
	}
	err := config.Change(ctx, a.Env, func(conf *config.Config) (err error) {
		if name, err = conf.Choose(a.Env, name); err != nil {
			return err
		}
		table, known := conf.Profiles[name]
		if !known {
			return conf.Unknown(name)
		}
		if len(args) > 0 {
			conf.Default = name
		}
		if division >= 0 {
			table["division"] = divisionText(division)
		}
		return nil
	}, nil)
	if err != nil {
		return err
	}
	if len(args) > 0 {
		a.Say("Profile %s is the default now.", name)
	}
	switch {
	case division > 0:
		a.Say("Profile %s: division %d is pinned.", name, division)
		a.noteClosed(ctx, name, division)
	case division == 0:
		a.Say("Profile %s: no division is pinned.", name)
	}
	return nil
}

// noteClosed prints a note if the user of the profile cannot open a division. It asks only
// if a token is live, and once; without an answer it is silent.
func (a *app) noteClosed(ctx context.Context, name string, division int) {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	p, err := config.Resolve(a.Env, name)
	if err != nil {
		return
	}
	c, err := a.client(ctx, p)
	if err != nil {
		return
	}
	if t, live := c.Live(ctx); live {
		if opens, err := exactapi.Opens(ctx, c.API(t), division); err == nil && !opens {
			a.Note(fmt.Sprintf("the user cannot open division %d; to list the others: exactauth whoami --divisions --profile %s", division, name))
		}
	}
}

func (a *app) profilesCmd() *cobra.Command {
	return &cobra.Command{
		Use:     "profiles",
		Short:   "List the names of the profiles",
		Example: `  for p in $(exactauth profiles); do exactauth status -p "$p"; done`,
		Args:    cobra.NoArgs,
		RunE: a.runE(defaultTimeout, func(context.Context, []string) error {
			conf, err := config.Read(a.Env)
			if err != nil {
				return err
			}
			names := append([]string{}, conf.Names()...) // in JSON an empty list, not null
			return a.Result(map[string]any{"profiles": names, "default": conf.Default}, strings.Join(append(names, ""), "\n"))
		}),
	}
}
