package exactapi

import (
	"context"
	"errors"
	"sync"
	"time"
)

// tokens keeps the token at hand and asks its source again for all who wait at
// once. It is the source that knows when a token is due to be replaced, and of a
// sign-in or a sign-out meanwhile; so what it gave is kept for a second, and
// less when the token lives for seconds only.
type tokens struct {
	source func(context.Context) (Token, error)
	now    func() time.Time
	ctx    context.Context // of the source
	end    context.CancelFunc

	mu     sync.Mutex
	kept   Token
	until  time.Time // when kept is too old
	call   *tokenCall
	closed bool
	calls  sync.WaitGroup
}

// tokenCall is one call of the source and what it gave, once done is closed.
type tokenCall struct {
	done  chan struct{}
	token Token
	err   error
}

func newTokens(source func(context.Context) (Token, error), now func() time.Time) *tokens {
	t := &tokens{source: source, now: now}
	t.ctx, t.end = context.WithCancel(context.Background())
	return t
}

// get returns a live token. Its wait ends with ctx; the source's call goes on.
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
		call = &tokenCall{done: make(chan struct{})}
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

// patience is how long those who wait for a token are kept waiting when it is
// known that there will be one: Exact may call an expired token live for another
// fiftieth of its life, which is 12 s.
const patience = 15 * time.Second

func (t *tokens) ask(call *tokenCall) {
	for began := t.now(); ; {
		call.token, call.err = t.source(t.ctx)
		var later *Refusal
		if !errors.As(call.err, &later) || !later.retryable() || later.Until.After(began.Add(patience)) || !t.sleep(max(later.Until.Sub(t.now()), 10*time.Millisecond)) {
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

// sleep reports whether the time has passed without the end coming first.
func (t *tokens) sleep(d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-t.ctx.Done():
		return false
	}
}

// refused has the source asked again if the token at hand is the one that Exact
// refused: somebody may have signed in anew.
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
