package main

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"reflect"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/gofrs/flock"
	"github.com/pelletier/go-toml/v2"

	"github.com/exactauth/exactauth/internal/config"
	"github.com/exactauth/exactauth/internal/tokenstore/pgstore"
)

// readConfig reads the configuration; none at all is an empty one.
func (a *app) readConfig() (config.Config, error) {
	dir, err := a.configDir()
	if err != nil {
		return config.Config{}, err
	}
	path := filepath.Join(dir, config.Name)
	b, err := config.Read(dir)
	if err != nil {
		return config.Config{}, configError(err)
	}
	c, err := parseConfig(b)
	if err != nil {
		return config.Config{}, &hinted{usagef("configuration %s: %w", path, err), "mend the file by hand; nothing was changed"}
	}
	return c, nil
}

// configError tells why the configuration cannot be used.
func configError(err error) error {
	var open *config.OpenError
	if errors.As(err, &open) {
		return &hinted{usagef("configuration %s: %w", open.Path, err), "chmod o-w " + open.Path}
	}
	return usagef("configuration: %w", err)
}

// parseConfig reads a configuration whose profiles have the names of profiles.
func parseConfig(b []byte) (config.Config, error) {
	c, err := config.Parse(b)
	if err != nil {
		return config.Config{}, err
	}
	for name := range c.Profiles {
		if err := config.CheckProfileName(name); err != nil {
			return config.Config{}, fmt.Errorf("profile name %w", err)
		}
	}
	return c, nil
}

// changeConfig changes the configuration under a lock. What the change does not
// touch stays as a person wrote it, comments and all.
func (a *app) changeConfig(ctx context.Context, change func(*config.Config) error) error {
	dir, err := a.configDir()
	if err != nil {
		return err
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return usagef("configuration: %w", err)
	}
	if err := config.CheckDir(dir); err != nil { // what is written there could not be read
		return configError(err)
	}
	lock := flock.New(filepath.Join(dir, config.Name+".lock"), flock.SetPermissions(0o600))
	if _, err := lock.TryLockContext(ctx, 20*time.Millisecond); err != nil {
		if ctx.Err() != nil { // another process holds it, and nothing is wrong with the configuration
			return fmt.Errorf("configuration %s: waiting for its lock: %w", dir, context.Cause(ctx))
		}
		return usagef("configuration %s: cannot lock it: %w", dir, err)
	}
	defer lock.Close()

	before, err := a.readConfig()
	if err != nil {
		return err
	}
	after := config.Config{Default: before.Default, Profiles: maps.Clone(before.Profiles)}
	if after.Profiles == nil {
		after.Profiles = map[string]config.Profile{}
	}
	if err := change(&after); err != nil {
		return err
	}
	path := filepath.Join(dir, config.Name)
	// A link, as from a directory of dotfiles, stays one.
	if real, err := filepath.EvalSymlinks(path); err == nil {
		path = real
	}
	text, err := os.ReadFile(path)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return usagef("configuration: %w", err)
	}
	edited, anew, err := editConfig(text, before, after)
	if err != nil {
		return err
	}
	if err := replaceFile(path, edited); err != nil {
		return usagef("configuration: %w", err)
	}
	if anew && bytes.ContainsRune(text, '#') {
		a.Note(fmt.Sprintf("configuration %s: a part of it could not be changed alone, so all of it was written anew, without its comments", path))
	}
	return nil
}

// editConfig turns the text of before into one of after by replacing only the
// tables that differ. If that does not come out right, since TOML can be written
// in many ways, the file is written anew.
func editConfig(text []byte, before, after config.Config) (edited []byte, anew bool, err error) {
	lines := strings.Split(strings.TrimRight(string(text), "\n"), "\n")
	if len(text) == 0 {
		lines = []string{"# exactauth's profiles. There is no secret in this file.", ""}
	}
	if before.Default != after.Default {
		lines = slices.DeleteFunc(lines, func(l string) bool {
			key, _, ok := strings.Cut(l, "=")
			return ok && strings.TrimSpace(key) == "default"
		})
		if after.Default != "" {
			at := slices.IndexFunc(lines, func(l string) bool { return strings.HasPrefix(strings.TrimSpace(l), "[") })
			if at < 0 {
				at = len(lines)
			}
			lines = slices.Insert(lines, at, "default = "+strconv.Quote(after.Default), "")
			// The blank line of an earlier default is still there.
			if at+2 < len(lines) && strings.TrimSpace(lines[at+2]) == "" || at > 0 && before.Default != "" {
				lines = slices.Delete(lines, at+1, at+2)
			}
		}
	}
	names := slices.Sorted(maps.Keys(after.Profiles))
	for name := range before.Profiles {
		if _, still := after.Profiles[name]; !still {
			names = append(names, name)
		}
	}
	for _, name := range names {
		table, keep := after.Profiles[name]
		if old, had := before.Profiles[name]; had && keep && old == table {
			continue
		}
		var body []string
		if keep {
			b, err := toml.Marshal(table)
			if err != nil {
				return nil, false, err
			}
			body = append([]string{"[profiles." + name + "]"}, strings.Split(strings.TrimRight(string(b), "\n"), "\n")...)
		}
		lines = replaceTable(lines, "[profiles."+name+"]", body)
	}
	edited = []byte(strings.TrimRight(strings.Join(lines, "\n"), "\n") + "\n")
	if got, err := parseConfig(edited); err == nil && got.Default == after.Default &&
		(len(got.Profiles) == 0 && len(after.Profiles) == 0 || reflect.DeepEqual(got.Profiles, after.Profiles)) {
		return edited, false, nil
	}
	edited, err = toml.Marshal(after)
	return edited, true, err
}

// plainHeader gives a table's header as it is usually written, without the comment
// behind it. There is no blank, quote or # in the name of a profile.
func plainHeader(line string) string {
	line, _, _ = strings.Cut(line, "#")
	return strings.NewReplacer(" ", "", "\t", "", "\r", "", `"`, "", "'", "").Replace(line)
}

// replaceTable puts body in the place of the table with this header, or at the end.
// A header that is there stays as it is written.
func replaceTable(lines []string, header string, body []string) []string {
	from := slices.IndexFunc(lines, func(l string) bool { return plainHeader(l) == header })
	if from < 0 {
		if len(body) == 0 {
			return lines
		}
		for len(lines) > 0 && strings.TrimSpace(lines[len(lines)-1]) == "" {
			lines = lines[:len(lines)-1]
		}
		return append(append(lines, ""), body...)
	}
	if len(body) > 0 {
		body[0] = lines[from]
	}
	to := from + 1
	for to < len(lines) && !strings.HasPrefix(strings.TrimSpace(lines[to]), "[") {
		to++
	}
	// Blank and comment lines before the next table are that table's.
	for to > from+1 && to < len(lines) {
		if l := strings.TrimSpace(lines[to-1]); l != "" && !strings.HasPrefix(l, "#") {
			break
		}
		to--
	}
	return slices.Replace(lines, from, to, body...)
}

// replaceFile writes a file so that it is whole after any crash, and there when this
// returns. It is open to whom the one before was open to, a new one to nobody else.
func replaceFile(path string, text []byte) error {
	f, err := os.CreateTemp(filepath.Dir(path), "."+filepath.Base(path)+".*")
	if err != nil {
		return err
	}
	defer os.Remove(f.Name()) // gone already if all went well
	_, err = f.Write(text)
	if before, statErr := os.Stat(path); err == nil && statErr == nil {
		err = permitAs(f, before)
	}
	if err == nil {
		err = f.Sync()
	}
	if closeErr := f.Close(); err == nil {
		err = closeErr
	}
	if err != nil {
		return err
	}
	if err := os.Rename(f.Name(), path); err != nil {
		return err
	}
	return syncDir(filepath.Dir(path))
}

// permitAs gives f the permissions of the file that it is to replace.
func permitAs(f *os.File, before fs.FileInfo) error {
	mode := before.Mode().Perm()
	if !keepGroup(f, before) {
		mode &^= 0o070 // they were another group's
	}
	now, err := f.Stat()
	if err != nil || now.Mode().Perm() == mode { // as where a file system has but one mode for all
		return err
	}
	return f.Chmod(mode)
}

// syncDir makes a rename last. Without it a power cut could bring the file of before
// back when what that names is gone.
func syncDir(path string) error {
	if runtime.GOOS == "windows" {
		return nil // it cannot be done there
	}
	d, err := os.Open(path)
	if err != nil {
		return err
	}
	defer d.Close()
	return d.Sync()
}

// profile decides everything about the profile in use: flag, then environment,
// then configuration file.
func (a *app) profile() (config.Settings, error) {
	conf, err := a.readConfig()
	if err != nil {
		return config.Settings{}, err
	}
	name, err := a.nameIn(conf)
	if err != nil {
		return config.Settings{}, err
	}
	a.profileName = name // errors tell it
	env, err := a.envConfig()
	if err != nil {
		return config.Settings{}, err
	}
	table, known := conf.Profiles[name]
	if !known && (env.ClientID == "" || env.Region == "" && env.BaseURL == "") {
		return config.Settings{}, unknownProfile(name, conf)
	}
	if err := noPassword(name, table.Store); err != nil {
		return config.Settings{}, err
	}
	return a.decide(name, env, table)
}

// noPassword refuses a password in the configuration, which is made to be shared.
func noPassword(name, store string) error {
	if !pgstore.HasPassword(store) {
		return nil
	}
	return &hinted{usagef("profile %s: there is a password in its store's address, and the configuration is no place for one", name),
		"leave it out there, and give it by PGPASSFILE, by PGPASSWORD, or with the whole address in EXACTAUTH_STORE or in a file (store = \"@FILE\")"}
}

// nameIn gives the name of the profile in use.
func (a *app) nameIn(conf config.Config) (string, error) {
	name := cmp.Or(a.profileName, a.defaultIn(conf))
	if name == "" {
		return "", &hinted{usagef("there are %d profiles and none is the default", len(conf.Profiles)),
			"name one with --profile, or choose: exactauth use " + slices.Sorted(maps.Keys(conf.Profiles))[0]}
	}
	if err := config.CheckProfileName(name); err != nil {
		return "", usagef("profile name %w", err)
	}
	return name, nil
}

// defaultIn gives the name of the profile that is in use where none is named, empty
// if there are several to choose from.
func (a *app) defaultIn(conf config.Config) string {
	name := cmp.Or(a.Env("EXACTAUTH_PROFILE"), conf.Default)
	if name == "" && len(conf.Profiles) <= 1 {
		name = "default"
		for only := range conf.Profiles {
			name = only
		}
	}
	return name
}

func unknownProfile(name string, conf config.Config) error {
	if len(conf.Profiles) == 0 {
		return &hinted{usagef("profile %s is not set up", name), `set it up: "exactauth setup"; or try without an account: "exactauth sandbox --demo"`}
	}
	return &hinted{usagef("profile %s is unknown", name),
		fmt.Sprintf("known are: %s; to set up a new one: \"exactauth setup --profile %s\"", strings.Join(slices.Sorted(maps.Keys(conf.Profiles)), " "), name)}
}

// envConfig reads the environment's share of a profile.
func (a *app) envConfig() (config.Profile, error) {
	c := config.Profile{
		Region:      a.Env("EXACTAUTH_REGION"),
		BaseURL:     a.Env("EXACTAUTH_BASE_URL"),
		ClientID:    a.Env("EXACTAUTH_CLIENT_ID"),
		RedirectURI: a.Env("EXACTAUTH_REDIRECT_URI"),
		Listen:      a.Env("EXACTAUTH_LISTEN"),
		Store:       a.Env("EXACTAUTH_STORE"),
		Seal:        a.Env("EXACTAUTH_SEAL"),
	}
	if s := a.Env("EXACTAUTH_DIVISION"); s != "" {
		n, err := strconv.Atoi(s)
		if err != nil || n <= 0 {
			return config.Profile{}, usagef("EXACTAUTH_DIVISION: %q is not a division's code", s)
		}
		c.Division = n
	}
	return c, nil
}

// decide merges layers, the stronger first, and checks the result as a whole. It
// gives what it has made of them with the error, too.
func (a *app) decide(name string, layers ...config.Profile) (config.Settings, error) {
	var c config.Profile
	for _, l := range slices.Backward(layers) {
		c = c.Under(l)
	}
	p := config.Settings{
		Name:                name,
		BaseURL:             strings.TrimSuffix(c.BaseURL, "/"),
		ClientID:            config.NormalClientID(c.ClientID),
		RedirectURI:         c.RedirectURI,
		Listen:              strings.TrimSuffix(c.Listen, "/"),
		Relay:               c.Relay,
		TLSCert:             c.TLSCert,
		TLSKey:              c.TLSKey,
		Division:            c.Division,
		Store:               c.Store,
		Seal:                c.Seal,
		ClientSecretCommand: c.ClientSecretCommand,
	}
	var faults []string
	switch {
	case c.Region != "" && c.BaseURL != "":
		faults = append(faults, "region and base URL are both given; one decides the other")
	case c.BaseURL == "":
		region, err := config.ParseRegion(cmp.Or(c.Region, "nl"))
		if err != nil {
			faults = append(faults, err.Error())
		}
		p.BaseURL = cmp.Or(region.BaseURL, config.Regions()[0].BaseURL)
	}
	if p.RedirectURI == "" {
		p.RedirectURI = config.DefaultRedirectURI
	}
	p.Store = cmp.Or(p.Store, storeFile)
	p.Seal = cmp.Or(p.Seal, sealNone)
	if err := checkStore(p.Store); err != nil {
		faults = append(faults, "store: "+err.Error())
	}
	if err := checkSeal(p.Seal); err != nil {
		faults = append(faults, fmt.Sprintf("seal %q: %v", p.Seal, err))
	}
	if err := p.Check(); err != nil {
		faults = append(faults, err.Error())
	}
	if len(faults) > 0 {
		return p, &hinted{usagef("profile %s: %s", name, strings.Join(faults, "; ")),
			fmt.Sprintf("correct it with flags of \"exactauth setup --profile %s\", or in the environment", name)}
	}
	return p, nil
}
