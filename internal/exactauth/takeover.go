package exactauth

import (
	"cmp"
	"context"
	"errors"

	"github.com/exactauth/exactauth/internal/fault"
	"github.com/exactauth/exactauth/internal/record"
)

// TakeOver makes another program's login this profile's. It spends the refresh token once
// and saves what Exact answers, as Login does with a code: a process that is killed before
// that has changed nothing but the mark in the record, and the other program's file still
// has what to try again with.
//
// A code of another user can be made again, and a spent refresh token cannot. So beside a
// login, TakeOver asks Exact with f's access token whose it is before it spends anything.
//
// Its errors are as Login's.
func (c *Client) TakeOver(ctx context.Context, f Foreign, o LoginOptions) (_ Login, err error) {
	defer c.named(&err)
	if id, base := c.Profile.ClientID, c.Profile.BaseURL; f.ClientID != "" && f.ClientID != id || f.BaseURL != "" && f.BaseURL != base {
		return Login{}, fault.New(fault.ErrConfig, "that login is of client id %s at %s, not of %s at %s; nothing was spent", cmp.Or(f.ClientID, id), cmp.Or(f.BaseURL, base), id, base)
	}
	secret, err := c.readyToLogin(ctx, o)
	if err == nil {
		err = c.mayTakeOver(ctx, f, o)
	}
	if f.Life == 0 {
		f.Life = exactLife
	}
	// The other program counted from the answer, as Exact does.
	if until := f.ExpiresAt.Add(-f.Life / 24); err == nil && until.Before(c.now().Add(f.Life)) && until.After(c.now()) {
		err = c.wait(ctx, "Exact allows a refresh", until, "the other program has refreshed this login a moment ago; nothing was spent yet, and it can be taken over")
	}
	if err != nil {
		return Login{}, err
	}
	return c.redeem(ctx, grant{
		send:    func(ctx context.Context) answer { return c.renew(ctx, secret, f.Refresh) },
		failure: c.takeOverError,
		refresh: f.Refresh,
	}, o)
}

// mayTakeOver says why the profile's login must stay, or returns nil.
func (c *Client) mayTakeOver(ctx context.Context, f Foreign, o LoginOptions) error {
	rec, err := c.read(ctx)
	if err != nil || o.Replace || rec == nil || !rec.SignedIn() || rec.User.ID == "" {
		return err
	}
	newcomer := record.User{}
	if !f.Access.IsZero() && (f.ExpiresAt.IsZero() || c.now().Before(f.ExpiresAt)) {
		asking, cancel := context.WithTimeout(ctx, userLimit)
		defer cancel()
		if newcomer, err = c.user(asking, c.token(record.Tokens{Access: f.Access})); errors.Is(err, fault.ErrTemporary) {
			return err
		}
	}
	switch {
	case newcomer.ID == "":
		return fault.With(&TakenError{Holder: rec.User.String()}, fault.ErrConfig)
	case newcomer.Differs(rec.User):
		return fault.With(takenBy(rec.User, newcomer), fault.ErrConfig)
	}
	return nil
}

// takeOverError is codeError for another program's refresh token.
func (c *Client) takeOverError(a answer) error {
	switch a.outcome {
	case oldToken:
		return fault.Wrap(fault.ErrLoginNeeded, a.err, "that refresh token was used before, and a newer one is somewhere else")
	case deadToken, refused:
		return fault.Wrap(fault.ErrLoginNeeded, a.err, "Exact does not accept that refresh token: it lapses after 30 days without use, and works only with the app that it was issued to")
	case badClient:
		return fault.Wrap(fault.ErrConfig, a.err, "Exact does not accept client id and client secret, which must be those of the other program's app")
	case tooEarly:
		return fault.With(c.codeError(a), &fault.WaitError{For: "Exact allows a refresh", Until: c.now().Add(exactLife / 20 * 19)})
	case unanswered, redirected:
		return fault.With(fault.Wrap(fault.ErrTemporary, a.err, "%s did not answer as it should, and that refresh token may be used up", c.Profile.BaseURL),
			&fault.WaitError{For: "Exact allows a refresh", Until: c.now().Add(exactLife / 20 * 19)})
	}
	return c.codeError(a)
}

// expired returns the tokens of an error that brought a refresh token alone. A record has
// none without an access token, so that has its place and is long over.
func expired(a answer) record.Tokens {
	t := a.tokens()
	t.Access, t.RequestedAt = a.refresh, t.RequestedAt.Add(-t.Life)
	t.RepliedAt = t.RequestedAt
	return t
}
