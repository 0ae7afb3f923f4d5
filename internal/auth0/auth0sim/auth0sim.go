// Package auth0sim is a strict stand-in for an Auth0 tenant, for tests: its
// Management API as far as an Exact connection needs it, and its sign-in.
//
// A [Sim] is an [http.Handler]. It refuses whatever Auth0's schemas do not name:
// unknown parameters, unknown options, wrong types, values that are too long.
// It replaces whole what Auth0 replaces whole, asks for the scopes that Auth0
// asks for, and does at Exact what the npm package passport-exact does. A
// simulator can be told to refuse, to limit and to lie; see [Lie].
package auth0sim

import (
	"crypto/rand"
	"crypto/rsa"
	"encoding/json"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"
)

// Config is the behaviour of a stand-in. Its zero value signs Anna in without
// asking Exact.
type Config struct {
	// Now is the clock, time.Now if nil.
	Now func() time.Time

	// Exact makes the requests to Exact Online. If it is nil, nobody is asked
	// there: everybody who comes is Anna.
	Exact *http.Client
}

// App is an application of the tenant. Secret is empty for one that has none.
type App struct {
	ClientID, Name, Secret string
	Callbacks              []string
}

// Connection is as the Management API shows it: id, name, strategy,
// display_name, options.
type Connection map[string]any

// Refusal is an answer with which the browser is sent back to the app.
type Refusal struct{ Code, Description string }

// Sim is a tenant. It is safe for concurrent use.
type Sim struct {
	cfg Config
	key *rsa.PrivateKey

	mu          sync.Mutex // guards all below; not held while Exact is asked
	own         string     // origin of the tenant's own domain
	managers    map[string]*manager
	apps        []*App
	connections []*connection
	tokens      map[string]grant // for the Management API
	logs        []map[string]any
	domains     []map[string]any // nil if the plan has none

	limited   int
	limitTill int64
	lie       Lie
	refusal   Refusal
	pending   map[string]*flow // by the state sent to Exact, then by code
	access    map[string]*flow // by access token
	requests  []string
	secrets   map[string]string
}

type manager struct {
	secret string
	scopes []string // none: no grant at all
}

type grant struct{ scopes []string }

type connection struct {
	id, name, display string
	options           map[string]any
	enabled           []string
	disabled          bool
}

// New returns a tenant without apps, connections and managers.
func New(c Config) *Sim {
	if c.Now == nil {
		c.Now = time.Now
	}
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		panic(err) // it never fails
	}
	return &Sim{cfg: c, key: key, managers: map[string]*manager{}, tokens: map[string]grant{},
		pending: map[string]*flow{}, access: map[string]*flow{}, secrets: map[string]string{}}
}

// SetOrigin tells the tenant's own domain, as "http://127.0.0.1:1234". Under
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

// SetManager gives the machine-to-machine client id a new secret and these
// scopes; without any it has no grant.
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
	s.lock(func() {
		token = s.secret("a management token")
		s.tokens[token] = grant{scopes}
	})
	return token
}

// AddApp adds an app and returns its secret, which is empty if public.
func (s *Sim) AddApp(id, name string, public bool, callbacks ...string) (secret string) {
	s.lock(func() {
		if !public {
			secret = s.secret("a client secret")
		}
		s.apps = append(s.apps, &App{id, name, secret, callbacks})
	})
	return secret
}

// AddConnection adds an Exact connection as somebody may have made it before.
func (s *Sim) AddConnection(name string, options map[string]any, enabled ...string) {
	s.lock(func() {
		if secret, ok := options["client_secret"].(string); ok && strings.Trim(secret, "*") != "" {
			s.secrets[secret] = "a client secret"
		}
		s.connections = append(s.connections, &connection{id: "con_" + rand.Text()[:16], name: name, display: "Exact of ours", options: options, enabled: enabled})
	})
}

// Disable disables a connection.
func (s *Sim) Disable(name string) {
	s.lock(func() {
		if c := s.named(name); c != nil {
			c.disabled = true
		}
	})
}

// AddDomain gives the tenant a custom domain with a status, as "ready".
func (s *Sim) AddDomain(domain, status string) {
	s.lock(func() {
		s.domains = append(s.domains, map[string]any{"custom_domain_id": "cd_1", "domain": domain, "status": status, "type": "auth0_managed_certs", "primary": true})
	})
}

// AddLog adds an entry to the tenant's log.
func (s *Sim) AddLog(entry map[string]any) { s.lock(func() { s.logs = append(s.logs, entry) }) }

// Limit has the next n requests refused with status 429 until a moment that is
// that far off, in whole seconds.
func (s *Sim) Limit(n int, wait time.Duration) {
	s.lock(func() { s.limited, s.limitTill = n, s.cfg.Now().Add(wait).Unix() })
}

// Refuse has /authorize send the browser back with this; the zero Refusal ends it.
func (s *Sim) Refuse(r Refusal) { s.lock(func() { s.refusal = r }) }

// Tell has the issuer lie from now on.
func (s *Sim) Tell(l Lie) { s.lock(func() { s.lie = l }) }

// Connection returns a connection as a manager with all scopes sees it, with
// "enabled" added; nil if there is none.
func (s *Sim) Connection(name string) (shown Connection) {
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
			list = slices.Clone(a.Callbacks)
		}
	})
	return list
}

// Requests returns the requests so far, as "PATCH /api/v2/clients/abc".
func (s *Sim) Requests() (list []string) {
	s.lock(func() { list = slices.Clone(s.requests) })
	return list
}

// Secrets returns every secret that was issued or told, and what kind it is of.
func (s *Sim) Secrets() map[string]string {
	all := map[string]string{}
	s.lock(func() {
		for v, kind := range s.secrets {
			all[v] = kind
		}
	})
	return all
}

func (s *Sim) named(name string) *connection {
	for _, c := range s.connections {
		if c.name == name {
			return c
		}
	}
	return nil
}

func (s *Sim) byID(id string) *connection {
	for _, c := range s.connections {
		if c.id == id {
			return c
		}
	}
	return nil
}

func (s *Sim) app(id string) *App {
	for _, a := range s.apps {
		if a.ClientID == id {
			return a
		}
	}
	return nil
}

func (c *connection) shown(options bool) Connection {
	v := Connection{"id": c.id, "name": c.name, "strategy": "exact", "display_name": c.display, "is_domain_connection": false, "realms": []string{c.name}}
	if options {
		v["options"] = c.options
	}
	return v
}

// ServeHTTP answers one request.
func (s *Sim) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Date", s.cfg.Now().UTC().Format(http.TimeFormat))
	path := r.URL.Path
	s.mu.Lock()
	s.requests = append(s.requests, r.Method+" "+path)
	limited := s.limited > 0 && path != "/authorize" && path != "/login/callback"
	if limited {
		s.limited--
		w.Header().Set("X-RateLimit-Limit", "2")
		w.Header().Set("X-RateLimit-Remaining", "0")
		w.Header().Set("X-RateLimit-Reset", strconv.FormatInt(s.limitTill, 10))
	}
	s.mu.Unlock()
	switch {
	case limited:
		refuse(w, 429, "too_many_requests", "Global limit has been reached")
	case path == "/oauth/token":
		s.token(w, r)
	case path == "/authorize":
		s.authorize(w, r)
	case path == "/login/callback":
		s.callback(w, r)
	case path == "/userinfo":
		s.userInfo(w, r)
	case path == "/.well-known/openid-configuration":
		s.discovery(w, r)
	case path == "/.well-known/jwks.json":
		s.jwks(w)
	case strings.HasPrefix(path, "/api/v2/"):
		s.manage(w, r)
	default:
		refuse(w, 404, "", "Not Found")
	}
}

func origin(r *http.Request) string { return "http://" + r.Host }

func writeJSON(w http.ResponseWriter, status int, v any) {
	w.Header().Set("Content-Type", "application/json; charset=utf-8")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(v) // the client may have gone
}

// refuse is an error of the Management API (its reference, "Errors").
func refuse(w http.ResponseWriter, status int, code, message string) {
	body := map[string]any{"statusCode": status, "error": http.StatusText(status), "message": message}
	if code != "" {
		body["errorCode"] = code
	}
	writeJSON(w, status, body)
}

// refuseOAuth is an error of the Authentication API.
func refuseOAuth(w http.ResponseWriter, status int, code, description string) {
	writeJSON(w, status, map[string]string{"error": code, "error_description": description})
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
