package pgstore

import (
	"net"
	"testing"
)

// isRefused, by which connect recognises a server that restarts, is a number of the
// operating system, and differs between systems.
func TestRefused(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	l.Close()
	if _, err := net.Dial("tcp", l.Addr().String()); !isRefused(err) {
		t.Errorf("a port without a listener: %v", err)
	}
}
