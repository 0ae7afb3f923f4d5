package main

import (
	"github.com/exactauth/exactauth/internal/config"
	"maps"
	"reflect"
	"slices"
	"strings"
	"testing"
	"unicode/utf8"
)

// FuzzConfig edits whatever configuration can be read: what comes out reads as
// what was wanted, and the lines of profiles that were not touched are all there.
func FuzzConfig(f *testing.F) {
	for _, text := range []string{
		"",
		"# nothing\n",
		"default = \"acme\"\n\n[profiles.acme]\nregion = \"nl\"\nclient_id = \"5f3b1c1e-7c0e-4d0a-9b1f-0a6d6f0e2c11\" # old\n\n# Belgium\n[profiles.beta]\nregion = \"be\"\n",
		"default='a'\r\n[profiles.a]\r\nregion='nl'\r\n",
		"profiles.a.region = \"nl\"\nprofiles.b.region = \"be\"\n",
		"[profiles]\na = {region = \"nl\"}\nb = {region = \"be\"}\n",
		"[profiles.a]\nclient_secret_command = \"\"\"\n[profiles.b]\ndefault = 1\n\"\"\"\n[profiles.b]\ndivision = 7\n",
		"[profiles.\"a\"]\nregion = \"nl\"\n[ profiles . b ]\nrelay = true\n",
		"[profiles.a]\nregion = \"nl\"\n\n[profiles.a-b]\nregion = \"be\" \n# last",
		"\"default\" = \"a\"\n[profiles.a]\nregion = \"nl\"\n",
		"# default = \"x\"\ndefault = \"a\"\n[profiles.a]\nlisten = \"default = 3\"\n",
	} {
		f.Add(text, "a", "b", "region", false)
		f.Add(text, "beta", "acme", "it's a \"command\"\n\\ # [x]", true)
	}
	f.Fuzz(func(t *testing.T, text, name, chosen, command string, remove bool) {
		before, err := parseConfig([]byte(text))
		if err != nil {
			return
		}
		after := config.Config{Default: before.Default, Profiles: maps.Clone(before.Profiles)}
		if after.Profiles == nil {
			after.Profiles = map[string]config.Profile{}
		}
		if !utf8.ValidString(name + command) {
			return // TOML is UTF-8
		}
		if remove {
			delete(after.Profiles, name)
		} else {
			table := after.Profiles[name]
			table.ClientSecretCommand, table.Division = command, 7
			after.Profiles[name] = table
		}
		if _, known := after.Profiles[chosen]; known {
			after.Default = chosen
		}
		if _, err := parseConfig(mustEdit(t, nil, config.Config{}, after)); err != nil {
			return // a name or a text that TOML or a profile cannot have
		}
		edited := mustEdit(t, []byte(text), before, after)
		got, err := parseConfig(edited)
		if err != nil {
			t.Fatalf("%v in\n%s", err, edited)
		}
		if got.Default != after.Default || len(got.Profiles)+len(after.Profiles) > 0 && !reflect.DeepEqual(got.Profiles, after.Profiles) {
			t.Fatalf("edited to\n%s\nwhich is %+v, want %+v", edited, got, after)
		}
	})
}

func mustEdit(t *testing.T, text []byte, before, after config.Config) []byte {
	t.Helper()
	edited, _, err := editConfig(text, before, after)
	if err != nil {
		t.Skipf("%v", err) // what TOML cannot hold
	}
	return edited
}

// Comments, order and spelling of what is not touched stay.
func TestEditConfigKeeps(t *testing.T) {
	const text = `# my accounts
default = "acme"

[profiles.acme]
region   =   'nl'   # spelt my way

# Belgium
[profiles.beta]
region = "be"
# the end of beta

# after all
[profiles.zeta]
region = "de"
`
	before, err := parseConfig([]byte(text))
	if err != nil {
		t.Fatal(err)
	}
	keeps := func(edited []byte, gone ...string) {
		t.Helper()
		for line := range strings.Lines(text) {
			line = strings.TrimSpace(line)
			if has := strings.Contains("\n"+string(edited), "\n"+line+"\n"); has == slices.Contains(gone, line) {
				t.Errorf("%q: still there is %v in\n%s", line, has, edited)
			}
		}
	}
	after := config.Config{Default: "beta", Profiles: maps.Clone(before.Profiles)}
	keeps(mustEdit(t, []byte(text), before, after), `default = "acme"`)

	after = config.Config{Default: "acme", Profiles: maps.Clone(before.Profiles)}
	after.Profiles["new"] = config.Profile{Region: "fr"}
	keeps(mustEdit(t, []byte(text), before, after))

	after = config.Config{Default: "acme", Profiles: maps.Clone(before.Profiles)}
	delete(after.Profiles, "beta")
	keeps(mustEdit(t, []byte(text), before, after), "[profiles.beta]", `region = "be"`)

	after = config.Config{Default: "acme", Profiles: maps.Clone(before.Profiles)}
	after.Profiles["zeta"] = config.Profile{Region: "fr"}
	keeps(mustEdit(t, []byte(text), before, after), `region = "de"`)
}

// However a header is written, and whatever is said behind it: its table is found.
func TestEditConfigKeepsHeaders(t *testing.T) {
	for _, header := range []string{
		"[profiles.a]", "[profiles.a] # main", "[profiles.a]# [profiles.b]", "  [ profiles . a ]\t# main", `[profiles."a"] # main`, "[profiles.'a']",
		"[profiles.a] # main\r",
	} {
		text := "# mine\n\n" + header + "\nregion = \"nl\"\n\n[profiles.b] # other\nregion = \"be\"\n"
		before, err := parseConfig([]byte(text))
		if err != nil {
			t.Fatal(err)
		}
		after := config.Config{Profiles: maps.Clone(before.Profiles)}
		after.Profiles["a"] = config.Profile{Region: "nl", Division: 7}
		edited, anew, err := editConfig([]byte(text), before, after)
		if err != nil || anew {
			t.Errorf("%q: written anew is %v, %v", header, anew, err)
		}
		for _, want := range []string{"# mine\n", header + "\n", "division = 7\n", "[profiles.b] # other\n"} {
			if !strings.Contains(string(edited), want) {
				t.Errorf("%q: %q is lost:\n%s", header, want, edited)
			}
		}
	}
}

// Lines that end as on Windows are kept so, comments and all.
func TestEditConfigKeepsWindowsLines(t *testing.T) {
	text := strings.ReplaceAll("# mine\ndefault = \"a\"\n\n[profiles.a]\nregion = \"nl\" # old\n\n[profiles.b]\nregion = \"be\"\n", "\n", "\r\n")
	before, err := parseConfig([]byte(text))
	if err != nil {
		t.Fatal(err)
	}
	after := config.Config{Default: "b", Profiles: maps.Clone(before.Profiles)}
	edited := string(mustEdit(t, []byte(text), before, after))
	for _, want := range []string{"# mine", `region = "nl" # old`, `default = "b"`} {
		if !strings.Contains(edited, want) {
			t.Errorf("%q is lost:\n%q", want, edited)
		}
	}
}
