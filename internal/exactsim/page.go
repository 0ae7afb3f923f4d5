package exactsim

import (
	_ "embed"
	"fmt"
	"html"
	"net/http"
	"os"
	"strings"
)

// Pages are put together by hand, in two places only: between tags and in quoted
// attributes. With html/template linked, the linker can leave out no method of
// any type, which makes the program that has the simulator in it a fifth larger.

//go:embed page.html
var pageFrame string

func (s *Sim) signInPage(status int, id string, app App, email, problem string) answer {
	told, emailFocus, passwordFocus := "", " autofocus", ""
	switch {
	case problem != "":
		told = `<p class="problem" id="problem" role="alert">` + html.EscapeString(problem) + "</p>\n"
		emailFocus = ` autofocus aria-invalid="true" aria-describedby="problem"`
	case email != "":
		emailFocus, passwordFocus = "", " autofocus"
	}
	return s.page(status, SignInShown, "Sign in", fmt.Sprintf(`<p>to continue to <strong>%s</strong></p>
<form method="post" action="/sandbox/sign-in">
<input type="hidden" name="request" value="%s">
%s<label for="email">E-mail address</label>
<input id="email" name="email" type="email" value="%s" autocomplete="off" spellcheck="false" required%s>
<label for="password">Password</label>
<input id="password" name="password" type="password" autocomplete="off" aria-describedby="any"%s>
<p class="quiet" id="any">Any password will do, even none. Do not type a real one.</p>
<div class="buttons"><button type="submit">Sign in</button></div>
</form>
`, html.EscapeString(app.shownName()), html.EscapeString(id), told, html.EscapeString(email), emailFocus, passwordFocus))
}

func (s *Sim) consentPage(id string, app App, user User) answer {
	title := "Install app"
	if app.Unlisted {
		title = "Install unlisted app"
	}
	requestedBy, email := "", ""
	if app.RequestedBy != "" {
		requestedBy = `<br>
<span class="quiet">requested by ` + html.EscapeString(app.RequestedBy) + "</span>"
	}
	name := user.FullName
	if name == "" {
		name = user.UserName
	}
	if user.Email != "" {
		email = ` <span class="quiet">(` + html.EscapeString(user.Email) + ")</span>"
	}
	return s.page(http.StatusOK, ConsentShown, title, fmt.Sprintf(`<p><strong>%s</strong>%s</p>
<p>You are signed in as <strong>%s</strong>%s.</p>
<h2>The app will be able to</h2>
<ul>
<li>see who you are</li>
<li>read and change the data of your companies%s</li>
<li>keep that access until you revoke it</li>
</ul>
<form method="post" action="/sandbox/consent">
<input type="hidden" name="request" value="%s">
<div class="buttons"><button type="submit" name="answer" value="allow" autofocus>Allow</button>
<button type="submit" name="answer" value="cancel" class="second">Cancel</button></div>
</form>
`, html.EscapeString(app.shownName()), requestedBy, html.EscapeString(name), email, companies(user.Divisions), html.EscapeString(id)))
}

// companies names the first few divisions, as text to follow "companies".
func companies(divisions []Division) string {
	const shown = 5
	if len(divisions) == 0 {
		return ""
	}
	var names []string
	for _, d := range divisions[:min(shown, len(divisions))] {
		names = append(names, html.EscapeString(fmt.Sprintf("%s (%d)", d.Description, d.Code)))
	}
	more := ""
	if len(divisions) > shown {
		more = " and more"
	}
	return ":\n" + `<span class="quiet">` + strings.Join(names, ", ") + more + "</span>"
}

func (a App) shownName() string {
	if a.Name != "" {
		return a.Name
	}
	return a.ClientID
}

func (s *Sim) message(status int, text string) answer {
	return s.refusal("message", status, text)
}

// refusal shows one sentence. Exact's own are known for an unknown client and a
// wrong callback (picqer/exact-php-client#617, #488).
func (s *Sim) refusal(name string, status int, text string) answer {
	text = html.EscapeString(text)
	switch name {
	case "unknown-client":
		text = "Client with identifier '" + text + "' not found."
	case "wrong-callback":
		text = "Callback URI '" + text + "' is not valid"
	}
	return s.page(status, ProblemShown, "This did not work", "<p>"+text+"</p>\n")
}

func (s *Sim) stalePage() answer {
	return s.message(http.StatusBadRequest,
		"This page is no longer in use, or the browser keeps no cookies. Start again from the app.")
}

// page puts content, which is HTML, into the frame that all pages share.
func (s *Sim) page(status int, outcome Outcome, title, content string) answer {
	nonce := randomText(22)
	body := os.Expand(pageFrame, func(place string) string {
		return map[string]string{
			"title": html.EscapeString(title), "region": html.EscapeString(s.cfg.Region), "nonce": nonce, "content": content,
		}[place]
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
