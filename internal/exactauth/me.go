package exactauth

import (
	"context"
	"fmt"

	"github.com/exactauth/exactauth/internal/exactapi"
	"github.com/exactauth/exactauth/internal/fault"
)

// Me is the signed-in user, as /api/v1/current/Me tells (field names as in
// picqer/exact-php-client Me.php).
type Me struct {
	UserID          string // a GUID
	UserName        string
	FullName        string
	Email           string
	LanguageCode    string // as "nl-NL"
	CurrentDivision int    // moves when the user switches company in the browser (picqer README)
}

// String names the user for people: full name and e-mail address, or what there is of them.
func (m Me) String() string {
	name, mail := m.FullName, m.Email
	if name == "" {
		name = m.UserName
	}
	switch {
	case name == "" && mail == "":
		return m.UserID
	case name == "":
		return mail
	case mail == "":
		return name
	}
	return name + " <" + mail + ">"
}

// Me asks who is signed in. The endpoint names no division, so it is not
// counted in the daily limit (Exact KB, API limits).
func (c *Client) Me(ctx context.Context, t Token) (Me, error) {
	type user struct {
		UserID, UserName, FullName, Email, LanguageCode string
		CurrentDivision                                 int
	}
	const path = "/api/v1/current/Me?$select=UserID,UserName,FullName,Email,LanguageCode,CurrentDivision"
	for r, err := range exactapi.Records[user](ctx, c.API(t), path) {
		if err != nil {
			return Me{}, fmt.Errorf("who is signed in: %w", err)
		}
		if r.UserID == "" {
			break
		}
		return Me{
			UserID: fault.Printable(r.UserID), UserName: fault.Printable(r.UserName), FullName: fault.Printable(r.FullName),
			Email: fault.Printable(r.Email), LanguageCode: fault.Printable(r.LanguageCode), CurrentDivision: r.CurrentDivision,
		}, nil
	}
	return Me{}, fault.New(fault.ErrTemporary, "who is signed in: the answer of %s names no user", c.Profile.BaseURL)
}

// API returns a client of Exact's API that sends t with each request.
func (c *Client) API(t Token) *exactapi.Client {
	return &exactapi.Client{BaseURL: c.Profile.BaseURL, HTTP: c.http(), Token: t.AccessToken, Log: c.log()}
}
