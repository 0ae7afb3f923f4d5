//go:build linux

package tokenstore_test

import (
	"fmt"
	"io/fs"
	"iter"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// disk is a file system for which POSIX promises hold and nothing beyond them:
// what an fsync of a file has returned for is on the disk with its contents,
// length and mode; what an fsync of a directory has returned for is there under
// its name. An fsync of a file does not make its name durable, one of a directory
// neither contents nor its own name. Of all other changes a power loss leaves
// any part, in any order:
//
//   - of directory operations, each or not. A name that was changed several times
//     has one of the values that it had. A rename changes two names, of which
//     either may have got through alone; but the new name is never without a file
//     that it had, since that is what a rename is for.
//   - of a write, each half or not, or zeros instead (blocks that were given to
//     the file and not yet written); of a truncate or chmod, all or not.
//
// The halves represent all places at which a write may tear.
type disk struct {
	root  *node
	nodes int
}

// node is a file or a directory. Both have a state that the system shows (now)
// and those that the disk may have (maybe, with now among them).
type node struct {
	id int // the same under two names if a rename got through by half

	now   content
	maybe []content

	allocated int // bytes that the file system guarantees to take, whatever else fills it

	names map[string]*name // nil if it is a file
}

type content struct {
	data string
	mode fs.FileMode
}

// name is an entry of a directory; a nil node means that there is none.
type name struct {
	now   *node
	maybe []*node
}

type opKind string

const (
	opCreate   opKind = "create" // open with O_CREAT: nothing if it is there
	opMkdir    opKind = "mkdir"
	opWrite    opKind = "write"
	opTruncate opKind = "truncate"
	opAllocate opKind = "allocate" // fallocate, which leaves the file as long as it is
	opChmod    opKind = "chmod"
	opFsync    opKind = "fsync"
	opRename   opKind = "rename"
	opUnlink   opKind = "unlink"
	opMark     opKind = "mark" // no operation: point path of step to is reached
)

// op is one operation, or a mark of the test.
type op struct {
	kind opKind
	path string // below the directory of the test
	to   string // rename
	off  int    // write, and the length for truncate and allocate
	data string // write
	mode fs.FileMode
}

func (o op) String() string {
	switch o.kind {
	case opWrite:
		return fmt.Sprintf("write %s at %d: %s", o.path, o.off, show(o.data))
	case opTruncate, opAllocate:
		return fmt.Sprintf("%s %s to %d", o.kind, o.path, o.off)
	case opCreate, opMkdir, opChmod:
		return fmt.Sprintf("%s %s %04o", o.kind, o.path, o.mode)
	default:
		return strings.TrimSpace(fmt.Sprintf("%s %s %s", o.kind, o.path, o.to))
	}
}

func list(ops []op) string {
	var b strings.Builder
	for i, o := range ops {
		fmt.Fprintf(&b, "%3d %v\n", i, o)
	}
	return b.String()
}

// newDisk returns a disk that has durably the directories dirs, parents first.
func newDisk(dirs []string) *disk {
	d := &disk{}
	d.root = d.newNode(0o700, true)
	for _, dir := range dirs {
		at, err := d.entry(dir)
		if err != nil {
			panic(err)
		}
		at.now = d.newNode(0o700, true)
		at.maybe = []*node{at.now}
	}
	return d
}

func (d *disk) newNode(mode fs.FileMode, dir bool) *node {
	d.nodes++
	n := &node{id: d.nodes, now: content{mode: mode}}
	n.maybe = []content{n.now}
	if dir {
		n.names = map[string]*name{}
	}
	return n
}

// lookup returns what the system shows at path, or nil.
func (d *disk) lookup(path string) *node {
	if path == "." {
		return d.root
	}
	dir := d.lookup(filepath.Dir(path))
	if dir == nil || dir.names[filepath.Base(path)] == nil {
		return nil
	}
	return dir.names[filepath.Base(path)].now
}

// entry returns the name at path, in use or not.
func (d *disk) entry(path string) (*name, error) {
	dir := d.lookup(filepath.Dir(path))
	if dir == nil || dir.names == nil {
		return nil, fmt.Errorf("%s is no directory", filepath.Dir(path))
	}
	at := dir.names[filepath.Base(path)]
	if at == nil {
		at = &name{maybe: []*node{nil}}
		dir.names[filepath.Base(path)] = at
	}
	return at, nil
}

// set changes the file of a name, for the system now and for the disk maybe.
func (at *name) set(n *node) {
	at.now = n
	if !slices.Contains(at.maybe, n) {
		at.maybe = append(at.maybe, n)
	}
}

// change does f for the system, and maybe for the disk, whose state may be any
// before and get any of what f returns. The whole effect is f's last.
func (n *node) change(f func(content) []content) {
	all := slices.Clone(n.maybe)
	for _, c := range n.maybe {
		all = append(all, f(c)...)
	}
	now := f(n.now)
	n.now = now[len(now)-1]
	n.maybe = nil
	for _, c := range all {
		if !slices.Contains(n.maybe, c) {
			n.maybe = append(n.maybe, c)
		}
	}
}

func (d *disk) do(o op) error {
	at, err := d.entry(o.path)
	if o.path == "." {
		at, err = &name{now: d.root}, nil
	}
	if err != nil {
		return err
	}
	n := at.now
	if n == nil && o.kind != opCreate && o.kind != opMkdir {
		return fmt.Errorf("there is no %s", o.path)
	}
	switch o.kind {
	case opCreate:
		if n == nil {
			at.set(d.newNode(o.mode, false))
		}
	case opMkdir:
		at.set(d.newNode(o.mode, true))
	case opUnlink:
		at.set(nil)
	case opRename:
		to, err := d.entry(o.to)
		if err != nil {
			return err
		}
		to.set(n)
		at.set(nil)
	case opWrite:
		n.change(func(c content) []content { return torn(c, o.off, o.data) })
	case opTruncate:
		n.change(func(c content) []content {
			c.data = (c.data + strings.Repeat("\x00", max(0, o.off-len(c.data))))[:o.off]
			return []content{c}
		})
	case opAllocate:
		n.allocated = o.off
	case opChmod:
		n.change(func(c content) []content {
			c.mode = o.mode
			return []content{c}
		})
	case opFsync:
		n.maybe = []content{n.now}
		for _, at := range n.names {
			at.maybe = []*node{at.now}
		}
	default:
		return fmt.Errorf("unknown operation %q", o.kind)
	}
	return nil
}

// torn returns what a write may leave of it, all of it last.
func torn(c content, off int, data string) (all []content) {
	half := len(data) / 2
	put := func(file []byte, off int, data string) []byte {
		if need := off + len(data); len(file) < need {
			file = append(file, make([]byte, need-len(file))...)
		}
		copy(file[off:], data)
		return file
	}
	const nothing, zeros, written = 0, 1, 2
	for a := nothing; a <= written; a++ {
		for b := nothing; b <= written; b++ {
			file := []byte(c.data)
			for _, part := range []struct {
				how, off int
				data     string
			}{{a, off, data[:half]}, {b, off + half, data[half:]}} {
				switch part.how {
				case zeros:
					file = put(file, part.off, strings.Repeat("\x00", len(part.data)))
				case written:
					file = put(file, part.off, part.data)
				}
			}
			all = append(all, content{string(file), c.mode})
		}
	}
	return all
}

// image is what a power loss left: the tree, parents first.
type image []entry

type entry struct {
	path string
	node *node
	content
}

// afterPowerLoss returns all disks that the power's loss may leave now.
func (d *disk) afterPowerLoss() iter.Seq[image] {
	return func(yield func(image) bool) {
		for _, im := range trees(d.root, ".") {
			if !withContents(im, 0, map[*node]content{}, yield) {
				return
			}
		}
	}
}

// now is what the system shows below dir.
func (d *disk) now(dir *node, path string) (im image) {
	for _, base := range slices.Sorted(maps.Keys(dir.names)) {
		if n := dir.names[base].now; n != nil {
			p := filepath.Join(path, base)
			im = append(im, entry{p, n, n.now})
			im = append(im, d.now(n, p)...)
		}
	}
	return im
}

// trees returns what may be in a directory, without contents of files.
func trees(dir *node, path string) []image {
	all := []image{nil}
	for _, base := range slices.Sorted(maps.Keys(dir.names)) {
		var longer []image
		for _, n := range dir.names[base].maybe {
			var below []image
			switch p := filepath.Join(path, base); {
			case n == nil:
				below = []image{nil}
			case n.names == nil:
				below = []image{{{path: p, node: n}}}
			default:
				for _, im := range trees(n, p) {
					below = append(below, slices.Concat(image{{path: p, node: n}}, im))
				}
			}
			for _, im := range all {
				for _, b := range below {
					longer = append(longer, slices.Concat(im, b))
				}
			}
		}
		all = longer
	}
	return all
}

// withContents combines the entries from i on with each of their contents; a
// file with two names has one.
func withContents(im image, i int, has map[*node]content, yield func(image) bool) bool {
	if i == len(im) {
		return yield(slices.Clone(im))
	}
	n := im[i].node
	choices := n.maybe
	if c, ok := has[n]; ok {
		choices = []content{c}
	} else {
		defer delete(has, n)
	}
	for _, c := range choices {
		has[n] = c
		im[i].content = c
		if !withContents(im, i+1, has, yield) {
			return false
		}
	}
	return true
}

// key is the same for equal images.
func (im image) key() string {
	var b strings.Builder
	seen := map[*node]int{}
	for i, e := range im {
		if _, ok := seen[e.node]; !ok {
			seen[e.node] = i
		}
		fmt.Fprintf(&b, "%s %d %t %o %d\n", e.path, seen[e.node], e.node.names != nil, e.mode, len(e.data))
		b.WriteString(e.data)
	}
	return b.String()
}

func (im image) String() string {
	var all []string
	for _, e := range im {
		switch {
		case e.node.names != nil:
			all = append(all, e.path+"/")
		case e.data == "":
			all = append(all, fmt.Sprintf("%s (#%d, empty)", e.path, e.node.id))
		default:
			all = append(all, fmt.Sprintf("%s (#%d, %s)", e.path, e.node.id, show(e.data)))
		}
	}
	return "[" + strings.Join(all, ", ") + "]"
}

func (im image) hasData() bool {
	return slices.ContainsFunc(im, func(e entry) bool { return e.data != "" })
}

// make puts the image into base.
func (im image) make(base string) error {
	made := map[*node]string{}
	for _, e := range im {
		path := filepath.Join(base, e.path)
		var err error
		if first, ok := made[e.node]; ok {
			err = os.Link(first, path)
		} else if e.node.names != nil {
			err = os.Mkdir(path, e.mode)
		} else if err = os.WriteFile(path, []byte(e.data), 0o600); err == nil {
			err = os.Chmod(path, e.mode)
		}
		if err != nil {
			return err
		}
		made[e.node] = path
	}
	return nil
}

func sortedKeys[V any](m map[string]V) []string { return slices.Sorted(maps.Keys(m)) }
