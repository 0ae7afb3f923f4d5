package exactsim

import (
	"bytes"
	"cmp"
	"encoding/json"
	"encoding/xml"
	"fmt"
	"maps"
	"net/http"
	"path"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
)

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
	resource
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
// option for an applied one.
func serveFeed(c *call, to format, f feed) answer {
	invalid := func(message string) answer { return apiError(to, http.StatusBadRequest, APIError, message) }
	q := c.query
	if repeats(q) {
		return invalid("Query option repeated.")
	}
	for option := range q {
		if strings.HasPrefix(option, "$") && !slices.Contains([]string{"$select", "$filter", "$orderby", "$top", "$skiptoken", "$inlinecount"}, option) {
			return invalid("The simulator does not know the query option '" + option + "'.")
		}
	}
	if f.selects && q.Get("$select") == "" && q.Get("$top") != "1" {
		return invalid("Please add a $select or a $top=1 statement to the query string.")
	}
	entities, problem := filtered(f, q.Get("$filter"))
	if problem == "" {
		problem = ordered(f, entities, q.Get("$orderby"))
	}
	if problem != "" {
		return invalid(problem)
	}
	count := ""
	if q.Get("$inlinecount") == "allpages" {
		count = strconv.Itoa(len(entities))
	}
	key := func(e entity) string { return strings.Trim(address(e[f.key]), "()") }
	if after := q.Get("$skiptoken"); after != "" {
		i := slices.IndexFunc(entities, func(e entity) bool { return key(e) == after })
		if i < 0 {
			return invalid("The $skiptoken is not valid.")
		}
		entities = entities[i+1:]
	}
	top := len(entities)
	if q.Has("$top") {
		n, err := strconv.Atoi(q.Get("$top"))
		if err != nil || n < 0 {
			return invalid("The $top is not valid.")
		}
		top = min(top, n)
	}
	id, next := c.origin()+c.URL.Path, ""
	if top > f.page {
		q := maps.Clone(q)
		maps.DeleteFunc(q, func(option string, _ []string) bool { return !strings.HasPrefix(option, "$") })
		q.Set("$skiptoken", key(entities[f.page-1]))
		if q.Has("$top") {
			q.Set("$top", strconv.Itoa(top-f.page))
		}
		next = id + "?" + q.Encode()
		top = f.page
	}
	f.entities = slices.Clone(entities[:top])

	addresses := make([]string, len(f.entities))
	names := f.names(q.Get("$select"))
	for i, e := range f.entities {
		addresses[i] = id + address(e[f.key])
		shown := entity{}
		for _, name := range names {
			v, ok := e[name]
			if !ok {
				return invalid(f.unknown(name))
			}
			shown[name] = v
		}
		if names != nil {
			f.entities[i] = shown
		}
	}
	if to == odataJSON {
		return jsonFeed(f, addresses, next, count, q.Has("$top"))
	}
	return atomFeed(f, id, addresses, next, count, c.now)
}

// names returns the names in a $select, nil for all.
func (f feed) names(text string) []string {
	if text == "" || text == "*" {
		return nil
	}
	names := strings.Split(text, ",")
	for i, name := range names {
		names[i] = strings.TrimSpace(name)
	}
	return names
}

func (f feed) unknown(name string) string {
	return "Could not find a property named '" + name + "' on type '" + f.model + "'."
}

// condition is one of a $filter: a property, an operator and a literal. Public clients write
// brackets around what their caller gave (ossobv/exactonline) and trim codes, which Exact pads.
var condition = regexp.MustCompile(`^\s*(\(?)\s*(trim\()?(\w+)\)?\s+(eq|ne|gt|ge|lt|le)\s+((?:guid|datetime)?'(?:[^']|'')*'|[\w.-]+)\s*\)?\s*((and|or)\s|$)`)

// filtered returns the entities for which a $filter holds. Brackets around several conditions would need a
// grammar, so they are refused beside "or".
func filtered(f feed, filter string) (entities []entity, problem string) {
	var all [][]string
	bracket, either := false, false
	for rest := filter; rest != ""; rest = rest[len(all[len(all)-1][0]):] {
		m := condition.FindStringSubmatch(rest)
		if m == nil || (m[6] == "") != (len(m[0]) == len(rest)) {
			return nil, "The simulator does not understand the $filter '" + rest + "'."
		}
		bracket, either = bracket || m[1] != "", either || m[7] == "or"
		all = append(all, m)
	}
	if bracket && either {
		return nil, "The simulator does not understand brackets in the $filter '" + filter + "'."
	}
	return slices.DeleteFunc(slices.Clone(f.entities), func(e entity) bool {
		holds := true // so far, since the last "or"
		for _, m := range all {
			v, ok := e[m[3]]
			if !ok {
				problem = f.unknown(m[3])
				return true
			}
			want, ok := literal(m[5], v)
			if !ok {
				problem = "Operator '" + m[4] + "' incompatible with operand types: " + m[3] + " " + m[5] + "."
			}
			if text, ok := v.(string); ok && m[2] != "" {
				v = strings.TrimSpace(text)
			}
			n := compare(v, want)
			holds = holds && map[string]bool{"eq": n == 0, "ne": n != 0, "gt": n > 0, "ge": n >= 0, "lt": n < 0, "le": n <= 0}[m[4]]
			if m[7] == "or" {
				if holds {
					break
				}
				holds = true
			}
		}
		return !holds
	}), problem
}

// ordered sorts by an $orderby, as "Name desc,Code".
func ordered(f feed, entities []entity, by string) (problem string) {
	keys := f.names(by)
	slices.Reverse(keys) // a stable sort by the last key first
	for _, key := range keys {
		name, direction, _ := strings.Cut(key, " ")
		slices.SortStableFunc(entities, func(a, b entity) int {
			if _, ok := a[name]; !ok {
				problem = f.unknown(name)
			}
			if direction == "desc" {
				a, b = b, a
			}
			return compare(a[name], b[name])
		})
	}
	return problem
}

// literal reads a literal of a $filter as a value of the type of like.
func literal(text string, like any) (v any, ok bool) {
	kind, inner, quoted := strings.Cut(strings.TrimSuffix(text, "'"), "'")
	inner = strings.ReplaceAll(inner, "''", "'")
	var err error
	switch like.(type) {
	case guid:
		return guid(strings.ToLower(inner)), kind == "guid"
	case time.Time:
		for _, layout := range []string{"2006-01-02T15:04:05", "2006-01-02"} {
			if v, err = time.Parse(layout, inner); err == nil {
				break
			}
		}
		return v, kind == "datetime" && err == nil
	case bool:
		v, err = strconv.ParseBool(text)
	case int, int64, float64:
		v, err = strconv.ParseFloat(strings.TrimSuffix(text, "L"), 64)
	case nil: // null equals null alone
		if text == "null" {
			return nil, true
		}
		return inner, true
	default:
		return inner, quoted && kind == ""
	}
	return v, err == nil
}

// compare orders two values of a property.
func compare(a, b any) int {
	rank := func(v any) (float64, string) {
		switch v := v.(type) {
		case int:
			return float64(v), ""
		case int64:
			return float64(v), ""
		case float64:
			return v, ""
		case time.Time:
			return float64(v.UnixMilli()), ""
		}
		return 0, fmt.Sprint(v)
	}
	n, s := rank(a)
	m, t := rank(b)
	return cmp.Or(cmp.Compare(n, m), cmp.Compare(s, t))
}

// serveEntity writes one entity, with neither results nor a feed around it.
func serveEntity(status int, to format, f feed, c *call, e entity) answer {
	collection, _, _ := strings.Cut(c.URL.Path, "(")
	id := c.origin() + collection
	a := reply(status, Served, atomType("entry"), []byte(xmlHeader+atomEntry(f, atomSpaces(id), id, id+address(e[f.key]), e, c.now)+"\n"))
	if to == odataJSON {
		a = reply(status, Served, jsonType, fmt.Appendf(nil, `{"d":%s}`, jsonEntity(f, id+address(e[f.key]), e)))
	}
	if status == http.StatusCreated {
		a.header.Set("Location", id+address(e[f.key]))
	}
	return a
}

const jsonType = "application/json; charset=utf-8"

// jsonFeed writes everything within "d". A request with $top that one page answers has the list
// itself there, as in OData 1 (picqer/exact-php-client: tests/fixtures/item.json, on which findId relies).
func jsonFeed(f feed, addresses []string, next, count string, top bool) answer {
	entities := make([][]byte, len(f.entities))
	for i, e := range f.entities {
		entities[i] = jsonEntity(f, addresses[i], e)
	}
	list := bytes.Join(entities, []byte(","))
	if top && next+count == "" {
		return reply(http.StatusOK, Served, jsonType, fmt.Appendf(nil, `{"d":[%s]}`, list))
	}
	text := fmt.Appendf(nil, `{"d":{"results":[%s]`, list)
	if count != "" {
		text = fmt.Appendf(text, `,"__count":"%s"`, count)
	}
	if next != "" {
		text = fmt.Appendf(text, `,"__next":%s`, jsonText(next))
	}
	return reply(http.StatusOK, Served, jsonType, append(text, "}}"...))
}

func jsonEntity(f feed, address string, e entity) []byte {
	text := fmt.Appendf(nil, `{"__metadata":{"uri":%s,"type":%s}`, jsonText(address), jsonText(f.model))
	for _, name := range slices.Sorted(maps.Keys(e)) {
		_, _, v := edm(e[name])
		text = fmt.Appendf(text, `,"%s":%s`, name, jsonText(v))
	}
	return append(text, '}')
}

const xmlHeader = `<?xml version="1.0" encoding="utf-8" standalone="yes"?>` + "\n"

func atomType(kind string) string { return "application/atom+xml;type=" + kind + ";charset=utf-8" }

// atomSpaces returns the attributes of the outermost element.
func atomSpaces(id string) string {
	base, _ := path.Split(id)
	return ` xml:base="` + xmlText(base) + `" xmlns:d="http://schemas.microsoft.com/ado/2007/08/dataservices"` +
		` xmlns:m="http://schemas.microsoft.com/ado/2007/08/dataservices/metadata" xmlns="http://www.w3.org/2005/Atom"`
}

// atomFeed has every element and attribute that the feed in the tests of
// auth0/passport-exact has, which is one of Exact's of 2015.
func atomFeed(f feed, id string, addresses []string, next, count string, now time.Time) answer {
	var b strings.Builder
	fmt.Fprintf(&b, `%s<feed%s><title type="text">%s</title><id>%s</id><updated>%s</updated><link rel="self" title="%[3]s" href="%[3]s" />`,
		xmlHeader, atomSpaces(id), xmlText(path.Base(id)), xmlText(id), now.UTC().Format(time.RFC3339))
	if count != "" {
		b.WriteString("<m:count>" + count + "</m:count>")
	}
	for i, e := range f.entities {
		b.WriteString(atomEntry(f, "", id, addresses[i], e, now))
	}
	if next != "" {
		b.WriteString(`<link rel="next" href="` + xmlText(next) + `"/>`)
	}
	b.WriteString("</feed>\n")
	return reply(http.StatusOK, Served, atomType("feed"), []byte(b.String()))
}

func atomEntry(f feed, attributes, id, address string, e entity, now time.Time) string {
	var b strings.Builder
	fmt.Fprintf(&b, `<entry%s><id>%s</id><title type="text"></title><updated>%s</updated><author><name /></author>`+
		`<link rel="edit" title="%s" href="%s" />`+
		`<category term="%s" scheme="http://schemas.microsoft.com/ado/2007/08/dataservices/scheme" />`+
		`<content type="application/xml"><m:properties>`,
		attributes, xmlText(address), now.UTC().Format(time.RFC3339), xmlText(path.Base(id)), xmlText(path.Base(address)), xmlText(f.model))
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
	return b.String() + `</m:properties></content></entry>`
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
	a := reply(status, outcome, jsonType,
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
