package config

import (
	"errors"
	"fmt"
	"net/netip"
	"net/url"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/exactauth/exactauth/internal/fault"
)

// CheckProfileName returns what is wrong with a profile's name. A name has no dot,
// so that no profile has the name of another record in the store, and is no device
// of Windows, where a file of that name cannot be made.
func CheckProfileName(name string) error {
	ok := name != "" && len(name) <= 64 && name[0] != '-' && name[0] != '_'
	for _, r := range name {
		ok = ok && ('a' <= r && r <= 'z' || 'A' <= r && r <= 'Z' || '0' <= r && r <= '9' || r == '-' || r == '_')
	}
	if !ok {
		return fmt.Errorf("profile name %q: want 1 to 64 letters, digits, '-' and '_', a letter or digit first", name)
	}
	lower := strings.ToLower(name)
	numbered := len(lower) == 4 && (lower[:3] == "com" || lower[:3] == "lpt") && '0' <= lower[3] && lower[3] <= '9'
	if numbered || slices.Contains([]string{"con", "prn", "aux", "nul"}, lower) {
		return fmt.Errorf("profile name %q: Windows has a device of that name", name)
	}
	return nil
}

// NormalClientID removes what people paste along with a client id: blanks around
// it and the braces that the App Center shows (picqer/exact-php-client#266).
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
	for i := range len(s) {
		hyphen := i == 8 || i == 13 || i == 18 || i == 23
		digit := '0' <= s[i] && s[i] <= '9' || 'a' <= s[i] && s[i] <= 'f'
		if hyphen && s[i] != '-' || !hyphen && !digit {
			return false
		}
	}
	return len(s) == 36
}

// normalBaseURL returns a base URL in the one form in which records and servers know it:
// another spelling of the same server would be another identity.
func normalBaseURL(s string) (string, error) {
	u, err := parseOrigin(s)
	switch {
	case err != nil:
		return s, err
	case u.Scheme == "http" && !IsLoopback(u.Hostname()):
		return s, fmt.Errorf("%q: http is for loopback addresses only; want https", s)
	case u.Path != "" || strings.HasSuffix(u.Host, ":") || u.ForceQuery:
		return s, fmt.Errorf("%q: want it as %s://%s", s, u.Scheme, strings.TrimSuffix(u.Host, ":"))
	}
	host := strings.TrimSuffix(strings.ToLower(u.Hostname()), ".")
	if ip, err := netip.ParseAddr(host); err == nil {
		host = ip.String()
	}
	if strings.Contains(host, ":") {
		host = "[" + host + "]"
	}
	// Without zeros before it; parseHTTP has checked it.
	if port, err := strconv.Atoi(u.Port()); err == nil && port != map[string]int{"https": 443, "http": 80}[u.Scheme] {
		host += ":" + strconv.Itoa(port)
	}
	return u.Scheme + "://" + host, nil
}

// isHost reports whether a URL's host is an address or a name of a host. Other text
// could be taken for a command where a script uses the URL.
func isHost(host string) bool {
	if ip, err := netip.ParseAddr(host); err == nil {
		return ip.Zone() == ""
	}
	for label := range strings.SplitSeq(strings.TrimSuffix(host, "."), ".") {
		other := strings.ContainsFunc(label, func(r rune) bool {
			return (r < 'a' || r > 'z') && (r < 'A' || r > 'Z') && (r < '0' || r > '9') && r != '-' && r != '_'
		})
		if other || label == "" || len(label) > 63 {
			return false
		}
	}
	return len(host) <= 254
}

// ErrProxy is the kind of an error about HTTPS_PROXY.
var ErrProxy = fault.Kind(fault.ErrConfig, "proxy")

// CheckProxy returns an ErrProxy if the variable for the proxy is no address of one. Go
// would send requests past the proxy, or to what it takes for one: with an unescaped
// password that is a part of the password. The error does not repeat it.
func CheckProxy(env func(string) string) error {
	for _, name := range []string{"HTTPS_PROXY", "https_proxy"} {
		text := env(name)
		if text == "" {
			continue
		}
		if !strings.Contains(text, "://") {
			text = "http://" + text
		}
		u, err := url.Parse(text)
		if err != nil || !isHost(u.Hostname()) || u.Path != "" && u.Path != "/" || u.RawQuery != "" || u.Fragment != "" ||
			!slices.Contains([]string{"http", "https", "socks5", "socks5h"}, u.Scheme) {
			return fault.New(ErrProxy, "%s: not the address of a proxy, such as http://USER:PASSWORD@HOST:PORT", name)
		}
		return nil // the other one does not count
	}
	return nil
}

// parseOrigin parses a URL that has a scheme and a host only.
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

// parseHTTP parses an absolute http or https URL. Its errors do not repeat those of
// url.Parse, which could print a password.
func parseHTTP(s string) (*url.URL, error) {
	u, err := url.Parse(s)
	switch {
	case err != nil:
		return nil, errors.New("not a well-formed URL")
	case u.User != nil:
		return nil, errors.New("a user name or password does not belong in it")
	case u.Scheme != "https" && u.Scheme != "http":
		return nil, fmt.Errorf("%q: want an address that begins with https://", fault.Printable(s))
	case u.Hostname() == "":
		return nil, fmt.Errorf("%q: it names no host", fault.Printable(s))
	case !isHost(u.Hostname()):
		return nil, fmt.Errorf("%q: it names no host in ASCII, as a browser sends it (xn--...)", fault.Printable(s))
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

// CheckRedirectURI returns what is wrong with a redirect URI.
func CheckRedirectURI(s string) error {
	u, err := parseHTTP(s)
	switch {
	case err != nil:
		return err
	case u.Scheme == "http" && !IsLoopback(u.Hostname()):
		return fmt.Errorf("%q: Exact takes only https here", s)
	case u.RawQuery != "" || strings.HasSuffix(s, "?"):
		return fmt.Errorf("%q: a query (?) does not belong in it", s)
	case strings.HasPrefix(u.Path, "//"):
		return fmt.Errorf("%q: its path must not begin with two slashes", s)
	}
	return nil
}

func checkListen(s string) error {
	if s == "" || s == "none" {
		return nil
	}
	u, err := parseOrigin(s)
	switch {
	case err != nil:
		return err
	case !IsLoopback(u.Hostname()):
		return fmt.Errorf("%q: want a loopback address, as http://127.0.0.1:8484", s)
	case u.Port() == "":
		return fmt.Errorf("%q: the port is missing", s)
	}
	return nil
}

// IsLoopback reports whether a URL's host is this machine itself.
func IsLoopback(host string) bool {
	ip, err := netip.ParseAddr(host)
	return strings.EqualFold(host, "localhost") || err == nil && ip.Zone() == "" && ip.IsLoopback()
}

// CheckStore returns what is wrong with a profile's store, without repeating the
// store, which may hold a password. Opening a database parses its address further.
func CheckStore(store string) error {
	if file, ok := strings.CutPrefix(store, StoreInFile); ok {
		return wantAbsolute(file)
	}
	if store == StoreFile {
		return nil
	}
	u, err := url.Parse(store)
	switch {
	case err != nil:
		return errors.New("not a well-formed URL")
	case u.Scheme != "postgres" && u.Scheme != "postgresql" || !strings.Contains(store, "://"):
		return errors.New("want file, a postgres:// URL, or @FILE with that URL in it")
	}
	return nil
}

// HasPassword reports whether a store's address contains a password.
func HasPassword(store string) bool {
	if !strings.Contains(store, "://") {
		return false
	}
	u, err := url.Parse(store)
	if err != nil {
		return true // for all that can be known
	}
	_, has := u.User.Password()
	return has || u.Query().Has("password") || u.Query().Has("sslpassword")
}

func checkSeal(how string) error {
	if file, ok := strings.CutPrefix(how, SealAge); ok {
		return wantAbsolute(file)
	}
	if how != SealNone && how != SealKeyring {
		return fmt.Errorf("%q: want none, keyring or age:FILE", fault.Printable(how))
	}
	return nil
}

func wantAbsolute(file string) error {
	if !filepath.IsAbs(file) {
		return errors.New("want the whole path of the file, so that it is the same from everywhere")
	}
	return nil
}
