//go:build !linux

package main

// remoteFileSystem names the kind of network file system that a directory is on;
// it is not known here.
func remoteFileSystem(string) string { return "" }
