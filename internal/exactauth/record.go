package exactauth

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"time"
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
	baseURL, clientID string // the record is never used with others
	clientSecret      Secret // zero if it comes from elsewhere

	tokens
	previous Secret // the refresh token before; kept until refresh has worked once

	// pending is what a sign-in brought of which it is not known yet whether its
	// user may take this login's place; nil mostly.
	pending *tokens

	// waitForExpiry is learned when the server refuses a refresh in the window
	// that its documentation allows: from then on expiry is waited for.
	waitForExpiry bool

	// spentAt is noted right before a refresh is sent and cleared by its answer:
	// if it stands, somebody is at it now or was killed at it. lostAt is when a
	// refresh was sent whose answer never came. Either may have used up the
	// refresh token.
	spentAt, lostAt time.Time

	retryAt  time.Time // the server is not asked again before this
	failedAt time.Time // when that was decided
	failures int       // refreshes in a row without a usable answer
	failure  string    // the last one, for people

	refused *refusal // latched: no request helps

	user Me // who signed in; zero if that could not be asked
}

// tokens is what one answer of the token endpoint gave.
type tokens struct {
	access, refresh Secret

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
		baseURL: r.baseURL, clientID: r.clientID, clientSecret: r.clientSecret,
		tokens: *r.pending, waitForExpiry: r.waitForExpiry,
	}
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

// expiresAt counts from when the request was sent: never too long.
func (r *record) expiresAt() time.Time { return r.requestedAt.Add(r.life) }

// mayRefreshAt counts from when the reply was there: never too early. "You can
// only request for a new access token after 570 seconds from the time you
// successfully received the previous access token" (Exact KB, API limits).
func (r *record) mayRefreshAt() time.Time {
	if r.waitForExpiry {
		return r.repliedAt.Add(r.life + r.life/200) // not on the very second
	}
	return r.repliedAt.Add(r.life / 20 * 19)
}

// refreshDueAt is when a token is replaced without being asked to.
func (r *record) refreshDueAt() time.Time {
	due := r.expiresAt().Add(-r.life / 24)
	if may := r.mayRefreshAt(); may.After(due) {
		return may
	}
	return due
}

// alive reports whether the access token is good at now. If the clock went back
// behind the moment when the token was asked for, nobody can tell.
func (r *record) alive(now time.Time) bool {
	return !r.access.IsZero() && !r.clockWentBack(now) && now.Before(r.expiresAt())
}

func (r *record) clockWentBack(now time.Time) bool {
	return now.Before(r.requestedAt.Add(-r.life / 24))
}

// refreshExpiresAt is when the refresh token lapses if it stays unused.
func (r *record) refreshExpiresAt() time.Time { return r.repliedAt.Add(refreshIdle) }

// held reports whether the server is to be left alone at now. A clock that was
// set back does not prolong that.
func (r *record) held(now time.Time) bool {
	return now.Before(r.retryAt) && !now.Before(r.failedAt)
}

// fingerprint identifies a client without telling its secret.
func fingerprint(baseURL, clientID string, secret Secret) string {
	sum := sha256.Sum256([]byte(baseURL + "\n" + clientID + "\n" + secret.Reveal()))
	return hex.EncodeToString(sum[:8])
}

// recordVersion is raised when an older program would misread a record.
const recordVersion = 1

// wireRecord is a record as it is stored. Secrets are plain strings here and
// nowhere else.
type wireRecord struct {
	Version      int        `json:"version"`
	BaseURL      string     `json:"base_url"`
	ClientID     string     `json:"client_id"`
	ClientSecret string     `json:"client_secret,omitempty"`
	Login        *wireLogin `json:"login,omitempty"`
}

type wireTokens struct {
	AccessToken  string    `json:"access_token"`
	RefreshToken string    `json:"refresh_token"`
	LifeSeconds  int       `json:"life_seconds"`
	RequestedAt  time.Time `json:"requested_at"`
	RepliedAt    time.Time `json:"replied_at"`
	ServerDate   time.Time `json:"server_date,omitzero"`
}

type wireLogin struct {
	wireTokens
	PreviousRefreshToken string       `json:"previous_refresh_token,omitempty"`
	Pending              *wireTokens  `json:"pending,omitempty"`
	WaitForExpiry        bool         `json:"wait_for_expiry,omitempty"`
	SpentAt              time.Time    `json:"spent_at,omitzero"`
	LostAt               time.Time    `json:"lost_at,omitzero"`
	RetryAt              time.Time    `json:"retry_at,omitzero"`
	FailedAt             time.Time    `json:"failed_at,omitzero"`
	Failures             int          `json:"failures,omitempty"`
	Failure              string       `json:"failure,omitempty"`
	Refused              *wireRefusal `json:"refused,omitempty"`
	User                 *wireUser    `json:"user,omitempty"`
}

type wireRefusal struct {
	Config bool      `json:"config,omitempty"`
	Text   string    `json:"text"`
	At     time.Time `json:"at"`
	Client string    `json:"client"`
}

type wireUser struct {
	ID       string `json:"id"`
	UserName string `json:"user_name,omitempty"`
	FullName string `json:"full_name,omitempty"`
	Email    string `json:"email,omitempty"`
	Division int    `json:"division,omitempty"`
}

func (r *record) encode() ([]byte, error) {
	w := wireRecord{Version: recordVersion, BaseURL: r.baseURL, ClientID: r.clientID, ClientSecret: r.clientSecret.Reveal()}
	if r.signedIn() {
		w.Login = &wireLogin{
			wireTokens:           r.tokens.encode(),
			PreviousRefreshToken: r.previous.Reveal(),
			WaitForExpiry:        r.waitForExpiry,
			SpentAt:              r.spentAt.UTC(),
			LostAt:               r.lostAt.UTC(),
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
			w.Login.Refused = &wireRefusal{f.config, f.text, f.at.UTC(), f.client}
		}
		if u := r.user; u.UserID != "" {
			w.Login.User = &wireUser{u.UserID, u.UserName, u.FullName, u.Email, u.CurrentDivision}
		}
	}
	b, err := json.MarshalIndent(w, "", "  ")
	if err != nil {
		return nil, fmt.Errorf("encode record: %w", err)
	}
	return append(b, '\n'), nil
}

func (t tokens) encode() wireTokens {
	return wireTokens{
		AccessToken:  t.access.Reveal(),
		RefreshToken: t.refresh.Reveal(),
		LifeSeconds:  int(t.life / time.Second),
		RequestedAt:  t.requestedAt.UTC(),
		RepliedAt:    t.repliedAt.UTC(),
		ServerDate:   t.serverDate.UTC(),
	}
}

func (w wireTokens) decode() (t tokens, whole bool) {
	whole = w.AccessToken != "" && w.RefreshToken != "" && w.LifeSeconds > 0 && w.LifeSeconds <= math.MaxInt32 &&
		!w.RequestedAt.IsZero() && !w.RepliedAt.Before(w.RequestedAt)
	return tokens{
		access: NewSecret(w.AccessToken), refresh: NewSecret(w.RefreshToken),
		life:        time.Duration(w.LifeSeconds) * time.Second,
		requestedAt: w.RequestedAt, repliedAt: w.RepliedAt, serverDate: w.ServerDate,
	}, whole
}

// decodeRecord accepts only what encode wrote; errors wrap ErrRecord and do not
// show what is in the record.
func decodeRecord(b []byte) (*record, error) {
	damaged := func(why string) (*record, error) { return nil, failWith(ErrRecord, errors.New(why), "damaged record") }
	if len(b) == 0 {
		return damaged("it is empty")
	}
	var w wireRecord
	if err := json.Unmarshal(b, &w); err != nil {
		if syntax := (*json.SyntaxError)(nil); errors.As(err, &syntax) {
			return damaged(fmt.Sprintf("no JSON at byte %d of %d", syntax.Offset, len(b)))
		}
		return damaged("a field of it has a wrong type")
	}
	if w.Version > recordVersion {
		return damaged(fmt.Sprintf("it has version %d, written by a newer exactauth; this one reads version %d", w.Version, recordVersion))
	}
	if w.Version < 1 || w.BaseURL == "" || w.ClientID == "" {
		return damaged("version, base URL or client id is missing")
	}
	r := &record{baseURL: w.BaseURL, clientID: w.ClientID, clientSecret: NewSecret(w.ClientSecret)}
	l := w.Login
	if l == nil {
		return r, nil
	}
	var whole bool
	if r.tokens, whole = l.decode(); !whole || l.Failures < 0 {
		return damaged("the login in it is incomplete")
	}
	r.previous = NewSecret(l.PreviousRefreshToken)
	if l.Pending != nil {
		pending, whole := l.Pending.decode()
		if !whole {
			return damaged("the sign-in in it is incomplete")
		}
		r.pending = &pending
	}
	r.waitForExpiry, r.spentAt, r.lostAt = l.WaitForExpiry, l.SpentAt, l.LostAt
	r.retryAt, r.failedAt, r.failures, r.failure = l.RetryAt, l.FailedAt, l.Failures, l.Failure
	if f := l.Refused; f != nil {
		r.refused = &refusal{f.Config, f.Text, f.At, f.Client}
	}
	if u := l.User; u != nil {
		r.user = Me{UserID: u.ID, UserName: u.UserName, FullName: u.FullName, Email: u.Email, CurrentDivision: u.Division}
	}
	return r, nil
}
