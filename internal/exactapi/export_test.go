package exactapi

import "time"

// Waiting returns how many requests are in a division's queue, and how many are
// in flight.
func (t *Transport) Waiting(name string) (queued, inFlight int) {
	t.gate.mu.Lock()
	defer t.gate.mu.Unlock()
	if d := t.gate.divisions[name]; d != nil {
		return len(d.queue), d.inFlight
	}
	return 0, 0
}

// AnswerWithin sets the time limit of an answer's beginning.
func (t *Transport) AnswerWithin(limit time.Duration) { t.next.ResponseHeaderTimeout = limit }

// Turn makes a division look at the clock, which a test has moved.
func (t *Transport) Turn(name string) {
	t.gate.mu.Lock()
	defer t.gate.mu.Unlock()
	t.gate.dispatch(t.gate.divisions[name])
}

// Hasten replaces the pauses before a GET is repeated by n short ones.
func (t *Transport) Hasten() {
	for i := range t.pauses {
		t.pauses[i] = time.Millisecond
	}
}
