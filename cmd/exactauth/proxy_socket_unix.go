//go:build unix

package main

import (
	"errors"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"syscall"

	"github.com/exactauth/exactauth/internal/trust"
)

// socketListener removes its socket when it is closed, if it is still there.
type socketListener struct {
	*net.UnixListener
	path string
	file os.FileInfo
}

// listenSocket makes a Unix socket that only this user can connect to, from its
// first moment on. It replaces a socket only if that belongs to this user and no
// process listens on it any more.
func listenSocket(path string) (net.Listener, error) {
	// In a directory of others they could replace the socket by one of theirs, which
	// clients would send the secret to.
	switch dir, err := trust.File(filepath.Dir(path)); {
	case err != nil:
		return nil, usagef("--socket: %w", err)
	case !dir.IsDir():
		return nil, usagef("--socket: %s is not a directory", filepath.Dir(path))
	}
	if err := clearSocket(path); err != nil {
		return nil, err
	}
	// The mask is the whole process's; no other goroutine creates a file now.
	mask := syscall.Umask(0o177)
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
	syscall.Umask(mask)
	switch {
	case errors.Is(err, syscall.EINVAL):
		return nil, &hinted{usagef("--socket %s: the path is too long for a socket", path), "use a shorter path; systems allow about 100 bytes"}
	case err != nil:
		return nil, usagef("--socket %s: %w", path, withoutAddress(err))
	}
	l.SetUnlinkOnClose(false) // which would remove whatever is there by then
	file, err := os.Lstat(path)
	if err != nil {
		l.Close()
		return nil, usagef("--socket: %w", err)
	}
	return &socketListener{l, path, file}, nil
}

// Close stops listening and removes the socket.
func (l *socketListener) Close() error {
	if file, err := os.Lstat(l.path); err == nil && os.SameFile(file, l.file) {
		_ = os.Remove(l.path) // if that fails, the next start finds it dead
	}
	return l.UnixListener.Close()
}

// clearSocket removes a dead socket that belongs to this user.
func clearSocket(path string) error {
	info, err := os.Lstat(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	} else if err != nil {
		return usagef("--socket: %w", err)
	}
	if info.Mode().Type() != fs.ModeSocket {
		return usagef("--socket %s: what is there is not a socket; it is left unchanged", path)
	}
	if own, ok := info.Sys().(*syscall.Stat_t); !ok || int(own.Uid) != os.Geteuid() {
		return usagef("--socket %s: the socket there belongs to another user", path)
	}
	conn, err := net.Dial("unix", path)
	if err == nil {
		conn.Close()
		return &hinted{usagef("--socket %s: another program listens there", path), "use that one, end it, or use another path"}
	}
	if !errors.Is(err, syscall.ECONNREFUSED) {
		return usagef("--socket %s: cannot find out whether a program listens there: %w", path, errors.Unwrap(err))
	}
	if now, err := os.Lstat(path); err == nil && os.SameFile(now, info) {
		if err := os.Remove(path); err != nil {
			return usagef("--socket: %w", err)
		}
	}
	return nil
}
