//go:build unix && !linux

package main

import "os"

// resetSignals leaves it to the Go runtime to end this process on these signals. One
// that comes at the very moment in which another program takes our place can be lost.
func resetSignals([]os.Signal) {}
