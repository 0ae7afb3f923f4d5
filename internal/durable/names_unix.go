//go:build unix

package durable

import (
	"errors"
	"os"
)

// Patiently calls f: here no other program can hold a name.
func Patiently(f func() error) error { return f() }

// Remove removes the file name in root.
func Remove(root *os.Root, name string) error { return root.Remove(name) }

// SyncDir makes what happened to the names in a directory durable: without it a
// power cut can undo a rename.
func SyncDir(path string) error {
	d, err := os.Open(path)
	if err != nil {
		return err
	}
	defer d.Close()
	return d.Sync()
}

// mkdir makes a directory that is private whatever the umask.
func mkdir(dir string) error {
	if err := os.Mkdir(dir, 0o700); err != nil {
		return err
	}
	if info, err := os.Stat(dir); err != nil || info.Mode().Perm() == 0o700 {
		return err
	}
	return os.Chmod(dir, 0o700)
}

// temporary makes a new private file in dir.
func temporary(dir, base string) (*os.File, error) {
	f, err := os.CreateTemp(dir, "."+base+".*")
	if err != nil {
		return nil, err
	}
	if err := Private(f); err != nil {
		f.Close()
		os.Remove(f.Name())
		return nil, err
	}
	return f, nil
}

// Private undoes what the umask took from a new file: 0777 would leave one that cannot
// be opened.
func Private(f *os.File) error {
	if err := f.Chmod(0o600); !errors.Is(err, errors.ErrUnsupported) {
		return err
	}
	return nil
}
