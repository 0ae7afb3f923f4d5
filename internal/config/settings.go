package config

import (
	"cmp"
	"fmt"
	"maps"
	"net/url"
	"strconv"
	"strings"

	"github.com/exactauth/exactauth/internal/fault"
)

// DefaultRedirectURI is for a new registration in the App Center: an https name
// that is not localhost, as Exact demands (Exact KB, OAuth step 1), below .test,
// where no name can be owned or get a public certificate (RFC 6761).
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
	Store               string // where the record is: StoreFile, a PostgreSQL URL, or StoreInFile and a file with that URL
	Seal                string // how the record is sealed: SealNone, SealKeyring, or SealAge and a file
	Browser             string // command that opens the sign-in page; empty: $BROWSER's or the system's
	ClientSecretCommand string // prints the client secret; empty if it is stored or comes from the environment
	OnLoginEnded        string // command to run when the login has ended; may be empty
}

// The values of Store and Seal, and the beginnings of values that name a file.
const (
	StoreFile   = "file"
	StoreInFile = "@"
	SealNone    = "none"
	SealKeyring = "keyring"
	SealAge     = "age:"
)

// Kind is the type of a setting's value in the file.
type Kind int

// The types of values.
const (
	Text Kind = iota
	Switch
	Number
)

// Setting is one row of the table of settings. The file, the environment, the
// flags of setup, completion, doctor and docs/automation.md follow this row.
type Setting struct {
	Name      string // in the file and in messages
	Env       string // the variable that overrides the file; empty if there is none
	Kind      Kind
	Help      string // of the flag, and in the documentation
	Default   string
	Removable bool     // an empty flag removes the setting; the others have a value that means the default
	Offers    []string // for completion

	set func(*Settings, string) error // stores a value, and returns what is wrong with it
}

// Flag returns the name of the setting's flag.
func (t Setting) Flag() string { return strings.ReplaceAll(t.Name, "_", "-") }

// Table returns all settings of a profile, which must not be altered.
func Table() []Setting { return table }

// table is data of the program. A function that made it would do so three times in each
// call: for the file, the environment and the rules.
var table = []Setting{
	{Name: "region", Env: "EXACTAUTH_REGION", Default: "nl", Offers: []string{"nl", "be", "de", "fr", "es", "uk", "com"},
		Help: "country of your Exact Online: nl, be, de, fr, es, uk or com",
		set: func(s *Settings, v string) error {
			r, err := ParseRegion(v)
			s.BaseURL = r.BaseURL
			return err
		}},
	{Name: "base_url", Env: "EXACTAUTH_BASE_URL",
		Help: "instead of the region: the address of Exact Online, such as https://start.exactonline.nl",
		set: func(s *Settings, v string) error {
			if v == "" { // the region decides
				return nil
			}
			var err error
			s.BaseURL, err = normalBaseURL(strings.TrimSuffix(v, "/"))
			return err
		}},
	{Name: "client_id", Env: "EXACTAUTH_CLIENT_ID",
		Help: "client id from the App Center, a GUID",
		set: func(s *Settings, v string) error {
			s.ClientID = NormalClientID(v)
			return checkClientID(s.ClientID)
		}},
	{Name: "client_secret_command", Removable: true,
		Help: "command that prints the client secret",
		set:  func(s *Settings, v string) error { s.ClientSecretCommand = v; return nil }},
	{Name: "on_login_ended", Removable: true,
		Help: "command to run when a login has ended and a person must sign in; it reads the message",
		set:  func(s *Settings, v string) error { s.OnLoginEnded = v; return nil }},
	{Name: "redirect_uri", Env: "EXACTAUTH_REDIRECT_URI", Default: DefaultRedirectURI, Removable: true,
		Help: "redirect URI exactly as registered",
		set:  func(s *Settings, v string) error { s.RedirectURI = v; return CheckRedirectURI(v) }},
	{Name: "listen", Env: "EXACTAUTH_LISTEN", Removable: true, Offers: []string{"http://127.0.0.1:", "none"},
		Help: "where the browser arrives if not at the redirect URI: http://127.0.0.1:PORT, or none",
		set: func(s *Settings, v string) error {
			s.Listen = strings.TrimSuffix(v, "/")
			return checkListen(s.Listen)
		}},
	{Name: "relay", Kind: Switch, Removable: true,
		Help: "a relay page at the redirect URI sends the browser on to this machine",
		set:  func(s *Settings, v string) error { s.Relay = v != ""; return nil }},
	{Name: "tls_cert", Removable: true,
		Help: "certificate (PEM file) for the redirect URI's name, instead of exactauth's own",
		set:  func(s *Settings, v string) error { s.TLSCert = v; return nil }},
	{Name: "tls_key", Removable: true,
		Help: "key (PEM file) of that certificate",
		set:  func(s *Settings, v string) error { s.TLSKey = v; return nil }},
	{Name: "browser", Env: "EXACTAUTH_BROWSER", Removable: true,
		Help: "command that opens the sign-in page; the address replaces %s in it, or is added",
		set:  func(s *Settings, v string) error { s.Browser = v; return nil }},
	{Name: "division", Env: "EXACTAUTH_DIVISION", Kind: Number, Removable: true,
		Help: "division to pin: scripts get it as EXACT_DIVISION, whichever one is open in the browser",
		set: func(s *Settings, v string) error {
			s.Division, _ = strconv.Atoi(v)
			if s.Division < 0 {
				return fmt.Errorf("%s: want a division's code, a positive number", v)
			}
			return nil
		}},
	{Name: "store", Env: "EXACTAUTH_STORE", Default: StoreFile, Offers: []string{StoreFile, "postgres://", StoreInFile},
		Help: "where the tokens are stored: file, postgres://USER@HOST/DATABASE, or @FILE with that address in it",
		set:  func(s *Settings, v string) error { s.Store = v; return CheckStore(v) }},
	{Name: "seal", Env: "EXACTAUTH_SEAL", Default: SealNone, Offers: []string{SealNone, SealKeyring, SealAge},
		Help: "how the tokens are sealed: none, keyring, or age:FILE with an age identity in it",
		set:  func(s *Settings, v string) error { s.Seal = v; return checkSeal(v) }},
}

// Values are settings as text, by their names in the table. A setting that is
// missing or empty is not set.
type Values map[string]string

// Under returns v with a stronger layer above it.
func (v Values) Under(above Values) Values {
	merged := maps.Clone(v)
	if merged == nil {
		merged = Values{}
	}
	if above["region"] != "" || above["base_url"] != "" { // they decide the same thing
		delete(merged, "region")
		delete(merged, "base_url")
	}
	for name, value := range above {
		if value != "" {
			merged[name] = value
		}
	}
	return merged
}

// Parse returns the text of a flag or variable as a value: empty if it says that
// the setting is not set.
func (t Setting) Parse(text string) (string, error) {
	switch t.Kind {
	case Switch:
		on, err := strconv.ParseBool(text)
		if err != nil {
			return "", fmt.Errorf("%q: want true or false", text)
		}
		if !on {
			return "", nil
		}
		return "true", nil
	case Number:
		n, err := strconv.Atoi(text)
		if err != nil {
			return "", fmt.Errorf("%q: want a whole number", text)
		}
		if n == 0 {
			return "", nil
		}
		return strconv.Itoa(n), nil
	}
	return text, nil
}

// Environment returns the settings in the environment.
func Environment(env func(string) string) (Values, error) {
	v := Values{}
	first := CheckProxy(env)
	for _, t := range table {
		text := env(t.Env)
		if t.Env == "" || text == "" {
			continue
		}
		value, err := t.Parse(text)
		if err == nil && value == "" {
			err = fmt.Errorf("%q: unset the variable instead", text)
		}
		if err != nil {
			first = cmp.Or(first, fault.Wrap(fault.ErrConfig, err, "%s", t.Env))
			continue
		}
		v[t.Name] = value
	}
	return v, first
}

// Settle applies defaults and rules to the values of a profile. Beside the error,
// which names everything that is wrong, it returns what it could settle.
func Settle(name string, v Values) (Settings, error) {
	s := Settings{Name: name}
	var faults []string
	for _, t := range table {
		if err := t.set(&s, cmp.Or(v[t.Name], t.Default)); err != nil {
			faults = append(faults, t.Name+": "+err.Error())
		}
	}
	if v["region"] != "" && v["base_url"] != "" {
		faults = append(faults, "region and base_url are both set; each decides the other")
	}
	if (s.TLSCert == "") != (s.TLSKey == "") {
		faults = append(faults, "tls_cert and tls_key go together; one is missing")
	}
	if s.Relay {
		if u, err := url.Parse(s.RedirectURI); err == nil && IsLoopback(u.Hostname()) {
			faults = append(faults, "relay: the redirect URI is on this machine already")
		}
		if s.Listen != "" {
			faults = append(faults, "relay: it takes a free port; leave listen out")
		}
	}
	if len(faults) == 0 {
		return s, nil
	}
	return s, fault.In(name, fault.New(fault.ErrConfig, "%s", strings.Join(faults, "; ")))
}
