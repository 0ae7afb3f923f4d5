// Package trust decides whose files may say what this program does. A file counts if
// only this user and root can change it, and everything that leads to it: the
// directories above it, and links with what leads to their targets. Root is trusted
// because it can do anything here. OpenSSH (StrictModes) and sudo judge their files so.
package trust

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"io"
	"io/fs"
	"os"
	"unicode/utf16"

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

// Limit is the size of the largest file that Read reads.
const Limit = 64 << 10

// Read reads a file that judge, [File] or [Secret], does not refuse. It may be a pipe,
// such as a shell's <(command): Read waits for its writer until ctx ends. What it returns
// is [Text].
func Read(ctx context.Context, path string, judge func(string) (fs.FileInfo, error)) ([]byte, fs.FileInfo, error) {
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
		return io.ReadAll(io.LimitReader(f, Limit+1))
	})
	switch {
	case err != nil && ctx.Err() != nil:
		return nil, nil, &fs.PathError{Op: "wait for", Path: path, Err: context.Cause(ctx)}
	case len(b) > Limit:
		err = &fs.PathError{Op: "read", Path: path, Err: errors.New("it is larger than 64 KiB")}
	}
	return Text(b), info, err
}

// Text returns what a person wrote in a text file as UTF-8 without a byte order mark.
// Windows PowerShell 5.1 writes UTF-16 with a mark, and Notepad UTF-8 with one.
func Text(b []byte) []byte {
	var order binary.ByteOrder = binary.LittleEndian
	switch {
	case bytes.HasPrefix(b, []byte("\xef\xbb\xbf")):
		return b[3:]
	case bytes.HasPrefix(b, []byte("\xfe\xff")):
		order = binary.BigEndian
	case !bytes.HasPrefix(b, []byte("\xff\xfe")):
		return b
	}
	var units []uint16
	for b = b[2:]; len(b) > 1; b = b[2:] {
		units = append(units, order.Uint16(b))
	}
	return []byte(string(utf16.Decode(units)))
}
