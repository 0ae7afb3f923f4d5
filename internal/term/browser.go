package term

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"runtime"
	"slices"
	"strings"

	"github.com/exactauth/exactauth/internal/fault"
)

// Openers returns the commands that open an address, in the order in which they are
// tried, and where they come from: the setting, $BROWSER (a list, as in xdg-open and
// Python's webbrowser), or the system. An error is about one that cannot be read.
func (t *Terminal) Openers() (commands [][]string, source string, err error) {
	own, source := []string{t.Browser}, "the setting browser"
	if t.Browser == "" {
		own, source = strings.Split(t.Env("BROWSER"), string(os.PathListSeparator)), "$BROWSER"
	}
	for _, text := range own {
		if text = strings.TrimSpace(text); text == "" {
			continue
		}
		if _, err := exec.LookPath(text); err == nil { // a path can contain blanks
			commands = append(commands, []string{text})
			continue
		}
		words, err := splitWords(text)
		if err != nil {
			return nil, source, fmt.Errorf("%s: %w", source, err)
		}
		commands = append(commands, words)
	}
	if commands == nil && t.Where().Display {
		return t.systemOpeners(), "the system", nil
	}
	return commands, source, nil
}

// systemOpeners returns the commands that open the browser that the person has chosen
// in the system's settings.
func (t *Terminal) systemOpeners() [][]string {
	switch {
	case runtime.GOOS == "windows":
		return [][]string{{"rundll32", "url.dll,FileProtocolHandler"}}
	case runtime.GOOS == "darwin":
		return [][]string{{"open"}}
	case t.Where().Container == "WSL": // PATH can lack Windows's directories (appendWindowsPath in wsl.conf)
		start := []string{"-NoProfile", "-NonInteractive", "-Command", "Start-Process '%s'"}
		return [][]string{{"wslview"}, append([]string{"powershell.exe"}, start...),
			append([]string{"/mnt/c/Windows/System32/WindowsPowerShell/v1.0/powershell.exe"}, start...)}
	}
	return [][]string{{"xdg-open"}, {"x-www-browser"}, {"www-browser"}}
}

// CanOpen reports whether Open has a browser to open. Without this check the opener
// on Linux would start a text browser in the person's terminal.
func (t *Terminal) CanOpen() bool {
	commands, _, err := t.Openers()
	return len(commands) > 0 || err != nil
}

// Open opens address with the first of the openers that does, and does not wait for
// it. A browser that fails is a note only: the address has been shown.
func (t *Terminal) Open(address string) {
	commands, _, err := t.Openers()
	go func() {
		var reasons []string
		if err != nil {
			reasons = append(reasons, err.Error())
		}
		for _, command := range commands {
			err := run(command, address)
			if err == nil {
				return
			}
			if !errors.Is(err, exec.ErrNotFound) && !errors.Is(err, fs.ErrNotExist) {
				err = fmt.Errorf("%s: %w", command[0], err) // the others name the program
			}
			reasons = append(reasons, err.Error())
		}
		t.Note(fmt.Sprintf("the browser could not be opened (%s); open the address above yourself", fault.Printable(strings.Join(reasons, "; "))))
	}()
}

// run runs a browser outside the terminal's session: Ctrl-C, or a terminal that is
// closed, would end a browser that it started. Its streams lead nowhere: it can outlive
// this program, and whoever reads this program's output waits for its end.
func run(command []string, address string) error {
	address = strings.ReplaceAll(address, "'", "%27") // as URL syntax allows; PowerShell would end its string there
	command, placed := slices.Clone(command), false
	for i := range command {
		if strings.Contains(command[i], "%s") {
			command[i], placed = strings.ReplaceAll(command[i], "%s", address), true
		}
	}
	if !placed {
		command = append(command, address)
	}
	cmd := exec.Command(command[0], command[1:]...)
	if err := leaveSession(cmd); err != nil {
		return err
	}
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
