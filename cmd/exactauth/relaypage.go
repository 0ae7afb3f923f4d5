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
host, this one file brings the browser back by itself: upload it unchanged to the
address that you register as Redirect URI, and set up the profile with --relay.

The page sends the browser to exactauth's port on http://127.0.0.1 and nowhere else.
It loads nothing and stores nothing. Your host's log will have the code, which is
useless without the client secret and used up within seconds. Let the host send
"X-Frame-Options: DENY", so that no other page can put this one into a frame.`,
		Example: `  exactauth relay-page > callback.html      then upload it
  exactauth setup --relay --redirect-uri https://login.example.com/callback.html`,
		Args: cobra.NoArgs,
		RunE: a.runE(0, func(context.Context, []string) error { return a.Print(callback.RelayPage()) }),
	}
}
