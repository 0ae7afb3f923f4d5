package exactsim

import (
	"bytes"
	"encoding/json"
	"encoding/xml"
	"fmt"
	"mime"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"
)

const (
	apiPath = "/api/v1/"
	mePath  = "/api/v1/current/Me"

	pageSize = 60 // entities in one reply (Exact KB "REST API - Restrictions")
)

// property is one value of an entity. Value is a string, an int, an int64, a
// bool or a time.Time.
type property struct {
	name  string
	value any
}

type entity []property

// feed is what an endpoint has to show.
type feed struct {
	model    string // type name of the entities
	key      string // property that names an entity in its address
	entities []entity
}

// api answers the REST API.
func (s *Sim) api(c *call) answer {
	scheme, token, _ := strings.Cut(c.Header.Get("Authorization"), " ")
	at, live := s.liveAccess(token, c.now)
	who := caller{endpoint: c.URL.Path}
	if at.grant != nil {
		who.grantKey = at.grantKey
	}
	if s.limits.blocked(who, c.now) {
		return s.block()
	}
	var a answer
	if live && strings.EqualFold(scheme, "Bearer") {
		// The new access token has arrived: the end of Grace.
		if at.generation == at.grant.generation {
			at.previous = ""
		}
		a = s.serveAPI(c, who.grantKey)
	} else {
		a = s.unauthorized(c)
	}
	s.limits.count(who, a.status, s.cfg.ErrorLimit, c.now)
	return a
}

func (s *Sim) unauthorized(c *call) answer {
	if s.cfg.Empty401 {
		return reply(http.StatusUnauthorized, Unauthorized, "", nil)
	}
	// Percent signs in lower case, as ASP.NET writes them.
	target := "/docs/Login.aspx?ReturnUrl=" + strings.ToLower(url.QueryEscape(c.URL.Path))
	return reply(http.StatusUnauthorized, Unauthorized, "text/html; charset=utf-8",
		[]byte("<html><head><title>Object moved</title></head><body>\r\n"+
			`<h2>Object moved to <a href="`+target+`">here</a>.</h2>`+"\r\n</body></html>\r\n"))
}

// serveAPI answers an authenticated call.
func (s *Sim) serveAPI(c *call, k grantKey) answer {
	format, ok := negotiate(c.Header.Values("Accept"))
	if !ok {
		return reply(http.StatusUnsupportedMediaType, MediaTypeRefused, "", nil)
	}
	user, ok := s.user(k.user)
	if !ok || user.Inactive {
		return apiError(format, http.StatusForbidden, InactiveUser, "Forbidden")
	}
	if c.Method != http.MethodGet {
		return methodNotAllowed(http.MethodGet)
	}
	if c.URL.Path == mePath {
		return serveFeed(c, format, s.me(user, c))
	}

	number, list, _ := strings.Cut(strings.TrimPrefix(c.URL.Path, apiPath), "/")
	division, err := strconv.Atoi(number)
	if err != nil || !slices.Contains([]string{"system/Divisions", "system/AllDivisions", "hrm/Divisions"}, list) {
		return apiError(format, http.StatusNotFound, APIError, "Resource not found for the segment.")
	}
	i := slices.IndexFunc(user.Divisions, func(d Division) bool { return d.Code == division })
	if i < 0 {
		return apiError(format, http.StatusForbidden, NoDivisionAccess, "Forbidden")
	}
	headers, ok := s.spendCall(divisionKey{k.client, division}, c.now)
	var a answer
	switch {
	case !ok:
		a = reply(http.StatusTooManyRequests, RateLimited, "", nil)
	case s.apps[k.client].NoDivisionScope:
		a = apiError(format, http.StatusForbidden, APIError,
			"Forbidden - Application Scope Violated. Cannot read 'organization.administration' scope.")
	default:
		a = serveFeed(c, format, s.divisions(list, user, user.Divisions[i]))
	}
	for name, v := range headers {
		a.header[name] = v
	}
	return a
}

func (s *Sim) me(u User, c *call) feed {
	return feed{"Exact.Web.Api.Models.System.Me", "UserID", []entity{{
		{"CurrentDivision", u.CurrentDivision},
		{"Email", u.Email},
		{"FullName", u.FullName},
		{"IsOEIMigrationMandatory", false},
		{"LanguageCode", u.LanguageCode},
		{"Legislation", int64(1)},
		{"ServerTime", c.now},
		{"ServerUtcOffset", 0},
		{"UserID", u.ID},
		{"UserName", u.UserName},
	}}}
}

// divisions returns one of the three lists: system/Divisions has those that the
// user can open, system/AllDivisions all there are, hrm/Divisions those of the
// licence of the division in the address (Exact KB "REST API reference").
func (s *Sim) divisions(list string, u User, at Division) feed {
	visible := slices.Clone(u.Divisions)
	hid, main, model := "Hid", "IsMainDivision", "Exact.Web.Api.Models.System.Division"
	switch list {
	case "system/AllDivisions":
		for _, other := range s.users {
			for _, d := range other.Divisions {
				if !slices.ContainsFunc(visible, func(have Division) bool { return have.Code == d.Code }) {
					visible = append(visible, d)
				}
			}
		}
	case "hrm/Divisions":
		hid, main, model = "HID", "Main", "Exact.Web.Api.Models.HRM.Division"
		visible = slices.DeleteFunc(visible, func(d Division) bool { return d.CustomerName != at.CustomerName })
	}
	slices.SortFunc(visible, func(a, b Division) int { return a.Code - b.Code })
	f := feed{model: model, key: "Code"}
	for _, d := range visible {
		f.entities = append(f.entities, entity{
			{"Code", d.Code},
			{"Current", d.Code == at.Code},
			{"CustomerName", d.CustomerName},
			{"Description", d.Description},
			{hid, d.HID},
			{main, d.Main},
			{"Status", d.Status},
		})
	}
	return f
}

// format is how a reply is written.
type format int

const (
	atom format = iota
	odataJSON
)

// negotiate picks the format: Atom unless JSON is asked for; application/xml is
// refused (Exact KB "OData best practices").
func negotiate(accept []string) (format, bool) {
	ok := true
	for _, part := range strings.Split(strings.Join(accept, ","), ",") {
		media, _, err := mime.ParseMediaType(part)
		if err != nil {
			continue
		}
		switch media {
		case "application/json":
			return odataJSON, true
		case "application/atom+xml", "application/*", "*/*":
			return atom, true
		default:
			ok = false
		}
	}
	return atom, ok
}

// serveFeed applies the query options and writes one page of f. An option that
// the simulator does not know is an error: to ignore a $filter would be to lie.
func serveFeed(c *call, to format, f feed) answer {
	if repeats(c.query) {
		return apiError(to, http.StatusBadRequest, APIError, "Query option repeated.")
	}
	for option := range c.query {
		if strings.HasPrefix(option, "$") && !slices.Contains([]string{"$select", "$top", "$skiptoken"}, option) {
			return apiError(to, http.StatusBadRequest, APIError, "The simulator does not know the query option '"+option+"'.")
		}
	}
	base := baseURL(c)
	if after := c.query.Get("$skiptoken"); after != "" {
		i := slices.IndexFunc(f.entities, func(e entity) bool { return e.get(f.key) == after })
		if i < 0 {
			return apiError(to, http.StatusBadRequest, APIError, "The $skiptoken is not valid.")
		}
		f.entities = f.entities[i+1:]
	}
	top := len(f.entities)
	if text, ok := c.query["$top"]; ok {
		n, err := strconv.Atoi(text[0])
		if err != nil || n < 0 {
			return apiError(to, http.StatusBadRequest, APIError, "The $top is not valid.")
		}
		top = min(top, n)
	}
	next := ""
	if top > pageSize {
		q := url.Values{"$skiptoken": {f.entities[pageSize-1].get(f.key)}}
		if sel, ok := c.query["$select"]; ok {
			q["$select"] = sel
		}
		if _, ok := c.query["$top"]; ok {
			q.Set("$top", strconv.Itoa(top-pageSize))
		}
		next = base + c.URL.Path + "?" + q.Encode()
		top = pageSize
	}
	f.entities = f.entities[:top]

	selected := func(string) bool { return true }
	if text := c.query.Get("$select"); text != "" && text != "*" {
		names := strings.Split(text, ",")
		for i, name := range names {
			names[i] = strings.TrimSpace(name)
			if len(f.entities) > 0 && !f.entities[0].has(names[i]) {
				return apiError(to, http.StatusBadRequest, APIError,
					"Could not find a property named '"+names[i]+"' on type '"+f.model+"'.")
			}
		}
		selected = func(name string) bool { return slices.Contains(names, name) }
	}
	address := func(e entity) string {
		key := e.get(f.key)
		if c.URL.Path == mePath {
			key = "guid'" + key + "'"
		}
		return base + c.URL.Path + "(" + key + ")"
	}
	if to == odataJSON {
		return jsonFeed(f, address, selected, next)
	}
	return atomFeed(f, base+c.URL.Path, address, selected, next)
}

func baseURL(c *call) string {
	scheme := "http"
	if c.TLS != nil {
		scheme = "https"
	}
	return scheme + "://" + c.Host
}

func (e entity) has(name string) bool {
	return slices.ContainsFunc(e, func(p property) bool { return p.name == name })
}

func (e entity) get(name string) string {
	for _, p := range e {
		if p.name == name {
			return fmt.Sprint(p.value)
		}
	}
	return ""
}

// jsonFeed writes OData version 2 JSON: everything within "d", Edm.Int64 as
// strings, dates as /Date(milliseconds)/.
func jsonFeed(f feed, address func(entity) string, selected func(string) bool, next string) answer {
	var b bytes.Buffer
	put := func(v any) { b.Write(jsonText(v)) }
	b.WriteString(`{"d":{"results":[`)
	for i, e := range f.entities {
		if i > 0 {
			b.WriteByte(',')
		}
		b.WriteString(`{"__metadata":`)
		put(struct {
			URI  string `json:"uri"`
			Type string `json:"type"`
		}{address(e), f.model})
		for _, p := range e {
			if !selected(p.name) {
				continue
			}
			b.WriteByte(',')
			put(p.name)
			b.WriteByte(':')
			switch v := p.value.(type) {
			case int64:
				put(strconv.FormatInt(v, 10))
			case time.Time:
				put("/Date(" + strconv.FormatInt(v.UnixMilli(), 10) + ")/")
			default:
				put(v)
			}
		}
		b.WriteByte('}')
	}
	b.WriteByte(']')
	if next != "" {
		b.WriteString(`,"__next":`)
		put(next)
	}
	b.WriteString("}}")
	return reply(http.StatusOK, Served, "application/json; charset=utf-8", b.Bytes())
}

func atomFeed(f feed, id string, address func(entity) string, selected func(string) bool, next string) answer {
	var b bytes.Buffer
	b.WriteString(`<?xml version="1.0" encoding="utf-8"?>` + "\n" +
		`<feed xmlns="http://www.w3.org/2005/Atom" xmlns:d="http://schemas.microsoft.com/ado/2007/08/dataservices"` +
		` xmlns:m="http://schemas.microsoft.com/ado/2007/08/dataservices/metadata"><id>` + xmlText(id) + `</id>`)
	for _, e := range f.entities {
		b.WriteString(`<entry><id>` + xmlText(address(e)) + `</id><category term="` + xmlText(f.model) +
			`" scheme="http://schemas.microsoft.com/ado/2007/08/dataservices/scheme"/>` +
			`<content type="application/xml"><m:properties>`)
		for _, p := range e {
			if !selected(p.name) {
				continue
			}
			edm, text := "", fmt.Sprint(p.value)
			switch v := p.value.(type) {
			case int:
				edm = ` m:type="Edm.Int32"`
			case int64:
				edm = ` m:type="Edm.Int64"`
			case bool:
				edm = ` m:type="Edm.Boolean"`
			case time.Time:
				edm, text = ` m:type="Edm.DateTime"`, v.UTC().Format("2006-01-02T15:04:05.000")
			}
			fmt.Fprintf(&b, "<d:%[1]s%[2]s>%[3]s</d:%[1]s>", p.name, edm, xmlText(text))
		}
		b.WriteString(`</m:properties></content></entry>`)
	}
	if next != "" {
		b.WriteString(`<link rel="next" href="` + xmlText(next) + `"/>`)
	}
	b.WriteString("</feed>\n")
	return reply(http.StatusOK, Served, "application/atom+xml;type=feed;charset=utf-8", b.Bytes())
}

// jsonText is v in JSON. V holds nothing that JSON cannot.
func jsonText(v any) []byte {
	text, err := json.Marshal(v)
	if err != nil {
		panic(err)
	}
	return text
}

func xmlText(s string) string {
	var b strings.Builder
	xml.EscapeText(&b, []byte(s)) // a Builder never fails
	return b.String()
}

// apiError is an OData error. Some carry Exact's own header Reason
// (picqer/exact-php-client#451).
func apiError(to format, status int, outcome Outcome, message string) answer {
	text := []byte(`<?xml version="1.0" encoding="utf-8"?>` + "\n" +
		`<error xmlns="http://schemas.microsoft.com/ado/2007/08/dataservices/metadata">` +
		`<code></code><message xml:lang="">` + xmlText(message) + "</message></error>\n")
	contentType := "application/xml;charset=utf-8"
	if to == odataJSON {
		contentType = "application/json; charset=utf-8"
		text = fmt.Appendf(nil, `{"error":{"code":"","message":{"lang":"","value":%s}}}`, jsonText(message))
	}
	a := reply(status, outcome, contentType, text)
	switch outcome {
	case InactiveUser:
		a.header.Set("Reason", "InactiveUser")
	case NoDivisionAccess:
		a.header.Set("Reason", "NoDivisionAccess")
	}
	return a
}
