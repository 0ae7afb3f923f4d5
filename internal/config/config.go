// Package config is the configuration of exactauth, for both programs: the table of
// settings, the file that people write and "exactauth setup" edits, and the one
// decision which of file, environment and defaults counts.
package config

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"

	"github.com/exactauth/exactauth/internal/durable"
	"github.com/exactauth/exactauth/internal/fault"
	"github.com/exactauth/exactauth/internal/trust"
)

// FileName is the configuration's name in its directory.
const FileName = "config.toml"

// Config is what the file says. It holds no secret, so it can be shared.
type Config struct {
	Default  string            // the profile in use where no other is named
	Profiles map[string]Values // by name

	text  []byte          // of the file
	spans map[string]span // where default (""), the profile "acme" and "acme.region" are in it
}

// FileError is an ErrConfig about the configuration's file or directory.
type FileError struct {
	Path string
	Err  error
	Late bool // the record that goes with the file was changed before
}

func (e *FileError) Error() string   { return "configuration " + e.Path + ": " + e.Err.Error() }
func (e *FileError) Unwrap() []error { return []error{fault.ErrConfig, e.Err} }

// fileError returns a FileError that names the path once, or an error about whose the
// file is.
func fileError(path string, err error) error {
	if open := (*trust.Error)(nil); errors.As(err, &open) {
		return fault.Wrap(fault.ErrConfig, open, "configuration")
	}
	if cause := (*fs.PathError)(nil); errors.As(err, &cause) {
		err = cause.Err
	}
	return &FileError{Path: path, Err: err}
}

// UnknownError is an ErrConfig: the profile that was named does not exist, or none
// was named and there are several.
type UnknownError struct {
	Profile string   // empty: none was named
	Known   []string // the profiles that exist
}

func (e *UnknownError) Error() string {
	if e.Profile == "" {
		return fmt.Sprintf("there are %d profiles and none is the default", len(e.Known))
	}
	return "not set up"
}

func (e *UnknownError) Unwrap() error { return fault.ErrConfig }

// Unknown returns the error for a profile that does not exist.
func (c *Config) Unknown(name string) error { return fault.In(name, &UnknownError{name, c.Names()}) }

// Names returns the names of the profiles in order.
func (c *Config) Names() []string { return slices.Sorted(maps.Keys(c.Profiles)) }

// ErrName is the kind of an error about a profile's name.
var ErrName = fault.Kind(fault.ErrConfig, "profile name")

// ErrPassword is the kind of an error about a store with a password in the file,
// which is made to be shared.
var ErrPassword = fault.Kind(fault.ErrConfig, "password in the configuration")

// CheckPassword returns an ErrPassword for a store that the file must not contain.
func CheckPassword(name, store string) error {
	if !HasPassword(store) {
		return nil
	}
	return fault.In(name, fault.New(ErrPassword, "store: its address has a password, which the configuration must not contain"))
}

// Resolve decides everything about the profile in use: --profile, environment, file,
// defaults. It reads the file; none at all is an empty one.
func Resolve(env func(string) string, profile string) (Settings, error) {
	c, err := Read(env)
	if err != nil {
		return Settings{}, err
	}
	return c.Resolve(env, profile)
}

// Resolve is Resolve for a file that has been read. With an error about one profile
// it returns what it could settle.
func (c *Config) Resolve(env func(string) string, profile string) (Settings, error) {
	name, err := c.Choose(env, profile)
	if err != nil {
		return Settings{}, err
	}
	outside, envErr := Environment(env)
	table, known := c.Profiles[name]
	s, err := Settle(name, table.Under(outside))
	err = cmp.Or(CheckPassword(name, table["store"]), err)
	if !known && !outside.suffice() {
		err = c.Unknown(name)
	}
	return s, cmp.Or(fault.In(name, envErr), err)
}

// Choose returns the name of the profile in use. profile is the value of --profile.
func (c *Config) Choose(env func(string) string, profile string) (string, error) {
	name := cmp.Or(profile, env("EXACTAUTH_PROFILE"), c.Default)
	if name == "" {
		if len(c.Profiles) > 1 {
			return "", &UnknownError{Known: c.Names()}
		}
		name = "default"
		for only := range c.Profiles {
			name = only
		}
	}
	if err := CheckProfileName(name); err != nil {
		return "", fault.New(ErrName, "%v", err)
	}
	return name, nil
}

// suffice reports whether the values of the environment are a profile without a file.
func (v Values) suffice() bool {
	return v["client_id"] != "" && (v["region"] != "" || v["base_url"] != "")
}

// Read reads the file; none at all is an empty one, and so is one without a place if the
// environment suffices.
func Read(env func(string) string) (*Config, error) {
	dir, err := Dir(env)
	if err == nil {
		return read(dir)
	}
	if outside, envErr := Environment(env); envErr == nil && outside.suffice() {
		return parse(nil)
	}
	return nil, err
}

func read(dir string) (*Config, error) {
	path := filepath.Join(dir, FileName)
	// The file can name a command to run and a server to send the secret to.
	info, err := trust.File(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		if err := durable.Away(path); err != nil {
			return nil, fileError(path, err)
		}
		return parse(nil)
	case err != nil:
		return nil, fileError(path, err)
	case info.Mode()&fs.ModeNamedPipe != 0: // opening it would wait for a writer
		return nil, fileError(path, errors.New("it is a named pipe, not a file"))
	}
	var text []byte
	if err := durable.Patiently(func() (err error) { text, err = os.ReadFile(path); return err }); err != nil {
		return nil, fileError(path, err)
	}
	c, err := parse(text)
	if err != nil {
		return nil, fileError(path, err)
	}
	return c, nil
}
