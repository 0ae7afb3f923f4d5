package config

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/pelletier/go-toml/v2/unstable"
)

// span is a part of the file's text: a header's name, or a key and its value.
type span struct{ from, to int }

// reader makes a Config of TOML. It uses the library's parser without the decoder,
// whose reflection over our types costs a tenth of a whole call in each process
// (docs/performance.md). The parser accepts what is defined twice; reader does not,
// nor some rare forms that TOML has, such as a profile that is defined in two places.
type reader struct {
	unstable.Parser
	*Config
	kinds  map[string]Kind // of the settings
	table  []string        // the header above
	place  int             // its number
	places int             // how many headers and inline tables there have been
	headed bool            // there is a header [profiles]
	made   map[string]int  // the place that defines each profile, and under "*" the one that defines all
}

// parse reads the text of the file. A key that is not in the table of settings is an
// error, since a misspelt one would silently not count.
func parse(text []byte) (*Config, error) {
	r := reader{Config: &Config{Profiles: map[string]Values{}, text: text, spans: map[string]span{}}, made: map[string]int{}, kinds: map[string]Kind{}}
	for _, t := range Table() {
		r.kinds[t.Name] = t.Kind
	}
	r.Reset(text)
	for r.NextExpression() {
		path, at := keys(r.Expression())
		if err := r.expression(r.Expression(), path, at); err != nil {
			return nil, fmt.Errorf("line %d: %w", r.Shape(unstable.Range{Offset: uint32(at.from)}).Start.Line, err)
		}
	}
	if broken := (*unstable.ParserError)(nil); errors.As(r.Error(), &broken) {
		at := r.Shape(r.Range(broken.Highlight)).Start
		return nil, fmt.Errorf("line %d, column %d: %s", at.Line, at.Column, broken.Message)
	}
	for _, values := range r.Profiles {
		maps.DeleteFunc(values, func(_, value string) bool { return value == "" })
	}
	return r.Config, r.Error()
}

// keys returns the parts of a header's name or of a dotted key.
func keys(n *unstable.Node) (path []string, at span) {
	for it := n.Key(); it.Next(); {
		key := it.Node()
		if path == nil {
			at.from = int(key.Raw.Offset)
		}
		at.to = int(key.Raw.Offset + key.Raw.Length)
		path = append(path, string(key.Data))
	}
	return path, at
}

// expression reads a header, or a key with its value.
func (r *reader) expression(e *unstable.Node, path []string, at span) error {
	if e.Kind == unstable.KeyValue {
		if len(r.table) == 0 && len(path) > 1 { // profiles.acme.region = 'nl'
			if err := r.claim("*", r.place); err != nil {
				return err
			}
		}
		if err := r.value(slices.Concat(r.table, path), e.Value(), r.place); err != nil {
			return err
		}
		at.to = int(e.Raw.Offset + e.Raw.Length)
		switch len(r.table) {
		case 0:
			r.spans[path[0]+"."] = at // "default."
		case 2:
			name := r.table[1]
			r.spans[name+"."+path[0]] = at
			r.spans[name] = span{r.spans[name].from, at.to}
		}
		return nil
	}
	if e.Kind != unstable.Table || path[0] != "profiles" || len(path) > 2 {
		return fmt.Errorf("unknown table %s", strings.Join(path, "."))
	}
	if _, whole := r.made["*"]; whole || r.headed && len(path) == 1 {
		return errors.New("profiles is defined twice")
	}
	r.table, r.place = path, r.newPlace()
	if len(path) == 1 {
		r.headed = true
		return nil
	}
	r.spans[path[1]] = at
	return r.claim(path[1], r.place)
}

// value reads the value of a key in full. place is where the key is.
func (r *reader) value(path []string, v *unstable.Node, place int) (err error) {
	kind, known := r.kinds[path[len(path)-1]]
	_, again := r.spans["default."]
	switch {
	case len(path) == 1 && path[0] == "default" && again:
		return errors.New("default is set twice")
	case len(path) == 1 && path[0] == "default":
		r.Default, err = scalar(v, Text)
	case path[0] != "profiles" || len(path) > 3 || len(path) == 3 && !known:
		return fmt.Errorf("unknown key %s", strings.Join(path, "."))
	case len(path) == 3:
		if err := r.claim(path[1], place); err != nil {
			return err
		}
		values := r.Profiles[path[1]]
		if _, again := values[path[2]]; again {
			return fmt.Errorf("%s is set twice", path[2])
		}
		values[path[2]], err = scalar(v, kind)
	case v.Kind != unstable.InlineTable:
		err = errors.New("want a table")
	default: // profiles = {acme = {region = 'nl'}}
		name := "*"
		if len(path) == 2 {
			name = path[1]
		}
		inner := r.newPlace()
		if err := r.claim(name, inner); err != nil {
			return err
		}
		for it := v.Children(); it.Next() && err == nil; {
			key, _ := keys(it.Node())
			err = r.value(slices.Concat(path, key), it.Node().Value(), inner)
		}
		return err
	}
	if err != nil {
		err = fmt.Errorf("%s: %w", strings.Join(path, "."), err)
	}
	return err
}

func (r *reader) newPlace() int {
	r.places++
	return r.places
}

// claim makes a profile, or all of them for "*", unless another place did.
func (r *reader) claim(name string, place int) error {
	before, again := r.made[name]
	switch {
	case again && before == place:
		return nil
	case again:
		return fmt.Errorf("profile %s is defined twice", name)
	}
	r.made[name] = place
	if name == "*" {
		return nil
	}
	if err := CheckProfileName(name); err != nil {
		return fmt.Errorf("profile name %w", err)
	}
	r.Profiles[name] = Values{}
	return nil
}

// scalar returns a value as text, empty if it is the zero value.
func scalar(v *unstable.Node, kind Kind) (string, error) {
	text := string(v.Data)
	switch {
	case kind == Text && v.Kind == unstable.String, kind == Switch && v.Kind == unstable.Bool && text == "true":
		return text, nil
	case kind == Switch && v.Kind == unstable.Bool:
		return "", nil
	case kind == Number && v.Kind == unstable.Integer:
		n, err := strconv.ParseInt(text, 0, 0) // TOML writes them as Go does
		if err != nil {
			return "", errors.New("the number is too large")
		}
		if n == 0 {
			return "", nil
		}
		return strconv.FormatInt(n, 10), nil
	}
	return "", errors.New([]string{"want text in quotes", "want true or false", "want a whole number"}[kind])
}

// quoted writes a value in TOML.
func quoted(value string, kind Kind) string {
	if kind != Text {
		return value
	}
	special := func(r rune) bool { return r < ' ' || r == 0x7f }
	if !strings.ContainsRune(value, '\'') && !strings.ContainsFunc(value, special) {
		return "'" + value + "'"
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
	return `"` + b.String() + `"`
}
