//go:build linux

// Command record makes docs/demo.svg, the session at the top of the README:
//
//	go run ./tools/record
//
// It builds exactauth, starts its simulator of Exact Online, and types into a
// shell on a terminal what a person would; a stand-in for the browser signs in.
// What is drawn is what the programs wrote. Ports, random values and the date are
// replaced, and the pace is a person's, so the same program gives the same picture.
package main

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
)

func main() {
	if filepath.Base(os.Args[0]) == browserName {
		browse(os.Args[1:])
		return
	}
	to := flag.String("o", filepath.Join("docs", "demo.svg"), "file to write")
	flag.Parse()
	picture, err := picture()
	if err == nil {
		err = os.WriteFile(*to, []byte(picture), 0o644)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "record:", err)
		os.Exit(1)
	}
}

// picture records a session and draws it.
func picture() (string, error) {
	dir, err := os.MkdirTemp("", "exactauth-record-")
	if err != nil {
		return "", err
	}
	defer os.RemoveAll(dir)
	frames, err := record(dir)
	if err != nil {
		return "", err
	}
	return draw(frames), nil
}
