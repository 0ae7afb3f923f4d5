// Package auth0sim is a strict local Auth0 tenant, for tests: its Management API as
// far as an Exact connection needs it, and its sign-in.
//
// A [Sim] is an [http.Handler]. It refuses whatever Auth0's schemas do not name:
// unknown parameters, unknown options, wrong types, values that are too long.
// It replaces whole what Auth0 replaces whole, requires the scopes that Auth0
// requires, and does at Exact what the npm package passport-exact does. It can
// refuse, limit and lie on demand: see [Sim.Refuse], [Sim.Limit], [Sim.SetLie] and
// [Sim.SetClaims].
package auth0sim

import (
	"crypto/rand"
	"crypto/rsa"
	"encoding/json"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"
)

// app is an application of the tenant. Its secret is empty if it is public.
type app struct {
	id, name, secret string
	callbacks        []string
}

// Refusal is an answer with which the browser is sent back to the app.
type Refusal struct{ Code, Description string }

// Sim is a tenant. It is safe for concurrent use.
type Sim struct {
	exact func(Exchange) (Profile, error) // nil: every sign-in is that of exactsim.Anna
	key   *rsa.PrivateKey
	mux   *http.ServeMux

	mu          sync.Mutex // guards all below; not held while Exact is asked
	own         string     // origin of the tenant's own domain
	managers    map[string]*manager
	apps        []*app
	connections []*connection
	tokens      map[string][]string // the scopes of each token for the Management API
	logs        []map[string]any
	domains     []map[string]any // nil if the plan has none

	limited   int
	limitTill int64
	lie       Lie
	changed   map[string]any // claims, by SetClaims
	refusal   Refusal
	pending   map[string]*flow // by the state sent to Exact, then by code
	access    map[string]*flow // by access token
	requests  []string
	secrets   map[string]string // what kind each is of
}

// manager is a machine-to-machine client. Without scopes it has no grant.
type manager struct {
	secret string
	scopes []string
}

type connection struct {
	id, name, display string
	options           map[string]any
	enabled           []string
	disabled          bool
}

// New returns a tenant without apps, connections and managers. With exact it redeems
// Exact's codes, as [Strategy] does. If that is nil, Exact is not asked: every sign-in is
// that of exactsim.Anna.
func New(exact func(Exchange) (Profile, error)) *Sim {
	s := &Sim{exact: exact, key: newKey(), managers: map[string]*manager{}, tokens: map[string][]string{},
		pending: map[string]*flow{}, access: map[string]*flow{}, secrets: map[string]string{}}
	s.mux = s.routes()
	return s
}

// Strategy does at Exact what the npm package passport-exact does.
func Strategy(exact *http.Client) func(Exchange) (Profile, error) {
	return func(x Exchange) (Profile, error) { return identify(exact, x) }
}

func newKey() *rsa.PrivateKey {
	key, _ := rsa.GenerateKey(rand.Reader, 2048) // never fails
	return key
}

func (s *Sim) routes() *http.ServeMux {
	mux := http.NewServeMux()
	mux.HandleFunc("/oauth/token", s.token)
	mux.HandleFunc("/authorize", s.authorize)
	mux.HandleFunc("/login/callback", s.callback)
	mux.HandleFunc("/userinfo", s.userInfo)
	mux.HandleFunc("/.well-known/openid-configuration", s.discovery)
	mux.HandleFunc("/.well-known/jwks.json", s.jwks)
	mux.HandleFunc("/", func(w http.ResponseWriter, _ *http.Request) { notFound().write(w) })
	for route, serve := range map[string]struct {
		scope string
		serve func(*request) reply
	}{
		"GET /api/v2/connections":                        {"read:connections", s.listConnections},
		"POST /api/v2/connections":                       {"create:connections", s.createConnection},
		"GET /api/v2/connections/{connection}":           {"read:connections", s.getConnection},
		"PATCH /api/v2/connections/{connection}":         {"update:connections", s.changeConnection},
		"GET /api/v2/connections/{connection}/clients":   {"read:connections", s.listEnabled},
		"PATCH /api/v2/connections/{connection}/clients": {"update:connections", s.enableClients},
		"GET /api/v2/clients":                            {"read:clients", s.listClients},
		"GET /api/v2/clients/{client}":                   {"read:clients", s.getClient},
		"PATCH /api/v2/clients/{client}":                 {"update:clients", s.changeClient},
		"GET /api/v2/custom-domains":                     {"", s.listDomains},
		"GET /api/v2/logs":                               {"read:logs", s.listLogs},
	} {
		mux.HandleFunc(route, func(w http.ResponseWriter, r *http.Request) { s.manage(r, serve.scope, serve.serve).write(w) })
	}
	return mux
}

// SetOrigin sets the tenant's own domain, as "http://127.0.0.1:1234". Under
// every other name that leads here it answers as under a custom domain.
func (s *Sim) SetOrigin(origin string) { s.lock(func() { s.own = origin }) }

func (s *Sim) lock(f func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	f()
}

func (s *Sim) secret(kind string) string {
	v := rand.Text() + rand.Text()
	s.secrets[v] = kind
	return v
}

// SetManager sets the scopes of the machine-to-machine client id, and makes its
// secret the first time. Without scopes it has no grant.
func (s *Sim) SetManager(id string, scopes ...string) (secret string) {
	s.lock(func() {
		m := s.managers[id]
		if m == nil {
			m = &manager{secret: s.secret("a client secret")}
			s.managers[id] = m
		}
		m.scopes, secret = scopes, m.secret
	})
	return secret
}

// APIToken makes a token for the Management API.
func (s *Sim) APIToken(scopes ...string) (token string) {
	s.lock(func() { token = s.newAPIToken(scopes) })
	return token
}

func (s *Sim) newAPIToken(scopes []string) string {
	token := s.secret("a management token")
	s.tokens[token] = scopes
	return token
}

// AddApp adds an app and returns its secret, which is empty if public.
func (s *Sim) AddApp(id, name string, public bool, callbacks ...string) (secret string) {
	s.lock(func() {
		if !public {
			secret = s.secret("a client secret")
		}
		s.apps = append(s.apps, &app{id, name, secret, callbacks})
	})
	return secret
}

// AddConnection adds an Exact connection that existed before.
func (s *Sim) AddConnection(name string, options map[string]any, enabled ...string) {
	s.lock(func() {
		if secret, ok := options["client_secret"].(string); ok && strings.Trim(secret, "*") != "" {
			s.secrets[secret] = "a client secret"
		}
		c := s.newConnection(name, "Exact of ours", options)
		c.enabled = enabled
	})
}

func (s *Sim) newConnection(name, display string, options map[string]any) *connection {
	c := &connection{id: "con_" + rand.Text()[:16], name: name, display: display, options: options}
	s.connections = append(s.connections, c)
	return c
}

// Disable disables a connection.
func (s *Sim) Disable(name string) {
	s.lock(func() {
		if c := s.named(name); c != nil {
			c.disabled = true
		}
	})
}

// AddDomain adds a custom domain with a status, as "ready".
func (s *Sim) AddDomain(domain, status string) {
	s.lock(func() {
		s.domains = append(s.domains, map[string]any{"custom_domain_id": "cd_1", "domain": domain, "status": status,
			"type": "auth0_managed_certs", "primary": true})
	})
}

// AddLog adds an entry to the tenant's log.
func (s *Sim) AddLog(entry map[string]any) { s.lock(func() { s.logs = append(s.logs, entry) }) }

// Limit refuses the next n requests with status 429. Its headers say that the limit
// ends after wait, in whole seconds.
func (s *Sim) Limit(n int, wait time.Duration) {
	s.lock(func() { s.limited, s.limitTill = n, time.Now().Add(wait).Unix() })
}

// Refuse makes /authorize send the browser back with r. The zero Refusal ends that.
func (s *Sim) Refuse(r Refusal) { s.lock(func() { s.refusal = r }) }

// SetLie makes the issuer lie from now on.
func (s *Sim) SetLie(l Lie) { s.lock(func() { s.lie = l }) }

// SetClaims changes claims of id_tokens, and of the answers of userinfo, from now on: to
// what changed has, or, for nil, to none.
func (s *Sim) SetClaims(changed map[string]any) { s.lock(func() { s.changed = changed }) }

// Connection returns a connection as a manager with all scopes sees it: id, name, strategy,
// display_name, options; and with its apps as "enabled". It is nil if there is none.
func (s *Sim) Connection(name string) (shown map[string]any) {
	s.lock(func() {
		if c := s.named(name); c != nil {
			shown = c.shown(true)
			shown["enabled"] = slices.Clone(c.enabled)
		}
	})
	return shown
}

// Callbacks returns an app's Allowed Callback URLs.
func (s *Sim) Callbacks(clientID string) (list []string) {
	s.lock(func() {
		if a := s.app(clientID); a != nil {
			list = slices.Clone(a.callbacks)
		}
	})
	return list
}

// Requests returns the requests so far, as "PATCH /api/v2/clients/abc".
func (s *Sim) Requests() (list []string) {
	s.lock(func() { list = slices.Clone(s.requests) })
	return list
}

// Secrets returns every secret that was issued or received, and its kind.
func (s *Sim) Secrets() (all map[string]string) {
	s.lock(func() { all = maps.Clone(s.secrets) })
	return all
}

func (s *Sim) named(name string) *connection {
	return first(s.connections, func(c *connection) bool { return c.name == name })
}

func (s *Sim) app(id string) *app { return first(s.apps, func(a *app) bool { return a.id == id }) }

func first[T any](list []*T, ok func(*T) bool) *T {
	if i := slices.IndexFunc(list, ok); i >= 0 {
		return list[i]
	}
	return nil
}

func (c *connection) shown(options bool) map[string]any {
	v := map[string]any{"id": c.id, "name": c.name, "strategy": "exact", "display_name": c.display, "is_domain_connection": false, "realms": []string{c.name}}
	if options {
		v["options"] = c.options
	}
	return v
}

// ServeHTTP answers one request.
func (s *Sim) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Date", time.Now().UTC().Format(http.TimeFormat))
	s.mu.Lock()
	s.requests = append(s.requests, r.Method+" "+r.URL.Path)
	limited := s.limited > 0 && r.URL.Path != "/authorize" && r.URL.Path != "/login/callback"
	if limited {
		s.limited--
		w.Header().Set("X-RateLimit-Limit", "2")
		w.Header().Set("X-RateLimit-Remaining", "0")
		w.Header().Set("X-RateLimit-Reset", strconv.FormatInt(s.limitTill, 10))
	}
	s.mu.Unlock()
	if limited {
		refused(429, "too_many_requests", "Global limit has been reached").write(w)
		return
	}
	s.mux.ServeHTTP(w, r)
}

func origin(r *http.Request) string { return "http://" + r.Host }

func bearer(r *http.Request) string {
	scheme, token, _ := strings.Cut(r.Header.Get("Authorization"), " ")
	if scheme != "Bearer" {
		return ""
	}
	return token
}

type reply struct {
	status int
	body   any
}

func ok(body any) reply { return reply{http.StatusOK, body} }

func notFound() reply { return refused(http.StatusNotFound, "", "Not Found") }

// refused is an error of the Management API (its reference, "Errors").
func refused(status int, code, message string) reply {
	body := map[string]any{"statusCode": status, "error": http.StatusText(status), "message": message}
	if code != "" {
		body["errorCode"] = code
	}
	return reply{status, body}
}

// refusedOAuth is an error of the Authentication API.
func refusedOAuth(status int, code, description string) reply {
	return reply{status, map[string]string{"error": code, "error_description": description}}
}

func (a reply) write(w http.ResponseWriter) {
	if a.body == nil {
		w.WriteHeader(a.status)
		return
	}
	w.Header().Set("Content-Type", "application/json; charset=utf-8")
	w.WriteHeader(a.status)
	_ = json.NewEncoder(w).Encode(a.body) // the client may have gone
}

// only reports whether q has no parameters but these, each once.
func only(q url.Values, names ...string) bool {
	for name, values := range q {
		if !slices.Contains(names, name) || len(values) != 1 {
			return false
		}
	}
	return true
}
