package trust

import "golang.org/x/sys/unix"

// peer returns the user of the process at the other end of a socket, or -1.
func peer(fd int) int64 {
	other, err := unix.GetsockoptUcred(fd, unix.SOL_SOCKET, unix.SO_PEERCRED)
	if err != nil {
		return -1
	}
	return int64(other.Uid)
}
