package trust

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"

	"golang.org/x/sys/windows"

	"github.com/exactauth/exactauth/internal/durable"
)

// File returns what is at the end of path. The error is an *Error if the access lists
// let another user change it, or replace a directory that leads to it; the system and
// its administrators are no others.
func File(path string) (fs.FileInfo, error) { return follow(path, durable.Write, "change it") }

// Secret is File for a file with a secret, which other users must not be able to read
// either.
func Secret(path string) (fs.FileInfo, error) {
	return follow(path, durable.Write|durable.Read, "read it")
}

func follow(path string, rights windows.ACCESS_MASK, what string) (fs.FileInfo, error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, err
	}
	if path, err = durable.Abs(path); err != nil {
		return nil, err
	}
	ways := []string{path}
	if real, err := filepath.EvalSymlinks(path); err == nil && real != path {
		ways = append(ways, real) // through links and junctions
	}
	if !info.Mode().IsRegular() && !info.IsDir() {
		return info, nil // a device or a pipe, which has no access list of a file
	}
	for _, way := range ways {
		if durable.Portable(way) {
			continue // whoever has the stick has the file
		}
		for at, rights, what := way, rights, what; ; rights, what = durable.Change, "put another one in its place" {
			if err := judge(at, rights, what, at == way); err != nil {
				return nil, err
			}
			above := filepath.Dir(at)
			if above == at {
				break
			}
			at = above
		}
	}
	return info, nil
}

// judge returns an *Error if another user has these rights at path. What leads to a file
// on another machine need not be readable.
func judge(path string, rights windows.ACCESS_MASK, what string, end bool) error {
	other, err := durable.FindOther(path, rights)
	switch {
	case err != nil && !end && errors.Is(err, windows.ERROR_ACCESS_DENIED):
		return nil
	case err != nil:
		return err
	case other == (durable.Other{}):
		return nil
	case other.Owns:
		what = "change it, since it belongs to that user"
	}
	return &Error{path, other.Name + " can " + what, other.Fix(path)}
}

// Server is for the Unix sockets of other systems.
func Server(syscall.Conn, string) error { return nil }
