package tokenstore

import (
	"errors"
	"io/fs"
	"os"
	"syscall"
	"time"
)

// On Windows the directory is in the user's own profile, whose access list keeps
// other users out; files have no mode bits to check.
func tooOpen(fs.FileInfo) bool { return false }

// rename retries while a virus scanner or an indexer holds the file: a short
// sharing violation must not lose a login.
func rename(root *os.Root, from, to string) error {
	const sharingViolation = syscall.Errno(32)
	for pause := time.Millisecond; ; pause *= 2 {
		err := root.Rename(from, to)
		if pause > 2*time.Second || !errors.Is(err, sharingViolation) && !errors.Is(err, syscall.ERROR_ACCESS_DENIED) {
			return err
		}
		time.Sleep(pause)
	}
}

// Windows cannot sync a directory; NTFS journals the rename itself.
func syncDir(*os.Root) error { return nil }
func syncAbove(string) error { return nil }
