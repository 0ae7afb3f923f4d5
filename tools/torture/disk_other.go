//go:build unix && !linux

package main

import (
	"errors"
	"io"
)

// Elsewhere than on Linux nothing is mounted; what needs it is left to limits of
// the file size and to permissions.

func runInside(string, []string, io.Writer, io.Writer) (int, bool) { return 0, false }

func mountSmall(string) error    { return errors.ErrUnsupported }
func remount(string, bool) error { return errors.ErrUnsupported }
func unmount(string)             {}
func fileSystem(string) string   { return "disk" }
