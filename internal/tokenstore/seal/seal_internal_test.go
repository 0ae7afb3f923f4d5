package seal

import (
	"bytes"
	"context"
	"encoding/base64"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"testing"
	"unicode/utf16"

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

// TestKeyFilesOfWindows reads key files as age-keygen's output becomes there.
func TestKeyFilesOfWindows(t *testing.T) {
	i, err := age.GenerateX25519Identity()
	if err != nil {
		t.Fatal(err)
	}
	text := "# public key: " + i.Recipient().String() + "\r\n" + i.String() + "\r\n"
	wide := []byte("\xff\xfe")
	for _, u := range utf16.Encode([]rune(text)) {
		wide = append(wide, byte(u), byte(u>>8))
	}
	for name, b := range map[string][]byte{"CRLF": []byte(text), "byte order mark": []byte("\ufeff" + text), "UTF-16": wide} {
		path := filepath.Join(t.TempDir(), "key")
		if err := os.WriteFile(path, b, 0o600); err != nil {
			t.Fatal(err)
		}
		if err := File(path).open(t.Context()); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// TestCopyingOnMacOS runs the command that macOS's users are shown, with a security(1) that prints what the real one
// returns of an item of go-keyring's.
func TestCopyingOnMacOS(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("it is for a shell")
	}
	const text = "# a comment\nAGE-SECRET-KEY-1\n"
	dir := t.TempDir()
	fake := "#!/bin/sh\n[ \"$*\" = 'find-generic-password -s " + keyringService + " -a " + keyringUser + " -w' ] && echo go-keyring-base64:" +
		base64.StdEncoding.EncodeToString([]byte(text)) + "\n"
	if err := os.WriteFile(filepath.Join(dir, "security"), []byte(fake), 0o700); err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), "sh", "-c", (&Key{how: "keyring"}).Copying("darwin"))
	cmd.Env = append(os.Environ(), "PATH="+dir+string(os.PathListSeparator)+os.Getenv("PATH"))
	if out, err := cmd.CombinedOutput(); err != nil || string(out) != text {
		t.Errorf("%v: %q", err, out)
	}
}
