//go:build unix

package exactauth

import "syscall"

// What the system says of an address that cannot be listened on.
const (
	errInUse     = syscall.EADDRINUSE
	errForbidden = syscall.EACCES

	// forbiddenAdvice is why a port can be forbidden here.
	forbiddenAdvice = "this user may not listen on ports below 1024"
)
