package trust

import "syscall"

func readOnly(path string) bool {
	const flag = 1 // ST_RDONLY
	var st syscall.Statfs_t
	return syscall.Statfs(path, &st) == nil && st.Flags&flag != 0
}

func inMemory(path string) bool {
	const tmpfs, ramfs = 0x01021994, 0x858458f6
	var st syscall.Statfs_t
	return syscall.Statfs(path, &st) == nil && (uint32(st.Type) == tmpfs || uint32(st.Type) == ramfs)
}

// hasACL reports whether an access list names more users or groups. The permissions of
// the group are then the most that any of them has.
func hasACL(path string) bool {
	n, err := syscall.Getxattr(path, "system.posix_acl_access", nil)
	return err == nil && n > 0
}
