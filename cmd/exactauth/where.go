package main

import (
	"os"
	"runtime"
)

// whereabouts is what tells whether a browser on this machine is the person's.
type whereabouts struct {
	ssh       bool   // the terminal is at the other end of an SSH connection
	container string // "a container", "WSL", or empty
	editor    bool   // VS Code's remote terminal, whose $BROWSER opens the browser at the person's end
	display   bool   // a browser here could show itself
}

func (a *app) whereabouts() whereabouts {
	w := whereabouts{
		ssh:    a.env("SSH_CONNECTION") != "" || a.env("SSH_TTY") != "",
		editor: a.env("VSCODE_IPC_HOOK_CLI") != "",
	}
	switch {
	case a.env("WSL_DISTRO_NAME") != "":
		w.container = "WSL"
	case exists("/.dockerenv"), exists("/run/.containerenv"), a.env("KUBERNETES_SERVICE_HOST") != "":
		w.container = "a container"
	}
	switch runtime.GOOS {
	case "windows", "darwin":
		w.display = !w.ssh
	default:
		w.display = a.env("DISPLAY") != "" || a.env("WAYLAND_DISPLAY") != "" || w.container == "WSL"
	}
	return w
}

func exists(path string) bool {
	_, err := os.Lstat(path)
	return err == nil
}
