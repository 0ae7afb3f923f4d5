//go:build !linux

package handover

import "os"

// DefaultSignals leaves it to the Go runtime to end this process on these signals. One
// that comes at the very moment in which another program takes our place can be lost.
func DefaultSignals([]os.Signal) {}

// CanStop reports that Stop cannot be called.
func CanStop() bool { return false }

func Stop() {}
