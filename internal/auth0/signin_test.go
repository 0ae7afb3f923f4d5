package auth0_test

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/exactauth/exactauth/internal/auth0"
	"github.com/exactauth/exactauth/internal/auth0/auth0sim"
	"github.com/exactauth/exactauth/internal/fault"
)

func TestSignIn(t *testing.T) {
	for _, domain := range []string{"127.0.0.1", "localhost"} { // the tenant's own, and a custom one
		t.Run(domain, func(t *testing.T) {
			w := newWorld(t)
			s := w.app(domain)
			user, page, err := w.signIn(s)
			want := auth0.User{Subject: annaSub, Name: "Anna de Vries", Email: "anna@voorbeeld.example", Division: 123456, Issuer: s.Domain.Issuer()}
			if err != nil || user != want {
				t.Errorf("%v, %+v; want %+v", err, user, want)
			}
			if !strings.Contains(page, "You are signed in") || !strings.Contains(page, "Anna de Vries") {
				t.Errorf("the last page says %s", page)
			}
		})
	}
}

// A token can be false in many ways. Each has an error of its own.
func TestLies(t *testing.T) {
	now := time.Now().Unix()
	const anotherApp = "anotherAppAnotherAppAnotherApp00"
	for name, tc := range map[string]struct {
		lie          auth0sim.Lie
		claims       string // changed ones, in JSON
		claim, words string
	}{
		"alg none":       {auth0sim.AlgNone, `{}`, "alg", "it is not signed (alg none)"},
		"alg HS256":      {auth0sim.AlgHS256, `{}`, "alg", "it is signed with HS256; only RS256 is accepted"},
		"unknown key":    {auth0sim.UnknownKey, `{}`, "kid", `its key "another" is not among those that `},
		"other key":      {auth0sim.OtherKey, `{}`, "signature", "its signature is wrong"},
		"tampered":       {auth0sim.Tampered, `{}`, "signature", "its signature is wrong"},
		"no slash":       {"", `{"iss":"http://localhost:PORT"}`, "iss", `its issuer is "http://localhost:PORT"; want "http://localhost:PORT/"`},
		"own domain":     {"", `{"iss":"http://127.0.0.1:PORT/"}`, "iss", `its issuer is "http://127.0.0.1:PORT/"; want "http://localhost:PORT/"`},
		"other issuer":   {"", `{"iss":"https://evil.eu.auth0.com/"}`, "iss", `its issuer is "https://evil.eu.auth0.com/"; want "http://localhost:PORT/"`},
		"other audience": {"", `{"aud":"` + anotherApp + `"}`, "aud", "it is meant for " + anotherApp + ", not for the app " + webID},
		"two audiences":  {"", `{"aud":["` + anotherApp + `","` + webID + `"],"azp":"` + anotherApp + `"}`, "azp", "it was made for another app (azp " + anotherApp + ")"},
		"other nonce":    {"", `{"nonce":"` + rand.Text() + `"}`, "nonce", "its nonce is not this sign-in's"},
		"no nonce":       {"", `{"nonce":null}`, "nonce", "it has no nonce, so it may be from another sign-in"},
		"expired":        {"", fmt.Sprintf(`{"exp":%d}`, now-3600), "exp", "it has expired: at "},
		"no expiry":      {"", `{"exp":null}`, "exp", "it does not say when it expires"},
		"not yet":        {"", fmt.Sprintf(`{"nbf":%d}`, now+3600), "nbf", "it is not valid yet: not before "},
		"from future":    {"", fmt.Sprintf(`{"iat":%d}`, now+3600), "iat", "it is from the future: issued at "},
		"other hash":     {"", `{"at_hash":"AAAAAAAAAAAAAAAAAAAAAA"}`, "at_hash", "it belongs to another access token (at_hash)"},
		"no subject":     {"", `{"sub":null}`, "sub", "it names no user (sub)"},
		"no token":       {auth0sim.NoToken, `{}`, "id_token", "there is none in the answer"},
		"garbage":        {auth0sim.Garbage, `{}`, "id_token", "it is not a signed token (JWS)"},
		"other user":     {auth0sim.OtherUser, `{}`, "sub", "the userinfo endpoint names another user, exact|00000000-0000-0000-0000-000000000000, than the id_token, " + annaSub},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			s := w.app("localhost")
			port := strings.NewReplacer("PORT", w.url[strings.LastIndexByte(w.url, ':')+1:])
			var changed map[string]any
			if err := json.Unmarshal([]byte(port.Replace(tc.claims)), &changed); err != nil {
				t.Fatal(err)
			}
			w.SetLie(tc.lie)
			w.SetClaims(changed)
			user, page, err := w.signIn(s)
			var refused *auth0.TokenError
			if user != (auth0.User{}) || !errors.As(err, &refused) || refused.Claim != tc.claim {
				t.Fatalf("%+v, %v; want a TokenError for %s", user, err, tc.claim)
			}
			if words := port.Replace(tc.words); !strings.HasPrefix(refused.Text, words) {
				t.Errorf("in the words %q; want %q", refused.Text, words)
			}
			for _, kind := range []error{fault.ErrConfig, fault.ErrDenied, fault.ErrTemporary} {
				if errors.Is(err, kind) {
					t.Errorf("%v is a %v", err, kind)
				}
			}
			if !strings.Contains(page, "Sign-in failed") {
				t.Errorf("the last page says %s", page)
			}
		})
	}
}

// The clocks of machines differ by minutes.
func TestSlowClock(t *testing.T) {
	w := newWorld(t)
	s := w.app("127.0.0.1")
	s.Now = func() time.Time { return time.Now().Add(-2 * time.Minute) }
	if _, _, err := w.signIn(s); err != nil {
		t.Errorf("two minutes behind: %v", err)
	}
	s.Now = func() time.Time { return time.Now().Add(-time.Hour) }
	var refused *auth0.TokenError
	if _, _, err := w.signIn(s); !errors.As(err, &refused) || refused.Claim != "iat" {
		t.Errorf("an hour behind: %v", err)
	}
}

func TestDiscoveryIsJudged(t *testing.T) {
	for lie, words := range map[auth0sim.Lie]string{
		auth0sim.OtherDiscovery: `names itself "https://evil.eu.auth0.com/" in its discovery document`,
		auth0sim.Astray:         `leads elsewhere: "https://evil.eu.auth0.com/oauth/token"`,
	} {
		w := newWorld(t)
		s := w.app("127.0.0.1")
		w.SetLie(lie)
		ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
		_, err := s.Run(ctx, func(string) { t.Errorf("%s: an address is shown", lie) })
		cancel()
		if !errors.Is(err, fault.ErrConfig) || !strings.Contains(err.Error(), words) {
			t.Errorf("%s: %v; want %q", lie, err, words)
		}
	}
}

// An answer of another server is not redeemed (RFC 9207, 2.4).
func TestMixUp(t *testing.T) {
	for lie, from := range map[auth0sim.Lie]string{auth0sim.MixUp: "another server, https://evil.eu.auth0.com/", auth0sim.Unnamed: "a server that does not name itself"} {
		w := newWorld(t)
		s := w.app("127.0.0.1")
		w.SetLie(lie)
		user, page, err := w.signIn(s)
		if user != (auth0.User{}) || !errors.Is(err, fault.ErrDenied) || !strings.Contains(err.Error(), "comes from "+from+", not from "+s.Domain.Issuer()) {
			t.Errorf("%s: %+v, %v", lie, user, err)
		}
		if !strings.Contains(page, "Sign-in failed") {
			t.Errorf("%s: the last page says %s", lie, page)
		}
	}
}

func TestAddress(t *testing.T) {
	w := newWorld(t)
	s := w.app("127.0.0.1")
	address, err := s.Address(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	u, err := url.Parse(address)
	if err != nil {
		t.Fatal(err)
	}
	q := u.Query()
	for name, want := range map[string]string{
		"response_type": "code", "client_id": webID, "redirect_uri": s.Callback, "scope": "openid profile email",
		"connection": "exact", "prompt": "login", "code_challenge_method": "S256",
	} {
		if q.Get(name) != want {
			t.Errorf("%s is %q, want %q", name, q.Get(name), want)
		}
		q.Del(name)
	}
	for _, name := range []string{"state", "nonce", "code_challenge"} {
		if len(q.Get(name)) < 26 {
			t.Errorf("%s is %q", name, q.Get(name))
		}
		q.Del(name)
	}
	if len(q) > 0 {
		t.Errorf("and %v", q)
	}
	if again, err := s.Address(t.Context()); err != nil || again == address {
		t.Errorf("%v; two addresses are the same", err)
	}
}

func TestNoAnswer(t *testing.T) {
	w := newWorld(t)
	s := w.app("127.0.0.1")
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if _, err := s.Run(ctx, func(string) {}); !errors.Is(err, fault.ErrDenied) {
		t.Errorf("%v; want ErrDenied", err)
	}
	ctx, stop := context.WithCancelCause(t.Context())
	why := errors.New("enough")
	if _, err := s.Run(ctx, func(string) { stop(why) }); !errors.Is(err, why) {
		t.Errorf("%v; want the cause", err)
	}
}
