package record_test

import (
	"testing"
	"time"

	"github.com/exactauth/exactauth/internal/fault"
	"github.com/exactauth/exactauth/internal/record"
)

// Of two states of one record the later one has more tokens or, with as many, more
// changes.
func TestLater(t *testing.T) {
	t.Parallel()
	state := func(generation, revision int, alter ...func(*record.Record)) *record.Record {
		r := usual()
		r.Generation, r.Revision = generation, revision
		for _, f := range alter {
			f(r)
		}
		return r
	}
	signedOut := func(r *record.Record) { r.Tokens = record.Tokens{} }
	issued := func(d time.Duration) func(*record.Record) {
		return func(r *record.Record) {
			r.Refresh, r.ServerDate = fault.NewSecret("other"), r.ServerDate.Add(d)
		}
	}
	former := func(r *record.Record) { // whose tokens are older
		f := r.Tokens
		f.ServerDate = f.ServerDate.Add(-time.Hour)
		r.Former = &f
	}
	for name, c := range map[string]struct{ later, earlier *record.Record }{
		"changed":                     {state(5, 8), state(5, 7)},
		"tokens":                      {state(6, 8), state(5, 7)},
		"tokens against many changes": {state(6, 8), state(5, 20)},
		"signed out":                  {state(5, 7, signedOut), state(5, 8)},
		"signed out before":           {state(6, 8), state(5, 20, signedOut)},
		"other tokens of the server":  {state(5, 7, issued(time.Second)), state(5, 8)},
		"other tokens, one second":    {state(5, 8, issued(0)), state(5, 7)},
		"a pending sign-in": {state(5, 7, func(r *record.Record) {
			p := tokens("pending", "pending!")
			p.ServerDate = p.ServerDate.Add(time.Hour)
			r.Pending = &p
		}), state(5, 8, issued(time.Minute))},
		"our clocks only":                     {state(5, 8), state(5, 7, func(r *record.Record) { r.RepliedAt = r.RepliedAt.Add(time.Hour) })},
		"the login taken back from a sign-in": {state(5, 8, former, (*record.Record).UseFormer), state(5, 8, former)},
	} {
		if !c.later.Later(c.earlier) || c.earlier.Later(c.later) {
			t.Errorf("%s: %v, %v", name, c.later.Later(c.earlier), c.earlier.Later(c.later))
		}
	}
	if r := state(5, 7); r.Later(state(5, 7)) {
		t.Error("a state is later than itself")
	}
	other := state(6, 8)
	other.ID = "other"
	if other.Later(state(5, 7)) || state(7, 9).Later(other) {
		t.Error("one of two records is a later state of the other")
	}
}
