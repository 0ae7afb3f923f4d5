package exactauth_test

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/exactauth/exactauth/internal/exactauth"
	"github.com/exactauth/exactauth/internal/exactsim"
	"github.com/exactauth/exactauth/internal/fault"
)

func TestParseForeign(t *testing.T) {
	refresh, access := "stampNL001.AbCd!"+strings.Repeat("R", 40), "stampNL001."+strings.Repeat("A", 40)
	php := func(s string) string { return fmt.Sprintf(`s:%d:"%s";`, len(s), s) }
	const guid = "5f3b1c1e-7c0e-4d0a-9b1f-0a6d6f0e2c11"
	for name, c := range map[string]struct {
		text    string
		access  bool
		expires int64
		life    time.Duration
		client  string
	}{
		"the token alone":      {text: refresh},
		"a line":               {text: "\n  " + refresh + "\r\n"},
		"picqer's example":     {text: `{"authorizationcode":"x","accesstoken":"` + access + `","refreshtoken":"` + refresh + `","expires_in":1790000000}`, access: true, expires: 1790000000},
		"picqer before 2020":   {text: `{"accesstoken":` + fmt.Sprintf("%q", php(access)) + `,"refreshtoken":"` + refresh + `","expires_in":"1790000000"}`, access: true, expires: 1790000000},
		"websmurf":             {text: `{"exact_accessToken":` + fmt.Sprintf("%q", php(access)) + `,"exact_refreshToken":"` + refresh + `","exact_tokenExpires":1790000000}`, access: true, expires: 1790000000},
		"PHP's array":          {text: "a:3:{" + php("accessToken") + php(access) + php("refreshToken") + php(refresh) + php("tokenExpires") + "i:1790000000;}\n", access: true, expires: 1790000000},
		"PHP's object":         {text: `O:8:"stdClass":2:{` + php("\x00*\x00refreshToken") + php(refresh) + php("old") + "N;}"},
		"x/oauth2":             {text: `{"access_token":"` + access + `","token_type":"bearer","refresh_token":"` + refresh + `","expiry":"2026-09-21T14:13:20Z"}`, access: true, expires: 1790000000},
		"the endpoint's reply": {text: `{"access_token":"` + access + `","expires_in":"600","refresh_token":"` + refresh + `"}`, access: true, life: 600 * time.Second},
		"a connector": {text: `[{"provider":"exact-online","credentials":{"refresh_token":"` + refresh + `","expires_at":1790000000000,"refresh_token_expires_at":1},"config":{"client_id":"{` + guid + `}"}}]`,
			expires: 1790000000, client: guid},
		"a secret in a secret": {text: `{"Name":"x","SecretString":"{\"refresh_token\":\"` + refresh + `\"}"}`},
		"an ini file":          {text: "[application]\nclient_id = " + guid + "\n[transient]\naccess_expiry = 1790000000\naccess_token = " + access + "\nrefresh_token = " + refresh + "\n", access: true, expires: 1790000000, client: guid},
		"an env file":          {text: "export EXACT_REFRESH_TOKEN='" + refresh + "'\n"},
		"YAML":                 {text: "exact:\n  refreshToken: \"" + refresh + "\"\n"},
		"a PHP file":           {text: "<?php return [\n  'refresh_token' => '" + refresh + "',\n];\n"},
	} {
		f, err := exactauth.ParseForeign([]byte(c.text))
		switch {
		case err != nil:
			t.Errorf("%s: %v", name, err)
		case f.Refresh.Reveal() != refresh, f.Access.Reveal() == access != c.access, f.ClientID != c.client, f.Life != c.life:
			t.Errorf("%s: %+v, %s", name, f, f.Refresh.Reveal())
		case f.ExpiresAt.IsZero() != (c.expires == 0), c.expires != 0 && f.ExpiresAt.Unix() != c.expires:
			t.Errorf("%s: it expires at %s", name, f.ExpiresAt)
		}
	}
	for text, why := range map[string]string{
		"": "no refresh token", "{}": "no refresh token", `{"access_token":"` + access + `"}`: "no refresh token", `{"refresh_token":null}`: "no refresh token",
		"abcDEF123456": "cannot be one", guid: "cannot be one", "refresh_token=" + refresh + " x": "cannot be one", "eyJpdiI6" + refresh: "Laravel",
		"a_refresh_token=" + refresh + "\nb_refresh_token=" + access: "several", "s:9:\"" + refresh + "\";": "cannot be one|no refresh token", `a:9:{i:0;`: "no refresh token",
	} {
		_, err := exactauth.ParseForeign([]byte(text))
		if err == nil || !strings.Contains(err.Error(), strings.Split(why, "|")[0]) && !strings.Contains(err.Error(), why[strings.Index(why, "|")+1:]) || strings.Contains(err.Error(), "stampNL") {
			t.Errorf("%q: %v", text, err)
		}
	}
}

func FuzzParseForeign(f *testing.F) {
	f.Add([]byte(`{"a":["s:3:\"abc\";",{"refresh_token":"` + strings.Repeat("r", 40) + `"}],"expires_in":1e300}`))
	f.Add([]byte(`O:8:"stdClass":1:{s:1:"a";a:1:{i:0;d:0.5;}}`))
	f.Fuzz(func(t *testing.T, text []byte) {
		if found, err := exactauth.ParseForeign(text); (err == nil) == found.Refresh.IsZero() {
			t.Errorf("%v, %v", found, err)
		}
	})
}

// other returns a client as another machine has it, without a login.
func (w *world) other() *exactauth.Client {
	w.dir = filepath.Join(w.dir, "other")
	c := w.client()
	c.ClientSecret = giveSecret(clientSecret)
	return c
}

// takeOver takes the login f over.
func (w *world) takeOver(c *exactauth.Client, f exactauth.Foreign, o exactauth.LoginOptions) (exactauth.Login, error) {
	w.t.Helper()
	ctx, cancel := context.WithTimeout(w.t.Context(), 30*time.Second)
	defer cancel()
	login, err := c.TakeOver(ctx, f, o)
	return login, w.tell(err)
}

// foreign returns the stored login as another program has it.
func (w *world) foreign() exactauth.Foreign {
	return exactauth.Foreign{Refresh: fault.NewSecret(w.field("refresh_token"))}
}

func TestTakeOver(t *testing.T) {
	w, _ := signedIn(t, exactLife, exactsim.Config{})
	f := w.foreign()
	w.clock.advance(exactLife)
	c := w.other()
	login, err := w.takeOver(c, f, exactauth.LoginOptions{})
	if err != nil || login.User.ID != annaID || login.UserError != nil {
		t.Fatal(login, err)
	}
	if w.RefreshTokenState(f.Refresh.Reveal()) != exactsim.Old || w.refreshState() != exactsim.Current || w.field("user_id") != annaID || w.field("signed_in_at") != "" {
		t.Error(w.record())
	}
	w.quiet(func() { w.live(c) })
	w.clock.advance(exactLife)
	w.live(c)

	// It works once, and what it has ended is no reason to end this login.
	_, err = w.takeOver(c, f, exactauth.LoginOptions{Replace: true})
	if !errors.Is(err, fault.ErrLoginNeeded) || !strings.Contains(err.Error(), "used before") {
		t.Error(err)
	}
	w.live(c)
}

// Exact would refuse a refresh within 570 s of the other program's, and count that.
func TestTakeOverTooEarly(t *testing.T) {
	w, _ := signedIn(t, exactLife, exactsim.Config{})
	f := w.foreign()
	f.ExpiresAt = w.clock.now().Add(exactLife)
	c := w.other()
	w.quiet(func() {
		_, err := w.takeOver(c, f, exactauth.LoginOptions{})
		if !errors.Is(err, fault.ErrTemporary) || !strings.Contains(err.Error(), "nothing was spent") {
			t.Error(err)
		}
		w.untilHeld(err)
	})
	if _, err := w.takeOver(c, f, exactauth.LoginOptions{}); err != nil {
		t.Error(err)
	}
}

// Without a time in the file Exact says it, and a new refresh token that it adds is kept.
func TestTakeOverRefusedAsTooEarly(t *testing.T) {
	for name, adds := range map[string]bool{"without a token": false, "with a token": true} {
		t.Run(name, func(t *testing.T) {
			w, _ := signedIn(t, exactLife, exactsim.Config{Rotation: exactsim.Grace})
			f := w.foreign()
			c := w.other()
			added := "stampNL001.Added!" + strings.Repeat("x", 40)
			if adds {
				w.Inject(exactsim.Fault{Kind: exactsim.Raw, Status: 400, Body: strings.Replace(tooEarlyBody, "{", `{"refresh_token":"`+added+`",`, 1)})
			}
			_, err := w.takeOver(c, f, exactauth.LoginOptions{})
			if !errors.Is(err, fault.ErrTemporary) || errors.Is(err, exactauth.ErrSaved) != adds {
				t.Fatal(err)
			}
			w.untilHeld(err)
			if adds {
				if w.field("refresh_token") != added || w.field("previous_refresh_token") != f.Refresh.Reveal() {
					t.Error(w.record())
				}
				w.live(c) // the simulator does not know the added one, and still takes the first
			} else if _, err := w.takeOver(c, f, exactauth.LoginOptions{}); err != nil {
				t.Error(err)
			}
		})
	}
}

// A spent refresh token cannot be given back, so whose the login is must be known before.
func TestTakeOverOfAnotherUser(t *testing.T) {
	w, anna := signedIn(t, exactLife, exactsim.Config{})
	f := w.foreign()
	live := w.live(anna)
	bob := w.other()
	w.SetAutoApproveUser(bobID)
	if _, err := w.signIn(bob, exactauth.LoginOptions{}); err != nil {
		t.Fatal(err)
	}
	refused := func(f exactauth.Foreign, newcomer string) {
		t.Helper()
		n := w.Counters().TokenRequests
		_, err := w.takeOver(bob, f, exactauth.LoginOptions{})
		if taken := (*exactauth.TakenError)(nil); !errors.As(err, &taken) || !errors.Is(err, fault.ErrConfig) || !strings.Contains(taken.Newcomer, newcomer) || (taken.Newcomer == "") != (newcomer == "") {
			t.Error(err)
		}
		if w.Counters().TokenRequests > n || w.RefreshTokenState(f.Refresh.Reveal()) != exactsim.Current {
			t.Error("it was spent")
		}
	}
	refused(f, "")
	f.Access, f.ExpiresAt = live.Access, live.ExpiresAt
	refused(f, "Anna")
	w.clock.advance(exactLife)
	refused(f, "")
	if login, err := w.takeOver(bob, f, exactauth.LoginOptions{Replace: true}); err != nil || login.User.ID != annaID {
		t.Error(login, err)
	}
	w.live(bob)

	// The same user's is taken over, if the file has a live token.
	f = w.foreign()
	f.Access, f.ExpiresAt = fault.NewSecret(w.field("access_token")), w.clock.now().Add(exactLife)
	w.clock.advance(exactLife - exactLife/30)
	if _, err := w.takeOver(bob, f, exactauth.LoginOptions{}); err != nil {
		t.Error(err)
	}
	w.quiet(func() { w.live(bob) })
}

// Another app's login is not sent to this one's server or with this one's secret.
func TestTakeOverOfAnotherApp(t *testing.T) {
	w, _ := signedIn(t, exactLife, exactsim.Config{})
	f := w.foreign()
	c := w.other()
	for _, f := range []exactauth.Foreign{{Refresh: f.Refresh, ClientID: "other"}, {Refresh: f.Refresh, BaseURL: "https://start.exactonline.be"}} {
		w.quiet(func() {
			if _, err := w.takeOver(c, f, exactauth.LoginOptions{}); !errors.Is(err, fault.ErrConfig) || strings.Contains(err.Error(), "id  at") || strings.Contains(err.Error(), "at ,") {
				t.Error(err)
			}
		})
	}
}

// A kill, or an answer that is lost, leaves what can be tried again: the token in the other
// program's file, as far as Exact goes on to take it.
func TestTakeOverInterrupted(t *testing.T) {
	for name, c := range map[string]struct {
		rotation   exactsim.Rotation
		sent, lost bool
		kind       error // of the next attempt
	}{
		"killed before it is sent":         {exactsim.Strict, false, false, nil},
		"killed before the save":           {exactsim.Grace, true, false, nil},
		"killed before the save, strict":   {exactsim.Strict, true, false, fault.ErrLoginNeeded},
		"the answer is lost":               {exactsim.Grace, true, true, nil},
		"the answer is lost, strict rules": {exactsim.Strict, true, true, fault.ErrLoginNeeded},
	} {
		t.Run(name, func(t *testing.T) {
			w, _ := signedIn(t, exactLife, exactsim.Config{Rotation: c.rotation})
			f := w.foreign()
			w.clock.advance(exactLife)
			other := w.other()
			var err error
			if c.lost {
				w.Inject(exactsim.Fault{Kind: exactsim.Drop, Commit: true})
				_, err = w.takeOver(other, f, exactauth.LoginOptions{})
				w.untilHeld(err)
			} else {
				killed := w.client()
				killed.ClientSecret = other.ClientSecret
				killed.Store = &crashing{Store: w.store(), at: 3, before: !c.sent} // readyToLogin, the mark, the answer
				if _, err = w.takeOver(killed, f, exactauth.LoginOptions{}); !errors.Is(err, errCrash) {
					t.Error(err)
				}
				w.clock.advance(exactLife)
			}
			if got := w.RefreshTokenState(f.Refresh.Reveal()); (got == exactsim.Current) == c.sent {
				t.Errorf("the token is %s", got)
			}
			switch _, err := w.takeOver(other, f, exactauth.LoginOptions{}); {
			case c.kind != nil && !errors.Is(err, c.kind):
				t.Error(err)
			case c.kind == nil && err != nil:
				t.Error(err)
			case err == nil:
				w.live(other)
			}
		})
	}
}

// A store that cannot be written is found before anything is spent.
func TestTakeOverNeedsRoom(t *testing.T) {
	w, _ := signedIn(t, exactLife, exactsim.Config{})
	f := w.foreign()
	w.clock.advance(exactLife)
	c := w.other()
	blockWrites(t, w)
	w.quiet(func() {
		if _, err := w.takeOver(c, f, exactauth.LoginOptions{}); err == nil {
			t.Error("it was taken over")
		}
	})
}
