package exactsim

import (
	"bytes"
	"encoding/json"
	"encoding/xml"
	"fmt"
	"maps"
	"net/http"
	"path"
	"slices"
	"strconv"
	"strings"
	"time"
)

const pageSize = 60 // entities in one reply (Exact KB "REST API - Restrictions")

// format is how a reply of the API is written.
type format int

const (
	atom format = iota
	odataJSON
)

// entity has its values by property name. Replies have the properties in the
// order of their names.
type entity map[string]any

// feed is what an endpoint has to show.
type feed struct {
	model    string // type name of the entities
	key      string // property that names an entity in its address
	entities []entity
}

// guid is a value of the type Edm.Guid.
type guid string

// edm returns the type of a value in OData and the value as each format has it
// (OData version 2): JSON has an Edm.Int64 as a string and a date as
// /Date(milliseconds)/. A value that is nil has no type.
func edm(v any) (edmType, inAtom string, inJSON any) {
	text := fmt.Sprint(v)
	switch v := v.(type) {
	case nil:
		return "", "", nil
	case guid:
		return "Edm.Guid", text, text
	case float64:
		return "Edm.Double", text, v
	case int:
		return "Edm.Int32", text, v
	case int64:
		return "Edm.Int64", text, text
	case bool:
		return "Edm.Boolean", text, v
	case time.Time:
		return "Edm.DateTime", v.UTC().Format("2006-01-02T15:04:05.000"), "/Date(" + strconv.FormatInt(v.UnixMilli(), 10) + ")/"
	default:
		return "", text, text // Edm.String is not named
	}
}

// serveFeed applies the query options and writes one page of f. An option that
// the simulator does not know is an error: a client must not take an ignored
// $filter for an applied one.
func serveFeed(c *call, to format, f feed) answer {
	invalid := func(message string) answer { return apiError(to, http.StatusBadRequest, APIError, message) }
	if repeats(c.query) {
		return invalid("Query option repeated.")
	}
	for option := range c.query {
		if strings.HasPrefix(option, "$") && !slices.Contains([]string{"$select", "$top", "$skiptoken"}, option) {
			return invalid("The simulator does not know the query option '" + option + "'.")
		}
	}
	if after := c.query.Get("$skiptoken"); after != "" {
		i := slices.IndexFunc(f.entities, func(e entity) bool { return fmt.Sprint(e[f.key]) == after })
		if i < 0 {
			return invalid("The $skiptoken is not valid.")
		}
		f.entities = f.entities[i+1:]
	}
	top := len(f.entities)
	if c.query.Has("$top") {
		n, err := strconv.Atoi(c.query.Get("$top"))
		if err != nil || n < 0 {
			return invalid("The $top is not valid.")
		}
		top = min(top, n)
	}
	id, next := c.origin()+c.URL.Path, ""
	if top > pageSize {
		q := maps.Clone(c.query)
		maps.DeleteFunc(q, func(option string, _ []string) bool { return !strings.HasPrefix(option, "$") })
		q.Set("$skiptoken", fmt.Sprint(f.entities[pageSize-1][f.key]))
		if q.Has("$top") {
			q.Set("$top", strconv.Itoa(top-pageSize))
		}
		next = id + "?" + q.Encode()
		top = pageSize
	}
	f.entities = f.entities[:top]

	addresses := make([]string, len(f.entities))
	for i, e := range f.entities {
		addresses[i] = id + address(e[f.key])
	}
	if text := c.query.Get("$select"); text != "" && text != "*" {
		names := strings.Split(text, ",")
		for i, name := range names {
			names[i] = strings.TrimSpace(name)
		}
		for _, e := range f.entities {
			for _, name := range names {
				if _, ok := e[name]; !ok {
					return invalid("Could not find a property named '" + name + "' on type '" + f.model + "'.")
				}
			}
			maps.DeleteFunc(e, func(name string, _ any) bool { return !slices.Contains(names, name) })
		}
	}
	if to == odataJSON {
		return jsonFeed(f, addresses, next)
	}
	return atomFeed(f, id, addresses, next, c.now)
}

// jsonFeed writes everything within "d".
func jsonFeed(f feed, addresses []string, next string) answer {
	var b bytes.Buffer
	b.WriteString(`{"d":{"results":[`)
	for i, e := range f.entities {
		if i > 0 {
			b.WriteByte(',')
		}
		fmt.Fprintf(&b, `{"__metadata":{"uri":%s,"type":%s}`, jsonText(addresses[i]), jsonText(f.model))
		for _, name := range slices.Sorted(maps.Keys(e)) {
			_, _, v := edm(e[name])
			fmt.Fprintf(&b, `,"%s":%s`, name, jsonText(v))
		}
		b.WriteByte('}')
	}
	b.WriteByte(']')
	if next != "" {
		fmt.Fprintf(&b, `,"__next":%s`, jsonText(next))
	}
	b.WriteString("}}")
	return reply(http.StatusOK, Served, "application/json; charset=utf-8", b.Bytes())
}

// atomFeed has every element and attribute that the feed in the tests of
// auth0/passport-exact has, which is one of Exact's of 2015.
func atomFeed(f feed, id string, addresses []string, next string, now time.Time) answer {
	var b bytes.Buffer
	base, name := path.Split(id)
	updated := now.UTC().Format(time.RFC3339)
	fmt.Fprintf(&b, `<?xml version="1.0" encoding="utf-8" standalone="yes"?>`+"\n"+
		`<feed xml:base="%s" xmlns:d="http://schemas.microsoft.com/ado/2007/08/dataservices"`+
		` xmlns:m="http://schemas.microsoft.com/ado/2007/08/dataservices/metadata" xmlns="http://www.w3.org/2005/Atom">`+
		`<title type="text">%s</title><id>%s</id><updated>%s</updated><link rel="self" title="%[2]s" href="%[2]s" />`,
		xmlText(base), xmlText(name), xmlText(id), updated)
	for i, e := range f.entities {
		fmt.Fprintf(&b, `<entry><id>%s</id><title type="text"></title><updated>%s</updated><author><name /></author>`+
			`<link rel="edit" title="%s" href="%s" />`+
			`<category term="%s" scheme="http://schemas.microsoft.com/ado/2007/08/dataservices/scheme" />`+
			`<content type="application/xml"><m:properties>`,
			xmlText(addresses[i]), updated, xmlText(name), xmlText(strings.TrimPrefix(addresses[i], base)), xmlText(f.model))
		for _, name := range slices.Sorted(maps.Keys(e)) {
			edmType, text, inJSON := edm(e[name])
			switch {
			case inJSON == nil:
				fmt.Fprintf(&b, `<d:%s m:null="true" />`, name)
				continue
			case edmType != "":
				edmType = ` m:type="` + edmType + `"`
			}
			fmt.Fprintf(&b, "<d:%[1]s%[2]s>%[3]s</d:%[1]s>", name, edmType, xmlText(text))
		}
		b.WriteString(`</m:properties></content></entry>`)
	}
	if next != "" {
		b.WriteString(`<link rel="next" href="` + xmlText(next) + `"/>`)
	}
	b.WriteString("</feed>\n")
	return reply(http.StatusOK, Served, "application/atom+xml;type=feed;charset=utf-8", b.Bytes())
}

// address returns the key of an entity as addresses and $filter have it.
func address(key any) string {
	if _, ok := key.(guid); ok {
		return fmt.Sprintf("(guid'%v')", key)
	}
	return fmt.Sprintf("(%v)", key)
}

// apiError is an OData error. Some carry Exact's own header Reason
// (picqer/exact-php-client#451).
func apiError(to format, status int, outcome Outcome, message string) answer {
	a := reply(status, outcome, "application/json; charset=utf-8",
		fmt.Appendf(nil, `{"error":{"code":"","message":{"lang":"","value":%s}}}`, jsonText(message)))
	if to == atom {
		a = reply(status, outcome, "application/xml;charset=utf-8", []byte(`<?xml version="1.0" encoding="utf-8"?>`+"\n"+
			`<error xmlns="http://schemas.microsoft.com/ado/2007/08/dataservices/metadata">`+
			`<code></code><message xml:lang="">`+xmlText(message)+"</message></error>\n"))
	}
	switch outcome {
	case InactiveUser:
		a.header.Set("Reason", "InactiveUser")
	case NoDivisionAccess:
		a.header.Set("Reason", "NoDivisionAccess")
	}
	return a
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
