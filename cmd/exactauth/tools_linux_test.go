package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"syscall"

	"github.com/rogpeppe/go-internal/testscript"
	"golang.org/x/sys/unix"
)

func inode(info fs.FileInfo) string { return fmt.Sprint(info.Sys().(*syscall.Stat_t).Ino) }

// unprivilegedMain runs a command to which permissions apply even as root.
func unprivilegedMain() {
	runtime.LockOSThread()
	const dropCapability, chown, dacOverride, dacReadSearch = 24, 0, 1, 2
	for _, capability := range []uintptr{chown, dacOverride, dacReadSearch} {
		_, _, errno := syscall.RawSyscall(syscall.SYS_PRCTL, dropCapability, capability, 0)
		if errno != 0 && os.Geteuid() == 0 {
			fmt.Fprintln(os.Stderr, "unprivileged:", errno)
			os.Exit(127)
		}
	}
	replaceSelf(os.Args[1:])
}

// userMain: user N CMD [ARG...] runs CMD as the user with that number, in the group with
// the same number alone. The other users of the machine can enter the script's directory
// from then on.
func userMain() {
	id, err := strconv.Atoi(os.Args[1])
	self, exeErr := os.Executable()
	err = errors.Join(err, exeErr)
	for _, dir := range []string{filepath.Dir(self), os.Getenv("WORK")} { // and the temporary directory that each is in
		err = errors.Join(err, os.Chmod(dir, 0o755), os.Chmod(filepath.Dir(dir), 0o755))
	}
	syscall.Umask(0o022)
	if err = errors.Join(err, syscall.Setgroups(nil), syscall.Setgid(id), syscall.Setuid(id)); err != nil {
		fmt.Fprintln(os.Stderr, "user:", err)
		os.Exit(127)
	}
	replaceSelf(os.Args[2:])
}

// peakMain: peak MIB CMD [ARG...] runs CMD, which must succeed with no more memory than
// that.
func peakMain() {
	cmd := exec.Command(os.Args[2], os.Args[3:]...)
	cmd.Stdout, cmd.Stderr = os.Stdout, os.Stderr
	most, err := strconv.Atoi(os.Args[1])
	if err = errors.Join(err, cmd.Run()); err == nil {
		peak := int(cmd.ProcessState.SysUsage().(*syscall.Rusage).Maxrss) >> 10
		fmt.Fprintln(os.Stderr, "peak MiB:", peak)
		if peak > most {
			err = errors.New("too much memory")
		}
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "peak:", err)
		os.Exit(1)
	}
}

// canMount reports whether this user may mount, by trying it.
var canMount = sync.OnceValue(func() bool {
	dir, err := os.MkdirTemp("", "exactauth-mount-")
	if err != nil {
		return false
	}
	defer os.Remove(dir)
	if syscall.Mount("none", dir, "tmpfs", 0, "size=64k") != nil {
		return false
	}
	return syscall.Unmount(dir, 0) == nil
})

// cmdTmpfs: tmpfs DIR SIZE mounts a small disk there.
func cmdTmpfs(ts *testscript.TestScript, neg bool, args []string) {
	dir := ts.MkAbs(args[0])
	ts.Check(os.MkdirAll(dir, 0o700))
	ts.Check(syscall.Mount("none", dir, "tmpfs", 0, "mode=700,size="+args[1]))
	ts.Defer(func() {
		if err := syscall.Unmount(dir, syscall.MNT_DETACH); err != nil {
			ts.Logf("%s stays mounted: %v", dir, err)
		}
	})
}

// openTerminal returns the two ends of a terminal: ours and the program's.
func openTerminal() (us, them *os.File, err error) {
	us, err = os.OpenFile("/dev/ptmx", os.O_RDWR|syscall.O_NOCTTY, 0)
	if err != nil {
		return nil, nil, err
	}
	fd := int(us.Fd())
	if err := unix.IoctlSetPointerInt(fd, unix.TIOCSPTLCK, 0); err != nil {
		return nil, nil, err
	}
	n, err := unix.IoctlGetInt(fd, unix.TIOCGPTN)
	if err != nil {
		return nil, nil, err
	}
	if columns, err := strconv.Atoi(os.Getenv("TTY_COLUMNS")); err == nil { // without a size it reports none
		if err := unix.IoctlSetWinsize(fd, unix.TIOCSWINSZ, &unix.Winsize{Row: 24, Col: uint16(columns)}); err != nil {
			return nil, nil, err
		}
	}
	them, err = os.OpenFile(fmt.Sprintf("/dev/pts/%d", n), os.O_RDWR|syscall.O_NOCTTY, 0)
	return us, them, err
}

// noTerminal opens a terminal without making it that of this process's session.
const noTerminal = syscall.O_NOCTTY

// startSession has cmd start in a session of its own, with its terminal.
func startSession(cmd *exec.Cmd) { cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Setctty: true} }

// terminalModes returns which of the modes that a shell's prompt relies on are on.
func terminalModes(us *os.File) (string, error) {
	t, err := unix.IoctlGetTermios(int(us.Fd()), unix.TCGETS)
	if err != nil {
		return "", err
	}
	var on []string
	if t.Lflag&unix.ECHO != 0 {
		on = append(on, "echo")
	}
	if t.Lflag&unix.ICANON != 0 {
		on = append(on, "lines")
	}
	return strings.Join(on, " "), nil
}
