package main

import (
	"context"

	"github.com/spf13/cobra"

	"github.com/exactauth/exactauth/internal/callback"
)

func (a *app) relayPageCmd() *cobra.Command {
	return &cobra.Command{
		Use:     "relay-page",
		GroupID: "setup",
		Short:   "Print the page that sends the browser back to this machine",
		Long: `Exact sends the browser to public https addresses only. If you have a static web
host, this one file on it brings the browser back by itself: put it, unchanged, at
the address that you register as Redirect URI, and set the profile up with --relay.

The page sends the browser to http://127.0.0.1, to the port that exactauth waits on,
and nowhere else. It loads nothing and stores nothing. Your host's log will hold the
code: useless without the client secret, used up within seconds. Have the host send
"X-Frame-Options: DENY", and nobody can put the page into a frame.`,
		Example: `  exactauth relay-page > callback.html      and upload it
  exactauth setup --relay --redirect-uri https://login.example.com/callback.html`,
		Args: cobra.NoArgs,
		RunE: a.runE(0, func(context.Context, []string) error { return a.Print(callback.RelayPage()) }),
	}
}
