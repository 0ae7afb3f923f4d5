package main

import (
	"syscall"
	"unsafe"
)

// resetSignals lets the system end this process on these signals, unless they are
// ignored. Otherwise the Go runtime's handler runs, in a thread that the system may
// be ending at this moment for the next program, and the signal is lost.
func resetSignals() {
	const (
		maskSize = 8 // bytes
		ignored  = 1 // SIG_IGN
	)
	for _, s := range []syscall.Signal{syscall.SIGHUP, syscall.SIGINT, syscall.SIGTERM} {
		// The handler is first in each; all zero is the default, in whatever order the rest is.
		var now, byDefault [16]uintptr
		_, _, _ = syscall.RawSyscall6(syscall.SYS_RT_SIGACTION, uintptr(s), 0, uintptr(unsafe.Pointer(&now)), maskSize, 0, 0)
		if now[0] != ignored {
			_, _, _ = syscall.RawSyscall6(syscall.SYS_RT_SIGACTION, uintptr(s), uintptr(unsafe.Pointer(&byDefault)), 0, maskSize, 0, 0)
		}
	}
}
