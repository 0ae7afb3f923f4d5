package main

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"github.com/exactauth/exactauth/internal/config"
	"github.com/exactauth/exactauth/internal/exactauth"
	"github.com/exactauth/exactauth/internal/fault"
	"github.com/exactauth/exactauth/internal/tokenstore"
)

type logoutOptions struct{ forget, all, yes bool }

func (a *app) logoutCmd() *cobra.Command {
	var o logoutOptions
	cmd := &cobra.Command{
		Use:   "logout",
		Short: "Remove a profile's tokens from this machine",
		Long: `Removes the tokens. The client secret stays, so that the next login needs no set-up;
--forget removes profile, client secret and record too.

On a terminal --all and --forget ask first, unless there is --yes.

Exact has no request that revokes a token. An access token that was handed out stays
valid for up to ten minutes, and the app keeps its permission until you revoke it in
Exact Online: My Exact Online > Security centre > Permissions for my apps > Revoke.`,
		Example: `  exactauth logout
  exactauth logout --forget -p acme`,
		Args: cobra.NoArgs,
		RunE: a.runE(defaultTimeout, func(ctx context.Context, _ []string) error { return a.logout(ctx, o) }),
	}
	cmd.Flags().BoolVar(&o.forget, "forget", false, "remove the profile, its client secret and its record too")
	cmd.Flags().BoolVar(&o.all, "all", false, "log out every profile")
	cmd.Flags().BoolVarP(&o.yes, "yes", "y", false, "do not ask")
	return cmd
}

func (a *app) logout(ctx context.Context, o logoutOptions) error {
	conf, err := config.Read(a.Env)
	if err != nil {
		return err
	}
	names := conf.Names()
	switch {
	case !o.all:
		name, err := conf.Choose(a.Env, a.profileName)
		if err != nil {
			return err
		}
		names = []string{name}
	case a.profileName != "":
		return usagef("--all and --profile: give one of them")
	}
	if err := a.permitLogout(ctx, names, o); err != nil {
		return err
	}
	stays, worst := false, exitOK
	for _, name := range names {
		was, err := a.logoutOne(ctx, conf, name, o.forget)
		stays = stays || was
		err = fault.In(name, err)
		if errors.As(err, new(*interrupted)) || err != nil && !o.all {
			return err
		}
		if err != nil {
			// Now, since the next one is about another profile and has another hint.
			worst = worse(worst, a.report(err))
		}
	}
	if stays {
		a.Say("At Exact an access token that was handed out is valid for up to ten minutes more, and the app keeps its permission")
		a.Say("until you revoke it there: My Exact Online > Security centre > Permissions for my apps > Revoke.")
	}
	if worst != exitOK {
		return &reported{int(worst)}
	}
	return nil
}

// permitLogout asks a person before a logout that can cost more than another sign-in.
func (a *app) permitLogout(ctx context.Context, names []string, o logoutOptions) error {
	if o.yes || !a.Interactive() || len(names) == 0 || len(names) == 1 && !o.forget {
		return nil
	}
	what := "profile " + names[0]
	if len(names) > 1 {
		what = fmt.Sprintf("%d profiles: %s", len(names), strings.Join(names, ", "))
	}
	question := "Log out " + what + ".\nEach then needs a sign-in."
	if o.forget {
		question = "Remove " + what + ", with client secret and login.\nExact may not show the client secret again."
	}
	sure, err := a.Permit(ctx, question+" Go on?")
	if err == nil && !sure {
		err = fault.New(fault.ErrDenied, "cancelled; nothing was changed")
	}
	return err
}

// logoutOne logs one profile out, and reports whether it was signed in, as far as that
// can be known. A profile that it forgets need not be a sound one.
func (a *app) logoutOne(ctx context.Context, conf *config.Config, name string, forget bool) (was bool, err error) {
	p, err := conf.Resolve(a.Env, name)
	if err != nil && !forget {
		return false, err
	}
	p.Name = name
	if err != nil && config.CheckStore(p.Store) != nil {
		p.Store, p.Seal = config.StoreFile, config.SealNone // no other place can have a record
	}
	c, err := a.client(ctx, p)
	if err != nil {
		return false, err
	}
	if forget {
		s, err := c.Status(ctx)
		was = err != nil || s.SignedIn
		if err := a.forget(ctx, conf, c, name); err != nil {
			return false, err
		}
		a.Say("Profile %s, its client secret and its tokens are removed from %s.", name, storePlace(p))
		return was, nil
	}
	was, err = c.Logout(ctx)
	switch {
	case err != nil:
		return false, err
	case was:
		a.Say("Profile %s: the tokens are removed from %s; the client secret stays (--forget removes it too).", name, storePlace(p))
	default:
		a.Say("Profile %s was not signed in.", name)
	}
	return was, nil
}

// forget removes the record and then the profile: the profile says where the record is, so
// after an interruption between the two the same call completes what is left.
func (a *app) forget(ctx context.Context, conf *config.Config, c *exactauth.Client, name string) error {
	_, configured := conf.Profiles[name]
	if !configured {
		known, err := c.Known(ctx)
		if err != nil {
			return err
		} else if !known {
			return conf.Unknown(name)
		}
	}
	var err error
	remove := func() error { return c.Forget(ctx) }
	if configured || conf.Default == name {
		err = config.Change(ctx, a.Env, func(conf *config.Config) error {
			delete(conf.Profiles, name)
			if conf.Default == name {
				conf.Default = ""
			}
			return nil
		}, remove)
	} else { // the configuration, which may be read-only, does not mention it
		err = remove()
	}
	var file *config.FileError
	var store *tokenstore.Error
	// With the name, because the default may be another profile by then.
	again := fmt.Sprintf(`fix that, then complete it: "exactauth logout --forget --profile %s"`, name)
	switch {
	case errors.As(err, &file) && file.Late:
		return &hinted{err, "its client secret and its tokens are removed, and the profile is perhaps still in this file; " + again}
	case errors.As(err, &file):
		return &hinted{err, fmt.Sprintf(`nothing was changed; %s; to remove the tokens alone: "exactauth logout --profile %s"`, again, name)}
	case errors.As(err, &store) && store.Kind == tokenstore.Late:
		return &hinted{err, "its client secret and its tokens are perhaps removed in part, and nothing else is; " + again}
	}
	return err
}

func storePlace(p config.Settings) string {
	if p.Store == config.StoreFile || p.Store == "" {
		return "this machine"
	}
	return redacted(p.Store) + ", for every machine that shares it"
}
