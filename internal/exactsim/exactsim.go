// Package exactsim is a local Exact Online to try an OAuth client on: the sign-in,
// the token endpoint, and as much of the REST API as shows who signed in.
//
// A [Sim] is an [http.Handler]. Serve it at any address, and have the client use that
// address in place of https://start.exactonline.nl:
//
//	sim := exactsim.New(exactsim.Config{})
//	sim.AddCast("http://127.0.0.1:8484/callback") // an app and two people
//	http.ListenAndServe("127.0.0.1:8080", sim)
//
// It serves
//
//	GET  /api/oauth2/auth                      the sign-in and consent pages
//	POST /api/oauth2/token                     authorization_code and refresh_token
//	GET  /api/v1/current/Me
//	GET  /api/v1/{division}/system/Divisions   and system/AllDivisions, hrm/Divisions
//	GET  /api/v1/{division}/crm/Accounts       and bulk/CRM/Accounts, sync/CRM/Accounts
//	POST /api/v1/{division}/crm/Accounts       and GET crm/Accounts(guid'…')
//	POST /sandbox/unblock                      the way out of a block
//
// The simulator is strict: it refuses whatever Exact is known to refuse.
//
//   - An authorization code works once, for 3 minutes, with the redirect URI of its
//     sign-in.
//   - An access token lives 600 s. A refresh sooner than 570 s after the last one is
//     an error.
//   - A refresh token works once, and lapses after 30 days without use. A second
//     sign-in of a user to an app ends the first.
//   - Ten errors in an hour block the app, for the user and the endpoint.
//   - An app may make 60 calls a minute and 5,000 a day for each division.
//
// Where the sources leave two readings, the simulator takes the one that is harder
// on the client. Where Exact's behaviour is unknown, a field of [Config] lets a test
// try both. Comments name the source of each rule: "Exact KB" is Exact's knowledge
// base, owner/repository#1 is an issue at GitHub.
//
// # Public clients
//
// Clients that we did not write differ from the simulator in these points:
//
//   - passport-exact 0.1.4 shows MiddleName and Title, which are null, as objects. The simulator is right: the
//     feed of Exact's in the tests of that package has such a MiddleName.
//   - picqer/exact-php-client and x/oauth2 refresh 10 s early, python-exact-online and
//     ossobv/exactonline 30 s. Both are right at 600 s, of which Exact allows the last 30. With a life of less than
//     60 s a margin of 30 s cannot work: it begins before half the life is over. Hence [Config.Window].
//   - client-oauth2 4.3 authenticates by HTTP Basic, where Exact documents the body. Both are right: both work at Exact.
//   - picqer/exact-php-client sends an empty client id and secret when it has an access token
//     without a time of expiry. The simulator is right to refuse and to count that: Exact does.
//   - python-exact-online follows the address of a next page only at start.exactonline.be. The simulator is
//     right: like Exact it sends the address by which it was asked.
//   - ossobv/exactonline refuses http. It is right, since Exact has https only: serve the simulator with TLS for it.
//   - ossobv/exactonline writes that Exact does not like encoded slashes in a redirect URI. The
//     simulator takes both, as Exact's own example has them.
//   - A client that encodes a code twice, so that "%21" arrives for "!", is refused. The simulator is right
//     (picqer/exact-php-client#579).
//
// simple-oauth2 5.1, openid-client 6.9 and grant 5.4 do not differ.
//
// Not simulated: a sign-in is said to end after a year (vectel.nl and a document of Exact's on AEC), or
// never if its token is used once a month (Exact KB), and here it does not; webhooks, whose address must
// have the domain of the redirect URI (forums.invantive.com topic 4541).
//
// A simulator can also fail as real servers and networks do: see [Sim.Inject].
// [Sim.Advance] lets time pass. A test judges a client by what the simulator knows,
// not by what the client believes: see [Sim.RefreshTokenState], [Sim.Counters] and
// [Sim.Events].
//
// The simulator writes nothing to disk and sends nothing but replies. Its state ends
// with the process.
package exactsim

import (
	"cmp"
	"crypto/rand"
	"encoding/base64"
	"io"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// Rotation is what happens to a refresh token that has been used.
type Rotation int

const (
	// Strict ends a refresh token the moment a new one is issued, as Exact
	// documents it (Exact KB "OAuth step 3": valid until the next token refresh).
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

	// Now is the simulator's clock, time.Now if nil. Everything follows it and
	// Sim.Advance, the Date header of replies too, except Fault.Delay.
	Now func() time.Time

	// Rand is what codes, tokens and sessions are made of, crypto/rand.Reader if nil. One
	// that repeats itself makes a run repeatable, and its secrets known. It is read under a
	// lock, and must not fail.
	Rand io.Reader

	// Observe, if not nil, is called with each request and its event before the
	// reply is sent.
	Observe func(*http.Request, Event)

	// TokenLife is the life of an access token, 600 s if zero. It is rounded up
	// to whole seconds, the unit of expires_in.
	TokenLife time.Duration

	// Window is how long before its end a token may be refreshed: a twentieth of its life
	// if zero, which is Exact's 30 s of 600 (Exact KB "OAuth step 3" and "API limits").
	// Public clients refresh 10 s or 30 s early whatever the life is: with shorter lives
	// they need a longer window.
	Window time.Duration

	// CodeLife is the life of an authorization code, 180 s if zero (Exact KB
	// "OAuth step 2": three minutes).
	CodeLife time.Duration

	// Rotation is what happens to a used refresh token.
	Rotation Rotation

	// TooEarlyIs401 refuses a refresh that comes too early with status 401 and
	// the words "Access Token not expired", as was seen until 2022, instead of
	// 400 (websmurf/laravel-exact-online#31).
	TooEarlyIs401 bool

	// TooEarlyFirst checks for a refresh that comes too early before it checks
	// for an old refresh token. Which of the two Exact does first is unknown.
	TooEarlyFirst bool

	// NumberExpiresIn writes expires_in as a JSON number. Exact sends a string.
	NumberExpiresIn bool

	// AutoApprove makes the authorize endpoint redirect at once with a code for
	// the user of Sim.SetAutoApproveUser, without any page.
	AutoApprove bool

	// MinuteLimit and DailyLimit are calls per app and division, 60 and 5000 if
	// zero, unlimited if negative (Exact KB "API limits"). Calls without a
	// division in the address are not limited. Minutes and days are those of UTC.
	MinuteLimit, DailyLimit int

	// ErrorLimit is how many replies of status 400, 401, 403 or 404 one app,
	// user and endpoint may cause within an hour, 10 if zero, unlimited if
	// negative. After that every call is blocked for an hour (Exact KB "API
	// limits"). Exact makes repeated blocks longer; the simulator does not.
	ErrorLimit int
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

// User is a person who can sign in. ID is a GUID, which is how the API shows it.
type User struct {
	ID              string
	UserName        string
	FullName        string
	Email           string
	LanguageCode    string // "nl-NL"
	CurrentDivision int    // the one open in the user's browser; it need not be in Divisions
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
	cfg   Config
	ahead atomic.Int64 // of cfg.Now, in nanoseconds

	mu        sync.Mutex // guards all below; never held during a delay or while a reply is written
	apps      map[string]App
	users     []User
	suggested string // user id

	codes   map[string]*code
	grants  map[grantKey]*grant
	refresh map[string]token
	access  map[string]token

	sessions map[string]string   // cookie value to user id, "" before sign-in
	pending  map[string]*pending // authorize requests whose pages are open

	errors map[caller]*errorCount
	calls  map[window]int
	faults []Fault

	accounts map[int][]entity // by division, made at the first look

	counters Counters
	secrets  []string
}

// New returns a simulator of one region without apps and users.
func New(c Config) *Sim {
	c.Region = cmp.Or(c.Region, "nl")
	c.TokenLife = (cmp.Or(c.TokenLife, 600*time.Second) + time.Second - 1).Truncate(time.Second)
	c.Window = cmp.Or(c.Window, c.TokenLife/20)
	c.CodeLife = cmp.Or(c.CodeLife, 180*time.Second)
	c.MinuteLimit = cmp.Or(c.MinuteLimit, 60)
	c.DailyLimit = cmp.Or(c.DailyLimit, 5000)
	c.ErrorLimit = cmp.Or(c.ErrorLimit, 10)
	c.Rand = cmp.Or(c.Rand, rand.Reader)
	if c.Now == nil {
		c.Now = time.Now
	}
	return &Sim{
		cfg:      c,
		apps:     map[string]App{},
		codes:    map[string]*code{},
		grants:   map[grantKey]*grant{},
		refresh:  map[string]token{},
		access:   map[string]token{},
		sessions: map[string]string{},
		pending:  map[string]*pending{},
		errors:   map[caller]*errorCount{},
		calls:    map[window]int{},
		accounts: map[int][]entity{},
	}
}

// Advance moves the simulator's clock by d, as if that time had passed.
func (s *Sim) Advance(d time.Duration) { s.ahead.Add(int64(d)) }

func (s *Sim) now() time.Time { return s.cfg.Now().Add(time.Duration(s.ahead.Load())) }

// AddApp registers an app, or changes the one with the same client id: its
// redirect URI, its secret. Existing grants are kept.
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
// division, the rights. The first user added is the one of SetAutoApproveUser.
func (s *Sim) AddUser(u User) {
	s.mu.Lock()
	defer s.mu.Unlock()
	u.Divisions = slices.Clone(u.Divisions)
	if i := slices.IndexFunc(s.users, func(have User) bool { return have.ID == u.ID }); i >= 0 {
		s.users[i] = u
		return
	}
	s.users = append(s.users, u)
	s.suggested = cmp.Or(s.suggested, u.ID)
}

// SetAutoApproveUser chooses the user whom Config.AutoApprove signs in and the sign-in
// page suggests.
func (s *Sim) SetAutoApproveUser(userID string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.suggested = userID
}

func (s *Sim) user(id string) (User, bool) {
	i := slices.IndexFunc(s.users, func(u User) bool { return u.ID == id })
	if i < 0 {
		return User{}, false
	}
	return s.users[i], true
}

// active reports whether there is such a user, with rights.
func (s *Sim) active(id string) bool {
	u, ok := s.user(id)
	return ok && !u.Inactive
}

// maxBody bounds what is read of a request. Exact's own bound is 10 MB (Exact
// KB "REST API - Restrictions"); no token request comes near this one.
const maxBody = 1 << 20

// call is a request that has arrived in full.
type call struct {
	*http.Request
	endpoint   Endpoint
	query      url.Values
	body       []byte
	form       url.Values // nil unless postForm accepts the body
	fault      Fault
	now        time.Time // set when the call is answered
	generation int       // of the refresh token that it made

	accessExpires time.Time // of the access token that it made
}

// origin returns the address of the simulator, as the client knows it.
func (c *call) origin() string {
	if c.TLS != nil {
		return "https://" + c.Host
	}
	return "http://" + c.Host
}

// answer is a reply that has been decided on, but not sent.
type answer struct {
	status  int
	header  http.Header
	body    []byte
	outcome Outcome
}

func reply(status int, outcome Outcome, contentType string, body []byte) answer {
	a := empty(status, outcome)
	a.header.Set("Content-Type", contentType)
	a.body = body
	return a
}

func empty(status int, outcome Outcome) answer {
	return answer{status: status, outcome: outcome, header: http.Header{"Cache-Control": {"private"}}}
}

func redirect(status int, outcome Outcome, location string) answer {
	a := empty(status, outcome)
	a.header.Set("Location", location)
	return a
}

func methodNotAllowed(allow string) answer {
	a := empty(http.StatusMethodNotAllowed, "method not allowed")
	a.header.Set("Allow", allow)
	return a
}

// ServeHTTP answers one request. A fault that breaks the connection panics with
// [http.ErrAbortHandler]; an [http.Server] then closes the connection.
func (s *Sim) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	c := &call{Request: r, endpoint: endpointOf(r.URL.Path), query: r.URL.Query()}
	if body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxBody)); err == nil {
		c.body, c.form = body, postForm(r, body)
	}

	// A request that the fault commits is carried out before the delay, so that
	// it is carried out even if the client stops waiting.
	c.fault = s.arrive(c)
	var a answer
	if c.fault.commits() {
		a = s.decide(c)
	}
	if c.fault.Delay > 0 {
		select {
		case <-time.After(c.fault.Delay):
		case <-r.Context().Done():
			a.status = 0
			s.log(c, a, true)
			panic(http.ErrAbortHandler)
		}
	}
	if !c.fault.commits() && c.fault.answers() {
		a = s.decide(c)
	}
	a = c.fault.spoil(a, c)
	s.log(c, a, false)

	maps.Copy(w.Header(), a.header)
	w.Header().Set("Date", s.now().UTC().Format(http.TimeFormat))
	c.fault.send(w, a)
}

func (s *Sim) decide(c *call) answer {
	s.mu.Lock()
	defer s.mu.Unlock()
	c.now = s.now()
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
	case path == unblockPath && c.Method == http.MethodPost:
		clear(s.errors) // and with them every block; Exact has nothing like it
		clear(s.calls)
		return empty(http.StatusNoContent, "unblocked")
	case path == redirectedPath:
		return empty(http.StatusNotFound, RedirectFollowed)
	default:
		return reply(http.StatusNotFound, NotFound, "text/plain; charset=utf-8", []byte("exactsim: no such page\n"))
	}
}

// randomText returns n characters of the alphabet of Exact's tokens.
func (s *Sim) randomText(n int) string {
	return base64.RawURLEncoding.EncodeToString(s.random((n + 3) / 4 * 3))[:n]
}

func (s *Sim) random(n int) []byte {
	b := make([]byte, n)
	if _, err := io.ReadFull(s.cfg.Rand, b); err != nil {
		panic("exactsim: Config.Rand: " + err.Error())
	}
	return b
}
