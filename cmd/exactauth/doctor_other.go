//go:build !linux

package main

// remoteFileSystem cannot recognize network file systems here.
func remoteFileSystem(string) string { return "" }
