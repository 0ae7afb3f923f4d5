package seal

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"runtime"

	"github.com/exactauth/exactauth/internal/durable"
)

// maxKeyFile bounds what is read of a file; identity files are far smaller.
const maxKeyFile = 64 << 10

// File returns the key in an identity file as age-keygen writes it. If the file has
// several identities, the first seals and all of them open, so a key is replaced by
// putting the new one first. A file that other users may use is refused; see
// [OpenToOthers]. Make makes the file, 0600, in a directory that must exist.
func File(path string) *Key {
	return &Key{
		place: "age identity " + path,
		read: func(context.Context) (string, error) {
			// Before the file is opened, because opening a pipe would wait for its writer.
			info, err := os.Stat(path)
			switch {
			case errors.Is(err, fs.ErrNotExist):
				return "", errNoKey
			case err != nil:
				return "", bare(err)
			case !info.Mode().IsRegular():
				return "", errors.New("it is not a regular file")
			case OpenToOthers(info):
				return "", fmt.Errorf("it is open to other users (%04o); want 0600", info.Mode().Perm())
			}
			f, err := os.Open(path)
			if err != nil {
				return "", bare(err)
			}
			defer f.Close()
			b, err := io.ReadAll(io.LimitReader(f, maxKeyFile))
			return string(b), bare(err)
		},
		create: func(_ context.Context, identities string) error {
			err := durable.Create(path, []byte(identities)) // what is sealed with a key must not outlive the key
			if errors.Is(err, fs.ErrNotExist) {
				return errors.New("its directory is not there")
			}
			return bare(err)
		},
	}
}

// OpenToOthers reports whether other users than its owner may use a file with a
// secret. The group may read a file of root's: containers get their secrets that way.
func OpenToOthers(info fs.FileInfo) bool {
	return runtime.GOOS != "windows" && info.Mode().Perm()&^groupMay(info)&0o077 != 0
}

// bare removes the path from an error whose message has the path elsewhere.
func bare(err error) error {
	if path := (*fs.PathError)(nil); errors.As(err, &path) {
		return path.Err
	}
	if link := (*os.LinkError)(nil); errors.As(err, &link) {
		return link.Err
	}
	return err
}
