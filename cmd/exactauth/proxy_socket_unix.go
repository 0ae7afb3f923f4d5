//go:build unix

package main

import (
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"syscall"
)

// socketListener removes its socket when it is closed, if it is still there.
type socketListener struct {
	*net.UnixListener
	path string
	file os.FileInfo
}

// listenSocket makes a Unix socket that only this user can connect to, from its
// first moment on. What is in its place is removed only if it is a socket of this
// user's on which nobody listens any more.
func listenSocket(path string) (net.Listener, error) {
	if err := checkSocketDir(filepath.Dir(path)); err != nil {
		return nil, err
	}
	if err := clearSocket(path); err != nil {
		return nil, err
	}
	// The process's mask is everybody's; nothing else is made at this time.
	mask := syscall.Umask(0o177)
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
	syscall.Umask(mask)
	var op *net.OpError
	if errors.As(err, &op) {
		err = op.Err
	}
	switch {
	case errors.Is(err, syscall.EINVAL):
		return nil, &hinted{usagef("--socket %s: the path is too long for a socket", path), "take a shorter one; systems allow about 100 bytes"}
	case err != nil:
		return nil, usagef("--socket %s: %w", path, err)
	}
	l.SetUnlinkOnClose(false) // it would remove whatever is there by then
	file, err := os.Lstat(path)
	if err != nil {
		l.Close()
		return nil, usagef("--socket: %w", err)
	}
	return &socketListener{l, path, file}, nil
}

// Close ends the listening and removes the socket.
func (l *socketListener) Close() error {
	if file, err := os.Lstat(l.path); err == nil && os.SameFile(file, l.file) {
		_ = os.Remove(l.path) // the next start finds it dead
	}
	return l.UnixListener.Close()
}

// checkSocketDir refuses a directory in which others could put a socket of theirs
// in our place, to be told the secret by our clients.
func checkSocketDir(dir string) error {
	info, err := os.Stat(dir)
	if err != nil {
		return usagef("--socket: %w", err)
	}
	if !info.IsDir() {
		return usagef("--socket: %s is no directory", dir)
	}
	if info.Mode().Perm()&0o022 != 0 && info.Mode()&fs.ModeSticky == 0 {
		return &hinted{usagef("--socket: other users can change what is in %s", dir), fmt.Sprintf("take a directory of your own, or: chmod go-w %s", dir)}
	}
	return nil
}

// clearSocket removes a dead socket of this user's.
func clearSocket(path string) error {
	info, err := os.Lstat(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	} else if err != nil {
		return usagef("--socket: %w", err)
	}
	if info.Mode().Type() != fs.ModeSocket {
		return usagef("--socket %s: there is something that is no socket; it is left as it is", path)
	}
	if own, ok := info.Sys().(*syscall.Stat_t); !ok || int(own.Uid) != os.Geteuid() {
		return usagef("--socket %s: the socket there belongs to somebody else", path)
	}
	conn, err := net.Dial("unix", path)
	if err == nil {
		conn.Close()
		return &hinted{usagef("--socket %s: another program listens there", path), "use that one, end it, or take another path"}
	}
	if !errors.Is(err, syscall.ECONNREFUSED) {
		return usagef("--socket %s: whether somebody listens there cannot be told: %w", path, errors.Unwrap(err))
	}
	if now, err := os.Lstat(path); err == nil && os.SameFile(now, info) {
		if err := os.Remove(path); err != nil {
			return usagef("--socket: %w", err)
		}
	}
	return nil
}
