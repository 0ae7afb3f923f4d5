package main

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os/exec"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"github.com/exactauth/exactauth/internal/callback"
	"github.com/exactauth/exactauth/internal/config"
	"github.com/exactauth/exactauth/internal/exactapi"
	"github.com/exactauth/exactauth/internal/exactauth"
	"github.com/exactauth/exactauth/internal/fault"
	"github.com/exactauth/exactauth/internal/network"
	"github.com/exactauth/exactauth/internal/record"
	"github.com/exactauth/exactauth/internal/term"
	"github.com/exactauth/exactauth/internal/tokenstore"
	"github.com/exactauth/exactauth/internal/trust"
)

// usageError is a wrong command line or configuration.
type usageError struct{ error }

func (e *usageError) Unwrap() error { return e.error }

func usagef(format string, args ...any) error { return &usageError{fmt.Errorf(format, args...)} }

type hinted struct {
	error
	hint string
}

func (e *hinted) Unwrap() error { return e.error }

// reported ends the program with an exit code after the command has printed why.
type reported struct{ code int }

func (*reported) Error() string { return "the errors above" }

type exitCode int

const (
	exitOK exitCode = iota
	exitUnexpected
	exitConfig
	exitDenied
	exitLogin
	exitTemporary
	exitStore
	exitForbidden

	// As shells and env(1) end for a command that they cannot run.
	exitNotExecutable exitCode = 126
	exitNotFound      exitCode = 127
)

// words returns the code's name in JSON and its meaning for people.
func (c exitCode) words() (name, meaning string) {
	w := [...][2]string{
		exitOK:            {"ok", "done"},
		exitUnexpected:    {"unexpected", "unexpected error"},
		exitConfig:        {"config", "wrong command line, unknown profile, or wrong configuration"},
		exitDenied:        {"denied", "the person refused or cancelled, or did not sign in in time"},
		exitLogin:         {"login_needed", "a person must sign in: exactauth login"},
		exitTemporary:     {"temporary", "temporary (network, server, limit): try again later, nothing is lost"},
		exitStore:         {"store", "the store or the configuration's file cannot be used (full, locked, no permission, no key, database unreachable, damaged record)"},
		exitForbidden:     {"forbidden", "Exact does not allow it: a right, a scope, a division or a licence must be changed there"},
		exitNotExecutable: {"not_executable", `the command after "exec --", "proxy --" or "sandbox --" cannot be executed`},
		exitNotFound:      {"not_found", `the command after "exec --", "proxy --" or "sandbox --" is not found`},
	}[c]
	return w[0], w[1]
}

// codeOf is the one table from errors to exit codes.
func codeOf(err error) exitCode {
	var command *commandError
	switch {
	case err == nil:
		return exitOK
	case errors.As(err, &command):
		return command.code
	case errors.As(err, new(*trust.Error)): // also of a seal's key
		return exitConfig
	case errors.As(err, new(*tokenstore.Error)), errors.Is(err, fault.ErrRecord), systemFault(err):
		return exitStore
	case !errors.Is(err, context.DeadlineExceeded) && (errors.As(err, new(*usageError)) || errors.Is(err, fault.ErrConfig)):
		return exitConfig
	case errors.Is(err, fault.ErrForbidden):
		return exitForbidden
	case errors.Is(err, fault.ErrDenied):
		return exitDenied
	case errors.Is(err, fault.ErrLoginNeeded):
		return exitLogin
	case errors.Is(err, fault.ErrTemporary), errors.Is(err, context.DeadlineExceeded):
		return exitTemporary
	}
	return exitUnexpected
}

// systemFault reports whether the system could not read or write the configuration,
// whatever it says.
func systemFault(err error) bool {
	var file *config.FileError
	var errno syscall.Errno
	return errors.As(err, &file) && errors.As(err, &errno) && !errors.Is(err, syscall.EISDIR) && !errors.Is(err, syscall.ENOTDIR) && !errors.Is(err, syscall.ELOOP)
}

func (a *app) exit(err error) int {
	var signal *interrupted
	var child *exec.ExitError
	var shown *reported
	switch {
	case err == nil:
		return 0
	case errors.As(err, &signal):
		if term.IsTerminal(a.Err) {
			a.Say("") // so that the shell's prompt does not follow the ^C
		}
		return 128 + int(signal.signal) // the person who pressed Ctrl-C knows why
	case errors.As(err, &child):
		return childStatus(child)
	case errors.As(err, &shown):
		return shown.code
	}
	return int(a.report(err))
}

// report prints the error and what can be done about it, and returns its exit code.
func (a *app) report(err error) exitCode {
	code, text, hint := codeOf(err), fault.Line(err.Error()), fault.Line(a.hint(err))
	if errors.Is(err, context.DeadlineExceeded) && code == exitTemporary {
		text = "timed out: " + text
	}
	if a.JSON {
		a.reportJSON(err, code, text, hint, a.profileIn(err))
		return code
	}
	a.Say("%s", message(text, hint))
	return code
}

func message(text, hint string) string {
	if hint != "" {
		hint = "\nexactauth: hint: " + hint
	}
	return "exactauth: " + text + hint
}

// profileIn returns the name of the profile that the error is about, or otherwise of
// the one that the command line names.
func (a *app) profileIn(err error) string {
	if about := (*fault.ProfileError)(nil); errors.As(err, &about) {
		return about.Profile
	}
	return a.profileName
}

// worse returns the one of two codes that needs more work: a temporary failure
// least, an unexpected one most.
func worse(c, d exitCode) exitCode {
	ranks := []exitCode{exitOK, exitTemporary, exitLogin, exitDenied, exitConfig, exitForbidden, exitStore, exitUnexpected}
	if slices.Index(ranks, c) < slices.Index(ranks, d) {
		return d
	}
	return c
}

// retryable reports whether the same call can succeed later without a person. A request
// that a proxy refuses, or that meets a certificate which is not trusted, is an
// exitTemporary as every one that Exact did not get: nothing is lost, and the setting that
// is wrong is this machine's or the network's and not exactauth's. But waiting does not help.
func retryable(err error) bool {
	return codeOf(err) == exitTemporary && !network.Lasts(err)
}

func (a *app) reportJSON(about error, code exitCode, text, hint, profile string) {
	type failure struct {
		Code      string `json:"code"`
		Message   string `json:"message"`
		Hint      string `json:"hint,omitempty"`
		Profile   string `json:"profile,omitempty"`
		Retryable bool   `json:"retryable"` // whether the same call can succeed later without a person
	}
	name, _ := code.words()
	b, _ := json.Marshal(map[string]failure{"error": {name, text, hint, profile, retryable(about)}}) // never fails for strings and a bool
	a.Say("%s", b)
}

// hint returns what to type after an error. Only here do errors meet the names of
// commands.
func (a *app) hint(err error) string {
	var own *hinted
	var open *trust.Error
	var later *fault.WaitError
	var life *exactauth.LifeError
	var store *tokenstore.Error
	var moved *exactauth.MovedError
	var command *commandError
	var sealed *record.SealError
	var refused *callback.RefusedError
	p := ""
	if name := a.profileIn(err); name != "" {
		p = " --profile " + name
	}
	switch {
	case errors.As(err, &own):
		return own.hint
	case errors.As(err, &open):
		return open.Fix
	case configHint(err) != "":
		return configHint(err)
	case errors.Is(err, exactapi.ErrUncertain):
		return "look at Exact whether it was carried out, before you send it again"
	case errors.Is(err, term.ErrNoAnswer):
		return "answer by flags instead; see --help"
	case errors.As(err, &command) && command.code == exitNotFound:
		return "check that it is installed and in PATH, or name it with its directory"
	case errors.As(err, &command):
		return here.permission
	case errors.Is(err, record.ErrNewer):
		return "nothing was changed, and the login is good; update exactauth on this machine"
	case errors.As(err, &sealed): // record.ErrSealed has one, too
		return fmt.Sprintf(`nothing was spent or changed; if a change of the seal was interrupted, run it again: "exactauth setup%s --seal %s"`, p, cmp.Or(sealed.How, "HOW"))
	case errors.Is(err, fault.ErrRecord):
		return fmt.Sprintf(`nothing was changed; an older copy would not help, as its refresh token is used up: "exactauth logout --forget%s", then setup and login`, p)
	case errors.Is(err, exactauth.ErrSaved):
		return fmt.Sprintf(`do not sign in again; ask for a token, which looks once more: "exactauth token%s"; if that sign-in was not yours, yours can take its place: "exactauth login --replace%[1]s"`, p)
	case errors.Is(err, exactauth.ErrUnsaved):
		return fmt.Sprintf(`what Exact answered could not be saved; fix the store, then retry, and sign in if the next call asks you to: "exactauth login%s"`, p)
	case errors.As(err, &store):
		return storeHint(store.Kind, p)
	case errors.As(err, &moved) && moved.Underway:
		return fmt.Sprintf(`if the setup that moves it was interrupted, run it again: "exactauth setup%s --store ..."`, p)
	case errors.As(err, &moved):
		return fmt.Sprintf(`name its new store: "exactauth setup%s --store ..."; or remove the profile here: "exactauth logout --forget%s"`, p, p)
	case errors.Is(err, fault.ErrLoginNeeded) && errors.Is(err, exactauth.ErrRemembered):
		return fmt.Sprintf(`sign in: "exactauth login%s"; if Exact was mistaken, ask it once more: "exactauth token --force-refresh%[1]s"`, p)
	case errors.Is(err, fault.ErrLoginNeeded):
		return fmt.Sprintf(`sign in: "exactauth login%s"`, p)
	case errors.As(err, &refused) && refused.Cancelled():
		return "" // whoever cancelled knows what to do
	case errors.Is(err, fault.ErrDenied):
		return fmt.Sprintf(`to try again: "exactauth login%s"; if the page said "Client with identifier ... not found", the country or the client id is wrong; if "Callback URI ... is not valid", the redirect URI differs from the App Center's`, p)
	case errors.Is(err, fault.ErrForbidden):
		hint := forbiddenHint(err, p)
		if errors.As(err, &later) {
			hint += fmt.Sprintf(`; then "exactauth token --force-refresh%s", or retry in %s`, p, rough(time.Until(later.Until)))
		}
		return hint
	case networkFix(err) != "":
		hint := networkFix(err) + `; to look closer: "exactauth doctor` + p + `"`
		if retryable(err) {
			hint = "retry later, nothing is lost; if it stays so, " + hint
		}
		return hint
	case errors.As(err, &life):
		return fmt.Sprintf("want --min-valid from 0s to %s", life.Life/20*19)
	case errors.As(err, &later) && later.Waits:
		return fmt.Sprintf("let it wait: --timeout %s", rough(time.Until(later.Until)+30*time.Second))
	case errors.As(err, &later):
		return fmt.Sprintf("retry in %s", rough(time.Until(later.Until)))
	case errors.Is(err, fault.ErrTemporary):
		return "retry later; nothing is lost"
	case errors.Is(err, context.DeadlineExceeded):
		return "retry, or allow more time with --timeout"
	case errors.Is(err, fault.ErrConfig) && errors.Is(err, exactauth.ErrRemembered):
		return fmt.Sprintf(`correct it: "exactauth setup%s"; if it was put right at Exact: "exactauth token --force-refresh%[1]s"; to find other mistakes: "exactauth doctor%[1]s"`, p)
	case errors.Is(err, fault.ErrConfig):
		return fmt.Sprintf(`correct it: "exactauth setup%s"; to find other mistakes: "exactauth doctor%[1]s"`, p)
	}
	return ""
}

// configHint says what to type after an error of internal/config, if there is more to
// say than after any ErrConfig.
func configHint(err error) string {
	var file *config.FileError
	var unknown *config.UnknownError
	switch {
	case errors.As(err, &file) && systemFault(err):
		return "nothing was changed; check the disk, the owner and the permissions of " + file.Path
	case errors.As(err, &file):
		return "fix the file by hand; nothing was changed"
	case errors.Is(err, config.ErrName):
		return "list the names: exactauth profiles"
	case errors.Is(err, config.ErrProxy):
		return "percent-encode special characters of the password there (@ as %40, # as %23, / as %2F, % as %25), or unset the variable"
	case errors.Is(err, config.ErrNoHome):
		return here.home
	case errors.Is(err, config.ErrPassword):
		return `leave it out there, and pass it by PGPASSFILE, by PGPASSWORD, or with the whole address in EXACTAUTH_STORE or in a file (store = "@FILE")`
	case !errors.As(err, &unknown):
		return ""
	case unknown.Profile == "":
		return "name one with --profile, or choose: exactauth use " + unknown.Known[0]
	case len(unknown.Known) == 0:
		return `set it up: "exactauth setup"; or try without an account: "exactauth sandbox --demo"`
	}
	return fmt.Sprintf("known are: %s; to set up a new one: \"exactauth setup --profile %s\"", strings.Join(unknown.Known, ", "), unknown.Profile)
}

func storeHint(kind tokenstore.Kind, p string) string {
	switch kind {
	case tokenstore.Database:
		return "nothing was spent or changed; check that the database can be reached, has connections and disk space left, and that its role may write the table, then retry"
	case tokenstore.Lock:
		return "the other process may be refreshing this login; retry, or allow more time with --timeout"
	case tokenstore.SealKey:
		return fmt.Sprintf(`nothing was spent or changed; unlock the keyring or bring the key back, then retry; if the key is lost for good: "exactauth logout --forget%s", then setup and login`, p)
	case tokenstore.Seal:
		return fmt.Sprintf(`nothing was spent or changed; put back the record that exactauth stored there last, or start over: "exactauth logout --forget%s", then setup and login`, p)
	case tokenstore.Late:
		return "the change may not be saved; fix what the message names (disk space, owner, permissions, mount), then retry"
	}
	return "nothing was spent or changed; fix what the message names (disk space, owner, permissions, mount), then retry"
}

// forbiddenHint says where what Exact does not allow can be changed.
func forbiddenHint(err error, p string) string {
	switch {
	case errors.Is(err, exactapi.ErrAppScope):
		return `the app's owner can change that in the App Center: Manage app, "Data and security review", add the scope and wait for Exact's approval; a testing app needs none`
	case errors.Is(err, exactapi.ErrDivisionScope):
		return "the user who signed in can change that in Exact Online: My Exact Online, Security centre, Manage companies"
	case errors.Is(err, exactapi.ErrDivision):
		return fmt.Sprintf(`list the divisions that the user can open: "exactauth whoami --divisions%s"; an administrator of Exact Online can add others: Master data > Users`, p)
	case errors.Is(err, exactapi.ErrUser):
		return "an administrator of Exact Online can change that: Master data > Users"
	case errors.Is(err, exactapi.ErrLicence):
		return "the owner of the Exact Online licence can change that with Exact"
	}
	return "an administrator of Exact Online can change that: user and rights under Master data > Users, the licence with Exact"
}

// rough rounds a duration up, to seconds or minutes.
func rough(d time.Duration) time.Duration {
	unit := time.Second
	if d > 5*time.Minute {
		unit = time.Minute
	}
	return max(d, 0).Truncate(unit) + unit
}

func exitCodesTopic() *cobra.Command {
	text := "The exit codes of exactauth:\n\n"
	for code := range exitNotFound + 1 {
		if name, meaning := code.words(); name != "" {
			text += fmt.Sprintf("  %3d  %s\n", code, fill(meaning, "       ", helpWidth))
		}
	}
	text += `  129  ended because the terminal went away (SIGHUP)
  130  ended by Ctrl-C (SIGINT)
  131  ended by Ctrl-\ (SIGQUIT)
  143  ended by SIGTERM

When memory, threads or open files run out, the Go runtime may end the program with
2; stderr then begins with "fatal error:" or "runtime", not with "exactauth:".
If standard output is closed (>&-), the Go runtime opens the null device in its
place: "exactauth token" then prints to that, and ends with 0.

With --json an error is one JSON object on stderr:

  {"error": {"code": "login_needed", "message": "...", "hint": "...",
             "profile": "...", "retryable": false}}

"exec -- CMD", "proxy -- CMD" and "sandbox -- CMD" end as CMD does, with 128+N if
signal N killed it. "status --check" ends as monitoring plug-ins do: 0 OK,
1 warning, 2 critical, 3 unknown.`
	return &cobra.Command{Use: "exit-codes", Short: "What the exit codes mean", Long: text}
}
