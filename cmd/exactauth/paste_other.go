//go:build !linux && !darwin

package main

import "os"

// pasteMode changes nothing: a Windows console takes lines that are long enough.
func pasteMode(*os.File) (restore func(), err error) { return func() {}, nil }
