package callback

import (
	"html"
	"io"
	"net/http"
	"strings"
)

// Page is what the browser shows, in English and in Dutch.
type Page struct {
	status int
	mark   string // a sign above the heading; optional
	copies bool   // it offers to copy its address, for a sign-in that waits in another terminal
	en, nl words
}

const pageStyle = `
:root { color-scheme: light dark; font: 1rem/1.5 system-ui, sans-serif; }
body { margin: 0; min-height: 100vh; display: grid; place-items: center; background: Canvas; color: CanvasText; }
main { max-width: 34rem; padding: 2rem; }
h1 { font-size: 1.5rem; line-height: 1.25; margin: 0 0 1rem; }
p { margin: 0 0 1rem; overflow-wrap: anywhere; }
.mark { width: 3rem; height: 3rem; line-height: 3rem; border-radius: 50%; text-align: center; font-size: 1.5rem; background: #1a7f37; color: #fff; }
p[lang] { border-left: .25rem solid; padding-left: .75rem; }
code { display: inline-block; font: 1rem/1.5 ui-monospace, monospace; padding: 0 .375rem; border: 1px solid; border-radius: .25rem; }
button { font: inherit; padding: .5rem 1rem; }
footer { font-size: .875rem; opacity: .75; border-top: 1px solid; padding-top: .75rem; margin-top: 1.5rem; }
`

// copyScript copies the page's address, where the page offers it, if it is an answer to
// a sign-in.
const copyScript = `
"use strict";
(function () {
  var button = document.getElementById("copy");
  if (!button || !navigator.clipboard || !/[?&](code|error)=/.test(location.search)) return;
  button.hidden = false;
  button.addEventListener("click", function () {
    navigator.clipboard.writeText(location.href).then(function () { button.textContent = button.dataset.done; });
  });
})();
`

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
	return `<!doctype html>
<html lang="` + string(in) + `">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>` + html.EscapeString(w.heading) + ` · exactauth</title>
<style>` + pageStyle + `</style>
</head>
<body>
<main>
` + above + `<h1>` + html.EscapeString(w.heading) + `</h1>
<p>` + html.EscapeString(w.text) + `</p>
` + below + `<footer>` + footer + `</footer>
</main>
</body>
</html>
`
}

// guard sets the headers of every answer of the listener. The address that led here
// held a code, so nothing may be stored, loaded, framed or passed on. The API proxy
// has headers of its own: it hands on other people's pages, which it sandboxes and
// whose caching is the server's to decide.
func guard(h http.Header) {
	h.Set("Cache-Control", "no-store")
	h.Set("Content-Security-Policy", "default-src 'none'; style-src 'sha256-"+hashOf(pageStyle)+
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
