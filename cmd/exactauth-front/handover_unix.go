//go:build darwin || linux

package main

import (
	"errors"
	"fmt"
	"os"
	"syscall"

	"github.com/exactauth/exactauth/internal/handover"
)

// become replaces this process by the first of these programs that exists: the
// arguments, environment, open files and process id stay the same.
func become(programs []string) error {
	handover.DefaultSignals([]os.Signal{syscall.SIGHUP, syscall.SIGINT, syscall.SIGTERM})
	path, _ := os.Executable()
	self, selfErr := os.Stat(path)
	for _, program := range programs {
		if other, err := os.Stat(program); err == nil && selfErr == nil && os.SameFile(self, other) {
			return fmt.Errorf("%s is a link to the program in front of it", program) // each would start the next for ever
		}
		err := syscall.Exec(program, os.Args, os.Environ())
		if !errors.Is(err, syscall.ENOENT) {
			return fmt.Errorf("%s: %w", program, err)
		}
	}
	return errMissing
}
