//go:build unix

package trust

import (
	"fmt"
	"os"
	"runtime"
	"strconv"
	"syscall"
)

// Server returns an *Error if the process at the other end of a Unix socket belongs to an
// ordinary user other than this one: that user could pose as the server, by a socket in a
// directory such as /tmp, or in one of the user's own. Trusted are root and the accounts of
// the system, as which servers run, and an account named postgres, whatever its number is.
// It is the process that counts, since a link in a directory of a trusted user's may lead to
// a socket of another. Where the system does not say whose the process is, there is no error.
func Server(c syscall.Conn, path string) error {
	raw, err := c.SyscallConn()
	if err != nil {
		return err
	}
	uid, us := int64(-1), int64(os.Geteuid())
	err = raw.Control(func(fd uintptr) { uid = peer(int(fd)) })
	people := int64(1000) // from this number on accounts are people's; nobody's is higher
	if runtime.GOOS == "darwin" {
		people = 500
	}
	if err != nil || uid < people || uid == us || named("postgres", uid) {
		return err
	}
	return &Error{path, fmt.Sprintf("the process that listens there belongs to user %d, who may pose as the server", uid),
		"if it is the right one, connect to a port instead of the socket, where the server must prove that it is"}
}

func named(name string, uid int64) bool {
	for user := range entries("/etc/passwd") {
		if user[0] == name && user[2] == strconv.FormatInt(uid, 10) {
			return true
		}
	}
	return false
}
