package stored_test

import (
	"strings"
	"testing"
	"time"

	"github.com/exactauth/exactauth/internal/stored"
)

// usual is a record as it is after some refreshes, with tokens as long as Exact's.
func usual() *stored.Record {
	at := time.Date(2026, 11, 22, 12, 0, 0, 123456789, time.UTC)
	return &stored.Record{
		BaseURL: "https://start.exactonline.nl", ClientID: "5f3b1c1e-7c0e-4d0a-9b1f-0a6d6f0e2c11", ClientSecret: "abcDEF123456", Generation: 12,
		Login: &stored.Login{
			Tokens: stored.Tokens{
				AccessToken: "stampNL001." + strings.Repeat("a", 840), RefreshToken: "stampNL001." + strings.Repeat("r", 640),
				LifeSeconds: 600, RequestedAt: at, RepliedAt: at.Add(time.Second), ServerDate: at.Truncate(time.Second),
			},
			PreviousRefreshToken: "stampNL001." + strings.Repeat("p", 640),
			User:                 &stored.User{ID: "2b5a7c1e-0d43-4f6b-9a1c-5e8f3d2b7a60", UserName: "anna.devries", FullName: "Anna de Vries", Email: "anna@voorbeeld.example", Division: 123456},
		},
	}
}

func encoded(tb testing.TB) []byte {
	tb.Helper()
	b, err := stored.Encode(usual())
	if err != nil {
		tb.Fatal(err)
	}
	return b
}

func BenchmarkDecode(b *testing.B) {
	record := encoded(b)
	b.SetBytes(int64(len(record)))
	b.ReportAllocs()
	for b.Loop() {
		if _, err := stored.Decode(record); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkEncode(b *testing.B) {
	r := usual()
	b.SetBytes(int64(len(encoded(b))))
	b.ReportAllocs()
	for b.Loop() {
		if _, err := stored.Encode(r); err != nil {
			b.Fatal(err)
		}
	}
}

// Each call of token decodes a record, each process that waits for another's
// refresh many. The bound is a little above what it was in November 2026.
func TestDecodeAllocations(t *testing.T) {
	const most = 6
	record := encoded(t)
	n := testing.AllocsPerRun(100, func() {
		if _, err := stored.Decode(record); err != nil {
			t.Fatal(err)
		}
	})
	if n > most {
		t.Errorf("Decode allocates %.0f times, more than %d", n, most)
	} else {
		t.Logf("Decode allocates %.0f times", n)
	}
}
