package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"time"

	"github.com/exactauth/exactauth/internal/config"
	"github.com/exactauth/exactauth/internal/fault"
)

// clientSecret gives the client secret if it comes from the environment, a file
// or a command; else it is zero and the record's own is used.
func (a *app) clientSecret(ctx context.Context, p config.Settings) (fault.Secret, error) {
	if s := strings.TrimSpace(a.Env("EXACTAUTH_CLIENT_SECRET")); s != "" {
		return fault.NewSecret(s), nil
	}
	if file := a.Env("EXACTAUTH_CLIENT_SECRET_FILE"); file != "" {
		return readSecretFile("EXACTAUTH_CLIENT_SECRET_FILE", file)
	}
	if p.ClientSecretCommand != "" {
		return a.runSecretCommand(ctx, p.ClientSecretCommand)
	}
	return fault.Secret{}, nil
}

func readSecretFile(source, file string) (fault.Secret, error) {
	f, err := os.Open(file)
	if err != nil {
		return fault.Secret{}, usagef("%s: %w", source, err)
	}
	defer f.Close()
	return readSecret(source, f)
}

// readSecret reads a secret, which has 12 characters at Exact, and strips the
// blanks and line ends that come with files and pasting.
func readSecret(source string, r io.Reader) (fault.Secret, error) {
	const limit = 4 << 10
	b, err := io.ReadAll(io.LimitReader(r, limit+1))
	if err != nil {
		return fault.Secret{}, usagef("%s: %w", source, err)
	}
	s := strings.TrimSpace(strings.TrimPrefix(string(b), "\ufeff"))
	switch {
	case s == "":
		return fault.Secret{}, usagef("%s: it gives an empty client secret", source)
	case len(b) > limit || strings.ContainsAny(s, " \t\r\n\x00"):
		return fault.Secret{}, usagef("%s: a client secret has no blanks or line ends in it, and at most 4096 characters", source)
	}
	return fault.NewSecret(s), nil
}

// runSecretCommand runs a profile's client_secret_command, as "pass show exact",
// with the shell, as a person would.
func (a *app) runSecretCommand(ctx context.Context, command string) (fault.Secret, error) {
	cmd := exec.CommandContext(ctx, "/bin/sh", "-c", command)
	if runtime.GOOS == "windows" {
		cmd = exec.CommandContext(ctx, "cmd", "/C", command)
	}
	var out bytes.Buffer
	cmd.Stdin, cmd.Stdout, cmd.Stderr = a.In, &out, a.Err
	cmd.WaitDelay = time.Second // what the shell started may outlive it and hold the pipe
	// That is no fault: what a command that succeeded had to say has been read by then.
	if err := cmd.Run(); err != nil && !errors.Is(err, exec.ErrWaitDelay) {
		if ctx.Err() != nil {
			return fault.Secret{}, fmt.Errorf("client_secret_command: %w", context.Cause(ctx))
		}
		return fault.Secret{}, usagef("client_secret_command: %v", err) // not a child of ours whose exit code counts
	}
	return readSecret("client_secret_command", &out)
}
