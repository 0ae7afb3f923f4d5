package exactsim

import (
	"maps"
	"mime"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
)

const (
	apiPath = "/api/v1/"
	mePath  = "/api/v1/current/Me"
)

// api answers the REST API.
func (s *Sim) api(c *call) answer {
	scheme, text, _ := strings.Cut(c.Header.Get("Authorization"), " ")
	t, live := s.liveAccess(text, c.now)
	who := caller{endpoint: c.URL.Path}
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
	// Percent signs in lower case, as ASP.NET writes them.
	target := "/docs/Login.aspx?ReturnUrl=" + strings.ToLower(url.QueryEscape(c.URL.Path))
	return reply(http.StatusUnauthorized, Unauthorized, "text/html; charset=utf-8",
		[]byte("<html><head><title>Object moved</title></head><body>\r\n"+
			`<h2>Object moved to <a href="`+target+`">here</a>.</h2>`+"\r\n</body></html>\r\n"))
}

// serveAPI answers an authenticated call.
func (s *Sim) serveAPI(c *call, k grantKey) answer {
	to, ok := negotiate(c.Header.Values("Accept"))
	if !ok {
		return empty(http.StatusUnsupportedMediaType, MediaTypeRefused)
	}
	if !s.active(k.user) {
		return apiError(to, http.StatusForbidden, InactiveUser, "Forbidden")
	}
	if c.Method != http.MethodGet {
		return methodNotAllowed(http.MethodGet)
	}
	user, _ := s.user(k.user)
	if c.URL.Path == mePath {
		return serveFeed(c, to, me(user, c))
	}

	number, list, _ := strings.Cut(strings.TrimPrefix(c.URL.Path, apiPath), "/")
	division, err := strconv.Atoi(number)
	if err != nil || !slices.Contains([]string{"system/Divisions", "system/AllDivisions", "hrm/Divisions"}, list) {
		return apiError(to, http.StatusNotFound, APIError, "Resource not found for the segment.")
	}
	i := slices.IndexFunc(user.Divisions, func(d Division) bool { return d.Code == division })
	if i < 0 {
		return apiError(to, http.StatusForbidden, NoDivisionAccess, "Forbidden")
	}
	headers, ok := s.spendCall(k.client, division, c.now)
	var a answer
	switch {
	case !ok:
		a = empty(http.StatusTooManyRequests, RateLimited)
	case s.apps[k.client].NoDivisionScope:
		a = apiError(to, http.StatusForbidden, APIError,
			"Forbidden - Application Scope Violated. Cannot read 'organization.administration' scope.")
	default:
		a = serveFeed(c, to, s.divisions(list, user, user.Divisions[i]))
	}
	maps.Copy(a.header, headers)
	return a
}

// me has the properties that public clients read: passport-exact 0.1.4 fails without
// any of its thirteen, and reads UserID and CurrentDivision only if they have a type.
// The values of Title, Gender and Language are of the kind in its tests.
func me(u User, c *call) feed {
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
	if n := len(names); n > 0 {
		e["FirstName"] = names[0]
		if n > 1 {
			e["LastName"] = names[n-1]
		}
		if n > 2 {
			e["MiddleName"] = strings.Join(names[1:n-1], " ")
		}
	}
	return feed{"Exact.Web.Api.Models.System.Me", "UserID", []entity{e}}
}

// divisions returns one of the three lists: system/Divisions has those that the
// user can open, system/AllDivisions all there are, hrm/Divisions those of the
// licence of the division in the address (Exact KB "REST API reference").
func (s *Sim) divisions(list string, u User, at Division) feed {
	visible := u.Divisions
	hid, main, model := "Hid", "IsMainDivision", "Exact.Web.Api.Models.System.Division"
	switch list {
	case "system/AllDivisions":
		for _, other := range s.users {
			visible = slices.Concat(visible, other.Divisions)
		}
	case "hrm/Divisions":
		hid, main, model = "HID", "Main", "Exact.Web.Api.Models.HRM.Division"
		visible = slices.DeleteFunc(slices.Clone(visible), func(d Division) bool { return d.CustomerName != at.CustomerName })
	}
	visible = slices.SortedStableFunc(slices.Values(visible), func(a, b Division) int { return a.Code - b.Code })
	visible = slices.CompactFunc(visible, func(a, b Division) bool { return a.Code == b.Code })
	f := feed{model: model, key: "Code"}
	for _, d := range visible {
		f.entities = append(f.entities, entity{
			"Code": d.Code, "Current": d.Code == at.Code, "CustomerName": d.CustomerName, "Description": d.Description,
			hid: d.HID, main: d.Main, "Status": d.Status,
		})
	}
	return f
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
