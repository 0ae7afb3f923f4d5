//go:build unix

package main

import (
	"errors"
	"fmt"
	"os"
)

// errorTexts are regular expressions for what the system says.
var errorTexts = map[string]string{
	"NO_FILE": "no such file or directory",
	"REFUSED": "connection refused",
	"IN_USE":  "address already in use",

	// of a certificate of start.exactonline.nl for the address of an Auth0 tenant
	"OTHERS":      "every user of this machine can",
	"OTHERS_READ": `it is open to other users \(0644\)`,
	"UNREADABLE":  "input/output error",
	"CLOSE":       "chmod (go-w|600) ",
	"OTHER_NAME":  `not valid: certificate is valid for start\.exactonline\.nl, .*not acme\.eu\.auth0\.com$`,
}

func inConsole([]string) {} // what a terminal's keys send is sent as a signal

func pressKeys(string, *os.Process) bool { return false }

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

// openUp lets all users read a file or directory, or change it.
func openUp(path string, change bool) error {
	is, _, err := privateMode(path)
	if err != nil {
		return err
	}
	is |= is>>3&0o050 | is>>6&0o005
	if change {
		is |= 0o022
	}
	return os.Chmod(path, is)
}

func shut(string) (*os.File, error) { return nil, errors.ErrUnsupported }

// kill ends a process by force, which a shell reports as 137.
func kill(p *os.Process) error { return p.Kill() }

func makePrivate(path string) error {
	_, want, err := privateMode(path)
	if err != nil {
		return err
	}
	return os.Chmod(path, want)
}
