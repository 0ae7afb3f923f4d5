package main

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

func TestBillOfMaterials(t *testing.T) {
	dir := t.TempDir()
	binary := filepath.Join(dir, "exactauth")
	build := exec.Command("go", "build", "-trimpath", "-o", binary, "../../cmd/exactauth-front")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("go build: %v\n%s", err, out)
	}
	var texts []string
	for _, name := range []string{"first", "second"} {
		file := filepath.Join(dir, name)
		if err := run([]string{"sbom", binary, "1.2.3", file}); err != nil {
			t.Fatal(err)
		}
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		texts = append(texts, string(text))
	}
	if texts[0] != texts[1] {
		t.Error("the same binary gives different bills")
	}
	var got bom
	if err := json.Unmarshal([]byte(texts[0]), &got); err != nil {
		t.Fatal(err)
	}
	if want := "pkg:golang/github.com/exactauth/exactauth@1.2.3#cmd/exactauth-front"; got.Metadata.Component.PURL != want {
		t.Errorf("the program is %s, want %s", got.Metadata.Component.PURL, want)
	}
	for _, name := range []string{"stdlib", "github.com/pelletier/go-toml/v2"} {
		at := slices.IndexFunc(got.Components, func(c component) bool { return c.Name == name })
		if at < 0 {
			t.Errorf("%s is missing", name)
		} else if c := got.Components[at]; c.Version == "" || name != "stdlib" && (len(c.Hashes) != 1 || len(c.Hashes[0].Content) != 64) {
			t.Errorf("%s: %+v", name, c)
		}
	}
	if len(got.DependsOn) != 1 || len(got.DependsOn[0].On) != len(got.Components) {
		t.Errorf("the program depends on %+v, not on its %d components", got.DependsOn, len(got.Components))
	}
}

// Every module that is linked comes with a licence, or this fails.
func TestLicences(t *testing.T) {
	text, err := licences()
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"\nGo, its standard library\n", "\ngithub.com/spf13/cobra v", "\ngithub.com/danieljoos/wincred v"} {
		if !strings.Contains(string(text), want) {
			t.Errorf("there is no %q", want)
		}
	}
}
