package exactapi

import (
	"encoding/json"
	"maps"
	"net/http"
	"strconv"
	"time"

	"github.com/exactauth/exactauth/internal/fault"
)

// Refusal is a decision not to ask Exact, as a [Transport] makes for Exact's
// limits, and an answer that a [Handler] sends without asking Exact: the JSON
// object {"error":{"code","message","hint","retryable","retry_at"}}, in which hint
// and retry_at can be absent, with the header Retry-After if Until is set.
type Refusal struct {
	Status  int       // of the HTTP answer
	Code    string    // for programs, such as "daily_limit"
	Message string    // for people, one line
	Hint    string    // what a person can do; may be empty
	Until   time.Time // from when the same request can succeed; zero if unknown

	passing bool        // it ends by itself, though Until is unknown
	named   bool        // Exact's Retry-After named Until
	also    http.Header // further headers of the answer
}

// Error returns the message.
func (r *Refusal) Error() string { return r.Message }

// Is reports that a refusal which ends by itself is of the kind fault.ErrTemporary.
func (r *Refusal) Is(kind error) bool { return kind == fault.ErrTemporary && r.retryable() }

// As lets a caller find when to retry as a *fault.WaitError.
func (r *Refusal) As(target any) bool {
	wait, ok := target.(**fault.WaitError)
	if !ok || r.Until.IsZero() {
		return false
	}
	*wait = &fault.WaitError{For: r.Message, Until: r.Until, Waits: r.Code == minuteLimit}
	return true
}

// retryable reports whether the same request can succeed later without a person.
func (r *Refusal) retryable() bool { return r.passing || !r.Until.IsZero() }

// errorHeader marks an answer of the handler's own; Exact's answers do not have it.
const errorHeader = "Exactauth-Error"

func (r *Refusal) write(w http.ResponseWriter, now time.Time) {
	type fields struct {
		Code      string `json:"code"`
		Message   string `json:"message"`
		Hint      string `json:"hint,omitempty"`
		Retryable bool   `json:"retryable"`
		RetryAt   string `json:"retry_at,omitempty"` // RFC 3339, UTC
	}
	f := fields{Code: r.Code, Message: r.Message, Hint: r.Hint, Retryable: r.retryable()}
	h := w.Header()
	if !r.Until.IsZero() {
		f.RetryAt = r.Until.UTC().Format(time.RFC3339)
		// Rounded up: a client that retries a moment too early is refused again.
		h.Set("Retry-After", strconv.Itoa(max(1, int((r.Until.Sub(now)+time.Second-1)/time.Second))))
	}
	body, _ := json.Marshal(map[string]fields{"error": f}) // never fails for strings and a bool
	body = append(body, '\n')
	h.Set("Content-Type", "application/json; charset=utf-8")
	h.Set("Content-Length", strconv.Itoa(len(body)))
	h.Set(errorHeader, r.Code)
	maps.Copy(h, r.also)
	w.WriteHeader(r.Status)
	_, _ = w.Write(body) // fails only if the client has gone
}
