package config

import (
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/pelletier/go-toml/v2"
)

var texts = []string{
	"", "# nothing\n", "default = \"acme\"\n\n[profiles.acme]\nregion = \"nl\"\nclient_id = \"" + clientID + "\" # old\n\n# Belgium\n[profiles.beta]\nregion = \"be\"\n",
	"default='a'\r\n[profiles.a]\r\nregion='nl'\r\n",
	"default = \"a\"\ndefault = \"b\"\n", "default = 'a\\b'\n", "default = \"a\\u0041\"\n", "default = '''a'''\n", "default = \"\"\n", "default.a = 'b'\n",
	"profiles.a.region = \"nl\"\nprofiles.b.region = \"be\"\nprofiles.a.listen = 'none'\n",
	"[profiles]\na = {region = \"nl\"}\nb = {region = \"be\"}\n", "[profiles]\n[profiles]\n", "[profiles.a]\n[profiles]\nb.region = 'nl'\n",
	"[profiles]\na.region = 'nl'\n[profiles.a]\n", "[profiles]\na.region = 'nl'\n[profiles.b]\nlisten = 'none'\n",
	"profiles = {a = {region = 'nl'}, b = {}}\n", "profiles = {}\nprofiles.a.region = 'nl'\n", "profiles.a = {}\nprofiles.a.region = 'nl'\n", "profiles = {}\n[profiles.a]\n",
	"profiles.a.region = 'nl'\n[profiles.b]\n", "profiles.a.region = 'nl'\n[profiles]\n", "profiles = 3\n", "profiles.a = 'x'\n", "[[profiles]]\n", "[profiles.a.b]\n", "[other]\n",
	"[profiles.a]\nclient_secret_command = \"\"\"\n[profiles.b]\ndefault = 1\n\"\"\"\n[profiles.b]\ndivision = 7\n",
	"[profiles.\"a\"]\nregion = \"nl\"\n[ profiles . b ]\nrelay = true\n", "[profiles.\"a b\"]\n", "[profiles.'']\n",
	"[profiles.a]\nregion = \"nl\"\n\n[profiles.a-b]\nregion = \"be\" \n# last", "\"default\" = \"a\"\n[profiles.a]\nregion = \"nl\"\n",
	"# default = \"x\"\ndefault = \"a\"\n[profiles.a]\nlisten = \"default = 3\"\n", "[profiles.a]\n[profiles.a]\n", "[profiles.a]\nregion = 'be'\nregion = 'nl'\n", "[profiles.a]\nregion = ''\nregion = 'nl'\n",
	"[profiles.a]\nrelay = false\ndivision = 0\nlisten = ''\nseal = 'none'\n", "[profiles.a]\ndivision = 1_000\n", "[profiles.a]\ndivision = 0x10\n", "[profiles.a]\ndivision = -0\n", "[profiles.a]\ndivision = +0b11\n",
	"[profiles.a]\ndivision = 99999999999999999999\n", "[profiles.a]\ndivision = 1e3\n", "[profiles.a]\ndivision = '5'\n", "[profiles.a]\nrelay = 'true'\n", "[profiles.a]\nregion = true\n", "[profiles.a]\nregion = ['nl']\n", "[profiles.a]\nRegion = 'nl'\n",
	"[profiles.default]\nregion = 'nl'\n", "[profiles.a]\ndefault = 'x'\n", "[profiles.a]\nregion.x = 'nl'\n", "# \x80\n", "# é\x7f\n", "#\r\n", "\ufeffdefault = 'a'\n", "\ufeff[profiles.a]\r\nregion = 'nl'\r\n", "\ufeff",
}

// What can be read means what the TOML library makes of it.
func FuzzParse(f *testing.F) {
	for _, text := range texts {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		got, err := parse([]byte(text))
		if err != nil {
			if strings.Contains(err.Error(), "\n") {
				t.Errorf("%q", err)
			}
			return
		}
		var want struct {
			Default  string
			Profiles map[string]map[string]any
		}
		if err := toml.Unmarshal([]byte(strings.TrimPrefix(text, byteOrderMark)), &want); err != nil {
			t.Fatalf("%v for %+v", err, got)
		}
		profiles := map[string]Values{}
		for name, table := range want.Profiles {
			profiles[name] = Values{}
			for key, value := range table {
				if !reflect.ValueOf(value).IsZero() {
					profiles[name][key] = fmt.Sprint(value)
				}
			}
		}
		if got.Default != want.Default || !reflect.DeepEqual(got.Profiles, profiles) {
			t.Errorf("%q %v, want %q %v", got.Default, got.Profiles, want.Default, profiles)
		}
	})
}

// An error names the line, and the column of what is no TOML at all.
func TestParseErrors(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{
		"[profiles.a]\nclient_id = = 3\n":   "line 2, column 13: ",
		"[profiles.a]\nclient_id = \"5f":    "line 2, column ",
		"\n[profiles.a]\nclientid = 'x'\n":  "line 3: unknown key clientid",
		"\n\nregion = 'nl'\n":               "line 3: unknown key region",
		"[profiles.a]\n[other]\n":           "line 2: unknown table other",
		"[profiles.a]\n[profiles.a.b]\n":    "line 2: unknown table profiles.a.b",
		"[profiles.a]\ndivision = 'many'\n": "line 2: division: want a whole number",
		"[profiles.a]\nrelay = 1\n":         "line 2: relay: want true or false",
		"[profiles.a]\nregion = 1\n":        "line 2: region: want text in quotes",
		"profiles = 1\n":                    "line 1: unknown key profiles",
		"\xff\xfed\x00":                     "it is in UTF-16, as PowerShell 5.1 writes it: save it as UTF-8",
		"\xfe\xff\x00d":                     "it is in UTF-16, as PowerShell 5.1 writes it: save it as UTF-8",
		"profiles.a.region = 'nl'\n":        "line 1: unknown key profiles.a.region",
		"[profiles.a]\nregion = {}\n":       "line 2: region: want text in quotes",
		"[profiles]\n":                      "line 1: unknown table profiles; want a header such as [profiles.acme]",
		"[profiles.'a b']\n":                `line 1: profile name "a b": `,
		"[profiles.a]\nregion = 'nl'\nlisten='none'\nregion = 'be'\n": "line 4: region is there twice",
		"default = 'a'\ndefault = 'b'\n":                              "line 2: default is there twice",
		"[profiles.a]\n\n[profiles.a]\n":                              "line 3: profiles.a is there twice",
	} {
		if _, err := parse([]byte(text)); err == nil || !strings.HasPrefix(err.Error(), want) {
			t.Errorf("%q: %v, want %q", text, err, want)
		}
	}
}

// An edited text reads as it must, and every comment on a line of its own is kept.
func FuzzEdit(f *testing.F) {
	for _, text := range texts {
		f.Add(text, "a", "b", "region", false)
		f.Add(text, "beta", "acme", "it's a \"command\"\n\\ # [x]", true)
	}
	f.Fuzz(func(t *testing.T, text, name, chosen, command string, remove bool) {
		before, err := parse([]byte(text))
		if err != nil || CheckProfileName(name) != nil || !utf8.ValidString(command) {
			return
		}
		after := clone(before)
		if remove {
			delete(after.Profiles, name)
		} else {
			after.Profiles[name] = after.Profiles[name].Under(Values{"client_secret_command": command, "division": "7"})
			delete(after.Profiles[name], "region")
		}
		if _, known := after.Profiles[chosen]; known {
			after.Default = chosen
		}
		edited, err := before.edit(after) // which reads what it returns
		if err != nil {
			t.Fatal(err)
		}
		for line := range strings.Lines(text) {
			if line = strings.TrimSpace(line); !remove && strings.HasPrefix(line, "#") && !strings.Contains(string(edited), line) && !strings.Contains(text, `"""`) && !strings.Contains(text, "'''") {
				t.Errorf("%q is lost:\n%s", line, edited)
			}
		}
	})
}

func clone(c *Config) *Config {
	after := &Config{Default: c.Default, Profiles: map[string]Values{}}
	for name, values := range c.Profiles {
		after.Profiles[name] = maps.Clone(values)
	}
	return after
}

func mustParse(t *testing.T, text string) *Config {
	t.Helper()
	c, err := parse([]byte(text))
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func mustEdit(t *testing.T, before, after *Config) string {
	t.Helper()
	edited, err := before.edit(after)
	if err != nil {
		t.Error(err)
	}
	return string(edited)
}

func TestEdit(t *testing.T) {
	t.Parallel()
	const text = `# my accounts
default = "acme" # mine

[profiles.acme]
region   =   'nl'   # spelt my way
# once it was 5
division = 7 # Voorbeeld

# Belgium
[profiles.beta]
region = "be"
# the end of beta

# after all
[profiles.zeta]
region = "de"
`
	before := mustParse(t, text)
	for name, test := range map[string]struct {
		change func(*Config)
		gone   []string // lines
		come   []string
	}{
		"another default": {func(c *Config) { c.Default = "beta" }, []string{`default = "acme" # mine`}, []string{`default = "beta" # mine`}},
		"no default":      {func(c *Config) { c.Default = "" }, []string{`default = "acme" # mine`}, nil},
		"a new profile":   {func(c *Config) { c.Profiles["new"] = Values{"region": "fr"} }, nil, []string{"[profiles.new]", "region = 'fr'"}},
		"one less":        {func(c *Config) { delete(c.Profiles, "beta") }, []string{"[profiles.beta]", `region = "be"`}, nil},
		"a change":        {func(c *Config) { c.Profiles["acme"]["region"] = "be" }, []string{`region   =   'nl'   # spelt my way`}, []string{"region = 'be'   # spelt my way"}},
		"a setting more":  {func(c *Config) { c.Profiles["acme"]["listen"] = "none" }, nil, []string{"listen = 'none'"}},
		"a setting less":  {func(c *Config) { delete(c.Profiles["acme"], "division") }, []string{"division = 7 # Voorbeeld"}, nil},
	} {
		t.Run(name, func(t *testing.T) {
			after := clone(before)
			test.change(after)
			edited := mustEdit(t, before, after)
			var want []string
			for line := range strings.Lines(text) {
				if line = strings.TrimSpace(line); line != "" && !slices.Contains(test.gone, line) {
					want = append(want, line)
				}
			}
			want = append(want, test.come...)
			var got []string
			for line := range strings.Lines(edited) {
				if line = strings.TrimSpace(line); line != "" {
					got = append(got, line)
				}
			}
			slices.Sort(want)
			slices.Sort(got)
			if !slices.Equal(got, want) || strings.Contains(edited, "\n\n\n") {
				t.Errorf("got\n%s\nwant the lines %q", edited, want)
			}
		})
	}
}

func TestEditNewFile(t *testing.T) {
	t.Parallel()
	after := &Config{Default: "acme", Profiles: map[string]Values{"acme": {"region": "nl", "relay": "true", "division": "5", "listen": ""}}}
	const want = "# exactauth's profiles. There is no secret in this file.\n\ndefault = \"acme\"\n\n[profiles.acme]\nregion = 'nl'\nrelay = true\ndivision = 5\n"
	if got := mustEdit(t, mustParse(t, ""), after); got != want {
		t.Errorf("got\n%s", got)
	}
}

// A header is found however it is written, and stays so.
func TestEditKeepsHeaders(t *testing.T) {
	t.Parallel()
	for _, header := range []string{
		"[profiles.a]", "[profiles.a] # main", "[profiles.a]# [profiles.b]", "  [ profiles . a ]\t# main", `[profiles."a"] # main`, "[profiles.'a']",
		"[profiles.a] # main\r",
	} {
		before := mustParse(t, "# mine\n\n"+header+"\nregion = \"nl\"\n\n[profiles.b] # other\nregion = \"be\"\n")
		after := clone(before)
		after.Profiles["a"]["division"] = "7"
		edited := mustEdit(t, before, after)
		for _, want := range []string{"# mine\n", header + "\n", "division = 7", "[profiles.b] # other\n"} {
			if !strings.Contains(edited, want) {
				t.Errorf("%q: %q is lost:\n%s", header, want, edited)
			}
		}
	}
}

// Lines that end as on Windows stay so, and new ones end so.
func TestEditKeepsWindowsLines(t *testing.T) {
	t.Parallel()
	before := mustParse(t, strings.ReplaceAll("# mine\ndefault = \"a\"\n\n[profiles.a]\nregion = \"nl\" # old\n\n[profiles.b]\nregion = \"be\"\n", "\n", "\r\n"))
	after := clone(before)
	after.Default, after.Profiles["c"], after.Profiles["a"]["division"] = "b", Values{"region": "fr"}, "5"
	edited := mustEdit(t, before, after)
	want := "# mine\ndefault = \"b\"\n\n[profiles.a]\nregion = \"nl\" # old\ndivision = 5\n\n[profiles.b]\nregion = \"be\"\n\n[profiles.c]\nregion = 'fr'\n"
	if edited != strings.ReplaceAll(want, "\n", "\r\n") {
		t.Errorf("%q", edited)
	}
}

// Where a key goes and another comes, and where there are blank lines.
func TestEditBlankLines(t *testing.T) {
	t.Parallel()
	before := mustParse(t, "[profiles.a]\n\nregion = 'nl'\n\n[profiles.b]\n\n\n# end")
	after := clone(before)
	after.Profiles["a"] = Values{"listen": "none"}
	delete(after.Profiles, "b")
	if got := mustEdit(t, before, after); got != "[profiles.a]\n\nlisten = 'none'\n# end\n" {
		t.Errorf("%q", got)
	}
	if _, err := before.edit(&Config{Profiles: map[string]Values{"a": {"client_secret_command": "\xff"}}}); err == nil {
		t.Error("a value that is not UTF-8 was written")
	}
}
