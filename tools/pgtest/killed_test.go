package pgtest

import (
	"bufio"
	"net"
	"os"
	"os/exec"
	"testing"
	"time"
)

// The server of a test binary that is killed stops; its files remain.
func TestKilled(t *testing.T) {
	notOnWindows(t)
	const inside = "EXACTAUTH_PGTEST_KILLED"
	if os.Getenv(inside) != "" {
		os.Stdout.WriteString(Start(t).port + "\n")
		select {} // until killed
	}
	Need(t)
	// Not t.TempDir: the server's account may not enter it.
	dir, err := os.MkdirTemp("", "exactauth-killed-")
	if err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(dir)
	if err := os.Chmod(dir, 0o711); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(os.Args[0], "-test.run=^TestKilled$")
	cmd.Env = append(os.Environ(), inside+"=1", "TMPDIR="+dir)
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	lines := bufio.NewScanner(out)
	lines.Scan()
	port := lines.Text()
	conn, dialErr := net.Dial("tcp", "127.0.0.1:"+port)
	cmd.Process.Kill()
	cmd.Wait()
	if dialErr != nil {
		t.Fatalf("the server of another process, %q: %v", port, dialErr)
	}
	conn.Close()
	for range 1000 {
		if conn, err = net.Dial("tcp", "127.0.0.1:"+port); err != nil {
			return
		}
		conn.Close()
		time.Sleep(10 * time.Millisecond)
	}
	t.Error("the server outlives the test binary that started it")
}
