package main

import (
	"context"
	"errors"

	"github.com/exactauth/exactauth/internal/config"
	"github.com/exactauth/exactauth/internal/exactauth"
	"github.com/exactauth/exactauth/internal/fault"
	"github.com/exactauth/exactauth/internal/trust"
)

// takeOver is login with another program's refresh token.
func (a *app) takeOver(ctx context.Context, p config.Settings, c *exactauth.Client, o loginOptions) error {
	if o.paste || o.noBrowser || o.forceLogin || o.browser != "" {
		return usagef("--refresh-token-file: there is no sign-in in the browser, so only --replace goes with it")
	}
	text, source, err := a.fileOrStdin(ctx, "--refresh-token-file", o.tokenFile)
	if err != nil {
		return err
	}
	f, err := exactauth.ParseForeign(trust.Text(text))
	if err != nil {
		return usagef("%s: %w", source, err)
	}
	done, err := c.TakeOver(ctx, f, exactauth.LoginOptions{Replace: o.replace})
	if err != nil {
		return takeOverError(p.Name, err)
	}
	a.warnOfTwins(ctx, p, done.User)
	a.Note("the copy that the other program has is dead from now on: a refresh token works once; let that program call exactauth")
	return a.showLogin(p, done)
}

// takeOverError adds the hint to an error that needs one of this command's own.
func takeOverError(profile string, err error) error {
	var later *fault.WaitError
	switch {
	case errors.Is(err, exactauth.ErrSaved), errors.Is(err, exactauth.ErrUnsaved):
	case errors.Is(err, fault.ErrLoginNeeded):
		return &hinted{err, `stop the other program and use its newest file; or sign in: "exactauth login --profile ` + profile + `"`}
	case errors.As(err, &later) && !later.Waits:
		return &hinted{err, "stop the other program, and run the same command again in ten minutes"}
	}
	return loginError(profile, err)
}
