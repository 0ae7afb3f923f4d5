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

// licences writes the licences of all that is linked into the programs on some
// system; most of them want to go along with a binary.
func licences() ([]byte, error) {
	dirs := map[string]string{} // by module and version
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
	fmt.Fprint(&b, "exactauth is made with the work of others. These are their licences.\n")
	for _, module := range slices.Sorted(maps.Keys(dirs)) {
		fmt.Fprintf(&b, "\n%s\n%s\n", strings.Repeat("-", 80), module)
		texts, err := licenceTexts(dirs[module])
		if err != nil {
			return nil, fmt.Errorf("%s: %w", module, err)
		}
		for _, text := range texts {
			fmt.Fprintf(&b, "\n%s\n", bytes.TrimSpace(text))
		}
	}
	return b.Bytes(), nil
}

func licenceTexts(dir string) ([][]byte, error) {
	var texts [][]byte
	for _, pattern := range []string{"LICEN[CS]E*", "COPYING*", "NOTICE*"} {
		files, err := filepath.Glob(filepath.Join(dir, pattern))
		if err != nil {
			return nil, err
		}
		for _, file := range files {
			text, err := os.ReadFile(file)
			if err != nil {
				return nil, err
			}
			texts = append(texts, text)
		}
	}
	if len(texts) == 0 {
		return nil, errors.New("no licence is found")
	}
	return texts, nil
}
