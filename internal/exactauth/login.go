package exactauth

import (
	"bufio"
	"cmp"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net/url"
	"time"

	"github.com/exactauth/exactauth/internal/config"
	"github.com/exactauth/exactauth/internal/fault"
)

// LoginOptions says how one sign-in goes.
type LoginOptions struct {
	// ForceLogin asks for an account even if the browser is signed in
	// (force_login=1; Exact KB, OAuth step 2).
	ForceLogin bool

	// Replace lets another user, or another client, take the profile over.
	Replace bool

	// Show is called once, when everything is ready for the person: it shows
	// the address and may open a browser, but must not wait for it.
	Show func(Invitation)

	// Waited is called once the wait for the person is over, however it ended:
	// before the code is redeemed. Optional.
	Waited func()

	// Language is that of the page at the end, "nl" or "en", if the browser asks
	// for neither of them. Optional.
	Language string

	// Paste gives lines that the person pastes: what the browser ended on.
	// Nil if nobody can. It is read from until Login returns and at most one
	// line longer.
	Paste io.Reader
}

// Invitation is what the person needs to know to sign in.
type Invitation struct {
	URL         string // to open in the browser
	RedirectURI string // where the browser ends
	Listening   bool   // whether something waits there
	SelfSigned  bool   // the browser will warn of the certificate there
	Loopback    bool   // the browser gets there without a hosts-file entry
	Port        string // that is listened on, on 127.0.0.1
}

// Login is the outcome of a sign-in.
type Login struct {
	Token            Token
	RefreshExpiresAt time.Time // unless a token is fetched before
	User             Me        // zero if Exact did not say
	UserError        error     // why User is not known or not saved; the sign-in holds all the same
}

// Login signs a person in: it listens where the browser will arrive, shows the
// address, takes the first valid answer from there or from a pasted line,
// redeems the code once and saves the tokens. A login that fails leaves the one
// before as it was.
//
// Errors wrap fault.ErrDenied (refused, or nobody came before ctx ended),
// fault.ErrLoginNeeded (the code was no good), fault.ErrConfig, fault.ErrTemporary or fault.ErrRecord,
// or are the store's.
func (c *Client) Login(ctx context.Context, o LoginOptions) (Login, error) {
	secret, err := c.readyToLogin(ctx, o)
	if err != nil {
		return Login{}, err
	}
	at, listening := placeFor(c.Profile)
	var l *listener
	invitation := Invitation{RedirectURI: c.Profile.RedirectURI, Listening: listening}
	relayPort := ""
	if listening {
		cert, own, err := c.certificate(ctx, at)
		if err != nil {
			return Login{}, err
		}
		if l, err = listen(ctx, at, cert); err != nil {
			return Login{}, err
		}
		defer l.close()
		invitation.Port = l.port
		if c.Profile.Relay {
			relayPort = l.port
		}
		redirect, _ := url.Parse(c.Profile.RedirectURI)
		invitation.SelfSigned = own
		invitation.Loopback = config.IsLoopback(redirect.Hostname()) || c.Profile.Relay || c.Profile.Listen != ""
	} else if o.Paste == nil {
		return Login{}, fault.New(fault.ErrConfig, "profile %s listens nowhere, and nobody can paste the address here", c.Profile.Name)
	}
	attempt := newAttempt(c.Profile, o.ForceLogin, relayPort)
	if l != nil {
		l.start(attempt, languageNamed(o.Language))
	}
	invitation.URL = attempt.authorizeURL()
	if o.Show != nil {
		o.Show(invitation)
	}

	code, err := c.await(ctx, attempt, l, o.Paste)
	if o.Waited != nil {
		o.Waited()
	}
	var login Login
	if err == nil {
		login, err = c.redeem(ctx, secret, code, o)
	}
	if l != nil && !errors.Is(ctx.Err(), context.Canceled) {
		l.finish(outcomePage(c.Profile, login, err))
	}
	return login, err
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
			secret = rec.clientSecret
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
func (c *Client) loginRecord(old []byte, o LoginOptions) (*record, error) {
	if old == nil {
		return &record{baseURL: c.Profile.BaseURL, clientID: c.Profile.ClientID}, nil
	}
	rec, err := decodeRecord(old)
	if err != nil {
		return nil, fmt.Errorf("profile %s: %w", c.Profile.Name, err)
	}
	if rec.moved != "" && !o.Replace {
		return nil, c.elsewhere(rec)
	}
	if rec.signedIn() && !c.owns(rec) && !o.Replace {
		taken := &TakenError{"client id " + rec.clientID + " at " + rec.baseURL, "client id " + c.Profile.ClientID + " at " + c.Profile.BaseURL}
		return nil, fault.Wrap(fault.ErrConfig, taken, "profile %s", c.Profile.Name)
	}
	return rec, nil
}

func (c *Client) certificate(ctx context.Context, at place) (_ *tls.Certificate, own bool, err error) {
	if !at.tls {
		return nil, false, nil
	}
	if c.Profile.TLSCert != "" {
		cert, err := tls.LoadX509KeyPair(c.Profile.TLSCert, c.Profile.TLSKey)
		if err != nil {
			return nil, false, fault.Wrap(fault.ErrConfig, err, "the listener's certificate")
		}
		return &cert, false, nil
	}
	redirect, _ := url.Parse(c.Profile.RedirectURI)
	store := c.Certificates
	if store == nil {
		store = c.Store
	}
	cert, err := Certificate(ctx, store, redirect.Hostname(), c.now())
	return &cert, true, err
}

// await returns the code of the first valid answer, listened for or pasted.
func (c *Client) await(ctx context.Context, a *attempt, l *listener, paste io.Reader) (fault.Secret, error) {
	var came <-chan redirect
	if l != nil {
		came = l.came
	}
	var lines <-chan string
	if paste != nil {
		lines = readLines(ctx, paste)
	}
	for {
		select {
		case r := <-came:
			return r.code, r.err
		case line, open := <-lines:
			if !open {
				if l == nil {
					return fault.Secret{}, fault.New(fault.ErrDenied, "the input ended before an address was pasted")
				}
				lines = nil
				continue
			}
			if cleanPaste(line) == "" {
				continue
			}
			code, bare, err := a.acceptPaste(line)
			if err == nil && bare {
				c.notice("a bare code does not tell whose sign-in it comes from; look at the account that is shown below")
			}
			if err == nil || errors.Is(err, fault.ErrDenied) {
				return code, err
			}
			c.notice(pasteAdvice(err, c.Profile.RedirectURI))
		case <-ctx.Done():
			if errors.Is(ctx.Err(), context.DeadlineExceeded) {
				return fault.Secret{}, fault.New(fault.ErrDenied, "nobody signed in before the time was over")
			}
			return fault.Secret{}, context.Cause(ctx)
		}
	}
}

// readLines hands lines on until ctx ends. A read from a terminal cannot be
// called off, so its goroutine may outlive the login by one line.
func readLines(ctx context.Context, r io.Reader) <-chan string {
	lines := make(chan string)
	go func() {
		defer close(lines)
		in := bufio.NewScanner(r)
		in.Buffer(nil, 64<<10)
		for in.Scan() {
			select {
			case lines <- in.Text():
			case <-ctx.Done():
				return
			}
		}
	}()
	return lines
}

// pasteAdvice says what is wrong with a pasted line and what to paste instead.
func pasteAdvice(err error, redirectURI string) string {
	what := map[error]string{
		errNoState:    "that address is shortened: its state is missing. Copy all of it from the address bar",
		errWrongState: "that address belongs to an earlier sign-in or somebody else's. Open the address above and paste what the browser ends on",
		errRepeated:   "that address has a parameter twice, which Exact never does. It is not taken",
		errNoCode:     "that address is shortened: its code is missing. Copy all of it from the address bar",
		errGarbled:    "that is neither an address nor a code, or only a part of one. Copy all of the address bar",
		errElsewhere:  "that is another address. Paste the one that begins with " + redirectURI,
	}[err]
	return what + "; still waiting"
}

// redeem exchanges the code, saves what it gave, and then asks whose it is. The
// exchange ends an earlier login of the same app and user at Exact, so nothing
// comes between it and the save; but another user's tokens must not take a
// login's place unasked, so beside a login they are pending until that is known.
func (c *Client) redeem(ctx context.Context, secret, code fault.Secret, o LoginOptions) (Login, error) {
	var came tokens
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
		came = tokens{a.access, a.refresh, a.life, a.sentAt, a.repliedAt, a.serverDate}
		if rec.signedIn() && rec.user.UserID != "" && !o.Replace {
			rec.pending, pending = &came, true
			rec.generation++
			return rec.encode()
		}
		fresh := &record{baseURL: c.Profile.BaseURL, clientID: c.Profile.ClientID, generation: rec.generation + 1, tokens: came}
		if c.owns(rec) { // a secret from elsewhere stays there
			fresh.clientSecret, fresh.waitForExpiry = rec.clientSecret, rec.waitForExpiry
		}
		return fresh.encode()
	})
	if err != nil {
		return Login{}, err
	}
	login := Login{Token: c.token(came), RefreshExpiresAt: (&record{tokens: came}).refreshExpiresAt()}
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
func (c *Client) confirm(ctx context.Context, came tokens, user Me, o LoginOptions) error {
	var taken error
	err := c.Store.Update(ctx, c.Profile.Name, func(_ context.Context, old []byte) ([]byte, error) {
		rec, err := c.loginRecord(old, o)
		if err != nil || !rec.signedIn() {
			return old, err // signed out meanwhile
		}
		if rec.pending != nil && rec.pending.refresh.Reveal() == came.refresh.Reveal() {
			if user.UserID != "" && user.UserID != rec.user.UserID && !o.Replace {
				taken = fault.Wrap(fault.ErrConfig, &TakenError{rec.user.String(), user.String()}, "profile %s", c.Profile.Name)
				rec.pending = nil // its generation stays counted
				return rec.encode()
			}
			rec.promote()
		}
		rec.user = user
		return rec.encode()
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

// outcomePage is what the browser shows when all is over.
func outcomePage(p config.Settings, login Login, err error) page {
	if err == nil {
		return signedInPage(p.Name, login.User)
	}
	if errors.Is(err, fault.ErrDenied) {
		return deniedPage(err)
	}
	return failedPage(err)
}
