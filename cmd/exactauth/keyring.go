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

// keyringReady says why there is no keyring to ask, or nil. Where it finds no
// session bus the library would start one of its own, in which there is no keyring;
// so it is told where the bus is. The environment of a cron job may not say it.
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
