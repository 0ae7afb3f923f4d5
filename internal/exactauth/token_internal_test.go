package exactauth

import (
	"testing"
	"time"

	"github.com/exactauth/exactauth/internal/config"
	"github.com/exactauth/exactauth/internal/fault"
	"github.com/exactauth/exactauth/internal/record"
)

func usualRecord() *record.Record {
	at := time.Date(2026, 10, 28, 16, 15, 50, 123456789, time.UTC)
	return &record.Record{
		BaseURL: "https://start.exactonline.nl", ClientID: "11111111-2222-3333-4444-555555555555", ClientSecret: fault.NewSecret("abcDEF123456"),
		Generation: 5, Tokens: record.Tokens{Access: fault.NewSecret("stampNL001.gAAAA"), Refresh: fault.NewSecret("stampNL001.AbCd!IAAAA"), Life: exactLife, RequestedAt: at, RepliedAt: at.Add(time.Second)},
		Previous: fault.NewSecret("stampNL001.EfGh!IAAAA"), User: record.User{ID: "i", FullName: "f"},
	}
}

// Whatever a record says, deciding about it is safe.
func FuzzNext(f *testing.F) {
	r := usualRecord()
	former := r.Tokens
	r.SpentAt, r.LostAt, r.AwaitedAt, r.FailedAt, r.RetryAt = r.RepliedAt, r.RepliedAt, r.RepliedAt, r.RepliedAt, r.RepliedAt
	r.Failures, r.Failure, r.Refused, r.Former = 3, "no answer", &record.Refusal{Text: "no", At: r.RepliedAt}, &former
	full, err := r.Encode()
	if err != nil {
		f.Fatal(err)
	}
	f.Add(full)
	f.Add([]byte("exactauth record 1\nbase_url b\nclient_id c\naccess_token a\nrefresh_token r\nlife_seconds 31622400\nrequested_at 9999-12-31T23:59:59Z\nreplied_at 9999-12-31T23:59:59Z\nend\n"))
	f.Fuzz(func(t *testing.T, b []byte) {
		r, err := record.Decode(b)
		if err != nil {
			return
		}
		c := &tokenCall{Client: &Client{Profile: config.Settings{BaseURL: r.BaseURL, ClientID: r.ClientID}, Now: func() time.Time { return time.Unix(1_800_000_000, 0) }}}
		c.next(r)
	})
}

// If the clock is set back between a request and its reply, a monotonic reading would hide
// that from the client, and not from the next process that reads the record.
func TestTimesAreOfTheWallClock(t *testing.T) {
	t.Parallel()
	for _, c := range []*Client{{}, {Now: time.Now}} {
		if now := c.now(); now != now.Round(0) {
			t.Errorf("%s has a monotonic reading", now)
		}
	}
}

// A slow answer does not look like a clock that was set.
func TestSlowAnswerIsNoSetClock(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ set, took, want time.Duration }{
		{0, time.Second, 0},
		{0, 50 * time.Second, 0},
		{time.Hour, time.Second, time.Hour},
	} {
		r := usualRecord()
		r.ServerDate = r.RequestedAt.Truncate(time.Second)
		before := r.RequestedAt
		sent := before.Add(560 * time.Second)
		a := answer{sentAt: sent.Add(c.set), repliedAt: sent.Add(c.set + c.took), serverDate: sent.Truncate(time.Second)}
		redate(r, a.repliedAt, a)
		if got := r.RequestedAt.Sub(before); (got - c.want).Abs() > 3*time.Second {
			t.Errorf("a clock that was set by %s, an answer that took %s: the token is %s younger", c.set, c.took, got)
		}
	}
}

// What each call with a valid token costs besides reading the file.
func BenchmarkValidToken(b *testing.B) {
	r := usualRecord()
	stored, err := r.Encode()
	if err != nil {
		b.Fatal(err)
	}
	now := r.RepliedAt.Add(time.Minute)
	c := &Client{Profile: config.Settings{Name: "acme", BaseURL: r.BaseURL, ClientID: r.ClientID}, Now: func() time.Time { return now }}
	b.SetBytes(int64(len(stored)))
	b.ReportAllocs()
	for b.Loop() {
		call := tokenCall{Client: c, began: now}
		rec, err := record.Decode(stored)
		if err != nil || c.mayUse(rec) != nil || call.next(rec).do != handOut {
			b.Fatal(err)
		}
	}
}
