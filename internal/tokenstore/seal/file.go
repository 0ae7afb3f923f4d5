package seal

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/exactauth/exactauth/internal/durable"
	"github.com/exactauth/exactauth/internal/trust"
)

// File returns the key in an identity file as age-keygen writes it. If the file has
// several identities, the first seals and all of them open, so a key is replaced by
// putting the new one first. A file that other users can read or change is refused; see
// [trust.Secret]. Make makes the file, 0600, in a directory that must exist.
func File(path string) *Key {
	return &Key{
		place: "age identity " + path,
		how:   "age:" + path,
		read: func(ctx context.Context) (string, error) {
			b, _, err := trust.Read(ctx, path, trust.Secret)
			if errors.Is(err, fs.ErrNotExist) {
				err = errNoKey
			}
			return string(b), bare(err)
		},
		create: func(_ context.Context, identities string) error {
			_, err := trust.File(filepath.Dir(path)) // otherwise the key would be refused once it is there
			if err == nil {
				err = durable.Create(path, []byte(identities)) // what is sealed with a key must not outlive the key
			}
			if errors.Is(err, fs.ErrNotExist) {
				return errors.New("its directory is not there")
			}
			return bare(err)
		},
	}
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
