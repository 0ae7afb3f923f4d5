package main

// resetSignals is for Linux only.
func resetSignals() {}
