package exactauth

import "syscall"

// What the system says of an address that cannot be listened on: Windows
// Sockets' own numbers, which the syscall package's names do not match.
const (
	errInUse     = syscall.Errno(10048) // WSAEADDRINUSE
	errForbidden = syscall.Errno(10013) // WSAEACCES

	// forbiddenAdvice is why a port can be forbidden here.
	forbiddenAdvice = "Windows keeps it in an excluded port range, as Hyper-V and WSL have it do: " +
		"netsh interface ipv4 show excludedportrange protocol=tcp"
)
