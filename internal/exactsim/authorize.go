package exactsim

import (
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"
)

const (
	authorizePath = "/api/oauth2/auth"
	// Exact signs people in on another host; the paths of these pages are ours.
	signInPath  = "/sandbox/sign-in"
	consentPath = "/sandbox/consent"
	unblockPath = "/sandbox/unblock"
)

// pendingLife is how long the pages of an authorize request can be used.
const pendingLife = time.Hour

// pending is an authorize request that waits for a person. Its key, in every
// form, and the session cookie, that no other site can send with a POST,
// together show that a form was sent from our page in the same browser.
type pending struct {
	session     string
	client      string
	redirectURI string
	state       []string // as it came: none or one
	started     time.Time
	implicit    bool // the app gets an access token at once, and no refresh token
}

func (s *Sim) authorize(c *call) answer {
	if c.Method != http.MethodGet {
		return methodNotAllowed(http.MethodGet)
	}
	q := c.query
	if repeats(q) {
		return s.problemPage(http.StatusBadRequest, "The request repeats a parameter.")
	}
	// Neither of the next two may redirect: the address has not been proven to be
	// the app's. The words are Exact's (picqer/exact-php-client#617, #488,
	// websmurf/laravel-exact-online#8).
	app, ok := s.apps[s.appID(q.Get("client_id"))]
	if !ok {
		return s.problemPage(http.StatusBadRequest, "Client with identifier '"+q.Get("client_id")+"' not found.")
	}
	if q.Get("redirect_uri") != app.RedirectURI {
		return s.problemPage(http.StatusBadRequest, "Callback URI '"+q.Get("redirect_uri")+"' is not valid")
	}
	p := &pending{
		client:      app.ClientID,
		redirectURI: app.RedirectURI,
		state:       q["state"],
		started:     c.now,
		implicit:    q.Get("response_type") == "token",
	}
	if !p.implicit && q.Get("response_type") != "code" {
		return p.redirect("unsupported response type", url.Values{"error": {"unsupported_response_type"}})
	}
	suggested, known := s.user(s.suggested)
	switch {
	case s.cfg.AutoApprove && known:
		return s.approve(c, p, suggested)
	case s.cfg.AutoApprove:
		return s.problemPage(http.StatusInternalServerError, "The simulator has no user to sign in.")
	}

	id := s.randomText(32)
	s.pending[id] = p
	p.session = s.session(c)
	user, ok := s.user(s.sessions[p.session])
	if ok && !user.Inactive && q.Get("force_login") != "1" {
		return s.consentPage(id, app, user)
	}
	// A new session, so that a cookie planted in the browser is worth nothing.
	p.session = s.randomText(32)
	s.sessions[p.session] = ""
	a := s.signInPage(http.StatusOK, id, app, suggested.Email, "")
	cookie := http.Cookie{
		Name:     s.sessionName(c),
		Value:    p.session,
		Path:     "/",
		HttpOnly: true,
		Secure:   c.TLS != nil,
		SameSite: http.SameSiteLaxMode,
	}
	a.header.Set("Set-Cookie", cookie.String())
	return a
}

// signIn takes the sign-in form, with any password.
func (s *Sim) signIn(c *call) answer {
	if c.Method != http.MethodPost {
		return methodNotAllowed(http.MethodPost)
	}
	id := c.form.Get("request")
	p := s.pendingRequest(c, id)
	if p == nil {
		return s.stalePage()
	}
	email := strings.TrimSpace(c.form.Get("email"))
	for _, u := range s.users {
		if !strings.EqualFold(u.Email, email) || email == "" {
			continue
		}
		if u.Inactive {
			return s.signInPage(http.StatusForbidden, id, s.apps[p.client], email, "This user is not active.")
		}
		s.sessions[p.session] = u.ID
		return redirect(http.StatusSeeOther, "signed in", consentPath+"?request="+id)
	}
	return s.signInPage(http.StatusUnprocessableEntity, id, s.apps[p.client], email,
		"The simulator knows no user with this e-mail address.")
}

func (s *Sim) consent(c *call) answer {
	id := c.query.Get("request")
	switch c.Method {
	case http.MethodGet:
	case http.MethodPost:
		id = c.form.Get("request")
	default:
		return methodNotAllowed(http.MethodGet + ", " + http.MethodPost)
	}
	p := s.pendingRequest(c, id)
	if p == nil {
		return s.stalePage()
	}
	user, ok := s.user(s.sessions[p.session])
	if !ok {
		return s.stalePage()
	}
	switch c.form.Get("answer") {
	case "allow":
		delete(s.pending, id)
		return s.approve(c, p, user)
	case "cancel":
		delete(s.pending, id)
		// What Exact sends here has not been observed; this is RFC 6749, 4.1.2.1.
		return p.redirect("denied", url.Values{
			"error":             {"access_denied"},
			"error_description": {"The user did not allow the app."},
		})
	default:
		return s.consentPage(id, s.apps[p.client], user)
	}
}

func (s *Sim) approve(c *call, p *pending, u User) answer {
	k := grantKey{p.client, u.ID}
	if p.implicit {
		// Whether this ends an earlier sign-in is unknown: it does not here.
		g := s.grants[k]
		if g == nil || !g.live() {
			g = &grant{grantKey: k}
			s.grants[k] = g
		}
		// As answered in 2015 (MrSwitch/hello.js#326).
		return p.redirect("access token in the address", url.Values{"token_type": {"bearer"}, "access_token": {s.newAccess(c, g, -1)},
			"scope": {"exactonline"}, "expires_in": {strconv.Itoa(int(s.cfg.TokenLife / time.Second))}})
	}
	code := s.newCode(k, p.redirectURI, c.now)
	return p.redirect("code issued", url.Values{"code": {code}})
}

// redirect sends the browser back to the app, with state only if it came.
func (p *pending) redirect(outcome Outcome, v url.Values) answer {
	sep := "?"
	if strings.Contains(p.redirectURI, "?") {
		sep = "&"
	}
	if p.implicit {
		sep = "#"
	}
	// Encoded separately, because state comes last and Encode sorts.
	location := p.redirectURI + sep + v.Encode()
	if p.state != nil {
		location += "&" + url.Values{"state": p.state}.Encode()
	}
	return redirect(http.StatusFound, outcome, location)
}

// sessionName names the cookie after the port, because cookies of one host
// are shared by all its ports, and so by all simulators on this machine.
func (s *Sim) sessionName(c *call) string {
	name := "exactsim_" + s.cfg.Region
	if i := strings.LastIndexByte(c.Host, ':'); i >= 0 {
		name += "_" + strings.Trim(c.Host[i+1:], "]")
	}
	return name
}

// session returns the session of the browser, "" if it has none.
func (s *Sim) session(c *call) string {
	if cookie, err := c.Cookie(s.sessionName(c)); err == nil {
		if _, ok := s.sessions[cookie.Value]; ok {
			return cookie.Value
		}
	}
	return ""
}

// pendingRequest returns the authorize request id, if it is of this browser and
// its app still exists.
func (s *Sim) pendingRequest(c *call, id string) *pending {
	p := s.pending[id]
	if p == nil || c.now.Sub(p.started) >= pendingLife || p.session != s.session(c) {
		return nil
	}
	if _, ok := s.apps[p.client]; !ok {
		return nil
	}
	return p
}
