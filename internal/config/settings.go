package config

import (
	"errors"
	"fmt"
	"net/netip"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"github.com/exactauth/exactauth/internal/fault"
)

// DefaultRedirectURI is what a new registration in the App Center gets: an
// https name that is not localhost, as Exact demands (Exact KB, OAuth step 1),
// below .test, which nobody can own or get a public certificate for (RFC 6761).
const DefaultRedirectURI = "https://exactauth.test:8484/callback"

// Settings is one profile with everything decided: which registered app signs in
// where, and where its login is stored. It holds no secret.
type Settings struct {
	Name                string // 1 to 64 letters, digits, '-' and '_'; names the record too
	BaseURL             string // scheme and host of the instance: "https://start.exactonline.nl"
	ClientID            string // a GUID in lower case, without braces
	RedirectURI         string // exactly as registered in the App Center
	Listen              string // where the browser arrives, if not at RedirectURI: "http://127.0.0.1:8484", or "none"
	Relay               bool   // a static page at RedirectURI sends the browser on to a free port here
	TLSCert             string // PEM file for the listener, in place of a certificate of our own
	TLSKey              string // PEM file of its key
	Division            int    // the pinned division's code; 0 if none is
	Store               string // where the record is: "file", a PostgreSQL URL, or "@FILE" with that URL in it
	Seal                string // how the record is sealed: "none", "keyring" or "age:FILE"
	ClientSecretCommand string // prints the client secret; empty if it is stored or comes from the environment
}

// Check returns all that is wrong with the profile, joined, wrapping fault.ErrConfig.
func (p Settings) Check() error {
	var faults []error
	add := func(what string, err error) {
		if err != nil {
			faults = append(faults, fmt.Errorf("%s: %w", what, err))
		}
	}
	add("profile name", CheckProfileName(p.Name))
	add("base URL", checkBaseURL(p.BaseURL))
	add("client id", checkClientID(p.ClientID))
	add("redirect URI", CheckRedirectURI(p.RedirectURI))
	add("listen", checkListen(p.Listen))
	if (p.TLSCert == "") != (p.TLSKey == "") {
		add("tls", errors.New("certificate and key go together; one is missing"))
	}
	if p.Division < 0 {
		add("division", fmt.Errorf("%d is not a division's code", p.Division))
	}
	if p.Relay {
		if u, err := url.Parse(p.RedirectURI); err == nil && IsLoopback(u.Hostname()) {
			add("relay", errors.New("the redirect URI is on this machine already"))
		}
		if p.Listen != "" {
			add("relay", errors.New("it takes a free port of its own; leave listen out"))
		}
	}
	if len(faults) == 0 {
		return nil
	}
	return &faultsError{faults}
}

// faultsError shows many faults as one line, as errors.Join would not.
type faultsError struct{ faults []error }

func (e *faultsError) Error() string {
	texts := make([]string, len(e.faults))
	for i, err := range e.faults {
		texts[i] = err.Error()
	}
	return strings.Join(texts, "; ")
}

func (e *faultsError) Unwrap() []error { return append([]error{fault.ErrConfig}, e.faults...) }

// CheckProfileName reports whether name can be a profile's name. There is no
// dot in it, so that profiles never meet the stores' other records, and it is no
// device of Windows, where such a file cannot be made.
func CheckProfileName(name string) error {
	ok := name != "" && len(name) <= 64 && name[0] != '-' && name[0] != '_'
	for _, r := range name {
		ok = ok && ('a' <= r && r <= 'z' || 'A' <= r && r <= 'Z' || '0' <= r && r <= '9' || r == '-' || r == '_')
	}
	if !ok {
		return fmt.Errorf("%q: want 1 to 64 letters, digits, '-' and '_', a letter or digit first", name)
	}
	lower := strings.ToLower(name)
	numbered := len(lower) == 4 && (lower[:3] == "com" || lower[:3] == "lpt") && '0' <= lower[3] && lower[3] <= '9'
	if numbered || slices.Contains([]string{"con", "prn", "aux", "nul"}, lower) {
		return fmt.Errorf("%q: Windows has a device of that name", name)
	}
	return nil
}

// NormalClientID strips what people paste along with a client id: blanks
// around it and the braces that the App Center shows (picqer/exact-php-client#266).
func NormalClientID(s string) string {
	s = strings.TrimSpace(s)
	if rest, ok := strings.CutPrefix(s, "{"); ok {
		s = strings.TrimSpace(strings.TrimSuffix(rest, "}"))
	}
	return strings.ToLower(s)
}

func checkClientID(id string) error {
	if id == "" {
		return errors.New("missing")
	}
	if !IsGUID(id) {
		return fmt.Errorf("%q is not a GUID such as 5f3b1c1e-7c0e-4d0a-9b1f-0a6d6f0e2c11", fault.Printable(id))
	}
	return nil
}

// IsGUID reports whether s is a GUID in lower case without braces, the form in
// which Exact and Auth0 take a client id.
func IsGUID(s string) bool {
	for i, r := range s {
		if i == 8 || i == 13 || i == 18 || i == 23 {
			if r != '-' {
				return false
			}
		} else if !('0' <= r && r <= '9' || 'a' <= r && r <= 'f') {
			return false
		}
	}
	return len(s) == 36
}

func checkBaseURL(s string) error {
	if s == "" {
		return errors.New("missing")
	}
	u, err := parseOrigin(s)
	if err != nil {
		return err
	}
	if u.Scheme == "http" && !IsLoopback(u.Hostname()) {
		return fmt.Errorf("%q: http is for loopback addresses only; want https", s)
	}
	if s != u.Scheme+"://"+u.Host || strings.HasSuffix(s, ":") {
		return fmt.Errorf("%q: want it as %s://%s", s, u.Scheme, strings.TrimSuffix(u.Host, ":"))
	}
	return nil
}

// parseOrigin parses an URL that is a scheme and a host and nothing else.
func parseOrigin(s string) (*url.URL, error) {
	u, err := parseHTTP(s)
	if err != nil {
		return nil, err
	}
	if u.Path != "" && u.Path != "/" || u.RawQuery != "" {
		return nil, fmt.Errorf("%q: want scheme and host only, as https://start.exactonline.nl", s)
	}
	return u, nil
}

// parseHTTP parses an absolute http or https URL. Its errors do not repeat what
// url.Parse says, since that would print a password that stands in it.
func parseHTTP(s string) (*url.URL, error) {
	u, err := url.Parse(s)
	switch {
	case err != nil:
		return nil, errors.New("it is not a well-formed URL")
	case u.User != nil:
		return nil, errors.New("a user name or password does not belong in it")
	case u.Scheme != "https" && u.Scheme != "http":
		return nil, fmt.Errorf("%q: want an address that begins with https://", fault.Printable(s))
	case u.Hostname() == "":
		return nil, fmt.Errorf("%q: it names no host", fault.Printable(s))
	case u.Fragment != "" || strings.Contains(s, "#"):
		return nil, fmt.Errorf("%q: a fragment (#) does not belong in it", fault.Printable(s))
	}
	if port := u.Port(); port != "" {
		if n, err := strconv.Atoi(port); err != nil || n < 1 || n > 65535 {
			return nil, fmt.Errorf("%q: the port must be 1 to 65535", fault.Printable(s))
		}
	}
	return u, nil
}

// CheckRedirectURI reports what is wrong with a redirect URI.
func CheckRedirectURI(s string) error {
	if s == "" {
		return errors.New("missing")
	}
	u, err := parseHTTP(s)
	if err != nil {
		return err
	}
	if u.Scheme == "http" && !IsLoopback(u.Hostname()) {
		return fmt.Errorf("%q: Exact takes only https here", s)
	}
	if u.RawQuery != "" || strings.HasSuffix(s, "?") {
		return fmt.Errorf("%q: a query (?) does not belong in it", s)
	}
	if strings.HasPrefix(u.Path, "//") {
		return fmt.Errorf("%q: its path must not begin with two slashes", s)
	}
	if strings.ContainsFunc(u.Host, func(r rune) bool { return r > '~' }) {
		return fmt.Errorf("%q: write the name as browsers send it, in ASCII (xn--...)", s)
	}
	return nil
}

func checkListen(s string) error {
	if s == "" || s == "none" {
		return nil
	}
	u, err := parseOrigin(s)
	if err != nil {
		return err
	}
	if !IsLoopback(u.Hostname()) {
		return fmt.Errorf("%q: only loopback addresses are listened on, as http://127.0.0.1:8484", s)
	}
	if u.Port() == "" {
		return fmt.Errorf("%q: the port is missing", s)
	}
	return nil
}

// IsLoopback reports whether a URL's host is this machine itself.
func IsLoopback(host string) bool {
	ip, err := netip.ParseAddr(host)
	return strings.EqualFold(host, "localhost") || err == nil && ip.Zone() == "" && ip.IsLoopback()
}
