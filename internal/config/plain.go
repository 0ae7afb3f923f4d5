package config

import (
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"
)

// parsePlain reads a configuration as "exactauth setup" writes it: tables of
// profiles, a value a line. It spares a process that prints a live token the TOML
// library's acquaintance with our types (docs/performance.md).
func parsePlain(b []byte) (Config, bool) {
	var c Config
	table := "" // the profile's that lines are in
	for line := range strings.Lines(string(b)) {
		line = strings.TrimSuffix(line, "\n")
		key, value, _ := strings.Cut(line, " = ")
		name, header := strings.CutPrefix(line, "[profiles.")
		name, closed := strings.CutSuffix(name, "]")
		_, again := c.Profiles[name]
		switch {
		case !utf8.ValidString(line) || strings.ContainsFunc(line, unicode.IsControl):
			return Config{}, false
		case line == "" || line[0] == '#':
		case header && closed && !again && bare(name):
			if c.Profiles == nil {
				c.Profiles = map[string]Profile{}
			}
			table, c.Profiles[name] = name, Profile{}
		case table != "":
			p := c.Profiles[table]
			if !plainValue(&p, key, value) {
				return Config{}, false
			}
			c.Profiles[table] = p
		case key != "default" || !setText(&c.Default, value):
			return Config{}, false
		}
	}
	return c, true
}

// plainValue sets what a profile does not have yet.
func plainValue(p *Profile, key, value string) bool {
	switch key {
	case "region":
		return setText(&p.Region, value)
	case "base_url":
		return setText(&p.BaseURL, value)
	case "client_id":
		return setText(&p.ClientID, value)
	case "redirect_uri":
		return setText(&p.RedirectURI, value)
	case "listen":
		return setText(&p.Listen, value)
	case "store":
		return setText(&p.Store, value)
	case "seal":
		return setText(&p.Seal, value)
	case "relay":
		set := value == "true" && !p.Relay
		p.Relay = true
		return set
	case "division":
		n, ok := natural(value)
		set := ok && p.Division == 0
		p.Division = n
		return set
	}
	return false
}

func setText(to *string, value string) bool {
	text, ok := quoted(value, '\'')
	if !ok {
		text, ok = quoted(value, '"')
	}
	set := ok && *to == "" && text != ""
	*to = text
	return set
}

// bare reports whether a profile's name needs no quotes.
func bare(name string) bool {
	return name != "" && strings.Trim(name, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_") == ""
}

// natural reads a number as TOML has it, from 1 on.
func natural(s string) (int, bool) {
	n, err := strconv.ParseInt(s, 10, 32)
	return int(n), err == nil && n > 0 && s[0] != '0' && s[0] != '+'
}

// quoted takes the quotes off a string in which nothing has a special meaning.
func quoted(s string, quote byte) (string, bool) {
	if len(s) < 2 || s[0] != quote || s[len(s)-1] != quote {
		return "", false
	}
	s = s[1 : len(s)-1]
	for i := range len(s) {
		if s[i] < ' ' || s[i] == quote || s[i] == '\\' {
			return "", false
		}
	}
	return s, true
}
