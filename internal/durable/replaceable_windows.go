package durable

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"

	"golang.org/x/sys/windows"
)

// Replaceable says why a rename cannot replace the file name in root, or returns nil, as it
// does for a file that does not exist. It changes nothing: Windows replaces no file that is
// read-only, that may not be deleted, or that another program has open without sharing that.
func Replaceable(root *os.Root, name string) error {
	path := filepath.Join(root.Name(), name)
	file, err := windows.UTF16PtrFromString(longPath(path))
	if err != nil {
		return err
	}
	attributes, err := windows.GetFileAttributes(file)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil
	case err != nil:
		return err
	case attributes&windows.FILE_ATTRIBUTE_READONLY != 0:
		return fixedError("it is read-only; type: attrib -r \"" + path + "\"")
	}
	return Patiently(func() error {
		h, err := windows.CreateFile(file, windows.DELETE, windows.FILE_SHARE_READ|windows.FILE_SHARE_WRITE|windows.FILE_SHARE_DELETE,
			nil, windows.OPEN_EXISTING, windows.FILE_FLAG_OPEN_REPARSE_POINT, 0)
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		if err == nil {
			err = windows.CloseHandle(h)
		}
		return err
	})
}
