// Package stored is a profile's record as it lies in a store, and the arithmetic of
// the life of the token in it. It is apart from all else because two programs must
// agree on it: the one that refreshes tokens, and the small one in front of it that
// prints a live one. What the other fields mean is said in internal/exactauth.
package stored

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"time"
)

// A record is written with the lowest version that says what it has to, so that an
// older program refuses only what it would misread.
const (
	PlainVersion = 1
	MovedVersion = 2 // the login must not be used here any more
	newest       = MovedVersion
)

// Record is a record in JSON. Secrets are plain strings here and nowhere else.
type Record struct {
	Version      int    `json:"version"`
	BaseURL      string `json:"base_url"`
	ClientID     string `json:"client_id"`
	ClientSecret string `json:"client_secret,omitempty"`
	Generation   int    `json:"generation,omitempty"`
	MovedTo      string `json:"moved_to,omitempty"`
	Login        *Login `json:"login,omitempty"`
}

// Tokens is what one answer of the token endpoint gave.
type Tokens struct {
	AccessToken  string    `json:"access_token"`
	RefreshToken string    `json:"refresh_token"`
	LifeSeconds  int       `json:"life_seconds"`
	RequestedAt  time.Time `json:"requested_at"`
	RepliedAt    time.Time `json:"replied_at"`
	ServerDate   time.Time `json:"server_date,omitzero"`
}

// Login is a login in a record.
type Login struct {
	Tokens
	PreviousRefreshToken string    `json:"previous_refresh_token,omitempty"`
	Pending              *Tokens   `json:"pending,omitempty"`
	Unproven             bool      `json:"unproven,omitempty"` // the tokens are nobody's to be handed out
	WaitForExpiry        bool      `json:"wait_for_expiry,omitempty"`
	SpentAt              time.Time `json:"spent_at,omitzero"`
	LostAt               time.Time `json:"lost_at,omitzero"`
	AwaitedAt            time.Time `json:"awaited_at,omitzero"`
	RetryAt              time.Time `json:"retry_at,omitzero"`
	FailedAt             time.Time `json:"failed_at,omitzero"`
	Failures             int       `json:"failures,omitempty"`
	Failure              string    `json:"failure,omitempty"`
	Refused              *Refusal  `json:"refused,omitempty"`
	User                 *User     `json:"user,omitempty"`
}

// Refusal is an answer that asking again cannot change.
type Refusal struct {
	Config bool      `json:"config,omitempty"`
	Text   string    `json:"text"`
	At     time.Time `json:"at"`
	Client string    `json:"client"`
}

// User is who signed in.
type User struct {
	ID       string `json:"id"`
	UserName string `json:"user_name,omitempty"`
	FullName string `json:"full_name,omitempty"`
	Email    string `json:"email,omitempty"`
	Division int    `json:"division,omitempty"`
}

// Times are the times of the login's access token.
func (l *Login) Times() Times {
	return Times{Life: l.Life(), RequestedAt: l.RequestedAt, RepliedAt: l.RepliedAt, WaitForExpiry: l.WaitForExpiry}
}

// Life is the life of the access token that the server stated.
func (t *Tokens) Life() time.Duration { return time.Duration(t.LifeSeconds) * time.Second }

// MaxLifeSeconds is the longest life that a record can have, a year. At Exact it is
// ten minutes; pauses are multiples of it, which must not overflow.
const MaxLifeSeconds = 366 * 24 * 3600

func (t *Tokens) whole() bool {
	return t.AccessToken != "" && t.RefreshToken != "" && t.LifeSeconds > 0 && t.LifeSeconds <= MaxLifeSeconds &&
		!t.RequestedAt.IsZero() && !t.RepliedAt.Before(t.RequestedAt)
}

// ErrSealed is a record that is not damaged but sealed.
var ErrSealed = errors.New("it is sealed, and this profile has no seal")

// ageHeader begins every sealed record (age-encryption.org/v1).
const ageHeader = "age-encryption.org/"

// Decode reads a record and accepts only what Encode writes, of this version of
// the program or an older one. Errors do not show what is in the record.
func Decode(b []byte) (*Record, error) {
	switch {
	case len(b) == 0:
		return nil, errors.New("it is empty")
	case bytes.HasPrefix(b, []byte(ageHeader)):
		return nil, ErrSealed
	}
	r, plain := decodePlain(b)
	if !plain {
		r = new(Record)
		if err := json.Unmarshal(b, r); err != nil {
			if syntax := (*json.SyntaxError)(nil); errors.As(err, &syntax) {
				return nil, fmt.Errorf("no JSON at byte %d of %d", syntax.Offset, len(b))
			}
			return nil, errors.New("a field of it has a wrong type")
		}
	}
	if r.Version > newest {
		return nil, fmt.Errorf("it has version %d, written by a newer exactauth; this one reads version %d", r.Version, newest)
	}
	if r.Version < 1 || r.BaseURL == "" || r.ClientID == "" || r.Generation < 0 {
		return nil, errors.New("version, base URL or client id is missing")
	}
	if l := r.Login; l != nil {
		if !l.whole() || l.Failures < 0 {
			return nil, errors.New("the login in it is incomplete")
		}
		if l.Pending != nil && !l.Pending.whole() {
			return nil, errors.New("the sign-in in it is incomplete")
		}
	}
	return r, nil
}

// Encode writes a record.
func Encode(r *Record) ([]byte, error) {
	r.Version = PlainVersion
	if r.MovedTo != "" {
		r.Version = MovedVersion
	}
	b, err := json.MarshalIndent(r, "", "  ")
	if err != nil {
		return nil, fmt.Errorf("encode record: %w", err)
	}
	return append(b, '\n'), nil
}
