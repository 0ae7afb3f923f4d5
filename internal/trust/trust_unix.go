//go:build unix

package trust

import (
	"cmp"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
)

// File returns what is at the end of path. The error is an *Error if another user than
// root can have put it there or can change it, and fs.ErrNotExist if there is nothing,
// whoever the directories belong to: what does not exist says nothing.
func File(path string) (fs.FileInfo, error) {
	info, inherited, err := follow(path)
	if err == nil && inherited && info.Mode().IsRegular() {
		err = judge(path, info, nil)
	}
	return info, err
}

// Secret is File for a file with a secret, which other users must not be able to read
// either. Two kinds of files of root's are meant for more readers, and a user could not
// change their modes: the group may read a file that root made for another user, and
// everybody may read one in memory (tmpfs), because containers get their secrets as
// files of mode 0444 there, and no other users are in a container.
func Secret(path string) (fs.FileInfo, error) {
	info, inherited, err := follow(path)
	if err != nil || inherited {
		return info, err
	}
	open := info.Mode().Perm() & 0o077
	if open != 0 && owner(info) == 0 {
		if os.Geteuid() != 0 && !hasACL(path) { // a list may name more readers than the group
			open &^= 0o050
		}
		if inMemory(path) {
			open &^= 0o055
		}
	}
	if open != 0 {
		return nil, &Error{path, fmt.Sprintf("it is open to other users (%04o)", info.Mode().Perm()), "chmod 600 " + path}
	}
	return info, nil
}

// follow goes from the root directory to the end of path, and judges each directory,
// link and file on the way. inherited means that the path is a descriptor of this
// process, such as a shell's <(command): whoever started the program chose it. What is
// below a descriptor is found by its link.
func follow(path string) (info fs.FileInfo, inherited bool, err error) {
	path, err = filepath.Abs(path)
	if err != nil {
		return nil, false, err
	}
	at := string(filepath.Separator) // has no link in it
	if info, err = os.Lstat(at); err != nil {
		return nil, false, err
	}
	// In a user namespace root is a user without a number there, as all other users are.
	// Whoever owns the root directory decides about what leads to a file.
	trusted := []int{0, os.Geteuid(), owner(info)}
	found := judge(at, info, trusted)
	seen := at // info is about it
	for links, names := 0, strings.Split(path, "/"); len(names) > 0; {
		name := names[0]
		names = names[1:]
		switch {
		case name == "" || name == ".":
			continue
		case name == "..":
			at = filepath.Dir(at)
			continue
		case at == "/proc" && name == "self" && len(names) == 2 && names[0] == "fd" && names[1] != "..":
			info, err = os.Stat(path)
			return info, true, cmp.Or(err, found)
		}
		seen = filepath.Join(at, name)
		if info, err = os.Lstat(seen); err != nil {
			return nil, false, err
		}
		if found == nil {
			found = judge(seen, info, trusted)
		}
		if info.Mode()&fs.ModeSymlink == 0 {
			at = seen
			continue
		}
		target, err := os.Readlink(seen)
		if links++; err == nil && links > 40 {
			err = &fs.PathError{Op: "open", Path: path, Err: syscall.ELOOP}
		}
		if err != nil {
			return nil, false, err
		}
		if filepath.IsAbs(target) {
			at = string(filepath.Separator)
		}
		names = append(strings.Split(target, "/"), names...)
	}
	if seen != at { // the last name was a link to ".."
		info, err = os.Lstat(at)
	}
	return info, false, cmp.Or(err, found)
}

// judge returns an *Error if another user can change what is at path, without what leads
// to it. In a directory with the sticky bit a file is changed by its owner only.
func judge(path string, info fs.FileInfo, trusted []int) error {
	uid, mode := owner(info), info.Mode()
	if mode.IsRegular() {
		trusted = []int{0, os.Geteuid()}
	}
	if !slices.Contains(trusted, uid) {
		us := os.Geteuid()
		fix := fmt.Sprintf("if it is yours: sudo chown -h %d %s", us, path)
		if us == 0 {
			fix = fmt.Sprintf("run exactauth as that user: sudo -u '#%d' exactauth ...; if root is to use the file: chown -h 0 %s", uid, path)
		}
		return &Error{path, fmt.Sprintf("it belongs to user %d, and this is user %d", uid, us), fix}
	}
	if mode&(fs.ModeSymlink|fs.ModeSocket) != 0 || mode.IsDir() && mode&fs.ModeSticky != 0 {
		return nil // who may write to a socket may connect, and changes nothing
	}
	open := mode.Perm() & 0o022
	gid := group(info)
	if open == 0o020 && private(os.Geteuid(), gid, "/etc/passwd", "/etc/group") && !hasACL(path) {
		return nil
	}
	// A volume that Kubernetes makes of a ConfigMap is open to all by its modes, and
	// read-only.
	if open == 0 || readOnly(path) {
		return nil
	}
	who, bits := "every user of this machine", "o-w"
	switch open {
	case 0o020:
		who, bits = fmt.Sprintf("every member of group %d", gid), "g-w"
	case 0o022:
		bits = "go-w"
	}
	what := "change it"
	if mode.IsDir() {
		what = "put other files there"
	}
	return &Error{path, who + " can " + what, "chmod " + bits + " " + path}
}

// private reports whether a group is this user's own, as many systems make one for each
// user: it has the user's name or number, and the files of users and groups name no
// other member. Group 0 is root's, whose members are not asked for.
func private(us, gid int, passwd, groups string) bool {
	if gid == 0 {
		return true
	}
	own, name := gid == us, ""
	for user := range entries(passwd) {
		uid, _ := strconv.Atoi(user[2])
		switch {
		case uid == us:
			name = user[0]
		case uid != 0 && user[3] == strconv.Itoa(gid):
			return false
		}
	}
	for group := range entries(groups) {
		if group[2] != strconv.Itoa(gid) {
			continue
		}
		own = own || group[0] == name
		for member := range strings.SplitSeq(strings.TrimSpace(group[3]), ",") {
			if member != "" && member != name && member != "root" {
				return false
			}
		}
	}
	return own
}

// entries iterates over the lines of a file of users or groups, as fields.
func entries(file string) func(yield func([]string) bool) {
	return func(yield func([]string) bool) {
		b, _ := os.ReadFile(file) // without one there are no names
		for line := range strings.Lines(string(b)) {
			if fields := strings.Split(line, ":"); len(fields) >= 4 && !yield(fields) {
				return
			}
		}
	}
}

func owner(info fs.FileInfo) int { return int(info.Sys().(*syscall.Stat_t).Uid) }
func group(info fs.FileInfo) int { return int(info.Sys().(*syscall.Stat_t).Gid) }
