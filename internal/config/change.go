package config

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"sort"
	"strings"

	"github.com/exactauth/exactauth/internal/durable"
	"github.com/exactauth/exactauth/internal/trust"
)

// Change changes the file under a lock; the change is durable when Change returns.
// What change does not touch stays as a person wrote it, comments and all.
//
// ready, which may be nil, changes the record that goes with the file. Change calls it when
// the new file is written and only its rename is left, because that can hardly fail, and
// returns its error as it is; the file then stays.
func Change(ctx context.Context, env func(string) string, change func(*Config) error, ready func() error) error {
	dir, err := Dir(env)
	if err != nil {
		return err
	}
	if err := durable.MakeDirs(dir); err != nil {
		return fileError(dir, err)
	}
	if _, err := trust.File(dir); err != nil { // what is written there could not be read
		return fileError(dir, err)
	}
	root, err := os.OpenRoot(dir)
	if err != nil {
		return fileError(dir, err)
	}
	defer root.Close()
	unlock, err := durable.Lock(ctx, root, FileName+".lock")
	if err != nil {
		if ctx.Err() != nil { // another process holds it, and nothing is wrong with the configuration
			return fmt.Errorf("configuration %s: waiting for its lock: %w", dir, context.Cause(ctx))
		}
		return fileError(dir, fmt.Errorf("cannot lock it: %w", err))
	}
	defer unlock()

	before, err := read(dir)
	if err != nil {
		return err
	}
	after := &Config{Default: before.Default, Profiles: map[string]Values{}}
	for name, values := range before.Profiles {
		after.Profiles[name] = maps.Clone(values)
	}
	if err := change(after); err != nil {
		return err
	}
	path := filepath.Join(dir, FileName)
	// A link, as from a directory of dotfiles, stays one.
	if real, err := filepath.EvalSymlinks(path); err == nil {
		path = real
	}
	if err := replaceable(path); err != nil {
		return fileError(path, err)
	}
	text, err := before.edit(after)
	if err != nil {
		return fileError(path, err)
	}
	var notReady error
	late := false
	err = durable.Replace(path, text, func(f *os.File) error {
		if err := permitAs(f, path); err != nil || ready == nil {
			return err
		}
		if err := f.Sync(); err != nil {
			return err
		}
		notReady = ready()
		late = notReady == nil
		return notReady
	})
	if err == nil || notReady != nil {
		return notReady
	}
	err = fileError(path, err)
	if file := (*FileError)(nil); errors.As(err, &file) {
		file.Late = late
	}
	return err
}

// replaceable says why a rename cannot replace the file path, or returns nil.
func replaceable(path string) error {
	root, err := os.OpenRoot(filepath.Dir(path))
	if err != nil {
		return err
	}
	defer root.Close()
	return durable.Replaceable(root, filepath.Base(path))
}

// edit returns the text of c, edited to read as after: a value that changes is replaced
// where it is, and what is new gets lines of its own.
func (c *Config) edit(after *Config) ([]byte, error) {
	eol := "\n"
	if bytes.Contains(c.text, []byte("\r\n")) {
		eol = "\r\n"
	}
	text := strings.TrimRight(string(c.text), "\r\n") + eol
	if len(c.text) == 0 {
		text = "# exactauth's profiles. There is no secret in this file.\n\n"
	}
	top := len(byteOrderMark) * strings.Count(text[:min(len(text), len(byteOrderMark))], byteOrderMark)
	lineStart := func(at int) int { return max(top, strings.LastIndexByte(text[:at], '\n')+1) }
	lineEnd := func(at int) int { return at + strings.IndexByte(text[at:], '\n') + 1 }
	type edit struct {
		span
		text string
	}
	var edits []edit
	// put replaces what key names by line. An empty line removes the lines of key, and
	// blank ones behind them if there is one before. A new line goes to next.
	put := func(key, line string, next int) {
		at, here := c.spans[key]
		switch {
		case !here:
			at, line = span{next, next}, line+eol
		case line == "":
			at = span{lineStart(at.from), lineEnd(at.to)}
			for (at.from == top || strings.HasSuffix(text[:at.from], eol+eol)) && strings.HasPrefix(text[at.to:], eol) {
				at.to += len(eol)
			}
		}
		edits = append(edits, edit{at, line})
	}

	if c.Default != after.Default {
		first, line := len(text), ""
		if after.Default != "" {
			line = fmt.Sprintf("default = %q", after.Default)
		}
		for name := range c.Profiles {
			first = min(first, lineStart(c.spans[name].from))
		}
		if _, here := c.spans[""]; !here {
			line += eol
		}
		put("", line, first)
	}
	for name, values := range c.Profiles {
		changed, keep := after.Profiles[name]
		if !keep {
			put(name, "", 0)
			continue
		}
		for _, t := range table {
			if value := changed[t.Name]; value == "" && values[t.Name] != "" {
				put(name+"."+t.Name, "", 0)
			} else if value != values[t.Name] {
				put(name+"."+t.Name, t.encode(value), lineEnd(c.spans[name].to))
			}
		}
	}
	sort.SliceStable(edits, func(i, k int) bool { return edits[i].from < edits[k].from })
	var b strings.Builder
	done := 0
	for _, e := range edits {
		b.WriteString(text[done:max(done, e.from)] + e.text)
		done = max(done, e.to)
	}
	edited := strings.TrimRight(b.String()+text[done:], "\r\n") + eol
	for _, name := range after.Names() {
		if _, had := c.Profiles[name]; had {
			continue
		}
		edited += eol + "[profiles." + name + "]" + eol
		for _, t := range table {
			if value := after.Profiles[name][t.Name]; value != "" {
				edited += t.encode(value) + eol
			}
		}
	}
	for _, values := range after.Profiles {
		values.prune()
	}
	got, err := parse([]byte(edited))
	if err != nil || got.Default != after.Default || !maps.EqualFunc(got.Profiles, after.Profiles, maps.Equal[Values, Values]) {
		return nil, errors.New("a value is not valid text")
	}
	return []byte(edited), nil
}

// permitAs sets f to the permissions of the file that it replaces. A new file is private.
func permitAs(f *os.File, path string) error {
	before, err := os.Stat(path)
	if err != nil {
		return nil
	}
	mode := before.Mode().Perm()
	if !keepGroup(f, path, before) {
		mode &^= 0o070 // they were another group's
	}
	now, err := f.Stat()
	if err != nil || now.Mode().Perm() == mode { // as where a file system has but one mode for all
		return err
	}
	return f.Chmod(mode)
}
