package main

import "runtime"

// systemHints are hints that name a system's own tools and settings.
type systemHints struct {
	home       string // no variable names the user's directories
	names      string // a name is not found
	clock      string // the clock is wrong
	permission string // a file cannot be executed
	script     string // a file is no program; the file's name follows
}

var here = hintsFor(runtime.GOOS)

func hintsFor(goos string) systemHints {
	h := systemHints{
		home:       "HOME",
		names:      "/etc/resolv.conf",
		clock:      "timedatectl set-ntp true",
		permission: "make it executable: chmod +x",
		script:     "a script needs a first line that names its interpreter, as #!/bin/sh; or run it by that: sh ",
	}
	switch goos {
	case "windows":
		h = systemHints{
			home:       "APPDATA and LOCALAPPDATA",
			names:      "ipconfig /all",
			clock:      "w32tm /resync, as an administrator",
			permission: "check that it is a program, and that you may execute it",
			script:     "run a script by its interpreter, as in: powershell -File ",
		}
	case "darwin":
		h.names, h.clock = "scutil --dns", "sudo systemsetup -setusingnetworktime on"
	}
	h.home = "set " + h.home + ", or name two directories: EXACTAUTH_CONFIG_DIR and EXACTAUTH_STATE_DIR"
	h.names = "check the network, its name server (" + h.names + ") and the name; behind a proxy set HTTPS_PROXY"
	h.clock = "set it, and keep it right: " + h.clock
	return h
}
