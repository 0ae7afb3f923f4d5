// Package handover readies a process for another program that takes its place, as
// execve(2) does it: one place for both programs that do so.
package handover

import (
	"os"
	"syscall"
	"unsafe"
)

// DefaultSignals lets the system itself end this process on these signals, except on
// those that are ignored. Otherwise the Go runtime's handler does, in a thread that the
// system may just be ending to make room for the next program, and the signal is lost:
// one in twenty of those that come while a loaded machine starts a program.
func DefaultSignals(signals []os.Signal) {
	const (
		maskSize = 8 // bytes
		ignored  = 1 // SIG_IGN
	)
	for _, s := range signals {
		sig, ok := s.(syscall.Signal)
		if !ok {
			continue
		}
		// The handler is first in each; all zero is the default, in whatever order the rest is.
		var now, byDefault [16]uintptr
		_, _, _ = syscall.RawSyscall6(syscall.SYS_RT_SIGACTION, uintptr(sig), 0, uintptr(unsafe.Pointer(&now)), maskSize, 0, 0)
		if now[0] != ignored {
			_, _, _ = syscall.RawSyscall6(syscall.SYS_RT_SIGACTION, uintptr(sig), uintptr(unsafe.Pointer(&byDefault)), 0, maskSize, 0, 0)
		}
	}
}
