package callback

import (
	"net/http"
	"strconv"
	"strings"

	"github.com/exactauth/exactauth/internal/fault"
)

// Pages are in English and in Dutch. The terminal is in English throughout, and so
// are errors on a page, whether the server's or this program's.
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
	detail              string // an error in English, on a Dutch page; optional
}

var notHere = Page{http.StatusNotFound,
	words{
		heading: "Not the answer to a sign-in",
		text:    "exactauth is waiting here for the end of one sign-in, and this address does not belong to it.",
		next:    "Go back to the terminal and open the address that is shown there.",
	},
	words{
		heading: "Dit hoort niet bij een aanmelding",
		text:    "exactauth wacht hier op het einde van één aanmelding, en dit adres hoort daar niet bij.",
		next:    "Ga terug naar het terminalvenster en open het adres dat daar staat.",
	},
}

var wrongMethod = Page{http.StatusMethodNotAllowed,
	words{
		heading: "Request not allowed",
		text:    "Only a browser that was redirected here can finish a sign-in.",
		next:    "You can close this window.",
	},
	words{
		heading: "Verzoek niet toegestaan",
		text:    "Alleen een browser die hierheen is doorgestuurd, kan een aanmelding afronden.",
		next:    "U kunt dit venster sluiten.",
	},
}

// SignedIn is the last page of a sign-in that succeeded. The texts say who signed in.
func SignedIn(en, nl string) Page {
	return Page{http.StatusOK,
		words{heading: "You are signed in", text: fault.Printable(en), next: "You can close this window and go back to the terminal."},
		words{heading: "U bent aangemeld", text: fault.Printable(nl), next: "U kunt dit venster sluiten en teruggaan naar het terminalvenster."},
	}
}

// Refused is the last page of a sign-in that a server, named for people, refused.
func Refused(server string, err *RefusedError) Page {
	return Page{http.StatusOK,
		words{heading: "Sign-in was refused", text: server + " says: " + sentence(err),
			next: "Nothing has changed. To try again, go back to the terminal and start a new sign-in. You can close this window."},
		words{heading: "Aanmelding geweigerd", text: server + " meldt:", detail: sentence(err),
			next: "Er is niets veranderd. Wilt u het opnieuw proberen, ga dan terug naar het terminalvenster en meld u opnieuw aan. U kunt dit venster sluiten."},
	}
}

// Failed is the last page of a sign-in that failed. The reason says in Dutch roughly
// what err says exactly.
func Failed(reason string, err error) Page {
	return Page{http.StatusOK,
		words{heading: "Sign-in failed", text: sentence(err),
			next: "Go back to the terminal, which shows what to do. You can close this window."},
		words{heading: "Aanmelden mislukt", text: reason, detail: sentence(err),
			next: "Ga terug naar het terminalvenster; daar staat wat u kunt doen. U kunt dit venster sluiten."},
	}
}

// sentence is an error as a page shows it.
func sentence(err error) string { return strings.TrimRight(fault.Printable(err.Error()), ".") + "." }
