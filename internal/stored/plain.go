package stored

import (
	"strconv"
	"strings"
	"time"
	"unicode/utf8"
)

// decodePlain reads a record in the form that Encode gives it: each field in its
// place and on its line, no escapes. A login with a problem noted in it is not plain.
//
// It spares a process that prints a live token the acquaintance of encoding/json
// with our types, by reflection and in each process anew, which took a fifth of the
// time of a whole call (docs/performance.md).
func decodePlain(b []byte) (*Record, bool) {
	f := fields{rest: string(b), more: true, plain: utf8.Valid(b)}
	var r Record
	var l Login
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
		l.User = &User{ID: f.text("id"), UserName: f.text("user_name"), FullName: f.text("full_name"), Email: f.text("email"), Division: f.number("division")}
		f.end()
	}
	f.end()
	f.end()
	return &r, f.plain && !f.more && f.rest == ""
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
	text, ok := plainString(value)
	f.plain = f.plain && ok
	return text
}

func (f *fields) number(key string) int {
	value, ok := f.value(key)
	if !ok {
		return 0
	}
	n, err := strconv.ParseInt(value, 10, 32)
	f.plain = f.plain && err == nil && n > 0 && value[0] != '0' && value[0] != '+'
	return int(n)
}

func (f *fields) time(key string) (t time.Time) {
	if value, ok := f.value(key); ok {
		f.plain = t.UnmarshalJSON([]byte(value)) == nil && f.plain
	}
	return t
}

// plainString takes the quotes off a string in which nothing has a special meaning.
func plainString(s string) (string, bool) {
	if len(s) < 2 || s[0] != '"' || s[len(s)-1] != '"' {
		return "", false
	}
	s = s[1 : len(s)-1]
	for i := range len(s) {
		if s[i] < ' ' || s[i] == '"' || s[i] == '\\' {
			return "", false
		}
	}
	return s, true
}
