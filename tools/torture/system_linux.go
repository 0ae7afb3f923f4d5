//go:build linux

package main

import (
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

const (
	life  = time.Second           // of an access token; expires_in cannot say less
	aCall = 60 * time.Millisecond // about what a call takes that refreshes, where nothing else runs

	// sorts is the number of different traits. The number of worlds is a multiple of it and
	// world i plays the rounds i, i+worlds, …, so a round's number decides its traits.
	sorts  = 16
	worlds = 16 // for each CPU
)

// possible returns the signal that a process can be sent for s, and impossible the scenarios
// that this system cannot play.
func possible(s syscall.Signal) syscall.Signal { return s }

var impossible []string

func strike(p *os.Process, s syscall.Signal) error { return p.Signal(s) }

// enterNamespace replaces this process by itself in a mount namespace of its own, so that it
// can have full and read-only file systems. It returns if the machine does not allow that.
func enterNamespace() {
	unshare := []string{"unshare", "--mount"}
	if os.Geteuid() != 0 {
		unshare = append(unshare, "--map-root-user")
	}
	self, selfErr := os.Executable()
	path, err := exec.LookPath(unshare[0])
	if selfErr == nil && err == nil && exec.Command(path, append(unshare[1:], "true")...).Run() == nil {
		_ = syscall.Exec(path, slices.Concat(unshare, []string{self}, os.Args[1:]), append(os.Environ(), insideEnv+"=1"))
	}
}

// hasPort reports whether a child of this process has a socket at a local TCP port.
func hasPort(pid, port int) bool {
	process, err := unix.PidfdOpen(pid, 0)
	if err != nil {
		return false
	}
	defer unix.Close(process)
	entries, _ := os.ReadDir(fmt.Sprintf("/proc/%d/fd", pid)) // none once it has ended
	for _, e := range entries {
		n, err := strconv.Atoi(e.Name())
		if err != nil {
			continue
		}
		fd, err := unix.PidfdGetfd(process, n, 0)
		if err != nil {
			continue
		}
		address, _ := unix.Getsockname(fd) // fails for what is no socket
		unix.Close(fd)
		if a, ok := address.(*unix.SockaddrInet4); ok && a.Port == port {
			return true
		}
	}
	return false
}

// smallDisk are the options of a file system that is soon full.
const smallDisk = "size=256k,nr_inodes=24,mode=0700"

func mountSmall(dir string) error { return unix.Mount("torture", dir, "tmpfs", 0, smallDisk) }

func unmount(dir string) { _ = unix.Unmount(dir, unix.MNT_DETACH) }

// limitFileSize returns a command line whose program cannot write larger files.
func limitFileSize(blocks int, args []string) []string {
	return append([]string{"/bin/sh", "-c", `ulimit -f "$0" && exec "$@"`, strconv.Itoa(blocks)}, args...)
}

// openToOthers reports how others can get at a file of exactauth's; empty if they cannot.
func openToOthers(_ string, info fs.FileInfo) string {
	if info.Mode() != 0o600 {
		return "mode " + info.Mode().String()
	}
	return ""
}

func remount(dir string, flags uintptr, options string) error {
	return unix.Mount("torture", dir, "tmpfs", unix.MS_REMOUNT|flags, options)
}

// spoilDisk makes a machine's state directory unusable, as far as this world can. It
// reports whether there is certainly no room for an answer. What it cannot do is left to
// a limit of the file size.
func (w *world) spoilDisk(f diskFault) (noRoom bool, err error) {
	m := w.machines[f.machine]
	if !m.mounted {
		if f.kind != diskReadOnly || os.Geteuid() == 0 {
			return false, nil
		}
		return true, os.Chmod(m.state, 0o500)
	}
	if f.kind == diskReadOnly {
		return true, remount(m.fs, unix.MS_RDONLY, "")
	}
	left, _ := filepath.Glob(filepath.Join(m.state, "*.tmp")) // room that a killed process made
	var s unix.Statfs_t
	if err := unix.Statfs(m.fs, &s); err != nil {
		return false, err
	}
	if f.kind == diskNoInodes {
		return len(left) == 0 && f.spare == 0, remount(m.fs, 0, fmt.Sprintf("nr_inodes=%d", s.Files-s.Ffree+uint64(f.spare)))
	}
	pages := max(1, s.Blocks-s.Bfree+uint64(f.spare)) // 0 would be no limit
	return len(left) == 0 && f.spare < 4, remount(m.fs, 0, fmt.Sprintf("size=%d", pages*uint64(s.Bsize)))
}

func (w *world) healDisk() {
	for _, m := range w.machines {
		if m.mounted {
			_ = remount(m.fs, 0, smallDisk)
		} else {
			_ = os.Chmod(m.state, 0o700)
		}
	}
}
