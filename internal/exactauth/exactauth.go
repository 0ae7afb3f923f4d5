// Package exactauth signs people in to Exact Online and keeps the login alive: the
// sign-in in the system browser ([Client.Login]), a live token from a refresh token that
// works once ([Client.Token]), and the signed-in user ([Client.Me]).
//
// Facts about Exact are cited where they are used. "Exact KB" is Exact's knowledge base
// ("OAuth: step 1" to "step 3" and "API limits"); a name with a number is an issue of a
// public client library, such as picqer/exact-php-client#300.
package exactauth

import (
	"context"
	"log/slog"
	"math/rand/v2"
	"net/http"
	"time"

	"github.com/exactauth/exactauth/internal/config"
	"github.com/exactauth/exactauth/internal/fault"
	"github.com/exactauth/exactauth/internal/record"
)

// Client is one profile: one registered app, one signed-in user. Fields that are optional
// have a default. A Client must not be changed once it is in use.
type Client struct {
	// Profile names the app and its instance of Exact Online. It comes from
	// [config.Settle] or [config.Resolve].
	Profile config.Settings

	// Store holds the profile's record, under the profile's name.
	Store record.Store

	// Shared is set if other machines use the store too. A process can lose the lock of
	// such a store while it lives.
	Shared bool

	// Certificates stores the listener's own certificate and its key, which belong to
	// this machine alone. Optional: without it each login makes a certificate.
	Certificates record.Store

	// ClientSecret returns the client secret, or a zero Secret if the record has it. It is
	// called only before a request that needs the secret, since it may run a command.
	// Optional.
	ClientSecret func(context.Context) (fault.Secret, error)

	// Transport makes every request. Optional.
	Transport http.RoundTripper

	// Now is the clock. Optional.
	Now func() time.Time

	// Jitter draws a duration below most, by which the pause before a retry differs from
	// that of other processes. Optional.
	Jitter func(most time.Duration) time.Duration

	// Notice is called with a line for a person about what does not stop the work.
	// Optional.
	Notice func(string)

	// Waiting is called before a noticeable wait with what is awaited and when it ends;
	// zero means that the end is unknown. It returns a function that is called when the
	// wait is over. Optional.
	Waiting func(ctx context.Context, what string, until time.Time) (over func())

	// WaitUnlocked waits until no process holds the record's lock, until ctx ends or for no
	// longer than limit, and reports whether it waited. Optional: without it a call that
	// needs a new token tries the lock, and looks at the record, again and again.
	WaitUnlocked func(ctx context.Context, name string, limit time.Duration) (waited bool)

	// Begin is called before Token does more than return the stored token, and returns the
	// context for that. Optional.
	Begin func(context.Context) context.Context

	// Ended is called when a call of Token finds that the login has ended and a person
	// must sign in, which why says: once for each ending, by one of the processes and
	// machines that have the record in common and this function set. Its ctx ends 30 s
	// later (a twentieth of a token's life), and not with the call's. Optional.
	Ended func(ctx context.Context, why error)

	// Log gets debug messages; they contain no secret. Optional.
	Log *slog.Logger
}

// now returns the wall clock's time. A monotonic reading would compare differently from
// the same times once they are in the record, if the clock is set back during a request.
func (c *Client) now() time.Time {
	if c.Now != nil {
		return c.Now().Round(0)
	}
	return time.Now().Round(0)
}

func (c *Client) jitter(most time.Duration) time.Duration {
	if c.Jitter != nil {
		return c.Jitter(most)
	}
	return rand.N(most)
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

// requestLimit is the longest that one request takes. It is long because a login is lost
// if its reply is not awaited, and Exact has been seen to take half a minute.
const requestLimit = 60 * time.Second

// userLimit is the longest that the request for the user takes, which a sign-in can do
// without.
const userLimit = 15 * time.Second

// http returns the client for every request. It follows no redirects: a 307 would send
// client secret and refresh token again, to an unregistered address. It keeps no
// cookies: some of those of Exact's load balancer bind to one machine.
func (c *Client) http() *http.Client {
	return &http.Client{
		Transport:     c.Transport,
		Timeout:       requestLimit,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
}
