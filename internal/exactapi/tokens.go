package exactapi

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/exactauth/exactauth/internal/fault"
)

// tokens has the current token and calls its source once for all requests that
// wait. Only the source knows when a token is due, and whether the user has signed
// in or out; so a token is kept for a second, or less if it lives for seconds only.
type tokens struct {
	source func(context.Context) (Token, error)
	now    func() time.Time
	ctx    context.Context // of the source
	end    context.CancelFunc

	mu     sync.Mutex
	kept   Token
	until  time.Time // when the source must be called again
	call   *sourceCall
	closed bool
	calls  sync.WaitGroup
}

// sourceCall is a call of the source. Its results are valid once done is closed.
type sourceCall struct {
	done  chan struct{}
	token Token
	err   error
}

func newTokens(source func(context.Context) (Token, error), now func() time.Time) *tokens {
	t := &tokens{source: source, now: now}
	t.ctx, t.end = context.WithCancel(context.Background())
	return t
}

// get returns a live token. The end of ctx ends the wait, not the source's call.
func (t *tokens) get(ctx context.Context) (Token, error) {
	t.mu.Lock()
	if t.now().Before(t.until) {
		defer t.mu.Unlock()
		return t.kept, nil
	}
	if t.closed {
		t.mu.Unlock()
		return Token{}, context.Canceled
	}
	call := t.call
	if call == nil {
		call = &sourceCall{done: make(chan struct{})}
		t.call = call
		t.calls.Go(func() { t.ask(call) })
	}
	t.mu.Unlock()
	select {
	case <-call.done:
		return call.token, call.err
	case <-ctx.Done():
		return Token{}, context.Cause(ctx)
	}
}

// patience limits how long requests wait for a token that the source has announced:
// Exact can treat an expired token as live for another fiftieth of its life, which
// is 12 s.
const patience = 15 * time.Second

func (t *tokens) ask(call *sourceCall) {
	for last := t.now().Add(patience); ; {
		call.token, call.err = t.source(t.ctx)
		var later *Refusal
		if !errors.As(call.err, &later) || !later.retryable() || later.Until.After(last) ||
			fault.Pause(t.ctx, max(later.Until.Sub(t.now()), 10*time.Millisecond)) != nil {
			break
		}
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if call.err == nil {
		now := t.now()
		t.kept, t.until = call.token, now.Add(min(time.Second, call.token.Expires.Sub(now)/24))
	}
	t.call = nil
	close(call.done)
}

// refused makes the next get call the source, if token is the current one: the
// user may have signed in again.
func (t *tokens) refused(token Token) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if !t.kept.Access.IsZero() && t.kept.Access.Reveal() == token.Access.Reveal() {
		t.until = time.Time{}
	}
}

// close ends the source's context and returns when its call has returned.
func (t *tokens) close() {
	t.mu.Lock()
	t.closed = true
	t.until = time.Time{}
	t.mu.Unlock()
	t.end()
	t.calls.Wait()
}
