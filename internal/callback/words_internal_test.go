package callback

import (
	"errors"
	"net/http/httptest"
	"strings"
	"testing"
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

// Every page is in both languages, names its language, and escapes text from
// elsewhere. A Dutch page has no English but a server's own words, marked as English.
func TestPagesInBothLanguages(t *testing.T) {
	pages := map[string]Page{
		"not here":     notHere,
		"wrong method": wrongMethod,
		"signed in":    SignedIn(`Eve <script>alert(1)</script> is signed in.`, `Eve <script>alert(1)</script> is aangemeld.`, ""),
		"with command": SignedIn("Eve is signed in.", "Eve is aangemeld.", "exactauth token <b>"),
		"cancelled":    Refused("Exact", &RefusedError{Code: "access_denied"}),
		"refused":      Refused("Exact", &RefusedError{"invalid_request", "The user <b>said</b> no."}),
		"failed":       Failed("Het <i>ging</i> niet.", errors.New("no <u>space</u> left on device")),
	}
	for name, p := range pages {
		en, nl := p.en, p.nl
		for _, pair := range [][2]string{{en.heading, nl.heading}, {en.text, nl.text}, {en.next, nl.next}} {
			if pair[0] == "" || pair[1] == "" || pair[0] == pair[1] {
				t.Errorf("%s: %q in English is %q in Dutch", name, pair[0], pair[1])
			}
		}
		for _, l := range []language{english, dutch} {
			w := httptest.NewRecorder()
			p.write(w, l)
			text := strings.ReplaceAll(w.Body.String(), "<script>"+copyScript, "")
			if w.Code != p.status || !strings.Contains(text, `<html lang="`+string(l)+`">`) || strings.Contains(text, "op deze computer") != (l == dutch) {
				t.Errorf("%s in %s: %d %s", name, l, w.Code, text)
			}
			for _, markup := range []string{"<script", "<b>", "<i>", "<u>"} {
				if strings.Contains(text, markup) {
					t.Errorf("%s in %s: %s is markup in\n%s", name, l, markup, text)
				}
			}
			if (nl.quote != "") != strings.Contains(text, `<p lang="en">`) || l == dutch && strings.Contains(text, "left on device") {
				t.Errorf("%s: English text on a Dutch page, or it is not marked:\n%s", name, text)
			}
		}
	}
	for _, l := range []language{english, dutch} {
		if text := pages["with command"].html(l); !strings.Contains(text, "<code>exactauth token &lt;b&gt;</code>") {
			t.Errorf("what to type next is missing:\n%s", text)
		}
		if text := pages["cancelled"].html(l); strings.Contains(text, "access_denied") {
			t.Errorf("a person who cancelled reads:\n%s", text)
		}
		if text := pages["refused"].html(l); !strings.Contains(text, "invalid_request: The user &lt;b&gt;said&lt;/b&gt; no.") {
			t.Errorf("the server's words are missing:\n%s", text)
		}
	}
}
