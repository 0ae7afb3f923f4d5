package callback

import (
	"html"
	"io"
	"net/http"
)

// Page is what the browser shows, in English and in Dutch.
type Page struct {
	status int
	en, nl words
}

const pageStyle = `
:root { color-scheme: light dark; font: 1rem/1.5 system-ui, sans-serif; }
body { margin: 0; min-height: 100vh; display: grid; place-items: center; background: Canvas; color: CanvasText; }
main { max-width: 34rem; padding: 2rem; }
h1 { font-size: 1.5rem; line-height: 1.25; margin: 0 0 1rem; }
p { margin: 0 0 1rem; overflow-wrap: anywhere; }
footer { font-size: .875rem; opacity: .75; border-top: 1px solid; padding-top: .75rem; margin-top: 1.5rem; }
`

// html returns the page's HTML. It is put together by hand, with text between tags
// only: html/template calls methods by name, so with it the linker must keep every
// method of every type, which makes the program a fifth larger and slower to start.
func (p Page) html(in language) string {
	w, footer, detail := p.en, "exactauth, on this computer", ""
	if in == dutch {
		w, footer = p.nl, "exactauth, op deze computer"
	}
	if w.detail != "" {
		detail = `<p lang="en">` + html.EscapeString(w.detail) + "</p>\n"
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
<h1>` + html.EscapeString(w.heading) + `</h1>
<p>` + html.EscapeString(w.text) + `</p>
` + detail + `<p>` + html.EscapeString(w.next) + `</p>
<footer>` + footer + `</footer>
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
	w.WriteHeader(p.status)
	_, _ = io.WriteString(w, p.html(in)) // the person may have closed the window
}
