package main

import (
	"reflect"
	"testing"
	"time"

	"github.com/exactauth/exactauth/internal/config"
	"github.com/exactauth/exactauth/internal/stored"
)

// What is plain is what the parsers that know every form make of it.

func FuzzPlainRecord(f *testing.F) {
	for _, text := range records {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		got, ok := plainRecord([]byte(text))
		if !ok {
			return
		}
		if want, err := stored.Decode([]byte(text)); err != nil || !reflect.DeepEqual(got, want) {
			t.Errorf("%+v, want %+v, %v", got, want, err)
		}
	})
}

func FuzzPlainConfig(f *testing.F) {
	for _, text := range []string{
		"", "# nothing\n", "default = \"a\"\n\n[profiles.a]\nregion = 'nl'\nclient_id = 'c'\n",
		"default = \"a\"\ndefault = \"b\"\n", "default = 'a\\b'\n", "default = \"a\\b\"\n", "default = '''a'''\n", "default = \"\"\n",
		"[profiles.a]\n[profiles.a]\n", "[profiles.a]\n[profiles.b]\nregion = 'be'\nregion = 'nl'\n", "[profiles.a.b]\n", "[profiles.-]\nregion = \"é\" # é\n",
		"[profiles.a]\nstore = 'postgres://h/d'\nseal = 'age:/f'\nlisten = 'none'\nredirect_uri = 'u'\nbase_url = 'b'\n",
		"[profiles.a]\nrelay = true\ndivision = 5\n", "[profiles.a]\nregion = 'a' # 'b'\n", "# \x80\n", "# é\x7f\n", "#\r\n", "region = 'nl'\n", "[profiles.a]\ndefault = 'x'\n",
	} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		got, ok := plainConfig([]byte(text))
		if !ok {
			return
		}
		want, err := config.Parse([]byte(text))
		if len(got.Profiles) == 0 && len(want.Profiles) == 0 {
			got.Profiles, want.Profiles = nil, nil
		}
		if err != nil || !reflect.DeepEqual(got, want) {
			t.Errorf("%+v, want %+v, %v", got, want, err)
		}
	})
}

// What exactauth writes is plain: nobody would notice if it no longer were, but
// for the time that it takes.
func TestPlainIsWhatIsWritten(t *testing.T) {
	at := time.Date(2026, 11, 22, 12, 0, 0, 123456789, time.UTC)
	login := stored.Login{Tokens: stored.Tokens{AccessToken: "stampNL001.a-b_c", RefreshToken: "stampNL001.r!", LifeSeconds: 600, RequestedAt: at, RepliedAt: at.Add(time.Second)}}
	second := login
	second.PreviousRefreshToken = "stampNL001.p!"
	second.SpentAt = at
	second.ServerDate = at.Truncate(time.Second)
	second.User = &stored.User{ID: "i", UserName: "zoë", FullName: "Zoë O'Neill", Email: "z@voorbeeld.example", Division: 123456}
	for _, l := range []stored.Login{login, second} {
		r := stored.Record{BaseURL: baseURL, ClientID: clientID, ClientSecret: "abcDEF123456", Generation: 3, Login: &l}
		text, err := stored.Encode(&r)
		if err != nil {
			t.Fatal(err)
		}
		if got, ok := plainRecord(text); !ok || !reflect.DeepEqual(got, &r) {
			t.Errorf("plain is %v: %+v, want %+v\n%s", ok, got, r, text)
		}
	}
	for _, text := range []string{
		"# exactauth's profiles. There is no secret in this file.\n\ndefault = \"acme\"\n\n[profiles.acme]\nregion = 'nl'\nclient_id = '" + clientID + "'\nredirect_uri = 'https://exactauth.test:8484/callback'\n\n# Zürich\n[profiles.beta-2]\nbase_url = 'http://127.0.0.1:8080'\n",
		"",
	} {
		if _, ok := plainConfig([]byte(text)); !ok {
			t.Errorf("not plain:\n%s", text)
		}
	}
}
