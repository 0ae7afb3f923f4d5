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
	"sync"
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
	single   bool // one entity by its own address, with no list around it
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
	if f.page == bulkPage && q.Get("$select") == "" && q.Get("$top") != "1" {
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
	key := func(e entity) string { return literal(e[f.key]) }
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
	id, _, _ := strings.Cut(c.origin()+c.URL.Path, "(")
	next := ""
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
		addresses[i] = id + "(" + key(e) + ")"
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
	return atomFeed(f, id, addresses, next, count, c.now.UTC().Format(time.RFC3339))
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

// filter is a $filter that is evaluated for one entity while it is read: comparisons of a property
// with a literal, and, or, and brackets, which ossobv/exactonline puts around what its caller wrote.
// trim is for codes, which Exact pads.
type filter struct {
	feed
	entity  entity
	rest    []string
	wrong   bool // it cannot be read
	problem string
}

var lexeme = sync.OnceValue(func() *regexp.Regexp {
	return regexp.MustCompile(`(?:guid|datetime)?'(?:[^']|'')*'|[\w.-]+|\S`)
})

func filtered(f feed, text string) (entities []entity, problem string) {
	for _, e := range f.entities {
		x := filter{feed: f, entity: e, rest: lexeme().FindAllString(text, -1)}
		if text == "" || x.either() {
			entities = append(entities, e)
		}
		if x.wrong || len(x.rest) > 0 {
			return nil, "The simulator does not understand the $filter '" + text + "'."
		}
		problem = cmp.Or(problem, x.problem)
	}
	return entities, problem
}

func (x *filter) next() (l string) {
	if x.wrong = x.wrong || len(x.rest) == 0; !x.wrong {
		l, x.rest = x.rest[0], x.rest[1:]
	}
	return l
}

func (x *filter) skip(l string) bool { return len(x.rest) > 0 && x.rest[0] == l && x.next() == l }

func (x *filter) want(l string) { x.wrong = x.next() != l || x.wrong }

func (x *filter) either() bool {
	holds := x.both()
	for x.skip("or") {
		holds = x.both() || holds
	}
	return holds
}

func (x *filter) both() bool {
	holds := x.comparison()
	for x.skip("and") {
		holds = x.comparison() && holds
	}
	return holds
}

func (x *filter) comparison() bool {
	if x.skip("(") {
		holds := x.either()
		x.want(")")
		return holds
	}
	trim := x.skip("trim")
	if trim {
		x.want("(")
	}
	name := x.next()
	if trim {
		x.want(")")
	}
	operator, want := x.next(), x.next()
	v, ok := x.entity[name]
	if !ok {
		x.problem = x.unknown(name)
	}
	if text, ok := v.(string); ok && trim {
		v = strings.TrimSpace(text)
	}
	if strings.HasPrefix(want, "guid'") {
		want = strings.ToLower(want)
	}
	n, ok := compare(literal(v), want)
	if !ok {
		x.problem = cmp.Or(x.problem, "Operator '"+operator+"' incompatible with operand types: "+name+" "+want+".")
	}
	holds, ok := map[string]bool{"eq": n == 0, "ne": n != 0, "gt": n > 0, "ge": n >= 0, "lt": n < 0, "le": n <= 0}[operator]
	x.wrong = x.wrong || !ok
	return holds
}

// literal returns a value as addresses and $filter have it.
func literal(v any) string {
	edmType, text, _ := edm(v)
	switch {
	case v == nil:
		return "null"
	case edmType == "":
		return "'" + strings.ReplaceAll(text, "'", "''") + "'"
	case edmType == "Edm.Guid":
		return "guid'" + text + "'"
	case edmType == "Edm.DateTime":
		return "datetime'" + text + "'"
	}
	return text
}

// compare orders two literals. It is not ok if their types differ. Null equals null alone, and is first.
func compare(a, b string) (n int, ok bool) {
	switch {
	case a == b:
		return 0, true
	case a == "null":
		return -1, true
	case b == "null":
		return 1, true
	}
	kindA, textA, quotedA := strings.Cut(strings.TrimSuffix(a, "'"), "'")
	kindB, textB, quotedB := strings.Cut(strings.TrimSuffix(b, "'"), "'")
	if quotedA {
		return cmp.Compare(textA, textB), quotedB && kindA == kindB
	}
	x, errX := strconv.ParseFloat(a, 64)
	y, errY := strconv.ParseFloat(strings.TrimSuffix(b, "L"), 64)
	if errX == nil && errY == nil {
		return cmp.Compare(x, y), true
	}
	return cmp.Compare(a, b), !quotedB
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
			n, _ := compare(literal(a[name]), literal(b[name]))
			return n
		})
	}
	return problem
}

const jsonType = "application/json; charset=utf-8"

// jsonFeed writes everything within "d". A request with $top that one page answers has the list
// itself there, as in OData 1 (picqer/exact-php-client: tests/fixtures/item.json, on which findId relies).
func jsonFeed(f feed, addresses []string, next, count string, top bool) answer {
	entities := make([][]byte, len(f.entities))
	for i, e := range f.entities {
		text := fmt.Appendf(nil, `{"__metadata":{"uri":%s,"type":%s}`, jsonText(addresses[i]), jsonText(f.model))
		for _, name := range slices.Sorted(maps.Keys(e)) {
			_, _, v := edm(e[name])
			text = fmt.Appendf(text, `,"%s":%s`, name, jsonText(v))
		}
		entities[i] = append(text, '}')
	}
	list := bytes.Join(entities, []byte(","))
	if f.single {
		return reply(http.StatusOK, Served, jsonType, fmt.Appendf(nil, `{"d":%s}`, list))
	}
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

// atomFeed has every element and attribute that the feed in the tests of
// auth0/passport-exact has, which is one of Exact's of 2015.
func atomFeed(f feed, id string, addresses []string, next, count, now string) answer {
	base, title := path.Split(id)
	outermost := ` xml:base="` + xmlText(base) + `" xmlns:d="http://schemas.microsoft.com/ado/2007/08/dataservices"` +
		` xmlns:m="http://schemas.microsoft.com/ado/2007/08/dataservices/metadata" xmlns="http://www.w3.org/2005/Atom"`
	text, kind := []byte(`<?xml version="1.0" encoding="utf-8" standalone="yes"?>`+"\n"), "entry"
	if !f.single {
		kind = "feed"
		text = fmt.Appendf(text, `<feed%s><title type="text">%s</title><id>%s</id><updated>%s</updated><link rel="self" title="%[2]s" href="%[2]s" />`,
			outermost, xmlText(title), xmlText(id), now)
		outermost = ""
		if count != "" {
			text = append(text, "<m:count>"+count+"</m:count>"...)
		}
	}
	for i, e := range f.entities {
		text = fmt.Appendf(text, `<entry%s><id>%s</id><title type="text"></title><updated>%s</updated><author><name /></author>`+
			`<link rel="edit" title="%s" href="%s" />`+
			`<category term="%s" scheme="http://schemas.microsoft.com/ado/2007/08/dataservices/scheme" />`+
			`<content type="application/xml"><m:properties>`,
			outermost, xmlText(addresses[i]), now, xmlText(title), xmlText(path.Base(addresses[i])), xmlText(f.model))
		for _, name := range slices.Sorted(maps.Keys(e)) {
			edmType, value, inJSON := edm(e[name])
			switch {
			case inJSON == nil:
				text = fmt.Appendf(text, `<d:%s m:null="true" />`, name)
				continue
			case edmType != "":
				edmType = ` m:type="` + edmType + `"`
			}
			text = fmt.Appendf(text, "<d:%[1]s%[2]s>%[3]s</d:%[1]s>", name, edmType, xmlText(value))
		}
		text = append(text, `</m:properties></content></entry>`...)
	}
	if next != "" {
		text = append(text, `<link rel="next" href="`+xmlText(next)+`"/>`...)
	}
	if !f.single {
		text = append(text, "</feed>"...)
	}
	return reply(http.StatusOK, Served, "application/atom+xml;type="+kind+";charset=utf-8", append(text, '\n'))
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

func jsonText(v any) []byte {
	text, _ := json.Marshal(v) // never fails for values that JSON has
	return text
}

func xmlText(s string) string {
	var b strings.Builder
	xml.EscapeText(&b, []byte(s)) // a Builder never fails
	return b.String()
}
