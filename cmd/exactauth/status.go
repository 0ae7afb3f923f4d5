package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/spf13/cobra"

	"github.com/exactauth/exactauth/internal/exactauth"
	"github.com/exactauth/exactauth/internal/fault"
	"github.com/exactauth/exactauth/internal/term"
)

// statusSchema is raised when a field of the JSON changes its meaning or goes.
const statusSchema = 1

func (a *app) statusCmd() *cobra.Command {
	check, warn := false, "7d"
	cmd := &cobra.Command{
		Use:     "status",
		GroupID: "daily",
		Short:   "Show every profile and whether it is signed in",
		Long: `Shows every profile, or the one named with --profile: signed in or not, when the
access token ends, when the login lapses if nobody fetches a token, and what went
wrong last. It reads the records, from files or a shared store, and does not ask Exact.

For monitoring: it ends with 0 if all is well, else with the gravest exit code that
"exactauth token" would end with for one of them: 6 for a record that cannot be
read, 4 for a sign-in that is needed, 2 for a wrong configuration. What is
temporary (5) does not count.

With --check it is a plug-in for Nagios, Icinga, Checkmk and their like: one line
with performance data, and their exit codes: 0 all is well, 1 a login lapses within
--warn or Exact gave no usable answer last, 2 a person must act, 3 nothing is known.`,
		Example: `  exactauth status
  exactauth status --json -p acme
  exactauth status --check --warn 10d`,
		Args: cobra.NoArgs,
		RunE: a.runE(defaultTimeout, func(ctx context.Context, _ []string) error {
			if check {
				return a.check(ctx, warn)
			}
			return a.status(ctx)
		}),
	}
	cmd.Flags().BoolVar(&check, "check", false, "one line and the exit codes of monitoring plug-ins")
	cmd.Flags().StringVar(&warn, "warn", warn, "with --check: warn when a login lapses within this time, as 7d or 36h")
	return cmd
}

type profileStatus struct {
	Profile          string     `json:"profile"`
	Default          bool       `json:"default"`
	BaseURL          string     `json:"base_url"`
	ClientID         string     `json:"client_id"`
	SignedIn         bool       `json:"signed_in"`
	AccessExpiresAt  *time.Time `json:"access_expires_at,omitempty"`
	RefreshExpiresAt *time.Time `json:"refresh_expires_at,omitempty"`
	User             string     `json:"user,omitempty"`
	Store            string     `json:"store"`
	Seal             string     `json:"seal"`
	Problem          string     `json:"problem,omitempty"`

	err error
}

// statuses looks at the profile that was named, or else at all of them.
func (a *app) statuses(ctx context.Context) ([]profileStatus, error) {
	conf, err := a.readConfig()
	if err != nil {
		return nil, err
	}
	named, err := a.nameIn(conf)
	names := slices.Sorted(maps.Keys(conf.Profiles))
	if a.profileName != "" || len(names) == 0 {
		if err != nil {
			return nil, err
		}
		names = []string{named}
	}
	var all []profileStatus
	for _, name := range names {
		s, err := a.statusOf(ctx, name)
		if err != nil {
			return nil, err // the profile does not exist at all
		}
		s.Default = name == a.defaultIn(conf)
		all = append(all, s)
	}
	return all, nil
}

func (a *app) status(ctx context.Context) error {
	all, err := a.statuses(ctx)
	if err != nil {
		return err
	}
	if a.JSON {
		err = a.PrintJSON(map[string]any{"schema_version": statusSchema, "profiles": all})
	} else {
		err = a.Print(a.statusText(all))
	}
	if err != nil {
		return err
	}
	var gravest error
	for _, s := range all {
		if code := codeOf(s.err); code > codeOf(gravest) && code != exitTemporary {
			gravest = s.err
			a.profileName = s.Profile
		}
	}
	return gravest
}

// statusOf looks at one profile. Whatever is wrong with it goes into the status,
// so that one damaged record does not hide the others.
func (a *app) statusOf(ctx context.Context, name string) (profileStatus, error) {
	asked := a.profileName
	defer func() { a.profileName = asked }()
	a.profileName = name
	p, err := a.profile()
	if err != nil {
		conf, confErr := a.readConfig()
		if table, known := conf.Profiles[name]; known && confErr == nil {
			return profileStatus{Profile: name, BaseURL: table.BaseURL, ClientID: table.ClientID, Store: redacted(cmp.Or(table.Store, storeFile)), Seal: cmp.Or(table.Seal, sealNone), Problem: err.Error(), err: err}, nil
		}
		return profileStatus{}, err
	}
	out := profileStatus{Profile: name, BaseURL: p.BaseURL, ClientID: p.ClientID, Store: redacted(p.Store), Seal: p.Seal}
	var s exactauth.Status
	c, err := a.client(p)
	if err == nil {
		s, err = c.Status(ctx)
	}
	if err == nil {
		err = s.Problem
	}
	out.SignedIn = s.SignedIn
	if s.User.UserID != "" {
		out.User = s.User.String()
	}
	if !s.AccessExpiresAt.IsZero() {
		access, refresh := seconds(s.AccessExpiresAt), seconds(s.RefreshExpiresAt)
		out.AccessExpiresAt, out.RefreshExpiresAt = &access, &refresh
	}
	if err != nil {
		out.err, out.Problem = err, err.Error()
	}
	return out, nil
}

func (a *app) statusText(all []profileStatus) string {
	text := ""
	for i, s := range all {
		if i > 0 {
			text += "\n"
		}
		head := s.Profile
		if s.Default {
			head += " (default)"
		}
		state := a.Paint(term.Green, "signed in")
		switch {
		case s.SignedIn && s.err != nil:
			state = a.Paint(term.Yellow, "signed in")
		case s.SignedIn:
		case errors.Is(s.err, fault.ErrLoginNeeded):
			state = a.Paint(term.Red, "not signed in")
		default:
			state = a.Paint(term.Red, "not usable")
		}
		if s.SignedIn && s.User != "" {
			state += " as " + s.User
		}
		t := term.Table{term.Row("  Exact Online", s.BaseURL)}
		if s.SignedIn {
			t = append(t,
				term.Row("  Access token", until(*s.AccessExpiresAt, "ended; the next call gets a new one")),
				term.Row("  Login lapses", s.RefreshExpiresAt.Local().Format("2 January 2006 15:04")+" unless a token is fetched before"))
		}
		t.Add("  Kept in", s.Store+", seal "+s.Seal)
		if s.Problem != "" {
			t.Add("  Problem", s.Problem)
		}
		text += fmt.Sprintf("%s: %s\n%s", head, state, t)
	}
	return text
}

func until(t time.Time, over string) string {
	left := time.Until(t).Round(time.Second)
	if left <= 0 {
		return over
	}
	return fmt.Sprintf("live, %s left", left)
}
