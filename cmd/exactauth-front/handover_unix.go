//go:build darwin || linux

package main

import (
	"errors"
	"fmt"
	"os"
	"strconv"
	"syscall"
	"time"
)

// become turns this process into the first of these programs that is there: the
// same arguments, environment, files and process id, so that nobody can tell.
func become(programs []string) error {
	giveBack()
	path, _ := os.Executable()
	self, selfErr := os.Stat(path)
	for _, program := range programs {
		if there, err := os.Stat(program); err == nil && selfErr == nil && os.SameFile(self, there) {
			return fmt.Errorf("%s is a link to what it should be behind", program) // it would go on for ever
		}
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
// The claim is a lock on the very file, which a renewed record replaces. It stays
// with the program that this process becomes, and ends with it however that ends.
// It guards nothing: who cannot have it, or is not known here, does no harm.
func claim(path string, patience time.Duration) {
	// Without O_CLOEXEC, so that it survives become. The whole program finds in the
	// environment which it is, and hands it on to nothing that it starts.
	fd, err := syscall.Open(path, syscall.O_RDONLY|syscall.O_NOFOLLOW|syscall.O_NONBLOCK, 0)
	if err != nil {
		return
	}
	switch err := syscall.Flock(fd, syscall.LOCK_EX|syscall.LOCK_NB); {
	case err == nil:
		os.Setenv("EXACTAUTH_CLAIM", strconv.Itoa(fd))
		return
	case !errors.Is(err, syscall.EWOULDBLOCK):
		syscall.Close(fd)
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
