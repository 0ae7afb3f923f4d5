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

// ownedByUs refuses what another user could have put there, root not excepted:
// a record that root wrote is one that its user cannot change any more.
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

// syncAbove syncs the directories above dir as far as this user can have made
// them, lest a power cut takes a new directory away with the first record in it.
// That dir exists says nothing: a process that made it may have been killed
// before it came to this.
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
			return err // a directory of others may be closed to us, and needs no sync by us
		}
		if !ours {
			return nil // in it, at most, we made the one below
		}
		dir = above
	}
}
