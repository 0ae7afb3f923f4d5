//go:build unix

package tokenstore_test

import "syscall"

func umask(mask int) int { return syscall.Umask(mask) }
