//go:build linux && (amd64 || arm64)

package main

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/exactauth/exactauth/tools/program"
)

// kind is a system call of interest: the argument with a descriptor, and the one with a path
// below that, if it has one; and the errors that it can fail with.
type kind struct {
	name     string
	fd, path int
	errnos   []unix.Errno
}

// kinds are the system calls that the program changes files, locks and connections
// with, and those that it reads files with. It has no others: Go's os package uses the
// calls with "at" only.
func kinds() map[int32]kind {
	return map[int32]kind{
		unix.SYS_OPENAT:     {"openat", 0, 1, []unix.Errno{unix.EMFILE, unix.EIO, unix.EACCES, unix.EINTR}},
		unix.SYS_READ:       {"read", 0, 0, []unix.Errno{unix.EIO}},
		unix.SYS_WRITE:      {"write", 0, 0, []unix.Errno{unix.ENOSPC, unix.EIO}},
		unix.SYS_PWRITE64:   {"pwrite", 0, 0, []unix.Errno{unix.ENOSPC, unix.EIO}},
		unix.SYS_FSYNC:      {"fsync", 0, 0, []unix.Errno{unix.EIO, unix.ENOSPC, unix.EINTR}},
		unix.SYS_FTRUNCATE:  {"ftruncate", 0, 0, []unix.Errno{unix.EIO, unix.EPERM}},
		unix.SYS_FALLOCATE:  {"fallocate", 0, 0, []unix.Errno{unix.ENOSPC, unix.EIO, unix.EOPNOTSUPP, unix.EINTR}},
		unix.SYS_FLOCK:      {"flock", 0, 0, []unix.Errno{unix.ENOLCK, unix.EINTR, unix.EIO}},
		unix.SYS_RENAMEAT:   {"renameat", 2, 3, []unix.Errno{unix.EBUSY, unix.EPERM, unix.EIO, unix.ENOSPC}},
		unix.SYS_LINKAT:     {"linkat", 2, 3, []unix.Errno{unix.EPERM, unix.EIO}},
		unix.SYS_UNLINKAT:   {"unlinkat", 0, 1, []unix.Errno{unix.EBUSY, unix.EPERM, unix.EIO}},
		unix.SYS_MKDIRAT:    {"mkdirat", 0, 1, []unix.Errno{unix.ENOSPC, unix.EACCES}},
		unix.SYS_FCHMOD:     {"fchmod", 0, 0, []unix.Errno{unix.EPERM, unix.EIO}},
		unix.SYS_FCHMODAT:   {"fchmodat", 0, 1, []unix.Errno{unix.EPERM, unix.EIO}},
		unix.SYS_NEWFSTATAT: {"fstatat", 0, 1, []unix.Errno{unix.EIO, unix.EACCES}},
		unix.SYS_SOCKET:     {"socket", 0, 0, []unix.Errno{unix.EMFILE}},
		unix.SYS_CONNECT:    {"connect", 0, 0, []unix.Errno{unix.ECONNREFUSED, unix.EADDRNOTAVAIL}},
	}
}

// notification and response are the kernel's struct seccomp_notif and
// seccomp_notif_resp (linux/seccomp.h), which x/sys/unix does not have.
type notification struct {
	id         uint64
	pid, flags uint32
	nr         int32
	arch       uint32
	ip         uint64
	args       [6]uint64
}

type response struct {
	id    uint64
	value int64
	errno int32
	flags uint32
}

// installCommand is the first argument of a process that becomes the program.
const installCommand = "install-filter-and-exec"

// install has the kernel report the system calls of interest of this thread, sends the
// descriptor of the reports over descriptor 3, and becomes the program argv, which
// inherits the filter. It returns only with an error.
func install(argv []string) error {
	const listenerSocket = 3
	runtime.LockOSThread()
	if err := unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0); err != nil {
		return fmt.Errorf("no_new_privs: %w", err)
	}
	// Not a sandbox: a call by another architecture's number would only go unnoticed.
	filter := []unix.SockFilter{{Code: unix.BPF_LD | unix.BPF_W | unix.BPF_ABS, K: 0}}
	for nr := range kinds() {
		filter = append(filter, unix.SockFilter{Code: unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K, Jf: 1, K: uint32(nr)},
			unix.SockFilter{Code: unix.BPF_RET, K: unix.SECCOMP_RET_USER_NOTIF})
	}
	filter = append(filter, unix.SockFilter{Code: unix.BPF_RET, K: unix.SECCOMP_RET_ALLOW})
	program := unix.SockFprog{Len: uint16(len(filter)), Filter: &filter[0]}
	// With "wait killable" a signal of Go's scheduler does not make the kernel report a call twice.
	listener, _, errno := unix.Syscall(unix.SYS_SECCOMP, unix.SECCOMP_SET_MODE_FILTER,
		unix.SECCOMP_FILTER_FLAG_NEW_LISTENER|unix.SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV, uintptr(unsafe.Pointer(&program)))
	if errno != 0 {
		return fmt.Errorf("seccomp: %w", errno)
	}
	if err := unix.Sendmsg(listenerSocket, []byte{0}, unix.UnixRights(int(listener)), nil, 0); err != nil {
		return fmt.Errorf("send the listener: %w", err)
	}
	unix.CloseOnExec(listenerSocket)
	return syscall.Exec(argv[0], argv, os.Environ())
}

// decision says what becomes of a system call: it fails with an errno, or the process is
// killed, or it is made.
type decision func(*notification) (errno unix.Errno, kill bool)

// runSupervised runs a process and asks decide about each of its system calls of interest.
func runSupervised(p *program.Process, decide decision) error {
	self, err := os.Executable()
	if err != nil {
		return err
	}
	pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(pair[0])
	theirs := os.NewFile(uintptr(pair[1]), "socket")
	p.Path, p.Args, p.ExtraFiles = self, append([]string{self, installCommand}, p.Args...), []*os.File{theirs}
	err = p.Start()
	theirs.Close()
	if err != nil {
		return err
	}
	defer p.End()
	// What install sends: it is 16 bytes of header and the descriptor.
	rights := make([]byte, unix.CmsgSpace(4))
	_, n, _, _, err := unix.Recvmsg(pair[0], make([]byte, 1), rights, unix.MSG_CMSG_CLOEXEC)
	if err != nil || n != len(rights) {
		return fmt.Errorf("no seccomp listener (Linux 5.19 is needed): %w", err)
	}
	listener := int(binary.NativeEndian.Uint32(rights[unix.CmsgLen(0):]))
	defer unix.Close(listener)
	return supervise(listener, decide, p.Process.Kill)
}

// supervise returns when the process and its children have ended.
func supervise(listener int, decide decision, kill func() error) error {
	for {
		ready := []unix.PollFd{{Fd: int32(listener), Events: unix.POLLIN}}
		if _, err := unix.Poll(ready, -1); err == unix.EINTR {
			continue
		} else if err != nil {
			return err
		}
		if ready[0].Revents&unix.POLLIN == 0 {
			return nil
		}
		n := new(notification)
		switch err := ioctl(listener, unix.SECCOMP_IOCTL_NOTIF_RECV, unsafe.Pointer(n)); err {
		case 0:
		case unix.EINTR, unix.ENOENT: // the thread has died
			continue
		default:
			return err
		}
		failure, killed := decide(n)
		if killed {
			_ = kill() // another thread may have ended the process
			continue
		}
		r := response{id: n.id, errno: -int32(failure)}
		if failure == 0 {
			r.flags = unix.SECCOMP_USER_NOTIF_FLAG_CONTINUE
		}
		if err := ioctl(listener, unix.SECCOMP_IOCTL_NOTIF_SEND, unsafe.Pointer(&r)); err != 0 && err != unix.ENOENT {
			return err
		}
	}
}

func ioctl(fd int, request uint, arg unsafe.Pointer) unix.Errno {
	_, _, errno := unix.Syscall(unix.SYS_IOCTL, uintptr(fd), uintptr(request), uintptr(arg))
	return errno
}

type call struct {
	kind
	on string // a path, below the run's directory if it can be, or "socket" or "stdout"
}

func (c call) String() string { return c.name + " " + c.on }

func (c call) stored() bool { return c.on != "socket" && c.on != "stdout" }

// alike reports whether both calls are of one kind, and in one place that fails as a
// whole: a directory of the trial, the network, stdout.
func (c call) alike(d call) bool {
	place, _, _ := strings.Cut(c.on, "/")
	other, _, _ := strings.Cut(d.on, "/")
	return c.name == d.name && place == other
}

// callOf returns the call that was reported. It is not ok if the call is about what the
// program has no say in: the runtime's own files, the system's, stderr.
func callOf(n *notification, dir string) (c call, ok bool) {
	c.kind = kinds()[n.nr]
	fd := n.args[c.fd]
	c.on = pathOf(n, fd)
	switch socket := strings.HasPrefix(c.on, "socket:"); {
	case c.name == "socket", socket && c.name != "read":
		c.on = "socket"
		return c, true
	case c.name == "write" && int32(fd) == 1:
		c.on = "stdout"
		return c, true
	case c.path > 0:
		c.on = pathAt(n, c.on, n.args[c.path])
	}
	for _, top := range []string{"/proc/", "/sys/", "/etc/", "/usr/", "/.dockerenv"} {
		if strings.HasPrefix(c.on, top) || !filepath.IsAbs(c.on) { // a pipe, an eventfd, stderr, reads of a socket
			return c, false
		}
	}
	if inside, found := strings.CutPrefix(c.on, dir+"/"); found {
		c.on = inside
	}
	return c, true
}

// pathOf returns the path of a descriptor, or what the kernel calls it.
func pathOf(n *notification, fd uint64) string {
	name := "cwd"
	if int32(fd) != unix.AT_FDCWD {
		name = "fd/" + strconv.Itoa(int(int32(fd)))
	}
	path, _ := os.Readlink(fmt.Sprintf("/proc/%d/%s", n.pid, name)) // "" if it is closed
	return path
}

// pathAt returns the path that a call names with a directory and the address of a string.
func pathAt(n *notification, dir string, address uint64) string {
	var name []byte
	if mem, err := os.Open(fmt.Sprintf("/proc/%d/mem", n.pid)); err == nil {
		defer mem.Close()
		name = make([]byte, unix.PathMax)
		got, _ := mem.ReadAt(name, int64(address)) // perhaps less, at the end of a mapping
		name, _, _ = bytes.Cut(name[:got], []byte{0})
	}
	if filepath.IsAbs(string(name)) {
		return string(name)
	}
	return filepath.Join(dir, string(name))
}
