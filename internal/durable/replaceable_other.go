//go:build !linux && !windows

package durable

import "os"

// Replaceable says why a rename cannot replace the file name in root. It knows no reason
// here: mounts of single files are Linux's.
func Replaceable(*os.Root, string) error { return nil }
