package exactauth_test

import (
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/chromedp/chromedp"

	"github.com/exactauth/exactauth/internal/config"
	"github.com/exactauth/exactauth/internal/exactauth"
	"github.com/exactauth/exactauth/internal/exactsim"
)

// The browser's languages decide, and the locale where they are none of ours.
func TestLoginPageSpeaksTheBrowsersLanguage(t *testing.T) {
	const en, nl = `<html lang="en">`, `<html lang="nl">`
	for _, test := range []struct{ locale, header, want string }{
		{"", "", en},
		{"nl", "", nl},
		{"nl", "en-US,en;q=0.9", en},
		{"en", "nl-NL,nl;q=0.9,en;q=0.8", nl},
		{"nl", "de", nl},
		{"", "de", en},
	} {
		t.Run(fmt.Sprintf("locale %s, browser %s", test.locale, test.header), func(t *testing.T) {
			w := newWorld(t, exactLife, exactsim.Config{})
			s := w.sit(t.Context(), w.onLoopback(loopback), exactauth.LoginOptions{Language: test.locale})
			b := browser{t: t, follow: true, header: http.Header{}}
			if test.header != "" {
				b.header.Set("Accept-Language", test.header)
			}
			stray, err := b.open(http.MethodGet, "http://127.0.0.1:"+s.Port+"/elsewhere")
			if err != nil || !strings.Contains(stray.body, test.want) {
				t.Errorf("a stray request: %v\n%s", err, stray.body)
			}
			last, err := b.open(http.MethodGet, s.URL)
			s.succeeds()
			if err != nil || !strings.Contains(last.body, test.want) || !strings.Contains(last.body, "Anna de Vries") {
				t.Errorf("the last page: %v\n%s", err, last.body)
			}
			checkGuarded(t, last)
		})
	}
}

// A Dutch Chromium gets Dutch pages, with the words of Exact as they are.
func TestChromiumReadsDutch(t *testing.T) {
	relay, flags := relayHost(t)
	ctx := chromium(t, append(flags, chromedp.Flag("accept-lang", "nl-NL,nl,en"), chromedp.Flag("lang", "nl-NL"))...)
	is := func(heading, text string, want ...string) {
		t.Helper()
		if got := read(t, ctx, chromedp.Evaluate[string](`document.documentElement.lang`)); got != "nl" {
			t.Errorf("%q: the page's language is %q", heading, got)
		}
		if heading != want[0] {
			t.Errorf("heading %q, want %q", heading, want[0])
		}
		for _, w := range want[1:] {
			if !strings.Contains(text, w) {
				t.Errorf("%q: %q lacks %q", heading, text, w)
			}
		}
	}
	login := func(name, button string, conf exactsim.Config, want ...string) {
		t.Helper()
		g := startLogin(t, config.Settings{RedirectURI: "http://127.0.0.1:" + freePort(t) + "/callback"}, conf)
		signIn(t, ctx, g.address)
		press(t, ctx, button)
		_, heading, text := final(t, ctx)
		shot(t, ctx, name)
		<-g.done
		is(heading, text, want...)
	}
	login("nl-signed-in", "allow", exactsim.Config{}, "U bent aangemeld", "Anna de Vries <anna@voorbeeld.example> is aangemeld", "venster sluiten", "op deze computer")
	login("nl-refused", "cancel", exactsim.Config{}, "Aanmelding geweigerd", "meldt", "access_denied", "opnieuw")
	login("nl-expired", "allow", exactsim.Config{CodeLife: time.Nanosecond}, "Aanmelden mislukt", "3 minuten geldig", "HTTP 400", "terminalvenster")

	if err := chromedp.Do(ctx, chromedp.Navigate(relay), chromedp.WaitReady(`#title`)); err != nil {
		t.Fatal(err)
	}
	shot(t, ctx, "nl-relay")
	is(read(t, ctx, chromedp.Text(`h1`)), read(t, ctx, chromedp.Text(`main`)), "Terug naar exactauth", "adresbalk")
}
