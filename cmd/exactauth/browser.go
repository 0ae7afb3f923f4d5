package main

import (
	"io"
	"os/exec"
	"strings"

	"github.com/pkg/browser"
)

// ownBrowser gives $BROWSER, empty if there are but blanks in it.
func (a *app) ownBrowser() string { return strings.TrimSpace(a.env("BROWSER")) }

// canOpen reports whether openBrowser has a browser to open. Without this look
// the opener on Linux would start a text browser in the person's terminal.
func (a *app) canOpen() bool { return a.ownBrowser() != "" || a.whereabouts().display }

// openBrowser opens address in $BROWSER if that is set, else in the system's
// browser, and does not wait for it. A browser that fails is a note: the address
// has been shown.
func (a *app) openBrowser(address string) {
	own := a.ownBrowser()
	go func() {
		var err error
		if own != "" {
			err = a.runBrowser(own, address)
		} else {
			// What a browser prints is neither a result nor of interest.
			browser.Stdout, browser.Stderr = io.Discard, io.Discard
			err = browser.OpenURL(address)
		}
		if err != nil {
			a.note("the browser could not be opened; open the address above yourself")
		}
	}()
}

// runBrowser runs $BROWSER, which may hold arguments and a %s for the address.
func (a *app) runBrowser(command, address string) error {
	args := []string{command}
	if _, err := exec.LookPath(command); err != nil { // a path can have blanks in it
		args = strings.Fields(command)
	}
	placed := false
	for i := range args {
		if strings.Contains(args[i], "%s") {
			args[i], placed = strings.ReplaceAll(args[i], "%s", address), true
		}
	}
	if !placed {
		args = append(args, address)
	}
	cmd := exec.Command(args[0], args[1:]...)
	cmd.Stdout, cmd.Stderr = a.err, a.err
	return cmd.Run()
}
