//go:build unix

package seal

import (
	"io/fs"
	"os"
	"syscall"
)

// groupMay returns the permissions that the group may have on a file with a secret.
func groupMay(info fs.FileInfo) fs.FileMode {
	if st, ok := info.Sys().(*syscall.Stat_t); ok && st.Uid == 0 && os.Geteuid() != 0 {
		return 0o040
	}
	return 0
}
