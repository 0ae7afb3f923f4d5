//go:build !linux

package durable

import "os"

// Reserve allocates size bytes of the disk to the empty file f, so that they can be written
// although the disk is full then.
func Reserve(f *os.File, size int) error { return reserve(f, size) }
