package main

import (
	"os"
	"syscall"
	"unsafe"
)

// resetSignals makes the system itself end this process on these signals. Otherwise
// the Go runtime's handler does, in a thread that the system may just be ending to make
// room for the program that takes our place, and the signal is lost: one in twenty of
// those that come while a loaded machine starts a program.
func resetSignals(signals []os.Signal) {
	var byDefault [16]uintptr // all zero, in whatever order its fields are
	const maskSize = 8        // bytes
	for _, s := range signals {
		if sig, ok := s.(syscall.Signal); ok {
			_, _, _ = syscall.RawSyscall6(syscall.SYS_RT_SIGACTION, uintptr(sig), uintptr(unsafe.Pointer(&byDefault)), 0, maskSize, 0, 0)
		}
	}
}
