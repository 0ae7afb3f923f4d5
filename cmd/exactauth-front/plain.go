package main

import (
	"strconv"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/exactauth/exactauth/internal/config"
	"github.com/exactauth/exactauth/internal/stored"
)

// Here the two files are read in the form in which exactauth itself writes them;
// any other form is left to the parsers that know them all. Those get to know our
// types by reflection first, in each process anew, which took a fifth of the time
// of a whole call (docs/performance.md).

// plainRecord reads a record as stored.Encode writes it: each field in its place
// and on its line, no escapes. A login with a problem noted in it is not plain.
func plainRecord(b []byte) (*stored.Record, bool) {
	f := fields{rest: string(b), more: true, plain: utf8.Valid(b)}
	var r stored.Record
	var l stored.Login
	if !f.begin("{") {
		return nil, false
	}
	r.Version = f.number("version")
	r.BaseURL = f.text("base_url")
	r.ClientID = f.text("client_id")
	r.ClientSecret = f.text("client_secret")
	r.Generation = f.number("generation")
	if !f.begin(`"login": {`) {
		return nil, false
	}
	r.Login = &l
	l.AccessToken = f.text("access_token")
	l.RefreshToken = f.text("refresh_token")
	l.LifeSeconds = f.number("life_seconds")
	l.RequestedAt = f.time("requested_at")
	l.RepliedAt = f.time("replied_at")
	l.ServerDate = f.time("server_date")
	l.PreviousRefreshToken = f.text("previous_refresh_token")
	l.SpentAt = f.time("spent_at")
	if f.begin(`"user": {`) {
		l.User = &stored.User{ID: f.text("id"), UserName: f.text("user_name"), FullName: f.text("full_name"), Email: f.text("email"), Division: f.number("division")}
		f.end()
	}
	f.end()
	f.end()
	// What stored.Decode asks of a record.
	good := r.Version == stored.PlainVersion && r.BaseURL != "" && r.ClientID != "" && l.AccessToken != "" && l.RefreshToken != "" &&
		l.LifeSeconds > 0 && !l.RequestedAt.IsZero() && !l.RepliedAt.Before(l.RequestedAt)
	return &r, good && f.plain && !f.more && f.rest == ""
}

// fields takes JSON apart line by line. What does not come next is left out: a
// field that is not known, or not in its place, is met by end.
type fields struct {
	rest  string
	more  bool // the last line ended in a comma or opened an object, so a field must follow
	plain bool // until something is not
}

// begin goes into an object if the next line opens it.
func (f *fields) begin(line string) bool {
	rest, ok := strings.CutPrefix(strings.TrimLeft(f.rest, " "), line+"\n")
	if ok {
		f.plain = f.plain && f.more
		f.rest, f.more = rest, true
	}
	return ok
}

func (f *fields) end() {
	line, rest, ended := strings.Cut(strings.TrimLeft(f.rest, " "), "\n")
	line, more := strings.CutSuffix(line, ",")
	f.plain = f.plain && !f.more && ended && line == "}"
	f.rest, f.more = rest, more
}

// value gives what the key has, if that comes next.
func (f *fields) value(key string) (value string, ok bool) {
	line, ok := strings.CutPrefix(strings.TrimLeft(f.rest, " "), `"`+key+`": `)
	if !ok {
		return "", false
	}
	value, f.rest, _ = strings.Cut(line, "\n")
	f.plain = f.plain && f.more
	value, f.more = strings.CutSuffix(value, ",")
	return value, true
}

func (f *fields) text(key string) string {
	value, ok := f.value(key)
	if !ok {
		return ""
	}
	text, ok := quoted(value, '"')
	f.plain = f.plain && ok
	return text
}

func (f *fields) number(key string) int {
	value, ok := f.value(key)
	if !ok {
		return 0
	}
	n, ok := natural(value)
	f.plain = f.plain && ok
	return n
}

func (f *fields) time(key string) (t time.Time) {
	if value, ok := f.value(key); ok {
		f.plain = t.UnmarshalJSON([]byte(value)) == nil && f.plain
	}
	return t
}

// plainConfig reads a configuration as "exactauth setup" writes it: tables of
// profiles, a value a line.
func plainConfig(b []byte) (config.Config, bool) {
	var c config.Config
	table := "" // the profile's that lines are in
	for line := range strings.Lines(string(b)) {
		line = strings.TrimSuffix(line, "\n")
		key, value, _ := strings.Cut(line, " = ")
		name, header := strings.CutPrefix(line, "[profiles.")
		name, closed := strings.CutSuffix(name, "]")
		_, again := c.Profiles[name]
		switch {
		case !utf8.ValidString(line) || strings.ContainsFunc(line, unicode.IsControl):
			return config.Config{}, false
		case line == "" || line[0] == '#':
		case header && closed && !again && bare(name):
			if c.Profiles == nil {
				c.Profiles = map[string]config.Profile{}
			}
			table, c.Profiles[name] = name, config.Profile{}
		case table != "":
			p := c.Profiles[table]
			if !plainValue(&p, key, value) {
				return config.Config{}, false
			}
			c.Profiles[table] = p
		case key != "default" || !setText(&c.Default, value):
			return config.Config{}, false
		}
	}
	return c, true
}

// plainValue sets what a profile does not have yet.
func plainValue(p *config.Profile, key, value string) bool {
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

// natural reads a number as JSON and TOML both have it, from 1 on.
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
