package main

import (
	"context"
	"os"
	"syscall"
)

// ownClaim is of use behind a front, which is not there.
func ownClaim() {}

const errNoExec = syscall.Errno(193) // ERROR_BAD_EXE_FORMAT

// moreRelayed are further signals that must not end this program while a child
// runs. The console sends Ctrl-C to both.
func moreRelayed() []os.Signal { return nil }

// become runs a program in this one's stead: Windows cannot replace a process.
// Its exit code becomes ours.
func (a *app) become(ctx context.Context, path string, args, env []string) error {
	return a.runChild(ctx, path, args, env)
}
