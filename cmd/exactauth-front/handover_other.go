//go:build !darwin && !linux

package main

import "time"

// become fails: where a process cannot turn into another program, the packages
// have the whole program alone.
func become([]string) error { return errMissing }

// claim is of use before become alone.
func claim(string, time.Duration) {}
