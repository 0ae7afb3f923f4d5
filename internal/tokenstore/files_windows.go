package tokenstore

import (
	"io/fs"
	"os"
)

// On Windows the directory is in the user's own profile, whose access list keeps
// other users out; files have no mode bits to check.
func tooOpen(fs.FileInfo) bool { return false }

// Windows cannot sync a directory; see durable.SyncDir.
func syncDir(*os.Root) error { return nil }
func syncAbove(string) error { return nil }
