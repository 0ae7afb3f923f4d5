package main

import (
	"errors"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
)

// keyringReady returns why there is no keyring to call, or nil. Without a session bus
// the library would start one, in which there is no keyring. The environment of a cron
// job may not name the bus of the user's session, so keyringReady sets it.
func (a *app) keyringReady() error {
	switch runtime.GOOS {
	case "windows", "darwin":
		return nil
	}
	if address := a.Env("DBUS_SESSION_BUS_ADDRESS"); address != "" && !strings.HasPrefix(address, "autolaunch:") {
		return nil
	}
	for _, dir := range []string{a.Env("XDG_RUNTIME_DIR"), "/run/user/" + strconv.Itoa(os.Getuid())} {
		bus := filepath.Join(dir, "bus")
		if info, err := os.Stat(bus); dir != "" && err == nil && info.Mode().Type() == fs.ModeSocket {
			return os.Setenv("DBUS_SESSION_BUS_ADDRESS", "unix:path="+url.PathEscape(bus))
		}
	}
	return errors.New("there is no desktop session with a keyring here (DBUS_SESSION_BUS_ADDRESS is not set)")
}
