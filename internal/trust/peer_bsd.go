//go:build darwin || freebsd

package trust

import "golang.org/x/sys/unix"

// peer returns the user of the process at the other end of a socket, or -1.
func peer(fd int) int64 {
	const local = 0 // SOL_LOCAL, as both systems define it
	other, err := unix.GetsockoptXucred(fd, local, unix.LOCAL_PEERCRED)
	if err != nil {
		return -1
	}
	return int64(other.Uid)
}
