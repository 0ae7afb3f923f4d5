package auth0sim

import (
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
	"maps"
	"math/big"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/exactauth/exactauth/internal/exactsim"
)

// Lie is a false statement of the issuer, beside those that [Sim.SetClaims] puts into a
// token. Truth is none.
type Lie string

// The lies. Those up to Garbage are about the id_token alone.
const (
	Truth          Lie = ""
	AlgNone        Lie = "alg-none"         // not signed
	AlgHS256       Lie = "alg-hs256"        // signed with the public key as a shared secret
	UnknownKey     Lie = "unknown-key"      // signed with a key that is not published, with a key id of its own
	OtherKey       Lie = "other-key"        // signed with another key, with the key id of the published one
	Tampered       Lie = "tampered"         // changed after it was signed
	NoToken        Lie = "no-token"         // the answer has no id_token
	Garbage        Lie = "garbage"          // it is not a token
	OtherUser      Lie = "other-user"       // userinfo is about another user
	OtherDiscovery Lie = "other-discovery"  // the discovery document is another issuer's
	Astray         Lie = "astray"           // its token endpoint is on another host
	MixUp          Lie = "mix-up"           // the answer to the app names another issuer
	Unnamed        Lie = "unnamed"          // it names none, though the discovery document promises that
	BadCode        Lie = "bad-code"         // every code has been used before
	Redirected     Lie = "redirect-to-self" // the token endpoint redirects
)

// What lies name instead of the truth.
const (
	otherOrigin = "https://evil.eu.auth0.com"
	otherUser   = "exact|00000000-0000-0000-0000-000000000000"
)

// flow is one sign-in on its way.
type flow struct {
	app                                  *app
	origin, redirect, state, nonce, pkce string
	connection                           *connection
	sub, name, email, division           string
}

// authorize judges what the browser brings, strictly: a redirect URI that is not
// allowed is answered with a page, never with a redirect.
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
	if !slices.Contains(app.callbacks, q.Get("redirect_uri")) {
		page(403, "Callback URL mismatch. The provided redirect_uri is not in the list of allowed callback URLs.")
		return
	}
	c := s.named(q.Get("connection"))
	f := &flow{app: app, origin: origin(r), redirect: q.Get("redirect_uri"), state: q.Get("state"), nonce: q.Get("nonce"),
		pkce: q.Get("code_challenge"), connection: c}
	challenge, err := base64.RawURLEncoding.DecodeString(f.pkce)
	switch {
	case s.refusal.Code != "":
		f.refuse(w, r, s.refusal.Code, s.refusal.Description)
		return
	case !only(q, "response_type", "client_id", "redirect_uri", "scope", "connection", "prompt", "state", "nonce", "code_challenge", "code_challenge_method"),
		q.Get("response_type") != "code", q.Get("scope") != "openid profile email", q.Get("prompt") != "login",
		q.Get("code_challenge_method") != "S256", err != nil, len(challenge) != sha256.Size, len(f.state) < 20, len(f.nonce) < 20:
		f.refuse(w, r, "invalid_request", "the simulator does not accept this request")
		return
	case c == nil || !slices.Contains(c.enabled, app.id):
		f.refuse(w, r, "invalid_request", "the connection was not found")
		return
	case c.disabled:
		f.refuse(w, r, "invalid_request", "the connection was disabled")
		return
	}
	key := rand.Text()
	s.pending[key] = f
	if s.exact == nil {
		anna := exactsim.Anna()
		f.signedIn(Profile{anna.ID, anna.FullName, anna.Email, strconv.Itoa(anna.CurrentDivision)})
		s.comeBack(w, r, key)
		return
	}
	http.Redirect(w, r, f.baseURL()+"/api/oauth2/auth?"+url.Values{
		"response_type": {"code"}, "redirect_uri": {f.origin + "/login/callback"},
		"client_id": {fmt.Sprint(c.options["client_id"])}, "state": {key},
	}.Encode(), http.StatusFound)
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

// callback is where Exact sends the browser. The tenant exchanges Exact's code and
// asks who the user is, then the browser goes back to the app with a code of the
// tenant's own.
func (s *Sim) callback(w http.ResponseWriter, r *http.Request) {
	q := r.URL.Query()
	var f *flow
	s.lock(func() { f = s.pending[q.Get("state")] })
	switch {
	case f == nil || f.origin != origin(r):
		refused(400, "", "invalid state").write(w)
		return
	case q.Get("error") != "":
		f.refuse(w, r, "access_denied", q.Get("error_description"))
		return
	}
	u, err := s.exact(Exchange{f.baseURL(), fmt.Sprint(f.connection.options["client_id"]), fmt.Sprint(f.connection.options["client_secret"]),
		f.origin + "/login/callback", q.Get("code")})
	if err != nil {
		f.refuse(w, r, "invalid_request", err.Error())
		return
	}
	s.lock(func() {
		f.signedIn(u)
		s.comeBack(w, r, q.Get("state"))
	})
}

func (f *flow) signedIn(u Profile) {
	f.sub, f.name, f.email, f.division = "exact|"+u.ID, u.DisplayName, u.Email, u.CurrentDivision
}

func (s *Sim) comeBack(w http.ResponseWriter, r *http.Request, key string) {
	f := s.pending[key]
	delete(s.pending, key)
	code := s.secret("a code")
	s.pending[code] = f
	q := url.Values{"code": {code}, "state": {f.state}}
	if s.lie == MixUp {
		q.Set("iss", otherOrigin+"/")
	}
	http.Redirect(w, r, f.redirect+"?"+q.Encode(), http.StatusFound)
}

// Exchange is what the tenant knows of a sign-in when Exact sends its code, under the names
// of passport-exact's options.
type Exchange struct {
	BaseURL      string `json:"baseUrl"`
	ClientID     string `json:"clientID"`
	ClientSecret string `json:"clientSecret"`
	CallbackURL  string `json:"callbackURL"`
	Code         string `json:"code"`
}

// Profile is who signed in, under the names of passport-exact's profile.
type Profile struct{ ID, DisplayName, Email, CurrentDivision string }

// identify finds out who signed in, as passport-exact 0.1.4 does: it sends the secret in the form,
// then asks for current/Me without an Accept header, so that the answer is Atom. It fails where
// that package throws an exception: without one of the thirteen properties, or if UserID or CurrentDivision has
// no attribute.
func identify(exact *http.Client, x Exchange) (Profile, error) {
	text, err := read(exact.PostForm(x.BaseURL+"/api/oauth2/token", url.Values{
		"grant_type": {"authorization_code"}, "code": {x.Code}, "redirect_uri": {x.CallbackURL},
		"client_id": {x.ClientID}, "client_secret": {x.ClientSecret},
	}))
	var tokens struct {
		AccessToken string `json:"access_token"`
	}
	if err == nil {
		err = json.Unmarshal(text, &tokens)
	}
	if err != nil {
		return Profile{}, err
	}
	req, err := http.NewRequest(http.MethodGet, x.BaseURL+"/api/v1/current/Me", nil)
	if err != nil {
		return Profile{}, err
	}
	req.Header.Set("Authorization", "Bearer "+tokens.AccessToken)
	if text, err = read(exact.Do(req)); err != nil {
		return Profile{}, err
	}
	var feed struct {
		Entries []struct {
			Properties struct {
				All []struct {
					XMLName    xml.Name
					Attributes []xml.Attr `xml:",any,attr"`
					Text       string     `xml:",chardata"`
				} `xml:",any"`
			} `xml:"content>properties"`
		} `xml:"entry"`
	}
	if err := xml.Unmarshal(text, &feed); err != nil || len(feed.Entries) != 1 {
		return Profile{}, fmt.Errorf("current/Me: no entry: %v", err)
	}
	have := map[string]string{}
	for _, p := range feed.Entries[0].Properties.All {
		name := p.XMLName.Local
		if len(p.Attributes) > 0 || name != "UserID" && name != "CurrentDivision" {
			have[name] = p.Text
		}
	}
	for _, name := range strings.Fields("UserID FullName FirstName MiddleName LastName CurrentDivision PictureUrl UserName LanguageCode Email Title Gender Language") {
		if _, ok := have[name]; !ok {
			return Profile{}, fmt.Errorf("current/Me: no %s that passport-exact can read", name)
		}
	}
	return Profile{have["UserID"], have["FullName"], have["Email"], have["CurrentDivision"]}, nil
}

func read(resp *http.Response, err error) ([]byte, error) {
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err == nil && resp.StatusCode != http.StatusOK {
		err = fmt.Errorf("%s: %s", resp.Request.URL.Path, resp.Status)
	}
	return text, err
}

func (s *Sim) token(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	defer s.mu.Unlock()
	err := r.ParseForm()
	q := r.PostForm
	switch {
	case err != nil, r.Method != http.MethodPost, r.URL.RawQuery != "", r.Header.Get("Authorization") != "":
		refusedOAuth(400, "invalid_request", "want a form").write(w)
	case s.lie == Redirected:
		http.Redirect(w, r, "/oauth/token", http.StatusTemporaryRedirect)
	case q.Get("grant_type") == "client_credentials":
		s.manageToken(r, q).write(w)
	case q.Get("grant_type") == "authorization_code":
		s.exchange(q).write(w)
	default:
		refusedOAuth(403, "unauthorized_client", "Grant type not allowed for the client.").write(w)
	}
}

func (s *Sim) manageToken(r *http.Request, q url.Values) reply {
	m := s.managers[q.Get("client_id")]
	switch {
	case !only(q, "grant_type", "client_id", "client_secret", "audience"):
		return refusedOAuth(400, "invalid_request", "unknown parameter")
	case m == nil || m.secret != q.Get("client_secret"):
		return refusedOAuth(401, "access_denied", "Unauthorized")
	case origin(r) != s.own || q.Get("audience") != s.own+"/api/v2/":
		return refusedOAuth(403, "access_denied", "Service not found: "+q.Get("audience"))
	case len(m.scopes) == 0:
		return refusedOAuth(403, "access_denied", `Client is not authorized to access "`+q.Get("audience")+`". You need to create a "client-grant" associated to this API.`)
	}
	return ok(map[string]any{"access_token": s.newAPIToken(m.scopes), "scope": strings.Join(m.scopes, " "), "expires_in": 86400, "token_type": "Bearer"})
}

func (s *Sim) exchange(q url.Values) reply {
	f := s.pending[q.Get("code")]
	verifier := sha256.Sum256([]byte(q.Get("code_verifier")))
	switch {
	case f == nil || f.sub == "" || s.lie == BadCode:
		return refusedOAuth(403, "invalid_grant", "Invalid authorization code")
	case !only(q, "grant_type", "client_id", "client_secret", "code", "redirect_uri", "code_verifier"):
		return refusedOAuth(400, "invalid_request", "unknown parameter")
	case q.Get("client_id") != f.app.id, q.Get("client_secret") != f.app.secret:
		return refusedOAuth(401, "access_denied", "Unauthorized")
	case q.Get("redirect_uri") != f.redirect, base64.RawURLEncoding.EncodeToString(verifier[:]) != f.pkce:
		return refusedOAuth(403, "invalid_grant", "Failed to verify code verifier")
	}
	delete(s.pending, q.Get("code"))
	access := s.secret("an access token")
	s.access[access] = f
	answer := map[string]any{"access_token": access, "scope": "openid profile email", "expires_in": 86400, "token_type": "Bearer"}
	if id := s.idToken(f, access); s.lie != NoToken {
		s.secrets[id] = "an id_token"
		answer["id_token"] = id
	}
	return ok(answer)
}

// claims returns what the scopes openid profile email include of the user. The
// division is as an Action of a tenant may add it.
func (f *flow) claims() map[string]any {
	return map[string]any{"sub": f.sub, "name": f.name, "nickname": "anna", "email": f.email, "email_verified": false,
		"https://acme.example/current_division": f.division}
}

const keyName = "simulator-1"

func (s *Sim) idToken(f *flow, access string) string {
	if s.lie == Garbage {
		return "garbage"
	}
	now := time.Now().Unix()
	hash := sha256.Sum256([]byte(access))
	c := f.claims()
	maps.Copy(c, map[string]any{"iss": f.origin + "/", "aud": f.app.id, "iat": now, "exp": now + 36000, "nonce": f.nonce,
		"sid": rand.Text(), "at_hash": base64.RawURLEncoding.EncodeToString(hash[:16])})
	s.falsify(c)

	key, head := s.key, map[string]string{"alg": "RS256", "typ": "JWT", "kid": keyName}
	switch s.lie {
	case AlgNone:
		head["alg"] = "none"
	case AlgHS256:
		head["alg"] = "HS256"
	case UnknownKey:
		key, head["kid"] = newKey(), "another"
	case OtherKey:
		key = newKey()
	}
	signed := segment(head) + "." + segment(c)
	var signature []byte
	switch head["alg"] {
	case "RS256":
		sum := sha256.Sum256([]byte(signed))
		signature, _ = rsa.SignPKCS1v15(rand.Reader, key, crypto.SHA256, sum[:]) // never fails
	case "HS256": // with the public key, as PEM, for a shared secret
		der, _ := x509.MarshalPKIXPublicKey(&key.PublicKey) // never fails
		mac := hmac.New(sha256.New, pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der}))
		mac.Write([]byte(signed))
		signature = mac.Sum(nil)
	}
	if s.lie == Tampered {
		c["sub"] = otherUser
		signed = segment(head) + "." + segment(c)
	}
	return signed + "." + base64.RawURLEncoding.EncodeToString(signature)
}

func (s *Sim) falsify(claims map[string]any) {
	maps.Copy(claims, s.changed)
	maps.DeleteFunc(claims, func(_ string, v any) bool { return v == nil })
}

func segment(v any) string {
	text, _ := json.Marshal(v) // never fails
	return base64.RawURLEncoding.EncodeToString(text)
}

func (s *Sim) discovery(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	defer s.mu.Unlock()
	at := origin(r)
	d := map[string]any{
		"issuer": at + "/", "authorization_endpoint": at + "/authorize", "token_endpoint": at + "/oauth/token",
		"userinfo_endpoint": at + "/userinfo", "jwks_uri": at + "/.well-known/jwks.json",
		// As at Auth0: the app's setting decides, and HS256 is possible.
		"id_token_signing_alg_values_supported": []string{"HS256", "RS256", "PS256"},
	}
	switch s.lie {
	case OtherDiscovery:
		d["issuer"] = otherOrigin + "/"
	case Unnamed:
		d["authorization_response_iss_parameter_supported"] = true
	case Astray:
		d["token_endpoint"] = otherOrigin + "/oauth/token"
	}
	ok(d).write(w)
}

func (s *Sim) jwks(w http.ResponseWriter, _ *http.Request) {
	ok(map[string]any{"keys": []map[string]any{
		{"kty": "OKP", "crv": "Ed448", "kid": "of-an-unknown-type", "x": "AA"},
		{"kty": "RSA", "use": "sig", "alg": "RS256", "kid": keyName,
			"n": base64.RawURLEncoding.EncodeToString(s.key.N.Bytes()),
			"e": base64.RawURLEncoding.EncodeToString(big.NewInt(int64(s.key.E)).Bytes())},
	}}).write(w)
}

func (s *Sim) userInfo(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	defer s.mu.Unlock()
	f := s.access[bearer(r)]
	if f == nil {
		http.Error(w, "Unauthorized", http.StatusUnauthorized)
		return
	}
	c := f.claims()
	s.falsify(c)
	if s.lie == OtherUser {
		c["sub"] = otherUser
	}
	s.logs = append(s.logs, map[string]any{"date": time.Now().UTC().Format(time.RFC3339), "type": "s", "connection": f.connection.name,
		"strategy": "exact", "user_id": f.sub, "user_name": f.name, "client_name": f.app.name, "client_id": f.app.id})
	ok(c).write(w)
}
