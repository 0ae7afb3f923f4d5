package exactauth

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

// portHolder names the process that listens on a TCP port of this machine, as
// "python3 (process 4121)", as far as /proc tells this user; else it is empty.
func portHolder(port string) string {
	n, err := strconv.Atoi(port)
	if err != nil {
		return ""
	}
	inodes := map[string]bool{}
	for _, table := range []string{"/proc/net/tcp", "/proc/net/tcp6"} {
		b, err := os.ReadFile(table)
		if err != nil {
			continue
		}
		for line := range strings.Lines(string(b)) {
			f := strings.Fields(line) // proc(5): 1 is the local address, 3 the state (0A listens), 9 the inode
			if len(f) > 9 && f[3] == "0A" && strings.HasSuffix(f[1], fmt.Sprintf(":%04X", n)) {
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
				return fmt.Sprintf("%s (process %s)", printable(string(name)), process)
			}
		}
	}
	return ""
}
