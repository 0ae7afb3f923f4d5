// Package exactsim is a strict local simulator of Exact Online: its OAuth
// endpoints and as much of its REST API as tells who is signed in.
//
// A [Sim] is an [http.Handler] that serves
//
//	GET  /api/oauth2/auth                      sign-in and consent pages, or at once with Config.AutoApprove
//	POST /api/oauth2/token                     authorization_code and refresh_token
//	GET  /api/v1/current/Me
//	GET  /api/v1/{division}/system/Divisions   and system/AllDivisions, hrm/Divisions
//
// Strict means that it refuses whatever Exact is known to refuse, and of two
// readings of the documentation takes the one that is harder on the client:
// refresh tokens work once, a refresh within 570 s of the last one is an error,
// errors add up to a block. Where Exact's behaviour is unknown, a switch in
// [Config] lets a test take both sides.
//
// Beyond obeying the rules a simulator can misbehave as real servers and
// networks do, see [Fault], and it can be asked what it holds to be true, see
// [Sim.RefreshTokenState] and [Sim.Counters], so that a test need not trust
// what the client under test believes.
//
// Nothing is written to disk and nothing is sent but replies: the state of a
// simulator ends with the process.
package exactsim

import (
	"crypto/rand"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
	"time"
)

// Rotation says what becomes of a refresh token that has been used.
type Rotation int

const (
	// Strict ends a refresh token the moment a new one is issued, as Exact's
	// documentation has it (Exact KB "OAuth step 3": valid until the next
	// token refresh).
	Strict Rotation = iota

	// Grace keeps the used refresh token usable until the new refresh token,
	// or the access token that came with it, is used for the first time. Users
	// have observed that (forums.invantive.com topics 1419 and 2903).
	Grace
)

// Config is the behaviour of a simulator. The zero value is Exact Online as
// documented, with pages for sign-in and consent.
type Config struct {
	// Region is the country code, "nl" if empty. It shows in the tokens
	// (stampNL001.) and on the pages.
	Region string

	// Now is the simulator's clock, time.Now if nil. Everything follows it, the
	// Date header of replies included, but for Fault.Delay.
	Now func() time.Time

	// TokenLife is the life of an access token, 600 s if zero. It is rounded up
	// to whole seconds, because expires_in cannot tell less.
	TokenLife time.Duration

	// RefreshLife is the life of an unused refresh token, 30 days if zero
	// (Exact KB "OAuth step 3").
	RefreshLife time.Duration

	// CodeLife is the life of an authorization code, 180 s if zero (Exact KB
	// "OAuth step 2": three minutes).
	CodeLife time.Duration

	// Rotation is what becomes of a used refresh token.
	Rotation Rotation

	// TooEarlyIs401 refuses a refresh that comes too early with status 401 and
	// the words "Access Token not expired", as was seen until 2022, instead of
	// 400 (websmurf/laravel-exact-online#31).
	TooEarlyIs401 bool

	// TooEarlyFirst checks for a refresh that comes too early before it checks
	// for an old refresh token. Which of the two Exact does first is unknown.
	TooEarlyFirst bool

	// TooEarlyOnExchange applies the rule of 570 s to the exchange of a code
	// too. Whether Exact does is unknown.
	TooEarlyOnExchange bool

	// NumberExpiresIn writes expires_in as a JSON number. Exact sends a string.
	NumberExpiresIn bool

	// Empty401 answers an API call without a live token with an empty 401.
	// The default is the HTML of a redirect to Exact's login page, still with
	// status 401 (picqer/exact-php-client#343).
	Empty401 bool

	// AutoApprove has the authorize endpoint redirect at once with a code for
	// the user of Sim.SetAutoApproveUser, without any page.
	AutoApprove bool

	// MinuteLimit and DailyLimit are calls per app and division, 60 and 5000 if
	// zero, none if negative (Exact KB "API limits"). Calls without a division
	// in the address are not limited. Minutes and days are those of UTC.
	MinuteLimit, DailyLimit int

	// ErrorLimit is how many replies of status 400, 401, 403 or 404 one app,
	// user and endpoint may cause within an hour, 10 if zero, unlimited if
	// negative. Once they are spent, every call is refused with BlockStatus for
	// an hour (Exact KB "API limits"). Exact makes repeated blocks longer; the
	// simulator does not.
	ErrorLimit int

	// BlockStatus is the status of a blocked call, 429 if zero. The body is
	// empty. What Exact sends is unknown; 403 is the other candidate.
	BlockStatus int

	// TokenCallsPerDay limits the token requests of an app and user, not at all
	// if zero; more are answered with an empty 429. Exact announced 200 a day in
	// 2021 and no longer mentions it.
	TokenCallsPerDay int
}

// App is an app registration in the App Center of one region.
type App struct {
	ClientID     string
	ClientSecret string
	// RedirectURI is the only one accepted, compared as a string.
	RedirectURI string
	// Name and RequestedBy, the company behind the app, are for the consent page.
	Name        string
	RequestedBy string
	// Unlisted titles the consent page "Install unlisted app".
	Unlisted bool
	// NoDivisionScope is an app whose registration lacks the scope
	// organization.administration: it may not list divisions.
	NoDivisionScope bool
}

// User is someone who can sign in. ID is a GUID, which is how the API shows it.
type User struct {
	ID              string
	UserName        string
	FullName        string
	Email           string
	LanguageCode    string // "nl-NL"
	CurrentDivision int    // the one open in the user's browser; any division, also one not in Divisions
	Divisions       []Division
	// Inactive is a user whose rights were taken away: a refresh and every API
	// call are refused with 403.
	Inactive bool
}

// Division is one company's administration. Divisions with equal CustomerName
// share a licence.
type Division struct {
	Code         int
	Description  string
	CustomerName string
	HID          int64
	Status       int // 0 inactive, 1 active, 2 archived
	Main         bool
}

// Sim simulates one region of Exact Online. Regions share nothing: two Sims
// have their own apps, users, grants and tokens, and a token of one is unknown
// to the other. A Sim is safe for concurrent use.
type Sim struct {
	cfg Config

	mu       sync.Mutex // guards all below; never held while sleeping or writing a reply
	apps     map[string]App
	users    []User
	autoUser string // "" is the first user

	codes   map[string]*code
	grants  map[grantKey]*grant
	refresh map[string]refreshToken
	access  map[string]accessToken

	sessions map[string]string   // cookie value to user id, "" before sign-in
	pending  map[string]*pending // authorize requests whose pages are open

	limits limits
	faults []Fault

	counters Counters
	events   []Event
	secrets  []string
}

// New returns a simulator of one region without apps and users.
func New(c Config) *Sim {
	defaults(&c.Region, "nl")
	defaults(&c.TokenLife, 600*time.Second)
	defaults(&c.RefreshLife, 30*24*time.Hour)
	defaults(&c.CodeLife, 180*time.Second)
	defaults(&c.MinuteLimit, 60)
	defaults(&c.DailyLimit, 5000)
	defaults(&c.ErrorLimit, 10)
	defaults(&c.BlockStatus, http.StatusTooManyRequests)
	if c.Now == nil {
		c.Now = time.Now
	}
	if part := c.TokenLife % time.Second; part != 0 {
		c.TokenLife += time.Second - part
	}
	return &Sim{
		cfg:      c,
		apps:     map[string]App{},
		codes:    map[string]*code{},
		grants:   map[grantKey]*grant{},
		refresh:  map[string]refreshToken{},
		access:   map[string]accessToken{},
		sessions: map[string]string{},
		pending:  map[string]*pending{},
		limits:   newLimits(),
	}
}

func defaults[T comparable](field *T, value T) {
	var zero T
	if *field == zero {
		*field = value
	}
}

// AddApp registers an app, or changes the one with the same client id: its
// redirect URI, its secret. Grants stay as they are.
func (s *Sim) AddApp(a App) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.apps[a.ClientID] = a
	if a.ClientSecret != "" && !slices.Contains(s.secrets, a.ClientSecret) {
		s.secrets = append(s.secrets, a.ClientSecret)
	}
}

// RemoveApp deletes an app registration. Its tokens stop working.
func (s *Sim) RemoveApp(clientID string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.apps, clientID)
}

// AddUser adds a user, or changes the one with the same id: the current
// division, the rights. The first user added is the one that the sign-in page
// suggests and Config.AutoApprove signs in.
func (s *Sim) AddUser(u User) {
	s.mu.Lock()
	defer s.mu.Unlock()
	u.Divisions = slices.Clone(u.Divisions)
	if i := slices.IndexFunc(s.users, func(have User) bool { return have.ID == u.ID }); i >= 0 {
		s.users[i] = u
		return
	}
	s.users = append(s.users, u)
}

// SetAutoApproveUser chooses whom Config.AutoApprove signs in.
func (s *Sim) SetAutoApproveUser(userID string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.autoUser = userID
}

func (s *Sim) user(id string) (User, bool) {
	i := slices.IndexFunc(s.users, func(u User) bool { return u.ID == id })
	if i < 0 {
		return User{}, false
	}
	return s.users[i], true
}

// maxBody bounds what is read of a request. Exact's own bound is 10 MB (Exact
// KB "REST API - Restrictions"); no token request comes near this one.
const maxBody = 1 << 20

// call is a request that has arrived in full.
type call struct {
	*http.Request
	endpoint   Endpoint
	query      url.Values
	form       url.Values // of a POST whose body is a form in which no parameter repeats, else nil
	fault      Fault
	now        time.Time // set when the call is answered
	generation int       // of the refresh token that it made
}

// answer is a reply that has been decided on, but not sent.
type answer struct {
	status  int
	header  http.Header
	body    []byte
	outcome Outcome
}

func reply(status int, outcome Outcome, contentType string, body []byte) answer {
	h := http.Header{"Cache-Control": {"private"}}
	if contentType != "" {
		h.Set("Content-Type", contentType)
	}
	return answer{status: status, header: h, body: body, outcome: outcome}
}

// ServeHTTP answers one request. A fault that breaks the connection panics with
// [http.ErrAbortHandler], which an [http.Server] turns into just that.
func (s *Sim) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	c := &call{Request: r, endpoint: endpointOf(r.URL.Path), query: r.URL.Query()}
	if body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxBody)); err == nil {
		c.form = postForm(r, body)
	}

	// Work that the fault commits is done before the wait, so that it stays
	// done if the client gives up waiting.
	c.fault = s.arrive(c)
	var a answer
	if c.fault.commits() {
		a = s.decide(c)
	}
	if !wait(r.Context(), c.fault.Delay) {
		a.status = 0
		s.log(c, a, true)
		panic(http.ErrAbortHandler)
	}
	if !c.fault.commits() && c.fault.answers() {
		a = s.decide(c)
	}
	c.fault.spoil(&a, c)
	s.log(c, a, false)

	h := w.Header()
	for k, v := range a.header {
		h[k] = v
	}
	h.Set("Date", s.cfg.Now().UTC().Format(http.TimeFormat))
	c.fault.send(w, a)
}

// decide does what the request asks for and returns the right reply.
func (s *Sim) decide(c *call) answer {
	s.mu.Lock()
	defer s.mu.Unlock()
	c.now = s.cfg.Now()
	a := s.route(c)
	s.count(c, a)
	return a
}

func (s *Sim) route(c *call) answer {
	switch path := c.URL.Path; {
	case path == authorizePath:
		return s.authorize(c)
	case path == signInPath:
		return s.signIn(c)
	case path == consentPath:
		return s.consent(c)
	case path == tokenPath:
		return s.token(c)
	case strings.HasPrefix(path, apiPath):
		return s.api(c)
	case path == redirectedPath:
		return reply(http.StatusNotFound, RedirectFollowed, "", nil)
	default:
		return reply(http.StatusNotFound, NotFound, "text/plain; charset=utf-8",
			[]byte("exactsim: no such page\n"))
	}
}

// randomText returns n characters of the alphabet of Exact's tokens.
func randomText(n int) string {
	const alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
	b := make([]byte, n)
	rand.Read(b) // never fails
	for i := range b {
		b[i] = alphabet[b[i]%byte(len(alphabet))]
	}
	return string(b)
}
