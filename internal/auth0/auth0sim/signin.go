package auth0sim

import (
	"context"
	"crypto"
	"crypto/hmac"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"encoding/xml"
	"fmt"
	"html"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/exactauth/exactauth/internal/exactsim"
)

// Lie is something that an issuer says and that is not so.
type Lie string

// The lies. Each but the last few is about the id_token alone.
const (
	Truth          Lie = ""
	AlgNone        Lie = "alg-none"         // not signed
	AlgHS256       Lie = "alg-hs256"        // signed with the public key as a shared secret
	UnknownKey     Lie = "unknown-key"      // signed with a key that is not published, under a name of its own
	OtherKey       Lie = "other-key"        // signed with another key under the name of the published one
	Tampered       Lie = "tampered"         // changed after it was signed
	NoSlash        Lie = "no-slash"         // issuer without its trailing slash
	OwnDomain      Lie = "own-domain"       // issuer is the tenant's own domain though a custom one was used
	OtherIssuer    Lie = "other-issuer"     // issuer is somebody else
	OtherAudience  Lie = "other-audience"   // made for another app
	TwoAudiences   Lie = "two-audiences"    // made for two apps, the other one authorized
	OtherNonce     Lie = "other-nonce"      // of another sign-in
	NoNonce        Lie = "no-nonce"         //
	Expired        Lie = "expired"          // an hour ago
	NoExpiry       Lie = "no-expiry"        //
	NotYet         Lie = "not-yet"          // nbf is an hour off
	FromFuture     Lie = "from-future"      // iat is an hour off
	OtherHash      Lie = "other-hash"       // at_hash is another access token's
	NoSubject      Lie = "no-subject"       //
	NoToken        Lie = "no-token"         // the answer has no id_token
	Garbage        Lie = "garbage"          // it is no token
	Escape         Lie = "escape"           // texts hold terminal escapes
	OtherUser      Lie = "other-user"       // userinfo is about somebody else
	OtherDiscovery Lie = "other-discovery"  // the discovery document is another issuer's
	Astray         Lie = "astray"           // its token endpoint is elsewhere
	BadCode        Lie = "bad-code"         // every code has been used before
	Redirected     Lie = "redirect-to-self" // the token endpoint redirects
)

// flow is one sign-in on its way.
type flow struct {
	app                                  *App
	origin, redirect, state, nonce, pkce string
	connection                           *connection
	sub, name, email, division           string
}

// authorize judges what the browser brings, as strictly as can be: a redirect
// URI that is not allowed gives a page, never a redirect.
func (s *Sim) authorize(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	defer s.mu.Unlock()
	q := r.URL.Query()
	app := s.app(q.Get("client_id"))
	page := func(status int, text string) {
		w.Header().Set("Content-Type", "text/html; charset=utf-8")
		w.WriteHeader(status)
		fmt.Fprintf(w, "<!doctype html><title>Oops!, something went wrong</title><p>%s</p>", html.EscapeString(text))
	}
	if r.Method != http.MethodGet || app == nil {
		page(400, "unauthorized_client: Unknown client: "+q.Get("client_id"))
		return
	}
	if !slices.Contains(app.Callbacks, q.Get("redirect_uri")) {
		page(403, "Callback URL mismatch. The provided redirect_uri is not in the list of allowed callback URLs.")
		return
	}
	f := &flow{app: app, origin: origin(r), redirect: q.Get("redirect_uri"), state: q.Get("state"), nonce: q.Get("nonce"), pkce: q.Get("code_challenge")}
	if s.refusal.Code != "" {
		f.refuse(w, r, s.refusal.Code, s.refusal.Description)
		return
	}
	challenge, err := base64.RawURLEncoding.DecodeString(f.pkce)
	switch {
	case !only(q, "response_type", "client_id", "redirect_uri", "scope", "connection", "prompt", "state", "nonce", "code_challenge", "code_challenge_method"),
		q.Get("response_type") != "code", q.Get("scope") != "openid profile email", q.Get("prompt") != "login",
		q.Get("code_challenge_method") != "S256", err != nil, len(challenge) != sha256.Size, len(f.state) < 20, len(f.nonce) < 20:
		f.refuse(w, r, "invalid_request", "the stand-in does not take this request")
		return
	}
	c := s.named(q.Get("connection"))
	switch {
	case c == nil || !slices.Contains(c.enabled, app.ClientID):
		f.refuse(w, r, "invalid_request", "the connection was not found")
		return
	case c.disabled:
		f.refuse(w, r, "invalid_request", "the connection was disabled")
		return
	}
	f.connection = c
	key := rand.Text()
	s.pending[key] = f
	if s.cfg.Exact == nil {
		anna := exactsim.Anna()
		f.sub, f.name, f.email, f.division = "exact|"+anna.ID, anna.FullName, anna.Email, strconv.Itoa(anna.CurrentDivision)
		s.comeBack(w, r, key)
		return
	}
	to := f.baseURL() + "/api/oauth2/auth?" + url.Values{
		"response_type": {"code"}, "redirect_uri": {f.origin + "/login/callback"},
		"client_id": {fmt.Sprint(c.options["client_id"])}, "state": {key},
	}.Encode()
	http.Redirect(w, r, to, http.StatusFound)
}

func (f *flow) baseURL() string {
	if b, ok := f.connection.options["baseUrl"].(string); ok {
		return b
	}
	return "https://start.exactonline.nl"
}

func (f *flow) refuse(w http.ResponseWriter, r *http.Request, code, description string) {
	q := url.Values{"error": {code}, "error_description": {description}, "state": {f.state}}
	http.Redirect(w, r, f.redirect+"?"+q.Encode(), http.StatusFound)
}

// callback is where Exact sends the browser: the code is exchanged and the user
// asked for, then the browser goes back to the app with a code of our own.
func (s *Sim) callback(w http.ResponseWriter, r *http.Request) {
	q := r.URL.Query()
	s.mu.Lock()
	f := s.pending[q.Get("state")]
	s.mu.Unlock()
	if f == nil || f.origin != origin(r) {
		refuse(w, 400, "", "invalid state")
		return
	}
	if q.Get("error") != "" {
		f.refuse(w, r, "access_denied", q.Get("error_description"))
		return
	}
	if err := s.atExact(r.Context(), f, q.Get("code")); err != nil {
		f.refuse(w, r, "invalid_request", err.Error())
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.comeBack(w, r, q.Get("state"))
}

func (s *Sim) comeBack(w http.ResponseWriter, r *http.Request, key string) {
	f := s.pending[key]
	delete(s.pending, key)
	code := s.secret("a code")
	s.pending[code] = f
	http.Redirect(w, r, f.redirect+"?"+url.Values{"code": {code}, "state": {f.state}}.Encode(), http.StatusFound)
}

// atExact does what passport-exact does: the secret in the form, then current/Me
// without an Accept, which comes as Atom.
func (s *Sim) atExact(ctx context.Context, f *flow, code string) error {
	form := url.Values{
		"grant_type": {"authorization_code"}, "code": {code}, "redirect_uri": {f.origin + "/login/callback"},
		"client_id": {fmt.Sprint(f.connection.options["client_id"])}, "client_secret": {fmt.Sprint(f.connection.options["client_secret"])},
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, f.baseURL()+"/api/oauth2/token", strings.NewReader(form.Encode()))
	if err != nil {
		return err
	}
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	text, err := s.ask(req)
	if err != nil {
		return err
	}
	var tokens struct {
		AccessToken string `json:"access_token"`
	}
	if err := json.Unmarshal(text, &tokens); err != nil {
		return err
	}
	req, err = http.NewRequestWithContext(ctx, http.MethodGet, f.baseURL()+"/api/v1/current/Me", nil)
	if err != nil {
		return err
	}
	req.Header.Set("Authorization", "Bearer "+tokens.AccessToken)
	if text, err = s.ask(req); err != nil {
		return err
	}
	var feed struct {
		Entries []struct {
			User struct{ UserID, FullName, Email, CurrentDivision string } `xml:"content>properties"`
		} `xml:"entry"`
	}
	if err := xml.Unmarshal(text, &feed); err != nil || len(feed.Entries) != 1 {
		return fmt.Errorf("current/Me: no entry: %w", err)
	}
	u := feed.Entries[0].User
	f.sub, f.name, f.email, f.division = "exact|"+u.UserID, u.FullName, u.Email, u.CurrentDivision
	return nil
}

func (s *Sim) ask(req *http.Request) ([]byte, error) {
	resp, err := s.cfg.Exact.Do(req)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err == nil && resp.StatusCode != http.StatusOK {
		err = fmt.Errorf("%s: %s", req.URL.Path, resp.Status)
	}
	return text, err
}

// token is the token endpoint, for managers and for apps.
func (s *Sim) token(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := r.ParseForm(); err != nil || r.Method != http.MethodPost || r.URL.RawQuery != "" || r.Header.Get("Authorization") != "" {
		refuseOAuth(w, 400, "invalid_request", "want a form")
		return
	}
	if s.lie == Redirected {
		http.Redirect(w, r, "/oauth/token", http.StatusTemporaryRedirect)
		return
	}
	q := r.PostForm
	switch q.Get("grant_type") {
	case "client_credentials":
		s.manageToken(w, r, q)
	case "authorization_code":
		s.exchange(w, q)
	default:
		refuseOAuth(w, 403, "unauthorized_client", "Grant type not allowed for the client.")
	}
}

func (s *Sim) manageToken(w http.ResponseWriter, r *http.Request, q url.Values) {
	m := s.managers[q.Get("client_id")]
	switch {
	case !only(q, "grant_type", "client_id", "client_secret", "audience"):
		refuseOAuth(w, 400, "invalid_request", "unknown parameter")
	case m == nil || m.secret != q.Get("client_secret"):
		refuseOAuth(w, 401, "access_denied", "Unauthorized")
	case origin(r) != s.own || q.Get("audience") != s.own+"/api/v2/":
		refuseOAuth(w, 403, "access_denied", "Service not found: "+q.Get("audience"))
	case len(m.scopes) == 0:
		refuseOAuth(w, 403, "access_denied", `Client is not authorized to access "`+q.Get("audience")+`". You need to create a "client-grant" associated to this API.`)
	default:
		token := s.secret("a management token")
		s.tokens[token] = grant{m.scopes}
		writeJSON(w, 200, map[string]any{"access_token": token, "scope": strings.Join(m.scopes, " "), "expires_in": 86400, "token_type": "Bearer"})
	}
}

func (s *Sim) exchange(w http.ResponseWriter, q url.Values) {
	f := s.pending[q.Get("code")]
	if f == nil || f.sub == "" || s.lie == BadCode {
		refuseOAuth(w, 403, "invalid_grant", "Invalid authorization code")
		return
	}
	sum := sha256.Sum256([]byte(q.Get("code_verifier")))
	switch {
	case !only(q, "grant_type", "client_id", "client_secret", "code", "redirect_uri", "code_verifier"):
		refuseOAuth(w, 400, "invalid_request", "unknown parameter")
		return
	case q.Get("client_id") != f.app.ClientID, q.Get("client_secret") != f.app.Secret:
		refuseOAuth(w, 401, "access_denied", "Unauthorized")
		return
	case q.Get("redirect_uri") != f.redirect, base64.RawURLEncoding.EncodeToString(sum[:]) != f.pkce:
		refuseOAuth(w, 403, "invalid_grant", "Failed to verify code verifier")
		return
	}
	delete(s.pending, q.Get("code"))
	access := s.secret("an access token")
	s.access[access] = f
	answer := map[string]any{"access_token": access, "scope": "openid profile email", "expires_in": 86400, "token_type": "Bearer"}
	if id := s.idToken(f, access); s.lie != NoToken {
		s.secrets[id] = "an id_token"
		answer["id_token"] = id
	}
	writeJSON(w, 200, answer)
}

// claims of the user, as the scopes openid profile email give them. The division
// is there as an Action of a tenant may add it.
func (f *flow) claims() map[string]any {
	return map[string]any{"sub": f.sub, "name": f.name, "nickname": "anna", "email": f.email, "email_verified": false,
		"https://acme.example/current_division": f.division}
}

func (s *Sim) idToken(f *flow, access string) string {
	now := s.cfg.Now().Unix()
	hash := sha256.Sum256([]byte(access))
	c := f.claims()
	c["iss"], c["aud"], c["iat"], c["exp"], c["nonce"], c["sid"] = f.origin+"/", f.app.ClientID, now, now+36000, f.nonce, rand.Text()
	c["at_hash"] = base64.RawURLEncoding.EncodeToString(hash[:16])
	head := map[string]any{"alg": "RS256", "typ": "JWT", "kid": keyName}
	key := s.key
	switch s.lie {
	case AlgNone:
		head["alg"] = "none"
	case AlgHS256:
		head["alg"] = "HS256"
	case UnknownKey:
		head["kid"] = "another"
	case NoSlash:
		c["iss"] = f.origin
	case OwnDomain:
		c["iss"] = s.own + "/"
	case OtherIssuer:
		c["iss"] = "https://evil.eu.auth0.com/"
	case OtherAudience:
		c["aud"] = "anotherAppAnotherAppAnotherApp00"
	case TwoAudiences:
		c["aud"], c["azp"] = []string{"anotherAppAnotherAppAnotherApp00", f.app.ClientID}, "anotherAppAnotherAppAnotherApp00"
	case OtherNonce:
		c["nonce"] = rand.Text()
	case NoNonce:
		delete(c, "nonce")
	case Expired:
		c["exp"] = now - 3600
	case NoExpiry:
		delete(c, "exp")
	case NotYet:
		c["nbf"] = now + 3600
	case FromFuture:
		c["iat"] = now + 3600
	case OtherHash:
		c["at_hash"] = base64.RawURLEncoding.EncodeToString(hash[16:])
	case NoSubject:
		delete(c, "sub")
	case Garbage:
		return "garbage"
	case Escape:
		c["name"] = "Eve\x1b[2J\u202e"
	}
	if s.lie == UnknownKey || s.lie == OtherKey {
		var err error
		if key, err = rsa.GenerateKey(rand.Reader, 2048); err != nil {
			panic(err)
		}
	}
	text := segment(head) + "." + segment(c)
	sum := sha256.Sum256([]byte(text))
	var signature []byte
	switch s.lie {
	case AlgNone:
	case AlgHS256:
		der, err := x509.MarshalPKIXPublicKey(&s.key.PublicKey)
		if err != nil {
			panic(err)
		}
		mac := hmac.New(sha256.New, pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der}))
		mac.Write([]byte(text))
		signature = mac.Sum(nil)
	default:
		var err error
		if signature, err = rsa.SignPKCS1v15(rand.Reader, key, crypto.SHA256, sum[:]); err != nil {
			panic(err)
		}
	}
	if s.lie == Tampered {
		c["sub"] = "exact|00000000-0000-0000-0000-000000000000"
		text = segment(head) + "." + segment(c)
	}
	return text + "." + base64.RawURLEncoding.EncodeToString(signature)
}

const keyName = "stand-in-1"

func segment(v any) string {
	text, err := json.Marshal(v)
	if err != nil {
		panic(err)
	}
	return base64.RawURLEncoding.EncodeToString(text)
}

func (s *Sim) discovery(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	defer s.mu.Unlock()
	at := origin(r)
	d := map[string]any{
		"issuer": at + "/", "authorization_endpoint": at + "/authorize", "token_endpoint": at + "/oauth/token",
		"userinfo_endpoint": at + "/userinfo", "jwks_uri": at + "/.well-known/jwks.json",
		// As Auth0 has it: what an app is set to is used, and HS256 is possible.
		"id_token_signing_alg_values_supported": []string{"HS256", "RS256", "PS256"},
	}
	switch s.lie {
	case OtherDiscovery:
		d["issuer"] = "https://evil.eu.auth0.com/"
	case Astray:
		d["token_endpoint"] = "https://evil.eu.auth0.com/oauth/token"
	}
	writeJSON(w, 200, d)
}

func (s *Sim) jwks(w http.ResponseWriter) {
	e := make([]byte, 0, 3)
	for v := s.key.E; v > 0; v >>= 8 {
		e = append([]byte{byte(v)}, e...)
	}
	writeJSON(w, 200, map[string]any{"keys": []map[string]any{
		{"kty": "OKP", "crv": "Ed448", "kid": "of-a-kind-not-known", "x": "AA"},
		{"kty": "RSA", "use": "sig", "alg": "RS256", "kid": keyName,
			"n": base64.RawURLEncoding.EncodeToString(s.key.N.Bytes()), "e": base64.RawURLEncoding.EncodeToString(e)},
	}})
}

func (s *Sim) userInfo(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	defer s.mu.Unlock()
	scheme, token, _ := strings.Cut(r.Header.Get("Authorization"), " ")
	f := s.access[token]
	if scheme != "Bearer" || f == nil {
		http.Error(w, "Unauthorized", http.StatusUnauthorized)
		return
	}
	c := f.claims()
	switch s.lie {
	case OtherUser:
		c["sub"] = "exact|00000000-0000-0000-0000-000000000000"
	case Escape:
		c["name"] = "Eve\x1b[2J\u202e"
	}
	s.logs = append(s.logs, map[string]any{"date": s.cfg.Now().UTC().Format(time.RFC3339), "type": "s", "connection": f.connection.name,
		"strategy": "exact", "user_id": f.sub, "user_name": f.name, "client_name": f.app.Name, "client_id": f.app.ClientID})
	writeJSON(w, 200, c)
}
