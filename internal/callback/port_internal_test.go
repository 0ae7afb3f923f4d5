package callback

import (
	"errors"
	"net"
	"os"
	"strings"
	"syscall"
	"testing"

	"github.com/exactauth/exactauth/internal/fault"
)

// A port that Windows has reserved is not called a port in use or below 1024.
func TestForbiddenPort(t *testing.T) {
	for number, want := range map[syscall.Errno]string{
		10013: "cannot listen on port 8484: Windows has it in an excluded port range, as Hyper-V and WSL reserve them (netsh interface ipv4 show excludedportrange protocol=tcp), or a program",
		10048: "port 8484 of 127.0.0.1 is in use by ",
	} {
		err := listenError("127.0.0.1:8484", &net.OpError{Op: "listen", Net: "tcp", Err: os.NewSyscallError("bind", number)})
		if !errors.Is(err, ErrPort) || !errors.Is(err, fault.ErrConfig) || !strings.HasPrefix(err.Error(), want) {
			t.Errorf("%d: %v", number, err)
		}
	}
}
