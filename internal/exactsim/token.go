package exactsim

import (
	"bytes"
	"crypto/subtle"
	"maps"
	"mime"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"
)

const tokenPath = "/api/oauth2/token"

// Lengths of what is issued, in characters, about those seen in 2023-2025. A
// client must not cap them.
const (
	codeLength    = 700
	accessLength  = 850
	refreshLength = 420
)

// refreshLife is the life of an unused refresh token (Exact KB "OAuth step 3").
const refreshLife = 30 * day

// code is an authorization code. Used and expired ones are kept, to distinguish
// them from codes that were never issued.
type code struct {
	grantKey
	redirectURI string
	expires     time.Time
	used        bool
}

// grantKey names a grant. There is one per app and user: a second sign-in ends
// the first (help.eenvoudigfactureren.be article 101000381087).
type grantKey struct{ client, user string }

// grant is the permission of a user for an app.
type grant struct {
	grantKey
	Grant
	previous   int  // generation of the refresh token before, while Grace keeps it usable, otherwise 0
	superseded bool // by a new sign-in
}

func (g *grant) live() bool { return !g.superseded && !g.Revoked }

// token is a refresh token, or an access token with the generation of the refresh
// token that came with it.
type token struct {
	*grant
	generation int
	expires    time.Time
}

// newest reports whether no token of its kind was issued for the grant since.
func (t token) newest() bool { return t.generation == t.Generation }

// Shapes of tokens: opaque, with the region in front. A "!" in codes and
// refresh tokens is what makes decoding them once, and only once, matter.
func (s *Sim) secret(prefix string, length int) string {
	text := "stamp" + strings.ToUpper(s.cfg.Region) + "001." + prefix
	text += s.randomText(length - len(text))
	s.secrets = append(s.secrets, text)
	return text
}

func (s *Sim) newCode(k grantKey, redirectURI string, now time.Time) string {
	text := s.secret(s.randomText(4)+"!IAAAA", codeLength)
	s.codes[text] = &code{grantKey: k, redirectURI: redirectURI, expires: now.Add(s.cfg.CodeLife)}
	return text
}

// rotate makes a new refresh token for g in place of generation used, which is 0
// after a sign-in.
func (s *Sim) rotate(c *call, g *grant, used int) string {
	g.previous = 0
	if s.cfg.Rotation == Grace {
		g.previous = used
	}
	g.Generation++
	c.generation = g.Generation
	text := s.secret(s.randomText(4)+"!IAAAA", refreshLength)
	s.refresh[text] = token{g, g.Generation, c.now.Add(refreshLife)}
	return text
}

func (s *Sim) token(c *call) answer {
	if c.form == nil {
		return tokenError(http.StatusBadRequest, "invalid_request", "", "malformed request")
	}
	return s.underErrorLimit(s.tokenCaller(c), c, s.grantToken)
}

// postForm returns the parameters of a form, nil if there is none. Only the body
// counts, and every parameter at most once (RFC 6749, 3.2).
func postForm(r *http.Request, body []byte) url.Values {
	media, _, err := mime.ParseMediaType(r.Header.Get("Content-Type"))
	if err != nil || media != "application/x-www-form-urlencoded" || r.Method != http.MethodPost {
		return nil
	}
	form, err := url.ParseQuery(string(body))
	if err != nil || repeats(form) {
		return nil
	}
	return form
}

func repeats(v url.Values) bool {
	return slices.ContainsFunc(slices.Collect(maps.Values(v)), func(values []string) bool { return len(values) > 1 })
}

// tokenCaller returns the app and user that an error of this request counts
// against. The request has not been authenticated yet.
func (s *Sim) tokenCaller(c *call) caller {
	client, _ := s.credentials(c)
	who := caller{grantKey{client: client}, "token"}
	if t, ok := s.refresh[c.form.Get("refresh_token")]; ok && t.client == client {
		who.user = t.user
	} else if code, ok := s.codes[c.form.Get("code")]; ok && code.client == client {
		who.user = code.user
	}
	return who
}

// credentials of a client: in the body, as documented (Exact KB "OAuth step
// 3"), or by HTTP Basic, which works as well.
func (s *Sim) credentials(c *call) (id, secret string) {
	user, password, ok := c.BasicAuth()
	if !ok {
		return s.appID(c.form.Get("client_id")), c.form.Get("client_secret")
	}
	// Basic credentials are form-encoded first (RFC 6749, 2.3.1).
	id, errID := url.QueryUnescape(user)
	secret, errSecret := url.QueryUnescape(password)
	if errID != nil || errSecret != nil || c.form.Has("client_secret") {
		return "", ""
	}
	return s.appID(id), secret
}

// appID returns the client id of the app that is meant. Exact shows the GUID in braces here and
// there, and clients that are configured with them work (picqer/exact-php-client#266, the
// README of ossobv/exactonline). Capitals are an assumption: a GUID has none of its own.
func (s *Sim) appID(text string) string {
	for id := range s.apps {
		if strings.EqualFold(id, strings.TrimSuffix(strings.TrimPrefix(text, "{"), "}")) {
			return id
		}
	}
	return text
}

func (s *Sim) grantToken(c *call) answer {
	id, secret := s.credentials(c)
	app, ok := s.apps[id]
	if !ok || subtle.ConstantTimeCompare([]byte(app.ClientSecret), []byte(secret)) != 1 {
		return tokenError(http.StatusBadRequest, "invalid_client", "", "invalid client")
	}
	switch c.form.Get("grant_type") {
	case "authorization_code":
		return s.exchange(c, id)
	case "refresh_token":
		return s.refreshGrant(c, id)
	default:
		return tokenError(http.StatusBadRequest, "invalid_request", "", "unknown grant type")
	}
}

// exchange redeems an authorization code. A code that its own client has
// presented is spent, whatever the reply.
func (s *Sim) exchange(c *call, client string) answer {
	// Of what Exact answers to a spent, late or misdirected code only the status
	// is known, so the reply says no more than that.
	refuse := func(outcome Outcome) answer {
		return tokenError(http.StatusBadRequest, "invalid_request", "", outcome)
	}
	text, redirectURI := c.form.Get("code"), c.form.Get("redirect_uri")
	if text == "" || redirectURI == "" {
		return refuse(MissingParameter)
	}
	code, ok := s.codes[text]
	if !ok {
		// A code whose %21 was not decoded ends here (picqer/exact-php-client#579).
		return tokenError(http.StatusBadRequest, "invalid_request", "Signed data extraction has failed", "unknown code")
	}
	if code.client != client {
		return refuse("code of another client")
	}
	used := code.used
	code.used = true
	earlier := s.grants[code.grantKey]
	switch {
	case used:
		return refuse("code used before")
	case !c.now.Before(code.expires):
		return refuse("code expired")
	case redirectURI != code.redirectURI:
		return refuse("redirect uri mismatch")
	case !s.active(code.user):
		return forbidden()
	case earlier != nil:
		earlier.superseded = true
	}
	g := &grant{grantKey: code.grantKey}
	s.grants[g.grantKey] = g
	return s.issue(c, g, 0)
}

func (s *Sim) refreshGrant(c *call, client string) answer {
	text := c.form.Get("refresh_token")
	if text == "" {
		return tokenError(http.StatusBadRequest, "invalid_request", "", MissingParameter)
	}
	t, ok := s.refresh[text]
	if !ok || t.client != client {
		return refuseOld()
	}
	early := c.now.Sub(t.IssuedAt) < s.cfg.TokenLife-s.cfg.Window && c.fault.Kind != RefreshTokenInError
	if s.cfg.TooEarlyFirst && early && t.live() {
		return s.refuseEarly("")
	}
	switch s.refreshState(text, c.now) {
	case Current, Previous:
	case Expired:
		const us = "1/2/2006 3:04:05 PM"
		return tokenError(http.StatusBadRequest, "invalid_request",
			"The refresh token expired at "+t.expires.UTC().Format(us)+
				" and it is now "+c.now.UTC().Format(us)+".", "refresh token expired")
	default:
		return refuseOld()
	}
	switch {
	case !s.active(t.user):
		return forbidden()
	case c.fault.Kind == RefreshTokenInError:
		return s.refuseEarly(s.rotate(c, t.grant, t.generation))
	case early:
		return s.refuseEarly("")
	}
	return s.issue(c, t.grant, t.generation)
}

// issue issues the next pair of tokens of g. The old access token keeps its
// remaining life (forums.invantive.com topic 1419).
func (s *Sim) issue(c *call, g *grant, used int) answer {
	// Exactly these four members, in this order; expires_in is a string
	// (Exact's Postman collection; Exact KB "OAuth step 3").
	body := struct {
		AccessToken  string  `json:"access_token"`
		TokenType    string  `json:"token_type"`
		ExpiresIn    any     `json:"expires_in"`
		RefreshToken *string `json:"refresh_token,omitempty"`
	}{TokenType: "bearer"}

	refresh := s.rotate(c, g, used)
	g.IssuedAt, g.AccessExpires = c.now, c.now.Add(s.cfg.TokenLife)
	c.accessExpires = g.AccessExpires
	body.AccessToken = s.newAccess(c, g, g.Generation)

	seconds := int(s.cfg.TokenLife / time.Second)
	body.ExpiresIn = strconv.Itoa(seconds)
	if s.cfg.NumberExpiresIn || c.fault.Kind == NumberExpiresIn {
		body.ExpiresIn = seconds
	}
	switch c.fault.Kind {
	case NoRefreshToken:
	case EmptyRefreshToken:
		body.RefreshToken = new(string)
	default:
		body.RefreshToken = &refresh
	}
	return tokenReply(http.StatusOK, Issued, body)
}

func (s *Sim) newAccess(c *call, g *grant, generation int) string {
	text := s.secret("gAAAA", accessLength)
	s.access[text] = token{g, generation, c.now.Add(s.cfg.TokenLife)}
	return text
}

// refuseEarly is the reply to a refresh within 570 s. A new refresh token in it
// has been reported (picqer/exact-php-client#559).
func (s *Sim) refuseEarly(refresh string) answer {
	status, text := http.StatusBadRequest, "Rate limit exceeded: access_token not expired"
	reason := "TooEarlyToRefreshTokens: " + text
	if s.cfg.TooEarlyIs401 {
		status, text = http.StatusUnauthorized, "Access Token not expired"
		reason = text
	}
	a := tokenReply(status, TooEarly, tokenErrorBody{"access_denied", text, refresh})
	a.header.Set("Reason", reason)
	return a
}

// refuseOld is the reply to every refresh token that must not be used, for
// whatever reason (picqer/exact-php-client#300).
func refuseOld() answer {
	return tokenError(http.StatusUnauthorized, "unauthorized_client", "Old refresh token used.", OldRefreshToken)
}

// forbidden is the reply for a user without rights. Its body is unknown.
func forbidden() answer { return empty(http.StatusForbidden, InactiveUser) }

type tokenErrorBody struct {
	Error        string `json:"error"`
	Description  string `json:"error_description,omitempty"`
	RefreshToken string `json:"refresh_token,omitempty"`
}

func tokenError(status int, code, description string, outcome Outcome) answer {
	return tokenReply(status, outcome, tokenErrorBody{Error: code, Description: description})
}

func tokenReply(status int, outcome Outcome, body any) answer {
	// Exact escapes slashes (websmurf/laravel-exact-online#22). They occur only
	// within strings.
	text := bytes.ReplaceAll(jsonText(body), []byte("/"), []byte(`\/`))
	a := reply(status, outcome, "application/json; charset=utf-8", text)
	a.header.Set("Pragma", "no-cache")
	return a
}
