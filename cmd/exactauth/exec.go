package main

import (
	"context"
	"os"
	"strconv"
	"time"

	"github.com/spf13/cobra"

	"github.com/exactauth/exactauth/internal/exactauth"
)

// Variables that programs get from us.
const (
	envToken     = "EXACT_ACCESS_TOKEN"
	envBaseURL   = "EXACT_BASE_URL"
	envDivision  = "EXACT_DIVISION"
	envExpiresAt = "EXACT_TOKEN_EXPIRES_AT"
)

func (a *app) execCmd() *cobra.Command {
	var want exactauth.Want
	cmd := &cobra.Command{
		Use:     "exec [flags] -- CMD [ARG...]",
		GroupID: "daily",
		Short:   "Run a command with a live access token in its environment",
		Long: `Runs CMD with these variables:

  EXACT_ACCESS_TOKEN       a live access token
  EXACT_BASE_URL           where it works, as https://start.exactonline.nl
  EXACT_DIVISION           the pinned division; not set if there is none
  EXACT_TOKEN_EXPIRES_AT   when the token ends, as 2026-11-30T14:05:09Z

CMD is run as it is, without a shell: quote nothing twice, and for pipes or
variables run a shell yourself. On Unix it takes exactauth's place, so signals,
exit code and process id are its own; on Windows exactauth waits for it and ends
with its exit code. Without a login nothing is run, and the exit code is 4; a CMD
that is not there (127) or cannot be executed (126) is found out before a token
is asked for.

The token is not renewed while CMD runs. At Exact it lives ten minutes: ask for the
time that CMD takes with --min-valid, which waits if need be, and for a longer CMD
use "exactauth proxy -- CMD".

The rest of the environment is passed on as it is, EXACTAUTH_CLIENT_SECRET too if
you have it there, since CMD may call exactauth itself. If it is not to see the
secret, keep that in the profile or name a file in EXACTAUTH_CLIENT_SECRET_FILE.`,
		Example: `  exactauth exec -- python3 invoices.py
  exactauth exec --min-valid 5m --timeout 10m -- ./nightly.sh
  exactauth exec -- sh -c 'echo "$EXACT_BASE_URL until $EXACT_TOKEN_EXPIRES_AT"'`,
		RunE: func(cmd *cobra.Command, args []string) error {
			command, err := commandOf(cmd, args)
			if err != nil {
				return err
			}
			if len(command) == 0 {
				return usagef("want a command after --, as: exactauth exec -- python3 invoices.py")
			}
			return a.exec(cmd.Context(), want, command)
		},
	}
	cmd.Flags().DurationVar(&want.MinValid, "min-valid", 0, "wait until a token with this much life can be had")
	return cmd
}

// exec runs the command once the token is had. The time limit is for the token;
// the command takes as long as it takes.
func (a *app) exec(ctx context.Context, want exactauth.Want, command []string) error {
	if want.MinValid < 0 {
		return usagef("--min-valid %s: want a positive duration", want.MinValid)
	}
	path, err := findCommand(command[0])
	if err != nil {
		return err
	}
	_, c, err := a.current()
	if err != nil {
		return err
	}
	var t exactauth.Token
	err = a.within(ctx, defaultTimeout, func(ctx context.Context) (err error) {
		t, err = c.Token(ctx, want)
		return err
	})
	if err != nil {
		return err
	}
	a.close() // the command that takes our place knows nothing of it
	return a.become(ctx, path, command, withEnv(os.Environ(), map[string]string{
		envToken:     t.AccessToken.Reveal(),
		envBaseURL:   t.BaseURL,
		envDivision:  divisionText(t.Division),
		envExpiresAt: t.ExpiresAt.UTC().Format(time.RFC3339),
	}))
}

// divisionText is a pinned division for the environment: empty if there is none.
func divisionText(code int) string {
	if code == 0 {
		return ""
	}
	return strconv.Itoa(code)
}
