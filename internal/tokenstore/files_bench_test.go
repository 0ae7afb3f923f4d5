package tokenstore_test

import (
	"bytes"
	"context"
	"runtime"
	"testing"

	"github.com/exactauth/exactauth/internal/tokenstore"
)

// files_test.go measures the other calls.
func BenchmarkFilesDelete(b *testing.B) {
	s := tokenstore.NewFiles(b.TempDir(), nil)
	for b.Loop() {
		b.StopTimer()
		err := s.Update(b.Context(), "a", func(context.Context, []byte) ([]byte, error) { return bytes.Repeat([]byte("x"), 3000), nil })
		b.StartTimer()
		if err == nil {
			err = s.Delete(b.Context(), "a")
		}
		if err != nil {
			b.Fatal(err)
		}
	}
}

// Each call of token reads a record. The limit is a little above the count of
// November 2026.
func TestFilesReadAllocations(t *testing.T) {
	const most = 22
	if runtime.GOOS != "linux" {
		t.Skip("it was counted on Linux only")
	}
	s := tokenstore.NewFiles(t.TempDir(), nil)
	err := s.Update(t.Context(), "a", func(context.Context, []byte) ([]byte, error) { return bytes.Repeat([]byte("x"), 3000), nil })
	if err != nil {
		t.Fatal(err)
	}
	n := testing.AllocsPerRun(100, func() {
		if _, err := s.Read(t.Context(), "a"); err != nil {
			t.Fatal(err)
		}
	})
	if n > most {
		t.Errorf("Read allocates %.0f times, more than %d", n, most)
	} else {
		t.Logf("Read allocates %.0f times", n)
	}
}
