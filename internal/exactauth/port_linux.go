package exactauth

import (
	"fmt"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/exactauth/exactauth/internal/fault"
)

// portHolder names the process that listens on a loopback address, or on all
// addresses, in the way of addr, as "python3 (process 4121)", as far as /proc
// tells this user; else it is empty.
func portHolder(addr string) string {
	_, port, err := net.SplitHostPort(addr)
	if err != nil {
		return ""
	}
	n, err := strconv.Atoi(port)
	if err != nil {
		return ""
	}
	inTheWay := []string{ // as proc(5) writes them: words in the machine's byte order, little-endian here
		"0100007F", "00000000", "00000000000000000000000000000000",
		"00000000000000000000000001000000", "0000000000000000FFFF00000100007F",
	}
	inodes := map[string]bool{}
	for _, table := range []string{"/proc/net/tcp", "/proc/net/tcp6"} {
		b, err := os.ReadFile(table)
		if err != nil {
			continue
		}
		for line := range strings.Lines(string(b)) {
			f := strings.Fields(line) // proc(5): 1 is the local address, 3 the state (0A listens), 9 the inode
			if len(f) < 10 || f[3] != "0A" {
				continue
			}
			host, isPort := strings.CutSuffix(f[1], fmt.Sprintf(":%04X", n))
			if isPort && slices.Contains(inTheWay, host) {
				inodes["socket:["+f[9]+"]"] = true
			}
		}
	}
	if len(inodes) == 0 {
		return ""
	}
	handles, err := filepath.Glob("/proc/[0-9]*/fd/*")
	if err != nil {
		return ""
	}
	for _, h := range handles {
		if target, err := os.Readlink(h); err == nil && inodes[target] {
			process := strings.Split(h, "/")[2]
			if name, err := os.ReadFile("/proc/" + process + "/comm"); err == nil {
				return fmt.Sprintf("%s (process %s)", fault.Printable(string(name)), process)
			}
		}
	}
	return ""
}
