package config

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"github.com/exactauth/exactauth/internal/fault"
	"github.com/exactauth/exactauth/internal/trust"
)

// setUp writes a configuration and returns an environment that leads to it.
func setUp(t *testing.T, text string, vars map[string]string) (env func(string) string, dir string) {
	t.Helper()
	dir = t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, FileName), []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return func(name string) string {
		if name == "EXACTAUTH_CONFIG_DIR" {
			return dir
		}
		return vars[name]
	}, dir
}

func TestResolve(t *testing.T) {
	t.Parallel()
	const acme = "[profiles.acme]\nclient_id = '" + clientID + "'\n"
	const two = "default = 'acme'\n" + acme + "division = 5\nregion = 'be'\n[profiles.beta]\nclient_id = 'x'\n"
	for _, test := range []struct {
		name, text, profile, env string
		want                     string // name, base URL and division, or what the error contains
		is                       error
	}{
		{"the default", two, "", "", "acme https://start.exactonline.be 5", nil},
		{"the only one", acme, "", "", "acme https://start.exactonline.nl 0", nil},
		{"environment over file", two, "", "EXACTAUTH_REGION=nl EXACTAUTH_DIVISION=7", "acme https://start.exactonline.nl 7", nil},
		{"base URL over region", two, "", "EXACTAUTH_BASE_URL=https://exact.example/", "acme https://exact.example 5", nil},
		{"flag over environment", two, "acme", "EXACTAUTH_PROFILE=beta", "acme https://start.exactonline.be 5", nil},
		{"environment over default", two, "", "EXACTAUTH_PROFILE=beta", `profile beta: client_id: "x" is not a GUID`, fault.ErrConfig},
		{"environment alone", "", "", "EXACTAUTH_REGION=be EXACTAUTH_CLIENT_ID=" + clientID, "default https://start.exactonline.be 0", nil},
		{"environment alone, named", acme, "new", "EXACTAUTH_REGION=be EXACTAUTH_CLIENT_ID=" + clientID, "new https://start.exactonline.be 0", nil},
		{"environment without a region", "", "", "EXACTAUTH_CLIENT_ID=" + clientID, "profile default: not set up", fault.ErrConfig},
		{"unknown", two, "gamma", "", "profile gamma: not set up", fault.ErrConfig},
		{"no name", strings.Replace(two, "default", "#", 1), "", "", "there are 2 profiles and none is the default", fault.ErrConfig},
		{"no good name", two, "a b", "", `profile name "a b": want`, ErrName},
		{"wrong variable", two, "", "EXACTAUTH_DIVISION=x", "profile acme: EXACTAUTH_DIVISION: ", fault.ErrConfig},
		{"password in the file", acme + "store = 'postgres://u:hunter2@h/d'\n", "", "EXACTAUTH_STORE=file", "profile acme: store: its address has a password", ErrPassword},
		{"password in the environment", acme, "", "EXACTAUTH_STORE=postgres://u:hunter2@h/d", "acme https://start.exactonline.nl 0", nil},
		{"damaged", "[", "", "", FileName + ": line 1", fault.ErrConfig},
	} {
		t.Run(test.name, func(t *testing.T) {
			vars := map[string]string{}
			for _, pair := range strings.Fields(test.env) {
				name, value, _ := strings.Cut(pair, "=")
				vars[name] = value
			}
			env, _ := setUp(t, test.text, vars)
			s, err := Resolve(env, test.profile)
			got := fmt.Sprint(s.Name, " ", s.BaseURL, " ", s.Division)
			if err != nil {
				got = err.Error()
			}
			if !errors.Is(err, test.is) || !strings.Contains(got, test.want) || strings.Contains(got, "hunter2") {
				t.Errorf("got %q, want %q", got, test.want)
			}
		})
	}
}

// With an error Resolve returns what it could settle.
func TestResolveReturnsWhatItSettled(t *testing.T) {
	t.Parallel()
	env, _ := setUp(t, "[profiles.acme]\nclient_id = 'x'\nstore = '@/f'\n", map[string]string{"EXACTAUTH_DIVISION": "x"})
	if s, err := Resolve(env, ""); err == nil || s.Name != "acme" || s.Store != "@/f" || s.BaseURL == "" {
		t.Errorf("%+v, %v", s, err)
	}
}

func TestChange(t *testing.T) {
	t.Parallel()
	env, dir := setUp(t, "# mine\n[profiles.acme]\nregion = 'nl'\n", nil)
	path := filepath.Join(dir, FileName)
	err := Change(context.Background(), env, func(c *Config) error {
		c.Default, c.Profiles["acme"]["region"], c.Profiles["acme"]["listen"] = "acme", "be", ""
		return nil
	}, nil)
	if text, readErr := os.ReadFile(path); err != nil || readErr != nil || string(text) != "# mine\ndefault = \"acme\"\n\n[profiles.acme]\nregion = 'be'\n" {
		t.Errorf("%q, %v, %v", text, err, readErr)
	}
	failed := errors.New("failed")
	for _, change := range []func(*Config) error{
		func(c *Config) error { c.Default = "x"; return failed },
		func(c *Config) error { c.Profiles["acme"]["regoin"] = "be"; return nil }, // no such setting
		func(c *Config) error { c.Profiles["acme"]["listen"] = "\xff"; return nil },
		func(c *Config) error { c.Profiles["a b"] = Values{}; return nil },
	} {
		before, _ := os.ReadFile(path)
		err := Change(context.Background(), env, change, nil)
		if after, _ := os.ReadFile(path); err == nil || string(after) != string(before) {
			t.Errorf("%v; the file is\n%s", err, after)
		}
	}
	// What goes with the file is changed last, and not if the file cannot be.
	var late *FileError
	rename := func(c *Config) error { c.Default = ""; return nil }
	before, _ := os.ReadFile(path)
	err = Change(context.Background(), env, rename, func() error { return failed })
	if after, _ := os.ReadFile(path); !errors.Is(err, failed) || errors.As(err, &late) || string(after) != string(before) {
		t.Errorf("%v; the file is\n%s", err, after)
	}
	err = Change(context.Background(), env, rename, func() error { // a directory takes the file's place
		return errors.Join(os.Remove(path), os.MkdirAll(filepath.Join(path, "x"), 0o700))
	})
	if !errors.As(err, &late) || !late.Late {
		t.Errorf("%v; want one that says that the record is changed", err)
	}
	if names, err := os.ReadDir(dir); err != nil || len(names) != 2 { // the file and its lock
		t.Errorf("%v, %v", names, err)
	}
}

// A configuration that every user can change is not read.
func TestReadRefusesOpenFiles(t *testing.T) {
	t.Parallel()
	if runtime.GOOS == "windows" {
		t.Skip("there are no mode bits")
	}
	env, dir := setUp(t, "", nil)
	path := filepath.Join(dir, FileName)
	for _, open := range []string{path, dir} {
		info, err := os.Stat(open)
		if err != nil {
			t.Fatal(err)
		}
		if err := os.Chmod(open, info.Mode().Perm()|0o002); err != nil {
			t.Fatal(err)
		}
		var refused *trust.Error
		if _, err := Read(env); !errors.As(err, &refused) || refused.Path != open || !errors.Is(err, fault.ErrConfig) {
			t.Errorf("%s: %v", open, err)
		}
		if err := os.Chmod(open, info.Mode().Perm()); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := Read(env); err != nil {
		t.Error(err)
	}
}
