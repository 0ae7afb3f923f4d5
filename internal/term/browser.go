package term

import (
	"io"
	"os"
	"os/exec"
	"runtime"
	"strings"

	"github.com/pkg/browser"
)

// Browser returns the command line in $BROWSER, nil if there is none. It may have
// arguments, among them %s for the address.
func (t *Terminal) Browser() []string {
	own := strings.TrimSpace(t.Env("BROWSER"))
	if own == "" {
		return nil
	}
	if _, err := exec.LookPath(own); err == nil { // a path can contain blanks
		return []string{own}
	}
	return strings.Fields(own)
}

// CanOpen reports whether Open has a browser to open. Without this check the opener
// on Linux would start a text browser in the person's terminal.
func (t *Terminal) CanOpen() bool { return t.Browser() != nil || t.Where().Display }

// Open opens address in $BROWSER if that is set, otherwise in the system's browser,
// and does not wait for it. A browser that fails is a note only: the address has been
// shown.
func (t *Terminal) Open(address string) {
	command := t.Browser()
	go func() {
		var err error
		if command != nil {
			err = t.run(command, address)
		} else {
			// What a browser prints is neither a result nor of interest.
			browser.Stdout, browser.Stderr = io.Discard, io.Discard
			err = browser.OpenURL(address)
		}
		if err != nil {
			t.Note("the browser could not be opened; open the address above yourself")
		}
	}()
}

func (t *Terminal) run(command []string, address string) error {
	placed := false
	for i := range command {
		if strings.Contains(command[i], "%s") {
			command[i], placed = strings.ReplaceAll(command[i], "%s", address), true
		}
	}
	if !placed {
		command = append(command, address)
	}
	cmd := exec.Command(command[0], command[1:]...)
	cmd.Stdout, cmd.Stderr = t.Err, t.Err
	return cmd.Run()
}

// Where says where the program runs, seen from the person at the terminal. It decides
// whether a browser on this machine is theirs.
type Where struct {
	SSH       bool   // the terminal is at the other end of an SSH connection
	Container string // "a container", "WSL", or empty
	Editor    bool   // VS Code's remote terminal, whose $BROWSER opens the browser on the person's machine
	Display   bool   // a browser here can be seen
}

// Where looks at the environment and the machine.
func (t *Terminal) Where() Where {
	w := Where{
		SSH:    t.Env("SSH_CONNECTION") != "" || t.Env("SSH_TTY") != "",
		Editor: t.Env("VSCODE_IPC_HOOK_CLI") != "",
	}
	switch {
	case t.Env("WSL_DISTRO_NAME") != "":
		w.Container = "WSL"
	case exists("/.dockerenv"), exists("/run/.containerenv"), t.Env("KUBERNETES_SERVICE_HOST") != "":
		w.Container = "a container"
	}
	switch runtime.GOOS {
	case "windows", "darwin":
		w.Display = !w.SSH
	default:
		w.Display = t.Env("DISPLAY") != "" || t.Env("WAYLAND_DISPLAY") != "" || w.Container == "WSL"
	}
	return w
}

func exists(path string) bool {
	_, err := os.Lstat(path)
	return err == nil
}
