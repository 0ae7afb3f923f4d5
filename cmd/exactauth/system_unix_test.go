//go:build unix

package main

import (
	"fmt"
	"os"
)

// errorTexts are regular expressions for what the system says.
var errorTexts = map[string]string{
	"NO_FILE": "no such file or directory",
	"REFUSED": "connection refused",
	"IN_USE":  "address already in use",
}

func inConsole([]string) {} // what a terminal's keys send is sent as a signal

func pressKeys(string) bool { return false }

func privateMode(path string) (is, want os.FileMode, err error) {
	info, err := os.Stat(path)
	if err != nil {
		return 0, 0, err
	}
	if info.IsDir() {
		return info.Mode().Perm(), 0o700, nil
	}
	return info.Mode().Perm(), 0o600, nil
}

func checkPrivate(path string) error {
	is, want, err := privateMode(path)
	if err == nil && is != want {
		err = fmt.Errorf("the mode is %04o, want %04o", is, want)
	}
	return err
}

func makePrivate(path string) error {
	_, want, err := privateMode(path)
	if err != nil {
		return err
	}
	return os.Chmod(path, want)
}
