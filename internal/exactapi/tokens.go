package exactapi

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/exactauth/exactauth/internal/fault"
	"github.com/exactauth/exactauth/internal/record"
)

// tokens calls a source of tokens once for all requests that wait. Only the source
// knows when a token is due, and whether the user has signed in or out; so a token
// is kept for a second, or less if it lives for seconds only.
type tokens struct {
	source func(context.Context) (record.Token, error)
	now    func() time.Time
	ctx    context.Context // of the source
	end    context.CancelFunc

	mu    sync.Mutex
	last  *sourceCall // nil before the first
	calls sync.WaitGroup
}

type sourceCall struct {
	done  chan struct{} // closed when the results are there
	ended bool          // the same, for those that hold the lock
	token record.Token
	err   error
	until time.Time // when the source must be called again; zero after an error
}

func newTokens(source func(context.Context) (record.Token, error), now func() time.Time) *tokens {
	t := &tokens{source: source, now: now}
	t.ctx, t.end = context.WithCancel(context.Background())
	return t
}

// get returns a live token. The end of ctx ends the wait, not the source's call.
func (t *tokens) get(ctx context.Context) (record.Token, error) {
	t.mu.Lock()
	if t.ctx.Err() != nil {
		t.mu.Unlock()
		return record.Token{}, t.ctx.Err()
	}
	call := t.last
	if call == nil || call.ended && !t.now().Before(call.until) {
		call = &sourceCall{done: make(chan struct{})}
		t.last = call
		t.calls.Go(func() { t.ask(call) })
	}
	t.mu.Unlock()
	select {
	case <-call.done:
		return call.token, call.err
	case <-ctx.Done():
		return record.Token{}, context.Cause(ctx)
	}
}

// patience limits how long requests wait for a token that the source has announced:
// Exact can treat an expired token as live for another fiftieth of its life, which
// is 12 s.
const patience = 15 * time.Second

func (t *tokens) ask(call *sourceCall) {
	var token record.Token
	var err error
	for last := t.now().Add(patience); ; {
		token, err = t.source(t.ctx)
		var later *Refusal
		if !errors.As(err, &later) || later.Until.IsZero() || later.Until.After(last) ||
			fault.Pause(t.ctx, max(later.Until.Sub(t.now()), 10*time.Millisecond)) != nil {
			break
		}
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	call.token, call.err, call.ended = token, err, true
	if err == nil {
		now := t.now()
		call.until = now.Add(min(time.Second, token.ExpiresAt.Sub(now)/24))
	}
	close(call.done)
}

// refused makes the next get call the source, if token is the current one: the
// user may have signed in again.
func (t *tokens) refused(token record.Token) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.last.token.Access.Reveal() == token.Access.Reveal() {
		t.last.until = time.Time{}
	}
}

// close ends the source's context and returns when its call has returned.
func (t *tokens) close() {
	t.mu.Lock()
	t.end()
	t.mu.Unlock()
	t.calls.Wait()
}
