//go:build unix

package tokenstore

import (
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"

	"github.com/exactauth/exactauth/internal/durable"
)

// lookFlags open a lock file, whatever it is, without waiting and without following a
// link.
const lookFlags = os.O_RDONLY | syscall.O_NOFOLLOW | syscall.O_NONBLOCK

// ownedByUs returns an error for a file that another user may have put there, root
// included: the user could not change a record that root wrote.
func ownedByUs(info fs.FileInfo) error {
	if st, ok := info.Sys().(*syscall.Stat_t); ok && int(st.Uid) != os.Geteuid() {
		return fmt.Errorf("it belongs to user %d and this is user %d", st.Uid, os.Geteuid())
	}
	return nil
}

func tooOpen(info fs.FileInfo) bool { return info.Mode().Perm()&0o077 != 0 }

func rename(root *os.Root, from, to string) error { return root.Rename(from, to) }

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
		ours := ownedByUs(info) == nil
		if err := durable.SyncDir(above); err != nil && ours {
			return err // another user's directory may be closed to us, and need no sync by us
		}
		if !ours {
			return nil // we can have made a directory in it, but none above
		}
		dir = above
	}
}
