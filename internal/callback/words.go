package callback

import (
	"net/http"
	"strconv"
	"strings"

	"github.com/exactauth/exactauth/internal/fault"
)

// Pages are in English and in Dutch. The terminal is in English throughout: a Dutch page
// says roughly what went wrong, and that the terminal says it exactly. A server's own
// words stay as they are.
//
// A page is in the language that the browser asks for, since the browser can run on
// another machine than exactauth, and machines that run scripts have the locale "C"
// or none. The terminal's locale decides only if the browser asks for neither.

// language is a language of pages, as HTML's lang attribute names it.
type language string

const (
	english language = "en"
	dutch   language = "nl"
)

// languageNamed returns the language of a tag such as "nl" or "nl-BE": Dutch, or
// English for every other tag.
func languageNamed(tag string) language {
	if l := language(primary(tag)); l == dutch {
		return l
	}
	return english
}

func primary(tag string) string {
	first, _, _ := strings.Cut(strings.ToLower(strings.TrimSpace(tag)), "-")
	return first
}

// preferred returns the language that an Accept-Language header (RFC 9110, 12.5.4)
// ranks highest, or fallback if it names neither.
func preferred(header string, fallback language) language {
	best, rank := fallback, 0.0
	for part := range strings.SplitSeq(header, ",") {
		tag, parameters, _ := strings.Cut(part, ";")
		l := language(primary(tag))
		if l != english && l != dutch {
			continue
		}
		q := 1.0
		if value, ok := strings.CutPrefix(strings.TrimSpace(parameters), "q="); ok {
			var err error
			if q, err = strconv.ParseFloat(value, 64); err != nil {
				continue
			}
		}
		if q > rank { // the first of equals
			best, rank = l, q
		}
	}
	return best
}

// words are a page's text in one language: what happened, and what to do next.
type words struct {
	heading, text, next string
	quote               string // what a server said; optional
	command             string // what next calls COMMAND
}

var notHere = Page{
	status: http.StatusNotFound,
	copies: true,
	en: words{
		heading: "Not the answer to this sign-in",
		text:    "exactauth is waiting here for the end of one sign-in, and this address does not belong to it.",
		next:    "Go back to the terminal and open the address that is shown there. If a sign-in waits in another terminal, paste the address of this page there.",
	},
	nl: words{
		heading: "Dit hoort niet bij deze aanmelding",
		text:    "exactauth wacht hier op het einde van één aanmelding, en dit adres hoort daar niet bij.",
		next:    "Ga terug naar het terminalvenster en open het adres dat daar staat. Wacht er een aanmelding in een ander terminalvenster, plak daar dan het adres van deze pagina.",
	},
}

var wrongMethod = Page{
	status: http.StatusMethodNotAllowed,
	en: words{
		heading: "Request not allowed",
		text:    "Only a browser that was redirected here can finish a sign-in.",
		next:    "You can close this window.",
	},
	nl: words{
		heading: "Verzoek niet toegestaan",
		text:    "Alleen een browser die hierheen is doorgestuurd, kan een aanmelding afronden.",
		next:    "U kunt dit venster sluiten.",
	},
}

// SignedIn is the last page of a sign-in that succeeded. The texts say who signed in,
// and command is what to type next; it is optional.
func SignedIn(en, nl, command string) Page {
	p := Page{
		status: http.StatusOK,
		mark:   "✓",
		en:     words{heading: "You are signed in", text: fault.Printable(en), next: "You can close this window and go back to the terminal."},
		nl:     words{heading: "U bent aangemeld", text: fault.Printable(nl), next: "U kunt dit venster sluiten en teruggaan naar het terminalvenster."},
	}
	if command != "" {
		p.en.next, p.en.command = "You can close this window. For a token, type COMMAND in the terminal.", command
		p.nl.next, p.nl.command = "U kunt dit venster sluiten. Voor een token typt u COMMAND in het terminalvenster.", command
	}
	return p
}

// Refused is the last page of a sign-in that a server, named for people, refused.
func Refused(server string, err *RefusedError) Page {
	p := Page{
		status: http.StatusOK,
		en: words{heading: "Sign-in was refused", text: server + " says:", quote: sentence(err),
			next: "Nothing has changed. To try again, go back to the terminal and start a new sign-in. You can close this window."},
		nl: words{heading: "Aanmelding geweigerd", text: server + " meldt:", quote: sentence(err),
			next: "Er is niets veranderd. Wilt u het opnieuw proberen, ga dan terug naar het terminalvenster en meld u opnieuw aan. U kunt dit venster sluiten."},
	}
	if err.Cancelled() {
		p.en.heading, p.nl.heading = "Sign-in was cancelled", "Aanmelding geannuleerd"
		p.en.quote = err.Description
		if p.en.quote == "" {
			p.en.text, p.nl.text = "You cancelled it at "+server+".", "U hebt de aanmelding bij "+server+" geannuleerd."
		}
		p.nl.quote = p.en.quote
	}
	return p
}

// Failed is the last page of a sign-in that failed. The reason says in Dutch roughly
// what err says exactly.
func Failed(reason string, err error) Page {
	return Page{
		status: http.StatusOK,
		en: words{heading: "Sign-in failed", text: sentence(err),
			next: "Go back to the terminal, which shows what to do. You can close this window."},
		nl: words{heading: "Aanmelden mislukt", text: reason,
			next: "Ga terug naar het terminalvenster; daar staat wat er precies misging en wat u kunt doen. U kunt dit venster sluiten."},
	}
}

func sentence(err error) string { return strings.TrimRight(fault.Printable(err.Error()), ".") + "." }
