//go:build !unix

package main

// become fails: where a process cannot turn into another program, the packages
// have the whole program alone.
func become([]string) error { return errMissing }
