package trust_test

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/exactauth/exactauth/internal/durable"
	"github.com/exactauth/exactauth/internal/durable/durabletest"
	"github.com/exactauth/exactauth/internal/trust"
)

func TestAccessLists(t *testing.T) {
	top := filepath.Join(t.TempDir(), "top")
	dir := filepath.Join(top, "dir")
	path := filepath.Join(dir, "secret")
	for _, c := range []struct {
		name         string
		open, show   string // to everybody
		file, secret string // the path that is refused; empty: none
	}{
		{name: "private"},
		{name: "readable file", show: path, secret: path},
		{name: "readable directory", show: dir},
		{name: "open file", open: path, file: path, secret: path},
		{name: "open directory", open: dir, file: dir, secret: dir},
		{name: "open directory above", open: top, file: top, secret: top},
	} {
		t.Run(c.name, func(t *testing.T) {
			if err := durable.MakeDirs(dir); err != nil {
				t.Fatal(err)
			}
			if err := durable.Replace(path, []byte("x"), nil); err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() {
				for _, dir := range []string{top, dir} {
					if err := durable.Protect(dir, true); err != nil {
						t.Error(err)
					}
				}
			})
			if c.open != "" {
				durabletest.OpenToEverybody(t, c.open)
			}
			if c.show != "" {
				durabletest.ShowToEverybody(t, c.show)
			}
			for want, judge := range map[*string]func(string) (fs.FileInfo, error){&c.file: trust.File, &c.secret: trust.Secret} {
				_, err := judge(path)
				var open *trust.Error
				switch errors.As(err, &open); {
				case *want == "" && err != nil:
					t.Errorf("refused: %v", err)
				case *want != "" && (open == nil || open.Path != *want || !strings.HasPrefix(open.Fix, `icacls "`+*want+`" /inheritance:r`)):
					t.Errorf("got %#v; want %s refused", err, *want)
				}
			}
		})
	}
	if _, err := trust.File(filepath.Join(dir, "missing")); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("a missing file: %v", err)
	}
	if err := os.Remove(path); err != nil {
		t.Error(err)
	}
}
