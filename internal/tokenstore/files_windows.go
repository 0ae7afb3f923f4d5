package tokenstore

import (
	"errors"
	"io/fs"
	"os"

	"github.com/exactauth/exactauth/internal/durable"
)

const privateFile, privateDir = "private", "private"

// exposed says who else can read or change a file, or is empty. On a stick without
// access lists that is whoever has the stick.
func exposed(path string, _ fs.FileInfo) (string, error) {
	if durable.Portable(path) {
		return "", nil
	}
	other, err := durable.FindOther(path, durable.Read|durable.Write)
	if err == nil && other.Owns {
		err = errors.New("it belongs to " + other.Name)
	}
	return other.Name, err
}

func protectDir(root *os.Root) error { return durable.Protect(root.Name(), true) }

// Windows cannot sync a directory; see durable.SyncDir.
func syncDir(*os.Root) error { return nil }
func syncAbove(string) error { return nil }
