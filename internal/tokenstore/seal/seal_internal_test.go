package seal

import (
	"bytes"
	"testing"

	"filippo.io/age"
)

func testKey(tb testing.TB) *Key {
	tb.Helper()
	i, err := age.GenerateX25519Identity()
	if err != nil {
		tb.Fatal(err)
	}
	return &Key{place: "a test", how: "age:test", identities: []age.Identity{i}, recipient: i.Recipient()}
}

// Any bytes in the place of a record are opened only if they were sealed for the key,
// and are never used as plain text.
func FuzzUnseal(f *testing.F) {
	key, other := testKey(f), testKey(f)
	record := []byte(`{"version": 1}`)
	sealed, err := key.seal(record)
	if err != nil {
		f.Fatal(err)
	}
	foreign, err := other.seal(record)
	if err != nil {
		f.Fatal(err)
	}
	for _, b := range [][]byte{nil, record, sealed, foreign, []byte(header), []byte(header + "v1\n---"), sealed[:len(sealed)-1], append(bytes.Clone(sealed), 0),
		[]byte(header + "v1\n-> X25519 AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA\nAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA\n--- AAAA\n"),
		[]byte(header + "v1\n-> scrypt AAAA 20\nAAAA\n--- AAAA\n")} {
		f.Add(b)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		got, err := key.unseal(b)
		switch {
		case err != nil && got != nil:
			t.Errorf("%q beside %v", got, err)
		case err == nil && bytes.Equal(got, b):
			t.Errorf("%q was used as plain text", b)
		case err == nil && !bytes.Equal(b, sealed): // age files are not malleable, and no other program has the key
			t.Errorf("%q was opened: %q", b, got)
		}
		plain, err := (*Key)(nil).unseal(b)
		if sealed := bytes.HasPrefix(b, []byte(header)); (err != nil) != sealed || err == nil && !bytes.Equal(plain, b) {
			t.Errorf("without a key %q is %q, %v", b, plain, err)
		}
	})
}

func benchmarkRecord(b *testing.B) (*Key, []byte) {
	b.Helper()
	return testKey(b), bytes.Repeat([]byte("0123456789abcdef"), 128)
}

func BenchmarkSeal(b *testing.B) {
	key, record := benchmarkRecord(b)
	b.SetBytes(int64(len(record)))
	b.ReportAllocs()
	for b.Loop() {
		if _, err := key.seal(record); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkOpen(b *testing.B) {
	key, record := benchmarkRecord(b)
	sealed, err := key.seal(record)
	if err != nil {
		b.Fatal(err)
	}
	b.SetBytes(int64(len(record)))
	b.ReportAllocs()
	for b.Loop() {
		if _, err := key.unseal(sealed); err != nil {
			b.Fatal(err)
		}
	}
}
