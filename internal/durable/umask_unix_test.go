//go:build unix

package durable_test

import (
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
	"testing"

	"github.com/exactauth/exactauth/internal/durable"
)

// What is made can be used whatever the umask takes away, and by its user alone whatever
// the umask leaves.
func TestUmask(t *testing.T) {
	for _, mask := range []int{0o777, 0} {
		func() {
			defer syscall.Umask(syscall.Umask(mask))
			dir := filepath.Join(t.TempDir(), "two", "levels")
			if err := durable.MakeDirs(dir); err != nil {
				t.Fatal(err)
			}
			root, err := os.OpenRoot(dir)
			if err != nil {
				t.Fatal(err)
			}
			defer root.Close()
			for range 2 { // a lock that is new, and one that exists
				unlock, err := durable.Lock(t.Context(), root, "a.lock")
				if err != nil {
					t.Fatal(err)
				}
				unlock()
			}
			if err := durable.Create(filepath.Join(dir, "created"), nil); err != nil {
				t.Error(err)
			}
			if err := durable.Replace(filepath.Join(dir, "replaced"), nil, nil); err != nil {
				t.Error(err)
			}
			for path, want := range map[string]fs.FileMode{
				filepath.Dir(dir): 0o700, dir: 0o700, dir + "/a.lock": 0o600, dir + "/created": 0o600, dir + "/replaced": 0o600,
			} {
				if info, err := os.Stat(path); err != nil || info.Mode().Perm() != want {
					t.Errorf("umask %04o: %s has mode %v, %v; want %04o", mask, filepath.Base(path), info.Mode().Perm(), err, want)
				}
			}
		}()
	}
}
