package callback

import (
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/exactauth/exactauth/internal/tokenstore"
)

func TestSelfSigned(t *testing.T) {
	t.Parallel()
	now := time.Date(2026, 10, 28, 16, 15, 50, 0, time.UTC)
	for _, host := range []string{"exactauth.test", "Localhost", "127.0.0.1", "::1", "xn--bcher-kva.test"} {
		t.Run(host, func(t *testing.T) {
			for age, same := range map[time.Duration]bool{0: true, 334 * 24 * time.Hour: true, 336 * 24 * time.Hour: false, -2 * time.Hour: false} {
				store := tokenstore.NewFiles(t.TempDir(), nil)
				first, err1 := selfSigned(t.Context(), store, host, now)
				later, err2 := selfSigned(t.Context(), store, host, now.Add(age))
				if err1 != nil || err2 != nil || (string(first.Leaf.Raw) == string(later.Leaf.Raw)) != same {
					t.Errorf("%s later: the same: %t; %v %v", age, !same, err1, err2)
				}
				for _, name := range []string{host, "127.0.0.1", "::1"} {
					if err := first.Leaf.VerifyHostname(name); err != nil {
						t.Error(err)
					}
				}
			}
		})
	}
	t.Run("a damaged one is replaced", func(t *testing.T) {
		dir := t.TempDir()
		if err := os.WriteFile(filepath.Join(dir, "tls.a.test"), []byte("-----BEGIN"), 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := selfSigned(t.Context(), tokenstore.NewFiles(dir, nil), "a.test", now); err != nil {
			t.Error(err)
		}
	})
}
