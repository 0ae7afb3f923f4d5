package main

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/spf13/cobra"

	"github.com/exactauth/exactauth/internal/config"
	"github.com/exactauth/exactauth/internal/exactapi"
	"github.com/exactauth/exactauth/internal/exactauth"
	"github.com/exactauth/exactauth/internal/fault"
	"github.com/exactauth/exactauth/internal/record"
	"github.com/exactauth/exactauth/internal/term"
)

func (a *app) whoamiCmd() *cobra.Command {
	var divisions bool
	cmd := &cobra.Command{
		Use:   "whoami",
		Short: "Show who is signed in, by asking Exact",
		Long: `Asks Exact Online who the access token belongs to and which division (company)
is current. The current division changes when the user switches company in the
browser, so pin one for scripts: "exactauth use --division CODE".

With --divisions it waits for Exact's limit of calls a minute, as long as the list needs;
--timeout limits that.`,
		Example: `  exactauth whoami
  exactauth whoami --divisions --json`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return a.whoami(cmd.Context(), divisions) },
	}
	cmd.Flags().BoolVar(&divisions, "divisions", false, "list the divisions that the user can open")
	return cmd
}

type identity struct {
	UserID          string      `json:"user_id"`
	UserName        string      `json:"user_name"`
	FullName        string      `json:"full_name"`
	Email           string      `json:"email"`
	Language        string      `json:"language"`
	CurrentDivision *int        `json:"current_division"` // null if Exact names none
	Division        int         `json:"division,omitempty"`
	BaseURL         string      `json:"base_url"`
	Profile         string      `json:"profile"`
	SignedInAt      *time.Time  `json:"signed_in_at,omitempty"`
	Divisions       *[]division `json:"divisions,omitempty"`
	Limits          *limits     `json:"limits,omitempty"`
}

// limits is what the last answer of Exact said of its limits.
type limits struct {
	MinuteLeft int `json:"minute_left"`
	DayLeft    int `json:"day_left"`
}

type division struct {
	Code         int    `json:"code"`
	Description  string `json:"description"`
	CustomerName string `json:"customer_name"`
	Status       string `json:"status"`
	Main         bool   `json:"main"`
}

func (a *app) whoami(ctx context.Context, divisions bool) error {
	p, c, err := a.current(ctx)
	if err != nil {
		return err
	}
	me, err := a.me(ctx, c)
	if err != nil {
		return err
	}
	s, _ := c.Status(ctx) // the record was read a moment ago
	out := identity{UserID: me.ID, UserName: me.UserName, FullName: me.FullName, Email: me.Email, Language: me.Language,
		Division: p.Division, BaseURL: p.BaseURL, Profile: p.Name, SignedInAt: seconds(s.SignedInAt)}
	current := "none"
	if me.Division != 0 {
		current, out.CurrentDivision = strconv.Itoa(me.Division), &me.Division
	}
	a.noteMoved(p, s.User, me)
	if !a.JSON {
		var about term.Table
		about.Add("User", me)
		about.Add("User name", me.UserName)
		about.Add("Current division", current)
		if p.Division != 0 {
			about.Add("Pinned division", p.Division)
		}
		if out.SignedInAt != nil {
			about.Add("Signed in", since(*out.SignedInAt))
		}
		about.Add("Exact Online", p.BaseURL)
		about.Add("Profile", p.Name)
		if err := a.Print(about.String()); err != nil {
			return err
		}
	}
	if divisions {
		err := a.within(ctx, 0, func(ctx context.Context) error { return a.divisions(ctx, c, &out) })
		switch {
		case errors.Is(err, exactapi.ErrNoDivisions) && me.Division != 0: // some licences have neither list
			a.Note(fmt.Sprintf("%v; only the current division is known", err))
		case errors.Is(err, exactapi.ErrNoDivisions):
			a.Note(err.Error())
		case err != nil:
			return fault.In(p.Name, err)
		}
	}
	if a.JSON {
		return a.PrintJSON(out)
	}
	return nil
}

// divisions prints the divisions that the user can open while they come, page after page.
// For JSON it collects them.
func (a *app) divisions(ctx context.Context, c *exactauth.Client, out *identity) error {
	at := out.Division // the lists are seen from a division
	if out.CurrentDivision != nil {
		at = *out.CurrentDivision
	}
	if at == 0 {
		return fault.With(errors.New("divisions: the user has no current division to list them from, and none is pinned"), exactapi.ErrNoDivisions)
	}
	api, end, err := a.api(c.Profile, c)
	if err != nil {
		return err
	}
	defer end()
	api.HTTP.Timeout = longestPageTime
	all, fit, n := []division{}, a.FitParts(), 0
	part := term.Table{{"DIVISION", "NAME", "LICENCE", "STATUS"}}
	lead := "\n"
	flush := func() error {
		defer func() { part, lead = part[:0], "" }()
		return a.Print(lead + fit(part))
	}
	for d, err := range exactapi.Divisions(ctx, api, at) {
		if err != nil {
			return err
		}
		if a.JSON {
			all = append(all, division{d.Code, d.Description, d.CustomerName, divisionStatus(d.Status), d.Main})
			continue
		}
		part.Add(d.Code, d.Description, d.CustomerName, divisionStatus(d.Status))
		if n++; n%60 == 0 { // a page
			if err := flush(); err != nil {
				return err
			}
		}
	}
	out.Divisions = &all
	minute, day := api.Left(at)
	if minute >= 0 && day >= 0 {
		out.Limits = &limits{minute, day}
	}
	if a.JSON {
		return nil
	}
	if len(part) > 0 {
		if err := flush(); err != nil {
			return err
		}
	}
	if out.Limits != nil {
		return a.Print(fmt.Sprintf("\nCalls left: %d in this minute, %d on this day (UTC)\n", minute, day))
	}
	return nil
}

// longestPageTime limits each page of a list, whose pages together have no time limit.
const longestPageTime = 10 * time.Minute

func divisionStatus(code int) string {
	if words := [...]string{"inactive", "active", "archived"}; code >= 0 && code < len(words) {
		return words[code]
	}
	return fmt.Sprint(code)
}

// noteMoved prints a note if the current division is not the one that scripts get, or
// not the one at the sign-in. The current division is the one that is open in the
// browser; a script that uses it can post to the wrong company.
func (a *app) noteMoved(p config.Settings, signedIn, me record.User) {
	switch {
	case me.Division == 0:
	case p.Division != 0:
		if me.Division != p.Division {
			a.Note(fmt.Sprintf("the user works in division %d now; scripts get %d, which is pinned", me.Division, p.Division))
		}
	case signedIn.Division != 0 && signedIn.Division != me.Division:
		a.Note(fmt.Sprintf("the current division was %d at the sign-in and is %d now; it changes with the browser, so pin one: exactauth use --division %d",
			signedIn.Division, me.Division, signedIn.Division))
	}
}
