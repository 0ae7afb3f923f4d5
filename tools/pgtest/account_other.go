//go:build !linux

package pgtest

import (
	"errors"
	"os"
	"syscall"
)

// An account is whom the server runs as: here whoever runs the tests.
type account struct{}

func unprivileged() (*account, error) {
	if os.Geteuid() == 0 {
		return nil, errors.New("PostgreSQL does not run as root, and these tests change the user on Linux only")
	}
	return nil, nil
}

func (*account) attributes() *syscall.SysProcAttr { return nil }

func (*account) own(string) error { return nil }
