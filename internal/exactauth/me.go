package exactauth

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"

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

// Division is a company that the user can open.
type Division struct {
	Code         int
	Description  string // the company's name
	CustomerName string // of the licence it belongs to
	Status       int    // 0 inactive, 1 active, 2 archived
	Main         bool   // the licence's main division
}

// Me asks who is signed in. The endpoint names no division, so it is not
// counted in the daily limit (Exact KB, API limits).
func (c *Client) Me(ctx context.Context, t Token) (Me, error) {
	var page struct {
		Results []struct {
			UserID, UserName, FullName, Email, LanguageCode string
			CurrentDivision                                 int
		} `json:"results"`
	}
	u := c.Profile.BaseURL + "/api/v1/current/Me?$select=UserID,UserName,FullName,Email,LanguageCode,CurrentDivision"
	if err := c.get(ctx, t, u, &page); err != nil {
		return Me{}, fmt.Errorf("who is signed in: %w", err)
	}
	if len(page.Results) == 0 || page.Results[0].UserID == "" {
		return Me{}, fault.New(fault.ErrTemporary, "who is signed in: the answer of %s names no user", c.Profile.BaseURL)
	}
	r := page.Results[0]
	return Me{
		UserID: fault.Printable(r.UserID), UserName: fault.Printable(r.UserName), FullName: fault.Printable(r.FullName),
		Email: fault.Printable(r.Email), LanguageCode: fault.Printable(r.LanguageCode), CurrentDivision: r.CurrentDivision,
	}, nil
}

// Divisions lists the companies that the user can open, over all licences. Some
// licences have only the older of the two lists, which covers one licence; then
// that one is given (Exact KB, API reference).
func (c *Client) Divisions(ctx context.Context, t Token, current int) ([]Division, error) {
	base := c.Profile.BaseURL + "/api/v1/" + strconv.Itoa(current)
	all, err := c.divisions(ctx, t, base+"/system/Divisions?$select=Code,Description,CustomerName,Status,IsMainDivision")
	if refused := (*ServerError)(nil); errors.As(err, &refused) && (refused.Status == http.StatusNotFound || refused.Status == http.StatusForbidden) {
		if old, oldErr := c.divisions(ctx, t, base+"/hrm/Divisions?$select=Code,Description,CustomerName,Status,Main"); oldErr == nil {
			return old, nil
		}
	}
	if err != nil {
		return nil, fmt.Errorf("divisions: %w", err)
	}
	return all, nil
}

func (c *Client) divisions(ctx context.Context, t Token, next string) ([]Division, error) {
	var all []Division
	const mostPages = 200 // of 60: a server that links in a circle must end
	for range mostPages {
		var page struct {
			Results []struct {
				Code                      int
				Description, CustomerName string
				Status                    int
				IsMainDivision, Main      bool
			} `json:"results"`
			Next string `json:"__next"`
		}
		if err := c.get(ctx, t, next, &page); err != nil {
			return nil, err
		}
		for _, d := range page.Results {
			all = append(all, Division{d.Code, fault.Printable(d.Description), fault.Printable(d.CustomerName), d.Status, d.IsMainDivision || d.Main})
		}
		if page.Next == "" {
			return all, nil
		}
		next = page.Next
	}
	return nil, fault.New(fault.ErrTemporary, "the list does not end")
}

// get fetches the "d" of an OData answer. The token goes to the profile's base
// URL only, whatever address a server gave.
func (c *Client) get(ctx context.Context, t Token, address string, d any) error {
	u, err := url.Parse(address)
	if err != nil || u.Scheme+"://"+u.Host != c.Profile.BaseURL || u.User != nil {
		return fault.New(fault.ErrTemporary, "an address that is not below %s is not followed", c.Profile.BaseURL)
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, address, nil)
	if err != nil {
		return err
	}
	req.Header.Set("Authorization", "Bearer "+t.AccessToken.Reveal())
	req.Header.Set("Accept", "application/json") // Atom XML otherwise
	resp, err := c.http().Do(req)
	if err != nil {
		if errors.Is(ctx.Err(), context.Canceled) {
			return context.Cause(ctx)
		}
		return fault.Wrap(fault.ErrTemporary, fault.Transport(err), "cannot reach %s", c.Profile.BaseURL)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswer))
	if err != nil && errors.Is(ctx.Err(), context.Canceled) {
		return context.Cause(ctx)
	}
	c.log().Debug("asked the API", "path", u.Path, "status", resp.StatusCode)
	if resp.StatusCode != http.StatusOK {
		return refusedByAPI(resp, body)
	}
	if err != nil {
		return fault.Wrap(fault.ErrTemporary, fault.Transport(err), "the answer of %s broke off", c.Profile.BaseURL)
	}
	answer := struct {
		D any `json:"d"`
	}{d}
	if json.Unmarshal(body, &answer) != nil {
		return fault.New(fault.ErrTemporary, "the answer of %s cannot be read", c.Profile.BaseURL)
	}
	return nil
}

// refusedByAPI puts a refusal into Exact's words: the Reason header, then the
// OData message. A 401 can be an HTML page (picqer/exact-php-client#343).
func refusedByAPI(resp *http.Response, body []byte) error {
	var odata struct {
		Error struct {
			Message struct {
				Value string `json:"value"`
			} `json:"message"`
		} `json:"error"`
	}
	_ = json.Unmarshal(body, &odata) // a body that is not OData has no message
	refused := &ServerError{
		Status:      resp.StatusCode,
		Code:        fault.Printable(resp.Header.Get("Reason")),
		Description: fault.Printable(odata.Error.Message.Value),
	}
	if refused.Description == "" && strings.HasPrefix(http.DetectContentType(body), "text/plain") {
		refused.Description = fault.Printable(string(body))
	}
	switch {
	case resp.StatusCode == http.StatusUnauthorized:
		return fault.Wrap(fault.ErrLoginNeeded, refused, "Exact does not take the access token")
	case resp.StatusCode/100 == 5, resp.StatusCode == http.StatusTooManyRequests, resp.StatusCode/100 == 3:
		return fault.Wrap(fault.ErrTemporary, refused, "no answer")
	}
	return refused
}
