package config

import (
	"reflect"
	"testing"
)

// What is plain is what the TOML library makes of it.
func FuzzPlain(f *testing.F) {
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
		got, ok := parsePlain([]byte(text))
		if !ok {
			return
		}
		want, err := parseAny([]byte(text))
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
	for _, text := range []string{
		"# exactauth's profiles. There is no secret in this file.\n\ndefault = \"acme\"\n\n[profiles.acme]\nregion = 'nl'\nclient_id = '5f3b1c1e-7c0e-4d0a-9b1f-0a6d6f0e2c11'\nredirect_uri = 'https://exactauth.test:8484/callback'\n\n# Zürich\n[profiles.beta-2]\nbase_url = 'http://127.0.0.1:8080'\n",
		"",
	} {
		if _, ok := parsePlain([]byte(text)); !ok {
			t.Errorf("not plain:\n%s", text)
		}
	}
}
