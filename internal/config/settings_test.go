package config

import (
	"errors"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/exactauth/exactauth/internal/fault"
)

const clientID = "5f3b1c1e-7c0e-4d0a-9b1f-0a6d6f0e2c11"

func TestSettle(t *testing.T) {
	t.Parallel()
	const ok = ""
	secret, err := filepath.Abs("/run/secrets/key") // on Windows it begins with a drive
	if err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct {
		name   string
		values Values // beside client_id
		want   string // how the faults begin
	}{
		{"a client id alone", Values{}, ok},
		{"http on 127.0.0.1", Values{"base_url": "http://127.0.0.1:1234"}, ok},
		{"http on ::1", Values{"base_url": "http://[::1]:1234"}, ok},
		{"http on localhost", Values{"base_url": "http://localhost:1234"}, ok},
		{"base URL with a slash", Values{"base_url": "https://start.exactonline.nl/"}, ok},
		{"http", Values{"base_url": "http://start.exactonline.nl"}, "base_url: "},
		{"http on a name like localhost", Values{"base_url": "http://localhost.evil.test"}, "base_url: "},
		{"http on a name like 127", Values{"base_url": "http://127.0.0.1.evil.test"}, "base_url: "},
		{"http on an address with a zone", Values{"base_url": "http://[::1%25eth0]"}, "base_url: "},
		{"base URL with a path", Values{"base_url": "https://start.exactonline.nl/api"}, "base_url: "},
		{"base URL with a query", Values{"base_url": "https://start.exactonline.nl?a"}, "base_url: "},
		{"base URL with an empty query", Values{"base_url": "https://start.exactonline.nl?"}, "base_url: "},
		{"base URL with two slashes", Values{"base_url": "https://start.exactonline.nl//"}, "base_url: "},
		{"base URL with an empty port", Values{"base_url": "https://start.exactonline.nl:"}, "base_url: "},
		{"base URL with a command", Values{"base_url": "https://$(id)"}, `base_url: "https://$(id)": it names no host`},
		{"base URL with two commands", Values{"base_url": "https://exact.example;id"}, `base_url: "https://exact.example;id": it names no host`},
		{"base URL with backquotes", Values{"base_url": "https://`id`"}, "base_url: "},
		{"base URL with a name that is not ASCII", Values{"base_url": "https://ëxact.example"}, "base_url: "},
		{"base URL with an empty label", Values{"base_url": "https://exact..example"}, "base_url: "},
		{"redirect URI with a command", Values{"redirect_uri": "https://$(id)/callback"}, "redirect_uri: "},
		{"base URL with a fragment", Values{"base_url": "https://start.exactonline.nl#"}, "base_url: "},
		{"base URL with a password", Values{"base_url": "https://u:hunter2@start.exactonline.nl"}, "base_url: "},
		{"broken base URL with a password", Values{"base_url": "https://u:hunter2@["}, "base_url: "},
		{"no scheme", Values{"base_url": "start.exactonline.nl"}, "base_url: "},
		{"file", Values{"base_url": "file:///etc/passwd"}, "base_url: "},
		{"port 0", Values{"base_url": "https://start.exactonline.nl:0"}, "base_url: "},
		{"port 65536", Values{"base_url": "https://start.exactonline.nl:65536"}, "base_url: "},
		{"region", Values{"region": "be"}, ok},
		{"no such region", Values{"region": "xx"}, "region: "},
		{"region and base URL", Values{"region": "nl", "base_url": "https://start.exactonline.nl"}, "region and base_url"},

		{"client id in braces", Values{"client_id": "{" + clientID + "}"}, ok},
		{"no client id", Values{"client_id": ""}, "client_id: missing"},
		{"short client id", Values{"client_id": clientID[1:]}, "client_id: "},
		{"client id of the secret's shape", Values{"client_id": "abcDEF123456"}, "client_id: "},

		{"redirect URI on loopback", Values{"redirect_uri": "http://localhost:8484/callback"}, ok},
		{"http redirect URI", Values{"redirect_uri": "http://app.test/callback"}, "redirect_uri: "},
		{"redirect URI with a query", Values{"redirect_uri": DefaultRedirectURI + "?a=b"}, "redirect_uri: "},
		{"redirect URI with an empty query", Values{"redirect_uri": DefaultRedirectURI + "?"}, "redirect_uri: "},
		{"redirect URI with a fragment", Values{"redirect_uri": DefaultRedirectURI + "#x"}, "redirect_uri: "},
		{"redirect URI with a user", Values{"redirect_uri": "https://hunter2@app.test/"}, "redirect_uri: "},
		{"redirect URI without a host", Values{"redirect_uri": "https:///callback"}, "redirect_uri: "},

		{"listen none", Values{"listen": "none"}, ok},
		{"listen", Values{"listen": "http://127.0.0.1:8484/"}, ok},
		{"listen to all", Values{"listen": "http://0.0.0.0:8484"}, "listen: "},
		{"listen to all IPv6", Values{"listen": "http://[::]:8484"}, "listen: "},
		{"listen to a name", Values{"listen": "http://host.test:8484"}, "listen: "},
		{"listen without a port", Values{"listen": "http://127.0.0.1"}, "listen: "},
		{"listen without a scheme", Values{"listen": "127.0.0.1:8484"}, "listen: "},
		{"listen with a path", Values{"listen": "http://127.0.0.1:8484/x"}, "listen: "},

		{"relay", Values{"relay": "true"}, ok},
		{"relay on loopback", Values{"relay": "true", "redirect_uri": "https://localhost:8484/"}, "relay: "},
		{"relay and listen", Values{"relay": "true", "listen": "none"}, "relay: "},
		{"certificate and key", Values{"tls_cert": "a", "tls_key": "b"}, ok},
		{"certificate alone", Values{"tls_cert": "a"}, "tls_cert and tls_key"},
		{"key alone", Values{"tls_key": "a"}, "tls_cert and tls_key"},
		{"division", Values{"division": "1234567"}, ok},
		{"negative division", Values{"division": "-1"}, "division: "},

		{"a database", Values{"store": "postgresql://u@h/d?sslmode=disable"}, ok},
		{"a file with a database's address", Values{"store": "@" + secret}, ok},
		{"a relative file with it", Values{"store": "@store"}, "store: "},
		{"another database", Values{"store": "mysql://u:hunter2@h/d"}, "store: "},
		{"a database without slashes", Values{"store": "postgres:h"}, "store: "},
		{"a broken address", Values{"store": "postgres://u:hunter2@["}, "store: "},
		{"no store that exists", Values{"store": "files"}, "store: "},
		{"a seal", Values{"seal": "age:" + secret}, ok},
		{"a seal with a relative file", Values{"seal": "age:key"}, "seal: "},
		{"no seal that exists", Values{"seal": "gpg"}, `seal: "gpg": want none`},
		{"two faults", Values{"region": "xx", "client_id": "x"}, `region: "xx": want one of nl be de fr es uk com; client_id: `},
	} {
		t.Run(test.name, func(t *testing.T) {
			values := Values{"client_id": clientID}
			maps.Copy(values, test.values)
			_, err := Settle("acme", values)
			if test.want == ok {
				if err != nil {
					t.Error(err)
				}
				return
			}
			if !errors.Is(err, fault.ErrConfig) || !strings.HasPrefix(err.Error(), "profile acme: "+test.want) {
				t.Fatalf("got %v, want %q", err, test.want)
			}
			if text := err.Error(); strings.Contains(text, "hunter2") || strings.Contains(text, "\n") {
				t.Errorf("%q", text)
			}
		})
	}
}

// Two spellings of one server are one server.
func TestSettleNormalBaseURL(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{
		"HTTPS://Start.ExactOnline.nl": "https://start.exactonline.nl", "https://start.exactonline.nl:443/": "https://start.exactonline.nl",
		"https://start.exactonline.nl.": "https://start.exactonline.nl", "https://start.exactonline.nl:0443": "https://start.exactonline.nl",
		"https://start.exactonline.nl:8443": "https://start.exactonline.nl:8443", "http://127.0.0.1:80": "http://127.0.0.1", "http://LOCALHOST:443": "http://localhost:443",
		"http://[0:0::1]:8484": "http://[::1]:8484", "https://[::1]:443": "https://[::1]",
	} {
		if s, err := Settle("acme", Values{"client_id": clientID, "base_url": text}); err != nil || s.BaseURL != want {
			t.Errorf("%s: %s, %v", text, s.BaseURL, err)
		}
	}
}

// A proxy that is not understood would be left out, and its password might be shown.
func TestEnvironmentProxy(t *testing.T) {
	t.Parallel()
	for value, ok := range map[string]bool{
		"http://proxy:3128": true, "proxy:3128": true, "proxy": true, "http://u:p%40ss@proxy.example:3128/": true, "socks5://127.0.0.1:1080": true, "https://[::1]:3128": true, "u:p@ss@proxy": true,
		"http://u:hunter%zz@proxy:3128": false, "http://u:hunter2#x@proxy:3128": false, "http://u:12/hunter2@proxy:3128": false, "http://u:12?hunter2@proxy:3128": false, "u:hunter2#x@proxy": false,
		"http://": false, "ftp://proxy": false, "http://hunter2 proxy": false, ":": false,
	} {
		for _, name := range []string{"HTTPS_PROXY", "https_proxy"} {
			_, err := Environment(func(asked string) string { return map[string]string{name: value}[asked] })
			if ok != (err == nil) {
				t.Errorf("%s=%s: %v", name, value, err)
			}
			if err != nil && (!errors.Is(err, ErrProxy) || !strings.HasPrefix(err.Error(), name+": ") || strings.Contains(err.Error(), "hunter")) {
				t.Errorf("%s=%s: %v", name, value, err)
			}
		}
	}
}

func TestSettleDefaults(t *testing.T) {
	t.Parallel()
	got, err := Settle("acme", Values{"client_id": strings.ToUpper(clientID)})
	want := Settings{Name: "acme", BaseURL: "https://start.exactonline.nl", ClientID: clientID, RedirectURI: DefaultRedirectURI, Store: "file", Seal: "none"}
	if err != nil || got != want {
		t.Errorf("%+v, %v", got, err)
	}
}

func TestCheckProfileName(t *testing.T) {
	t.Parallel()
	for name, ok := range map[string]bool{
		"a": true, strings.Repeat("a", 64): true, "0-_Z": true, "com": true, "nul1": true,
		"": false, strings.Repeat("a", 65): false, "tls.a": false, "a/b": false, "..": false, "-a": false, "_a": false, "a\n": false, "café": false,
		"NUL": false, "com1": false, "LPT9": false,
	} {
		if err := CheckProfileName(name); (err == nil) != ok {
			t.Errorf("%q: %v", name, err)
		}
	}
}

func TestHasPassword(t *testing.T) {
	t.Parallel()
	for store, has := range map[string]bool{
		"": false, "file": false, "@/run/secrets/store": false, "postgres://ann@a:5432,b:5432/exact?target_session_attrs=read-write": false,
		"postgres://ann:x@db/exact": true, "postgres://ann:@db/exact": true, "postgresql://db/exact?password=x": true, "postgres://db/exact?sslpassword=x": true,
		"postgres://ann:x@db:port/exact": true, // not well-formed, so it may have one
	} {
		if got := HasPassword(store); got != has {
			t.Errorf("%q: %v", store, got)
		}
	}
}

func TestNormalClientID(t *testing.T) {
	t.Parallel()
	const id = "aaaaaaaa-2222-3333-4444-555555555555"
	for _, s := range []string{id, " " + id + "\r\n", "{" + id + "}", " { " + id + " } ", strings.ToUpper(id), "{" + id} {
		if got := NormalClientID(s); got != id {
			t.Errorf("%q: %q", s, got)
		}
	}
}

// Region and base URL decide the same thing, so one of them in a stronger layer
// replaces both in a weaker one.
func TestUnder(t *testing.T) {
	t.Parallel()
	below := Values{"region": "nl", "listen": "none", "division": "5"}
	for _, test := range []struct{ above, want Values }{
		{nil, below},
		{Values{"listen": "", "division": "7"}, Values{"region": "nl", "listen": "none", "division": "7"}},
		{Values{"base_url": "u"}, Values{"base_url": "u", "listen": "none", "division": "5"}},
		{Values{"region": "be", "base_url": ""}, Values{"region": "be", "listen": "none", "division": "5"}},
	} {
		if got := below.Under(test.above); !maps.Equal(got, test.want) {
			t.Errorf("%v under %v: %v", below, test.above, got)
		}
	}
	if got := Values(nil).Under(Values{"region": "nl"}); !maps.Equal(got, Values{"region": "nl"}) {
		t.Errorf("nothing under a region: %v", got)
	}
}

func TestEnvironment(t *testing.T) {
	t.Parallel()
	env := map[string]string{"EXACTAUTH_REGION": "be", "EXACTAUTH_DIVISION": "007", "EXACTAUTH_RELAY": "true"}
	got, err := Environment(func(name string) string { return env[name] })
	if err != nil || !maps.Equal(got, Values{"region": "be", "division": "7"}) {
		t.Errorf("%v, %v", got, err)
	}
	for _, text := range []string{"all", "0", "1.5", " 5"} {
		env["EXACTAUTH_DIVISION"] = text
		got, err := Environment(func(name string) string { return env[name] })
		if !errors.Is(err, fault.ErrConfig) || !strings.HasPrefix(err.Error(), "EXACTAUTH_DIVISION: ") || !maps.Equal(got, Values{"region": "be"}) {
			t.Errorf("%q: %v, %v", text, got, err)
		}
	}
}

func TestTable(t *testing.T) {
	t.Parallel()
	var names, codes []string
	for _, s := range Table() {
		if slices.Contains(names, s.Name) || s.Help == "" || s.Env != "" && s.Env != "EXACTAUTH_"+strings.ToUpper(s.Name) {
			t.Errorf("%+v", s)
		}
		names = append(names, s.Name)
	}
	for _, r := range Regions() {
		codes = append(codes, r.Code)
	}
	if !slices.Equal(Table()[0].Offers, codes) || !strings.Contains(Table()[0].Help, strings.Join(codes[:len(codes)-1], ", ")+" or "+codes[len(codes)-1]) {
		t.Errorf("region's row does not name the regions: %+v", Table()[0])
	}
}

// The page has the table as it is here.
func TestDocumentation(t *testing.T) {
	t.Parallel()
	page, err := os.ReadFile("../../docs/automation.md")
	if err != nil {
		t.Fatal(err)
	}
	want := "| setting | variable | meaning | default |\n|---|---|---|---|\n"
	code := func(s string) string {
		if s == "" {
			return ""
		}
		return "`" + s + "`"
	}
	for _, s := range Table() {
		want += "| `" + s.Name + "` | " + code(s.Env) + " | " + s.Help + " | " + code(s.Default) + " |\n"
	}
	if !strings.Contains(string(page), want) {
		t.Errorf("docs/automation.md must contain:\n%s", want)
	}
}
