package exactauth

import (
	"html"
	"io"
	"net/http"
)

// page is what the browser shows at the end, in both languages.
type page struct {
	status int
	en, nl Words
}

const pageStyle = `
:root { color-scheme: light dark; font: 1rem/1.5 system-ui, sans-serif; }
body { margin: 0; min-height: 100vh; display: grid; place-items: center; background: Canvas; color: CanvasText; }
main { max-width: 34rem; padding: 2rem; }
h1 { font-size: 1.5rem; line-height: 1.25; margin: 0 0 1rem; }
p { margin: 0 0 1rem; overflow-wrap: anywhere; }
footer { font-size: .875rem; opacity: .75; border-top: 1px solid; padding-top: .75rem; margin-top: 1.5rem; }
`

// text is the page's HTML. It is put together by hand, between tags only: with
// html/template linked, the linker can leave out no method of any type, which
// makes the program a fifth larger and each start of it slower.
func (p page) text(in language) string {
	w, footer, detail := p.en, "exactauth, on this computer", ""
	if in == dutch {
		w, footer = p.nl, "exactauth, op deze computer"
	}
	if w.Detail != "" { // which nobody has translated
		detail = `<p lang="en">` + html.EscapeString(w.Detail) + "</p>\n"
	}
	return `<!doctype html>
<html lang="` + string(in) + `">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>` + html.EscapeString(w.Heading) + ` · exactauth</title>
<style>` + pageStyle + `</style>
</head>
<body>
<main>
<h1>` + html.EscapeString(w.Heading) + `</h1>
<p>` + html.EscapeString(w.Text) + `</p>
` + detail + `<p>` + html.EscapeString(w.Next) + `</p>
<footer>` + footer + `</footer>
</main>
</body>
</html>
`
}

// guard sets what every answer of the listener carries: nothing may be kept,
// loaded, framed or passed on, since the address that led here held a code.
func guard(h http.Header) {
	h.Set("Cache-Control", "no-store")
	h.Set("Content-Security-Policy", "default-src 'none'; style-src 'sha256-"+hashOf(pageStyle)+
		"'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'")
	h.Set("Referrer-Policy", "no-referrer")
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Cross-Origin-Opener-Policy", "same-origin")
}

func (p page) write(w http.ResponseWriter, in language) {
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	w.WriteHeader(p.status)
	// The person may have closed the window; nobody is left to tell.
	_, _ = io.WriteString(w, p.text(in))
}
