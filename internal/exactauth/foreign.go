package exactauth

import (
	"encoding/json"
	"errors"
	"maps"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode"

	"github.com/exactauth/exactauth/internal/config"
	"github.com/exactauth/exactauth/internal/fault"
	"github.com/exactauth/exactauth/internal/record"
)

// Foreign is a login as another program has stored it. Only Refresh is always known.
type Foreign struct {
	Refresh, Access   fault.Secret
	ExpiresAt         time.Time     // of Access
	Life              time.Duration // of Access
	ClientID, BaseURL string        // of its app
}

// ParseForeign finds the login in a file of another program: a refresh token alone, or
// fields with the usual names in JSON, in PHP's serialized form or in lines of NAME=VALUE
// or NAME: VALUE, at any depth and with any prefix. For example picqer's example has
// {"accesstoken","refreshtoken","expires_in"}, the last a Unix time,
// websmurf/laravel-exact-online {"exact_accessToken","exact_refreshToken","exact_tokenExpires"},
// the first serialized, and golang.org/x/oauth2 {"access_token","refresh_token","expiry"}.
func ParseForeign(text []byte) (Foreign, error) {
	s := strings.TrimSpace(string(text))
	var f foreign
	if value, ok := decodeForeign(s); ok {
		f.walk("", value, 0)
	} else if !strings.ContainsAny(s, "=: \t\r\n") {
		f.refresh = []string{s}
	} else {
		for line := range strings.Lines(s) {
			if i := strings.IndexAny(line, "=:"); i >= 0 {
				f.walk(line[:i], strings.Trim(line[i+1:], " \t\r\n'\",;>"), 0) // as in 'refresh_token' => '…',
			}
		}
	}
	slices.Sort(f.refresh)
	switch tokens := slices.Compact(f.refresh); {
	case len(tokens) == 0 || tokens[0] == "":
		return Foreign{}, errors.New("there is no refresh token in it")
	case len(tokens) > 1:
		return Foreign{}, errors.New("there are several refresh tokens in it; put the right one alone into a file")
	case strings.HasPrefix(tokens[0], "eyJpdiI6"): // {"iv":
		return Foreign{}, errors.New("its refresh token is encrypted by Laravel; decrypt it first")
	case !record.IsToken(tokens[0]) || strings.Contains(tokens[0], " ") || len(tokens[0]) < 40:
		return Foreign{}, errors.New("its refresh token cannot be one of Exact's, which have no blanks and at least 40 characters")
	default:
		f.Refresh = fault.NewSecret(tokens[0])
	}
	return f.Foreign, nil
}

// foreign is a login while it is searched for.
type foreign struct {
	Foreign
	refresh []string
}

// walk looks at a decoded value, and into strings that contain another: secret managers
// and caches have such.
func (f *foreign) walk(name string, value any, depth int) {
	switch v := value.(type) {
	case map[string]any:
		for _, key := range slices.Sorted(maps.Keys(v)) {
			f.walk(key, v[key], depth)
		}
	case []any:
		for _, one := range v {
			f.walk(name, one, depth)
		}
	case json.Number:
		f.field(name, v.String())
	case string:
		if inner, ok := decodeForeign(v); ok && depth < 8 {
			f.walk(name, inner, depth+1)
		} else {
			f.field(name, strings.TrimSpace(v))
		}
	}
}

func (f *foreign) field(name, text string) {
	name = strings.Map(func(r rune) rune {
		if !unicode.IsLetter(r) {
			return -1
		}
		return unicode.ToLower(r)
	}, name)
	ends := func(endings ...string) bool {
		return slices.ContainsFunc(endings, func(s string) bool { return strings.HasSuffix(name, s) })
	}
	switch {
	case text == "":
	case ends("refreshtoken"):
		f.refresh = append(f.refresh, text)
	case ends("accesstoken") && record.IsToken(text):
		f.Access = fault.NewSecret(text)
	case ends("clientid") && config.IsGUID(config.NormalClientID(text)):
		f.ClientID = config.NormalClientID(text)
	case ends("baseurl"):
		if u, err := url.Parse(text); err == nil && u.Host != "" {
			f.BaseURL = u.Scheme + "://" + u.Host
		}
	case strings.Contains(name, "refresh"): // its expiry
	case ends("expires", "expiresat", "expiry", "expiresin"):
		n, err := strconv.ParseFloat(text, 64)
		switch t, timeErr := time.Parse(time.RFC3339, text); {
		case timeErr == nil:
			f.ExpiresAt = t
		case err != nil || n < 1:
		case n < 1e6: // seconds from a time that is not known
			f.Life = time.Duration(n) * time.Second
		case n < 1e11:
			f.ExpiresAt = time.Unix(int64(n), 0)
		case n < 1e14:
			f.ExpiresAt = time.UnixMilli(int64(n))
		}
	}
}

// decodeForeign decodes an object or a list in JSON, or a value that PHP has serialized.
func decodeForeign(s string) (value any, ok bool) {
	if strings.HasPrefix(s, "{") || strings.HasPrefix(s, "[") {
		dec := json.NewDecoder(strings.NewReader(s))
		dec.UseNumber()
		return value, dec.Decode(&value) == nil && value != nil
	}
	p := php{s}
	value, ok = p.value()
	return value, ok && strings.TrimSpace(p.rest) == ""
}

// php reads what PHP's serialize writes.
type php struct{ rest string }

// until returns what comes before the next mark, and skips both.
func (p *php) until(mark string) (text string, ok bool) {
	text, p.rest, ok = strings.Cut(p.rest, mark)
	return text, ok
}

// quoted reads LENGTH:"TEXT".
func (p *php) quoted() (text string, ok bool) {
	length, _ := p.until(`:"`)
	n, err := strconv.Atoi(length)
	if err != nil || n < 0 || n >= len(p.rest) || p.rest[n] != '"' {
		return "", false
	}
	text, p.rest = p.rest[:n], p.rest[n+1:]
	return text, true
}

func (p *php) value() (value any, ok bool) {
	if strings.HasPrefix(p.rest, "N;") {
		p.rest = p.rest[2:]
		return nil, true
	}
	kind, ok := p.until(":")
	if !ok || len(kind) != 1 {
		return nil, false
	}
	switch kind {
	case "s":
		text, ok := p.quoted()
		end, _ := p.until(";")
		return text, ok && end == ""
	case "i", "d", "b":
		text, ok := p.until(";")
		return json.Number(text), ok
	case "O": // an object: its class, and then its fields
		if _, ok := p.quoted(); !ok || !strings.HasPrefix(p.rest, ":") {
			return nil, false
		}
		p.rest = p.rest[1:]
	case "a":
	default:
		return nil, false
	}
	count, _ := p.until(":{")
	n, err := strconv.Atoi(count)
	fields := map[string]any{}
	for ; err == nil && n > 0; n-- {
		key, isKey := p.value()
		field, isValue := p.value()
		if !isKey || !isValue {
			return nil, false
		}
		switch key := key.(type) {
		case string:
			fields[key] = field
		case json.Number:
			fields[key.String()] = field
		}
	}
	end, ok := p.until("}")
	return fields, err == nil && ok && end == ""
}
