// Package config is the configuration that people write and "exactauth setup"
// edits: where it is, what may stand in it, and which layer counts.
package config

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"strings"

	"github.com/pelletier/go-toml/v2"
)

// Config is config.toml. It holds no secret, so it can be shared.
type Config struct {
	Default  string             `toml:"default,omitempty"`
	Profiles map[string]Profile `toml:"profiles,omitempty"`
}

// Profile is one profile's table, and the same values from flags. What is empty is
// not said; what they mean is said where they are used.
type Profile struct {
	Region              string `toml:"region,omitempty"`
	BaseURL             string `toml:"base_url,omitempty"`
	ClientID            string `toml:"client_id,omitempty"`
	RedirectURI         string `toml:"redirect_uri,omitempty"`
	Listen              string `toml:"listen,omitempty"`
	Relay               bool   `toml:"relay,omitempty"`
	TLSCert             string `toml:"tls_cert,omitempty"`
	TLSKey              string `toml:"tls_key,omitempty"`
	Division            int    `toml:"division,omitempty"`
	Store               string `toml:"store,omitempty"`
	Seal                string `toml:"seal,omitempty"`
	ClientSecretCommand string `toml:"client_secret_command,omitempty"`
}

// Name is the configuration's file name in its directory.
const Name = "config.toml"

// OpenError is returned by Read for a configuration that every user of the machine
// can change: it can name a command to run and a server to send the secret to.
type OpenError struct {
	Path string // what is open
	dir  bool
}

func (e *OpenError) Error() string {
	if e.dir {
		return "every user of this machine can put another " + Name + " there"
	}
	return "every user of this machine can change it"
}

// Read gives the text of the configuration in dir, nothing if there is none.
func Read(dir string) ([]byte, error) {
	path := filepath.Join(dir, Name)
	// Before it is opened, since opening a pipe would wait for a writer.
	if info, err := os.Stat(path); err == nil && info.Mode()&fs.ModeNamedPipe != 0 {
		return nil, fmt.Errorf("%s is a named pipe, not a file", path)
	}
	f, err := os.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	} else if err != nil {
		return nil, err
	}
	defer f.Close()
	if info, err := f.Stat(); err != nil {
		return nil, err
	} else if runtime.GOOS != "windows" && info.Mode().Perm()&0o002 != 0 {
		return nil, &OpenError{Path: path}
	}
	if err := CheckDir(dir); err != nil {
		return nil, err
	}
	return io.ReadAll(f)
}

// CheckDir gives an OpenError for a directory in which every user of the machine can
// put another configuration in the place of the one there.
func CheckDir(dir string) error {
	info, err := os.Stat(dir)
	if err != nil {
		return err
	}
	mode := info.Mode()
	// With the sticky bit only its owner replaces a file. A volume that Kubernetes makes
	// of a ConfigMap has a mode that is open to all, and is read-only.
	if runtime.GOOS != "windows" && mode.Perm()&0o002 != 0 && mode&fs.ModeSticky == 0 && !readOnly(dir) {
		return &OpenError{Path: dir, dir: true}
	}
	return nil
}

// Parse reads a configuration. A key that it does not know is an error, since a
// misspelt one would silently not count.
func Parse(b []byte) (Config, error) {
	if c, plain := parsePlain(b); plain {
		return c, nil
	}
	return parseAny(b)
}

// parseAny reads a configuration in every form that TOML has.
func parseAny(b []byte) (Config, error) {
	var c Config
	dec := toml.NewDecoder(bytes.NewReader(b))
	dec.DisallowUnknownFields()
	err := dec.Decode(&c)
	var unknown *toml.StrictMissingError
	var broken *toml.DecodeError
	switch {
	case errors.As(err, &unknown):
		var keys []string
		for _, e := range unknown.Errors {
			row, _ := e.Position()
			keys = append(keys, fmt.Sprintf("%s (line %d)", strings.Join(e.Key(), "."), row))
		}
		return Config{}, fmt.Errorf("unknown key %s", strings.Join(keys, ", "))
	case errors.As(err, &broken):
		row, column := broken.Position()
		return Config{}, fmt.Errorf("line %d, column %d: %s", row, column, strings.TrimPrefix(broken.Error(), "toml: "))
	case err != nil:
		return Config{}, err
	}
	return c, nil
}

// Under lays a stronger layer over c. Region and base URL decide the same thing,
// so either of them replaces both.
func (c Profile) Under(l Profile) Profile {
	if l.Region != "" || l.BaseURL != "" {
		c.Region, c.BaseURL = l.Region, l.BaseURL
	}
	c.ClientID = cmp.Or(l.ClientID, c.ClientID)
	c.RedirectURI = cmp.Or(l.RedirectURI, c.RedirectURI)
	c.Listen = cmp.Or(l.Listen, c.Listen)
	c.Relay = l.Relay || c.Relay
	c.TLSCert = cmp.Or(l.TLSCert, c.TLSCert)
	c.TLSKey = cmp.Or(l.TLSKey, c.TLSKey)
	c.Division = cmp.Or(l.Division, c.Division)
	c.Store = cmp.Or(l.Store, c.Store)
	c.Seal = cmp.Or(l.Seal, c.Seal)
	c.ClientSecretCommand = cmp.Or(l.ClientSecretCommand, c.ClientSecretCommand)
	return c
}
