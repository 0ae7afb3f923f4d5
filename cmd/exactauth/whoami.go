package main

import (
	"context"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/exactauth/exactauth/internal/exactauth"
)

func (a *app) whoamiCmd() *cobra.Command {
	var divisions bool
	cmd := &cobra.Command{
		Use:     "whoami",
		GroupID: "daily",
		Short:   "Show who is signed in, as Exact says",
		Long: `Asks Exact Online who the access token belongs to and which division (company)
is current. The current division moves when the user switches company in the
browser; scripts should pin one: "exactauth setup --division CODE".`,
		Example: `  exactauth whoami
  exactauth whoami --divisions --json`,
		Args: cobra.NoArgs,
		RunE: a.runE(defaultTimeout, func(ctx context.Context, _ []string) error { return a.whoami(ctx, divisions) }),
	}
	cmd.Flags().BoolVar(&divisions, "divisions", false, "list the divisions that the user can open")
	return cmd
}

func (a *app) whoami(ctx context.Context, divisions bool) error {
	p, c, err := a.current()
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
	var list []exactauth.Division
	if divisions {
		if list, err = c.Divisions(ctx, t, me.CurrentDivision); err != nil {
			return err
		}
	}
	if a.json {
		return a.whoamiJSON(p, me, divisions, list)
	}
	shown := table{
		row("User", me),
		row("User name", me.UserName),
		row("Current division", me.CurrentDivision),
	}
	if p.Division != 0 {
		shown = append(shown, row("Pinned division", p.Division))
	}
	shown = append(shown, row("Exact Online", p.BaseURL), row("Profile", p.Name))
	text := shown.String()
	if divisions {
		rows := table{row("DIVISION", "NAME", "LICENCE", "STATUS")}
		for _, d := range list {
			rows = append(rows, row(d.Code, d.Description, d.CustomerName, statusWord(d.Status)))
		}
		text += "\n" + rows.String()
	}
	return a.print(text)
}

func (a *app) whoamiJSON(p profile, me exactauth.Me, divisions bool, list []exactauth.Division) error {
	type division struct {
		Code         int    `json:"code"`
		Description  string `json:"description"`
		CustomerName string `json:"customer_name"`
		Status       string `json:"status"`
		Main         bool   `json:"main"`
	}
	out := struct {
		UserID          string      `json:"user_id"`
		UserName        string      `json:"user_name"`
		FullName        string      `json:"full_name"`
		Email           string      `json:"email"`
		Language        string      `json:"language"`
		CurrentDivision int         `json:"current_division"`
		Division        int         `json:"division,omitempty"`
		BaseURL         string      `json:"base_url"`
		Profile         string      `json:"profile"`
		Divisions       *[]division `json:"divisions,omitempty"`
	}{me.UserID, me.UserName, me.FullName, me.Email, me.LanguageCode, me.CurrentDivision, p.Division, p.BaseURL, p.Name, nil}
	if divisions {
		ds := make([]division, 0, len(list))
		for _, d := range list {
			ds = append(ds, division{d.Code, d.Description, d.CustomerName, statusWord(d.Status), d.Main})
		}
		out.Divisions = &ds
	}
	return a.printJSON(out)
}

func statusWord(status int) string {
	switch status {
	case 0:
		return "inactive"
	case 1:
		return "active"
	case 2:
		return "archived"
	}
	return fmt.Sprint(status)
}
