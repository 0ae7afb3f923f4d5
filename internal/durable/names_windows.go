package durable

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sys/windows"
)

// Patiently calls f until it succeeds, for at most four seconds, while it fails because
// another program has the file open: a virus scanner, an indexer, a synchronized folder.
// Windows then says that the file is in use, or that access is denied.
func Patiently(f func() error) error {
	for pause := time.Millisecond; ; pause *= 2 {
		err := f()
		if pause > 2*time.Second || !errors.Is(err, windows.ERROR_SHARING_VIOLATION) && !errors.Is(err, windows.ERROR_ACCESS_DENIED) {
			return err
		}
		time.Sleep(pause)
	}
}

// Remove removes the file name in root, and returns when the name is free: it is not as
// long as another process, which may have been killed just now, has the file open. Where
// the system does not know the call of an os.Root, as Wine 8 does not, Remove takes the
// call of os.Remove.
func Remove(root *os.Root, name string) error {
	removed := false
	return Patiently(func() error {
		err := root.Remove(name)
		if errors.Is(err, windows.ERROR_INVALID_FUNCTION) {
			err = os.Remove(filepath.Join(root.Name(), name))
		}
		if removed = removed || err == nil; !removed {
			return err
		}
		if _, err := root.Lstat(name); !errors.Is(err, fs.ErrNotExist) {
			return windows.ERROR_ACCESS_DENIED
		}
		return nil
	})
}

// SyncDir does nothing. Windows documents no call that makes a rename durable, and no
// rename says that it is; see docs/reliability.md.
func SyncDir(string) error { return nil }
