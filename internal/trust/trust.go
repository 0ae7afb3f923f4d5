// Package trust decides whose files may say what this program does. A file counts if
// only this user and root can change it, and everything that leads to it: the
// directories above it, and links with what leads to their targets. Root is trusted
// because it can do anything here. OpenSSH (StrictModes) and sudo judge their files so.
package trust

import "github.com/exactauth/exactauth/internal/fault"

// Error is a fault.ErrConfig: another user can change, or read, a file that only this
// user may.
type Error struct {
	Path string // the file, or what leads to it
	Why  string
	Fix  string // what to type
}

func (e *Error) Error() string { return e.Path + ": " + e.Why }
func (e *Error) Unwrap() error { return fault.ErrConfig }
