package exactapi_test

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/chromedp/chromedp"

	"github.com/exactauth/exactauth/internal/exactapi"
	"github.com/exactauth/exactauth/tools/chromiumtest"
)

// attack is a page that knows the secret and tries every way in which a page can
// send a request. It sets data-over when all requests have ended.
const attack = `<!DOCTYPE html><title>waits</title><body><script>
const u = %q + "/api/v1/current/Me?way=";
const ended = p => p.then(r => r.type == "opaque" ? "opaque" : r.text(), e => "refused");
const element = (tag, set) => new Promise(done => {
  const e = document.createElement(tag);
  e.onload = () => done(tag + " loaded"); e.onerror = () => done(tag + " failed");
  set(e); document.body.append(e); setTimeout(done, 2000, tag + " nothing");
});
const form = method => { const f = document.createElement("form"); f.method = method; f.action = u + "form-" + method; f.target = "frame";
  document.body.append(f); f.submit(); return new Promise(done => setTimeout(done, 500, "form")); };
Promise.all([
  ended(fetch(u + "cors")),
  ended(fetch(u + "no-cors", {mode: "no-cors"})),
  ended(fetch(u + "post", {mode: "no-cors", method: "POST", body: "{}"})),
  ended(fetch(u + "put", {method: "PUT", body: "{}"})),
  ended(fetch(u + "header", {headers: {Authorization: "Bearer x"}})),
  ended(fetch(u + "credentials", {credentials: "include"})),
  element("img", e => e.src = u + "img"),
  element("script", e => e.src = u + "script"),
  element("link", e => { e.rel = "stylesheet"; e.href = u + "style"; }),
  element("iframe", e => { e.name = "frame"; e.src = u + "iframe"; }),
  element("video", e => e.src = u + "video"),
  form("GET"), form("POST"),
  Promise.resolve(navigator.sendBeacon(u + "beacon", "x")),
]).then(all => { document.body.dataset.seen = all.join(" | "); document.body.dataset.over = "1"; });
</script>`

// A real browser decides about origins, preflights and headers.
func TestChromiumPagesGetNothing(t *testing.T) {
	upstream := newEcho(t, func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/html")
		w.Header().Set("Access-Control-Allow-Origin", "*")
		fmt.Fprint(w, `<title>the books</title><body>the books<script>document.title = "a script ran"</script>`)
	})
	s := serve(t, exactapi.TransportConfig{BaseURL: upstream.URL})
	page := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/html")
		fmt.Fprintf(w, attack, s.url(""))
	}))
	defer page.Close()
	_, port, _ := strings.Cut(strings.TrimPrefix(s.origin, "http://"), ":")
	ctx := chromiumtest.Start(t, 90*time.Second, chromedp.Flag("host-resolver-rules", "MAP evil.example 127.0.0.1"))

	var title, seen, text string
	for _, from := range []string{page.URL, strings.Replace(page.URL, "127.0.0.1", "localhost", 1), strings.Replace(page.URL, "127.0.0.1", "evil.example", 1)} {
		err := chromedp.Do(ctx, chromedp.Navigate(from), chromedp.WaitVisible(`body[data-over]`))
		if err == nil {
			seen, err = chromedp.Run(ctx, chromedp.Evaluate[string](`document.body.dataset.seen`))
		}
		if err != nil {
			t.Fatal(err)
		}
		if strings.Contains(seen, "books") || strings.Contains(seen, "script loaded") {
			t.Errorf("a page of %s saw %s", from, seen)
		}
		t.Logf("a page of %s saw %s", from, seen)
	}
	// A stranger's name that has just been changed to resolve to this machine.
	rebound := "http://evil.example:" + port + "/" + s.secret + "/api/v1/current/Me"
	err := chromedp.Do(ctx, chromedp.Navigate(rebound))
	if err == nil {
		text, err = chromedp.Run(ctx, chromedp.Evaluate[string](`document.body.innerText`))
	}
	if err != nil || !strings.Contains(text, `"code":"host"`) {
		t.Errorf("a rebound name shows %q, %v", text, err)
	}
	if n := upstream.requests(); len(n) > 0 {
		t.Errorf("%d requests came through, the first for %s", len(n), n[0].URL)
	}
	if n := strings.Count(s.log.String(), "refused=cross_site"); n < 20 {
		t.Errorf("the browser let only %d requests out, so the proxy had little to refuse", n)
	} else {
		t.Logf("refused %d requests of pages", n)
	}
	// A person may open an address, but no script of Exact's page runs there.
	err = chromedp.Do(ctx, chromedp.Navigate("about:blank"), chromedp.Navigate(s.url("/docs/page")))
	if err == nil {
		title, err = chromedp.Run(ctx, chromedp.Title())
	}
	if err != nil || title != "the books" || len(upstream.requests()) == 0 {
		t.Errorf("typed by a person: title %q, %v", title, err)
	}
}
