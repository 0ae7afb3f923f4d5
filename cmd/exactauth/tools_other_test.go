//go:build !linux

package main

import (
	"errors"
	"io/fs"
	"os"
	"os/exec"

	"github.com/rogpeppe/go-internal/testscript"
)

func inode(fs.FileInfo) string { return "" }

func unprivilegedMain() { replaceSelf(os.Args[1:]) }

func userMain() { replaceSelf(os.Args[2:]) } // which no script does without being root on Linux

func peakMain() { replaceSelf(os.Args[2:]) }

func canMount() bool { return false }

func cmdTmpfs(ts *testscript.TestScript, _ bool, _ []string) { ts.Fatalf("no tmpfs here") }

func openTerminal() (us, them *os.File, err error) {
	return nil, nil, errors.New("no terminal for tests here")
}

const noTerminal = 0

func startSession(*exec.Cmd) {}

func terminalModes(*os.File) (string, error) { return "", errors.New("no terminal for tests here") }
