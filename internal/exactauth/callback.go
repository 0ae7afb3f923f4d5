package exactauth

import (
	"context"
	"errors"
	"net/http"
	"net/url"

	"github.com/exactauth/exactauth/internal/config"
	"github.com/exactauth/exactauth/internal/fault"
)

// Callback waits on a loopback address for the answer to a sign-in elsewhere
// than at Exact, with the rules of [Client.Login]: exact method, path and host,
// the state first, one answer, and no code left in the address bar.
type Callback struct {
	l       *listener
	attempt *attempt
}

// NewCallback binds redirectURI, an http URL on a loopback address such as
// "http://127.0.0.1:8485/callback", and takes requests from then on: the
// browser may be sent off. Errors wrap fault.ErrConfig, and ErrPort beside it if the
// port cannot be had. The caller closes it. Language is as in [LoginOptions].
func NewCallback(ctx context.Context, redirectURI, language string) (*Callback, error) {
	if err := config.CheckRedirectURI(redirectURI); err != nil {
		return nil, fault.Wrap(fault.ErrConfig, err, "callback")
	}
	if u, err := url.Parse(redirectURI); err != nil || u.Scheme != "http" || !config.IsLoopback(u.Hostname()) || u.Port() == "" {
		return nil, fault.New(fault.ErrConfig, "callback: %q: want http, a loopback address and a port, as http://127.0.0.1:8485/callback", fault.Printable(redirectURI))
	}
	p := config.Settings{RedirectURI: redirectURI}
	at, _ := placeFor(p)
	l, err := listen(ctx, at, nil)
	if err != nil {
		return nil, err
	}
	a := newAttempt(p, false, "")
	l.start(a, languageNamed(language))
	return &Callback{l, a}, nil
}

// State is what the answer must carry: 256 random bits.
func (c *Callback) State() string { return c.attempt.state }

// Code waits for the answer and returns its code. Errors wrap fault.ErrDenied, with a
// *RefusedError beside it unless ctx's deadline has passed; or they are why ctx
// was cancelled. The browser waits until Finish.
func (c *Callback) Code(ctx context.Context) (fault.Secret, error) {
	select {
	case r := <-c.l.came:
		return r.code, r.err
	case <-ctx.Done():
		if errors.Is(ctx.Err(), context.DeadlineExceeded) {
			return fault.Secret{}, fault.New(fault.ErrDenied, "nobody signed in before the time was over")
		}
		return fault.Secret{}, context.Cause(ctx)
	}
}

// Finish shows the browser that brought the answer what became of it, in the
// language that it asks for, and closes the callback.
func (c *Callback) Finish(en, nl Words) {
	for _, w := range []*Words{&en, &nl} {
		w.Text, w.Detail = fault.Printable(w.Text), fault.Printable(w.Detail)
	}
	c.l.finish(page{http.StatusOK, en, nl})
}

// Close ends the waiting at once.
func (c *Callback) Close() { c.l.close() }
