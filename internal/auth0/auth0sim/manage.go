package auth0sim

import (
	"crypto/rand"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// manage answers the Management API. Scopes and shapes are those of its
// reference; every parameter and field that is not named there is refused.
func (s *Sim) manage(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if origin(r) != s.own {
		refuse(w, 404, "", "Not Found") // a custom domain has no Management API
		return
	}
	scheme, token, _ := strings.Cut(r.Header.Get("Authorization"), " ")
	g, ok := s.tokens[token]
	if scheme != "Bearer" || !ok {
		refuse(w, 401, "invalid_token", "Invalid token")
		return
	}
	may := func(scope string) bool {
		if slices.Contains(g.scopes, scope) {
			return true
		}
		refuse(w, 403, "insufficient_scope", "Insufficient scope, expected any of: "+scope)
		return false
	}
	parts := strings.Split(strings.Trim(strings.TrimPrefix(r.URL.EscapedPath(), "/api/v2/"), "/"), "/")
	for i := range parts {
		parts[i], _ = url.PathUnescape(parts[i])
	}
	q := r.URL.Query()
	var body any
	if r.Method == http.MethodPost || r.Method == http.MethodPatch {
		text, err := io.ReadAll(r.Body)
		if err != nil || r.Header.Get("Content-Type") != "application/json" || json.Unmarshal(text, &body) != nil {
			refuse(w, 400, "invalid_body", "Payload validation error: not JSON")
			return
		}
	}
	invalid := func(err error) {
		refuse(w, 400, "invalid_body", "Payload validation error: "+err.Error())
	}
	switch route := r.Method + " " + shape(parts); route {
	case "GET connections":
		if may("read:connections") {
			s.listConnections(w, q, slices.Contains(g.scopes, "read:connections_options"))
		}
	case "POST connections":
		if !may("create:connections") {
			return
		}
		if err := checkObject(body, newConnection, "name", "strategy"); err != nil {
			invalid(err)
			return
		}
		s.createConnection(w, body.(map[string]any))
	case "GET connections/*":
		if !may("read:connections") {
			return
		}
		c := s.byID(parts[1])
		if c == nil {
			refuse(w, 404, "inexistent_connection", "The connection does not exist")
			return
		}
		writeJSON(w, 200, c.shown(slices.Contains(g.scopes, "read:connections_options")))
	case "PATCH connections/*":
		if !may("update:connections") {
			return
		}
		c := s.byID(parts[1])
		if c == nil {
			refuse(w, 404, "inexistent_connection", "The connection does not exist")
			return
		}
		change, _ := body.(map[string]any)
		if _, ok := change["options"]; ok && !may("update:connections_options") {
			return
		}
		if err := checkObject(body, changedConnection(c.options)); err != nil {
			invalid(err)
			return
		}
		// Options are replaced whole; a display name that is not given is reset.
		c.display = c.name
		if d, ok := change["display_name"].(string); ok {
			c.display = d
		}
		if o, ok := change["options"].(map[string]any); ok {
			c.options = o
		}
		writeJSON(w, 200, c.shown(slices.Contains(g.scopes, "read:connections_options")))
	case "GET connections/*/clients":
		if !may("read:connections") {
			return
		}
		c := s.byID(parts[1])
		take, err := strconv.Atoi(q.Get("take"))
		from, fromErr := strconv.Atoi("0" + q.Get("from"))
		switch {
		case c == nil:
			refuse(w, 404, "inexistent_connection", "The connection does not exist")
		case !only(q, "take", "from") || err != nil || take < 1 || take > 1000 || fromErr != nil || from > len(c.enabled):
			refuse(w, 400, "invalid_query_string", "Query validation error")
		default:
			page := map[string]any{}
			list := []map[string]string{}
			// Pages of two, so that there is a next one.
			for _, id := range c.enabled[from:min(from+2, len(c.enabled))] {
				list = append(list, map[string]string{"client_id": id})
			}
			if from+2 < len(c.enabled) {
				page["next"] = strconv.Itoa(from + 2)
			}
			page["clients"] = list
			writeJSON(w, 200, page)
		}
	case "PATCH connections/*/clients":
		if may("update:connections") {
			s.enableClients(w, parts[1], body)
		}
	case "GET clients":
		if may("read:clients") {
			s.listClients(w, q)
		}
	case "GET clients/*":
		if !may("read:clients") {
			return
		}
		a := s.app(parts[1])
		if a == nil {
			refuse(w, 404, "inexistent_client", "The client does not exist")
			return
		}
		writeJSON(w, 200, map[string]any{"client_id": a.ClientID, "name": a.Name, "callbacks": a.Callbacks})
	case "PATCH clients/*":
		if !may("update:clients") {
			return
		}
		a := s.app(parts[1])
		if a == nil {
			refuse(w, 404, "inexistent_client", "The client does not exist")
			return
		}
		if err := checkObject(body, schema{"callbacks": listOf(2083, 0)}, "callbacks"); err != nil {
			invalid(err)
			return
		}
		a.Callbacks = nil // replaced whole
		for _, c := range body.(map[string]any)["callbacks"].([]any) {
			a.Callbacks = append(a.Callbacks, c.(string))
		}
		writeJSON(w, 200, map[string]any{"client_id": a.ClientID, "name": a.Name, "callbacks": a.Callbacks})
	case "GET custom-domains":
		switch {
		case s.domains == nil:
			refuse(w, 403, "", "The account is not allowed to perform this operation, please contact our support team")
		case may("read:custom_domains"):
			writeJSON(w, 200, s.domains)
		}
	case "GET logs":
		if !may("read:logs") {
			return
		}
		if !only(q, "q", "sort", "per_page", "page") || q.Get("sort") != "date:-1" || q.Get("page") != "0" {
			refuse(w, 400, "invalid_query_string", "Query validation error")
			return
		}
		m := regexp.MustCompile(`^connection:"([^"]+)" AND type:\("s" OR "f"\)$`).FindStringSubmatch(q.Get("q"))
		n, err := strconv.Atoi(q.Get("per_page"))
		if m == nil || err != nil || n < 1 || n > 100 {
			refuse(w, 400, "invalid_query_string", "Query validation error")
			return
		}
		list := []map[string]any{}
		for _, l := range slices.Backward(s.logs) {
			if l["connection"] == m[1] && len(list) < n {
				list = append(list, l)
			}
		}
		writeJSON(w, 200, list)
	default:
		refuse(w, 404, "", "Not Found")
	}
}

// shape is a path with every id replaced by a star.
func shape(parts []string) string {
	known := []string{"connections", "clients", "custom-domains", "logs"}
	out := make([]string, len(parts))
	for i, p := range parts {
		out[i] = "*"
		if i%2 == 0 && slices.Contains(known, p) {
			out[i] = p
		}
	}
	return strings.Join(out, "/")
}

func (s *Sim) listConnections(w http.ResponseWriter, q url.Values, options bool) {
	if !only(q, "strategy", "name", "fields", "include_fields", "per_page", "page") || q.Get("strategy") != "exact" {
		refuse(w, 400, "invalid_query_string", "Query validation error")
		return
	}
	list := []Connection{}
	for _, c := range s.connections {
		if name := q.Get("name"); name == "" || name == c.name {
			list = append(list, c.shown(options))
		}
	}
	writeJSON(w, 200, list)
}

func (s *Sim) createConnection(w http.ResponseWriter, body map[string]any) {
	name := body["name"].(string)
	if s.named(name) != nil {
		refuse(w, 409, "", "A connection with the same name already exists")
		return
	}
	c := &connection{id: "con_" + rand.Text()[:16], name: name, display: name, options: map[string]any{}}
	if d, ok := body["display_name"].(string); ok {
		c.display = d
	}
	if o, ok := body["options"].(map[string]any); ok {
		c.options = o
	}
	s.connections = append(s.connections, c)
	writeJSON(w, 201, c.shown(true))
}

func (s *Sim) enableClients(w http.ResponseWriter, id string, body any) {
	c := s.byID(id)
	list, ok := body.([]any)
	if c == nil {
		refuse(w, 404, "inexistent_connection", "The connection does not exist")
		return
	}
	if !ok || len(list) < 1 || len(list) > 50 {
		refuse(w, 400, "invalid_body", "Payload validation error: want 1 to 50 items")
		return
	}
	for _, item := range list {
		err := checkObject(item, schema{"client_id": text(0, 128), "status": boolean}, "client_id", "status")
		if err != nil {
			refuse(w, 400, "invalid_body", "Payload validation error: "+err.Error())
			return
		}
		m := item.(map[string]any)
		client := m["client_id"].(string)
		if s.app(client) == nil {
			refuse(w, 400, "inexistent_client", "The client does not exist")
			return
		}
		c.enabled = slices.DeleteFunc(c.enabled, func(have string) bool { return have == client })
		if m["status"].(bool) {
			c.enabled = append(c.enabled, client)
		}
	}
	w.WriteHeader(http.StatusNoContent)
}

func (s *Sim) listClients(w http.ResponseWriter, q url.Values) {
	page, err := strconv.Atoi(q.Get("page"))
	size, sizeErr := strconv.Atoi(q.Get("per_page"))
	if err != nil || sizeErr != nil || page < 0 || size < 1 || size > 100 || q.Get("include_fields") != "true" ||
		!only(q, "fields", "include_fields", "is_global", "page", "per_page") {
		refuse(w, 400, "invalid_query_string", "Query validation error")
		return
	}
	list := []map[string]any{}
	for i := page * size; i < min((page+1)*size, len(s.apps)); i++ {
		a := s.apps[i]
		all := map[string]any{"client_id": a.ClientID, "name": a.Name, "callbacks": a.Callbacks}
		shown := map[string]any{}
		for _, f := range strings.Split(q.Get("fields"), ",") {
			if v, ok := all[f]; ok {
				shown[f] = v
			}
		}
		list = append(list, shown)
	}
	writeJSON(w, 200, list)
}

// A schema is what an object may hold: a check for each name.
type schema map[string]func(v any) error

func checkObject(v any, s schema, required ...string) error {
	m, ok := v.(map[string]any)
	if !ok {
		return fmt.Errorf("want an object")
	}
	for name, value := range m {
		check, ok := s[name]
		if !ok {
			return fmt.Errorf("additional properties not allowed: %s", name)
		}
		if err := check(value); err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
	}
	for _, name := range required {
		if _, ok := m[name]; !ok {
			return fmt.Errorf("missing required property: %s", name)
		}
	}
	return nil
}

func boolean(v any) error {
	if _, ok := v.(bool); !ok {
		return fmt.Errorf("want a boolean")
	}
	return nil
}

func anything(any) error { return nil }

func text(shortest, longest int, patterns ...string) func(any) error {
	return func(v any) error {
		s, ok := v.(string)
		if !ok {
			return fmt.Errorf("want a string")
		}
		if n := len([]rune(s)); n < shortest || n > longest {
			return fmt.Errorf("want %d to %d characters, not %d", shortest, longest, n)
		}
		for _, p := range patterns {
			if !regexp.MustCompile(p).MatchString(s) {
				return fmt.Errorf("does not match %s", p)
			}
		}
		return nil
	}
}

// listOf is a list of strings; most is 0 for no limit.
func listOf(longest, most int) func(any) error {
	return func(v any) error {
		list, ok := v.([]any)
		if !ok || most > 0 && len(list) > most {
			return fmt.Errorf("want a list of at most %d strings", most)
		}
		for _, item := range list {
			if err := text(0, longest)(item); err != nil {
				return err
			}
		}
		return nil
	}
}

func oneOf(values ...string) func(any) error {
	return func(v any) error {
		if s, ok := v.(string); !ok || !slices.Contains(values, s) {
			return fmt.Errorf("want one of %v", values)
		}
		return nil
	}
}

func upstreamParams(v any) error {
	if v == nil {
		return nil
	}
	m, ok := v.(map[string]any)
	if !ok {
		return fmt.Errorf("want an object")
	}
	for _, p := range m {
		aliases := oneOf("acr_values", "audience", "client_id", "display", "id_token_hint", "login_hint", "max_age", "prompt", "resource", "response_mode", "response_type", "ui_locales")
		if err := checkObject(p, schema{"alias": aliases, "value": text(0, 1024)}); err != nil {
			return err
		}
	}
	return nil
}

// The connection schema's exact strategy.
var exactOptions = schema{
	"client_id":                text(36, 36, `^[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}$`),
	"client_secret":            text(0, 255),
	"baseUrl":                  text(8, 128, `^https://`),
	"profile":                  boolean,
	"set_user_root_attributes": oneOf("on_each_login", "on_first_login", "never_on_login"),
	"non_persistent_attrs":     listOf(255, 96),
	"upstream_params":          upstreamParams,
}

var newConnection = schema{
	"name":                 text(1, 128, `^[a-zA-Z0-9](-[a-zA-Z0-9]|[a-zA-Z0-9])*$`),
	"strategy":             oneOf("exact"),
	"display_name":         text(0, 128),
	"is_domain_connection": boolean,
	"metadata":             anything,
	"options":              func(v any) error { return checkObject(v, exactOptions) },
}

// changedConnection is what a PATCH may hold: neither name nor strategy, and of
// options that the schema does not name only those that were there before.
func changedConnection(before map[string]any) schema {
	options := schema{}
	for name := range before {
		options[name] = anything
	}
	for name, check := range exactOptions {
		options[name] = check
	}
	return schema{
		"display_name":         text(0, 128),
		"is_domain_connection": boolean,
		"metadata":             anything,
		"options":              func(v any) error { return checkObject(v, options) },
	}
}
