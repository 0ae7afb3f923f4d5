package term

import (
	"context"
	"encoding/base64"
	"fmt"
	"os/exec"
	"runtime"
	"strings"
	"time"
)

// Copy copies text to the clipboard of the person at the terminal and says so: with a
// program of this machine if it is the person's, otherwise with a sequence that asks the
// terminal (OSC 52), which not every terminal obeys, and none says whether it did.
func (t *Terminal) Copy(ctx context.Context, text string) {
	for _, command := range t.copiers() {
		ctx, cancel := context.WithTimeout(ctx, 3*time.Second) // a display can be gone
		cmd := exec.CommandContext(ctx, command[0], command[1:]...)
		cmd.Stdin, cmd.WaitDelay = strings.NewReader(text), time.Second
		leaveSession(cmd) // it can stay, to serve the clipboard
		err := cmd.Run()
		cancel()
		if err == nil {
			t.Say("Copied.")
			return
		}
	}
	if t.Env("TERM") == "dumb" || !takesEscapes(t.Err) {
		t.Say("No clipboard was found: copy it from above.")
		return
	}
	fmt.Fprintf(t.Err, "\x1b]52;c;%s\a", base64.StdEncoding.EncodeToString([]byte(text)))
	t.Say("Copied, if this terminal lets programs copy. Otherwise copy it from above.")
}

// copiers returns the commands that copy their input to the clipboard of a person who
// sits at this machine.
func (t *Terminal) copiers() [][]string {
	where := t.Where()
	var commands [][]string
	switch {
	case where.SSH || where.Editor:
	case runtime.GOOS == "windows":
		commands = append(commands, []string{"clip.exe"})
	case runtime.GOOS == "darwin":
		commands = append(commands, []string{"pbcopy"})
	default:
		if where.Container == "WSL" { // PATH can lack Windows's directories
			commands = append(commands, []string{"clip.exe"}, []string{"/mnt/c/Windows/System32/clip.exe"})
		}
		if t.Env("WAYLAND_DISPLAY") != "" {
			commands = append(commands, []string{"wl-copy"})
		}
		if t.Env("DISPLAY") != "" {
			commands = append(commands, []string{"xclip", "-selection", "clipboard"}, []string{"xsel", "--clipboard", "--input"})
		}
	}
	return commands
}
