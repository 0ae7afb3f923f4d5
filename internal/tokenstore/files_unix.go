//go:build unix

package tokenstore

import (
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/exactauth/exactauth/internal/durable"
)

const privateFile, privateDir = "0600", "0700"

// exposed says how other users can read or change a file, or is empty.
func exposed(_ string, info fs.FileInfo) (string, error) {
	if info.Mode().Perm()&0o077 == 0 {
		return "", nil
	}
	return fmt.Sprintf("%04o", info.Mode().Perm()), nil
}

func protectDir(root *os.Root) error { return root.Chmod(".", 0o700) }

func syncDir(root *os.Root) error {
	d, err := root.Open(".")
	if err != nil {
		return err
	}
	defer d.Close()
	return d.Sync()
}

// syncAbove syncs the directories above dir that this user can have made, because a
// power cut could otherwise remove a new directory and the first record in it.
// It does so also if dir exists: the process that made dir may have been killed
// before it synced.
func syncAbove(dir string) error {
	dir, err := filepath.Abs(dir)
	if err != nil {
		return err
	}
	for {
		above := filepath.Dir(dir)
		if above == dir {
			return nil
		}
		info, err := os.Stat(above)
		if err != nil {
			return err
		}
		ours := durable.Ours(info) == nil
		if err := durable.SyncDir(above); err != nil && ours {
			return err // another user's directory may be closed to us, and need no sync by us
		}
		if !ours {
			return nil // we can have made a directory in it, but none above
		}
		dir = above
	}
}
