package pgstore

import (
	"errors"
	"net"
	"testing"
)

// A server that is being started again is told from others by the system's number
// for it, and that is not the same everywhere.
func TestRefused(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	l.Close()
	if _, err := net.Dial("tcp", l.Addr().String()); !errors.Is(err, errRefused) {
		t.Errorf("nobody listens: %v; want %v", err, errRefused)
	}
}
