package auth0sim

import (
	"encoding/json"
	"io"
	"maps"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// request is a request to the Management API that has been let in.
type request struct {
	scopes     []string
	query      url.Values
	body       any
	connection *connection // that the path names, if it names one
	client     *app        // likewise
}

func (r *request) may(scope string) bool { return scope == "" || slices.Contains(r.scopes, scope) }

func (r *request) options() bool { return r.may("read:connections_options") }

// manage answers the Management API. Scopes and shapes are those of its
// reference; every parameter and field that is not named there is refused.
func (s *Sim) manage(r *http.Request, scope string, serve func(*request) reply) reply {
	s.mu.Lock()
	defer s.mu.Unlock()
	if origin(r) != s.own {
		return notFound() // a custom domain has no Management API
	}
	scopes, valid := s.tokens[bearer(r)]
	if !valid {
		return refused(401, "invalid_token", "Invalid token")
	}
	in := &request{scopes: scopes, query: r.URL.Query()}
	if r.Method == http.MethodPost || r.Method == http.MethodPatch {
		text, err := io.ReadAll(r.Body)
		if err != nil || r.Header.Get("Content-Type") != "application/json" || json.Unmarshal(text, &in.body) != nil {
			return invalidBody("not JSON")
		}
	}
	if !in.may(scope) {
		return insufficient(scope)
	}
	if id := r.PathValue("connection"); id != "" {
		in.connection = first(s.connections, func(c *connection) bool { return c.id == id })
		if in.connection == nil {
			return refused(404, "inexistent_connection", "The connection does not exist")
		}
	}
	if id := r.PathValue("client"); id != "" {
		if in.client = s.app(id); in.client == nil {
			return refused(404, "inexistent_client", "The client does not exist")
		}
	}
	return serve(in)
}

func insufficient(scope string) reply {
	return refused(403, "insufficient_scope", "Insufficient scope, expected any of: "+scope)
}

func invalidBody(problem string) reply {
	return refused(400, "invalid_body", "Payload validation error: "+problem)
}

func invalidQuery() reply { return refused(400, "invalid_query_string", "Query validation error") }

func (s *Sim) listConnections(r *request) reply {
	if !only(r.query, "strategy", "name", "fields", "include_fields", "per_page", "page") || r.query.Get("strategy") != "exact" {
		return invalidQuery()
	}
	list := []map[string]any{}
	for _, c := range s.connections {
		if name := r.query.Get("name"); name == "" || name == c.name {
			list = append(list, c.shown(r.options()))
		}
	}
	return ok(list)
}

func (s *Sim) createConnection(r *request) reply {
	if problem := newConnection().problem(r.body, "name", "strategy"); problem != "" {
		return invalidBody(problem)
	}
	body := r.body.(map[string]any)
	name := body["name"].(string)
	if s.named(name) != nil {
		return refused(409, "", "A connection with the same name already exists")
	}
	c := s.newConnection(name, name, map[string]any{})
	c.change(body)
	return reply{http.StatusCreated, c.shown(true)}
}

func (s *Sim) getConnection(r *request) reply { return ok(r.connection.shown(r.options())) }

func (s *Sim) changeConnection(r *request) reply {
	c := r.connection
	change, _ := r.body.(map[string]any)
	if _, has := change["options"]; has && !r.may("update:connections_options") {
		return insufficient("update:connections_options")
	}
	if problem := changedConnection(c.options).problem(r.body); problem != "" {
		return invalidBody(problem)
	}
	c.display = c.name // reset unless it is given
	c.change(change)
	return ok(c.shown(r.options()))
}

// change replaces the options whole, if they are given.
func (c *connection) change(body map[string]any) {
	if d, given := body["display_name"].(string); given {
		c.display = d
	}
	if o, given := body["options"].(map[string]any); given {
		c.options = o
	}
}

func (s *Sim) listEnabled(r *request) reply {
	enabled := r.connection.enabled
	take, err := strconv.Atoi(r.query.Get("take"))
	from, fromErr := strconv.Atoi("0" + r.query.Get("from"))
	if !only(r.query, "take", "from") || err != nil || take < 1 || take > 1000 || fromErr != nil || from > len(enabled) {
		return invalidQuery()
	}
	page, list := map[string]any{}, []map[string]string{}
	// Pages of two, so that there is a next one.
	for _, id := range enabled[from:min(from+2, len(enabled))] {
		list = append(list, map[string]string{"client_id": id})
	}
	if from+2 < len(enabled) {
		page["next"] = strconv.Itoa(from + 2)
	}
	page["clients"] = list
	return ok(page)
}

func (s *Sim) enableClients(r *request) reply {
	list, isList := r.body.([]any)
	if !isList || len(list) < 1 || len(list) > 50 {
		return invalidBody("want 1 to 50 items")
	}
	c := r.connection
	for _, item := range list {
		change := schema{"client_id": text(128, ""), "status": oneOf(true, false)}
		if problem := change.problem(item, "client_id", "status"); problem != "" {
			return invalidBody(problem)
		}
		m := item.(map[string]any)
		client := m["client_id"].(string)
		if s.app(client) == nil {
			return refused(400, "inexistent_client", "The client does not exist")
		}
		c.enabled = slices.DeleteFunc(c.enabled, func(have string) bool { return have == client })
		if m["status"].(bool) {
			c.enabled = append(c.enabled, client)
		}
	}
	return reply{status: http.StatusNoContent}
}

func (a *app) shown() map[string]any {
	return map[string]any{"client_id": a.id, "name": a.name, "callbacks": a.callbacks}
}

func (s *Sim) listClients(r *request) reply {
	q := r.query
	page, err := strconv.Atoi(q.Get("page"))
	size, sizeErr := strconv.Atoi(q.Get("per_page"))
	if err != nil || sizeErr != nil || page < 0 || size < 1 || size > 100 || q.Get("include_fields") != "true" ||
		!only(q, "fields", "include_fields", "is_global", "page", "per_page") {
		return invalidQuery()
	}
	fields := strings.Split(q.Get("fields"), ",")
	list := []map[string]any{}
	for i := page * size; i < min((page+1)*size, len(s.apps)); i++ {
		shown := s.apps[i].shown()
		maps.DeleteFunc(shown, func(name string, _ any) bool { return !slices.Contains(fields, name) })
		list = append(list, shown)
	}
	return ok(list)
}

func (s *Sim) getClient(r *request) reply { return ok(r.client.shown()) }

func (s *Sim) changeClient(r *request) reply {
	if problem := (schema{"callbacks": listOf(2083, 0)}).problem(r.body, "callbacks"); problem != "" {
		return invalidBody(problem)
	}
	r.client.callbacks = nil // replaced whole
	for _, c := range r.body.(map[string]any)["callbacks"].([]any) {
		r.client.callbacks = append(r.client.callbacks, c.(string))
	}
	return ok(r.client.shown())
}

func (s *Sim) listDomains(r *request) reply {
	switch {
	case s.domains == nil:
		return refused(403, "", "The account is not allowed to perform this operation, please contact our support team")
	case !r.may("read:custom_domains"):
		return insufficient("read:custom_domains")
	}
	return ok(s.domains)
}

func (s *Sim) listLogs(r *request) reply {
	q := r.query
	m := regexp.MustCompile(`^connection:"([^"]+)" AND type:\("s" OR "f"\)$`).FindStringSubmatch(q.Get("q"))
	n, err := strconv.Atoi(q.Get("per_page"))
	if !only(q, "q", "sort", "per_page", "page") || q.Get("sort") != "date:-1" || q.Get("page") != "0" ||
		m == nil || err != nil || n < 1 || n > 100 {
		return invalidQuery()
	}
	list := []map[string]any{}
	for _, l := range slices.Backward(s.logs) {
		if l["connection"] == m[1] && len(list) < n {
			list = append(list, l)
		}
	}
	return ok(list)
}
