package config

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
	"slices"
	"strings"
	"time"

	"github.com/gofrs/flock"

	"github.com/exactauth/exactauth/internal/durable"
)

// Change changes the file under a lock; the change is durable when Change returns.
// What change does not touch stays as a person wrote it, comments and all. Where that
// cannot be, the whole file is written and note is called.
func Change(ctx context.Context, env func(string) string, note func(string), change func(*Config) error) error {
	dir, err := Dir(env)
	if err != nil {
		return err
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return fileError(dir, err)
	}
	if err := checkDir(dir); err != nil { // what is written there could not be read
		return err
	}
	lock := flock.New(filepath.Join(dir, FileName+".lock"), flock.SetPermissions(0o600))
	if _, err := lock.TryLockContext(ctx, 20*time.Millisecond); err != nil {
		if ctx.Err() != nil { // another process holds it, and nothing is wrong with the configuration
			return fmt.Errorf("configuration %s: waiting for its lock: %w", dir, context.Cause(ctx))
		}
		return fileError(dir, fmt.Errorf("cannot lock it: %w", err))
	}
	defer lock.Close()

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
	edited, whole, err := before.edit(after)
	if err != nil {
		return fileError(path, err)
	}
	permit := func(f *os.File) error { // it keeps the old file's permissions; a new file is private
		old, err := os.Stat(path)
		if err != nil {
			return nil
		}
		return permitAs(f, old)
	}
	if err := durable.Replace(path, edited, permit); err != nil {
		return fileError(path, err)
	}
	if whole && bytes.ContainsRune(before.text, '#') {
		note(fmt.Sprintf("configuration %s: a part of it could not be changed alone, so all of it was written anew, without its comments", path))
	}
	return nil
}

// edit returns the text of after: the text of c with edits in it, or if the result does
// not read as after, a whole new one.
func (c *Config) edit(after *Config) (text []byte, whole bool, err error) {
	if text, ok := c.splice(after); ok && after.isIn(text) {
		return text, false, nil
	}
	if text := after.encode(); after.isIn(text) {
		return text, true, nil
	}
	return nil, false, errors.New("a value is not valid text")
}

// isIn reports whether text reads as c.
func (c *Config) isIn(text []byte) bool {
	read, err := parse(text)
	return err == nil && read.Default == c.Default && maps.EqualFunc(read.Profiles, c.Profiles, func(a, b Values) bool {
		return maps.Equal(a, Values{}.Under(b)) // without what is empty
	})
}

// encode writes the whole file.
func (c *Config) encode() []byte {
	var b bytes.Buffer
	if c.Default != "" {
		fmt.Fprintf(&b, "default = %q\n", c.Default)
	}
	for _, name := range c.Names() {
		if b.Len() > 0 {
			b.WriteByte('\n')
		}
		fmt.Fprintf(&b, "[profiles.%s]\n", name)
		for _, t := range Table() {
			if value := c.Profiles[name][t.Name]; value != "" {
				fmt.Fprintf(&b, "%s = %s\n", t.Name, quoted(value, t.Kind))
			}
		}
	}
	return b.Bytes()
}

// splice edits the text of c: a value that changes is replaced where it is, and what is
// new gets lines of its own. It edits profiles that have headers only.
func (c *Config) splice(after *Config) (edited []byte, ok bool) {
	eol := "\n"
	if bytes.Contains(c.text, []byte("\r\n")) {
		eol = "\r\n"
	}
	text := strings.TrimRight(string(c.text), "\r\n") + eol
	if len(c.text) == 0 {
		text = "# exactauth's profiles. There is no secret in this file.\n\n"
	}
	lineStart := func(at int) int { return strings.LastIndexByte(text[:at], '\n') + 1 }
	lineEnd := func(at int) int { return at + strings.IndexByte(text[at:], '\n') + 1 }
	type edit struct {
		span
		text string
	}
	var edits []edit
	remove := func(at span) { // the lines of at, and blank ones behind them
		at = span{lineStart(at.from), lineEnd(at.to)}
		for strings.HasPrefix(text[at.to:], eol) {
			at.to += len(eol)
		}
		edits = append(edits, edit{at, ""})
	}
	if at, here := c.spans["default."]; c.Default != after.Default {
		line := fmt.Sprintf("default = %q", after.Default)
		switch {
		case here && after.Default == "":
			remove(at)
		case here:
			edits = append(edits, edit{at, line})
		default:
			first := len(text)
			for name, at := range c.spans {
				if !strings.Contains(name, ".") { // a header
					first = min(first, lineStart(at.from))
				}
			}
			edits = append(edits, edit{span{first, first}, line + eol + eol})
		}
	}
	fresh := &Config{Profiles: maps.Clone(after.Profiles)}
	for name, values := range c.Profiles {
		delete(fresh.Profiles, name)
		header, headed := c.spans[name]
		changed, keep := after.Profiles[name]
		switch {
		case keep && maps.Equal(values, changed):
			continue
		case !headed:
			return nil, false
		case !keep:
			remove(header)
			continue
		}
		next := lineEnd(header.to)
		for _, t := range Table() {
			line := t.Name + " = " + quoted(changed[t.Name], t.Kind)
			at, here := c.spans[name+"."+t.Name]
			switch {
			case values[t.Name] == changed[t.Name]:
			case here && changed[t.Name] == "":
				edits = append(edits, edit{span{lineStart(at.from), lineEnd(at.to)}, ""})
			case here:
				edits = append(edits, edit{at, line})
			default:
				edits = append(edits, edit{span{next, next}, line + eol})
			}
		}
	}
	slices.SortStableFunc(edits, func(a, b edit) int { return cmp.Compare(a.from, b.from) })
	var b strings.Builder
	done := 0
	for _, e := range edits {
		b.WriteString(text[done:e.from] + e.text)
		done = e.to
	}
	b.WriteString(text[done:])
	result := strings.TrimRight(b.String(), "\r\n") + eol
	if tables := string(fresh.encode()); tables != "" {
		result += eol + strings.ReplaceAll(tables, "\n", eol)
	}
	return []byte(result), true
}

// permitAs gives f the permissions of the file that it replaces.
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
