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
	"github.com/exactauth/exactauth/internal/network"
)

// Probe is what the first page of a sign-in shows about an instance of Exact Online.
type Probe struct {
	// ServerDate is the server's clock, by whole seconds, when ours showed LocalDate; zero
	// if the server does not send it.
	ServerDate, LocalDate time.Time

	// Elsewhere describes an answer that may be another party's; empty for others.
	Elsewhere string

	// Refused says that the app or its redirect URI (ErrRedirectURI) is not registered
	// there, and wraps fault.ErrConfig. Nil means no objection, which is no proof.
	Refused error
}

// ErrRedirectURI is wrapped if Exact has another redirect URI for the app.
var ErrRedirectURI = fault.Kind(fault.ErrConfig, "another redirect URI is registered")

// Probe asks the authorize endpoint for its first page, as a browser without cookies
// does. That page reports an unknown client id or redirect URI at once
// (picqer/exact-php-client#617, #488). The request has no secret, spends nothing and
// ends no login. fault.ErrTemporary is wrapped if there is no answer.
func (c *Client) Probe(ctx context.Context) (Probe, error) {
	ctx, cancel := context.WithTimeout(ctx, 15*time.Second)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, c.authorizeURL(rand.Text(), false), nil)
	if err != nil {
		return Probe{}, err
	}
	req.Header.Set("Accept", "text/html")
	failed := func(err error, format string) error {
		if errors.Is(ctx.Err(), context.Canceled) {
			return context.Cause(ctx)
		}
		return fault.Wrap(fault.ErrTemporary, network.Explain(err), format, c.Profile.BaseURL)
	}
	resp, err := c.http().Do(req)
	if err != nil {
		return Probe{}, failed(err, "cannot reach %s")
	}
	defer resp.Body.Close()
	p := Probe{LocalDate: c.now()}
	p.ServerDate, _ = http.ParseTime(resp.Header.Get("Date"))
	body, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswer))
	if err != nil {
		return Probe{}, failed(err, "the answer of %s broke off")
	}
	// Exact can send to its own sign-in page, or back to the app.
	if to, err := resp.Location(); err != nil || to.Host != req.URL.Host && !strings.HasPrefix(to.String(), c.Profile.RedirectURI) {
		p.Elsewhere = network.Stranger(resp.StatusCode, resp.Header, nil)
	}
	text := strings.ToLower(string(body))
	switch {
	case regexp.MustCompile(`client with identifier\b.{0,200}\bnot found`).MatchString(text):
		p.Refused = fault.New(fault.ErrConfig, "%s does not know client id %s", c.Profile.BaseURL, c.Profile.ClientID)
	case regexp.MustCompile(`callback uri\b.{0,400}\bis not valid`).MatchString(text):
		p.Refused = fault.New(ErrRedirectURI, "%s is not the app's registered redirect URI: the App Center has another one", c.Profile.RedirectURI)
	}
	return p, nil
}
