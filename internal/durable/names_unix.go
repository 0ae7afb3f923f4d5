//go:build unix

package durable

import "os"

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
