package main

import (
	"context"
	"errors"
	"fmt"
	"net/http"
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
		Use:     "whoami",
		GroupID: "daily",
		Short:   "Show who is signed in, by asking Exact",
		Long: `Asks Exact Online who the access token belongs to and which division (company)
is current. The current division changes when the user switches company in the
browser, so pin one for scripts: "exactauth use --division CODE".`,
		Example: `  exactauth whoami
  exactauth whoami --divisions --json`,
		Args: cobra.NoArgs,
		RunE: a.runE(defaultTimeout, func(ctx context.Context, _ []string) error { return a.whoami(ctx, divisions) }),
	}
	cmd.Flags().BoolVar(&divisions, "divisions", false, "list the divisions that the user can open")
	return cmd
}

// identity is the JSON of whoami.
type identity struct {
	UserID          string      `json:"user_id"`
	UserName        string      `json:"user_name"`
	FullName        string      `json:"full_name"`
	Email           string      `json:"email"`
	Language        string      `json:"language"`
	CurrentDivision int         `json:"current_division"`
	Division        int         `json:"division,omitempty"`
	BaseURL         string      `json:"base_url"`
	Profile         string      `json:"profile"`
	SignedInAt      *time.Time  `json:"signed_in_at,omitempty"`
	Divisions       *[]division `json:"divisions,omitempty"`
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
	t, err := c.Token(ctx, exactauth.Want{})
	if err != nil {
		return err
	}
	me, err := c.Me(ctx, t)
	if err != nil {
		return err
	}
	s, _ := c.Status(ctx) // the record was read a moment ago
	out := identity{me.ID, me.UserName, me.FullName, me.Email, me.Language, me.Division, p.Division, p.BaseURL, p.Name, seconds(s.SignedInAt), nil}
	if divisions {
		out.Divisions = &[]division{}
		api, end, err := a.api(p, c)
		if err != nil {
			return err
		}
		defer end()
		list, err := exactapi.Divisions(ctx, api, me.Division)
		var refused *fault.ServerError
		switch {
		case errors.As(err, &refused) && (refused.Status == http.StatusForbidden || refused.Status == http.StatusNotFound):
			a.Note(fmt.Sprintf("%v; only the current division is known", err)) // some licences have neither list
		case err != nil:
			return err
		}
		for _, d := range list {
			*out.Divisions = append(*out.Divisions, division{d.Code, d.Description, d.CustomerName, divisionStatus(d.Status), d.Main})
		}
	}
	a.noteMoved(p, s.User, me)
	if a.JSON {
		return a.PrintJSON(out)
	}
	var about term.Table
	about.Add("User", me)
	about.Add("User name", me.UserName)
	about.Add("Current division", me.Division)
	if p.Division != 0 {
		about.Add("Pinned division", p.Division)
	}
	if out.SignedInAt != nil {
		about.Add("Signed in", since(*out.SignedInAt))
	}
	about.Add("Exact Online", p.BaseURL)
	about.Add("Profile", p.Name)
	text := about.String()
	if divisions {
		list := term.Table{{"DIVISION", "NAME", "LICENCE", "STATUS"}}
		for _, d := range *out.Divisions {
			list.Add(d.Code, d.Description, d.CustomerName, d.Status)
		}
		text += "\n" + a.Fit(list)
	}
	return a.Print(text)
}

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
	if p.Division != 0 {
		if me.Division != p.Division {
			a.Note(fmt.Sprintf("the user works in division %d now; scripts get %d, which is pinned", me.Division, p.Division))
		}
		return
	}
	if signedIn.Division == 0 || signedIn.Division == me.Division {
		return
	}
	a.Note(fmt.Sprintf("the current division was %d at the sign-in and is %d now; it changes with the browser, so pin one: exactauth use --division %d",
		signedIn.Division, me.Division, signedIn.Division))
}
