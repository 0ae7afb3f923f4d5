package main

import "github.com/exactauth/exactauth/internal/config"

func (a *app) configDir() (string, error) {
	dir, err := config.Dir(a.Env)
	if err != nil {
		return "", noHome("configuration", err)
	}
	return dir, nil
}

func (a *app) stateDir() (string, error) {
	dir, err := config.StateDir(a.Env)
	if err != nil {
		return "", noHome("tokens", err)
	}
	return dir, nil
}

func noHome(what string, err error) error {
	return &hinted{usagef("no place for the %s: %w", what, err), "set HOME, or name two directories: EXACTAUTH_CONFIG_DIR and EXACTAUTH_STATE_DIR"}
}
