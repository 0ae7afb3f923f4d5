package trust_test

import (
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/exactauth/exactauth/internal/fault"
	"github.com/exactauth/exactauth/internal/trust"
)

// Two users, neither of whom has a name here, with groups of their own, and a group of
// both.
const anna, mallory, both = 61001, 61002, 61003

// tree makes what lines describe below a directory that all users can enter: NAME, MODE,
// OWNER:GROUP, and for a link its target. The name of a directory ends in a slash.
func tree(t *testing.T, lines string) string {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("only root can make files of other users")
	}
	top := t.TempDir()
	for _, dir := range []string{top, filepath.Dir(top)} {
		if err := os.Chmod(dir, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	for line := range strings.Lines(lines) {
		f := strings.Fields(line)
		path := filepath.Join(top, f[0])
		var mode uint32
		var uid, gid int
		if _, err := fmt.Sscanf(f[1]+" "+strings.Replace(f[2], ":", " ", 1), "%o %d %d", &mode, &uid, &gid); err != nil {
			t.Fatal(line, err)
		}
		var err error
		switch {
		case len(f) > 3:
			err = os.Symlink(strings.Replace(f[3], "TOP", top, 1), path)
		case strings.HasSuffix(f[0], "/"):
			err = os.Mkdir(path, 0o700)
		default:
			err = os.WriteFile(path, nil, 0o600)
		}
		if err := errors.Join(err, os.Lchown(path, uid, gid)); err != nil {
			t.Fatal(err)
		}
		if len(f) == 3 {
			if err := syscall.Chmod(path, mode); err != nil {
				t.Fatal(err)
			}
		}
	}
	return top
}

// as runs f as another user.
func as(t *testing.T, uid int, f func()) {
	t.Helper()
	if err := syscall.Setresuid(-1, uid, -1); err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := syscall.Setresuid(-1, 0, -1); err != nil {
			t.Fatal(err)
		}
	}()
	f()
}

// judge compares an error with want: what it contains beside the path below top, empty
// for none.
func judge(t *testing.T, err error, want string) {
	t.Helper()
	var refused *trust.Error
	switch {
	case want == "":
		if err != nil {
			t.Error(err)
		}
	case !errors.As(err, &refused) || !errors.Is(err, fault.ErrConfig) || refused.Fix == "":
		t.Errorf("%v, want %q", err, want)
	case !strings.Contains(err.Error()+"; "+refused.Fix, want):
		t.Errorf("%v; %s; want %q", err, refused.Fix, want)
	}
}

func TestFile(t *testing.T) {
	for _, test := range []struct {
		name, tree, file string
		uid              int
		want             string
	}{
		{"anna's own", "a/ 755 61001:61001\na/f 644 61001:61001", "a/f", anna, ""},
		{"root's", "a/ 755 0:0\na/f 644 0:0", "a/f", anna, ""},
		{"root's in anna's directory", "a/ 755 61001:61001\na/f 644 0:0", "a/f", anna, ""},
		{"mallory's", "a/ 755 0:0\na/f 644 61002:61002", "a/f", anna, "a/f: it belongs to user 61002, and this is user 61001; if it is yours: sudo chown -h 61001 "},
		{"in mallory's directory", "a/ 755 61002:61002\na/f 644 61001:61001", "a/f", anna, "a: it belongs to user 61002"},
		{"below mallory's directory", "a/ 755 61002:61002\na/b/ 755 0:0\na/b/f 644 0:0", "a/b/f", anna, "a: it belongs to user 61002"},
		{"anna's, for root", "a/ 755 0:0\na/f 644 61001:61001", "a/f", 0, "a/f: it belongs to user 61001, and this is user 0; run exactauth as that user: sudo -u '#61001' exactauth ...; if root is to use the file: chown -h 0 "},
		{"in anna's home, for root", "a/ 755 61001:61001\na/f 644 0:0", "a/f", 0, "a: it belongs to user 61001"},

		{"open to all", "a/ 755 61001:61001\na/f 646 61001:61001", "a/f", anna, "a/f: every user of this machine can change it; chmod o-w "},
		{"open to the group and all", "a/ 755 61001:61001\na/f 666 61001:61001", "a/f", anna, "chmod go-w "},
		{"open to a group of her own", "a/ 775 61001:61001\na/f 664 61001:61001", "a/f", anna, ""},
		{"open to a group of both", "a/ 755 61001:61001\na/f 664 61001:61003", "a/f", anna, "a/f: every member of group 61003 can change it; chmod g-w "},
		{"open to mallory's group", "a/ 755 61001:61001\na/f 664 61001:61002", "a/f", anna, "group 61002"},
		{"open to root's group", "a/ 775 0:0\na/f 664 61001:0", "a/f", anna, ""},
		{"in a directory open to all", "a/ 777 61001:61001\na/f 644 61001:61001", "a/f", anna, "a: every user of this machine can put other files there; chmod go-w "},
		{"in one open to a group of both", "a/ 775 61001:61003\na/f 644 61001:61001", "a/f", anna, "a: every member of group 61003 can put other files there"},
		{"below one open to all", "a/ 777 0:0\na/b/ 700 61001:61001\na/b/f 600 61001:61001", "a/b/f", anna, "a: every user"},
		{"in a sticky directory", "a/ 1777 0:0\na/f 644 61001:61001", "a/f", anna, ""},
		{"below a sticky directory", "a/ 1777 0:0\na/b/ 700 61001:61001\na/b/f 644 61001:61001", "a/b/f", anna, ""},
		{"planted in a sticky directory", "a/ 1777 0:0\na/f 644 61002:61002", "a/f", anna, "a/f: it belongs to user 61002"},
		{"planted below a sticky directory", "a/ 1777 0:0\na/b/ 755 61002:61002\na/b/f 644 61001:61001", "a/b/f", anna, "a/b: it belongs to user 61002"},
		{"in mallory's sticky directory", "a/ 1777 61002:61002\na/f 644 61001:61001", "a/f", anna, "a: it belongs to user 61002"},
		{"a sticky directory itself", "a/ 1777 0:0", "a", anna, ""},
		{"open to all, with the sticky bit", "a/ 755 0:0\na/f 1646 61001:61001", "a/f", anna, "a/f: every user"},

		{"a link to her own", "a/ 755 61001:61001\nb/ 755 61001:61001\nb/f 644 61001:61001\na/f 777 61001:61001 ../b/f", "a/f", anna, ""},
		{"an absolute link", "a/ 755 61001:61001\nb/ 755 61001:61001\nb/f 644 61001:61001\na/f 777 61001:61001 TOP/b/f", "a/f", anna, ""},
		{"a link to a directory", "b/ 755 61001:61001\nb/f 644 61001:61001\na 777 61001:61001 b/.", "a/f", anna, ""},
		{"a link to the directory above", "b/ 755 61001:61001\nb/f 644 61001:61001\nb/a 777 61001:61001 ..", "b/a", anna, ""},
		{"a link to mallory's", "a/ 755 61001:61001\nb/ 755 0:0\nb/f 644 61002:61002\na/f 777 61001:61001 ../b/f", "a/f", anna, "b/f: it belongs to user 61002"},
		{"a link through mallory's directory", "a/ 755 61001:61001\nb/ 755 61002:61002\nb/f 644 61001:61001\na/f 777 61001:61001 TOP/b/f", "a/f", anna, "b: it belongs to user 61002"},
		{"a link through a link of mallory's", "a/ 755 61001:61001\nb/ 1777 0:0\nf 644 61001:61001\nb/l 777 61002:61002 ../f\na/f 777 61001:61001 ../b/l", "a/f", anna, "b/l: it belongs to user 61002"},
		{"a link of mallory's", "a/ 1777 0:0\nf 644 61001:61001\na/f 777 61002:61002 ../f", "a/f", anna, "a/f: it belongs to user 61002"},
		{"a directory that is mallory's link", "a/ 1777 0:0\nb/ 755 61001:61001\nb/f 644 61001:61001\na/l 777 61002:61002 ../b", "a/l/f", anna, "a/l: it belongs to user 61002"},
	} {
		t.Run(test.name, func(t *testing.T) {
			top := tree(t, test.tree)
			as(t, test.uid, func() {
				info, err := trust.File(filepath.Join(top, test.file))
				judge(t, err, test.want)
				if other, statErr := os.Stat(filepath.Join(top, test.file)); err == nil && (statErr != nil || !os.SameFile(info, other)) {
					t.Errorf("it is about %v", info.Name())
				}
			})
		})
	}
}

// What does not exist says nothing, whoever could make it.
func TestFileThatDoesNotExist(t *testing.T) {
	top := tree(t, "a/ 777 61002:61002\na/l 777 61002:61002 nowhere\nb/ 700 0:0\nc 644 0:0\nd 777 0:0 d")
	as(t, anna, func() {
		for file, want := range map[string]error{
			"a/f": fs.ErrNotExist, "a/b/c/f": fs.ErrNotExist, "a/l": fs.ErrNotExist, "b/f": fs.ErrPermission, "c/f": syscall.ENOTDIR, "d": syscall.ELOOP,
		} {
			if _, err := trust.File(filepath.Join(top, file)); !errors.Is(err, want) {
				t.Errorf("%s: %v, want %v", file, err, want)
			}
		}
	})
}

// An access list hides behind the group's permissions.
func TestFileWithAnAccessList(t *testing.T) {
	top := tree(t, "f 664 61001:61001\nsecret 640 0:61001")
	// Version 2; user::rw-, user:61002:rw-, group::r--, mask::rw-, other::r--.
	list := "\x02\x00\x00\x00"
	for _, e := range []struct {
		tag, perm uint16
		id        uint32
	}{{1, 6, ^uint32(0)}, {2, 6, mallory}, {4, 4, ^uint32(0)}, {16, 6, ^uint32(0)}, {32, 4, ^uint32(0)}} {
		list += string([]byte{byte(e.tag), 0, byte(e.perm), 0, byte(e.id), byte(e.id >> 8), byte(e.id >> 16), byte(e.id >> 24)})
	}
	if err := syscall.Setxattr(filepath.Join(top, "f"), "system.posix_acl_access", []byte(list), 0); err != nil {
		t.Skip("no access lists on this file system: ", err)
	}
	as(t, anna, func() {
		_, err := trust.File(filepath.Join(top, "f"))
		judge(t, err, "f: every member of group 61001 can change it")
	})
	// user::rw-, user:61002:r--, group::r--, mask::r--, other::---.
	reads := strings.ReplaceAll(list[:len(list)-8], "\x06", "\x04") + " \x00\x00\x00\xff\xff\xff\xff"
	if err := syscall.Setxattr(filepath.Join(top, "secret"), "system.posix_acl_access", []byte(reads), 0); err != nil {
		t.Fatal(err)
	}
	as(t, anna, func() {
		_, err := trust.Secret(filepath.Join(top, "secret"))
		judge(t, err, "open to other users (0440)")
	})
}

func TestSecret(t *testing.T) {
	top := tree(t, "a/ 755 0:0")
	dir := filepath.Join(top, "a")
	memory := filepath.Join(top, "memory")
	if err := os.Mkdir(memory, 0o755); err != nil {
		t.Fatal(err)
	}
	mounted := syscall.Mount("none", memory, "tmpfs", 0, "mode=755,size=64k") == nil
	if mounted {
		defer syscall.Unmount(memory, syscall.MNT_DETACH)
	}
	for _, test := range []struct {
		mode     uint32
		uid, gid int // of the file
		inMemory bool
		as       int
		want     string
	}{
		{0o600, anna, anna, false, anna, ""},
		{0o400, anna, anna, false, anna, ""},
		{0o644, anna, anna, false, anna, "f: it is open to other users (0644); chmod 600 "},
		{0o640, anna, anna, false, anna, "open to other users (0640)"},
		{0o604, anna, anna, false, anna, "open to other users (0604)"},
		{0o602, anna, anna, false, anna, "every user of this machine can change it"},
		{0o600, mallory, mallory, false, 0, "it belongs to user 61002"},
		{0o444, mallory, mallory, true, anna, "it belongs to user 61002"},
		{0o440, 0, anna, false, anna, ""}, // as containers get it
		{0o440, 0, anna, false, 0, "open to other users (0440)"},
		{0o444, 0, 0, false, anna, "open to other users (0444)"},
		{0o444, 0, 0, false, 0, "open to other users (0444)"},
		{0o444, 0, 0, true, anna, ""}, // /run/secrets of Docker and Podman
		{0o444, 0, 0, true, 0, ""},
		{0o644, 0, 0, true, 0, ""}, // Kubernetes
		{0o644, anna, anna, true, anna, "open to other users (0644)"},
	} {
		t.Run(fmt.Sprintf("%04o of %d, memory %v, as %d", test.mode, test.uid, test.inMemory, test.as), func(t *testing.T) {
			file := filepath.Join(dir, "f")
			if test.inMemory {
				if !mounted {
					t.Skip("nothing can be mounted here")
				}
				file = filepath.Join(memory, "f")
			}
			if err := errors.Join(os.WriteFile(file, nil, 0o600), os.Chown(file, test.uid, test.gid), syscall.Chmod(file, test.mode)); err != nil {
				t.Fatal(err)
			}
			defer os.Remove(file)
			as(t, test.as, func() {
				_, err := trust.Secret(file)
				judge(t, err, test.want)
			})
		})
	}
}

// A shell's <(command) is a path to a descriptor that the program got from it.
func TestSecretOnADescriptor(t *testing.T) {
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	defer w.Close()
	for _, dir := range []string{"/dev/fd", "/proc/self/fd"} {
		if info, err := trust.Secret(fmt.Sprintf("%s/%d", dir, r.Fd())); err != nil || info.Mode()&fs.ModeNamedPipe == 0 {
			t.Errorf("%s: %v", dir, err)
		}
	}
}

// What another user has is not trusted because a descriptor of this process leads there.
func TestFileOnADescriptor(t *testing.T) {
	top := tree(t, "d/ 755 61001:61001\nd/f 644 61001:61001\nown 600 0:0\n")
	t.Chdir(top)
	descriptor := func(name string) uintptr {
		f, err := os.Open(name)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { f.Close() })
		return f.Fd()
	}
	for path, want := range map[string]string{
		fmt.Sprintf("/dev/fd/%d", descriptor("own")):       "",
		fmt.Sprintf("/dev/fd/%d", descriptor("d/f")):       "belongs to user 61001",
		fmt.Sprintf("/proc/self/fd/%d/f", descriptor("d")): "belongs to user 61001",
		"/proc/self/fd/../../self/cwd/d/f":                 "belongs to user 61001",
		"/proc/self/fd/..":                                 "",
	} {
		if _, err := trust.File(path); want == "" && err != nil || want != "" && (err == nil || !strings.Contains(err.Error(), want)) {
			t.Errorf("%s: %v; want %q", path, err, want)
		}
	}
}

// In a user namespace all other users are one, to whom also the root directory belongs.
func TestFileInAUserNamespace(t *testing.T) {
	if os.Getenv("EXACTAUTH_TEST_NAMESPACE") != "" {
		_, err := trust.File(os.Getenv("EXACTAUTH_TEST_NAMESPACE"))
		fmt.Println("judged:", err)
		return
	}
	top := tree(t, "f 644 61001:61001")
	cmd := exec.Command(os.Args[0], "-test.run=^TestFileInAUserNamespace$", "-test.v")
	cmd.Env = append(os.Environ(), "EXACTAUTH_TEST_NAMESPACE="+filepath.Join(top, "f"))
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWUSER, UidMappings: []syscall.SysProcIDMap{{ContainerID: 1000, HostID: 0, Size: 1}}}
	out, err := cmd.CombinedOutput()
	if errors.Is(err, syscall.EPERM) || errors.Is(err, syscall.ENOSPC) {
		t.Skip("no user namespace can be made here: ", err)
	}
	if err != nil || !strings.Contains(string(out), "belongs to user") {
		t.Errorf("%v: %s", err, out)
	}
}

// Kubernetes mounts a ConfigMap with modes that are open to all, and read-only.
func TestFileOnAReadOnlyFileSystem(t *testing.T) {
	top := tree(t, "m/ 755 0:0")
	dir := filepath.Join(top, "m")
	if err := syscall.Mount("none", dir, "tmpfs", 0, "mode=777,size=64k"); err != nil {
		t.Skip("nothing can be mounted here: ", err)
	}
	defer syscall.Unmount(dir, syscall.MNT_DETACH)
	file := filepath.Join(dir, "f")
	if err := errors.Join(os.WriteFile(file, nil, 0o600), os.Chmod(file, 0o666)); err != nil {
		t.Fatal(err)
	}
	_, err := trust.File(file)
	judge(t, err, "m: every user")
	if err := syscall.Mount("none", dir, "tmpfs", syscall.MS_REMOUNT|syscall.MS_RDONLY, ""); err != nil {
		t.Fatal(err)
	}
	_, err = trust.File(file)
	judge(t, err, "")
}

// Who listens at a socket counts, not where it is: a database's may be in /tmp.
func TestServer(t *testing.T) {
	top := tree(t, "s/ 1777 0:0")
	postgres := 999
	if u, err := user.Lookup("postgres"); err == nil {
		postgres, _ = strconv.Atoi(u.Uid)
	}
	for uid, want := range map[int]string{0: "", 999: "", postgres: "", anna: "", 1000: "belongs to user 1000", mallory: "belongs to user 61002", 65534: "belongs to user 65534"} {
		path := filepath.Join(top, "s", strconv.Itoa(uid))
		var l net.Listener
		var err error
		as(t, uid, func() { l, err = net.Listen("unix", path) })
		if err == nil {
			err = os.Chmod(path, 0o777)
		}
		if err != nil {
			t.Fatal(err)
		}
		defer l.Close()
		as(t, anna, func() {
			c, err := net.Dial("unix", path)
			if err != nil {
				t.Error(err)
				return
			}
			defer c.Close()
			judge(t, trust.Server(c.(*net.UnixConn), path), want)
		})
	}
}

func TestReadRefusesWhatIsTooLarge(t *testing.T) {
	file := filepath.Join(t.TempDir(), "f")
	for _, size := range []int{0, 64 << 10, 64<<10 + 1} {
		if err := os.WriteFile(file, make([]byte, size), 0o600); err != nil {
			t.Fatal(err)
		}
		b, _, err := trust.Read(t.Context(), file, trust.Secret)
		if tooLarge := size > 64<<10; (err != nil) != tooLarge || !tooLarge && len(b) != size {
			t.Errorf("%d bytes: %d are read, %v", size, len(b), err)
		}
	}
}
