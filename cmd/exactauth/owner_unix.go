//go:build unix

package main

import (
	"io/fs"
	"os"
	"syscall"
)

// ours reports whether a file belongs to this very user, and not to root.
func ours(info fs.FileInfo) bool {
	st, ok := info.Sys().(*syscall.Stat_t)
	return !ok || int(st.Uid) == os.Geteuid() || st.Uid != 0
}

// keepGroup gives f the group of another file, which only root and its members may.
func keepGroup(f *os.File, of fs.FileInfo) bool {
	st, ok := of.Sys().(*syscall.Stat_t)
	return ok && f.Chown(-1, int(st.Gid)) == nil
}
