package config_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/exactauth/exactauth/internal/config"
	"github.com/exactauth/exactauth/internal/fault"
)

const clientID = "5f3b1c1e-7c0e-4d0a-9b1f-0a6d6f0e2c11"

func profile() config.Settings {
	return config.Settings{
		Name: "acme", BaseURL: "https://start.exactonline.nl", ClientID: clientID, RedirectURI: config.DefaultRedirectURI,
	}
}

func TestProfileCheck(t *testing.T) {
	t.Parallel()
	const ok = ""
	for _, test := range []struct {
		name   string
		change func(*config.Settings)
		want   string // in the error
	}{
		{"as it is", func(*config.Settings) {}, ok},
		{"name of a letter", func(p *config.Settings) { p.Name = "a" }, ok},
		{"name of 64", func(p *config.Settings) { p.Name = strings.Repeat("a", 64) }, ok},
		{"name with all it may have", func(p *config.Settings) { p.Name = "0-_Z" }, ok},
		{"no name", func(p *config.Settings) { p.Name = "" }, "profile name"},
		{"name of 65", func(p *config.Settings) { p.Name = strings.Repeat("a", 65) }, "profile name"},
		{"name with a dot", func(p *config.Settings) { p.Name = "tls.a" }, "profile name"},
		{"name with a slash", func(p *config.Settings) { p.Name = "a/b" }, "profile name"},
		{"name of dots", func(p *config.Settings) { p.Name = ".." }, "profile name"},
		{"name like a flag", func(p *config.Settings) { p.Name = "-a" }, "profile name"},
		{"name that ends a line", func(p *config.Settings) { p.Name = "a\n" }, "profile name"},
		{"name not in ASCII", func(p *config.Settings) { p.Name = "café" }, "profile name"},

		{"http on 127.0.0.1", func(p *config.Settings) { p.BaseURL = "http://127.0.0.1:1234" }, ok},
		{"http on ::1", func(p *config.Settings) { p.BaseURL = "http://[::1]:1234" }, ok},
		{"http on localhost", func(p *config.Settings) { p.BaseURL = "http://localhost:1234" }, ok},
		{"no base URL", func(p *config.Settings) { p.BaseURL = "" }, "base URL"},
		{"http", func(p *config.Settings) { p.BaseURL = "http://start.exactonline.nl" }, "base URL"},
		{"http on a name like localhost", func(p *config.Settings) { p.BaseURL = "http://localhost.evil.test" }, "base URL"},
		{"http on a name like 127", func(p *config.Settings) { p.BaseURL = "http://127.0.0.1.evil.test" }, "base URL"},
		{"base URL with a path", func(p *config.Settings) { p.BaseURL += "/api" }, "base URL"},
		{"base URL with a query", func(p *config.Settings) { p.BaseURL += "?a" }, "base URL"},
		{"base URL with an empty query", func(p *config.Settings) { p.BaseURL += "?" }, "base URL"},
		{"base URL with a slash", func(p *config.Settings) { p.BaseURL += "/" }, "base URL"},
		{"base URL with an empty port", func(p *config.Settings) { p.BaseURL += ":" }, "base URL"},
		{"base URL in capitals", func(p *config.Settings) { p.BaseURL = "HTTPS://start.exactonline.nl" }, "base URL"},
		{"base URL with a fragment", func(p *config.Settings) { p.BaseURL += "#" }, "base URL"},
		{"base URL with a password", func(p *config.Settings) { p.BaseURL = "https://u:hunter2@start.exactonline.nl" }, "base URL"},
		{"broken base URL with a password", func(p *config.Settings) { p.BaseURL = "https://u:hunter2@[" }, "base URL"},
		{"no scheme", func(p *config.Settings) { p.BaseURL = "start.exactonline.nl" }, "base URL"},
		{"file", func(p *config.Settings) { p.BaseURL = "file:///etc/passwd" }, "base URL"},
		{"port 0", func(p *config.Settings) { p.BaseURL += ":0" }, "base URL"},
		{"port 65536", func(p *config.Settings) { p.BaseURL += ":65536" }, "base URL"},

		{"no client id", func(p *config.Settings) { p.ClientID = "" }, "client id"},
		{"client id in braces", func(p *config.Settings) { p.ClientID = "{" + clientID + "}" }, "client id"},
		{"client id in capitals", func(p *config.Settings) { p.ClientID = strings.ToUpper("aaaaaaaa-2222-3333-4444-555555555555") }, "client id"},
		{"short client id", func(p *config.Settings) { p.ClientID = clientID[1:] }, "client id"},
		{"client id of the secret's shape", func(p *config.Settings) { p.ClientID = "abcDEF123456" }, "client id"},

		{"redirect URI on loopback", func(p *config.Settings) { p.RedirectURI = "http://localhost:8484/callback" }, ok},
		{"no redirect URI", func(p *config.Settings) { p.RedirectURI = "" }, "redirect URI"},
		{"http redirect URI", func(p *config.Settings) { p.RedirectURI = "http://app.test/callback" }, "redirect URI"},
		{"redirect URI with a query", func(p *config.Settings) { p.RedirectURI += "?a=b" }, "redirect URI"},
		{"redirect URI with an empty query", func(p *config.Settings) { p.RedirectURI += "?" }, "redirect URI"},
		{"redirect URI with a fragment", func(p *config.Settings) { p.RedirectURI += "#x" }, "redirect URI"},
		{"redirect URI with a user", func(p *config.Settings) { p.RedirectURI = "https://hunter2@app.test/" }, "redirect URI"},
		{"redirect URI without a host", func(p *config.Settings) { p.RedirectURI = "https:///callback" }, "redirect URI"},

		{"listen none", func(p *config.Settings) { p.Listen = "none" }, ok},
		{"listen", func(p *config.Settings) { p.Listen = "http://127.0.0.1:8484" }, ok},
		{"listen to all", func(p *config.Settings) { p.Listen = "http://0.0.0.0:8484" }, "listen"},
		{"listen to all IPv6", func(p *config.Settings) { p.Listen = "http://[::]:8484" }, "listen"},
		{"listen to a name", func(p *config.Settings) { p.Listen = "http://host.test:8484" }, "listen"},
		{"listen without a port", func(p *config.Settings) { p.Listen = "http://127.0.0.1" }, "listen"},
		{"listen without a scheme", func(p *config.Settings) { p.Listen = "127.0.0.1:8484" }, "listen"},
		{"listen with a path", func(p *config.Settings) { p.Listen = "http://127.0.0.1:8484/x" }, "listen"},

		{"relay", func(p *config.Settings) { p.Relay = true }, ok},
		{"relay on loopback", func(p *config.Settings) { p.Relay, p.RedirectURI = true, "https://localhost:8484/" }, "relay"},
		{"relay and listen", func(p *config.Settings) { p.Relay, p.Listen = true, "none" }, "relay"},
		{"certificate and key", func(p *config.Settings) { p.TLSCert, p.TLSKey = "a", "b" }, ok},
		{"certificate alone", func(p *config.Settings) { p.TLSCert = "a" }, "tls"},
		{"key alone", func(p *config.Settings) { p.TLSKey = "a" }, "tls"},
		{"division", func(p *config.Settings) { p.Division = 1234567 }, ok},
		{"negative division", func(p *config.Settings) { p.Division = -1 }, "division"},
	} {
		t.Run(test.name, func(t *testing.T) {
			p := profile()
			test.change(&p)
			err := p.Check()
			if test.want == ok {
				if err != nil {
					t.Error(err)
				}
				return
			}
			if !errors.Is(err, fault.ErrConfig) || !strings.HasPrefix(err.Error(), test.want) {
				t.Fatalf("got %v, want it to begin with %q", err, test.want)
			}
			if text := err.Error(); strings.Contains(text, "hunter2") || strings.Contains(text, "\n") {
				t.Errorf("%q", text)
			}
		})
	}
}

func TestProfileCheckTellsAll(t *testing.T) {
	t.Parallel()
	err := config.Settings{}.Check()
	for _, what := range []string{"profile name", "base URL", "client id", "redirect URI"} {
		if err == nil || !strings.Contains(err.Error(), what) {
			t.Errorf("%v lacks %q", err, what)
		}
	}
}

func TestNormalClientID(t *testing.T) {
	t.Parallel()
	const id = "aaaaaaaa-2222-3333-4444-555555555555"
	for _, s := range []string{id, " " + id + "\r\n", "{" + id + "}", " { " + id + " } ", strings.ToUpper(id), "{" + id} {
		if got := config.NormalClientID(s); got != id {
			t.Errorf("%q: %q", s, got)
		}
	}
}
