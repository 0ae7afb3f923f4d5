// Package handover hands signals over to the operating system: the Go runtime keeps its
// handler of a signal that it once handled. Both programs need that before another one
// takes their place (execve(2)), and a prompt when its terminal stops the job.
package handover

import (
	"os"
	"runtime"
	"syscall"
	"unsafe"
)

// sigaction is struct sigaction. The handler is first in it; all zero is the default, in
// whatever order the rest is.
type sigaction [16]uintptr

const ignored = 1 // SIG_IGN

// action returns what the system does on a signal, and changes it if to is not nil.
func action(sig syscall.Signal, to *sigaction) (before sigaction) {
	const maskSize = 8 // bytes
	_, _, _ = syscall.RawSyscall6(syscall.SYS_RT_SIGACTION, uintptr(sig), uintptr(unsafe.Pointer(to)), uintptr(unsafe.Pointer(&before)), maskSize, 0, 0)
	return before
}

// DefaultSignals lets the system itself end this process on these signals, except on
// those that are ignored. Otherwise the Go runtime's handler does, in a thread that the
// system may just be ending to make room for the next program, and the signal is lost:
// one in twenty of those that come while a loaded machine starts a program.
func DefaultSignals(signals []os.Signal) {
	for _, s := range signals {
		if sig, ok := s.(syscall.Signal); ok && action(sig, nil)[0] != ignored {
			action(sig, new(sigaction))
		}
	}
}

// CanStop reports whether a program that catches SIGTSTP, a terminal's Ctrl-Z, can call
// Stop then. It must not catch a signal that is ignored.
func CanStop() bool { return action(syscall.SIGTSTP, nil)[0] != ignored }

// Stop stops this process as SIGTSTP does that is not caught, and returns when the
// process goes on. Where no shell could resume it, the system does not stop it.
func Stop() {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	caught := action(syscall.SIGTSTP, new(sigaction))
	_ = syscall.Tgkill(os.Getpid(), syscall.Gettid(), syscall.SIGTSTP) // to this thread, which stops in the call
	action(syscall.SIGTSTP, &caught)
}
