// Package fault says how things go wrong: the kinds of failure that callers act
// on, secrets that no error or log can show, and text from servers that is safe to
// print. Every package below cmd builds its errors with it, so that cmd maps all of
// them to exit codes in one place.
package fault

import (
	"errors"
	"fmt"
	"time"
)

// The kinds of failure that a caller can act on. An error of this program wraps
// exactly one of them, or is a store's (tokenstore.Error), or is the cause of the
// caller's context, or is unexpected.
var (
	// ErrLoginNeeded: only a person who signs in again can help.
	ErrLoginNeeded = errors.New("sign-in needed")
	// ErrDenied: the person refused, or did not answer in time.
	ErrDenied = errors.New("sign-in did not take place")
	// ErrTemporary: the same call can succeed later; nothing is lost.
	ErrTemporary = errors.New("temporary failure")
	// ErrConfig: client id, client secret, redirect URI or another setting is wrong.
	ErrConfig = errors.New("wrong configuration")
	// ErrForbidden: the user or the app may not do this, until a person changes a right, a
	// scope, a division or a licence at Exact.
	ErrForbidden = errors.New("not allowed")
	// ErrRecord: the stored record is damaged, or not for this program to read. It is left
	// unchanged.
	ErrRecord = errors.New("damaged record")
)

// Kind returns a narrower kind: errors of it are also of the kind of.
func Kind(of error, text string) error { return &failure{text: text, is: []error{of}} }

// failure is an error with a text of its own.
type failure struct {
	text  string
	cause error   // its text follows; nil if there is none
	is    []error // its kind, and what else errors.Is and errors.As find
}

func (e *failure) Error() string {
	if e.cause != nil {
		return e.text + ": " + e.cause.Error()
	}
	return e.text
}

func (e *failure) Unwrap() []error {
	if e.cause == nil {
		return e.is
	}
	return append([]error{e.cause}, e.is...)
}

// New returns an error of a kind.
func New(kind error, format string, args ...any) error {
	return &failure{text: fmt.Sprintf(format, args...), is: []error{kind}}
}

// Wrap returns an error of a kind that wraps its cause, whose text follows its own.
func Wrap(kind, cause error, format string, args ...any) error {
	return &failure{fmt.Sprintf(format, args...), cause, []error{kind}}
}

// With returns err with the same text, in which errors.Is and errors.As find also,
// too.
func With(err, also error) error { return &failure{text: err.Error(), is: []error{err, also}} }

// WaitError is wrapped by an ErrTemporary that a longer wait would cure, and by an
// ErrForbidden after which the server is not asked again before a time.
type WaitError struct {
	For   string    // what is waited for
	Until time.Time // when it comes
	Waits bool      // whether a call with more time waits for it by itself
}

func (e *WaitError) Error() string {
	return fmt.Sprintf("%s at %s", e.For, Clock(e.Until))
}

// ServerError is a refusal by a server, in its own words.
type ServerError struct {
	Status      int    // of the HTTP answer
	Code        string // an OAuth error code such as "invalid_client", or the Reason of Exact's API; may be empty
	Description string // for people; may be empty
}

func (e *ServerError) Error() string {
	text := fmt.Sprintf("HTTP %d", e.Status)
	for _, s := range []string{e.Code, e.Description} {
		if s != "" {
			text += ": " + s
		}
	}
	return text
}

// ProfileError is an error about one profile, which cmd names in hints and in JSON.
type ProfileError struct {
	Profile string // its name
	Err     error
}

func (e *ProfileError) Error() string { return "profile " + e.Profile + ": " + e.Err.Error() }

// Unwrap returns the error without the profile's name.
func (e *ProfileError) Unwrap() error { return e.Err }

// In returns err as an error about a profile; nil stays nil, and an error that
// carries a profile already stays as it is.
func In(profile string, err error) error {
	if have := (*ProfileError)(nil); err == nil || errors.As(err, &have) {
		return err
	}
	return &ProfileError{profile, err}
}
