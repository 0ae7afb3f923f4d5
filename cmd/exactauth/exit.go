package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os/exec"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/exactauth/exactauth/internal/exactauth"
	"github.com/exactauth/exactauth/internal/fault"
	"github.com/exactauth/exactauth/internal/record"
	"github.com/exactauth/exactauth/internal/term"
	"github.com/exactauth/exactauth/internal/tokenstore"
)

// usageError is a command line or a configuration that cannot be meant.
type usageError struct{ err error }

func (e *usageError) Error() string { return e.err.Error() }
func (e *usageError) Unwrap() error { return e.err }

func usagef(format string, args ...any) error { return &usageError{fmt.Errorf(format, args...)} }

// hinted is an error that knows best what to type next.
type hinted struct {
	err  error
	hint string
}

func (e *hinted) Error() string { return e.err.Error() }
func (e *hinted) Unwrap() error { return e.err }

// exitCode is a way to end, as scripts see it.
type exitCode int

const (
	exitOK exitCode = iota
	exitUnexpected
	exitConfig
	exitDenied
	exitLogin
	exitTemporary
	exitStore

	// What shells and env(1) say of a command that cannot be run.
	exitNotExecutable exitCode = 126
	exitNotFound      exitCode = 127
)

// words gives the code's name in JSON and its meaning for people.
func (c exitCode) words() (name, meaning string) {
	switch c {
	case exitNotExecutable:
		return "not_executable", `the command after "exec --", "proxy --" or "sandbox --" cannot be executed`
	case exitNotFound:
		return "not_found", `the command after "exec --", "proxy --" or "sandbox --" is not found`
	}
	w := [...][2]string{
		exitOK:         {"ok", "done"},
		exitUnexpected: {"unexpected", "something unexpected"},
		exitConfig:     {"config", "wrong command line, unknown profile, or wrong configuration"},
		exitDenied:     {"denied", "the person refused or cancelled, or nobody signed in in time"},
		exitLogin:      {"login_needed", "a person must sign in: exactauth login"},
		exitTemporary:  {"temporary", "temporary (network, server, limit): try again later, nothing is lost"},
		exitStore:      {"store", "the store cannot be used (full, locked, no permission, no key, database away, damaged record)"},
	}[c]
	return w[0], w[1]
}

// codeOf is the one table from errors to exit codes.
func codeOf(err error) exitCode {
	var store *tokenstore.Error
	var usage *usageError
	var command *commandError
	switch {
	case err == nil:
		return exitOK
	case errors.As(err, &command):
		return command.code
	case errors.As(err, &store), errors.Is(err, fault.ErrRecord):
		return exitStore
	case errors.As(err, &usage), errors.Is(err, fault.ErrConfig):
		return exitConfig
	case errors.Is(err, fault.ErrDenied):
		return exitDenied
	case errors.Is(err, fault.ErrLoginNeeded):
		return exitLogin
	case errors.Is(err, fault.ErrTemporary), errors.Is(err, context.DeadlineExceeded):
		return exitTemporary
	}
	return exitUnexpected
}

// exit tells the error, if there is one, and gives the exit code.
func (a *app) exit(err error) int {
	if err == nil {
		return 0
	}
	var signal *interrupted
	if errors.As(err, &signal) {
		if term.IsTerminal(a.Err) {
			a.Say("") // the shell's prompt is not to follow the ^C
		}
		return 128 + int(signal.signal) // who pressed Ctrl-C needs no explanation
	}
	var child *exec.ExitError
	if errors.As(err, &child) {
		return childStatus(child)
	}
	var said *checked
	if errors.As(err, &said) {
		return int(said.verdict)
	}
	var all *told
	if errors.As(err, &all) {
		return int(all.code)
	}
	return int(a.tell(err))
}

// tell says what went wrong and what can be done about it, and gives the exit code
// for it.
func (a *app) tell(err error) exitCode {
	code, text, hint := codeOf(err), err.Error(), a.hint(err)
	if errors.Is(err, context.DeadlineExceeded) && code == exitTemporary {
		text = "the time was over: " + text
	}
	if a.JSON {
		a.sayJSON(code, text, hint)
		return code
	}
	a.Say("exactauth: %s", text)
	if hint != "" {
		a.Say("exactauth: hint: %s", hint)
	}
	return code
}

// graver gives the one of two codes that more has to be done about: what will pass
// by itself counts least, what nobody thought of most.
func graver(c, d exitCode) exitCode {
	ranks := []exitCode{exitOK, exitTemporary, exitLogin, exitDenied, exitConfig, exitStore, exitUnexpected}
	if slices.Index(ranks, c) < slices.Index(ranks, d) {
		return d
	}
	return c
}

func (a *app) sayJSON(code exitCode, text, hint string) {
	type failure struct {
		Code      string `json:"code"`
		Message   string `json:"message"`
		Hint      string `json:"hint,omitempty"`
		Profile   string `json:"profile,omitempty"`
		Retryable bool   `json:"retryable"` // whether the same call can succeed later without a person
	}
	name, _ := code.words()
	b, err := json.Marshal(map[string]failure{"error": {name, text, hint, a.profileName, code == exitTemporary}})
	if err != nil { // strings and a bool
		panic(err)
	}
	a.Say("%s", b)
}

// hint says what to type. Only here do errors meet the names of commands.
func (a *app) hint(err error) string {
	var h *hinted
	var later *fault.WaitError
	var tooLong *exactauth.LifeError
	var store *tokenstore.Error
	var moved *exactauth.MovedError
	var command *commandError
	p := ""
	if a.profileName != "" {
		p = " --profile " + a.profileName
	}
	switch {
	case errors.As(err, &h):
		return h.hint
	case configHint(err) != "":
		return configHint(err)
	case errors.Is(err, term.ErrNoAnswer):
		return "answer by flags instead; see --help"
	case errors.As(err, &command) && command.code == exitNotFound:
		return "see that it is installed and in PATH, or name it with its directory"
	case errors.As(err, &command):
		return "make it executable: chmod +x"
	case errors.Is(err, record.ErrNewer):
		return "nothing was changed, and the login is good; update exactauth on this machine"
	case errors.Is(err, record.ErrSealed):
		return fmt.Sprintf(`nothing was spent or changed; say how it is sealed: "exactauth setup%s --seal HOW"`, p)
	case errors.Is(err, fault.ErrRecord):
		return fmt.Sprintf(`nothing was changed; an older copy would not help, as its refresh token is used up: "exactauth logout --forget%s", then setup and login`, p)
	case errors.As(err, &store) && errors.Is(err, context.DeadlineExceeded):
		return "the other process may be refreshing this very login; call again, or allow more time with --timeout"
	case errors.As(err, &store) && store.Late:
		return fmt.Sprintf(`what Exact answered could not be kept; mend that, and if the next call says so, sign in again: "exactauth login%s"`, p)
	case errors.As(err, &store) && strings.HasPrefix(store.Name, "postgres://"):
		return "nothing was spent or changed; see that the database can be reached and that its role may write the table, and call again"
	case errors.As(err, &store) && strings.HasPrefix(store.Name, "seal key"):
		return fmt.Sprintf(`nothing was spent or changed; unlock the keyring or bring the key back, and call again; if the key is lost for good: "exactauth logout --forget%s", then setup and login`, p)
	case errors.As(err, &store) && store.Op == "open" && strings.HasPrefix(store.Name, "record "):
		return fmt.Sprintf(`nothing was spent or changed; to change how it is sealed: "exactauth setup%s --seal HOW"`, p)
	case errors.As(err, &moved):
		return fmt.Sprintf(`name its place: "exactauth setup%s --store ..."; or give it up: "exactauth logout --forget%s"`, p, p)
	case errors.As(err, &store):
		return "nothing was spent or changed; mend that (disk space, owner, permissions) and call again"
	case errors.Is(err, fault.ErrLoginNeeded):
		return fmt.Sprintf(`sign in: "exactauth login%s"`, p)
	case errors.Is(err, fault.ErrDenied):
		return fmt.Sprintf(`to try again: "exactauth login%s"; if the page said "Client with identifier ... not found", country or client id are wrong; if "Callback URI ... is not valid", the redirect URI differs from the App Center's`, p)
	case errors.As(err, &tooLong):
		return fmt.Sprintf("ask for less: --min-valid %s", tooLong.Life/20*19)
	case errors.As(err, &later):
		if !later.Waits {
			return fmt.Sprintf("call again in %s", rough(time.Until(later.Until)))
		}
		return fmt.Sprintf("call again in %s, or let it wait: --timeout %s", rough(time.Until(later.Until)), rough(time.Until(later.Until)+30*time.Second))
	case errors.Is(err, fault.ErrTemporary):
		return "call again later; nothing is lost"
	case errors.Is(err, context.DeadlineExceeded):
		return "call again, or allow more time with --timeout"
	case errors.Is(err, fault.ErrConfig):
		return fmt.Sprintf(`correct it: "exactauth setup%s"; what else may be wrong: "exactauth doctor%[1]s"`, p)
	}
	return ""
}

// rough rounds a duration up to what a person would say.
func rough(d time.Duration) time.Duration {
	unit := time.Second
	if d > 5*time.Minute {
		unit = time.Minute
	}
	return max(d, 0).Truncate(unit) + unit
}

func exitCodesTopic() *cobra.Command {
	text := "exactauth ends with one of these exit codes:\n\n"
	codes := []exitCode{exitNotExecutable, exitNotFound}
	for code := exitStore; code >= exitOK; code-- {
		codes = append([]exitCode{code}, codes...)
	}
	for _, code := range codes {
		_, meaning := code.words()
		text += fmt.Sprintf("  %3d  %s\n", code, fill(meaning, "       "))
	}
	text += `  129  ended because the terminal went away (SIGHUP)
  130  ended by Ctrl-C (SIGINT)
  143  ended by SIGTERM

With --json an error is one JSON object on stderr:

  {"error": {"code": "login_needed", "message": "...", "hint": "...",
             "profile": "...", "retryable": false}}

"exec -- CMD", "proxy -- CMD" and "sandbox -- CMD" end as CMD does, with 128+N if
signal N killed it. "status --check" ends as monitoring plug-ins do: 0 all is well,
1 warning, 2 critical, 3 unknown.`
	return &cobra.Command{Use: "exit-codes", Short: "What the exit codes mean", Long: text}
}
