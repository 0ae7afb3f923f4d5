package callback

import (
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"syscall"

	"github.com/exactauth/exactauth/internal/fault"
)

// Windows Sockets' own error numbers, which the names of the syscall package do not
// match. Other systems do not return them.
const (
	wsaAddressInUse = syscall.Errno(10048) // WSAEADDRINUSE
	wsaForbidden    = syscall.Errno(10013) // WSAEACCES
)

func isInUse(err error) bool {
	return errors.Is(err, syscall.EADDRINUSE) || errors.Is(err, wsaAddressInUse)
}

func listenError(addr string, err error) error {
	host, port, _ := net.SplitHostPort(addr)
	switch {
	case isInUse(err):
		holder := portHolder(port)
		if holder == "" {
			holder = "another program, maybe another sign-in"
		}
		return fault.New(ErrPort, "port %s of %s is in use by %s", port, host, holder)
	case errors.Is(err, wsaForbidden):
		return fault.New(ErrPort, "cannot listen on port %s: Windows has it in an excluded port range, as Hyper-V and WSL reserve them "+
			"(netsh interface ipv4 show excludedportrange protocol=tcp), or a program holds it for itself alone", port)
	case errors.Is(err, syscall.EACCES):
		return fault.New(ErrPort, "cannot listen on port %s: this user may not listen on ports below 1024", port)
	}
	return fault.New(ErrPort, "cannot listen on %s: %s", addr, fault.Printable(err.Error()))
}

// portHolder names the process that listens on a port of a loopback address or of all
// addresses, such as "python3 (process 4121)", as far as Linux shows it to this user;
// otherwise it returns an empty string.
func portHolder(port string) string {
	n, err := strconv.Atoi(port)
	if err != nil || runtime.GOOS != "linux" {
		return ""
	}
	inTheWay := []string{ // as proc(5) writes them: words in the machine's byte order, little-endian here
		"0100007F", "00000000", "00000000000000000000000000000000",
		"00000000000000000000000001000000", "0000000000000000FFFF00000100007F",
	}
	sockets := map[string]bool{} // as links of file descriptors name them
	for _, table := range []string{"/proc/net/tcp", "/proc/net/tcp6"} {
		b, _ := os.ReadFile(table) // there may be no IPv6
		for line := range strings.Lines(string(b)) {
			f := strings.Fields(line) // proc(5): 1 is the local address, 3 the state (0A listens), 9 the inode
			if len(f) < 10 || f[3] != "0A" {
				continue
			}
			host, isPort := strings.CutSuffix(f[1], fmt.Sprintf(":%04X", n))
			if isPort && slices.Contains(inTheWay, host) {
				sockets["socket:["+f[9]+"]"] = true
			}
		}
	}
	if len(sockets) == 0 {
		return ""
	}
	descriptors, _ := filepath.Glob("/proc/[0-9]*/fd/*") // the pattern is valid
	for _, d := range descriptors {
		if target, err := os.Readlink(d); err == nil && sockets[target] {
			process := strings.Split(d, "/")[2]
			if name, err := os.ReadFile("/proc/" + process + "/comm"); err == nil {
				return fmt.Sprintf("%s (process %s)", fault.Printable(string(name)), process)
			}
		}
	}
	return ""
}
