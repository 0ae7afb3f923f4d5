package config

import (
	"os"
	"path/filepath"
	"runtime"

	"github.com/exactauth/exactauth/internal/durable"
	"github.com/exactauth/exactauth/internal/fault"
)

// ErrNoHome is the kind of an error about a directory that has no place: HOME is not
// set, and no variable names the directory itself.
var ErrNoHome = fault.Kind(fault.ErrConfig, "no home")

// Dir is the directory of the configuration: EXACTAUTH_CONFIG_DIR, or exactauth in
// the platform's place for configuration (XDG_CONFIG_HOME on Linux).
func Dir(env func(string) string) (string, error) {
	if dir := env("EXACTAUTH_CONFIG_DIR"); dir != "" {
		return durable.Abs(dir)
	}
	dir, err := os.UserConfigDir()
	if err != nil {
		return "", fault.Wrap(ErrNoHome, err, "no place for the configuration")
	}
	return filepath.Join(dir, "exactauth"), nil
}

// StateDir is the directory of the records: EXACTAUTH_STATE_DIR, or exactauth in
// the platform's place for what a program keeps: XDG_STATE_HOME on Linux, the same
// directory as the configuration on macOS, the local AppData on Windows. The XDG
// libraries at hand read a file when they are linked, on every call.
func StateDir(env func(string) string) (string, error) {
	if dir := env("EXACTAUTH_STATE_DIR"); dir != "" {
		return durable.Abs(dir)
	}
	var dir string
	var err error
	switch runtime.GOOS {
	case "windows":
		dir, err = os.UserCacheDir() // %LocalAppData%
	case "darwin", "ios":
		dir, err = os.UserConfigDir() // ~/Library/Application Support
	default:
		if dir = env("XDG_STATE_HOME"); !filepath.IsAbs(dir) { // the specification has relative ones ignored
			dir, err = os.UserHomeDir()
			dir = filepath.Join(dir, ".local", "state")
		}
	}
	if err != nil {
		return "", fault.Wrap(ErrNoHome, err, "no place for the tokens")
	}
	return filepath.Join(dir, "exactauth"), nil
}
