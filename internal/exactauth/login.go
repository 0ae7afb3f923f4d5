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
	"github.com/exactauth/exactauth/internal/fault"
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
// refused the code), fault.ErrConfig, fault.ErrTemporary or fault.ErrRecord, or are
// the store's.
func (c *Client) Login(ctx context.Context, o LoginOptions) (Login, error) {
	secret, err := c.readyToLogin(ctx, o)
	if err != nil {
		return Login{}, err
	}
	certificates := c.Certificates
	if certificates == nil {
		certificates = c.Store
	}
	answer, err := callback.Open(ctx, callback.Options{
		Settings: c.Profile, Certificates: certificates, Now: c.now(),
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
		login, err = c.redeem(ctx, secret, code, o)
	}
	answer.Finish(ctx, lastPage(c.Profile.Name, login.User, err))
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

// lastPage says in the browser how a sign-in ended.
func lastPage(profile string, user record.User, err error) callback.Page {
	var refused *callback.RefusedError
	var taken *TakenError
	reason := "De aanmelding kon niet worden bewaard."
	switch {
	case err == nil && user.ID == "":
		return callback.SignedIn("Profile "+profile+" is signed in to Exact Online.", "Profiel "+profile+" is aangemeld bij Exact Online.")
	case err == nil:
		return callback.SignedIn(user.String()+" is signed in to Exact Online, as profile "+profile+".",
			user.String()+" is aangemeld bij Exact Online, met profiel "+profile+".")
	case errors.As(err, &refused):
		return callback.Refused("Exact", refused)
	case errors.As(err, &taken):
		reason = "Dit profiel is van een andere gebruiker of van een andere app. De bestaande aanmelding blijft behouden."
	case errors.Is(err, fault.ErrLoginNeeded):
		reason = "Exact heeft de code van deze aanmelding niet aangenomen. Zo'n code is 3 minuten geldig en werkt één keer."
	case errors.Is(err, fault.ErrConfig):
		reason = "De instellingen van dit profiel kloppen niet."
	case errors.Is(err, fault.ErrTemporary):
		reason = "Exact gaf geen bruikbaar antwoord."
	}
	return callback.Failed(reason, err)
}

// readyToLogin finds out what would make the sign-in fail before the person is
// troubled and a code is spent: no secret, a store that cannot be written, a
// profile that is another client's.
func (c *Client) readyToLogin(ctx context.Context, o LoginOptions) (secret fault.Secret, err error) {
	if c.ClientSecret != nil {
		if secret, err = c.ClientSecret(ctx); err != nil {
			return fault.Secret{}, err
		}
	}
	errReady := errors.New("ready")
	err = c.Store.Update(ctx, c.Profile.Name, func(_ context.Context, old []byte) ([]byte, error) {
		rec, err := c.loginRecord(old, o)
		if err != nil {
			return nil, err
		}
		if secret.IsZero() && c.owns(rec) {
			secret = rec.ClientSecret
		}
		return nil, errReady // there is room, and nothing to write yet
	})
	if err != errReady {
		return fault.Secret{}, err
	}
	if secret.IsZero() {
		return fault.Secret{}, fault.New(fault.ErrConfig, "profile %s: the client secret is missing", c.Profile.Name)
	}
	return secret, nil
}

// loginRecord decodes the record that a login will change.
func (c *Client) loginRecord(old []byte, o LoginOptions) (*record.Record, error) {
	if old == nil {
		return &record.Record{BaseURL: c.Profile.BaseURL, ClientID: c.Profile.ClientID}, nil
	}
	rec, err := record.Decode(old)
	if err != nil {
		return nil, fmt.Errorf("profile %s: %w", c.Profile.Name, err)
	}
	if rec.MovedTo != "" && !o.Replace {
		return nil, c.elsewhere(rec)
	}
	if rec.SignedIn() && !c.owns(rec) && !o.Replace {
		taken := &TakenError{"client id " + rec.ClientID + " at " + rec.BaseURL, "client id " + c.Profile.ClientID + " at " + c.Profile.BaseURL}
		return nil, fault.Wrap(fault.ErrConfig, taken, "profile %s", c.Profile.Name)
	}
	return rec, nil
}

// redeem exchanges the code, saves what it gave, and then asks whose it is. The
// exchange ends an earlier login of the same app and user at Exact, so nothing
// comes between it and the save; but another user's tokens must not take a
// login's place unasked, so beside a login they are pending until that is known.
func (c *Client) redeem(ctx context.Context, secret, code fault.Secret, o LoginOptions) (Login, error) {
	var came record.Tokens
	pending := false
	err := c.Store.Update(ctx, c.Profile.Name, func(ctx context.Context, old []byte) ([]byte, error) {
		rec, err := c.loginRecord(old, o)
		if err != nil {
			return nil, err
		}
		bounded, cancel := context.WithTimeout(context.WithoutCancel(ctx), requestLimit)
		defer cancel()
		a := c.exchange(bounded, secret, code)
		for pause := time.Second; a.verdict == notSent && pause <= 4*time.Second; pause *= 2 {
			if fault.Pause(ctx, pause) != nil {
				break
			}
			a = c.exchange(bounded, secret, code)
		}
		if err := c.codeError(a); err != nil {
			return nil, err
		}
		came = a.tokens()
		if rec.SignedIn() && rec.User.ID != "" && !o.Replace {
			rec.Pending, pending = &came, true
			rec.Generation++
			return rec.Encode()
		}
		fresh := &record.Record{BaseURL: c.Profile.BaseURL, ClientID: c.Profile.ClientID, Generation: rec.Generation + 1, Tokens: came}
		if c.owns(rec) { // a secret from elsewhere stays there
			fresh.ClientSecret, fresh.WaitForExpiry = rec.ClientSecret, rec.WaitForExpiry
		}
		return fresh.Encode()
	})
	if err != nil {
		return Login{}, err
	}
	login := Login{Token: c.token(came), RefreshExpiresAt: came.RefreshExpiresAt()}
	asking, cancel := context.WithTimeout(context.WithoutCancel(ctx), meLimit)
	defer cancel()
	login.User, login.UserError = c.Me(asking, login.Token)
	// A time of its own: a server that hung undoes no sign-in.
	confirming, cancel := context.WithTimeout(context.WithoutCancel(ctx), meLimit)
	defer cancel()
	switch err := c.confirm(confirming, came, login.User, o); {
	case err != nil && pending:
		return Login{}, err
	case err != nil: // the tokens are saved, and only the name is not
		login.UserError = cmp.Or(login.UserError, fmt.Errorf("it could not be saved: %w", err))
	}
	return login, nil
}

// confirm writes down whose the tokens are that came, and lets them take the
// place of the login before, unless that is another user's. A user who is not
// known is not in the way.
func (c *Client) confirm(ctx context.Context, came record.Tokens, user record.User, o LoginOptions) error {
	var taken error
	err := c.Store.Update(ctx, c.Profile.Name, func(_ context.Context, old []byte) ([]byte, error) {
		rec, err := c.loginRecord(old, o)
		if err != nil || !rec.SignedIn() {
			return old, err // signed out meanwhile
		}
		if rec.Pending != nil && rec.Pending.Refresh.Reveal() == came.Refresh.Reveal() {
			if user.ID != "" && user.ID != rec.User.ID && !o.Replace {
				taken = fault.Wrap(fault.ErrConfig, &TakenError{rec.User.String(), user.String()}, "profile %s", c.Profile.Name)
				rec.Pending = nil // its generation stays counted
				return rec.Encode()
			}
			rec.UsePending()
			rec.Unproven = false
		}
		rec.User = user
		return rec.Encode()
	})
	if err == nil {
		err = taken
	}
	return err
}

// codeError says why an answer to a code is not a login, or nil.
func (c *Client) codeError(a answer) error { // a code lives 3 minutes: Exact KB, OAuth step 2
	switch a.verdict {
	case granted:
		if a.refresh.IsZero() {
			return fault.New(fault.ErrTemporary, "the answer of %s has no refresh token, so there would be no login to keep", c.Profile.BaseURL)
		}
		return nil
	case notSent:
		return fault.Wrap(fault.ErrTemporary, a.err, "cannot reach %s", c.Profile.BaseURL)
	case deadToken, oldToken:
		return fault.Wrap(fault.ErrLoginNeeded, a.err, "Exact did not take the code, which is good for 3 minutes and works once")
	case unknownNo:
		return fault.Wrap(fault.ErrLoginNeeded, a.err, "Exact did not take the code: it is older than 3 minutes, was used before, or %s is not the registered redirect URI", c.Profile.RedirectURI)
	case badClient:
		return fault.Wrap(fault.ErrConfig, a.err, "Exact does not accept client id, client secret or redirect URI %s", c.Profile.RedirectURI)
	case tooEarly:
		return fault.Wrap(fault.ErrTemporary, a.err, "Exact gave this app and user a token less than ten minutes ago and gives no other yet")
	}
	return fault.Wrap(fault.ErrTemporary, a.err, "%s did not answer as it should, and the code may be used up", c.Profile.BaseURL)
}
