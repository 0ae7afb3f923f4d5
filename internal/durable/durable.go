// Package durable writes small files whole: after a crash or a power cut a file has
// its old content or its new one, and it has the new one once the call has returned.
// It also locks files between processes.
package durable

import (
	"bytes"
	"cmp"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
)

// Create makes the file path, private to its user. If there is one, Create leaves it
// alone and returns an error that wraps fs.ErrExist.
func Create(path string, data []byte) error {
	return write(path, data, nil, place)
}

// place renames a file unless path exists: a rename alone would replace a file that
// another process makes now.
func place(temporary, path string) error {
	err := os.Link(temporary, path)
	if err == nil || errors.Is(err, fs.ErrExist) {
		return err
	}
	return claim(temporary, path)
}

// claim is place for a file system without hard links, such as a FAT stick's. A process
// that is killed in it leaves an empty file.
func claim(temporary, path string) error {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	if err := f.Close(); err != nil {
		return err
	}
	return os.Rename(temporary, path)
}

// Replace makes or replaces the file path. prepare, which may be nil, is called with
// the new file, which is private, before that takes the place of the old one: it can
// set the owner and the permissions.
func Replace(path string, data []byte, prepare func(*os.File) error) error {
	return write(path, data, prepare, os.Rename)
}

func write(path string, data []byte, prepare func(*os.File) error, name func(temporary, path string) error) error {
	dir := filepath.Dir(path)
	f, err := temporary(dir, filepath.Base(path))
	if err != nil {
		return err
	}
	defer os.Remove(f.Name()) // which is gone after a rename
	_, err = f.Write(data)
	if err == nil && prepare != nil {
		err = prepare(f)
	}
	if err == nil {
		err = f.Sync()
	}
	if err = cmp.Or(err, f.Close()); err != nil {
		return err
	}
	if err := Patiently(func() error { return name(f.Name(), path) }); err != nil {
		return err
	}
	return SyncDir(dir)
}

// MakeDirs makes dir and the missing directories above it, private whatever the umask.
func MakeDirs(dir string) error {
	above := filepath.Dir(dir)
	if _, err := os.Stat(dir); !errors.Is(err, fs.ErrNotExist) || above == dir { // a drive or a server that is away
		return err
	}
	if err := MakeDirs(above); err != nil {
		return err
	}
	if err := mkdir(dir); !errors.Is(err, fs.ErrExist) {
		return err
	}
	return nil // another process was faster
}

// Abs is filepath.Abs. It returns a path on a server in the form of which package filepath knows the top.
func Abs(path string) (string, error) {
	path, err := filepath.Abs(path)
	if share, is := strings.CutPrefix(path, `\\?\UNC\`); is {
		path = `\\` + share
	}
	return path, err
}

// Away says that the drive or the server that path is on is not there, or returns nil: what is missing on it is not gone.
func Away(path string) error {
	volume := filepath.VolumeName(path)
	if volume == "" {
		return nil
	}
	if _, err := os.Stat(volume + string(filepath.Separator)); !errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return fixedError(volume + " is not there")
}

// fixedError is why a file cannot be had or replaced, in words for a person.
type fixedError string

func (e fixedError) Error() string { return string(e) }
func (e fixedError) Unwrap() error { return syscall.EPERM }

// reserve is Reserve where the system has no call for it. It writes no zeros, for which some
// file systems allocate no blocks, and syncs, because others allocate them as late as that.
func reserve(f *os.File, size int) error {
	if _, err := f.Write(bytes.Repeat([]byte{' '}, size)); err != nil {
		return err
	}
	return f.Sync()
}
