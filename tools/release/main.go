// Command release makes what a release says about itself. .goreleaser.yaml runs it.
//
//	go run ./tools/release sbom BINARY VERSION FILE
//	go run ./tools/release licences FILE
//
// What it writes depends on its input alone, so that the same commit gives the
// same bytes.
package main

import (
	"errors"
	"fmt"
	"os"
)

func main() {
	if err := run(os.Args[1:]); err != nil {
		fmt.Fprintf(os.Stderr, "release: %v\n", err)
		os.Exit(1)
	}
}

func run(args []string) error {
	var text []byte
	var err error
	switch {
	case len(args) == 4 && args[0] == "sbom":
		text, err = sbom(args[1], args[2])
	case len(args) == 2 && args[0] == "licences":
		text, err = licences()
	default:
		err = errors.New("want sbom BINARY VERSION FILE, or licences FILE")
	}
	if err != nil {
		return err
	}
	return os.WriteFile(args[len(args)-1], text, 0o644)
}
