// Command licences writes the licences of everything that is linked into the
// programs, as most of those licences demand of whoever hands out a binary:
//
//	go run ./tools/licences FILE
//
// Two runs on one commit print the same bytes. google/go-licenses would do a part of it:
// it writes a directory for one operating system, without Go's own licence.
package main

import (
	"bytes"
	"errors"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
)

func main() {
	err := errors.New("usage: licences FILE")
	if len(os.Args) == 2 {
		var text []byte
		if text, err = licences(); err == nil {
			err = os.WriteFile(os.Args[1], text, 0o644)
		}
	}
	if err != nil {
		fmt.Fprintf(os.Stderr, "licences: %v\n", err)
		os.Exit(1)
	}
}

// licences returns the licence texts of Go and of every module that one of the
// programs links on Linux, macOS or Windows.
func licences() ([]byte, error) {
	dirs := map[string]string{} // module and version -> directory
	for _, system := range []string{"linux", "darwin", "windows"} {
		list := exec.Command("go", "list", "-deps",
			"-f", "{{with .Module}}{{if not .Main}}{{.Path}} {{.Version}}\t{{.Dir}}{{end}}{{end}}",
			"github.com/exactauth/exactauth/cmd/...")
		list.Env = append(os.Environ(), "GOOS="+system, "CGO_ENABLED=0")
		list.Stderr = os.Stderr
		lines, err := list.Output()
		if err != nil {
			return nil, fmt.Errorf("go list: %w", err)
		}
		for line := range strings.Lines(string(lines)) {
			if module, dir, ok := strings.Cut(strings.TrimSpace(line), "\t"); ok {
				dirs[module] = dir
			}
		}
	}
	if len(dirs) == 0 {
		return nil, errors.New("go list names no module")
	}
	root, err := exec.Command("go", "env", "GOROOT").Output()
	if err != nil {
		return nil, fmt.Errorf("go env: %w", err)
	}
	dirs["Go, its standard library"] = strings.TrimSpace(string(root))

	var b bytes.Buffer
	fmt.Fprint(&b, "exactauth contains the work of others, under these licences.\n")
	for _, module := range slices.Sorted(maps.Keys(dirs)) {
		fmt.Fprintf(&b, "\n%s\n%s\n", strings.Repeat("-", 80), module)
		var files []string
		for _, pattern := range []string{"LICEN[CS]E*", "COPYING*", "NOTICE*"} {
			found, err := filepath.Glob(filepath.Join(dirs[module], pattern))
			if err != nil {
				return nil, err
			}
			files = append(files, found...)
		}
		if len(files) == 0 {
			return nil, fmt.Errorf("%s: no licence file found", module)
		}
		for _, file := range files {
			text, err := os.ReadFile(file)
			if err != nil {
				return nil, err
			}
			fmt.Fprintf(&b, "\n%s\n", bytes.TrimSpace(text))
		}
	}
	return b.Bytes(), nil
}
