package main

import (
	"errors"
	"fmt"
	"strings"

	"github.com/exactauth/exactauth/internal/config"
)

// profile decides everything about the profile in use.
func (a *app) profile() (config.Settings, error) { return config.Resolve(a.Env, a.profileName) }

// configHint says what to type after an error of internal/config, if there is more to
// say than after any ErrConfig.
func configHint(err error) string {
	var file *config.FileError
	var unknown *config.UnknownError
	switch {
	case errors.As(err, &file) && file.Open:
		return "chmod o-w " + file.Path
	case errors.As(err, &file):
		return "fix the file by hand; nothing was changed"
	case errors.Is(err, config.ErrName):
		return "list the names: exactauth profiles"
	case errors.Is(err, config.ErrNoHome):
		return "set HOME, or name two directories: EXACTAUTH_CONFIG_DIR and EXACTAUTH_STATE_DIR"
	case errors.Is(err, config.ErrPassword):
		return `leave it out there, and pass it by PGPASSFILE, by PGPASSWORD, or with the whole address in EXACTAUTH_STORE or in a file (store = "@FILE")`
	case !errors.As(err, &unknown):
		return ""
	case unknown.Profile == "":
		return "name one with --profile, or choose: exactauth use " + unknown.Known[0]
	case len(unknown.Known) == 0:
		return `set it up: "exactauth setup"; or try without an account: "exactauth sandbox --demo"`
	}
	return fmt.Sprintf("known are: %s; to set up a new one: \"exactauth setup --profile %s\"", strings.Join(unknown.Known, " "), unknown.Profile)
}
