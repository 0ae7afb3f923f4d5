//go:build darwin || linux

package main

import (
	"errors"
	"fmt"
	"os"
	"syscall"
	"time"
)

// become turns this process into the first of these programs that is there: the
// same arguments, environment, files and process id, so that nobody can tell.
func become(programs []string) error {
	for _, program := range programs {
		err := syscall.Exec(program, os.Args, os.Environ())
		if !errors.Is(err, syscall.ENOENT) {
			return fmt.Errorf("%s: %w", program, err)
		}
	}
	return errMissing
}

// claim makes this process the one that renews the record at path. If another is
// that already, claim returns when it has ended, or after patience.
//
// The claim is a lock on the very file. It stays with the program that this process
// becomes, and with what that starts, and ends with them however they end; a renewed
// record is another file, which nobody has claimed. It guards nothing: who cannot
// have it does no harm, and whoever keeps it for long costs others their patience.
func claim(path string, patience time.Duration) {
	// Without O_CLOEXEC, so that it survives become.
	fd, err := syscall.Open(path, syscall.O_RDONLY|syscall.O_NOFOLLOW, 0)
	if err != nil {
		return
	}
	if !errors.Is(syscall.Flock(fd, syscall.LOCK_EX|syscall.LOCK_NB), syscall.EWOULDBLOCK) {
		return
	}
	syscall.CloseOnExec(fd)
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		for errors.Is(syscall.Flock(fd, syscall.LOCK_SH), syscall.EINTR) {
		}
	}()
	select {
	case <-ended:
		// Whoever comes next need not wait for this process.
		syscall.Close(fd)
	case <-time.After(patience):
	}
}
