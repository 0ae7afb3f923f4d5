package exactauth

import (
	"html/template"
	"net/http"
	"sync"
)

// page is what the browser shows at the end: what happened, and what to do next.
type page struct {
	Status int
	Title  string
	Text   string
	Next   string
}

const pageStyle = `
:root { color-scheme: light dark; font: 1rem/1.5 system-ui, sans-serif; }
body { margin: 0; min-height: 100vh; display: grid; place-items: center; background: Canvas; color: CanvasText; }
main { max-width: 34rem; padding: 2rem; }
h1 { font-size: 1.5rem; line-height: 1.25; margin: 0 0 1rem; }
p { margin: 0 0 1rem; overflow-wrap: anywhere; }
footer { font-size: .875rem; opacity: .75; border-top: 1px solid; padding-top: .75rem; margin-top: 1.5rem; }
`

var pageTemplate = sync.OnceValue(func() *template.Template {
	return template.Must(template.New("page").Parse(`<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{{.Title}} · exactauth</title>
<style>` + pageStyle + `</style>
</head>
<body>
<main>
<h1>{{.Title}}</h1>
<p>{{.Text}}</p>
<p>{{.Next}}</p>
<footer>exactauth, on this computer</footer>
</main>
</body>
</html>
`))
})

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

func (p page) write(w http.ResponseWriter) {
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	w.WriteHeader(p.Status)
	// The person may have closed the window; nobody is left to tell.
	_ = pageTemplate().Execute(w, p)
}
