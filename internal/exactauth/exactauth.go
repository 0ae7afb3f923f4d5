// Package exactauth signs people in to Exact Online and keeps what they get
// alive: the sign-in in the system browser ([Client.Login]), the life of a token
// whose refresh token works once ([Client.Token]), and who is signed in
// ([Client.Me]).
//
// Facts about Exact are cited where they are used. "Exact KB" is Exact's
// knowledge base ("OAuth: step 1" to "step 3" and "API limits"), a name with a
// number is an issue of a public client library, as picqer/exact-php-client#300.
package exactauth

import (
	"context"
	"log/slog"
	"net/http"
	"time"

	"github.com/exactauth/exactauth/internal/config"
	"github.com/exactauth/exactauth/internal/fault"
	"github.com/exactauth/exactauth/internal/record"
)

// Client is one profile at work: one registered app, one signed-in user. Its
// zero-valued optional fields mean the default; it must not be changed once used.
type Client struct {
	// Profile names the app and its instance of Exact Online. It comes
	// from [config.Settle] or [config.Resolve].
	Profile config.Settings

	// Store holds the profile's record, under the profile's name.
	Store record.Store

	// Shared says that other machines use the store too. Then a lock can be lost
	// while its holder lives on.
	Shared bool

	// Certificates holds the listener's own certificate and its key, which are
	// this machine's alone. Optional: Store does, if only this machine uses that.
	Certificates record.Store

	// ClientSecret gives the client secret if it does not come from the
	// record; a zero Secret means that it does. It is called only before a
	// request that needs it, since it may run a command. Optional.
	ClientSecret func(context.Context) (fault.Secret, error)

	// HTTP makes every request; redirects are never followed. Optional.
	HTTP *http.Client

	// Now is the clock. Optional.
	Now func() time.Time

	// Notice is told, in one line for a person, what does not stop the work
	// but should be known. Optional.
	Notice func(string)

	// Waiting is told, before a wait that a person would notice, until what and
	// until when; zero is a wait whose end nobody knows, but that it ends with
	// ctx. What it gives is called when the wait is over. Optional.
	Waiting func(ctx context.Context, what string, until time.Time) (over func())

	// Log gets what was done, for debugging; no secret is ever in it. Optional.
	Log *slog.Logger
}

func (c *Client) now() time.Time {
	if c.Now != nil {
		return c.Now()
	}
	return time.Now()
}

func (c *Client) notice(text string) {
	if c.Notice != nil {
		c.Notice(text)
	}
}

func (c *Client) log() *slog.Logger {
	if c.Log != nil {
		return c.Log
	}
	return slog.New(slog.DiscardHandler)
}

// requestLimit bounds one request. It is long because a reply that is not
// waited for can be a login lost, and Exact has been seen to take half a minute.
const requestLimit = 60 * time.Second

// meLimit bounds the question whose a token is, which a sign-in can do without.
const meLimit = 15 * time.Second

// http returns the client for every request. Redirects are refused: a 307 would
// send client secret and refresh token again, to a place nobody registered. No
// cookies are kept: Exact's load balancer sets some that bind to one machine.
func (c *Client) http() *http.Client {
	base := c.HTTP
	if base == nil {
		base = http.DefaultClient
	}
	return &http.Client{
		Transport:     base.Transport,
		Timeout:       requestLimit,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
}
