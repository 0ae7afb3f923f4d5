package exactauth

import (
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/exactauth/exactauth/internal/record"
)

// TakenError is wrapped by a fault.ErrConfig: the profile is another user's or another
// client's, and LoginOptions.Replace was not set.
type TakenError struct {
	Holder, Newcomer string // users, or clients; no Newcomer if that is not known
}

func (e *TakenError) Error() string {
	if e.Newcomer == "" {
		return "it has a login of " + e.Holder + ", and Exact names the user of the other one only after its token is spent; nothing was spent"
	}
	return "it belongs to " + e.Holder + ", not to " + e.Newcomer + "; the existing login is kept"
}

// takenBy names two users. Users whose names look the same get their ids too.
func takenBy(holder, newcomer record.User) *TakenError {
	a, b := holder.String(), newcomer.String()
	if strings.EqualFold(a, b) {
		a, b = a+" ("+holder.ID+")", b+" ("+newcomer.ID+")"
	}
	return &TakenError{a, b}
}

// ErrRemembered is wrapped by the error about a refusal that is in the record: no server
// was asked. Want.Force and [Client.SetClientSecret] lift it for one request.
var ErrRemembered = errors.New("remembered refusal")

// ErrSaved is wrapped by the error of a sign-in that is saved beside the login of its
// profile, and will replace that login when [Client.Token] finds that it is the same
// user's.
var ErrSaved = errors.New("sign-in saved")

// ErrUnsaved is wrapped by the error of a store that did not save what Exact answered to a
// refresh or to the code of a sign-in.
var ErrUnsaved = errors.New("answer not saved")

// LifeError is wrapped by a fault.ErrConfig: the caller wants a token with more life than
// a new token has, or with less than none.
type LifeError struct {
	Life time.Duration // of a new token
}

func (e *LifeError) Error() string { return fmt.Sprintf("a token lives %s at most", e.Life) }
