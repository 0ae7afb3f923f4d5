package main

import (
	"context"
	"errors"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/spf13/pflag"

	"github.com/exactauth/exactauth/internal/config"
	"github.com/exactauth/exactauth/internal/exactauth"
)

// program returns what the whole program prints for a live token, and an error where
// it does anything else: it takes the flags of cmd/exactauth, config.Resolve, and the
// client's judgement of the record.
func program(args []string, env func(string) string, now func() time.Time) (string, error) {
	f := pflag.NewFlagSet("exactauth", pflag.ContinueOnError)
	profile := f.StringP("profile", "p", "", "")
	asJSON := f.Bool("json", false, "")
	format := f.String("format", "token", "")
	f.Bool("no-input", false, "")
	f.BoolP("verbose", "v", false, "")
	f.Duration("timeout", 0, "")
	minValid := f.Duration("min-valid", 0, "")
	force := f.Bool("force-refresh", false, "")
	f.SetOutput(new(strings.Builder))
	if err := f.Parse(args); err != nil {
		return "", err
	}
	if f.NArg() != 1 || f.Arg(0) != "token" || *minValid != 0 || *force {
		return "", errors.New("another command")
	}
	p, err := config.Resolve(env, *profile)
	if err != nil {
		return "", err
	}
	if p.Store != "file" || p.Seal != "none" {
		return "", errors.New("another store")
	}
	record, err := os.ReadFile(filepath.Join(env("EXACTAUTH_STATE_DIR"), p.Name))
	if err != nil {
		return "", err
	}
	c := &exactauth.Client{Profile: p, Store: only(record), Now: now}
	ctx, cancel := context.WithTimeout(context.Background(), time.Millisecond)
	defer cancel()
	t, err := c.Token(ctx, exactauth.Want{})
	if err != nil {
		return "", err
	}
	text, err := t.Text(*format)
	if err == nil && *asJSON {
		text, err = t.JSON(now())
	}
	return text, err
}

// Whenever the front prints, the whole program prints the same: whatever is in the
// configuration, in the environment and on the command line.
func TestFrontPrintsWhatTheProgramPrints(t *testing.T) {
	conf, state := t.TempDir(), t.TempDir()
	if err := os.Chmod(state, 0o700); err != nil {
		t.Fatal(err)
	}
	for name, text := range map[string]string{"acme": stored(), "beta": stored(baseURL, "https://start.exactonline.be"), "default": stored()} {
		if err := os.WriteFile(filepath.Join(state, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	random := rand.New(rand.NewPCG(1, 2))
	one := func(from ...string) string { return from[random.IntN(len(from))] }
	var unusual [3]bool // configuration, environment, command line: one of them in most rounds
	some := func(what, most int, from ...string) (out []string) {
		for range random.IntN(most + 1) {
			if !unusual[what] {
				break
			}
			out = append(out, one(from...))
		}
		return out
	}
	settings := []string{
		"region = 'nl'", "region = \"NL \"", "region = 'be'", "region = 'xx'", "region = ''", "base_url = '" + baseURL + "'", "base_url = '" + baseURL + "/'", "base_url = 'http://exact.example'",
		"client_id = '{" + strings.ToUpper(clientID) + "}'", "client_id = 'x'", "division = 7", "division = -7", "division = 0x7", "division = '7'", "relay = true", "relay = false", "listen = 'none'", "listen = 'nowhere'",
		"redirect_uri = 'https://app.test/callback'", "redirect_uri = 'http://app.test'", "tls_cert = 'a'", "tls_key = 'b'", "store = 'file'", "store = 'postgres://u@h/d'", "store = 'postgres://u:p@h/d'", "store = '@f'",
		"seal = 'none'", "seal = 'keyring'", "seal = 'gpg'", "client_secret_command = 'false'", "regoin = 'nl'", "default = 'acme'", "# a comment", "", "[profiles.other]", "[other]", "x",
	}
	variables := []string{
		"EXACTAUTH_PROFILE=acme", "EXACTAUTH_PROFILE=beta", "EXACTAUTH_PROFILE=a b", "EXACTAUTH_REGION=nl", "EXACTAUTH_REGION=be", "EXACTAUTH_REGION=xx", "EXACTAUTH_BASE_URL=" + baseURL, "EXACTAUTH_BASE_URL=x",
		"EXACTAUTH_CLIENT_ID=" + clientID, "EXACTAUTH_CLIENT_ID=x", "EXACTAUTH_REDIRECT_URI=https://app.test/", "EXACTAUTH_REDIRECT_URI=x", "EXACTAUTH_LISTEN=none", "EXACTAUTH_LISTEN=x", "EXACTAUTH_STORE=file",
		"EXACTAUTH_STORE=postgres://u:p@h/d", "EXACTAUTH_SEAL=none", "EXACTAUTH_SEAL=keyring", "EXACTAUTH_SEAL=x", "EXACTAUTH_DIVISION=7", "EXACTAUTH_DIVISION=0", "EXACTAUTH_DIVISION=all", "EXACTAUTH_CLIENT_SECRET=x",
	}
	arguments := []string{
		"-p acme", "-p beta", "-p", "--profile acme", "--profile=acme", "--profile=", "-p=acme", "-pacme", "--json", "--json=true", "--json=false", "--format header", "--format=env", "--format curl", "--format", "--format yaml",
		"token", "--", "-v", "--no-input", "--timeout 5s", "--min-valid 5m", "--min-valid 0", "--force-refresh", "whoami", "-h",
	}
	printed := 0
	for i := range 4_000 {
		unusual = [3]bool{i%4 == 0, i%4 == 1, i%4 == 2}
		if i%4 == 3 {
			unusual = [3]bool{true, true, true}
		}
		client := "client_id = '" + clientID + "'"
		lines := []string{one("default = 'acme'", "default = 'acme'", "default = 'beta'", "", "default = 3")}
		for _, name := range append(some(0, 2, "acme", "beta", "default"), "acme") {
			lines = append(append(lines, "[profiles."+name+"]", one(client, client, client, "")), some(0, 2, settings...)...)
		}
		if err := os.WriteFile(filepath.Join(conf, config.FileName), []byte(strings.Join(lines, "\n")+"\n"), 0o600); err != nil {
			t.Fatal(err)
		}
		vars := map[string]string{"EXACTAUTH_CONFIG_DIR": conf, "EXACTAUTH_STATE_DIR": state}
		for _, pair := range some(1, 3, variables...) {
			name, value, _ := strings.Cut(pair, "=")
			vars[name] = value
		}
		args := append(some(2, 1, arguments...), "token")
		args = strings.Fields(strings.Join(append(args, some(2, 2, arguments...)...), " "))

		env := func(name string) string { return vars[name] }
		now := func() time.Time { return noon.Add(time.Minute) }
		got, ok := liveToken(args, env, now)
		if !ok {
			continue
		}
		printed++
		if want, err := program(args, env, now); err != nil || got != want {
			t.Fatalf("round %d: the front prints %q, the program %q, %v\n%v\n%v\n%s", i, got, want, err, args, vars, strings.Join(lines, "\n"))
		}
	}
	if printed < 500 {
		t.Errorf("the front printed %d times only", printed)
	}
}
