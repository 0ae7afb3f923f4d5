package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"syscall"
)

// runInside runs this program again in namespaces of its own: mounts, so that it
// can have full and read-only file systems, and processes, so that none outlives
// it. It reports false if this machine does not allow that.
func runInside(dir string, args []string, out, errOut io.Writer) (code int, ok bool) {
	self, err := os.Executable()
	if err != nil {
		return 0, false
	}
	signals := make(chan os.Signal, 4)
	signal.Notify(signals, os.Interrupt, syscall.SIGTERM)

	attr := &syscall.SysProcAttr{
		Cloneflags: syscall.CLONE_NEWNS | syscall.CLONE_NEWPID,
		Setpgid:    true, // Ctrl-C reaches it once, from here
		Pdeathsig:  syscall.SIGKILL,
	}
	if os.Geteuid() != 0 {
		attr.Cloneflags |= syscall.CLONE_NEWUSER
		attr.UidMappings = []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Geteuid(), Size: 1}}
		attr.GidMappings = []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getegid(), Size: 1}}
	}
	cmd := exec.Command(self, args...)
	cmd.Env = append(os.Environ(), insideEnv+"="+dir)
	cmd.Stdout, cmd.Stderr = out, errOut
	cmd.SysProcAttr = attr
	if err := cmd.Start(); err != nil {
		signal.Stop(signals)
		return 0, false
	}
	go func() {
		for s := range signals {
			_ = cmd.Process.Signal(s) // it may have ended
		}
	}()
	err = cmd.Wait()
	signal.Stop(signals)
	close(signals)
	if exit := (*exec.ExitError)(nil); err != nil && !errors.As(err, &exit) {
		fmt.Fprintln(errOut, "torture:", err)
	}
	if !cmd.ProcessState.Exited() {
		return 2, true
	}
	return cmd.ProcessState.ExitCode(), true
}

// mountSmall mounts a file system at dir that is soon full.
func mountSmall(dir string) error {
	// Nothing mounted here may be seen outside.
	if err := syscall.Mount("", "/", "", syscall.MS_REC|syscall.MS_PRIVATE, ""); err != nil {
		return err
	}
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

func fileSystem(dir string) string {
	var s syscall.Statfs_t
	if err := syscall.Statfs(filepath.Clean(dir), &s); err != nil {
		return "unknown"
	}
	switch uint32(s.Type) {
	case 0xef53:
		return "ext4"
	case 0x01021994:
		return "tmpfs"
	case 0x9123683e:
		return "btrfs"
	case 0x58465342:
		return "xfs"
	case 0x794c7630:
		return "overlayfs"
	}
	return fmt.Sprintf("file system %#x", uint32(s.Type))
}
