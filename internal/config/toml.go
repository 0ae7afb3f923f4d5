package config

import (
	"bytes"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/pelletier/go-toml/v2/unstable"
)

const byteOrderMark = "\ufeff"

// span is a part of the file's text: the name in a header, or a key and its value.
type span struct{ from, to int }

// parse reads the text of the file: the key default, and for each profile a header
// [profiles.NAME] with its settings below. Other forms that TOML has for the same are
// errors, and so is an unknown key, which would silently not count.
//
// parse uses the library's parser without its decoder, whose reflection over our types
// costs a tenth of a whole call in each process (docs/performance.md). The parser does
// not look for what is there twice.
func parse(text []byte) (*Config, error) {
	c := &Config{Profiles: map[string]Values{}, text: text, spans: map[string]span{}}
	var p unstable.Parser
	if bytes.HasPrefix(text, []byte("\xff\xfe")) || bytes.HasPrefix(text, []byte("\xfe\xff")) {
		return nil, errors.New("it is in UTF-16, as PowerShell 5.1 writes it: save it as UTF-8")
	}
	if bytes.HasPrefix(text, []byte(byteOrderMark)) { // as Notepad writes it; blanks keep the places of all that follows
		text = append([]byte("   "), text[len(byteOrderMark):]...)
	}
	p.Reset(text)
	profile := "" // whose header is above
	for p.NextExpression() {
		e := p.Expression()
		path, at := keys(e)
		name := strings.Join(path, ".")
		setting := slices.IndexFunc(table, func(t Setting) bool { return t.Name == name })
		var err error
		switch {
		case e.Kind == unstable.Table && len(path) == 2 && path[0] == "profiles":
			profile, name = path[1], path[1]
			c.Profiles[profile] = Values{}
			err = CheckProfileName(profile)
		case e.Kind != unstable.KeyValue:
			err = fmt.Errorf("unknown table %s; want a header such as [profiles.acme]", name)
		case profile == "" && len(path) == 1 && name == "default":
			name = ""
			c.Default, err = Setting{Name: "default"}.decode(e.Value())
		case profile != "" && setting >= 0:
			c.Profiles[profile][name], err = table[setting].decode(e.Value())
			name = profile + "." + name
		default:
			err = fmt.Errorf("unknown key %s", name)
		}
		if _, again := c.spans[name]; again && err == nil {
			err = fmt.Errorf("%s is there twice", strings.Join(path, "."))
		}
		if err != nil {
			return nil, fmt.Errorf("line %d: %w", p.Shape(unstable.Range{Offset: uint32(at.from)}).Start.Line, err)
		}
		c.spans[name] = at
		if section := c.spans[profile]; profile != "" { // up to its last key
			c.spans[profile] = span{section.from, at.to}
		}
	}
	if broken := (*unstable.ParserError)(nil); errors.As(p.Error(), &broken) {
		at := p.Shape(p.Range(broken.Highlight)).Start
		return nil, fmt.Errorf("line %d, column %d: %s", at.Line, at.Column, broken.Message)
	}
	for _, values := range c.Profiles {
		values.prune()
	}
	return c, p.Error()
}

func (v Values) prune() { maps.DeleteFunc(v, func(_, value string) bool { return value == "" }) }

// keys returns the parts of a header's name or of a key, and where it and its value are.
func keys(n *unstable.Node) (path []string, at span) {
	for it := n.Key(); it.Next(); {
		key := it.Node().Raw
		if path == nil {
			at.from = int(key.Offset)
		}
		at.to = int(key.Offset + key.Length)
		path = append(path, string(it.Node().Data))
	}
	if n.Kind == unstable.KeyValue {
		at.to = int(n.Raw.Offset + n.Raw.Length)
	}
	return path, at
}

// decode returns the value in the file, empty if it is the zero value.
func (t Setting) decode(v *unstable.Node) (string, error) {
	want := [...]unstable.Kind{Text: unstable.String, Switch: unstable.Bool, Number: unstable.Integer}
	text := string(v.Data)
	if v.Kind != want[t.Kind] {
		return "", fmt.Errorf("%s: want %s", t.Name, [...]string{Text: "text in quotes", Switch: "true or false", Number: "a whole number"}[t.Kind])
	}
	if t.Kind == Number { // TOML writes numbers as Go does
		n, err := strconv.ParseInt(text, 0, 0)
		if err != nil {
			return "", fmt.Errorf("%s: the number is too large", t.Name)
		}
		text = strconv.FormatInt(n, 10)
	}
	return t.Parse(text)
}

func (t Setting) encode(value string) string {
	special := func(r rune) bool { return r < ' ' || r == 0x7f }
	switch {
	case t.Kind != Text:
		return t.Name + " = " + value
	case !strings.ContainsRune(value, '\'') && !strings.ContainsFunc(value, special):
		return t.Name + " = '" + value + "'"
	}
	var b strings.Builder
	for _, r := range value {
		switch {
		case r == '"' || r == '\\':
			b.WriteString(`\` + string(r))
		case special(r):
			fmt.Fprintf(&b, `\u%04X`, r)
		default:
			b.WriteRune(r)
		}
	}
	return t.Name + ` = "` + b.String() + `"`
}
