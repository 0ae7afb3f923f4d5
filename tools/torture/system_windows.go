package main

import (
	"errors"
	"io/fs"
	"os"
	"syscall"
	"time"

	"golang.org/x/sys/windows"

	"github.com/exactauth/exactauth/internal/durable"
)

const (
	life  = 4 * time.Second        // of an access token; under Wine a process takes a part of a second to start
	aCall = 300 * time.Millisecond // about what a call takes that refreshes, where nothing else runs

	sorts  = 4 // strict or not, and what comes first
	worlds = 2 // for each CPU: Wine is slow
)

// possible returns the signal that a process can be sent for s: it can be killed.
func possible(syscall.Signal) syscall.Signal { return syscall.SIGKILL }

// impossible are the scenarios that need signals, file systems of their own or limits.
var impossible = []string{"interrupted once", "interrupted twice", "disk full", "file size limited", "directory read-only"}

// strike ends a process with the exit code that a shell on Unix has for a killed one.
func strike(p *os.Process, s syscall.Signal) error {
	var ended error
	err := p.WithHandle(func(h uintptr) { ended = windows.TerminateProcess(windows.Handle(h), 128+uint32(s)) })
	return errors.Join(err, ended)
}

func enterNamespace() {}

// hasPort would report whether a process has a socket at a local TCP port. Under Wine the
// system's table of connections takes seconds, so a request's sender is not known here.
func hasPort(_, _ int) bool { return false }

func mountSmall(string) error { return errors.ErrUnsupported }

func unmount(string) {}

func limitFileSize(_ int, args []string) []string { return args }

// openToOthers reports how others can get at a file of exactauth's; empty if they cannot.
func openToOthers(path string, _ fs.FileInfo) string {
	switch o, err := durable.FindOther(path, durable.Read|durable.Write); {
	case errors.Is(err, fs.ErrNotExist):
		return ""
	case err != nil:
		return err.Error()
	case o != durable.Other{}:
		return "rights for " + o.Name
	}
	return ""
}

func (w *world) spoilDisk(diskFault) (noRoom bool, err error) { return false, nil }

func (w *world) healDisk() {}
