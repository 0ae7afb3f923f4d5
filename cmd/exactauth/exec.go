package main

import (
	"context"
	"strconv"
	"time"

	"github.com/spf13/cobra"

	"github.com/exactauth/exactauth/internal/exactauth"
)

// The variables that a command gets.
const (
	envToken     = "EXACT_ACCESS_TOKEN"
	envBaseURL   = "EXACT_BASE_URL"
	envDivision  = "EXACT_DIVISION"
	envExpiresAt = "EXACT_TOKEN_EXPIRES_AT"
)

func (a *app) execCmd() *cobra.Command {
	var want exactauth.Want
	cmd := &cobra.Command{
		Use:   "exec [flags] -- CMD [ARG...]",
		Short: "Run a command with a live access token in its environment",
		Long: `Runs CMD with these variables:

  EXACT_ACCESS_TOKEN       a live access token
  EXACT_BASE_URL           where it works, as https://start.exactonline.nl
  EXACT_DIVISION           the pinned division; not set if there is none
  EXACT_TOKEN_EXPIRES_AT   when the token ends, as 2026-11-30T14:05:09Z

CMD runs without a shell: do not quote twice, and for pipes or variables run a shell
yourself. On Unix CMD takes exactauth's place, so signals, exit code and process id
are its own. On Windows exactauth waits for CMD and ends with its exit code. Without
a login nothing runs, and the exit code is 4. If CMD is not found (127) or cannot be
executed (126), no token is fetched.

The token is not renewed while CMD runs. At Exact it lives ten minutes: with
--min-valid ask for as much time as CMD takes, which may have to wait. For a longer
CMD use "exactauth proxy -- CMD".

The rest of the environment is passed on unchanged, EXACTAUTH_CLIENT_SECRET too if
it is set, since CMD may call exactauth itself. To hide the secret from CMD, keep it
in the profile or name a file in EXACTAUTH_CLIENT_SECRET_FILE.`,
		Example: `  exactauth exec -- python3 invoices.py
  exactauth exec --min-valid 5m --timeout 10m -- ./nightly.sh
  exactauth exec -- sh -c 'echo "$EXACT_BASE_URL until $EXACT_TOKEN_EXPIRES_AT"'`,
		RunE: withCommand(func(ctx context.Context, command []string) error { return a.exec(ctx, want, command) }),
	}
	cmd.Flags().DurationVar(&want.MinValid, "min-valid", 0, "wait for a token that is valid for at least this long")
	return cmd
}

// exec gets a token and runs the command. The time limit is for the token alone.
func (a *app) exec(ctx context.Context, want exactauth.Want, command []string) error {
	if len(command) == 0 {
		return usagef("no command after --, as in: exactauth exec -- python3 invoices.py")
	}
	path, err := findCommand(command[0], command[1:]...)
	if err != nil {
		return err
	}
	_, c, err := a.current(ctx)
	if err != nil {
		return err
	}
	t, err := a.liveToken(ctx, c, want)
	if err != nil {
		return err
	}
	a.close() // the command that takes our place knows nothing of it
	return a.become(ctx, path, command, envWith(map[string]string{
		envToken:     t.Access.Reveal(),
		envBaseURL:   t.BaseURL,
		envDivision:  divisionText(t.Division),
		envExpiresAt: t.ExpiresAt.UTC().Format(time.RFC3339),
	}))
}

// divisionText returns a pinned division as text, empty if there is none.
func divisionText(code int) string {
	if code == 0 {
		return ""
	}
	return strconv.Itoa(code)
}
