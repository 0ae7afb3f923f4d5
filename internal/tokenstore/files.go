package tokenstore

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"github.com/gofrs/flock"

	"github.com/exactauth/exactauth/internal/record"
)

const (
	lockSuffix = ".lock" // beside the record, never removed: two processes must lock the same file
	roomSuffix = ".tmp"  // one name suffices, since only the lock's holder uses it

	// lockPoll is how often a waiting process tries the lock. A waiter sees
	// the winner's record at most this much after it was saved.
	lockPoll = 10 * time.Millisecond

	// minRoom is made for a record that does not exist yet. An Exact record
	// takes 2 to 4 KiB, the longest codes and tokens seen 1 KiB each.
	minRoom = 16 << 10
)

// Files is a store of one file per record in one directory. The directory is
// the user's own (0700), the files too (0600), whatever the umask says; what is
// found more open than that is mended and said, what belongs to somebody else
// or is no regular file is refused. It is safe for use by many processes and
// goroutines at once.
//
// The lock is the operating system's, so it ends with the process that holds
// it. On network file systems that do not keep such locks it must not be used.
type Files struct {
	dir  string
	warn func(string)
}

// NewFiles returns the store in dir, which is made when the first record is.
// Words about what was mended go to warn, which may be nil.
func NewFiles(dir string, warn func(string)) *Files {
	if warn == nil {
		warn = func(string) {}
	}
	return &Files{dir: dir, warn: warn}
}

// Read returns the record, or fs.ErrNotExist. It takes no lock: a rename replaces
// records whole, so it sees the old one or the new one, the latter perhaps a
// moment before it is durable.
func (s *Files) Read(_ context.Context, name string) ([]byte, error) {
	if err := CheckName(name); err != nil {
		return nil, err
	}
	root, err := s.open()
	if err != nil {
		return nil, err
	}
	defer root.Close()
	return s.read(root, name)
}

// Update changes the record name under its lock. It calls change with the
// record as it is now (nil if there is none) after it has made room for a
// result three times as large, and returns when the result is durable. While
// change runs nobody else changes this record; other records are not held up.
//
// If the lock cannot be had until ctx ends, if there is no room or no
// permission, change is not called. If change fails, its error is returned and
// the record stays as it was; record.ErrUnchanged and an equal result are no
// error, and nothing is written. change must
// neither alter old nor give an empty result, as only Delete deletes, nor one of
// more than MaxRecord, which could not be read again.
func (s *Files) Update(ctx context.Context, name string, change record.Change) error {
	return s.locked(ctx, name, func(root *os.Root) error {
		old, err := s.read(root, name)
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
		// What is there may be from a process that was killed before it was
		// durable, and change may spend it or leave it at that. The directories
		// come before the record, since nobody looks at them once it is there.
		err = syncDir(root)
		if err == nil && old == nil {
			err = syncAbove(s.dir)
		}
		if err != nil {
			return &Error{Op: "sync", Name: "state directory " + s.dir, Err: err}
		}
		room, err := makeRoom(root, name, max(3*len(old), minRoom))
		if err != nil {
			return &Error{Op: "make room for", Name: s.path(name), Err: err}
		}
		defer room.discard()

		changed, err := change(ctx, old)
		switch {
		case errors.Is(err, record.ErrUnchanged):
			return nil
		case err != nil:
			return err
		case len(changed) == 0:
			return &Error{Op: "write", Name: s.path(name), Err: errors.New("the new record is empty")}
		case len(changed) > MaxRecord:
			return &Error{Op: "write", Name: s.path(name), Err: fmt.Errorf("it has %d bytes; no record is as large as that", len(changed)), Late: true}
		case bytes.Equal(changed, old):
			return nil
		}
		if err := room.save(changed); err != nil {
			return &Error{Op: "write", Name: s.path(name), Err: err, Late: true}
		}
		return nil
	})
}

// Delete removes the record under its lock, durably. Deleting what does not
// exist is no error.
func (s *Files) Delete(ctx context.Context, name string) error {
	if _, err := os.Lstat(s.dir); errors.Is(err, fs.ErrNotExist) {
		return CheckName(name)
	}
	return s.locked(ctx, name, func(root *os.Root) error {
		// The room, too: a process that was killed may have left a record in it.
		for _, n := range []string{name, name + roomSuffix} {
			if err := root.Remove(n); err != nil && !errors.Is(err, fs.ErrNotExist) {
				return &Error{Op: "delete", Name: s.path(n), Err: err}
			}
		}
		if err := syncDir(root); err != nil {
			return &Error{Op: "delete", Name: s.path(name), Err: err}
		}
		return nil
	})
}

func (s *Files) path(name string) string { return filepath.Join(s.dir, name) }

// locked runs f on the opened directory while this process holds the record's lock.
func (s *Files) locked(ctx context.Context, name string, f func(*os.Root) error) error {
	if err := CheckName(name); err != nil {
		return err
	}
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	if err := makeDirs(s.dir); err != nil {
		return &Error{Op: "make", Name: "state directory " + s.dir, Err: err}
	}
	root, err := s.open()
	if errors.Is(err, fs.ErrNotExist) { // though it was made: it is a link to nowhere
		return &Error{Op: "open", Name: "state directory " + s.dir, Err: err}
	} else if err != nil {
		return err
	}
	defer root.Close()

	if err := makeLock(root, name+lockSuffix); err != nil {
		return &Error{Op: "lock", Name: s.path(name), Err: err}
	}
	// A new handle per call: a shared one would let two goroutines in.
	lock := flock.New(s.path(name)+lockSuffix, flock.SetPermissions(0o600))
	began := time.Now()
	if _, err := lock.TryLockContext(ctx, lockPoll); err != nil {
		switch {
		case errors.Is(err, context.DeadlineExceeded):
			err = fmt.Errorf("another process has held it for the %s that this one waited: %w", time.Since(began).Round(time.Millisecond), err)
		case ctx.Err() != nil:
			return context.Cause(ctx)
		}
		return &Error{Op: "lock", Name: s.path(name), Err: err}
	}
	defer lock.Close()
	return f(root)
}

// makeDirs makes what is missing of dir, 0700 whatever the umask says.
func makeDirs(dir string) error {
	if _, err := os.Stat(dir); !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if err := makeDirs(filepath.Dir(dir)); err != nil {
		return err
	}
	switch err := os.Mkdir(dir, 0o700); {
	case errors.Is(err, fs.ErrExist): // another process was quicker
		return nil
	case err != nil:
		return err
	}
	if info, err := os.Stat(dir); err != nil || info.Mode().Perm() == 0o700 {
		return err
	}
	return os.Chmod(dir, 0o700)
}

// makeLock makes the lock file, 0600 whatever the umask says.
func makeLock(root *os.Root, name string) error {
	f, err := root.OpenFile(name, os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o600)
	if errors.Is(err, fs.ErrExist) {
		return nil
	} else if err != nil {
		return err
	}
	defer f.Close()
	if err := f.Chmod(0o600); !errors.Is(err, errors.ErrUnsupported) {
		return err
	}
	return nil
}

// open opens the directory, after a look at whose it is.
func (s *Files) open() (*os.Root, error) {
	fail := func(err error) (*os.Root, error) {
		return nil, &Error{Op: "open", Name: "state directory " + s.dir, Err: err}
	}
	root, err := os.OpenRoot(s.dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, err
	} else if err != nil {
		return fail(err)
	}
	info, err := root.Stat(".")
	if err == nil {
		err = ownedByUs(info)
	}
	if err == nil && tooOpen(info) {
		// A directory with the sticky bit is shared on purpose, as /tmp is:
		// closing it would break what others do there.
		if info.Mode()&fs.ModeSticky != 0 {
			err = errors.New("it is shared with other users; name a directory of its own")
		} else if err = root.Chmod(".", 0o700); err == nil {
			s.warn(fmt.Sprintf("state directory %s was open to other users (%04o); it is 0700 now", s.dir, info.Mode().Perm()))
		}
	}
	if err != nil {
		root.Close()
		return fail(err)
	}
	return root, nil
}

func (s *Files) read(root *os.Root, name string) (_ []byte, err error) {
	defer func() {
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			err = &Error{Op: "read", Name: s.path(name), Err: err}
		}
	}()
	// Before it is opened, since opening a pipe would wait for a writer.
	info, err := root.Lstat(name)
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() {
		return nil, fmt.Errorf("it is a %s, not a regular file", kind(info.Mode()))
	}
	if err := ownedByUs(info); err != nil {
		return nil, err
	}
	f, err := root.Open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	if tooOpen(info) {
		if err := f.Chmod(0o600); err != nil {
			return nil, fmt.Errorf("it is open to other users (%04o) and stays so: %w", info.Mode().Perm(), err)
		}
		s.warn(fmt.Sprintf("record %s was open to other users (%04o); it is 0600 now", s.path(name), info.Mode().Perm()))
	}
	if info.Size() > MaxRecord {
		return nil, fmt.Errorf("it has %d bytes; no record is as large as that", info.Size())
	}
	b := make([]byte, 0, info.Size()+1)
	for {
		n, err := f.Read(b[len(b):cap(b)])
		b = b[:len(b)+n]
		if err == io.EOF {
			return b, nil
		} else if err != nil {
			return nil, err
		}
		if len(b) == cap(b) {
			b = append(b, 0)[:len(b)]
		}
	}
}

func kind(m fs.FileMode) string {
	switch {
	case m&fs.ModeSymlink != 0:
		return "symbolic link"
	case m.IsDir():
		return "directory"
	default:
		return "special file"
	}
}

// room is the file that will become the record: it exists, has its blocks and
// is synced before anything is spent, so that a full disk is found out in time.
type room struct {
	root *os.Root
	name string // of the record
	f    *os.File
}

func makeRoom(root *os.Root, name string, size int) (_ *room, err error) {
	// One may be left by a process that was killed; the lock says it is nobody's.
	if err := root.Remove(name + roomSuffix); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	f, err := root.OpenFile(name+roomSuffix, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return nil, err
	}
	r := &room{root: root, name: name, f: f}
	defer func() {
		if err != nil {
			r.discard()
		}
	}()
	if err := f.Chmod(0o600); err != nil && !errors.Is(err, errors.ErrUnsupported) {
		return nil, err // a umask such as 0777 would leave a record that cannot be read
	}
	// Bytes that are not zero, since some file systems give those no blocks.
	if _, err := f.Write(bytes.Repeat([]byte{' '}, size)); err != nil {
		return nil, err
	}
	return r, f.Sync()
}

// commit makes data the record: written, synced, renamed, and the directory
// synced, because a rename alone is atomic but not durable.
func (r *room) commit(data []byte) error {
	if _, err := r.f.WriteAt(data, 0); err != nil {
		return err
	}
	if err := r.f.Truncate(int64(len(data))); err != nil {
		return err
	}
	if err := r.f.Sync(); err != nil {
		return err
	}
	f := r.f
	r.f = nil
	if err := f.Close(); err != nil {
		return err
	}
	if err := rename(r.root, r.name+roomSuffix, r.name); err != nil {
		return err
	}
	return syncDir(r.root)
}

// save commits data. What change did may be undone by nobody, so a moment's fault
// of the disk is waited out, each time in a new room.
func (r *room) save(data []byte) error {
	first := r.commit(data)
	err := first
	for pause := 50 * time.Millisecond; err != nil && pause < 2*time.Second; pause *= 2 {
		time.Sleep(pause)
		r.discard() // first, since the next one has the same name
		var again *room
		if again, err = makeRoom(r.root, r.name, len(data)); err == nil {
			*r = *again
			err = r.commit(data)
		}
	}
	if err != nil && err.Error() != first.Error() {
		return fmt.Errorf("%w; then %w", first, err)
	}
	return err
}

// discard gives the room back if it was not needed.
func (r *room) discard() {
	if r.f == nil {
		return
	}
	r.f.Close()
	r.f = nil
	// If it stays, the next Update removes it.
	_ = r.root.Remove(r.name + roomSuffix)
}
