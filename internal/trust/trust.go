// Package trust decides whose files may say what this program does. A file counts if
// only this user and root can change it, and everything that leads to it: the
// directories above it, and links with what leads to their targets. Root is trusted
// because it can do anything here. OpenSSH (StrictModes) and sudo judge their files so.
package trust

import (
	"context"
	"errors"
	"io"
	"io/fs"
	"os"

	"github.com/exactauth/exactauth/internal/fault"
)

// Error is a fault.ErrConfig: another user can change, or read, a file that only this
// user may.
type Error struct {
	Path string // the file, or what leads to it
	Why  string
	Fix  string // what to type
}

func (e *Error) Error() string { return e.Path + ": " + e.Why }
func (e *Error) Unwrap() error { return fault.ErrConfig }

// Read reads a file that judge, [File] or [Secret], does not refuse. It may be a pipe,
// such as a shell's <(command): Read waits for its writer until ctx ends.
func Read(ctx context.Context, path string, judge func(string) (fs.FileInfo, error)) ([]byte, fs.FileInfo, error) {
	const limit = 64 << 10
	var info fs.FileInfo
	b, err := fault.Await(ctx, func() (b []byte, err error) {
		if info, err = judge(path); err != nil {
			return nil, err
		}
		f, err := os.Open(path)
		if err != nil {
			return nil, err
		}
		defer f.Close()
		return io.ReadAll(io.LimitReader(f, limit+1))
	})
	switch {
	case err != nil && ctx.Err() != nil:
		return nil, nil, &fs.PathError{Op: "wait for", Path: path, Err: context.Cause(ctx)}
	case len(b) > limit:
		err = &fs.PathError{Op: "read", Path: path, Err: errors.New("it is larger than 64 KiB")}
	}
	return b, info, err
}
