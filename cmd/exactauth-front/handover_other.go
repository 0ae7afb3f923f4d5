//go:build !darwin && !linux

package main

// become fails: where a process cannot turn into another program, packages have the
// whole program only.
func become([]string) error { return errMissing }
