package pgstore

import "syscall"

// errRefused is the error of a connection to a port without a listener: Windows Sockets' own
// number, which the syscall package's name does not match.
const errRefused = syscall.Errno(10061) // WSAECONNREFUSED
