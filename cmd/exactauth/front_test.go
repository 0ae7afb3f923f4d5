package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"
)

// Packages install a small program in front of the whole one, under its name. The
// scripts about tokens and profiles pass with both.
func TestScriptsBehindTheFront(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("Windows has the whole program alone")
	}
	whole, err := exec.LookPath("exactauth") // as testscript has put it there
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	build := exec.Command("go", "build", "-o", filepath.Join(dir, "exactauth"), "../exactauth-front")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("go build: %v\n%s", err, out)
	}
	if err := os.Symlink(whole, filepath.Join(dir, "exactauth-full")); err != nil {
		t.Fatal(err)
	}
	var scripts []string
	for _, topic := range []string{"token", "config", "environment", "profile", "status", "use", "directories", "first_use", "setup", "logout", "seal", "move", "signals",
		"json", "quiet", "killed", "together", "secret", "exec", "full_disk", "no_room"} {
		some, err := filepath.Glob(filepath.Join("testdata", "script", topic+"*.txtar"))
		if err != nil {
			t.Fatal(err)
		}
		scripts = append(scripts, some...)
	}
	params := scriptParams(t, "")
	params.Files = scripts
	params.Setup = func(e *testscript.Env) error {
		e.Setenv("PATH", dir+string(filepath.ListSeparator)+e.Getenv("PATH"))
		return setupScript(e)
	}
	testscript.RunT(&scriptT{T: t, report: (*testing.T).Errorf}, params)
}
