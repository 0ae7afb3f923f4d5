package main

import (
	"context"
	"time"

	"github.com/spf13/cobra"

	"github.com/exactauth/exactauth/internal/exactauth"
	"github.com/exactauth/exactauth/internal/record"
)

type tokenOptions struct {
	format string
	want   exactauth.Want
}

func (a *app) tokenCmd() *cobra.Command {
	var o tokenOptions
	cmd := &cobra.Command{
		Use:   "token",
		Short: "Print a live access token",
		Long: `Prints an access token that works now, and a newline. While the stored token is
live, this reads two small files. When the token is about to expire, one process
refreshes it for all. The command never opens a browser: without a login it ends
with exit code 4.

A refresh that was sent is completed (in at most 60s) even after --timeout or
Ctrl-C, because its answer is the only copy of the next login.

Formats:
  token       the token (default)
  header      Authorization: Bearer TOKEN
  env         for eval: sets EXACT_ACCESS_TOKEN, EXACT_BASE_URL, EXACT_DIVISION
  powershell  the same for Invoke-Expression of PowerShell
  dotenv      the same as lines of NAME=value: for docker run --env-file, for
              EnvironmentFile of systemd, and to append to $GITHUB_ENV
  curl        for "curl -K -", which keeps the token out of the process list`,
		Example: `  exactauth token --min-valid 5m --timeout 10m
  eval "$(exactauth token --format env)"
  exactauth token --format curl | curl -K - "$EXACT_BASE_URL/api/v1/current/Me"`,
		Args: cobra.NoArgs,
	}
	cmd.RunE = a.runE(defaultTimeout, func(ctx context.Context, _ []string) error {
		if a.JSON && cmd.Flags().Changed("format") {
			return usagef("--format and --json cannot be combined")
		}
		return a.token(ctx, o)
	})
	cmd.Flags().StringVar(&o.format, "format", "token", "token, header, env, powershell, dotenv or curl")
	complete(cmd, "format", record.Formats()...)
	cmd.Flags().DurationVar(&o.want.MinValid, "min-valid", 0, "wait for a token that lives at least this long")
	cmd.Flags().BoolVar(&o.want.Force, "force-refresh", false, "get a new token even if this one is live (waits until Exact allows it), or after a refusal")
	return cmd
}

func (a *app) token(ctx context.Context, o tokenOptions) error {
	// Check the format before a refresh token is spent.
	if _, err := new(record.Token).Text(o.format); err != nil {
		return usagef("--format %q: %w", o.format, err)
	}
	_, c, err := a.current(ctx)
	if err != nil {
		return err
	}
	c.Begin = a.catch
	t, err := c.Token(ctx, o.want)
	if err != nil {
		return err
	}
	text, err := t.Text(o.format)
	if a.JSON {
		text, err = t.JSON(time.Now())
	}
	if err != nil {
		return err
	}
	return a.Print(text)
}
