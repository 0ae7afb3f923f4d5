//go:build linux

package main

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"syscall"

	"golang.org/x/sys/unix"
)

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

// mountSmall mounts a file system at dir that is soon full.
func mountSmall(dir string) error {
	return syscall.Mount("torture", dir, "tmpfs", 0, "size=256k,nr_inodes=24,mode=0700")
}

func remount(dir string, readOnly bool) error {
	var flags uintptr = syscall.MS_REMOUNT
	if readOnly {
		flags |= syscall.MS_RDONLY
	}
	return syscall.Mount("torture", dir, "tmpfs", flags, "")
}

func unmount(dir string) { _ = syscall.Unmount(dir, syscall.MNT_DETACH) }

// spoilDisk makes a machine's state directory unusable, as far as this world can. It
// reports whether there is certainly no room for an answer. What it cannot do is left to
// a limit of the file size.
func (w *world) spoilDisk(f diskFault) (noRoom bool, err error) {
	m := w.machines[f.machine]
	left, _ := filepath.Glob(filepath.Join(m.state, "*.tmp")) // room that a killed process made
	switch {
	case f.kind == diskReadOnly && m.mounted:
		return true, remount(m.fs, true)
	case f.kind == diskReadOnly && os.Geteuid() != 0:
		return true, os.Chmod(m.state, 0o500)
	case f.kind == diskFull && m.mounted:
		return len(left) == 0 && f.spare < 4, fillPages(m.fs, f.spare)
	case f.kind == diskNoInodes && m.mounted:
		return len(left) == 0 && f.spare == 0, fillInodes(m.fs, f.spare)
	}
	return false, nil
}

const ballast = "ballast" // begins the names of the files that fill a disk

func fillPages(dir string, spare int) error {
	f, err := os.Create(filepath.Join(dir, ballast))
	if err != nil {
		return err
	}
	defer f.Close()
	page, size := make([]byte, 4096), 0
	for ; ; size += len(page) {
		if _, err := f.Write(page); err != nil {
			break // full
		}
	}
	return f.Truncate(int64(max(0, size-spare*len(page))))
}

func fillInodes(dir string, spare int) error {
	var made []string
	for {
		name := filepath.Join(dir, ballast+strconv.Itoa(len(made)))
		f, err := os.Create(name)
		if err != nil {
			break // none left
		}
		f.Close()
		made = append(made, name)
	}
	var errs []error
	for _, name := range made[max(0, len(made)-spare):] {
		errs = append(errs, os.Remove(name))
	}
	return errors.Join(errs...)
}

func (w *world) healDisk() {
	for _, m := range w.machines {
		if !m.mounted {
			_ = os.Chmod(m.state, 0o700)
			continue
		}
		_ = remount(m.fs, false)
		files, _ := filepath.Glob(filepath.Join(m.fs, ballast+"*"))
		for _, name := range files {
			os.Remove(name)
		}
	}
}
