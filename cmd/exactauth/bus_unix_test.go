//go:build unix

package main

import (
	"errors"
	"net"
	"os"
	"path/filepath"
	"testing"

	"github.com/exactauth/exactauth/internal/term"
	"github.com/exactauth/exactauth/internal/trust"
)

// The session bus gets the seal's key, so it must not be another user's.
func TestBusOfAnotherUser(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("only root can make sockets of other users")
	}
	dir, err := os.MkdirTemp("", "exactauth-bus-") // a test's own has too long a path
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	bus := filepath.Join(dir, "bus")
	l, err := net.Listen("unix", bus)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	t.Setenv("DBUS_SESSION_BUS_ADDRESS", "")
	for _, test := range []struct {
		address, runtime string
		socket, dir      int // their owners
		refused          bool
	}{
		{"unix:path=" + bus, "", 0, 0, false},
		{"unix:path=" + bus, "", 61002, 0, true},
		{"unix:path=" + bus, "", 0, 61002, true},
		{"unix:path=" + bus + ",guid=1", "", 61002, 0, true},
		{"unix:guid=1,path=" + bus, "", 61002, 0, true},
		{"unix:abstract=/x;unix:path=" + dir + "/%62us", "", 61002, 0, true},
		{"", dir, 0, 0, false},
		{"", dir, 61002, 0, true},
		{"", dir, 0, 61002, true},
		{"autolaunch:", dir, 61002, 0, true},
	} {
		if err := errors.Join(os.Chmod(bus, 0o777), os.Chown(bus, test.socket, 0), os.Chown(dir, test.dir, 0)); err != nil {
			t.Fatal(err)
		}
		a := &app{Terminal: term.Terminal{Env: func(name string) string {
			return map[string]string{"DBUS_SESSION_BUS_ADDRESS": test.address, "XDG_RUNTIME_DIR": test.runtime}[name]
		}}}
		err := a.keyringReady()
		if errors.As(err, new(*trust.Error)) != test.refused || !test.refused && err != nil {
			t.Errorf("%+v: %v", test, err)
		}
		if set := os.Getenv("DBUS_SESSION_BUS_ADDRESS"); test.refused && set != "" {
			t.Errorf("%+v: the address is %s all the same", test, set)
		}
		os.Unsetenv("DBUS_SESSION_BUS_ADDRESS")
	}
}
