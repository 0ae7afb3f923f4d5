package callback

import (
	"crypto/rand"
	"crypto/subtle"
	"errors"
	"net"
	"net/url"
	"strings"

	"github.com/exactauth/exactauth/internal/config"
	"github.com/exactauth/exactauth/internal/fault"
)

// attempt is one sign-in, and the judge of what claims to be its answer.
type attempt struct {
	settings config.Settings
	state    string // valid for this sign-in alone
	issuer   Issuer
}

// newAttempt makes the state. If a relay page has to find the listener, the state
// begins with its port, where relay.html reads it; otherwise relayPort is empty.
func newAttempt(s config.Settings, issuer Issuer, relayPort string) attempt {
	state := rand.Text() + rand.Text() // 260 random bits
	if relayPort != "" {
		state = relayPort + "." + state
	}
	return attempt{s, state, issuer}
}

// Reasons why a request or a pasted line is not the answer, in words about a pasted
// line. The wait goes on.
var (
	errNoState    = errors.New("that address is shortened: its state is missing. Copy all of it from the address bar")
	errWrongState = errors.New("that address belongs to an earlier sign-in or to another person's. Open the address above and paste the one that the browser ends on")
	errRepeated   = errors.New("that address has a parameter twice, which no server sends, so it is refused")
	errNoCode     = errors.New("that address is shortened: its code is missing. Copy all of it from the address bar")
	errGarbled    = errors.New("that is neither an address nor a code, or only a part of one. Copy all of the address bar")
	errRest       = errors.New("that looks like the rest of an address, and after an address a code alone is not accepted. Paste all of the address at once, from its https:// on")
	errElsewhere  = errors.New("that is another address")
)

// accept judges the query of every redirect, whether the listener or a paste brought
// it. It returns the code, a fault.ErrDenied if the server refuses or another server
// answers, or one of the reasons above. The state comes first: an error= without it
// proves nothing, since every web page can send the browser here.
func (a attempt) accept(rawQuery string) (fault.Secret, error) {
	q, err := url.ParseQuery(rawQuery)
	if err != nil {
		return fault.Secret{}, errGarbled
	}
	for _, name := range []string{"state", "code", "error", "error_description", "iss"} {
		if len(q[name]) > 1 {
			return fault.Secret{}, errRepeated
		}
	}
	state := q.Get("state")
	if state == "" {
		return fault.Secret{}, errNoState
	}
	if subtle.ConstantTimeCompare([]byte(state), []byte(a.state)) != 1 {
		return fault.Secret{}, errWrongState
	}
	if err := a.issuer.check(q); err != nil {
		return fault.Secret{}, err
	}
	if code := fault.Printable(q.Get("error")); code != "" {
		refused := &RefusedError{code, fault.Printable(q.Get("error_description"))}
		if refused.Cancelled() {
			cancelled := "the sign-in was cancelled in the browser"
			if refused.Description != "" {
				cancelled += ": " + refused.Description
			}
			return fault.Secret{}, fault.With(fault.New(fault.ErrDenied, "%s", cancelled), refused)
		}
		return fault.Secret{}, fault.Wrap(fault.ErrDenied, refused, "sign-in refused")
	}
	if q.Get("code") == "" {
		return fault.Secret{}, errNoCode
	}
	return fault.NewSecret(q.Get("code")), nil
}

// Issuer is the server that the person signs in at. A code from another one must not be
// redeemed: its token endpoint would get that code (mix-up, RFC 9700, 4.4).
type Issuer struct {
	URL      string // its issuer identifier
	Promised bool   // it says that each of its answers names it (RFC 9207, section 3)
}

// check compares the issuer that an answer names (RFC 9207, 2.4). The error ends the
// sign-in, because the state has shown that the answer belongs to it.
func (i Issuer) check(answer url.Values) error {
	named := answer.Get("iss")
	if named == i.URL || named == "" && !i.Promised {
		return nil
	}
	from := "another server, " + fault.Printable(named)
	if named == "" {
		from = "a server that does not name itself"
	}
	return fault.New(fault.ErrDenied, "the answer to the sign-in comes from %s, not from %s, so its code is not used", from, i.URL)
}

// RefusedError is wrapped by a fault.ErrDenied: the server sent the browser back
// with a refusal (RFC 6749, 4.1.2.1). Both texts are printable.
type RefusedError struct {
	Code        string // such as "access_denied"
	Description string // for people; may be empty
}

func (e *RefusedError) Error() string {
	if e.Description == "" {
		return e.Code
	}
	return e.Code + ": " + e.Description
}

// Cancelled reports whether the person, or the server for the person, declined
// (RFC 6749, 4.1.2.1).
func (e *RefusedError) Cancelled() bool { return e.Code == "access_denied" }

// authority is a URL's host and port in one form: browsers leave a default port out.
func authority(scheme, host string) string {
	u := &url.URL{Scheme: scheme, Host: strings.ToLower(host)}
	return net.JoinHostPort(u.Hostname(), portOf(u))
}

func portOf(u *url.URL) string {
	switch {
	case u.Port() != "":
		return u.Port()
	case u.Scheme == "https":
		return "443"
	}
	return "80"
}

func pathOf(u *url.URL) string {
	if u.Path == "" {
		return "/"
	}
	return u.Path
}
