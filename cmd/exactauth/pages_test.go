package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// A page marks a snippet for the test with a comment before its fence, which readers do not see:
//
//	<!-- test
//	save: NAME       the file that the snippet becomes, "snippet" by default
//	run: COMMAND     for bash in the sandbox; without one the snippet is a file that a later one needs
//	needs: TOOL...   the test skips without them
//	library: FILE    of testdata, copied to vendor/autoload.php
//	prints: REGEXP   that the output matches
//	-->
var snippet = regexp.MustCompile("(?sm)^<!-- test\n(.*?)-->\n```[a-z]*\n(.*?)^```$")

// TestPages runs the marked snippets of the pages unchanged.
func TestPages(t *testing.T) {
	for page, least := range map[string]int{"README.md": 6, "docs/proxy.md": 3, "docs/libraries.md": 14, "docs/api.md": 8} {
		t.Run(page, func(t *testing.T) {
			text, err := os.ReadFile(filepath.Join("..", "..", page))
			if err != nil {
				t.Fatal(err)
			}
			all := snippet.FindAllStringSubmatch(string(text), -1)
			if len(all) < least || len(all) != strings.Count(string(text), "\n<!-- test\n") {
				t.Errorf("found %d snippets, of %d marks", len(all), strings.Count(string(text), "\n<!-- test\n"))
			}
			dir := t.TempDir()
			for _, m := range all {
				how := map[string]string{"save": "snippet"}
				for line := range strings.Lines(m[1]) {
					key, value, _ := strings.Cut(line, ": ")
					how[key] = strings.TrimSpace(value)
				}
				if err := os.WriteFile(filepath.Join(dir, how["save"]), []byte(m[2]), 0o700); err != nil {
					t.Fatal(err)
				}
				if how["run"] != "" {
					t.Run(how["run"], func(t *testing.T) { runSnippet(t, dir, how) })
				}
			}
		})
	}
}

// TestHelpOfToken runs the examples in the help of token.
func TestHelpOfToken(t *testing.T) {
	cmd, _, err := new(app).rootCmd(nil).Find([]string{"token"})
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "snippet"), []byte(cmd.Example), 0o600); err != nil {
		t.Fatal(err)
	}
	runSnippet(t, dir, map[string]string{"run": "bash -e snippet", "needs": "curl", "prints": "Anna de Vries"})
}

func runSnippet(t *testing.T, dir string, how map[string]string) {
	path := os.Getenv("PATH")
	for tool := range strings.FieldsSeq("bash " + how["needs"]) {
		switch tool {
		case "newman":
			path = filepath.Join(npmPackages(t, "newman"), "node_modules", ".bin") + string(os.PathListSeparator) + path
			continue
		case "python3-requests":
			if exec.CommandContext(t.Context(), "/usr/bin/python3", "-c", "import requests").Run() == nil {
				continue
			}
		default:
			if _, err := exec.LookPath(tool); err == nil {
				continue
			}
		}
		if required("recipes") {
			t.Fatalf("EXACTAUTH_TEST_REQUIRE demands recipes, and %s is missing", tool)
		}
		t.Skipf("%s is missing here", tool)
	}
	if library := how["library"]; library != "" {
		text, err := os.ReadFile(filepath.Join("testdata", library))
		if err == nil {
			err = os.MkdirAll(filepath.Join(dir, "vendor"), 0o700)
		}
		if err == nil {
			err = os.WriteFile(filepath.Join(dir, "vendor", "autoload.php"), text, 0o600)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	repository, err := filepath.Abs(filepath.Join("..", ".."))
	if err != nil {
		t.Fatal(err)
	}
	prints, err := regexp.Compile(how["prints"])
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), "exactauth", "sandbox", "--", "bash", "-ec", "exactauth setup --no-input --division 123456 2>/dev/null >&2\n"+how["run"])
	home := t.TempDir()
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "PATH="+path, "REPOSITORY="+repository, "HOME="+home, "XDG_RUNTIME_DIR="+home, "XDG_DATA_HOME="+home, "XDG_CONFIG_HOME="+home,
		"GOCACHE="+goEnv(t, "GOCACHE"), "GOMODCACHE="+goEnv(t, "GOMODCACHE"), "TERM=dumb")
	cmd.WaitDelay = patience // for what a snippet leaves running
	var errs strings.Builder
	cmd.Stderr = &errs
	out, err := cmd.Output()
	if err != nil || !prints.Match(out) {
		t.Errorf("%v\n%s\n%s", err, out, errs.String())
	}
}

func goEnv(t *testing.T, name string) string {
	out, err := exec.CommandContext(t.Context(), "go", "env", name).Output()
	if err != nil {
		return "" // there is no go, and no snippet in Go
	}
	return strings.TrimSpace(string(out))
}
