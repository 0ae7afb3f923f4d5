//go:build linux || darwin

package config

import "syscall"

// readOnly reports whether dir is on a read-only file system.
func readOnly(dir string) bool {
	const flag = 1 // ST_RDONLY on Linux, MNT_RDONLY on macOS
	var st syscall.Statfs_t
	return syscall.Statfs(dir, &st) == nil && st.Flags&flag != 0
}
