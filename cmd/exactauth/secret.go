package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os/exec"
	"runtime"
	"strings"
	"time"

	"github.com/exactauth/exactauth/internal/config"
	"github.com/exactauth/exactauth/internal/fault"
	"github.com/exactauth/exactauth/internal/trust"
)

// clientSecret returns the client secret from the environment, a file or a command. It
// returns a zero secret if none of them is set: then the record has the secret.
func (a *app) clientSecret(ctx context.Context, p config.Settings) (fault.Secret, error) {
	secret, err := a.givenSecret(ctx, "", "", "EXACTAUTH_CLIENT_SECRET")
	if err == nil && secret.IsZero() && p.ClientSecretCommand != "" {
		return a.runSecretCommand(ctx, p.ClientSecretCommand)
	}
	return secret, err
}

// givenSecret returns the secret in the file that a flag names, where "-" is standard
// input; or in an environment variable, or in the file that the variable with _FILE
// names. It is zero if none is given.
func (a *app) givenSecret(ctx context.Context, flag, file, variable string) (fault.Secret, error) {
	stdin := file == "-"
	if file == "" {
		if s := strings.TrimSpace(a.Env(variable)); s != "" {
			return fault.NewSecret(s), nil
		}
		flag, file = variable+"_FILE", a.Env(variable+"_FILE")
	}
	var b []byte
	var err error
	switch {
	case file == "":
		return fault.Secret{}, nil
	case stdin:
		flag = "standard input"
		b, err = fault.Await(ctx, func() ([]byte, error) { return io.ReadAll(io.LimitReader(a.In, longestSecret+1)) })
	default:
		b, err = a.secretFile(ctx, file)
	}
	if err != nil {
		return fault.Secret{}, usagef("%s: %w", flag, err)
	}
	return secretIn(flag, b)
}

// secretFile reads a file with a secret. It keeps what comes through a pipe.
func (a *app) secretFile(ctx context.Context, file string) ([]byte, error) {
	if b, read := a.pipes.Load(file); read {
		return b.([]byte), nil
	}
	b, info, err := trust.Read(ctx, file, trust.Secret)
	if err == nil && !info.Mode().IsRegular() {
		a.pipes.Store(file, b)
	}
	return b, err
}

const longestSecret = 4 << 10 // at Exact it has 12 characters

// secretIn returns the secret in b, without the blanks and line ends around it that
// come with files and pasting.
func secretIn(source string, b []byte) (fault.Secret, error) {
	s := strings.TrimSpace(strings.TrimPrefix(string(b), "\ufeff"))
	switch {
	case s == "":
		return fault.Secret{}, usagef("%s: the client secret is empty", source)
	case len(b) > longestSecret || strings.ContainsAny(s, " \t\r\n\x00"):
		return fault.Secret{}, usagef("%s: a client secret contains no blanks or line ends, and at most 4096 characters", source)
	}
	return fault.NewSecret(s), nil
}

// runSecretCommand runs a profile's client_secret_command, such as "pass show exact",
// with the shell.
func (a *app) runSecretCommand(ctx context.Context, command string) (fault.Secret, error) {
	cmd := exec.CommandContext(ctx, "/bin/sh", "-c", command)
	if runtime.GOOS == "windows" {
		cmd = exec.CommandContext(ctx, "cmd", "/C", command)
	}
	var out bytes.Buffer
	cmd.Stdin, cmd.Stdout, cmd.Stderr = a.In, &out, a.Err
	cmd.WaitDelay = time.Second // a process that the shell started can outlive it and hold the pipe
	// ErrWaitDelay is no failure: the output of a command that succeeded is complete by then.
	if err := cmd.Run(); err != nil && !errors.Is(err, exec.ErrWaitDelay) {
		if ctx.Err() != nil {
			return fault.Secret{}, fmt.Errorf("client_secret_command: %w", context.Cause(ctx))
		}
		return fault.Secret{}, usagef("client_secret_command: %v", err) // not %w: its exit code is not to become ours
	}
	return secretIn("client_secret_command", out.Bytes())
}
