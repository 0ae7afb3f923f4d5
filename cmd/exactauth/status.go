package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/exactauth/exactauth/internal/config"
	"github.com/exactauth/exactauth/internal/exactauth"
	"github.com/exactauth/exactauth/internal/fault"
	"github.com/exactauth/exactauth/internal/term"
)

// statusSchema is raised when a field of the JSON changes its meaning or goes.
const statusSchema = 1

func (a *app) statusCmd() *cobra.Command {
	check, warn := false, "7d"
	cmd := &cobra.Command{
		Use:   "status",
		Short: "Show every profile and whether it is signed in",
		Long: `Shows every profile, or the one named with --profile: whether it is signed in, when
the access token expires, when the login lapses unless a token is fetched before, and
the last error. It reads the records, from files or a shared store, and does not ask
Exact; so it does not know how many calls Exact's limits still allow, which
"exactauth whoami --divisions" shows.

The exit code is 0 if all is well. Otherwise it is the worst one that "exactauth token"
would end with for one of the profiles: 6 if a record cannot be read, 4 if a sign-in
is needed, 2 if the configuration is wrong. Temporary errors (5) do not count.

With --check it is a plug-in for Nagios, Icinga, Checkmk and other monitors: one line
with performance data, and their exit codes: 0 all is well, 1 a login lapses within
--warn or Exact's last answer was not usable, 2 a person must act, 3 status unknown.`,
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
	cmd.Flags().BoolVar(&check, "check", false, "print one line and end as monitoring plug-ins do")
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
	SignedInAt       *time.Time `json:"signed_in_at,omitempty"`
	User             string     `json:"user,omitempty"`
	Store            string     `json:"store"`
	Seal             string     `json:"seal"`
	Problem          string     `json:"problem,omitempty"`

	err error
}

// statuses returns the status of the profile in --profile, without it those of all.
func (a *app) statuses(ctx context.Context) ([]profileStatus, error) {
	conf, err := config.Read(a.Env)
	if err != nil {
		return nil, err
	}
	names := conf.Names()
	if a.profileName != "" || len(names) == 0 {
		named, err := conf.Choose(a.Env, a.profileName)
		if err != nil {
			return nil, err
		}
		names = []string{named}
	}
	standard, _ := conf.Choose(a.Env, "") // there may be none
	var all []profileStatus
	for _, name := range names {
		s, err := a.statusOf(ctx, conf, name)
		if err != nil {
			return nil, err // the profile does not exist at all
		}
		s.Default = name == standard
		all = append(all, s)
	}
	return all, nil
}

func (a *app) status(ctx context.Context) error {
	all, err := a.statuses(ctx)
	if err != nil {
		return err
	}
	if err := a.Result(map[string]any{"schema_version": statusSchema, "profiles": all}, a.statusText(all)); err != nil {
		return err
	}
	var worst error
	for _, s := range all {
		if code := codeOf(s.err); code > codeOf(worst) && code != exitTemporary {
			worst = s.err
		}
	}
	return worst
}

// statusOf returns the status of one profile. It contains the profile's errors, so that
// one damaged record does not hide the other profiles.
func (a *app) statusOf(ctx context.Context, conf *config.Config, name string) (profileStatus, error) {
	p, err := conf.Resolve(a.Env, name)
	if _, known := conf.Profiles[name]; err != nil && !known {
		return profileStatus{}, err
	}
	var c *exactauth.Client
	var s exactauth.Status
	if err == nil {
		c, err = a.client(ctx, p)
	}
	if err == nil {
		s, err = c.Status(ctx)
	}
	err = fault.In(name, cmp.Or(err, s.Problem))
	out := profileStatus{Profile: name, BaseURL: p.BaseURL, ClientID: p.ClientID, SignedIn: s.SignedIn,
		AccessExpiresAt: seconds(s.AccessExpiresAt), RefreshExpiresAt: seconds(s.RefreshExpiresAt), SignedInAt: seconds(s.SignedInAt),
		Store: redacted(p.Store), Seal: p.Seal, err: err}
	if s.User.ID != "" {
		out.User = s.User.String()
	}
	if named := (*fault.ProfileError)(nil); errors.As(err, &named) {
		out.Problem = named.Err.Error() // the status names the profile already
	}
	return out, nil
}

func (a *app) statusText(all []profileStatus) string {
	var text strings.Builder
	for i, s := range all {
		if i > 0 {
			text.WriteByte('\n')
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
		var t term.Table
		t.Add("  Exact Online", s.BaseURL)
		if s.SignedIn {
			access := "expired; the next call gets a new one"
			if left := time.Until(*s.AccessExpiresAt).Round(time.Second); left > 0 {
				access = fmt.Sprintf("live, %s left", left)
			}
			t.Add("  Access token", access)
			if s.SignedInAt != nil {
				t.Add("  Signed in", since(*s.SignedInAt))
			}
			t.Add("  Login lapses", s.RefreshExpiresAt.Local().Format(minutes)+" unless a token is fetched before")
		}
		t.Add("  Kept in", s.Store+", seal "+s.Seal)
		if s.Problem != "" && !errors.Is(s.err, exactauth.ErrNotSignedIn) { // which the state says
			t.Add("  Problem", s.Problem)
		}
		fmt.Fprintf(&text, "%s: %s\n%s", head, state, t)
	}
	return text.String()
}

// since formats the time of a sign-in. Two sources (vectel.nl, Exact's document about AEC)
// say that Exact ends a login after a year, others that it can last; it was not tested.
func since(signIn time.Time) string {
	text := signIn.Local().Format(minutes)
	if time.Since(signIn) > 335*24*time.Hour {
		text += "; Exact may ask for a new sign-in after a year"
	}
	return text
}

// minutes is how a time that is days away is shown.
const minutes = "2 January 2006 15:04"

// pluginState is a state in the Monitoring Plugins' guidelines. Its number is the exit
// code (monitoring-plugins.org/doc/guidelines.html, plugin return codes).
type pluginState int

const (
	allWell pluginState = iota
	warning
	critical
	unknown
)

func (s pluginState) String() string {
	return [...]string{"OK", "WARNING", "CRITICAL", "UNKNOWN"}[s]
}

// check prints all statuses in the one line that monitors read.
func (a *app) check(ctx context.Context, warn string) error {
	before, err := parseDays(warn)
	if err != nil {
		return usagef("--warn %q: want a time such as 7d or 36h", warn)
	}
	all, err := a.statuses(ctx)
	if err != nil {
		return a.endCheck(unknown, err.Error(), "")
	}
	worst := allWell
	var said, data []string
	for _, s := range all {
		state, text := s.pluginState(time.Now(), before)
		// A login that has ended is worse than one whose status is unknown.
		if rank := [...]int{allWell: 0, warning: 1, unknown: 2, critical: 3}; rank[state] > rank[worst] {
			worst = state
		}
		said = append(said, s.Profile+": "+text)
		if s.RefreshExpiresAt != nil {
			// 'label'=value[unit];[warn];[crit];[min]: a range that ends below "10:"
			data = append(data, fmt.Sprintf("'%s login'=%ds;%d:;0:", s.Profile, max(0, int(time.Until(*s.RefreshExpiresAt).Seconds())), int(before.Seconds())))
		}
	}
	return a.endCheck(worst, strings.Join(said, "; "), strings.Join(data, " "))
}

func (a *app) endCheck(state pluginState, text, data string) error {
	line := fmt.Sprintf("EXACTAUTH %s - %s", state, strings.ReplaceAll(fault.Line(text), "|", "/")) // a bar begins the data
	if data != "" {
		line += " | " + data
	}
	err := a.Result(map[string]any{"schema_version": statusSchema, "state": state.String(), "text": text}, line+"\n")
	if err == nil && state != allWell {
		err = &reported{int(state)}
	}
	return err
}

// pluginState returns the state of one profile, and why.
func (s *profileStatus) pluginState(now time.Time, warn time.Duration) (pluginState, string) {
	switch {
	case errors.Is(s.err, fault.ErrTemporary):
		return warning, s.Problem
	case s.err != nil:
		return critical, s.Problem
	case s.RefreshExpiresAt == nil:
		return unknown, "status unknown"
	}
	left := s.RefreshExpiresAt.Sub(now)
	text := "signed in, lapses in " + days(left) + " unless a token is fetched"
	if left < warn {
		return warning, text
	}
	return allWell, text
}

func days(d time.Duration) string {
	const day = 24 * time.Hour
	if d >= 2*day {
		return fmt.Sprintf("%d days", d/day)
	}
	return d.Truncate(time.Minute).String()
}

func parseDays(s string) (time.Duration, error) {
	if number, ok := strings.CutSuffix(s, "d"); ok {
		n, err := strconv.ParseFloat(number, 64)
		if err != nil || n < 0 || n > 10_000 {
			return 0, errors.New("not a number of days")
		}
		return time.Duration(n * float64(24*time.Hour)), nil
	}
	d, err := time.ParseDuration(s)
	if err == nil && d < 0 {
		err = errors.New("negative")
	}
	return d, err
}
