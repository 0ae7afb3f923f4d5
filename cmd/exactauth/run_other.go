//go:build unix && !linux

package main

import (
	"os"
	"os/signal"
)

// giveBack has the Go runtime end this process on these signals. One that comes in
// the very moment in which another program takes our place can be lost.
func giveBack(signals []os.Signal) { signal.Reset(signals...) }
