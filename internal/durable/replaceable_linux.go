package durable

import (
	"cmp"
	"errors"
	"io/fs"
	"os"

	"golang.org/x/sys/unix"
)

// Replaceable says why a rename cannot replace the file name in root, or returns nil, as
// it does for a file that does not exist. It changes nothing: it looks for what is known
// to stop a rename in a directory in which files can be made. That is a file that is a
// mount of its own, as containers have them, and the attributes that chattr sets.
func Replaceable(root *os.Root, name string) error {
	dir, err := root.Open(".")
	if err != nil {
		return err
	}
	defer dir.Close()
	attributes := func(name string) (uint64, error) {
		var st unix.Statx_t
		err := unix.Statx(int(dir.Fd()), name, unix.AT_SYMLINK_NOFOLLOW, 0, &st)
		if errors.Is(err, unix.ENOSYS) || errors.Is(err, unix.EPERM) || errors.Is(err, fs.ErrNotExist) {
			return 0, nil // an old kernel, a sandbox, no such file
		}
		return st.Attributes, err
	}
	file, err := attributes(name)
	above, errAbove := attributes(".")
	const fixed = unix.STATX_ATTR_IMMUTABLE | unix.STATX_ATTR_APPEND
	switch {
	case cmp.Or(err, errAbove) != nil:
		return cmp.Or(err, errAbove)
	case file&unix.STATX_ATTR_MOUNT_ROOT != 0:
		return fixedError("it is a mount of its own, which cannot be replaced; mount its directory instead")
	case file&fixed != 0:
		return fixedError("its attributes (lsattr) forbid to replace it; see chattr")
	case above&fixed != 0:
		return fixedError("the attributes of its directory (lsattr -d) forbid to replace it; see chattr")
	}
	return nil
}
