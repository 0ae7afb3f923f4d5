//go:build unix

package pgstore

import "syscall"

// errRefused is what the system says where nobody listens.
const errRefused = syscall.ECONNREFUSED
