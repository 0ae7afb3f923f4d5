package exactauth

import (
	"errors"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/exactauth/exactauth/internal/config"
	"github.com/exactauth/exactauth/internal/fault"
)

func TestPreferredLanguage(t *testing.T) {
	for header, want := range map[string]language{
		"":                                      "fallback",
		"nl":                                    dutch,
		"en":                                    english,
		"nl-NL,nl;q=0.9,en-US;q=0.8,en;q=0.7":   dutch,
		"nl-BE":                                 dutch,
		"NL-be":                                 dutch,
		"en-US,en;q=0.9,nl;q=0.8":               english,
		"fr-BE,fr;q=0.9,nl;q=0.8,en;q=0.7":      dutch,
		"fr-BE, fr;q=0.9, en;q=0.7, nl;q=0.8":   dutch,
		"de-DE,de;q=0.9":                        "fallback",
		"*":                                     "fallback",
		"nl;q=0,en;q=0":                         "fallback",
		"nl;q=0,en;q=0.1":                       english,
		"nl;q=0.5,en;q=0.5":                     dutch,
		"nlx,english":                           "fallback",
		"nl;q=much,en":                          english,
		"nl;q=NaN,en;q=-1":                      "fallback",
		";;,,q=1,nl-":                           dutch,
		strings.Repeat(",", 1000) + "en;q=.001": english,
	} {
		if got := preferred(header, "fallback"); got != want {
			t.Errorf("%.60q: %s, want %s", header, got, want)
		}
	}
	for tag, want := range map[string]language{"": english, "nl": dutch, "nl-BE": dutch, "NL": dutch, "de": english, "nln": english} {
		if got := languageNamed(tag); got != want {
			t.Errorf("%q: %s, want %s", tag, got, want)
		}
	}
}

// Every page can be had in both languages, says so, and lets nothing of a
// stranger's become markup. What is English on a Dutch page is marked as such.
func TestPagesInBothLanguages(t *testing.T) {
	evil := Me{UserID: "x", FullName: `Eve <script>alert(1)</script>`, Email: `"e&v@example.test`}
	refused := fault.Wrap(fault.ErrDenied, &RefusedError{"access_denied", "The user <b>said</b> no."}, "sign-in refused")
	pages := map[string]page{
		"not here":      notHere,
		"not like this": notLikeThis,
		"signed in":     signedInPage("acme", evil),
		"nobody known":  signedInPage("acme", Me{}),
		"refused":       outcomePage(config.Settings{Name: "acme"}, Login{}, refused),
		"late":          outcomePage(config.Settings{Name: "acme"}, Login{}, fault.New(fault.ErrDenied, "nobody signed in before the time was over")),
		"taken":         outcomePage(config.Settings{Name: "acme"}, Login{}, fault.Wrap(fault.ErrConfig, &TakenError{"Ann", "Eve <i>"}, "profile acme")),
		"code":          outcomePage(config.Settings{Name: "acme"}, Login{}, fault.Wrap(fault.ErrLoginNeeded, &fault.ServerError{Status: 400, Code: "invalid_grant", Description: "<u>"}, "Exact did not take the code")),
		"client":        outcomePage(config.Settings{Name: "acme"}, Login{}, fault.New(fault.ErrConfig, "client secret")),
		"away":          outcomePage(config.Settings{Name: "acme"}, Login{}, fault.New(fault.ErrTemporary, "cannot reach")),
		"disk":          outcomePage(config.Settings{Name: "acme"}, Login{}, errors.New("no space left on device")),
	}
	reasons := map[string]string{}
	for name, p := range pages {
		en, nl := p.en, p.nl
		for _, pair := range [][2]string{{en.Heading, nl.Heading}, {en.Text, nl.Text}, {en.Next, nl.Next}} {
			if pair[0] == "" || pair[1] == "" || pair[0] == pair[1] {
				t.Errorf("%s: %q in English is %q in Dutch", name, pair[0], pair[1])
			}
		}
		for _, l := range []language{english, dutch} {
			w := httptest.NewRecorder()
			p.write(w, l)
			text := w.Body.String()
			if w.Code != p.status || !strings.Contains(text, `<html lang="`+string(l)+`">`) || strings.Contains(text, "op deze computer") != (l == dutch) {
				t.Errorf("%s in %s: %d %s", name, l, w.Code, text)
			}
			for _, markup := range []string{"<script", "<b>", "<i>", "<u>"} {
				if strings.Contains(text, markup) {
					t.Errorf("%s in %s: %s is markup in\n%s", name, l, markup, text)
				}
			}
			if l == dutch && (nl.Detail != "") != strings.Contains(text, `<p lang="en">`) {
				t.Errorf("%s: what is not Dutch is not marked", name)
			}
		}
		if nl.Detail != "" {
			if other := reasons[nl.Text]; other != "" {
				t.Errorf("%s and %s have the same reason %q", name, other, nl.Text)
			}
			reasons[nl.Text] = name
		}
	}
	if text := pages["refused"].text(dutch); !strings.Contains(text, "access_denied: The user &lt;b&gt;said&lt;/b&gt; no.") {
		t.Errorf("Exact's words are lost:\n%s", text)
	}
}
