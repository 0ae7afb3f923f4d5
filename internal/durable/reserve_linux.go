package durable

import (
	"errors"
	"io/fs"
	"os"

	"golang.org/x/sys/unix"
)

// Reserve allocates size bytes of the disk to the empty file f, so that they can be written
// although the disk is full then. After fallocate the file system guarantees that
// (fallocate(2)), also where it puts changed blocks elsewhere (Btrfs), where a sync of
// bytes that are written over later does not. It needs no sync: the guarantee is for this
// process, and after a power cut the room is of no use.
//
// The file stays empty: what is written then is whole at once, also for a process that
// finds it after this one was killed.
func Reserve(f *os.File, size int) error {
	failed := func(err error) error { return &fs.PathError{Op: "fallocate", Path: f.Name(), Err: err} }
	var limit unix.Rlimit // which fallocate looks at only if the file grows
	if err := unix.Getrlimit(unix.RLIMIT_FSIZE, &limit); err == nil && uint64(size) > limit.Cur {
		return failed(unix.EFBIG)
	}
	for {
		switch err := unix.Fallocate(int(f.Fd()), unix.FALLOC_FL_KEEP_SIZE, 0, int64(size)); {
		case err == nil:
			return nil
		case errors.Is(err, unix.EOPNOTSUPP), errors.Is(err, unix.ENOSYS):
			return reserve(f, size)
		case !errors.Is(err, unix.EINTR):
			return failed(err)
		}
	}
}
