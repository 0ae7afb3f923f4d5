package main

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"time"

	"github.com/spf13/cobra"

	"github.com/exactauth/exactauth/internal/config"
	"github.com/exactauth/exactauth/internal/fault"
)

// complete offers a flag's values to the shell's completion.
func complete(cmd *cobra.Command, flag string, values ...string) {
	completeBy(cmd, flag, cobra.FixedCompletions(values, cobra.ShellCompDirectiveNoFileComp))
}

// completeBy offers what a function finds.
func completeBy(cmd *cobra.Command, flag string, offer cobra.CompletionFunc) {
	if err := cmd.RegisterFlagCompletionFunc(flag, offer); err != nil {
		panic(err) // there is no such flag
	}
}

// completeProfiles offers the names of the profiles.
func (a *app) completeProfiles(*cobra.Command, []string, string) ([]string, cobra.ShellCompDirective) {
	conf, err := config.Read(a.Env)
	if err != nil {
		return nil, cobra.ShellCompDirectiveError
	}
	return conf.Names(), cobra.ShellCompDirectiveNoFileComp
}

// completeDivisions offers the divisions that are known without asking anybody:
// those that are pinned, and the one that was current at the profile's sign-in.
// A record elsewhere than in a file that lies open is not looked at: a key in a
// keyring may have to be unlocked, a database may be far.
func (a *app) completeDivisions(_ *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
	conf, err := config.Read(a.Env)
	if err != nil {
		return nil, cobra.ShellCompDirectiveError
	}
	found := map[int]string{}
	for _, name := range conf.Names() {
		if code, err := strconv.Atoi(conf.Profiles[name]["division"]); err == nil && code > 0 {
			found[code] = "pinned in profile " + name
		}
	}
	name := a.profileName
	if len(args) > 0 { // of "use NAME"
		name = args[0]
	}
	if p, err := conf.Resolve(a.Env, name); err == nil && p.Store == config.StoreFile && p.Seal == config.SealNone {
		if current := a.divisionAtSignIn(p); current > 0 {
			found[current] = "current when profile " + p.Name + " signed in"
		}
	}
	var offers []string
	for _, code := range slices.Sorted(maps.Keys(found)) {
		offers = append(offers, fmt.Sprintf("%d\t%s", code, found[code]))
	}
	return offers, cobra.ShellCompDirectiveNoFileComp
}

// divisionAtSignIn is the division that the profile's record tells of, or 0. No
// command that gives a client secret is run for it.
func (a *app) divisionAtSignIn(p config.Settings) int {
	c, err := a.client(p)
	if err != nil {
		return 0
	}
	c.ClientSecret = func(context.Context) (fault.Secret, error) { return fault.Secret{}, nil }
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	s, err := c.Status(ctx)
	if err != nil {
		return 0
	}
	return s.User.Division
}
