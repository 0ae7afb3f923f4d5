package pgstore

import "syscall"

// errRefused is what the system says where nobody listens: Windows Sockets' own
// number, which the syscall package's name does not match.
const errRefused = syscall.Errno(10061) // WSAECONNREFUSED
