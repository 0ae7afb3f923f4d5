//go:build unix

package tokenstore

import (
	"fmt"
	"io/fs"
	"os"
	"syscall"
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
