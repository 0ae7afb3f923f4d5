package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"slices"
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
	if file == "" {
		if s := strings.TrimSpace(a.Env(variable)); s != "" {
			return secretIn(variable, []byte(s))
		}
		flag, file = variable+"_FILE", a.Env(variable+"_FILE")
	}
	if file == "" {
		return fault.Secret{}, nil
	}
	b, source, err := a.fileOrStdin(ctx, flag, file)
	if err != nil {
		return fault.Secret{}, err
	}
	return secretIn(source, b)
}

// fileOrStdin reads what a flag or variable names: a file with a secret, or standard input
// if that is "-". source is for messages about it.
func (a *app) fileOrStdin(ctx context.Context, flag, file string) (b []byte, source string, err error) {
	if source = flag; file == "-" {
		source = "standard input"
		b, err = fault.Await(ctx, func() ([]byte, error) { return io.ReadAll(io.LimitReader(a.In, trust.Limit+1)) })
	} else {
		b, err = a.secretFile(ctx, file)
	}
	if err != nil {
		err = usagef("%s: %w", source, err)
	}
	return b, source, err
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
// come with files and pasting. Text that cannot be a client secret is an error that
// says what it is: Exact would count a wrong one as an error of the app.
func secretIn(source string, b []byte) (fault.Secret, error) {
	s := strings.TrimSpace(string(trust.Text(b)))
	name, value, assigned := strings.Cut(s, "=")
	odd := strings.IndexFunc(s, func(r rune) bool { return r <= ' ' || r > '~' }) // RFC 6749, A.2, allows a blank
	why := ""
	switch {
	case s == "":
		why = "the client secret is empty"
	case strings.Trim(s, s[:1]) == "" && s[0] == '*' || strings.Trim(s, "•●∙·") == "":
		why = "these are the dots that stand for a client secret; copy the secret itself"
	case len(b) > longestSecret || strings.ContainsAny(s, " \t\r\n\x00"):
		why = "a client secret contains no blanks or line ends, and at most 4096 characters"
	case quoted(s):
		why = "there are quotes around the client secret; docker --env-file keeps them, and so does cmd's set"
	case odd >= 0:
		why = fmt.Sprintf("the client secret has a character that Exact's never have, U+%04X behind %d others; some cannot be seen", []rune(s[odd:])[0], len([]rune(s[:odd])))
	case assigned && strings.Trim(value, "=") != "" && config.CheckProfileName(name) == nil:
		why = "this is NAME=VALUE; the client secret is the value alone"
	case config.IsGUID(config.NormalClientID(s)):
		why = "this is a GUID, as the client id is; the client secret has no hyphens"
	default:
		return fault.NewSecret(s), nil
	}
	return fault.Secret{}, usagef("%s: %s", source, why)
}

// quoted reports whether s is in quotes, straight or typographic.
func quoted(s string) bool {
	for _, pair := range []string{`""`, "''", "``", "“”", "‘’", "„”", "„“"} {
		r := []rune(pair)
		if strings.HasPrefix(s, string(r[0])) && strings.HasSuffix(s, string(r[1])) {
			return true
		}
	}
	return false
}

// runSecretCommand runs a profile's client_secret_command, such as "pass show exact".
func (a *app) runSecretCommand(ctx context.Context, command string) (fault.Secret, error) {
	var out bytes.Buffer
	if err := a.shell(ctx, command, a.In, &out, nil); err != nil {
		if ctx.Err() != nil {
			return fault.Secret{}, fmt.Errorf("client_secret_command: %w", context.Cause(ctx))
		}
		return fault.Secret{}, usagef("client_secret_command: %v", err) // not %w: its exit code is not to become ours
	}
	return secretIn("client_secret_command", out.Bytes())
}

// loginEnded runs a profile's on_login_ended, which reads on its standard input what a
// person would read here. Its failure is only noted: the error is the login's.
func (a *app) loginEnded(ctx context.Context, p config.Settings, why error) {
	why = fault.In(p.Name, why)
	text := strings.NewReader(message(why.Error(), a.hint(why)) + "\n")
	if err := a.shell(ctx, p.OnLoginEnded, text, a.Err, withoutSecrets(p.Name)); ctx.Err() != nil {
		a.Note("on_login_ended took too long and was ended")
	} else if err != nil {
		a.Note(fmt.Sprintf("on_login_ended: %v", err))
	}
}

// withoutSecrets returns the environment for on_login_ended: the profile's name is in
// it, and no secret, token or password that exactauth reads or sets there.
func withoutSecrets(profile string) []string {
	env := slices.DeleteFunc(os.Environ(), func(variable string) bool {
		name, _, _ := strings.Cut(variable, "=")
		return strings.HasPrefix(name, "EXACT_") || slices.Contains([]string{"EXACTAUTH_CLIENT_SECRET", "EXACTAUTH_STORE", "PGPASSWORD",
			"AUTH0_API_TOKEN", "AUTH0_CLIENT_SECRET", "AUTH0_APP_SECRET"}, strings.ToUpper(name))
	})
	return append(env, "EXACTAUTH_PROFILE="+profile)
}

// shell runs a command of the configuration with the shell. A nil env is this program's.
func (a *app) shell(ctx context.Context, command string, in io.Reader, out io.Writer, env []string) error {
	cmd := shellCommand(ctx, command)
	cmd.Stdin, cmd.Stdout, cmd.Stderr, cmd.Env = in, out, a.Err, env
	cmd.WaitDelay = time.Second // a process that the shell started can outlive it and hold the pipe
	// ErrWaitDelay is no failure: the output of a command that succeeded is complete by then.
	if err := cmd.Run(); !errors.Is(err, exec.ErrWaitDelay) {
		return err
	}
	return nil
}
