package config

import (
	"io/fs"
	"os"

	"github.com/exactauth/exactauth/internal/durable"
)

// keepGroup sets the access list of f to that of the file at path.
func keepGroup(f *os.File, path string, _ fs.FileInfo) bool {
	_ = durable.AccessAs(f.Name(), path) // otherwise it is private
	return true
}
