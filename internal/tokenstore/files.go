package tokenstore

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/exactauth/exactauth/internal/durable"
	"github.com/exactauth/exactauth/internal/record"
)

const (
	lockSuffix = ".lock" // the lock file beside a record; never removed, as all processes must lock the same file
	roomSuffix = ".tmp"  // the file that becomes the record; only the holder of the lock uses it

	secondLimit = 5 * time.Second // bounds the save in each second place
	takeUpLimit = 2 * time.Second // how long Read tries to bring what waits there to the record's place
)

// Files is a store of one file per record in one directory. The directory is
// the user's own (0700), and so are the files (0600), whatever the umask. Files
// corrects wider permissions and warns; it refuses what belongs to another user
// or is not a regular file. Many processes and goroutines can use it at once.
//
// The operating system ends the lock of a process that dies. Network file systems
// without such locks must not be used.
type Files struct {
	dir  string
	warn func(string)

	synced sync.Map // the last record that this process has made durable, by name

	newer  Judge // nil without TakeUp
	issued Judge // nil without Second
	places func() []*Files
}

// Judge compares two states of the record name, of which a is not the stored one: a store
// knows bytes, and its caller knows what is in them. An error says that the two cannot be
// compared.
type Judge = func(name string, a, b []byte) (bool, error)

// NewFiles returns the store in dir. The first Update makes dir. warn, which may be
// nil, is called with a sentence when permissions were corrected.
func NewFiles(dir string, warn func(string)) *Files {
	if warn == nil {
		warn = func(string) {}
	}
	return &Files{dir: dir, warn: warn}
}

// TakeUp lets an Update begin with a later record that an earlier one could not put in
// its place: a process was killed between the sync and the rename, or the disk failed.
// Such a record is whole, and nowhere else. newer reports whether what was left is a whole
// record and later than the record, which is nil if there is none.
func (s *Files) TakeUp(newer Judge) { s.newer = newer }

// Second has results that cannot be saved wait in other directories, best on other file
// systems, until the next call takes them up. issued reports whether a result has tokens
// that the record before it has not: every other change can be made again. places returns
// the directories that can be had now. A result is written to each of them, since any of
// them may be gone by the next call. Second needs TakeUp.
func (s *Files) Second(places func() []*Files, issued Judge) { s.places, s.issued = places, issued }

// Read returns the record, or fs.ErrNotExist. It takes no lock: a record is replaced
// by a rename, so Read sees the old one or the new one, the latter perhaps a
// moment before it is durable. If a later record waits in a second place, Read also
// brings it here, if it can: a second place may be in memory.
func (s *Files) Read(ctx context.Context, name string) ([]byte, error) {
	if err := CheckName(name); err != nil {
		return nil, err
	}
	var waiting [][]byte // found before another process may make it the record
	_ = s.waiting(ctx, name, func(_ *Files, left []byte) error {
		waiting = append(waiting, left)
		return nil
	})
	root, err := s.open()
	if err != nil {
		return nil, err
	}
	defer root.Close()
	b, err := s.read(root, name)
	if s.newer != nil && (err == nil || errors.Is(err, fs.ErrNotExist)) {
		// Of a writer that was killed before the rename. The record may look as if nothing
		// were to be changed, so that no Update follows that would take this one up.
		if left, unread := s.read(root, name+roomSuffix); unread == nil && judged(s.newer(name, left, b)) {
			b, err = left, nil
		}
	}
	for _, left := range waiting {
		if err == nil && judged(s.newer(name, left, b)) {
			b = left
			trying, cancel := context.WithTimeout(ctx, takeUpLimit)
			defer cancel()
			_ = s.Update(trying, name, func(context.Context, []byte) ([]byte, error) { return nil, record.ErrUnchanged })
		}
	}
	return b, err
}

func judged(is bool, err error) bool { return is && err == nil }

// waiting calls f with what waits in each second place.
func (s *Files) waiting(ctx context.Context, name string, f func(place *Files, left []byte) error) error {
	if s.places == nil {
		return nil
	}
	for _, place := range s.places() {
		if _, err := os.Lstat(place.path(name)); errors.Is(err, fs.ErrNotExist) {
			continue
		}
		left, err := place.Read(ctx, name)
		if err == nil {
			err = f(place, left)
		}
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	return nil
}

// Update changes the record under its lock; see record.Store. Updates of other
// records do not wait for it. If the lock cannot be had before ctx ends, or there is
// no room or no permission, change is not called.
func (s *Files) Update(ctx context.Context, name string, change record.Change) error {
	return s.locked(ctx, name, func(root *os.Root) error {
		old, err := s.read(root, name)
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
		// The process that wrote the record may have been killed before the record was
		// durable, and change may use up what is in it, or leave it. No sync is needed for a
		// record that this process has made durable itself, as no other state of the record has
		// the same bytes; nor before a repeatable change, because one follows it. The
		// directories above are synced before there is a record: no later Update does that.
		later := old != nil && record.IsRepeatable(ctx)
		if last, _ := s.synced.Load(name); !later && (old == nil || last != string(old)) {
			if err := s.sync(root, old == nil); err != nil {
				return err
			}
		}
		if err := durable.Replaceable(root, name); err != nil {
			return &Error{Directory, "replace", s.path(name), err}
		}
		old, known, err := s.takeUp(ctx, root, name, old)
		if err != nil {
			if errors.As(err, new(*Error)) {
				return err
			}
			return &Error{Directory, "replace", s.path(name), err}
		}
		room := &room{root: root, name: name}
		defer room.discard()
		ready := func() error {
			if err := room.make(Room(old)); err != nil {
				return &Error{Directory, "make room for", s.path(name), err}
			}
			return nil
		}
		// What was left in the room can be the only copy, so it stays if it cannot be judged now.
		// Then change cannot read the record, either, and fails, or it changes the seal, which
		// spends nothing.
		if known {
			if err := ready(); err != nil {
				return err
			}
		}
		changed, err := change(ctx, old)
		write, err := Result(s.path(name), old, changed, err)
		if write && !known {
			if err := ready(); err != nil {
				return err
			}
		}
		if !write && err == nil && later {
			return s.sync(root, false)
		} else if !write {
			return err
		}
		if err = room.save(changed); err == nil {
			s.synced.Store(name, string(changed))
			return nil
		}
		room.keep = s.places != nil && judged(s.issued(name, changed, old))
		if !room.keep || !s.saveElsewhere(ctx, name, changed, room.whole, err) {
			return &Error{Late, "write", s.path(name), err}
		}
		return nil
	})
}

// sync makes the names in the directory durable; those above it too, if all is true.
func (s *Files) sync(root *os.Root, all bool) error {
	err := syncDir(root)
	if err == nil && all {
		err = syncAbove(s.dir)
	}
	if err != nil {
		return s.failed("sync", err)
	}
	return nil
}

// takeUp makes a later record that was left in the room, or waits in a second place, the
// record, and returns the record. known is false if the record itself cannot be judged, and
// so nothing that was left.
func (s *Files) takeUp(ctx context.Context, root *os.Root, name string, old []byte) (now []byte, known bool, err error) {
	if s.newer == nil {
		return old, true, nil
	}
	left, err := s.read(root, name+roomSuffix)
	switch {
	case errors.As(err, new(syscall.Errno)) && !errors.Is(err, fs.ErrNotExist):
		return nil, false, err // it can be whole
	case err == nil && judged(s.newer(name, left, old)):
		f, err := root.OpenFile(name+roomSuffix, os.O_RDWR, 0)
		if err != nil {
			return nil, false, err
		}
		// Written again: its writer may have been killed before the sync, or the sync have failed,
		// after which the system no longer knows what is not on the disk.
		if err := (&room{root: root, name: name, f: f}).commit(left); err != nil {
			return nil, false, err
		}
		old = left
	case err == nil && old != nil:
		if _, err := s.newer(name, old, old); err != nil {
			return old, false, nil
		}
	}
	if old == nil { // there is one beside each result that waits
		return nil, true, nil
	}
	return old, true, s.waiting(ctx, name, func(place *Files, left []byte) error {
		newer, err := s.newer(name, left, old)
		if err != nil {
			return nil // it stays there: what cannot be judged now may be good
		}
		if newer {
			room := &room{root: root, name: name}
			defer room.discard()
			if err := room.make(len(left)); err != nil {
				return err
			}
			if err := room.commit(left); err != nil {
				return err
			}
			old = left
		}
		_ = place.Delete(ctx, name) // what stays is not later, and is never used
		return nil
	})
}

// saveElsewhere saves a result in the second places, and reports whether one has it, or the
// room if that is whole: the disk may take it yet. It is called with the lock held, so that
// nothing is sent before the result can be found.
func (s *Files) saveElsewhere(ctx context.Context, name string, changed []byte, whole bool, why error) bool {
	var have []string
	if whole {
		have = append(have, s.path(name)+roomSuffix)
	}
	for _, place := range s.places() {
		// Detached, because the result exists nowhere else.
		saving, cancel := context.WithTimeout(context.WithoutCancel(ctx), secondLimit)
		if place.Update(saving, name, func(context.Context, []byte) ([]byte, error) { return changed, nil }) == nil {
			have = append(have, place.dir)
		}
		cancel()
	}
	if have == nil {
		return false
	}
	s.warn(fmt.Sprintf("the new tokens could not be saved in %s (%v); they wait in %s until the next call takes them up; fix the disk, and make that call before this machine restarts",
		s.path(name), why, strings.Join(have, " and ")))
	return true
}

// Delete removes the record under its lock, durably. Deleting what does not
// exist is no error.
func (s *Files) Delete(ctx context.Context, name string) error {
	if _, err := os.Lstat(s.dir); errors.Is(err, fs.ErrNotExist) {
		return CheckName(name)
	}
	return s.locked(ctx, name, func(root *os.Root) error {
		kind := Directory
		// What waits elsewhere would be taken up beside the next record.
		if err := s.waiting(ctx, name, func(place *Files, _ []byte) error { return place.Delete(ctx, name) }); err != nil {
			return err
		}
		// The room first: a process that was killed may have left a record there, which
		// would be taken up if this one were killed before it has removed both.
		for _, n := range []string{name + roomSuffix, name} {
			switch err := durable.Remove(root, n); {
			case err == nil:
				kind = Late
			case !errors.Is(err, fs.ErrNotExist):
				return &Error{kind, "delete", s.path(n), err}
			}
		}
		if err := syncDir(root); err != nil {
			return &Error{kind, "delete", s.path(name), err}
		}
		return nil
	})
}

func (s *Files) path(name string) string { return filepath.Join(s.dir, name) }

// failed returns an error about the directory.
func (s *Files) failed(op string, err error) error {
	return &Error{Directory, op, "state directory " + s.dir, err}
}

// locked runs f on the opened directory while this process holds the record's lock.
func (s *Files) locked(ctx context.Context, name string, f func(*os.Root) error) error {
	if err := CheckName(name); err != nil {
		return err
	}
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	if err := durable.MakeDirs(s.dir); err != nil {
		return s.failed("make", err)
	}
	root, err := s.open()
	if errors.Is(err, fs.ErrNotExist) { // though MakeDirs made it: it is a link to nothing
		return s.failed("open", err)
	} else if err != nil {
		return err
	}
	defer root.Close()

	began := time.Now()
	unlock, err := durable.Lock(ctx, root, name+lockSuffix)
	switch {
	case err == nil:
	case errors.Is(err, context.DeadlineExceeded):
		return &Error{Lock, "lock", s.path(name), fmt.Errorf("another process has held it for the %s that this one waited: %w", time.Since(began).Round(time.Millisecond), err)}
	case ctx.Err() != nil:
		return context.Cause(ctx)
	default:
		return &Error{Directory, "lock", s.path(name), err}
	}
	defer unlock()
	return f(root)
}

// WaitUnlocked waits until no process holds the record's lock, for no longer than
// limit, and reports whether it waited; see durable.WaitUnlocked.
func (s *Files) WaitUnlocked(ctx context.Context, name string, limit time.Duration) (waited bool) {
	root, err := os.OpenRoot(s.dir)
	if err != nil {
		return false
	}
	defer root.Close()
	return durable.WaitUnlocked(ctx, root, name+lockSuffix, limit)
}

// open opens the directory and checks its owner and permissions.
func (s *Files) open() (*os.Root, error) {
	root, err := os.OpenRoot(s.dir)
	if errors.Is(err, fs.ErrNotExist) {
		if away := durable.Away(s.dir); away != nil {
			return nil, s.failed("open", away)
		}
		return nil, err
	} else if err != nil {
		return nil, s.failed("open", err)
	}
	info, err := root.Stat(".")
	if err == nil {
		err = durable.Ours(info)
	}
	how := ""
	if err == nil {
		how, err = exposed(s.dir, info)
	}
	if err == nil && how != "" {
		// A directory with the sticky bit is shared on purpose, as /tmp is: to make it
		// private would break what others do there.
		if info.Mode()&fs.ModeSticky != 0 {
			err = errors.New("it is shared with other users; name a directory of its own")
		} else if err = protectDir(root); err == nil {
			s.warn(fmt.Sprintf("state directory %s was open to other users (%s); it is %s now", s.dir, how, privateDir))
		}
	}
	if err != nil {
		root.Close()
		return nil, s.failed("open", err)
	}
	return root, nil
}

// read reads the record from the opened directory.
func (s *Files) read(root *os.Root, name string) (_ []byte, err error) {
	defer func() {
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			err = &Error{Directory, "read", s.path(name), err}
		}
	}()
	// Before the file is opened, because opening a pipe would wait for its writer.
	info, err := root.Lstat(name)
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() {
		return nil, fmt.Errorf("it is a %s, not a regular file", kind(info.Mode()))
	}
	if err := durable.Ours(info); err != nil {
		return nil, err
	}
	how, err := exposed(s.path(name), info)
	if err != nil {
		return nil, err
	}
	var f *os.File
	if err := durable.Patiently(func() (err error) { f, err = root.Open(name); return err }); err != nil {
		return nil, err
	}
	defer f.Close()
	if how != "" {
		if err := durable.Private(f); err != nil {
			return nil, fmt.Errorf("it is open to other users (%s) and stays so: %w", how, err)
		}
		s.warn(fmt.Sprintf("record %s was open to other users (%s); it is %s now", s.path(name), how, privateFile))
	}
	if info.Size() > MaxRecord {
		return nil, tooLarge(info.Size())
	}
	// To the end: a longer record may have taken this one's place since Lstat.
	b := bytes.NewBuffer(make([]byte, 0, info.Size()+bytes.MinRead))
	_, err = b.ReadFrom(f)
	return b.Bytes(), err
}

func kind(m fs.FileMode) string {
	switch {
	case m&fs.ModeSymlink != 0:
		return "symbolic link"
	case m.IsDir():
		return "directory"
	}
	return "special file"
}

// room is the file that will become the record. It exists and has its blocks before
// anything is spent, so that a full disk is found out in time.
type room struct {
	root *os.Root
	name string // of the record
	f    *os.File

	whole  bool // the whole result is written
	synced bool // and synced, so that a rename alone makes it the record
	keep   bool // if it is whole: the result is nowhere else
}

func (r *room) make(size int) error {
	r.whole = false
	// A process that was killed may have left one, which is not in use: we hold the lock.
	if err := durable.Remove(r.root, r.name+roomSuffix); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	err := durable.Patiently(func() (err error) {
		r.f, err = r.root.OpenFile(r.name+roomSuffix, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
		return err
	})
	if err == nil {
		err = durable.Private(r.f)
	}
	if err == nil {
		err = durable.Reserve(r.f, size)
	}
	if err != nil {
		r.discard()
	}
	return err
}

// commit makes data the record: write, sync, rename, and sync the directory,
// because a rename alone is atomic but not durable.
func (r *room) commit(data []byte) error {
	if _, err := r.f.WriteAt(data, 0); err != nil {
		return err
	}
	if err := r.f.Truncate(int64(len(data))); err != nil { // which frees the rest of the room, too
		return err
	}
	r.whole = true
	return r.place()
}

// place syncs the room and makes it the record.
func (r *room) place() error {
	if err := r.f.Sync(); err != nil {
		return err
	}
	f := r.f
	r.f = nil
	if err := f.Close(); err != nil {
		return err
	}
	r.synced = true
	return r.rename()
}

// rename makes a synced room the record.
func (r *room) rename() error {
	if err := durable.Patiently(func() error { return r.root.Rename(r.name+roomSuffix, r.name) }); err != nil {
		return err
	}
	return syncDir(r.root)
}

// save commits data. change cannot be undone, so save retries transient disk
// errors, each time in a new room, unless the room has all of data: a next one could
// have less.
func (r *room) save(data []byte) error {
	first := r.commit(data)
	err := first
	for pause := 50 * time.Millisecond; err != nil && pause < 2*time.Second; pause *= 2 {
		time.Sleep(pause)
		if r.synced {
			err = r.rename()
			continue
		}
		r.discard() // first, because the next one has the same name
		if err = r.make(len(data)); err == nil {
			err = r.commit(data)
		}
	}
	if err != nil && err.Error() != first.Error() {
		return fmt.Errorf("%w; then %w", first, err)
	}
	return err
}

// discard removes a room that did not become the record, or leaves it for the next Update
// to take up.
func (r *room) discard() {
	if r.f == nil {
		return
	}
	r.f.Close()
	r.f = nil
	if !r.keep || !r.whole {
		_ = durable.Remove(r.root, r.name+roomSuffix) // the next Update removes what stays
	}
}
