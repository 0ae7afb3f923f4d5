package exactauth

import (
	"context"
	"fmt"

	"github.com/exactauth/exactauth/internal/exactapi"
	"github.com/exactauth/exactauth/internal/fault"
	"github.com/exactauth/exactauth/internal/record"
)

// Me returns the signed-in user.
func (c *Client) Me(ctx context.Context, t record.Token) (_ record.User, err error) {
	defer c.named(&err)
	return c.user(ctx, t)
}

// user is Me without the profile in its error. The endpoint names no division, so the
// request is not counted in the daily limit (Exact KB, API limits). Its fields are named
// as in picqer/exact-php-client Me.php.
func (c *Client) user(ctx context.Context, t record.Token) (record.User, error) {
	type user struct {
		UserID, UserName, FullName, Email, LanguageCode string
		CurrentDivision                                 int
	}
	const path = "/api/v1/current/Me?$select=UserID,UserName,FullName,Email,LanguageCode,CurrentDivision"
	for r, err := range exactapi.Records[user](ctx, c.API(t), path) {
		if err != nil {
			return record.User{}, fmt.Errorf("who is signed in: %w", err)
		}
		if r.UserID == "" || r.UserID != fault.Printable(r.UserID) { // ids that differ must not look the same
			break
		}
		return record.User{
			ID: r.UserID, UserName: fault.Printable(r.UserName), FullName: fault.Printable(r.FullName),
			Email: fault.Printable(r.Email), Language: fault.Printable(r.LanguageCode), Division: r.CurrentDivision,
		}, nil
	}
	return record.User{}, fault.New(fault.ErrTemporary, "who is signed in: the answer of %s names no user", c.Profile.BaseURL)
}

// API returns a client of Exact's API that sends t with each request.
func (c *Client) API(t record.Token) *exactapi.Client {
	return &exactapi.Client{BaseURL: c.Profile.BaseURL, HTTP: c.http(), Token: t.Access, Log: c.log()}
}
