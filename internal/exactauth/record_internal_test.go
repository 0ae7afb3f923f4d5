package exactauth

import (
	"bytes"
	"errors"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/exactauth/exactauth/internal/config"
	"github.com/exactauth/exactauth/internal/fault"
)

func fullRecord() *record {
	at := time.Date(2026, 10, 28, 16, 15, 50, 123456789, time.UTC)
	return &record{
		baseURL: "https://start.exactonline.nl", clientID: "11111111-2222-3333-4444-555555555555", clientSecret: fault.NewSecret("abcDEF123456"),
		generation: 5, moved: "postgres://exact@db/exact",
		tokens: tokens{
			access: fault.NewSecret("stampNL001.gAAAA" + strings.Repeat("a", 850)), refresh: fault.NewSecret("stampNL001.AbCd!IAAAA" + strings.Repeat("r", 400)),
			life: 600 * time.Second, requestedAt: at, repliedAt: at.Add(time.Second), serverDate: at.Truncate(time.Second),
		},
		previous: fault.NewSecret("stampNL001.EfGh!IAAAA" + strings.Repeat("p", 400)),
		pending: &tokens{
			access: fault.NewSecret("pending"), refresh: fault.NewSecret("pending!"),
			life: 600 * time.Second, requestedAt: at, repliedAt: at.Add(time.Second), serverDate: at.Truncate(time.Second),
		},
		unproven: true, waitForExpiry: true, spentAt: at.Add(2 * time.Second), lostAt: at.Add(3 * time.Second), awaitedAt: at.Add(6 * time.Second), retryAt: at.Add(5 * time.Second), failedAt: at.Add(4 * time.Second),
		failures: 3, failure: "it did <not> answer", refused: &refusal{true, "text", at, "abcdef"},
		user: Me{UserID: "i", UserName: "u", FullName: "f", Email: "e", CurrentDivision: 7},
	}
}

func TestRecordRoundTrip(t *testing.T) {
	t.Parallel()
	for name, r := range map[string]*record{
		"full":    fullRecord(),
		"secret":  {baseURL: "b", clientID: "c", clientSecret: fault.NewSecret("s")},
		"nothing": {baseURL: "b", clientID: "c"},
		"login": {baseURL: "b", clientID: "c", tokens: tokens{access: fault.NewSecret("a"), refresh: fault.NewSecret("r"), life: time.Second,
			requestedAt: time.Unix(1, 0).UTC(), repliedAt: time.Unix(1, 0).UTC()}},
	} {
		b, err := r.encode()
		if err != nil {
			t.Fatal(name, err)
		}
		got, err := decodeRecord(b)
		if err != nil || !reflect.DeepEqual(got, r) {
			t.Errorf("%s: got %+v, %v", name, got, err)
		}
	}
}

// If a field is added and forgotten in encode or decodeRecord, the test above
// shows it only if the field is set there.
func TestFullRecordIsFull(t *testing.T) {
	t.Parallel()
	v := reflect.ValueOf(*fullRecord())
	for i := range v.NumField() {
		if v.Field(i).IsZero() {
			t.Errorf("%s is not set", v.Type().Field(i).Name)
		}
	}
}

// No zone, no monotonic clock: a record means the same everywhere.
func TestRecordHasTimesInUTC(t *testing.T) {
	t.Parallel()
	r := fullRecord()
	want, _ := r.encode()
	zone := time.FixedZone("x", 5*3600+1800)
	for _, at := range []*time.Time{&r.requestedAt, &r.repliedAt, &r.serverDate, &r.spentAt, &r.lostAt, &r.awaitedAt, &r.retryAt, &r.failedAt, &r.refused.at} {
		*at = at.In(zone)
	}
	if got, _ := r.encode(); !bytes.Equal(got, want) {
		t.Errorf("%s", got)
	}
}

func TestDecodeRecordTellsNoSecret(t *testing.T) {
	t.Parallel()
	b, _ := fullRecord().encode()
	for i := range len(b) - 2 { // the last two bytes end the object and the line
		_, err := decodeRecord(b[:i])
		if !errors.Is(err, fault.ErrRecord) {
			t.Fatalf("cut at %d: %v", i, err)
		}
		if strings.Contains(err.Error(), "stamp") || strings.Contains(err.Error(), "abcDEF") {
			t.Fatal(err)
		}
	}
}

func TestRecordTimes(t *testing.T) {
	t.Parallel()
	r := &record{tokens: tokens{access: fault.NewSecret("a"), refresh: fault.NewSecret("r"), life: 600 * time.Second}}
	r.requestedAt = time.Unix(1_800_000_000, 0)
	after := func(d time.Duration) time.Time { return r.requestedAt.Add(d) }

	r.repliedAt = after(time.Second)
	if got := r.refreshDueAt().Sub(r.requestedAt); got != 575*time.Second {
		t.Errorf("due after %s", got)
	}
	r.repliedAt = after(10 * time.Second) // an answer that took long: never too early
	if got := r.refreshDueAt().Sub(r.requestedAt); got != 580*time.Second {
		t.Errorf("due after %s", got)
	}
	r.waitForExpiry = true
	if got := r.refreshDueAt().Sub(r.repliedAt); got != 603*time.Second {
		t.Errorf("due after %s", got)
	}
	for d, alive := range map[time.Duration]bool{0: true, 600*time.Second - 1: true, 600 * time.Second: false, -25 * time.Second: true, -26 * time.Second: false} {
		if got := r.alive(after(d)); got != alive {
			t.Errorf("alive after %s: %t", d, got)
		}
	}
}

// A count is none below zero; a pause is reckoned from it.
func TestDecodeRecordNegativeFailures(t *testing.T) {
	t.Parallel()
	b, _ := fullRecord().encode()
	r, err := decodeRecord(bytes.Replace(b, []byte(`"failures": 3`), []byte(`"failures": -3`), 1))
	if err == nil && r.failures < 0 || err != nil && !errors.Is(err, fault.ErrRecord) {
		t.Errorf("got %+v, %v", r, err)
	}
}

// What is read is read alike again; nothing that is read panics.
func FuzzRecord(f *testing.F) {
	full, _ := fullRecord().encode()
	f.Add(full)
	f.Add(full[:len(full)/2])
	empty, _ := (&record{baseURL: "b", clientID: "c"}).encode()
	f.Add(empty)
	for _, seed := range []string{
		``, `{}`, `null`, `[]`, `{"version":2}`, `{"version":1,"base_url":"b","client_id":"c","login":{}}`,
		`{"version":1,"base_url":"b","client_id":"c","login":{"access_token":"a","refresh_token":"r","life_seconds":2147483647,"requested_at":"9999-12-31T23:59:59Z","replied_at":"9999-12-31T23:59:59Z"}}`,
		`{"version":1,"base_url":"b","client_id":"c","login":{"access_token":"a","refresh_token":"r","life_seconds":1,"requested_at":"2026-01-01T00:00:00+23:59","replied_at":"2026-01-01T00:00:00Z","failures":-9223372036854775808,"refused":{},"user":{"full_name":"x"}}}`,
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		r, err := decodeRecord(b)
		if err != nil {
			if !errors.Is(err, fault.ErrRecord) || r != nil {
				t.Fatalf("%v, %v", r, err)
			}
			return
		}
		// Whatever it says, looking at it is safe.
		c := &tokenCall{Client: &Client{Profile: config.Settings{BaseURL: r.baseURL, ClientID: r.clientID}, Now: func() time.Time { return time.Unix(1_800_000_000, 0) }}}
		c.next(r)

		once, err := r.encode()
		if err != nil {
			return // a year that JSON has no room for; found before anything is sent
		}
		again, err := decodeRecord(once)
		if err != nil {
			t.Fatalf("what was encoded cannot be read: %v\n%s", err, once)
		}
		if twice, err := again.encode(); err != nil || !bytes.Equal(once, twice) {
			t.Errorf("%v\n%s\n%s", err, once, twice)
		}
	})
}

// What each call with a valid token costs besides reading the file.
func BenchmarkValidToken(b *testing.B) {
	r := fullRecord()
	r.refused, r.waitForExpiry = nil, false
	stored, err := r.encode()
	if err != nil {
		b.Fatal(err)
	}
	now := r.repliedAt.Add(time.Minute)
	c := &Client{Profile: config.Settings{Name: "acme", BaseURL: r.baseURL, ClientID: r.clientID}, Now: func() time.Time { return now }}
	b.SetBytes(int64(len(stored)))
	b.ReportAllocs()
	for b.Loop() {
		call := tokenCall{Client: c, began: now}
		rec, err := c.open(stored)
		if err != nil || call.next(rec).do != handOut {
			b.Fatal(err)
		}
	}
}
