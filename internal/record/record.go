// Package record is what exactauth stores of a profile: the fields of its record,
// their bytes, and what follows from the times of its token. Both programs read and
// print tokens with it.
//
// A record is text, one field a line, in a fixed order:
//
//	exactauth record 1
//	base_url https://start.exactonline.nl
//	client_id 5f3b1c1e-7c0e-4d0a-9b1f-0a6d6f0e2c11
//	client_secret abcDEF123456
//	id QXJMBUEGFD2ZJ7RVO3TNPK5AYW
//	generation 12
//	revision 31
//	access_token stampNL001.gAAAA
//	refresh_token stampNL001.AbCd!IAAAA
//	life_seconds 600
//	requested_at 2026-10-28T16:15:50.123456789Z
//	replied_at 2026-10-28T16:15:51.123456789Z
//	server_date 2026-10-28T16:15:50Z
//	previous_refresh_token stampNL001.EfGh!IAAAA
//	failures 1
//	failure no answer (100%25 of 2 tries)
//	signed_in_at 2026-09-01T08:00:12.123456789Z
//	user_id 2b5a7c1e-0d43-4f6b-9a1c-5e8f3d2b7a60
//	user_name anna.devries
//	user_full_name Anna de Vries
//	user_email anna@voorbeeld.example
//	user_language nl-NL
//	user_division 123456
//	end
//
// The number in the first line is the version. Fields without a value are left out.
// In a value, '%' and control characters are written as '%' and two hexadecimal
// digits. Each record has exactly one form: what differs from it in any byte is
// damaged. That makes the reader small, and fast without reflection, which a process
// that only prints a live token cannot afford (docs/performance.md).
package record

import (
	"cmp"
	"time"

	"github.com/exactauth/exactauth/internal/fault"
)

// Record is everything known of a profile's login. All that decides what a call may
// do is in the record, so that the next process, or the same one after a crash,
// decides the same.
type Record struct {
	BaseURL, ClientID string       // the record is never used with others
	ClientSecret      fault.Secret // zero if it comes from elsewhere

	// ID differs from that of a record of the same name that was made before or after it.
	ID string

	// Generation is raised whenever the server issues tokens and when a login ends,
	// Revision whenever the record is changed. See Later.
	Generation, Revision int

	// MovedTo names the store that the login is being moved to or, in a record
	// without tokens and client secret, has been moved to. The login in a record
	// with MovedTo must not be refreshed.
	MovedTo string

	Tokens                // zero without a login
	Previous fault.Secret // the refresh token before; kept until refresh has worked once, or Exact has refused both

	// Pending holds the tokens of a sign-in while it is unknown whether its user may
	// replace this login. If it is the same user's, the server has ended the login's own
	// tokens, so those must not be handed out until Exact has named the user.
	Pending *Tokens

	// Former is set while the tokens are those of a sign-in that was killed before its user
	// was known, and that replaced a login which Exact had refused. They may be handed out
	// only once they have proved to be User's. Until then Former has the login's own tokens,
	// since Exact has been seen to refuse live ones (picqer/exact-php-client#497, #471).
	Former *Tokens

	// WaitForExpiry is set when the server refuses a refresh within the window that
	// its documentation allows: from then on a refresh waits for the token to expire.
	WaitForExpiry bool

	// SpentAt is set right before a refresh is sent, and cleared by its answer: while
	// it is set, a process is waiting for the answer or was killed while it waited.
	// LostAt is when a refresh was sent whose answer never came. Either of the two
	// may have used up the refresh token.
	SpentAt, LostAt time.Time

	// CodeAt is set right before the code of a sign-in is sent, and cleared by its answer:
	// while it is set, a process is waiting for the answer or was killed while it waited.
	// The sign-in may have ended this login, so its token must not be handed out before
	// Exact has taken it again.
	CodeAt time.Time

	// AwaitedAt is when a call began to wait for the answer to another machine's
	// refresh. A login waits once: two machines that call at the same time would
	// otherwise always find each other's SpentAt.
	AwaitedAt time.Time

	RetryAt  time.Time // the server is not asked again before this
	FailedAt time.Time // when RetryAt was set
	Failures int       // refreshes in a row without a usable answer
	Failure  string    // the last of them, for people

	// Forbidden says of that failure that the user or the app is not allowed to refresh
	// until a person changes that at Exact.
	Forbidden bool

	Refused *Refusal // nil unless a request would be useless

	// LiftedAt is when Refused or Forbidden was last ignored, because what was wrong may
	// have been put right at Exact; zero once a refresh has worked.
	LiftedAt time.Time

	// AlertedAt is when a process took it on itself to report that the login has ended;
	// zero once a refresh has worked.
	AlertedAt time.Time

	SignedInAt time.Time // when the person signed in
	User       User      // zero if Exact did not say who signed in
}

// Tokens is what one answer of the token endpoint brought.
type Tokens struct {
	Access, Refresh fault.Secret

	Life        time.Duration // of the access token, as the server stated it; 600 s at Exact
	RequestedAt time.Time     // when the request was sent
	RepliedAt   time.Time     // when the answer was there; never before RequestedAt
	ServerDate  time.Time     // the Date header of the answer; zero if it had none
}

// Refusal is an answer that asking again cannot change. It is stored so that a cron
// job does not use up the hourly error allowance (Exact KB, API limits: more than 10
// errors an hour block the app).
type Refusal struct {
	Config bool   // the client was refused, not the login
	Text   string // for people
	At     time.Time
	Client string // fingerprint of the client that was refused
}

// User is the signed-in user, as /api/v1/current/Me describes them.
type User struct {
	ID       string // a GUID
	UserName string
	FullName string
	Email    string
	Language string // as "nl-NL"
	Division int    // the current one; it changes when the user switches company in the browser (picqer README)
}

// String names the user for people: full name and e-mail address, or what there is of them.
func (u User) String() string {
	name := cmp.Or(u.FullName, u.UserName)
	if name != "" && u.Email != "" {
		return name + " <" + u.Email + ">"
	}
	return cmp.Or(name, u.Email, u.ID)
}

// Differs reports whether the two are known to be different users.
func (u User) Differs(other User) bool {
	return u.ID != "" && other.ID != "" && u.ID != other.ID
}

// SignedIn reports whether the record has a login.
func (r *Record) SignedIn() bool { return !r.Refresh.IsZero() }

// Ended reports whether Exact has refused the login, and not only the client.
func (r *Record) Ended() bool { return r.Refused != nil && !r.Refused.Config }

// PendingFirst reports whether the pending tokens are used before the login's own: if they
// are of the same user, the server has ended those, though they look alive. Tokens that
// have not proved whose they are may be all that is left of the login: while they look
// alive, expired ones do not take their place.
func (r *Record) PendingFirst(now time.Time) bool {
	return r.Pending != nil && (r.Pending.Alive(now) || r.Ended() && (r.Former == nil || !r.Alive(now)))
}

// Unsettled reports whether it is unknown whose the newest tokens are.
func (r *Record) Unsettled() bool { return r.Pending != nil || r.Former != nil }

// Later reports whether r is the record that other once was, changed since, whatever the
// clocks of the machines that wrote them say. Two machines may have continued from one
// state, if a store has lost or not taken what one of them wrote: then tokens that were
// issued count more than changes.
func (r *Record) Later(other *Record) bool {
	issued, otherIssued := r.newest().ServerDate, other.newest().ServerDate
	switch {
	case r.ID != other.ID:
		return false
	case r.Generation != other.Generation:
		return r.Generation > other.Generation
	case r.SignedIn() != other.SignedIn():
		return other.SignedIn() // a person has signed out
	case !issued.IsZero() && !otherIssued.IsZero() && !issued.Equal(otherIssued):
		return issued.After(otherIssued)
	}
	return r.Revision > other.Revision
}

// IssuedAfter reports whether the server issued the newest tokens in r after those in
// other. It compares the server's own dates, if there are any: two machines may have
// written the other times.
func (r *Record) IssuedAfter(other *Record) bool {
	a, b := r.newest(), other.newest()
	if a.ServerDate.IsZero() || b.ServerDate.IsZero() {
		return a.RepliedAt.After(b.RepliedAt)
	}
	return a.ServerDate.After(b.ServerDate)
}

// IsToken reports whether text can be a token: printable ASCII (RFC 6749, A.12 and
// A.17). Anything else could act on a terminal or end the line of a header.
func IsToken(text string) bool {
	for i := range len(text) {
		if text[i] < ' ' || text[i] > '~' {
			return false
		}
	}
	return text != ""
}

func (r *Record) newest() *Tokens { return cmp.Or(r.Pending, &r.Tokens) }

// MaxLife is the longest life that a token can have in a record. Pauses are multiples
// of the life, and must not overflow.
const MaxLife = 366 * 24 * time.Hour

func (t *Tokens) complete() bool {
	return IsToken(t.Access.Reveal()) && IsToken(t.Refresh.Reveal()) && t.Life > 0 && t.Life <= MaxLife && t.Life%time.Second == 0 &&
		!t.RequestedAt.IsZero() && !t.RepliedAt.Before(t.RequestedAt)
}

// complaint says why the record cannot be one, or nothing. Decode and Encode ask it,
// so that neither accepts what the other would not.
func (r *Record) complaint() string {
	switch {
	case r.BaseURL == "" || r.ClientID == "":
		return "base URL or client id is missing"
	case r.Tokens != (Tokens{}) && !r.complete():
		return "the login in it is incomplete"
	case !r.Previous.IsZero() && !IsToken(r.Previous.Reveal()):
		return "the previous refresh token in it is none"
	case r.Pending != nil && !r.Pending.complete(), r.Former != nil && !r.Former.complete():
		return "the sign-in in it is incomplete"
	case r.Refused != nil && r.Refused.At.IsZero():
		return "the refusal in it is incomplete"
	}
	return ""
}

// UsePending replaces the login with the pending tokens and reports whether there are
// any. The login's own are Former then, unless its user is unknown and they cannot be
// compared.
func (r *Record) UsePending() bool {
	if r.Pending == nil {
		return false
	}
	former := r.Former
	if own := r.Tokens; former == nil && r.User.ID != "" {
		former = &own
	}
	r.use(*r.Pending)
	r.Former, r.SignedInAt = former, r.RepliedAt
	return true
}

// UseFormer takes the tokens of the login back that the present ones have replaced.
func (r *Record) UseFormer() {
	pending := r.Pending
	r.use(*r.Former)
	r.Pending = pending
	r.Generation++ // their dates are earlier; see Later
}

// use replaces the tokens, and forgets what became of those before.
func (r *Record) use(t Tokens) {
	*r = Record{
		BaseURL: r.BaseURL, ClientID: r.ClientID, ClientSecret: r.ClientSecret, ID: r.ID, Generation: r.Generation, Revision: r.Revision,
		Tokens: t, WaitForExpiry: r.WaitForExpiry, User: r.User,
	}
}
