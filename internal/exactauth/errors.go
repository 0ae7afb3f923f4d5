package exactauth

import (
	"errors"
	"fmt"
	"strings"
	"time"
	"unicode"
)

// The kinds of failure that a caller can act on. Errors of this package wrap
// one of them, or come from the store or the caller's context as they are, or
// are unexpected.
var (
	// ErrLoginNeeded: nothing but a person who signs in again helps.
	ErrLoginNeeded = errors.New("sign-in needed")
	// ErrDenied: the person refused, or did not answer in time.
	ErrDenied = errors.New("sign-in did not take place")
	// ErrTemporary: the same call can succeed later; nothing is lost.
	ErrTemporary = errors.New("temporary failure")
	// ErrConfig: client id, client secret, redirect URI or another setting is wrong.
	ErrConfig = errors.New("wrong configuration")
	// ErrRecord: the stored record is damaged. It is left as it is.
	ErrRecord = errors.New("damaged record")
)

// ErrPort is wrapped beside ErrConfig when the address that the browser will
// come to cannot be listened on.
var ErrPort = errors.New("port not available")

// TakenError is wrapped by an ErrConfig: the profile is another user's or
// another client's, and LoginOptions.Replace was not set.
type TakenError struct {
	Holder, Newcomer string // users, or clients
}

func (e *TakenError) Error() string {
	return "it belongs to " + e.Holder + ", not to " + e.Newcomer + "; the login of before is kept"
}

// kindError is an error of one of the kinds above whose text is all its own.
type kindError struct {
	kind error
	text string
	err  error // the cause, if there is one; its text follows
	also error // what else errors.Is finds, if anything
}

func (e *kindError) Error() string {
	if e.err != nil {
		return e.text + ": " + e.err.Error()
	}
	return e.text
}

func (e *kindError) Unwrap() []error {
	all := []error{e.kind}
	for _, err := range []error{e.err, e.also} {
		if err != nil {
			all = append(all, err)
		}
	}
	return all
}

func fail(kind error, format string, args ...any) error {
	return &kindError{kind: kind, text: fmt.Sprintf(format, args...)}
}

func failWith(kind, err error, format string, args ...any) error {
	return &kindError{kind: kind, err: err, text: fmt.Sprintf(format, args...)}
}

// ServerError is a refusal by Exact's token endpoint or API, in Exact's words.
type ServerError struct {
	Status      int    // of the HTTP answer
	Code        string // the OAuth error code, as "invalid_client", or the API's Reason; may be empty
	Description string // for people; may be empty
}

func (e *ServerError) Error() string {
	words := []string{fmt.Sprintf("HTTP %d", e.Status)}
	for _, s := range []string{e.Code, e.Description} {
		if s != "" {
			words = append(words, s)
		}
	}
	return strings.Join(words, ": ")
}

// LifeError is wrapped by an ErrConfig: a token was wanted with more life than
// any has.
type LifeError struct {
	Life time.Duration // of a new token
}

func (e *LifeError) Error() string { return fmt.Sprintf("a token lives %s at most", e.Life) }

// WaitError is wrapped by an ErrTemporary that a longer wait would cure.
type WaitError struct {
	For   string    // what is waited for
	Until time.Time // when it comes
	Waits bool      // whether a call with more time waits for it by itself
}

func (e *WaitError) Error() string {
	return fmt.Sprintf("%s at %s", e.For, clock(e.Until))
}

// clock is how moments stand in messages: local time, with the zone, to the second.
func clock(t time.Time) string { return t.Local().Format("2006-01-02 15:04:05 MST") }

// printable makes a stranger's text fit for one line of a terminal or a page:
// no control or invisible characters, not longer than a person would read.
func printable(s string) string {
	const limit = 300
	s = strings.Map(func(r rune) rune {
		switch {
		case r == '\n' || r == '\r' || r == '\t':
			return ' '
		case !unicode.IsPrint(r):
			return -1
		}
		return r
	}, strings.ToValidUTF8(s, "?"))
	if r := []rune(s); len(r) > limit {
		s = string(r[:limit]) + "…"
	}
	return strings.TrimSpace(s)
}
