package main

import (
	"fmt"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"
)

// No secret goes anywhere but where it belongs: a token to the standard output
// of "exactauth token", everything to the record. After each script its whole
// log and every file that it left are searched for whatever the simulator ever
// issued.

// cmdAllowSecrets: allow-secrets FILE... names files that are made of the output
// of "exactauth token" by the script; alone it allows the script's own commands
// to show such output.
func cmdAllowSecrets(ts *testscript.TestScript, neg bool, args []string) {
	w := worldOf(ts)
	if len(args) == 0 {
		w.allowAll = true
	}
	for _, file := range args {
		w.allowed = append(w.allowed, ts.MkAbs(file))
	}
}

// secretParts returns what to search for: the first and last part of each secret,
// as it is and as it is written in a URL.
func (w *world) secretParts() map[string]string {
	parts := map[string]string{}
	add := func(s string) {
		const enough = 40
		kind := "a client secret"
		switch {
		case len(s) <= 8:
			return
		case len(s) > 800:
			kind = "an access token"
		case len(s) > 600:
			kind = "a code"
		case len(s) > 400:
			kind = "a refresh token"
		}
		for _, form := range []string{s, url.QueryEscape(s)} {
			parts[form[:min(enough, len(form))]] = kind
			parts[form[max(0, len(form)-enough):]] = kind
		}
	}
	for _, sim := range w.sims {
		for _, s := range sim.Secrets() {
			add(s)
		}
	}
	for _, password := range w.passwords {
		parts[password] = "a database password"
	}
	for _, t := range w.tenants {
		for s, kind := range t.Secrets() {
			for _, form := range []string{s, url.QueryEscape(s)} {
				parts[form] = kind
			}
		}
	}
	return parts
}

func (w *world) leaksInLog(log string) (leaks []string) {
	parts := w.secretParts()
	stream, command := "command line", ""
	for line := range strings.SplitSeq(log, "\n") {
		switch {
		case strings.HasPrefix(line, "> "):
			stream, command = "command line", strings.TrimPrefix(line, "> ")
		case line == "[stdout]", line == "[stderr]":
			stream = strings.Trim(line, "[]")
			continue
		}
		if stream == "stdout" && (w.allowAll || strings.Contains(command, "exactauth token")) {
			continue
		}
		for part, kind := range parts {
			if strings.Contains(line, part) {
				leaks = append(leaks, fmt.Sprintf("%s in the %s of: %s\n%s", kind, stream, command, line))
			}
		}
		if sealKey.MatchString(line) {
			leaks = append(leaks, fmt.Sprintf("a seal's key in the %s of: %s\n%s", stream, command, line))
		}
	}
	return leaks
}

func (w *world) leaksInFiles() (leaks []string) {
	parts := w.secretParts()
	err := filepath.WalkDir(w.work, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || !d.Type().IsRegular() {
			return nil
		}
		browsers := strings.HasPrefix(filepath.Base(path), "browser.") || filepath.Ext(path) == ".in" // and what a person pastes
		if path == filepath.Join(w.work, "secret") || w.isRecord(path) || !browsers && allowedFile(w.allowed, path) {
			return nil
		}
		b, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		if sealKey.Match(b) && filepath.Ext(path) != ".key" {
			leaks = append(leaks, "a seal's key in the file "+path)
		}
		for part, kind := range parts {
			// A browser ends on an address with the code in it.
			if strings.Contains(string(b), part) && !(browsers && kind == "a code") {
				leaks = append(leaks, fmt.Sprintf("%s in the file %s", kind, path))
			}
		}
		return nil
	})
	if err != nil {
		leaks = append(leaks, err.Error())
	}
	slices.Sort(leaks)
	return slices.Compact(leaks)
}

// isRecord reports whether path is a record in a state directory of the script.
func (w *world) isRecord(path string) bool {
	return strings.HasPrefix(path, w.state) && filepath.Ext(path) != ".lock"
}

func allowedFile(allowed []string, path string) bool {
	for _, a := range allowed {
		if path == a || strings.HasPrefix(path, a+string(filepath.Separator)) {
			return true
		}
	}
	return false
}

// The search must be able to find something.
func TestLeaksAreFound(t *testing.T) {
	const script = `
ready
exec cat $STATE/default
exec sh -c 'cat $STATE/default >&2'
cp $STATE/default copy
exec exactauth token
exec sh -c 'exactauth token >&2'
`
	all := leaksOf(t, script)
	for _, want := range []string{
		"an access token in the stdout of: exec cat $STATE/default\n",
		"a refresh token in the stdout of: exec cat $STATE/default\n",
		"a client secret in the stdout of: exec cat $STATE/default\n",
		"a refresh token in the stderr of: exec sh -c 'cat $STATE/default >&2'\n",
		"an access token in the stderr of: exec sh -c 'exactauth token >&2'\n",
		"a client secret in the file ",
	} {
		if !strings.Contains(all, want) {
			t.Errorf("not found: %q in\n%s", want, all)
		}
	}
	if strings.Contains(all, "of: exec exactauth token\n") {
		t.Errorf("the output of token is no leak:\n%s", all)
	}
}

// leaksOf runs a script and returns what was reported of its leaks, one a line.
func leaksOf(t *testing.T, script string) string {
	t.Helper()
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "leaky.txtar"), []byte(script), 0o600); err != nil {
		t.Fatal(err)
	}
	var found []string
	t.Run("group", func(t *testing.T) {
		testscript.RunT(&scriptT{T: t, report: func(_ *testing.T, format string, args ...any) {
			found = append(found, fmt.Sprintf(format, args...))
		}}, scriptParams(t, dir))
	})
	return strings.Join(found, "\n")
}
