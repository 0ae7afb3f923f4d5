package main

import "net"

// listenSocket has no modes on Windows to keep other users out with.
func listenSocket(string) (net.Listener, error) {
	return nil, &hinted{usagef("--socket is for Unix"), "use a port: --port"}
}
