package main

import (
	"context"
	"maps"
	"slices"

	"github.com/spf13/cobra"
)

func (a *app) useCmd() *cobra.Command {
	return &cobra.Command{
		Use:     "use NAME",
		GroupID: "setup",
		Short:   "Choose the default profile",
		Example: `  exactauth use acme`,
		Args:    cobra.ExactArgs(1),
		RunE: a.runE(defaultTimeout, func(ctx context.Context, args []string) error {
			name := args[0]
			a.profileName = name
			err := a.changeConfig(ctx, func(conf *config) error {
				if _, known := conf.Profiles[name]; !known {
					return unknownProfile(name, *conf)
				}
				conf.Default = name
				return nil
			})
			if err != nil {
				return err
			}
			a.say("Profile %s is the default now.", name)
			return nil
		}),
		ValidArgsFunction: a.completeProfiles,
	}
}

func (a *app) profilesCmd() *cobra.Command {
	return &cobra.Command{
		Use:     "profiles",
		GroupID: "setup",
		Short:   "List the names of the profiles",
		Example: `  for p in $(exactauth profiles); do exactauth status -p "$p"; done`,
		Args:    cobra.NoArgs,
		RunE: a.runE(defaultTimeout, func(context.Context, []string) error {
			conf, err := a.readConfig()
			if err != nil {
				return err
			}
			names := slices.Sorted(maps.Keys(conf.Profiles))
			if a.json {
				if names == nil {
					names = []string{}
				}
				return a.printJSON(map[string]any{"profiles": names, "default": conf.Default})
			}
			text := ""
			for _, name := range names {
				text += name + "\n"
			}
			return a.print(text)
		}),
	}
}
