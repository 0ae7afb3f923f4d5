//go:build !linux

package durable

import "os"

// Reserve gives the empty file f size bytes of the disk, so that they can be written
// although the disk is full then.
func Reserve(f *os.File, size int) error { return reserve(f, size) }
