package durable

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"time"
)

// lockPoll is how often a waiting process tries a lock.
const lockPoll = 10 * time.Millisecond

// Lock locks the file name in root, which it makes if there is none, 0600 whatever the
// umask. The lock is the operating system's: it ends with its process, and two calls
// exclude each other in one process too. Lock waits until ctx ends, and returns an
// error that wraps ctx.Err() then. It opens nothing but a regular file of this user's:
// a link would lead a lock to any file, and a pipe would wait for its other end.
//
// It is not github.com/gofrs/flock, which opens a path, and keeps the file open, and with
// it the lock, if the operating system fails to unlock.
func Lock(ctx context.Context, root *os.Root, name string) (unlock func(), err error) {
	f, err := root.OpenFile(name, os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o600)
	if errors.Is(err, fs.ErrExist) {
		f, err = openLock(root, name)
	} else if err == nil {
		err = Private(f)
	}
	for err == nil {
		var held bool
		if held, err = tryLock(f, true); held {
			return func() { release(f) }, nil
		} else if err != nil {
			break
		}
		select {
		case <-ctx.Done():
			err = ctx.Err()
		case <-time.After(lockPoll):
		}
	}
	if f != nil {
		f.Close()
	}
	return nil, err
}

// WaitUnlocked waits until no process holds the lock, until ctx ends or for no longer than
// limit, and reports whether it waited. It makes no file, and holds a shared lock for an
// instant only. After that a goroutine waits on in the kernel, since nothing can interrupt
// it there: it is for a process that soon ends or becomes another program.
func WaitUnlocked(ctx context.Context, root *os.Root, name string, limit time.Duration) (waited bool) {
	f, err := openLock(root, name)
	if err != nil { // Lock reports the error
		return false
	}
	if free, err := tryLock(f, false); free || err != nil {
		release(f)
		return false
	}
	// Asleep in the kernel: 200 processes that poll would keep the holder from its work.
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = waitLock(f)
		release(f)
	}()
	select {
	case <-done:
	case <-ctx.Done():
	case <-time.After(limit):
	}
	return true
}

// openLock opens a lock file that exists.
func openLock(root *os.Root, name string) (*os.File, error) {
	found, err := root.Lstat(name) // because an os.Root follows links
	if err == nil {
		err = judgeLock(name, found)
	}
	if err != nil {
		return nil, err
	}
	f, err := root.OpenFile(name, os.O_RDWR|nonBlocking, 0)
	if err != nil {
		return nil, err
	}
	if info, err := f.Stat(); err != nil || !os.SameFile(found, info) {
		f.Close()
		return nil, cmp.Or(err, fmt.Errorf("%s is not the file that it was a moment ago", name))
	}
	return f, nil
}

func judgeLock(name string, info fs.FileInfo) error {
	if !info.Mode().IsRegular() {
		return fmt.Errorf("%s is not a regular file", name)
	}
	if err := Ours(info); err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	return nil
}

// release unlocks, because the copy of f that a process gets in the instant before it
// becomes another program would hold the lock for that long. It closes f whatever the
// unlock says, as on a network file system: that ends the lock for sure.
func release(f *os.File) {
	_ = unlock(f)
	f.Close()
}
