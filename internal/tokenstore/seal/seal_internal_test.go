package seal

import (
	"bytes"
	"context"
	"testing"

	"filippo.io/age"
)

func testKey(tb testing.TB) *Key {
	tb.Helper()
	i, err := age.GenerateX25519Identity()
	if err != nil {
		tb.Fatal(err)
	}
	k := &Key{place: "a test", how: "age:test", read: func(context.Context) (string, error) { return i.String(), nil }}
	if err := k.open(tb.Context()); err != nil {
		tb.Fatal(err)
	}
	return k
}

func testSeal(tb testing.TB, k *Key, name string, record []byte) []byte {
	tb.Helper()
	sealed, err := k.seal(name, record)
	if err != nil {
		tb.Fatal(err)
	}
	return sealed
}

// Any bytes in the place of a record are opened only if they were sealed with the key as
// that record, and are never used as plain text.
func FuzzUnseal(f *testing.F) {
	key, other := testKey(f), testKey(f)
	record := []byte(`{"version": 1}`)
	sealed := testSeal(f, key, "a", record)
	for _, b := range [][]byte{nil, record, sealed, testSeal(f, other, "a", record), testSeal(f, key, "b", record), []byte(header), []byte(header + "v1\n---"), sealed[:len(sealed)-1], append(bytes.Clone(sealed), 0),
		[]byte(header + "v1\n-> X25519 AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA\nAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA\n--- AAAA\n"),
		[]byte(header + "v1\n-> scrypt AAAA 20\nAAAA\n--- AAAA\n")} {
		f.Add(b)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		got, err := key.unseal("a", b)
		switch {
		case err != nil && got != nil:
			t.Errorf("%q beside %v", got, err)
		case err == nil && bytes.Equal(got, b):
			t.Errorf("%q was used as plain text", b)
		case err == nil && !bytes.Equal(b, sealed): // age files are not malleable, and no other program has the key
			t.Errorf("%q was opened: %q", b, got)
		}
		plain, err := (*Key)(nil).unseal("a", b)
		if sealed := bytes.HasPrefix(b, []byte(header)); (err != nil) != sealed || err == nil && !bytes.Equal(plain, b) {
			t.Errorf("without a key %q is %q, %v", b, plain, err)
		}
	})
}

// Whatever text others seal for the public half of the key, it is not opened.
func FuzzForged(f *testing.F) {
	key, other := testKey(f), testKey(f)
	record := []byte("exactauth record 1\nend\n")
	mine, theirs := key.owners[0], other.owners[0]
	whole := append(mine.proof([]byte("a"), record), record...)
	for _, text := range [][]byte{nil, record, whole, whole[:len(whole)-1], append(bytes.Clone(whole), '\n'), bytes.ToUpper(whole),
		append(mine.proof([]byte("b"), record), record...), append(theirs.proof([]byte("a"), record), record...),
		[]byte("exactauth-seal/1 a \n"), []byte("exactauth-seal/1 a"), []byte("  \n"), []byte("\n")} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		var sealed bytes.Buffer
		w, err := age.Encrypt(&sealed, mine.recipient)
		if err != nil {
			t.Fatal(err)
		}
		w.Write(text)
		w.Close()
		got, err := key.unseal("a", sealed.Bytes())
		if (err == nil) != bytes.Equal(text, whole) || err == nil && !bytes.Equal(got, record) || err != nil && got != nil {
			t.Errorf("%q was opened: %q, %v", text, got, err)
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
		if _, err := key.seal("a", record); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkOpen(b *testing.B) {
	key, record := benchmarkRecord(b)
	sealed := testSeal(b, key, "a", record)
	b.SetBytes(int64(len(record)))
	b.ReportAllocs()
	for b.Loop() {
		if _, err := key.unseal("a", sealed); err != nil {
			b.Fatal(err)
		}
	}
}
