package main

import (
	"context"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/exactauth/exactauth/internal/auth0"
	"github.com/exactauth/exactauth/internal/term"
)

func (a *app) auth0StatusCmd(common *auth0Options) *cobra.Command {
	return &cobra.Command{
		Use:   "status",
		Short: "Show the connection, who may use it and who did",
		Long: `Shows the tenant's connection to Exact Online: where it leads, with which client id,
which apps may use it, which Redirect URI Exact's App Center must have, and the last
sign-ins. It changes nothing. It ends with 2 if there is no connection.`,
		Example: `  exactauth auth0 status --auth0-domain acme.eu.auth0.com
  exactauth auth0 status --auth0-domain acme.eu.auth0.com --json`,
		Args: cobra.NoArgs,
		RunE: a.runE(auth0Timeout, func(ctx context.Context, _ []string) error { return a.auth0Status(ctx, *common) }),
	}
}

func (a *app) auth0Status(ctx context.Context, o auth0Options) error {
	d, err := a.tenantDomains(o)
	if err != nil {
		return err
	}
	t, err := a.tenant(d)
	if err != nil {
		return err
	}
	s, err := t.Status(ctx, o.connection)
	if err != nil {
		return a.auth0Error(err, d)
	}
	if a.JSON {
		err = a.auth0StatusJSON(d, s)
	} else {
		err = a.Print(auth0StatusText(d, s))
	}
	if err != nil {
		return err
	}
	if !a.JSON && len(s.Unreadable) > 0 {
		a.Note("what is missing here needs the scopes " + strings.Join(s.Unreadable, ", "))
	}
	if len(s.Connections) == 0 {
		what := "no connection to Exact Online"
		if o.connection != "" {
			what = "no Exact connection of that name"
		}
		return &hinted{usagef("%s has %s", d.own, what), "make it: exactauth auth0 setup" + d.flags()}
	}
	return nil
}

func auth0StatusText(d tenantDomains, s auth0.Status) string {
	text := ""
	for _, c := range s.Connections {
		head := "Connection " + c.Name
		if c.DisplayName != "" && c.DisplayName != c.Name {
			head += ` ("` + c.DisplayName + `")`
		}
		var t term.Table
		if c.OptionsKnown {
			where := c.BaseURL
			if r, ok := regionOf(c.BaseURL); ok {
				where += " (" + r.Code + ", " + r.Country + ")"
			} else {
				where += " (none of Exact's regions)"
			}
			id := c.ClientID
			switch {
			case id == "":
				id = "none: nobody can sign in"
			case !c.HasSecret:
				id += ", without its secret: nobody can sign in"
			}
			t.Add("  Exact Online", where)
			t.Add("  Client id", id)
		} else {
			t.Add("  Exact Online", "not known: the token may not read the options")
		}
		apps := []string{"none: nobody can sign in"}
		if len(c.Apps) > 0 {
			apps = nil
			for _, app := range c.Apps {
				apps = append(apps, app.String())
			}
		}
		t.Add("  Enabled for", apps[0])
		for _, more := range apps[1:] {
			t.Add("", more)
		}
		text += head + "\n" + t.String()
		if len(c.SignIns) > 0 {
			text += "  Last sign-ins\n"
			var rows term.Table
			for _, l := range c.SignIns {
				what := "signed in"
				if !l.OK {
					what = "failed: " + l.Description
				}
				rows.Add("    "+l.Time.Local().Format("2006-01-02 15:04"), l.User, l.App, what)
			}
			text += rows.String()
		}
		text += "\n"
	}
	if len(s.Connections) == 0 {
		text = "No connection to Exact Online.\n\n"
	}
	text += "The App Center's Redirect URI, which depends on where people sign in\n"
	var rows term.Table
	for _, domain := range s.Domains {
		what := "custom domain"
		if domain == d.own {
			what = "the tenant's own"
		}
		rows.Add("  "+domain.Callback(), what)
	}
	text += rows.String()
	if len(s.Domains) > 1 {
		text += "An app in the App Center has one of them: the one whose domain your apps use.\n"
	}
	return text
}

func (a *app) auth0StatusJSON(d tenantDomains, s auth0.Status) error {
	type app struct {
		ClientID string `json:"client_id"`
		Name     string `json:"name,omitempty"`
	}
	type signIn struct {
		Time        time.Time `json:"time"`
		OK          bool      `json:"ok"`
		User        string    `json:"user,omitempty"`
		App         string    `json:"app,omitempty"`
		Description string    `json:"description,omitempty"`
	}
	type connection struct {
		ID           string   `json:"id"`
		Name         string   `json:"name"`
		DisplayName  string   `json:"display_name,omitempty"`
		OptionsKnown bool     `json:"options_known"`
		BaseURL      string   `json:"base_url,omitempty"`
		Region       string   `json:"region,omitempty"`
		ClientID     string   `json:"client_id,omitempty"`
		HasSecret    bool     `json:"has_client_secret"`
		Apps         []app    `json:"apps"`
		SignIns      []signIn `json:"sign_ins"`
	}
	type redirect struct {
		Domain string `json:"domain"`
		URI    string `json:"redirect_uri"`
		Custom bool   `json:"custom"`
	}
	out := struct {
		Domain      string       `json:"auth0_domain"`
		Connections []connection `json:"connections"`
		Redirects   []redirect   `json:"redirect_uris"`
		Missing     []string     `json:"missing_scopes,omitempty"`
	}{d.own.String(), []connection{}, []redirect{}, s.Unreadable}
	for _, c := range s.Connections {
		one := connection{c.ID, c.Name, c.DisplayName, c.OptionsKnown, c.BaseURL, "", c.ClientID, c.HasSecret, []app{}, []signIn{}}
		if r, ok := regionOf(c.BaseURL); ok {
			one.Region = r.Code
		}
		for _, x := range c.Apps {
			one.Apps = append(one.Apps, app{x.ClientID, x.Name})
		}
		for _, l := range c.SignIns {
			one.SignIns = append(one.SignIns, signIn{seconds(l.Time), l.OK, l.User, l.App, l.Description})
		}
		out.Connections = append(out.Connections, one)
	}
	for _, domain := range s.Domains {
		out.Redirects = append(out.Redirects, redirect{domain.String(), domain.Callback(), domain != d.own})
	}
	return a.PrintJSON(out)
}
