package callback

import (
	"crypto/sha256"
	_ "embed"
	"encoding/base64"
	"html"
	"io"
	"net/http"
	"os"
	"strings"
)

// Page is what the browser shows, in English and in Dutch.
type Page struct {
	status int
	mark   string // a sign above the heading; optional
	copies bool   // it offers to copy its address, for a sign-in that waits in another terminal
	en, nl words
}

var (
	//go:embed page.html
	pageHTML string
	// copyScript copies the page's address, where the page offers it, if it is an answer
	// to a sign-in.
	//go:embed page.js
	copyScript string
	//go:embed relay.html
	relayHTML string
)

// html returns the page's HTML. It is put together by hand, with text between tags
// only: html/template calls methods by name, so with it the linker must keep every
// method of every type, which makes the program a fifth larger and slower to start.
func (p Page) html(in language) string {
	w, footer, copy := p.en, "exactauth, on this computer", [2]string{"Copy this page's address", "Copied"}
	if in == dutch {
		w, footer, copy = p.nl, "exactauth, op deze computer", [2]string{"Het adres van deze pagina kopiëren", "Gekopieerd"}
	}
	above, below := "", ""
	if p.mark != "" {
		above = `<p class="mark" aria-hidden="true">` + p.mark + "</p>\n"
	}
	if w.quote != "" {
		below = `<p lang="en">` + html.EscapeString(w.quote) + "</p>\n"
	}
	next := html.EscapeString(w.next)
	if before, after, found := strings.Cut(next, "COMMAND"); found {
		next = before + "<code>" + html.EscapeString(w.command) + "</code>" + after
	}
	below += "<p>" + next + "</p>\n"
	if p.copies {
		below += `<p><button id="copy" hidden data-done="` + copy[1] + `">` + copy[0] + "</button></p>\n<script>" + copyScript + "</script>\n"
	}
	values := map[string]string{"lang": string(in), "heading": html.EscapeString(w.heading), "text": html.EscapeString(w.text),
		"above": above, "below": below, "footer": footer}
	return os.Expand(pageHTML, func(name string) string { return values[name] })
}

// guard sets the headers of every answer of the listener. The address that led here
// held a code, so nothing may be stored, loaded, framed or passed on. The API proxy
// has headers of its own: it hands on other people's pages, which it sandboxes and
// whose caching is the server's to decide.
func guard(h http.Header) {
	h.Set("Cache-Control", "no-store")
	h.Set("Content-Security-Policy", "default-src 'none'; style-src 'sha256-"+hashOf(between(pageHTML, "<style>", "</style>"))+
		"'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'")
	h.Set("Referrer-Policy", "no-referrer")
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Cross-Origin-Opener-Policy", "same-origin")
}

func (p Page) write(w http.ResponseWriter, in language) {
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	if p.copies {
		w.Header().Set("Content-Security-Policy", w.Header().Get("Content-Security-Policy")+"; script-src 'sha256-"+hashOf(copyScript)+"'")
	}
	w.WriteHeader(p.status)
	_, _ = io.WriteString(w, p.html(in)) // the person may have closed the window
}

// RelayPage returns a static page for a registered https redirect URI of the user's
// own. The page sends the browser on to the port of 127.0.0.1 that the state begins
// with, and nowhere else whatever the query says. Its policy allows its one script
// and one style by their hashes and forbids everything else. A page's own policy
// cannot forbid framing, only its server can, so the script checks for a frame.
func RelayPage() string {
	return strings.NewReplacer(
		"{{script}}", hashOf(between(relayHTML, "<script>", "</script>")),
		"{{style}}", hashOf(between(relayHTML, "<style>", "</style>")),
	).Replace(relayHTML)
}

// hashOf returns the hash of a script or style for a content security policy.
func hashOf(text string) string {
	sum := sha256.Sum256([]byte(text))
	return base64.StdEncoding.EncodeToString(sum[:])
}

func between(s, before, after string) string {
	_, s, _ = strings.Cut(s, before)
	s, _, _ = strings.Cut(s, after)
	return s
}
