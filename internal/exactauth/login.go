package exactauth

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"net/url"
	"time"

	"github.com/exactauth/exactauth/internal/callback"
	"github.com/exactauth/exactauth/internal/exactapi"
	"github.com/exactauth/exactauth/internal/fault"
	"github.com/exactauth/exactauth/internal/network"
	"github.com/exactauth/exactauth/internal/record"
)

// LoginOptions says how one sign-in goes.
type LoginOptions struct {
	// ForceLogin asks for an account even if the browser is signed in
	// (force_login=1; Exact KB, OAuth step 2).
	ForceLogin bool

	// Replace lets another user, or another client, take the profile over.
	Replace bool

	// Show is called once, when the answer can arrive. It shows the address and may
	// open a browser, but must not wait for the browser to end.
	Show func(Invitation)

	// Waited is called once the wait for the person is over, however it ended, and
	// before the code is redeemed. Optional.
	Waited func()

	// Next is what the last page says to type. Optional.
	Next string

	// Language and Paste are as in callback.Options.
	Language string
	Paste    io.Reader
}

// Invitation is what the person needs to know to sign in.
type Invitation struct {
	URL string // to open in the browser
	callback.Arrival
}

// Login is the outcome of a sign-in.
type Login struct {
	Token            record.Token
	RefreshExpiresAt time.Time   // if no token is fetched before
	User             record.User // zero if Exact did not say
	UserError        error       // why User is not known or not saved; the sign-in is valid all the same
}

// Login signs a person in: it listens where the browser will arrive, shows the
// address, takes the first valid answer from there or from a pasted line, redeems the
// code once and saves the tokens. A failed login leaves the existing login untouched.
//
// Errors wrap fault.ErrDenied (refused, or timed out), fault.ErrLoginNeeded (Exact
// refused the code), fault.ErrConfig, fault.ErrForbidden, fault.ErrTemporary or
// fault.ErrRecord, or are the store's.
func (c *Client) Login(ctx context.Context, o LoginOptions) (_ Login, err error) {
	defer c.named(&err)
	secret, err := c.readyToLogin(ctx, o)
	if err != nil {
		return Login{}, err
	}
	answer, err := callback.Open(ctx, callback.Options{
		Settings: c.Profile, Certificates: c.Certificates, Now: c.now(),
		Issuer:   callback.Issuer{URL: c.Profile.BaseURL}, // Exact has not been seen to name itself
		Language: o.Language, Paste: o.Paste, Notice: c.notice,
	})
	if err != nil {
		return Login{}, err
	}
	defer answer.Close()
	if o.Show != nil {
		o.Show(Invitation{c.authorizeURL(answer.State, o.ForceLogin), answer.Arrival})
	}
	code, err := answer.Code(ctx)
	if o.Waited != nil {
		o.Waited()
	}
	var login Login
	if err == nil {
		login, err = c.redeem(ctx, c.codeGrant(secret, code), o)
	}
	answer.Finish(ctx, lastPage(o.Next, login.User, err))
	return login, err
}

// authorizeURL is where the person signs in. It has no PKCE parameters, since Exact
// does not document any (Exact KB, OAuth step 2, lists the parameters).
func (c *Client) authorizeURL(state string, force bool) string {
	q := url.Values{
		"client_id":     {c.Profile.ClientID},
		"redirect_uri":  {c.Profile.RedirectURI},
		"response_type": {"code"},
		"state":         {state},
	}
	if force {
		q.Set("force_login", "1")
	}
	return c.Profile.BaseURL + "/api/oauth2/auth?" + q.Encode()
}

// lastPage says in the browser how a sign-in ended, and what to type next.
func lastPage(next string, user record.User, err error) callback.Page {
	var refused *callback.RefusedError
	var taken *TakenError
	reason := "De aanmelding kon niet worden opgeslagen."
	switch {
	case err == nil && user.ID == "":
		return callback.SignedIn("exactauth is signed in to Exact Online.", "exactauth is aangemeld bij Exact Online.", next)
	case err == nil:
		return callback.SignedIn(user.String()+" is signed in to Exact Online.", user.String()+" is aangemeld bij Exact Online.", next)
	case errors.As(err, &refused):
		return callback.Refused("Exact", refused)
	case errors.Is(err, fault.ErrDenied):
		reason = "Het antwoord kwam van een andere server."
	case errors.As(err, &taken):
		reason = "Dit profiel is van een andere gebruiker of van een andere app. De bestaande aanmelding blijft behouden."
	case errors.Is(err, fault.ErrLoginNeeded):
		reason = "Exact heeft de code van deze aanmelding niet geaccepteerd. Zo'n code is 3 minuten geldig en werkt één keer."
	case errors.Is(err, fault.ErrForbidden):
		reason = "Exact staat deze gebruiker niet toe."
	case errors.Is(err, fault.ErrConfig):
		reason = "De instellingen van dit profiel kloppen niet."
	case errors.Is(err, fault.ErrTemporary):
		reason = "Exact gaf geen bruikbaar antwoord."
	}
	return callback.Failed(reason, err)
}

// readyToLogin finds what would make the sign-in fail, before a person spends time on it
// and a code is spent: no client secret, a store that cannot be written, another
// client's profile.
func (c *Client) readyToLogin(ctx context.Context, o LoginOptions) (secret fault.Secret, err error) {
	err = c.updateToSignIn(ctx, o, func(_ context.Context, rec *record.Record) (*record.Record, error) {
		if rec != nil && c.owns(rec) {
			secret = rec.ClientSecret
		}
		return nil, record.ErrUnchanged // there is room, and nothing to write yet
	})
	if err == nil && c.ClientSecret != nil { // it may run a command, which a store of another user's is no reason to
		var given fault.Secret
		if given, err = c.ClientSecret(ctx); !given.IsZero() {
			secret = given
		}
	}
	if err == nil && secret.IsZero() {
		err = errNoSecret
	}
	return secret, err
}

// updateToSignIn is update for a change by a sign-in. The tokens of an earlier sign-in
// whose user is unknown must not be overwritten: if they are of the login's user, they are
// all that is left of the login, and the new ones may be another user's. So Token finds
// out first whose they are.
func (c *Client) updateToSignIn(ctx context.Context, o LoginOptions, change func(context.Context, *record.Record) (*record.Record, error)) error {
	settled := func(ctx context.Context, rec *record.Record) (*record.Record, error) {
		if err := c.mayReplace(rec, o); err != nil {
			return nil, err
		}
		if rec != nil && rec.Pending != nil && !o.Replace {
			return nil, errPending
		}
		return change(ctx, rec)
	}
	err := c.update(ctx, settled)
	if !errors.Is(err, errPending) {
		return err
	}
	// What was wrong may have been put right at Exact.
	err = c.update(ctx, func(_ context.Context, rec *record.Record) (*record.Record, error) {
		if rec == nil || rec.Pending == nil || rec.Ended() {
			return nil, record.ErrUnchanged
		}
		lift(rec, c.now())
		return rec, nil
	})
	if err != nil {
		return err
	}
	_, why := c.Token(ctx, Want{})
	if err = c.update(ctx, settled); errors.Is(err, errPending) {
		err = fault.With(cmp.Or(why, errPending), ErrSaved)
	}
	return err
}

var errPending = fault.New(fault.ErrTemporary, "a newer sign-in is saved, and it is not known yet whose it is")

// mayReplace says why a sign-in must not change rec, which is nil if there is no record,
// or returns nil.
func (c *Client) mayReplace(rec *record.Record, o LoginOptions) error {
	switch {
	case rec == nil || o.Replace:
		return nil
	case rec.MovedTo != "":
		return movedError(rec)
	case rec.SignedIn() && !c.owns(rec):
		return fault.With(&TakenError{"client id " + rec.ClientID + " at " + rec.BaseURL, "client id " + c.Profile.ClientID + " at " + c.Profile.BaseURL}, fault.ErrConfig)
	}
	return nil
}

// grant is what a sign-in spends: a code, or another program's refresh token.
type grant struct {
	send    func(context.Context) answer
	failure func(answer) error // why the answer brought no login, or nil
	refresh fault.Secret       // zero for a code
}

func (c *Client) codeGrant(secret, code fault.Secret) grant {
	return grant{send: func(ctx context.Context) answer { return c.exchange(ctx, secret, code) }, failure: c.codeError}
}

// redeem spends the grant, saves the tokens, and then asks whose they are. A code
// ends an earlier login of the same app and user at Exact, so nothing comes
// between it and the save, and an update before it marks the record (CodeAt). But another
// user's tokens must not replace a login unasked, so beside a login the tokens are pending
// until their user is known.
func (c *Client) redeem(ctx context.Context, g grant, o LoginOptions) (Login, error) {
	var issued record.Tokens
	var refused error    // Exact's answer to the grant
	var marked time.Time // by this sign-in
	others := false      // another sign-in had marked the record, and its outcome is unknown
	pending, sent := false, false
	signIn := func(ctx context.Context, rec *record.Record) (*record.Record, error) {
		if rec == nil {
			rec = &record.Record{BaseURL: c.Profile.BaseURL, ClientID: c.Profile.ClientID}
		}
		// Another process may have replaced the mark, and then it serves both, or removed it.
		// It removes no recent one; see confirm.
		if now := c.now(); marked.IsZero() || rec.CodeAt.IsZero() || now.Sub(marked).Abs() > longestSignIn/2 {
			others = others || !rec.CodeAt.IsZero() && !rec.CodeAt.Equal(marked)
			marked, rec.CodeAt = now, now
			return rec, nil
		}
		sent = true
		bounded, cancel := context.WithTimeout(context.WithoutCancel(ctx), requestLimit)
		defer cancel()
		var a answer
		for pause := time.Second; ; pause *= 2 {
			a = g.send(bounded)
			if a.outcome != notSent || network.Lasts(a.err) || pause > 4*time.Second || fault.Pause(ctx, pause) != nil {
				break
			}
		}
		// If only this sign-in had marked the record, it knows the outcome.
		known := rec.CodeAt.Equal(marked) && !others && a.outcome != unanswered
		issued = a.tokens()
		if refused = g.failure(a); refused != nil && !g.refresh.IsZero() && !a.refresh.IsZero() && a.refresh.Reveal() != g.refresh.Reveal() {
			issued, refused = expired(a), fault.With(refused, ErrSaved) // see answer.refresh
		} else if refused != nil {
			issued = record.Tokens{}
			if !known || a.outcome == granted {
				return nil, record.ErrUnchanged
			}
			rec.CodeAt = time.Time{}
			return rec, nil
		}
		rec.Generation++
		if rec.SignedIn() && rec.User.ID != "" && !o.Replace {
			rec.Pending, pending = &issued, true
			if known {
				rec.CodeAt = time.Time{}
			}
			// What happened before is of no matter to them, and Exact knows the client.
			if !rec.Ended() {
				rec.Refused = nil
			}
			rec.RetryAt, rec.FailedAt, rec.Failures, rec.Failure, rec.Forbidden = time.Time{}, time.Time{}, 0, "", false
			return rec, nil
		}
		fresh := &record.Record{BaseURL: c.Profile.BaseURL, ClientID: c.Profile.ClientID, Generation: rec.Generation, Tokens: issued}
		if g.refresh.IsZero() { // when a person signed in to another program is not known
			fresh.SignedInAt = issued.RepliedAt
		} else if g.refresh.Reveal() != issued.Refresh.Reveal() {
			fresh.Previous = g.refresh
		}
		if c.owns(rec) { // a secret from elsewhere stays there
			fresh.ClientSecret, fresh.WaitForExpiry = rec.ClientSecret, rec.WaitForExpiry
		}
		return fresh, nil
	}
	var err error
	for err == nil && !sent {
		err = c.updateToSignIn(ctx, o, signIn)
	}
	if err != nil && !issued.Refresh.IsZero() {
		return Login{}, fault.With(err, ErrUnsaved)
	} else if err = cmp.Or(refused, err); err != nil {
		return Login{}, err
	}
	login := Login{Token: c.token(issued), RefreshExpiresAt: issued.RefreshExpiresAt()}
	asking, cancel := context.WithTimeout(context.WithoutCancel(ctx), userLimit)
	defer cancel()
	login.User, login.UserError = c.user(asking, login.Token)
	// The save has a time limit of its own: a server that hung must not undo a sign-in.
	saving, cancel := context.WithTimeout(context.WithoutCancel(ctx), userLimit)
	defer cancel()
	switch err := c.saveUser(saving, issued, login.User, o); {
	case errors.Is(err, fault.ErrConfig) && pending:
		return Login{}, err
	case pending && cmp.Or(login.UserError, err) != nil:
		return Login{}, fault.With(fault.Wrap(fault.ErrTemporary, cmp.Or(login.UserError, err),
			"the sign-in is saved, but it replaces the login only once Exact says that it is the same user's"), ErrSaved)
	case err != nil: // the tokens are saved, and only the name is not
		login.UserError = cmp.Or(login.UserError, fmt.Errorf("it could not be saved: %w", err))
	}
	return login, nil
}

// longestSignIn is longer than the code of a sign-in takes from the mark in the record to
// its outcome there.
const longestSignIn = 2 * requestLimit

// saveUser stores whose the issued tokens are, if that is known, and replaces the login by
// them if they are pending, unless they are another user's.
func (c *Client) saveUser(ctx context.Context, issued record.Tokens, user record.User, o LoginOptions) error {
	var taken error
	var holder record.User
	err := c.update(ctx, func(_ context.Context, rec *record.Record) (*record.Record, error) {
		if err := c.mayReplace(rec, o); err != nil {
			return nil, err
		}
		if rec == nil || !rec.SignedIn() || user.ID == "" {
			return nil, record.ErrUnchanged // signed out meanwhile, or the user is not known
		}
		switch token := issued.Refresh.Reveal(); {
		case rec.Pending != nil && rec.Pending.Refresh.Reveal() == token:
			if user.Differs(rec.User) && !o.Replace {
				taken = fault.With(takenBy(rec.User, user), fault.ErrConfig)
				rec.Pending = nil // the generation still counts them
				return rec, nil
			}
			rec.UsePending()
			rec.Former = nil
		case rec.Refresh.Reveal() != token:
			// Another process has settled the pending tokens, or another sign-in was
			// faster, and its user may be another.
			holder = rec.User
			return nil, record.ErrUnchanged
		}
		rec.User = user
		return rec, nil
	})
	if user.Differs(holder) {
		taken = fault.With(takenBy(holder, user), fault.ErrConfig)
	}
	return cmp.Or(err, taken)
}

// codeError says why the answer to a code brought no login, or returns nil. A code
// is valid for 3 minutes (Exact KB, OAuth step 2).
func (c *Client) codeError(a answer) error {
	switch a.outcome {
	case granted:
		if a.refresh.IsZero() {
			return fault.New(fault.ErrTemporary, "the answer of %s has no refresh token, so there would be no login to keep", c.Profile.BaseURL)
		}
		return nil
	case notSent:
		return fault.Wrap(fault.ErrTemporary, a.err, "cannot reach %s", c.Profile.BaseURL)
	case deadToken, oldToken:
		return fault.Wrap(fault.ErrLoginNeeded, a.err, "Exact did not accept the code, which is valid for 3 minutes and works once")
	case refused:
		return fault.Wrap(fault.ErrLoginNeeded, a.err, "Exact did not accept the code: it is older than 3 minutes, was used before, or %s is not the registered redirect URI", c.Profile.RedirectURI)
	case forbidden:
		meaning, kind := exactapi.Forbidden(a.err.Error())
		return fault.Wrap(kind, a.err, "Exact does not let this user sign in to the app: %s", meaning)
	case badClient:
		return fault.Wrap(fault.ErrConfig, a.err, "Exact does not accept client id, client secret or redirect URI %s", c.Profile.RedirectURI)
	case tooEarly:
		return fault.Wrap(fault.ErrTemporary, a.err, "Exact issued this app and user a token less than ten minutes ago and issues no other yet")
	}
	return fault.Wrap(fault.ErrTemporary, a.err, "%s did not answer as it should, and the code may be used up", c.Profile.BaseURL)
}
