package exactauth

import (
	"context"
	"crypto/rand"
	"errors"
	"io"
	"net/http"
	"regexp"
	"strings"
	"time"

	"github.com/exactauth/exactauth/internal/fault"
)

// Probe is what the beginning of a sign-in, without anybody signing in, shows of
// an instance of Exact Online.
type Probe struct {
	// ServerDate is the server's clock at LocalDate of ours, by whole seconds;
	// zero if it does not say.
	ServerDate, LocalDate time.Time

	// Refused says that the app or its redirect URI is not registered there, and
	// wraps fault.ErrConfig; nil if nothing was said against them, which is no proof.
	Refused error
}

// Probe asks the authorize endpoint for its first page, as a browser does that has
// never been there: a client id or redirect URI that it does not know is told at
// once (picqer/exact-php-client#617, #488). It sends no secret, spends nothing and
// ends no login. fault.ErrTemporary is wrapped if there is no answer.
func (c *Client) Probe(ctx context.Context) (Probe, error) {
	ctx, cancel := context.WithTimeout(ctx, 15*time.Second)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, c.authorizeURL(rand.Text(), false), nil)
	if err != nil {
		return Probe{}, err
	}
	req.Header.Set("Accept", "text/html")
	resp, err := c.http().Do(req)
	if err != nil {
		if errors.Is(ctx.Err(), context.Canceled) {
			return Probe{}, context.Cause(ctx)
		}
		// Here, unlike where a secret went along, the caller may look at the cause.
		return Probe{}, fault.With(fault.Wrap(fault.ErrTemporary, fault.Transport(err), "cannot reach %s", c.Profile.BaseURL), err)
	}
	defer resp.Body.Close()
	p := Probe{LocalDate: c.now()}
	if date, err := http.ParseTime(resp.Header.Get("Date")); err == nil {
		p.ServerDate = date
	}
	body, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswer))
	switch {
	case err != nil && errors.Is(ctx.Err(), context.Canceled):
		return Probe{}, context.Cause(ctx)
	case err != nil:
		return p, fault.Wrap(fault.ErrTemporary, fault.Transport(err), "the answer of %s broke off", c.Profile.BaseURL)
	}
	text := strings.ToLower(string(body))
	switch {
	case regexp.MustCompile(`client with identifier\b.{0,200}\bnot found`).MatchString(text):
		p.Refused = fault.New(fault.ErrConfig, "%s does not know client id %s", c.Profile.BaseURL, c.Profile.ClientID)
	case regexp.MustCompile(`callback uri\b.{0,400}\bis not valid`).MatchString(text):
		p.Refused = fault.Wrap(fault.ErrConfig, errRedirect, "%s is not the app's registered redirect URI", c.Profile.RedirectURI)
	}
	return p, nil
}

// errRedirect tells the one refusal of a probe from the other.
var errRedirect = errors.New("the App Center has another one")

// IsRedirectRefused reports whether a refusal is about the redirect URI.
func IsRedirectRefused(err error) bool { return errors.Is(err, errRedirect) }

// TryStore reports what is in the way of changing the profile's record, or nil. It
// takes the lock, makes room as for a refresh, and leaves all as it was.
func (c *Client) TryStore(ctx context.Context) error {
	errThere := errors.New("there is room")
	err := c.Store.Update(ctx, c.Profile.Name, func(_ context.Context, old []byte) ([]byte, error) {
		if old != nil {
			if _, err := c.open(old); err != nil {
				return nil, err
			}
		}
		return nil, errThere
	})
	if err == errThere {
		return nil
	}
	return err
}
