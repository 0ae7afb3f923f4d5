package main

import (
	"context"
	"os"
	"syscall"
)

const errNoExec = syscall.Errno(193) // ERROR_BAD_EXE_FORMAT

// moreRelayed are further signals that must not end this program while a child
// runs. The console sends Ctrl-C to both.
func moreRelayed() []os.Signal { return nil }

// become runs another program and returns its exit code: Windows cannot replace a
// process.
func (a *app) become(ctx context.Context, path string, args, env []string) error {
	return a.runChild(ctx, path, args, env)
}
