package main

import "net"

// listenSocket fails: on Windows a socket has no mode that keeps other users out.
func listenSocket(string) (net.Listener, error) {
	return nil, &hinted{usagef("--socket is for Unix"), "use a port: --port"}
}
