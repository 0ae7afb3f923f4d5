//go:build unix

package seal

import (
	"io/fs"
	"os"
	"syscall"
)

// groupMay gives what the group may do with a key file beside its owner.
func groupMay(info fs.FileInfo) fs.FileMode {
	if st, ok := info.Sys().(*syscall.Stat_t); ok && st.Uid == 0 && os.Geteuid() != 0 {
		return 0o040
	}
	return 0
}
