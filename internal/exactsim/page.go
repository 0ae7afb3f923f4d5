package exactsim

import (
	"cmp"
	_ "embed"
	"fmt"
	"net/http"
	"os"
	"strconv"
	"strings"
)

// The pages are filled by hand, with values in two kinds of place only: between
// tags and in double quotes. With html/template linked, the linker can leave out no
// method of any type, which makes a program with the simulator in it a fifth larger.

var (
	//go:embed page.html
	frameHTML string // of every page
	//go:embed sign-in.html
	signInHTML string
	//go:embed consent.html
	consentHTML string
)

func (s *Sim) signInPage(status int, id string, app App, email, problem string) answer {
	focus := map[bool]string{true: "autofocus"}
	onPassword := email != "" && problem == ""
	return s.page(status, "sign-in page", "Sign in", signInHTML, map[string]string{
		"app": app.shownName(), "request": id, "email": email, "problem": problem, "invalid": strconv.FormatBool(problem != ""),
		"email-focus": focus[!onPassword], "password-focus": focus[onPassword],
	})
}

func (s *Sim) consentPage(id string, app App, user User) answer {
	title := "Install app"
	if app.Unlisted {
		title = "Install unlisted app"
	}
	shown := user.Divisions[:min(5, len(user.Divisions))]
	var names []string
	for _, d := range shown {
		names = append(names, fmt.Sprintf("%s (%d)", d.Description, d.Code))
	}
	companies := cmp.Or(strings.Join(names, ", "), "none")
	if len(shown) < len(user.Divisions) {
		companies += " and more"
	}
	return s.page(http.StatusOK, "consent page", title, consentHTML, map[string]string{
		"app": app.shownName(), "requested-by": cmp.Or(app.RequestedBy, "an unnamed company"),
		"name": cmp.Or(user.FullName, user.UserName), "email": user.Email, "companies": companies, "request": id,
	})
}

func (a App) shownName() string { return cmp.Or(a.Name, a.ClientID) }

func (s *Sim) problemPage(status int, text string) answer {
	return s.page(status, "page with a problem", "This did not work", "<p>${text}</p>\n", map[string]string{"text": text})
}

func (s *Sim) stalePage() answer {
	return s.problemPage(http.StatusBadRequest,
		"This page is no longer in use, or the browser keeps no cookies. Start again from the app.")
}

// page puts content, which is HTML with names of values in it, into the frame of
// all pages.
func (s *Sim) page(status int, outcome Outcome, title, content string, values map[string]string) answer {
	// Exact's own sentences have an apostrophe as it is.
	escape := strings.NewReplacer("&", "&amp;", "<", "&lt;", ">", "&gt;", `"`, "&#34;").Replace
	content = os.Expand(content, func(name string) string { return escape(values[name]) })
	nonce := s.randomText(22)
	body := os.Expand(frameHTML, func(name string) string {
		return map[string]string{"title": title, "region": escape(s.cfg.Region), "nonce": nonce, "content": content}[name]
	})
	a := reply(status, outcome, "text/html; charset=utf-8", []byte(body))
	// No form-action: Chromium applies it to the redirect after a form too, and
	// that goes to the app.
	a.header.Set("Content-Security-Policy", "default-src 'none'; style-src 'nonce-"+nonce+
		"'; base-uri 'none'; frame-ancestors 'none'")
	a.header.Set("Cache-Control", "no-store")
	a.header.Set("Referrer-Policy", "no-referrer")
	a.header.Set("X-Content-Type-Options", "nosniff")
	return a
}
