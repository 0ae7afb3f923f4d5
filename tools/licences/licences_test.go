package main

import (
	"os/exec"
	"strings"
	"testing"
)

// licences fails if a module that is linked has no licence file.
func TestLicences(t *testing.T) {
	if _, err := exec.LookPath("go"); err != nil {
		t.Skip("there is no go command here")
	}
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
