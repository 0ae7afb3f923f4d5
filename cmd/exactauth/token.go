package main

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/exactauth/exactauth/internal/exactauth"
)

type tokenOptions struct {
	format string
	want   exactauth.Want
}

func (a *app) tokenCmd() *cobra.Command {
	var o tokenOptions
	cmd := &cobra.Command{
		Use:     "token",
		GroupID: "daily",
		Short:   "Print a live access token",
		Long: `Prints an access token that works now, and a newline. While the token at hand is
live that is one small file read; when it is about to end, one process refreshes
it for all. It never opens a browser: without a login it ends with exit code 4.

A refresh that was sent is seen through (at most 60s) even if --timeout or Ctrl-C
comes in between, because its answer is the only copy of the next login.

Formats:
  token    the token (default)
  header   Authorization: Bearer TOKEN
  env      for a shell's eval: sets EXACT_ACCESS_TOKEN, EXACT_BASE_URL, EXACT_DIVISION
  curl     for "curl -K -", which keeps the token out of the process list`,
		Example: `  exactauth token --format curl | curl -K - "https://start.exactonline.nl/api/v1/current/Me"
  eval "$(exactauth token --format env)"
  exactauth token --min-valid 5m --timeout 10m`,
		Args: cobra.NoArgs,
		RunE: a.runE(defaultTimeout, func(ctx context.Context, _ []string) error { return a.token(ctx, o) }),
	}
	cmd.Flags().StringVar(&o.format, "format", "token", "token, header, env or curl")
	complete(cmd, "format", "token", "header", "env", "curl")
	cmd.Flags().DurationVar(&o.want.MinValid, "min-valid", 0, "wait until a token with this much life can be had")
	cmd.Flags().BoolVar(&o.want.Force, "force-refresh", false, "get a new token even if this one lives (waits until Exact allows it)")
	return cmd
}

func (a *app) token(ctx context.Context, o tokenOptions) error {
	// Before anything is spent: what cannot be printed is not fetched.
	if _, err := formatToken(o.format, exactauth.Token{}); err != nil {
		return err
	}
	if o.want.MinValid < 0 {
		return usagef("--min-valid %s: want a positive duration", o.want.MinValid)
	}
	p, c, err := a.current()
	if err != nil {
		return err
	}
	t, err := c.Token(ctx, o.want)
	if err != nil {
		return err
	}
	if a.json {
		return a.printJSON(struct {
			AccessToken string    `json:"access_token"`
			TokenType   string    `json:"token_type"`
			ExpiresAt   time.Time `json:"expires_at"`
			ExpiresIn   int       `json:"expires_in"`
			BaseURL     string    `json:"base_url"`
			Profile     string    `json:"profile"`
			Division    int       `json:"division,omitempty"`
		}{t.AccessToken.Reveal(), t.Type, t.ExpiresAt.UTC().Truncate(time.Second), int(time.Until(t.ExpiresAt).Seconds()), t.BaseURL, p.Name, t.Division})
	}
	text, err := formatToken(o.format, t)
	if err != nil {
		return err
	}
	return a.print(text)
}

func formatToken(format string, t exactauth.Token) (string, error) {
	token := t.AccessToken.Reveal()
	switch format {
	case "token":
		return token + "\n", nil
	case "header":
		return "Authorization: Bearer " + token + "\n", nil
	case "curl":
		return "header = \"Authorization: Bearer " + curlQuote(token) + "\"\n", nil
	case "env":
		// What an earlier eval for another profile set must not stay.
		division := "unset EXACT_DIVISION\n"
		if t.Division != 0 {
			division = "export EXACT_DIVISION=" + strconv.Itoa(t.Division) + "\n"
		}
		return "export EXACT_ACCESS_TOKEN=" + shellQuote(token) + "\nexport EXACT_BASE_URL=" + shellQuote(t.BaseURL) + "\n" + division, nil
	}
	return "", usagef("--format %q: want token, header, env or curl", format)
}

func shellQuote(s string) string { return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'" }

// curlQuote escapes for a double-quoted value in a curl configuration file.
func curlQuote(s string) string {
	return strings.NewReplacer(`\`, `\\`, `"`, `\"`, "\n", `\n`, "\r", `\r`).Replace(s)
}

func (a *app) versionCmd() *cobra.Command {
	return &cobra.Command{
		Use:     "version",
		GroupID: "try",
		Short:   "Print the version",
		Example: `  exactauth version`,
		Args:    cobra.NoArgs,
		RunE: a.runE(0, func(context.Context, []string) error {
			if a.json {
				return a.printJSON(map[string]string{"version": version, "commit": commit, "date": date})
			}
			text := "exactauth " + version
			if commit != "" {
				text += fmt.Sprintf(" (%s, %s)", commit, date)
			}
			return a.print(text + "\n")
		}),
	}
}
