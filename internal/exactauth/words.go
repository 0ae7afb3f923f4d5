package exactauth

import (
	"errors"
	"net/http"
	"strconv"
	"strings"

	"github.com/exactauth/exactauth/internal/fault"
)

// The words of the pages that the browser shows, in English and in Dutch. What
// the terminal says is English throughout, and so is what servers and this
// program's errors say on a page.
//
// The language is the one that the browser asks for, and only where it asks for
// neither of them the one of the terminal's locale: a page is read by whoever
// sits before the browser, which can run on another machine than exactauth, and
// machines that run scripts have the locale "C" or none.

// language is one that pages can be had in, as it stands in HTML's lang.
type language string

const (
	english language = "en"
	dutch   language = "nl"
)

// languageNamed is the language of a tag such as "nl" or "nl-BE"; English, if
// pages cannot be had in it.
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

// preferred picks the language that an Accept-Language header (RFC 9110, 12.5.4)
// ranks highest, or fallback if it asks for none of ours.
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
		if q > rank { // of equals the first
			best, rank = l, q
		}
	}
	return best
}

// Words is what a page says in one language: what happened, and what to do next.
type Words struct {
	Heading, Text, Next string
	Detail              string // what a server or an error says, in English; optional
}

var notHere = page{http.StatusNotFound,
	Words{
		Heading: "Not the answer to a sign-in",
		Text:    "exactauth waits here for the end of one sign-in, and this address does not belong to it.",
		Next:    "Go back to the terminal and open the address that stands there.",
	},
	Words{
		Heading: "Dit hoort niet bij een aanmelding",
		Text:    "exactauth wacht hier op het einde van één aanmelding, en dit adres hoort daar niet bij.",
		Next:    "Ga terug naar het terminalvenster en open het adres dat daar staat.",
	},
}

var notLikeThis = page{http.StatusMethodNotAllowed,
	Words{
		Heading: "Not like this",
		Text:    "Only a browser that was sent here can finish a sign-in.",
		Next:    "You can close this window.",
	},
	Words{
		Heading: "Zo kan het niet",
		Text:    "Alleen een browser die hierheen is gestuurd, kan een aanmelding afronden.",
		Next:    "U kunt dit venster sluiten.",
	},
}

func signedInPage(profile string, user Me) page {
	en, nl := "Profile "+profile+" is signed in to Exact Online.", "Profiel "+profile+" is aangemeld bij Exact Online."
	if user.UserID != "" {
		en = user.String() + " is signed in to Exact Online, as profile " + profile + "."
		nl = user.String() + " is aangemeld bij Exact Online, met profiel " + profile + "."
	}
	return page{http.StatusOK,
		Words{Heading: "You are signed in", Text: en, Next: "You can close this window and go back to the terminal."},
		Words{Heading: "U bent aangemeld", Text: nl, Next: "U kunt dit venster sluiten en teruggaan naar het terminalvenster."},
	}
}

// deniedPage is for an fault.ErrDenied: Exact, which is to say the person, said no.
func deniedPage(err error) page {
	en := Words{Heading: "Sign-in was refused", Text: sentence(err),
		Next: "Nothing has changed. To try again, go back to the terminal and sign in anew. You can close this window."}
	nl := Words{Heading: "Aanmelding geweigerd", Text: "U bent niet aangemeld.", Detail: sentence(err),
		Next: "Er is niets veranderd. Wilt u het opnieuw proberen, ga dan terug naar het terminalvenster en meld u opnieuw aan. U kunt dit venster sluiten."}
	if refused := (*RefusedError)(nil); errors.As(err, &refused) {
		en.Text = "Exact says: " + sentence(refused)
		nl.Text, nl.Detail = "Exact meldt:", sentence(refused)
	}
	return page{http.StatusOK, en, nl}
}

func failedPage(err error) page {
	return page{http.StatusOK,
		Words{Heading: "Sign-in failed", Text: sentence(err),
			Next: "Go back to the terminal; what to do is said there. You can close this window."},
		Words{Heading: "Aanmelden mislukt", Text: dutchReason(err), Detail: sentence(err),
			Next: "Ga terug naar het terminalvenster; daar staat wat u kunt doen. U kunt dit venster sluiten."},
	}
}

// dutchReason says roughly why a sign-in failed; the error says it exactly.
func dutchReason(err error) string {
	var taken *TakenError
	switch {
	case errors.As(err, &taken):
		return "Dit profiel is van een andere gebruiker of van een andere app. De bestaande aanmelding blijft behouden."
	case errors.Is(err, fault.ErrLoginNeeded):
		return "Exact heeft de code van deze aanmelding niet aangenomen. Zo'n code is 3 minuten geldig en werkt één keer."
	case errors.Is(err, fault.ErrConfig):
		return "De instellingen van dit profiel kloppen niet."
	case errors.Is(err, fault.ErrTemporary):
		return "Exact gaf geen bruikbaar antwoord."
	}
	return "De aanmelding kon niet worden bewaard."
}

// sentence is an error as it stands on a page.
func sentence(err error) string { return strings.TrimRight(fault.Printable(err.Error()), ".") + "." }
