package main

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/spf13/cobra"
	"github.com/spf13/cobra/doc"

	"github.com/exactauth/exactauth/internal/term"
)

// Every command that can be run shows an example, and its help fits a terminal.
func TestHelp(t *testing.T) {
	a := &app{Terminal: term.Terminal{Env: func(string) string { return "" }}}
	root := a.rootCmd(nil)
	seen := 0
	var walk func(cmd *cobra.Command)
	walk = func(cmd *cobra.Command) {
		for _, c := range cmd.Commands() {
			walk(c)
		}
		if cmd.Hidden {
			return
		}
		seen++
		path := cmd.CommandPath()
		if cmd.Runnable() && cmd.Example == "" {
			t.Errorf("%s: no example", path)
		}
		for line := range strings.Lines(cmd.Example) {
			if !strings.HasPrefix(line, "  ") {
				t.Errorf("%s: the example's line %q is not indented", path, line)
			}
		}
		if cmd.Runnable() && !strings.Contains(cmd.Example, path) && cmd.Name() != "help" {
			t.Errorf("%s: the example is of another command:\n%s", path, cmd.Example)
		}
		var out bytes.Buffer
		cmd.SetOut(&out)
		cmd.InitDefaultHelpFlag()
		if err := cmd.Help(); err != nil {
			t.Errorf("%s: %v", path, err)
		}
		for line := range strings.Lines(out.String()) {
			if n := term.Width(strings.TrimRight(line, "\n")); n > helpWidth {
				t.Errorf("%s --help has a line of %d columns:\n%s", path, n, line)
			}
			if strings.TrimRight(line, " \n") != strings.TrimSuffix(line, "\n") {
				t.Errorf("%s --help: blanks at the end of %q", path, line)
			}
		}
		if text := cmd.Short; text == "" || strings.HasSuffix(text, ".") || text[:1] != strings.ToUpper(text[:1]) {
			t.Errorf("%s: short help %q", path, text)
		}
	}
	walk(root)
	if seen < 20 {
		t.Errorf("%d commands were seen", seen)
	}
}

// A command that is made alone is the one among all: its help is the same.
func TestRootCmdOfOne(t *testing.T) {
	a := &app{Terminal: term.Terminal{Env: func(string) string { return "" }}}
	help := func(cmd *cobra.Command) string {
		var out bytes.Buffer
		cmd.Root().SetOut(&out)
		cmd.InitDefaultHelpFlag()
		if err := cmd.Help(); err != nil {
			t.Errorf("%s: %v", cmd.CommandPath(), err)
		}
		return out.String()
	}
	alone := 0
	for _, want := range a.rootCmd(nil).Commands() {
		got := a.rootCmd([]string{want.Name()}).Commands()
		if len(got) != 1 {
			continue
		}
		alone++
		if got[0].Name() != want.Name() || help(got[0]) != help(want) {
			t.Errorf("%s alone is %s:\n%s", want.Name(), got[0].Name(), help(got[0]))
		}
	}
	if alone < 16 {
		t.Errorf("%d commands were made alone", alone)
	}
}

// Every command has a man page. A release takes the pages from EXACTAUTH_TEST_MAN_DIR:
// the library that writes them is not linked into the program.
func TestManPages(t *testing.T) {
	dir := os.Getenv("EXACTAUTH_TEST_MAN_DIR")
	if dir == "" {
		dir = t.TempDir()
	}
	a := &app{Terminal: term.Terminal{Env: func(string) string { return "" }}}
	root := a.rootCmd(nil)
	root.DisableAutoGenTag = true
	root.Use = "exactauth COMMAND"
	root.PersistentFlags().Lookup("timeout").DefValue = "DURATION" // each command has its own
	if err := doc.GenManTree(root, &doc.GenManHeader{Section: "1", Source: "exactauth", Manual: "exactauth"}, dir); err != nil {
		t.Fatal(err)
	}
	first, err := os.OpenFile(filepath.Join(dir, "exactauth.1"), os.O_APPEND|os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer first.Close()
	const files = `  ~/.config/exactauth/config.toml
      the profiles; it holds no secret
  ~/.local/state/exactauth/PROFILE
      the tokens of a profile and its client secret

XDG_CONFIG_HOME and XDG_STATE_HOME move them. On macOS both are below
~/Library/Application Support/exactauth.`
	for _, section := range [][2]string{
		{"ENVIRONMENT", environmentTopic().Long}, {"FILES", files}, {"EXIT STATUS", exitCodesTopic().Long},
	} {
		text := strings.NewReplacer(`\`, `\e`, "-", `\-`, "\n.", "\n\\&.", "\n'", "\n\\&'").Replace(section[1])
		fmt.Fprintf(first, ".SH %s\n.nf\n%s\n.fi\n", section[0], strings.Trim(text, "\n"))
	}
	pages, err := filepath.Glob(filepath.Join(dir, "*.1"))
	if err != nil || len(pages) < 20 {
		t.Fatalf("%d pages: %v", len(pages), err)
	}
	// The library prints a value for each flag, also where a flag has none or an empty one.
	noValue := regexp.MustCompile(`(?m)^(\\fB-.*\\fP)(\[=(false)?\]|=""|=0s?|=\[\]|=)$`)
	for _, page := range pages {
		text, err := os.ReadFile(page)
		if err != nil {
			t.Fatal(err)
		}
		text = noValue.ReplaceAll(text, []byte("$1"))
		if bad := regexp.MustCompile(`(?m)^\\fB-.*(false|=0s|=|"")\]?$`).Find(text); bad != nil {
			t.Errorf("%s: %s", page, bad)
		}
		if err := os.WriteFile(page, text, 0o666); err != nil {
			t.Fatal(err)
		}
	}
	for _, cmd := range root.Commands() {
		page := filepath.Join(dir, "exactauth-"+cmd.Name()+".1")
		if text, err := os.ReadFile(page); cmd.IsAvailableCommand() && (err != nil || !bytes.Contains(text, []byte("EXAMPLE"))) {
			t.Errorf("%s: %v:\n%s", page, err, text)
		}
	}
}

// README has no list of variables of its own, so the help has all that the pages name.
func TestEnvironmentTopic(t *testing.T) {
	var pages []byte
	for _, pattern := range []string{"../../README.md", "../../docs/*.md"} {
		names, err := filepath.Glob(pattern)
		if err != nil || len(names) == 0 {
			t.Fatalf("%s: %v", pattern, err)
		}
		for _, name := range names {
			text, err := os.ReadFile(name)
			if err != nil {
				t.Fatal(err)
			}
			pages = append(pages, text...)
		}
	}
	help, named := environmentTopic().Long, 0
	for _, name := range regexp.MustCompile(`EXACTAUTH_[A-Z_]+[A-Z]`).FindAllString(string(pages), -1) {
		if named++; !strings.Contains(help, name) && !strings.HasPrefix(name, "EXACTAUTH_TEST_") {
			t.Errorf("help environment lacks %s", name)
		}
	}
	if named < 30 {
		t.Errorf("the pages name %d variables", named)
	}
}

func TestWrapped(t *testing.T) {
	word := strings.Repeat("x", 39)
	for in, want := range map[string]string{
		"":                                   "",
		"a\nb":                               "a b",
		"a  b\n\nc":                          "a b\n\nc",
		word + "\n" + word + " y":            word + " " + word + "\ny",
		word + word + word:                   word + word + word,
		"List:\n  a   b\n  c\n\nText\nmore.": "List:\n  a   b\n  c\n\nText more.",
		"\tcode   here\n":                    "code here",
		"Do:\n\n\tcode   here\n\nend":        "Do:\n\n\tcode   here\n\nend",
	} {
		if got := wrapped(in, helpWidth); got != want {
			t.Errorf("%q: %q, want %q", in, got, want)
		}
	}
}
