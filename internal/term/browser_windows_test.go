package term_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/exactauth/exactauth/internal/term"
)

// BROWSER is a path, with blanks or not, or a command line.
func TestOpeners(t *testing.T) {
	path := filepath.Join(t.TempDir(), "Program Files", "my browser.exe")
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, malformed := range []string{`no-such-browser.exe "two`, `"no-such-browser.exe -new-window`, `no-such-browser.exe "a\"`} {
		console := term.Terminal{Browser: malformed}
		if commands, _, err := console.Openers(); err == nil {
			t.Errorf("%s: %q", malformed, commands)
		}
	}
	for setting, want := range map[string][]string{
		`"C:\no browser\"`:                    {`C:\no browser\`},
		path:                                  {path},
		`"` + path + `"`:                      {path},
		`"` + path + `" --new-window %s`:      {path, "--new-window", "%s"},
		"no-such-browser.exe;" + path:         {path},
		`no-such-browser.exe "two words" C:\`: {"no-such-browser.exe", "two words", `C:\`},
	} {
		console := term.Terminal{Env: func(name string) string { return map[string]string{"BROWSER": setting}[name] }}
		commands, source, err := console.Openers()
		if err != nil || source != "$BROWSER" || len(commands) == 0 || !slices.Equal(commands[len(commands)-1], want) {
			t.Errorf("%s: %q, %s, %v; want %q", setting, commands, source, err, want)
		}
	}
}

// cmd.exe reads a batch file's command line once more; a program's is as Go makes it.
func TestQuoteBatch(t *testing.T) {
	const address = "http://127.0.0.1:1/auth?client_id=a&redirect_uri=http%3A%2F%2F127.0.0.1%3A8484%2Fcallback&state=B"
	for name, want := range map[string]string{
		`C:\a b\open.bat`:  `cmd /d /e:on /v:off /s /c ""C:\a b\open.bat" -new "` + address + `" "" "a b\\" "x^y"`,
		`C:\OPEN.CMD. `:    `cmd /d /e:on /v:off /s /c ""C:\OPEN.CMD. " -new "` + address + `" "" "a b\\" "x^y"`,
		`C:\open.bat.exe`:  "",
		`C:\bat\open`:      "",
		`C:\x\firefox.exe`: "",
	} {
		cmd := &exec.Cmd{Path: name, Args: []string{"open", "-new", address, "", `a b\`, "x^y"}}
		if err := term.QuoteBatch(cmd); err != nil {
			t.Fatal(err)
		}
		line, program := "", cmd.Path
		if cmd.SysProcAttr != nil {
			line = cmd.SysProcAttr.CmdLine
		}
		if want != "" {
			want += `"`
		}
		if line != want || (want != "") != strings.HasSuffix(strings.ToLower(program), `\system32\cmd.exe`) {
			t.Errorf("%s: %s runs %s, want %s", name, program, line, want)
		}
	}
}
