package exactauth

import (
	"crypto/rand"
	"crypto/subtle"
	"encoding/base64"
	"errors"
	"net"
	"net/url"
	"strings"

	"github.com/exactauth/exactauth/internal/config"
	"github.com/exactauth/exactauth/internal/fault"
)

// attempt is one sign-in: the values that are good for it alone.
type attempt struct {
	profile config.Settings
	state   string
	force   bool // ask for the account even if the browser is signed in
}

// newAttempt makes a state of 256 random bits. If a relay page has to find the
// listener, its port stands in front of them, where relay.html reads it; else
// relayPort is empty.
func newAttempt(p config.Settings, force bool, relayPort string) *attempt {
	var b [32]byte
	rand.Read(b[:]) // never fails
	state := base64.RawURLEncoding.EncodeToString(b[:])
	if relayPort != "" {
		state = relayPort + "." + state
	}
	return &attempt{p, state, force}
}

// authorizeURL is where the person signs in. PKCE is left out: Exact has never
// been seen to know it (Exact KB, OAuth step 2, lists the parameters).
func (a *attempt) authorizeURL() string {
	q := url.Values{
		"client_id":     {a.profile.ClientID},
		"redirect_uri":  {a.profile.RedirectURI},
		"response_type": {"code"},
		"state":         {a.state},
	}
	if a.force {
		q.Set("force_login", "1")
	}
	return a.profile.BaseURL + "/api/oauth2/auth?" + q.Encode()
}

// Reasons why something is not the answer to this attempt. The wait goes on.
var (
	errNoState    = errors.New("it carries no state")
	errWrongState = errors.New("it belongs to another sign-in")
	errRepeated   = errors.New("a parameter stands in it twice")
	errNoCode     = errors.New("it carries no code")
	errGarbled    = errors.New("it cannot be read")
	errElsewhere  = errors.New("it is another address")
)

// accept is the one judge of every redirect, whether listened for or pasted. It
// gives the code, or an fault.ErrDenied if the server says no, or one of the reasons
// above. State comes first: without it an error= is anybody's, since every web
// page can send the browser here.
func (a *attempt) accept(rawQuery string) (fault.Secret, error) {
	q, err := url.ParseQuery(rawQuery)
	if err != nil {
		return fault.Secret{}, errGarbled
	}
	for _, name := range []string{"state", "code", "error", "error_description"} {
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
	if code := fault.Printable(q.Get("error")); code != "" {
		return fault.Secret{}, fault.Wrap(fault.ErrDenied, &RefusedError{code, fault.Printable(q.Get("error_description"))}, "sign-in refused")
	}
	if q.Get("code") == "" {
		return fault.Secret{}, errNoCode
	}
	return fault.NewSecret(q.Get("code")), nil
}

// RefusedError is wrapped by an fault.ErrDenied: the server sent the browser back
// with its refusal (RFC 6749, 4.1.2.1). Both texts are fit for a terminal.
type RefusedError struct {
	Code        string // as "access_denied"
	Description string // for people; may be empty
}

func (e *RefusedError) Error() string {
	if e.Description == "" {
		return e.Code
	}
	return e.Code + ": " + e.Description
}

// acceptPaste judges what a person pasted: the whole address that the browser
// ended on, its query string, or the bare code. bare reports a bare code, which
// has no state to tell whose it is.
func (a *attempt) acceptPaste(text string) (code fault.Secret, bare bool, err error) {
	text = cleanPaste(text)
	if strings.Contains(text, "://") {
		given, err := url.Parse(text)
		want, _ := url.Parse(a.profile.RedirectURI)
		if err != nil {
			return fault.Secret{}, false, errGarbled
		}
		// The relay page leaves another address in the bar, on this machine.
		relayed := a.profile.Relay && config.IsLoopback(given.Hostname())
		if !relayed && (given.Scheme != want.Scheme || authority(given.Scheme, given.Host) != authority(want.Scheme, want.Host) || pathOf(given) != pathOf(want)) {
			return fault.Secret{}, false, errElsewhere
		}
		code, err := a.accept(given.RawQuery)
		return code, false, err
	}
	// A query string, or an address that lost its beginning: state judges both.
	query := text
	if _, after, found := strings.Cut(text, "?"); found {
		query = after
	}
	if strings.Contains(query, "=") {
		code, err := a.accept(query)
		return code, false, err
	}
	// The browser shows the code's "!" as "%21"; it is decoded exactly once.
	decoded, err := url.PathUnescape(text)
	if err != nil || decoded == "" || strings.ContainsFunc(decoded, notInCode) {
		return fault.Secret{}, true, errGarbled
	}
	// Exact's codes have hundreds of characters (its Postman sample 380).
	if len(decoded) < 20 {
		return fault.Secret{}, true, errGarbled
	}
	return fault.NewSecret(decoded), true, nil
}

// notInCode reports characters that no code of Exact's has been seen with; a
// mistaken code would be redeemed, and end the sign-in.
func notInCode(r rune) bool { return r <= ' ' || r > '~' || strings.ContainsRune("?&=#/\\", r) }

// authority is a URL's host and port in one form, however it was written:
// browsers leave a default port out.
func authority(scheme, host string) string {
	u := &url.URL{Scheme: scheme, Host: strings.ToLower(host)}
	return net.JoinHostPort(u.Hostname(), portOf(u))
}

func pathOf(u *url.URL) string {
	if u.Path == "" {
		return "/"
	}
	return u.Path
}

// cleanPaste strips what terminals and mail programs put around a pasted line:
// bracketed-paste marks, quotes, angle brackets, blanks and line ends.
func cleanPaste(text string) string {
	text = strings.NewReplacer("\x1b[200~", "", "\x1b[201~", "").Replace(text)
	return strings.Trim(text, " \t\r\n\"'<>\u00a0\u200b")
}
