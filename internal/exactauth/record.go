package exactauth

import (
	"crypto/sha256"
	"encoding/hex"
	"time"

	"github.com/exactauth/exactauth/internal/fault"
	"github.com/exactauth/exactauth/internal/stored"
)

const (
	// exactLife is the life of an access token that Exact states (Exact KB,
	// OAuth step 3); it is assumed where an answer states none.
	exactLife = 600 * time.Second

	// refreshIdle is how long an unused refresh token stays good, since July
	// 2021 (Exact KB, OAuth step 3; "API limits").
	refreshIdle = 30 * 24 * time.Hour
)

// record is all that is known of a profile's login. Whatever decides what a
// call may do is in it, so that the next process, or this one after a crash,
// decides alike.
type record struct {
	baseURL, clientID string       // the record is never used with others
	clientSecret      fault.Secret // zero if it comes from elsewhere

	// generation is raised whenever the server gives new tokens or the login is
	// ended. Of two copies of a record the one with more of them is the live one,
	// whatever the clocks of the machines that wrote them say.
	generation int

	// moved names the store that the login is on its way to, or, without tokens,
	// that it lives in now. Nobody refreshes a moved login.
	moved string

	tokens
	previous fault.Secret // the refresh token before; kept until refresh has worked once

	// pending is what a sign-in brought of which it is not known yet whether its
	// user may take this login's place; nil mostly.
	pending *tokens

	// unproven says that the tokens came with a sign-in that was killed before it was
	// known whose they are, and took the place of a login that has ended since. They
	// are handed out once they have proved to be user's.
	unproven bool

	// waitForExpiry is learned when the server refuses a refresh in the window
	// that its documentation allows: from then on expiry is waited for.
	waitForExpiry bool

	// spentAt is noted right before a refresh is sent and cleared by its answer:
	// if it stands, somebody is at it now or was killed at it. lostAt is when a
	// refresh was sent whose answer never came. Either may have used up the
	// refresh token.
	spentAt, lostAt time.Time

	// awaitedAt is since when the answer to another machine's refresh is waited for,
	// which happens once: two machines that call at the same time would else always
	// find a note of the other one.
	awaitedAt time.Time

	retryAt  time.Time // the server is not asked again before this
	failedAt time.Time // when that was decided
	failures int       // refreshes in a row without a usable answer
	failure  string    // the last one, for people

	refused *refusal // latched: no request helps

	user Me // who signed in; zero if that could not be asked
}

// tokens is what one answer of the token endpoint gave.
type tokens struct {
	access, refresh fault.Secret

	life        time.Duration // of the access token, as the server stated it
	requestedAt time.Time     // when the request was sent
	repliedAt   time.Time     // when its answer was there; never before requestedAt
	serverDate  time.Time     // the Date header of that answer; zero if it had none
}

// promote lets the pending tokens, if there are any, take the login's place.
// Whose they are is for the caller to say.
func (r *record) promote() bool {
	if r.pending == nil {
		return false
	}
	*r = record{
		baseURL: r.baseURL, clientID: r.clientID, clientSecret: r.clientSecret, generation: r.generation,
		tokens: *r.pending, waitForExpiry: r.waitForExpiry,
	}
	return true
}

// promoteUnproven is promote where nobody can say whose they are.
func (r *record) promoteUnproven() bool {
	user := r.user
	if !r.promote() {
		return false
	}
	r.user, r.unproven = user, user.UserID != "" // one who is not known cannot be compared
	return true
}

// refusal is an answer that asking again cannot change, kept so that a cron job
// does not spend the hourly error allowance (Exact KB, API limits: more than 10
// errors an hour block the app).
type refusal struct {
	config bool   // the client is wrong, not the login
	text   string // for people
	at     time.Time
	client string // fingerprint of the client that was refused
}

func (r *record) signedIn() bool { return !r.refresh.IsZero() }

// times is the arithmetic of the access token's life.
func (r *record) times() stored.Times {
	return stored.Times{Life: r.life, RequestedAt: r.requestedAt, RepliedAt: r.repliedAt, WaitForExpiry: r.waitForExpiry}
}

func (r *record) expiresAt() time.Time             { return r.times().ExpiresAt() }
func (r *record) mayRefreshAt() time.Time          { return r.times().MayRefreshAt() }
func (r *record) refreshDueAt() time.Time          { return r.times().RefreshDueAt() }
func (r *record) clockWentBack(now time.Time) bool { return r.times().ClockWentBack(now) }

// alive reports whether the access token is good at now.
func (r *record) alive(now time.Time) bool { return !r.access.IsZero() && r.times().Alive(now) }

// refreshExpiresAt is when the refresh token lapses if it stays unused.
func (r *record) refreshExpiresAt() time.Time { return r.repliedAt.Add(refreshIdle) }

// held reports whether the server is to be left alone at now. A clock that was
// set back does not prolong that.
func (r *record) held(now time.Time) bool {
	return now.Before(r.retryAt) && !now.Before(r.failedAt)
}

// fingerprint identifies a client without telling its secret.
func fingerprint(baseURL, clientID string, secret fault.Secret) string {
	sum := sha256.Sum256([]byte(baseURL + "\n" + clientID + "\n" + secret.Reveal()))
	return hex.EncodeToString(sum[:8])
}

func (r *record) encode() ([]byte, error) {
	w := &stored.Record{
		BaseURL: r.baseURL, ClientID: r.clientID, ClientSecret: r.clientSecret.Reveal(),
		Generation: r.generation, MovedTo: r.moved,
	}
	if r.signedIn() {
		w.Login = &stored.Login{
			Tokens:               r.tokens.encode(),
			PreviousRefreshToken: r.previous.Reveal(),
			Unproven:             r.unproven,
			WaitForExpiry:        r.waitForExpiry,
			SpentAt:              r.spentAt.UTC(),
			LostAt:               r.lostAt.UTC(),
			AwaitedAt:            r.awaitedAt.UTC(),
			RetryAt:              r.retryAt.UTC(),
			FailedAt:             r.failedAt.UTC(),
			Failures:             r.failures,
			Failure:              r.failure,
		}
		if r.pending != nil {
			pending := r.pending.encode()
			w.Login.Pending = &pending
		}
		if f := r.refused; f != nil {
			w.Login.Refused = &stored.Refusal{Config: f.config, Text: f.text, At: f.at.UTC(), Client: f.client}
		}
		if u := r.user; u.UserID != "" {
			w.Login.User = &stored.User{ID: u.UserID, UserName: u.UserName, FullName: u.FullName, Email: u.Email, Division: u.CurrentDivision}
		}
	}
	return stored.Encode(w)
}

func (t tokens) encode() stored.Tokens {
	return stored.Tokens{
		AccessToken:  t.access.Reveal(),
		RefreshToken: t.refresh.Reveal(),
		LifeSeconds:  int(t.life / time.Second),
		RequestedAt:  t.requestedAt.UTC(),
		RepliedAt:    t.repliedAt.UTC(),
		ServerDate:   t.serverDate.UTC(),
	}
}

func decodeTokens(w *stored.Tokens) tokens {
	return tokens{
		access: fault.NewSecret(w.AccessToken), refresh: fault.NewSecret(w.RefreshToken),
		life: w.Life(), requestedAt: w.RequestedAt, repliedAt: w.RepliedAt, serverDate: w.ServerDate,
	}
}

// decodeRecord accepts only what encode wrote; errors wrap fault.ErrRecord and do not
// show what is in the record.
func decodeRecord(b []byte) (*record, error) {
	w, err := stored.Decode(b)
	if err != nil {
		return nil, fault.Wrap(fault.ErrRecord, err, "damaged record")
	}
	r := &record{
		baseURL: w.BaseURL, clientID: w.ClientID, clientSecret: fault.NewSecret(w.ClientSecret),
		generation: w.Generation, moved: w.MovedTo,
	}
	l := w.Login
	if l == nil {
		return r, nil
	}
	r.tokens = decodeTokens(&l.Tokens)
	r.previous = fault.NewSecret(l.PreviousRefreshToken)
	if l.Pending != nil {
		pending := decodeTokens(l.Pending)
		r.pending = &pending
	}
	r.unproven, r.waitForExpiry, r.spentAt, r.lostAt = l.Unproven, l.WaitForExpiry, l.SpentAt, l.LostAt
	r.awaitedAt = l.AwaitedAt
	r.retryAt, r.failedAt, r.failures, r.failure = l.RetryAt, l.FailedAt, l.Failures, l.Failure
	if f := l.Refused; f != nil {
		r.refused = &refusal{f.Config, f.Text, f.At, f.Client}
	}
	if u := l.User; u != nil {
		r.user = Me{UserID: u.ID, UserName: u.UserName, FullName: u.FullName, Email: u.Email, CurrentDivision: u.Division}
	}
	return r, nil
}
