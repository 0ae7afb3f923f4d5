package main

import (
	"context"
	"strings"

	"github.com/spf13/cobra"

	"github.com/exactauth/exactauth/internal/auth0"
	"github.com/exactauth/exactauth/internal/term"
)

func (a *app) auth0StatusCmd(common *auth0Options) *cobra.Command {
	return &cobra.Command{
		Use:   "status",
		Short: "Show the connection, its apps and the last sign-ins",
		Long: `Shows the tenant's connection to Exact Online: its instance of Exact Online and
client id, the apps that may use it, the Redirect URI for Exact's App Center, and the
last sign-ins. It changes nothing. The exit code is 2 if there is no connection.`,
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
	if err := a.Result(auth0StatusJSON(d, s), auth0StatusText(d, s)); err != nil {
		return err
	}
	if !a.JSON && len(s.Unreadable) > 0 {
		a.Note("to show the rest, the token needs the scopes " + strings.Join(s.Unreadable, ", "))
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
		text += "Connection " + c.Name
		if c.DisplayName != "" && c.DisplayName != c.Name {
			text += ` ("` + c.DisplayName + `")`
		}
		var t term.Table
		if c.OptionsKnown {
			where := c.BaseURL + " (none of Exact's regions)"
			if r, ok := regionOf(c.BaseURL); ok {
				where = c.BaseURL + " (" + r.Code + ", " + r.Country + ")"
			}
			id := c.ClientID
			switch {
			case id == "":
				id = "none: sign-in is not possible"
			case !c.HasSecret:
				id += ", without its secret: sign-in is not possible"
			}
			t.Add("  Exact Online", where)
			t.Add("  Client id", id)
		} else {
			t.Add("  Exact Online", "unknown: the token may not read the options")
		}
		label := "  Enabled for"
		for _, app := range c.Apps {
			t.Add(label, app)
			label = ""
		}
		if len(c.Apps) == 0 {
			t.Add(label, "none: sign-in is not possible")
		}
		text += "\n" + t.String()
		if len(c.SignIns) > 0 {
			text += "  Last sign-ins\n"
		}
		t = nil
		for _, l := range c.SignIns {
			what := "signed in"
			if !l.OK {
				what = "failed: " + l.Description
			}
			t.Add("    "+l.Time.Local().Format("2006-01-02 15:04"), l.User, l.App, what)
		}
		text += t.String() + "\n"
	}
	if len(s.Connections) == 0 {
		text = "No connection to Exact Online.\n\n"
	}
	text += "The App Center's Redirect URI, which depends on where people sign in\n"
	var t term.Table
	for _, domain := range s.Domains {
		what := "custom domain"
		if domain == d.own {
			what = "the tenant's own"
		}
		t.Add("  "+domain.Callback(), what)
	}
	text += t.String()
	if len(s.Domains) > 1 {
		text += "An app in the App Center has one of them: the one whose domain your apps use.\n"
	}
	return text
}

func auth0StatusJSON(d tenantDomains, s auth0.Status) any {
	type connection struct {
		auth0.ConnectionStatus
		Region string `json:"region,omitempty"`
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
		region, _ := regionOf(c.BaseURL)
		out.Connections = append(out.Connections, connection{c, region.Code})
	}
	for _, domain := range s.Domains {
		out.Redirects = append(out.Redirects, redirect{domain.String(), domain.Callback(), domain != d.own})
	}
	return out
}
