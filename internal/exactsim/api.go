package exactsim

import (
	"encoding/json"
	"fmt"
	"maps"
	"mime"
	"net/http"
	"net/url"
	"reflect"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

const (
	apiPath = "/api/v1/"
	mePath  = "/api/v1/current/Me"
)

func (s *Sim) api(c *call) answer {
	scheme, text, _ := strings.Cut(c.Header.Get("Authorization"), " ")
	t, live := s.liveAccess(text, c.now)
	endpoint, _, _ := strings.Cut(c.URL.Path, "(")
	who := caller{endpoint: endpoint}
	if t.grant != nil {
		who.grantKey = t.grantKey
	}
	return s.underErrorLimit(who, c, func(c *call) answer {
		if !live || !strings.EqualFold(scheme, "Bearer") {
			return unauthorized(c)
		}
		// The new access token has arrived: the end of Grace.
		if t.newest() {
			t.previous = 0
		}
		return s.serveAPI(c, who.grantKey)
	})
}

// unauthorized is the HTML of a redirect to Exact's login page, still with status 401
// (picqer/exact-php-client#343).
func unauthorized(c *call) answer {
	// Escapes in lower case, as ASP.NET writes them.
	target := "/docs/Login.aspx?ReturnUrl=" + regexp.MustCompile(`%[0-9A-F]{2}`).ReplaceAllStringFunc(url.QueryEscape(c.URL.Path), strings.ToLower)
	return reply(http.StatusUnauthorized, Unauthorized, "text/html; charset=utf-8",
		[]byte("<html><head><title>Object moved</title></head><body>\r\n"+
			`<h2>Object moved to <a href="`+target+`">here</a>.</h2>`+"\r\n</body></html>\r\n"))
}

// serveAPI answers an authenticated call.
func (s *Sim) serveAPI(c *call, k grantKey) answer {
	to, ok := negotiate(c.Header.Values("Accept"))
	if !ok {
		return empty(http.StatusUnsupportedMediaType, "media type refused")
	}
	if !s.active(k.user) {
		return apiError(to, http.StatusForbidden, InactiveUser, "Forbidden")
	}
	user, _ := s.user(k.user)
	number, path, _ := strings.Cut(strings.TrimPrefix(c.URL.Path, apiPath), "/")
	path, key, _ := strings.Cut(path, "(")
	r, known := resources()[strings.ToLower(path)]
	division, err := strconv.Atoi(number)
	if c.URL.Path == mePath {
		r, known, err = meResource, true, nil
	}
	if !known || err != nil {
		return apiError(to, http.StatusNotFound, NotFound, "Resource not found for the segment '"+path+"'.")
	}
	if c.Method != http.MethodGet && !(c.Method == http.MethodPost && r.creates && key == "") {
		return methodNotAllowed(http.MethodGet)
	}
	if c.URL.Path == mePath {
		return serveFeed(c, to, feed{resource: r, entities: []entity{me(user, c)}})
	}
	i := slices.IndexFunc(user.Divisions, func(d Division) bool { return d.Code == division })
	if i < 0 {
		return apiError(to, http.StatusForbidden, NoDivisionAccess, "Forbidden")
	}
	headers, ok := s.spendCall(k.client, division, c.now)
	var a answer
	f := feed{resource: r, single: key != ""}
	switch {
	case !ok:
		a = empty(http.StatusTooManyRequests, RateLimited)
	case r.key == "Code" && s.apps[k.client].NoDivisionScope: // the lists of divisions
		a = apiError(to, http.StatusForbidden, APIError, "Forbidden - Application Scope Violated. Cannot read 'organization.administration' scope.")
	case c.Method == http.MethodPost:
		e, problem := s.createAccount(c, division)
		if problem != "" {
			a = apiError(to, http.StatusBadRequest, APIError, problem)
			break
		}
		f.entities, f.single = []entity{e}, true
		a = serveFeed(c, to, f)
		a.status = http.StatusCreated
		a.header.Set("Location", c.origin()+c.URL.Path+"("+literal(e[r.key])+")")
	default:
		f.entities = r.list(s, c, user, user.Divisions[i])
		if f.single {
			f.entities = slices.DeleteFunc(slices.Clone(f.entities), func(e entity) bool { return literal(e[r.key])+")" != key })
		}
		if f.single && len(f.entities) == 0 {
			a = apiError(to, http.StatusNotFound, NotFound, "Resource not found for the segment '"+path+"'.")
			break
		}
		a = serveFeed(c, to, f)
	}
	maps.Copy(a.header, headers)
	return a
}

// resource is an endpoint that shows entities.
type resource struct {
	model   string // type name of the entities
	key     string // property that names an entity in its address
	page    int    // entities in one reply
	creates bool   // at a POST
	list    func(s *Sim, c *call, u User, at Division) []entity
}

const bulkPage = 1000

var meResource = resource{model: "Exact.Web.Api.Models.System.Me", key: "UserID", page: 60}

// resources returns the endpoints of a division, by their path in lower case. A reply has
// at most 60 entities (Exact KB "REST API - Restrictions"), of bulk and sync 1,000; these two want a
// $select (Exact KB "OData best practices"; websmurf/laravel-exact-online#30).
// System/Divisions has the divisions that the user can open, system/AllDivisions all there are,
// hrm/Divisions those of the licence of the division in the address (Exact KB "REST API reference").
func resources() map[string]resource {
	return map[string]resource{
		"system/divisions": {"Exact.Web.Api.Models.System.Division", "Code", 60, false,
			divisions("Hid", "IsMainDivision", func(_, _ Division, mine bool) bool { return mine })},
		"system/alldivisions": {"Exact.Web.Api.Models.System.Division", "Code", 60, false,
			divisions("Hid", "IsMainDivision", func(_, _ Division, _ bool) bool { return true })},
		"hrm/divisions": {"Exact.Web.Api.Models.HRM.Division", "Code", 60, false,
			divisions("HID", "Main", func(d, at Division, mine bool) bool { return mine && d.CustomerName == at.CustomerName })},
		"crm/accounts":      {"Exact.Web.Api.Models.CRM.Account", "ID", 60, true, listAccounts},
		"bulk/crm/accounts": {"Exact.Web.Api.Models.Bulk.CRM.Account", "ID", bulkPage, false, listAccounts},
		"sync/crm/accounts": {"Exact.Web.Api.Models.Sync.CRM.Account", "ID", bulkPage, false, syncAccounts},
	}
}

// me has the properties that public clients read: passport-exact 0.1.4 fails without
// any of its thirteen, and reads UserID and CurrentDivision only if they have a type.
// The values of Title, Gender and Language are of the kind in its tests.
func me(u User, c *call) entity {
	names := strings.Fields(u.FullName) // first name, prefix of the last name, last name
	e := entity{
		"CurrentDivision":         u.CurrentDivision,
		"Email":                   u.Email,
		"FullName":                u.FullName,
		"Gender":                  "O",
		"IsOEIMigrationMandatory": false,
		"Language":                strings.ToUpper(u.LanguageCode[:min(2, len(u.LanguageCode))]),
		"LanguageCode":            u.LanguageCode,
		"Legislation":             int64(1),
		"PictureUrl":              c.origin() + "/docs/images/placeholder_contact_myeol.png",
		"ServerTime":              c.now,
		"ServerUtcOffset":         float64(0),
		"UserID":                  guid(u.ID),
		"UserName":                u.UserName,
	}
	for _, name := range strings.Fields("FirstName Initials LastName MiddleName Mobile Nationality Phone PhoneExtension Title") {
		e[name] = nil
	}
	if last := len(names) - 1; last > 0 {
		e["FirstName"], e["LastName"] = names[0], names[last]
		if last > 1 {
			e["MiddleName"] = strings.Join(names[1:last], " ")
		}
	}
	return e
}

// divisions returns a resource.list of the visible divisions. hid and main are names of properties.
func divisions(hid, main string, visible func(d, at Division, mine bool) bool) func(*Sim, *call, User, Division) []entity {
	return func(s *Sim, _ *call, u User, at Division) []entity {
		found := map[int]entity{}
		for i, other := range append([]User{u}, s.users...) {
			for _, d := range other.Divisions {
				if found[d.Code] == nil && visible(d, at, i == 0) {
					found[d.Code] = entity{
						"Code": d.Code, "Current": d.Code == at.Code, "CustomerName": d.CustomerName, "Description": d.Description,
						hid: d.HID, main: d.Main, "Status": d.Status,
					}
				}
			}
		}
		var all []entity
		for _, code := range slices.Sorted(maps.Keys(found)) {
			all = append(all, found[code])
		}
		return all
	}
}

// accountsAtFirst is how many accounts a division has, so that a list has two pages.
const accountsAtFirst = 75

func listAccounts(s *Sim, c *call, _ User, at Division) []entity {
	for n := len(s.accounts[at.Code]); n < accountsAtFirst; n++ {
		s.addAccount(c, at.Code, guid(fmt.Sprintf("00000000-0000-4000-8000-%06d%06d", at.Code%1e6, n+1)), entity{"Name": fmt.Sprintf("Klant %d B.V.", n+1)})
	}
	return s.accounts[at.Code]
}

// syncAccounts is the list with the row version that the sync endpoints filter by.
func syncAccounts(s *Sim, c *call, u User, at Division) []entity {
	var all []entity
	for i, e := range listAccounts(s, c, u, at) {
		e = maps.Clone(e)
		e["Timestamp"] = int64(i + 1)
		all = append(all, e)
	}
	return all
}

// addAccount adds an account with the next code. Codes have 18 characters, with blanks
// in front (picqer/exact-php-client, Findable::findId).
func (s *Sim) addAccount(c *call, division int, id guid, values entity) entity {
	e := entity{
		"City": nil, "Code": fmt.Sprintf("%18d", len(s.accounts[division])+1), "Country": "NL", "Created": c.now, "Division": division,
		"Email": nil, "ID": id, "IsSupplier": false, "Modified": c.now, "Name": nil, "Phone": nil, "Status": "C", "VATNumber": nil,
	}
	maps.Copy(e, values)
	s.accounts[division] = append(s.accounts[division], e)
	return e
}

func (s *Sim) createAccount(c *call, division int) (e entity, problem string) {
	var values entity
	if media, _, _ := mime.ParseMediaType(c.Header.Get("Content-Type")); media != "application/json" || json.Unmarshal(c.body, &values) != nil {
		return nil, "Error processing request stream."
	}
	if name, _ := values["Name"].(string); name == "" {
		return nil, "Mandatory: Name"
	}
	have := listAccounts(s, c, User{}, Division{Code: division})[0]
	for name, v := range values {
		like, ok := have[name]
		if like == nil {
			like = "" // the properties that can be null are texts
		}
		if !ok || v != nil && reflect.TypeOf(v) != reflect.TypeOf(like) {
			return nil, "Error processing request stream. The property '" + name + "' cannot be written with this value."
		}
	}
	id := fmt.Sprintf("%x", s.random(16))
	id = id[:8] + "-" + id[8:12] + "-4" + id[13:16] + "-8" + id[17:20] + "-" + id[20:]
	return s.addAccount(c, division, guid(id), values), ""
}

// negotiate picks the format: Atom unless JSON is asked for; application/xml is
// refused (Exact KB "OData best practices").
func negotiate(accept []string) (format, bool) {
	ok := true
	for _, part := range strings.Split(strings.Join(accept, ","), ",") {
		media, _, err := mime.ParseMediaType(part)
		if err != nil {
			continue
		}
		switch media {
		case "application/json":
			return odataJSON, true
		case "application/atom+xml", "application/*", "*/*":
			return atom, true
		default:
			ok = false
		}
	}
	return atom, ok
}
