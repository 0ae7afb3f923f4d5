package main

import (
	"cmp"
	"context"
	"errors"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/exactauth/exactauth/internal/config"
	"github.com/exactauth/exactauth/internal/exactauth"
)

const (
	baseURL  = "https://start.exactonline.nl"
	clientID = "5f3b1c1e-7c0e-4d0a-9b1f-0a6d6f0e2c11"
)

var noon = time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)

// only is a store with one record that cannot be changed.
type only []byte

func (s only) Read(context.Context, string) ([]byte, error) {
	if s == nil {
		return nil, fs.ErrNotExist
	}
	return s, nil
}

func (s only) Update(context.Context, string, func(context.Context, []byte) ([]byte, error)) error {
	return errors.New("this is no plainly live token")
}

func (s only) Delete(context.Context, string) error { return errors.New("not here") }

type noNetwork struct{}

func (noNetwork) RoundTrip(*http.Request) (*http.Response, error) {
	return nil, errors.New("a live token needs no network")
}

// whole returns the token that the whole program would print at once: without a
// thought of replacing it, and without a word.
func whole(record []byte, now time.Time) (token string, err error) {
	c := &exactauth.Client{
		Profile:   config.Settings{Name: "acme", BaseURL: baseURL, ClientID: clientID, RedirectURI: config.DefaultRedirectURI},
		Store:     only(record),
		Transport: noNetwork{},
		Now:       func() time.Time { return now },
		Notice:    func(text string) { err = errors.New(text) },
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Millisecond) // it waits for nothing
	defer cancel()
	t, tokenErr := c.Token(ctx, exactauth.Want{})
	return t.Access.Reveal(), errors.Join(err, tokenErr)
}

// stored is a record as the whole program writes it, its token issued at noon.
func stored(edits ...string) string {
	return strings.NewReplacer(edits...).Replace(`exactauth record 1
base_url ` + baseURL + `
client_id ` + clientID + `
client_secret abcDEF123456
generation 3
access_token stampNL001.access
refresh_token stampNL001.refresh!
life_seconds 600
requested_at 2026-11-22T12:00:00Z
replied_at 2026-11-22T12:00:01Z
end
`)
}

// records are what fuzzing begins with.
var records = []string{
	stored(), "", "exactauth record 1\n", "age-encryption.org/v1\n",
	stored("record 1", "record 2"), stored("generation 3", "generation 3\nmoved_to postgres://db/x"),
	stored("end", "wait_for_expiry true\nend"),
	stored("replied_at 2026-11-22T12:00:01Z", "replied_at 2026-11-22T12:09:01Z"),
	stored("replied_at 2026-11-22T12:00:01Z", "replied_at 2026-11-22T11:59:59Z"),
	stored("end", "refused_text no\nrefused_at 2026-11-22T12:00:01Z\nrefused_client x\nend"),
	stored("end", "pending_access_token a\nend"),
	stored("end", "former_access_token a\nformer_refresh_token b\nformer_life_seconds 600\nformer_requested_at 2026-11-22T11:00:00Z\nformer_replied_at 2026-11-22T11:00:01Z\nend"), stored("end", "code_at 2026-11-22T12:00:02Z\nend"),
	stored(baseURL, "https://start.exactonline.be"),
}

// What the front prints, the whole program would print: whatever is in the record,
// and whenever it is asked. The other way round it need not be so.
func FuzzOpen(f *testing.F) {
	for _, text := range records {
		for _, age := range []int64{-60, -26, -25, 0, 1, 300, 569, 571, 574, 575, 599, 600, 601, 604} {
			f.Add(text, age)
		}
	}
	f.Fuzz(func(t *testing.T, text string, age int64) {
		now := noon.Add(time.Duration(age%1_000_000) * time.Second)
		r, ours := open([]byte(text), config.Settings{BaseURL: baseURL, ClientID: clientID})
		if !ours || !r.Fresh(now) {
			return
		}
		if want, err := whole([]byte(text), now); err != nil || r.Access.Reveal() != want {
			t.Errorf("the front prints %q, the whole program %q, %v", r.Access.Reveal(), want, err)
		}
	})
}

// The times at which the front leaves a token to the whole program are the very
// ones at which that does not hand it out at once.
func TestOpenTimes(t *testing.T) {
	for _, text := range []string{stored(), stored("end", "wait_for_expiry true\nend"), stored("12:00:01Z", "12:00:20Z")} {
		for age := -100; age < 700; age++ {
			now := noon.Add(time.Duration(age) * time.Second)
			r, ours := open([]byte(text), config.Settings{BaseURL: baseURL, ClientID: clientID})
			if _, err := whole([]byte(text), now); !ours || r.Fresh(now) != (err == nil) {
				t.Errorf("at %d s: the front prints it is %v, the whole program says %v\n%s", age, r.Fresh(now), err, text)
			}
		}
	}
}

func TestLiveToken(t *testing.T) {
	conf, state := t.TempDir(), t.TempDir()
	write := func(path, text string, mode os.FileMode) {
		t.Helper()
		if err := os.WriteFile(path, []byte(text), mode); err != nil {
			t.Fatal(err)
		}
		if err := os.Chmod(path, mode); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Chmod(state, 0o700); err != nil {
		t.Fatal(err)
	}
	acme := "[profiles.acme]\nclient_id = \"" + clientID + "\"\n"
	usual := "default = \"acme\"\n" + acme
	const live = "stampNL001.access"

	for name, c := range map[string]struct {
		args    string
		env     string // NAME=value, separated by blanks
		config  string
		mode    os.FileMode
		dirMode os.FileMode
		record  string
		want    string
	}{
		"usual":                     {args: "token", want: live},
		"named before":              {args: "-p acme token", want: live},
		"named after":               {args: "token --profile acme", want: live},
		"named by the environment":  {args: "token", env: "EXACTAUTH_PROFILE=acme", want: live},
		"the only one":              {args: "token", config: acme, want: live},
		"region":                    {args: "token", config: usual + "region = \"nl\"\nstore = \"file\"\nseal = \"none\"\n", want: live},
		"base URL":                  {args: "token", config: usual + "base_url = \"" + baseURL + "\"\n", want: live},
		"a secret beside it":        {args: "token", env: "EXACTAUTH_CLIENT_SECRET=abc EXACTAUTH_CLIENT_SECRET_FILE=/f", want: live},
		"no command":                {args: ""},
		"another command":           {args: "whoami"},
		"two commands":              {args: "token token"},
		"a header":                  {args: "token --format header", want: "Authorization: Bearer " + live},
		"joined":                    {args: "token --format=header --profile=acme", want: "Authorization: Bearer " + live},
		"no such format":            {args: "token --format yaml"},
		"no such format, JSON":      {args: "token --json --format yaml"},
		"a format's value missing":  {args: "token --format"},
		"no value at all":           {args: "token --profile= "},
		"another flag":              {args: "token --min-valid 5m"},
		"a switch with a value":     {args: "token --json=false"},
		"a negative division":       {args: "token", config: usual + "division = -1\n"},
		"help":                      {args: "token --help"},
		"short flags in one":        {args: "-pacme token"},
		"a flag's value is missing": {args: "token -p"},
		"after dashes":              {args: "-- token"},
		"unknown profile":           {args: "token -p beta"},
		"path for a profile":        {args: "token -p ../acme"},
		"two and no default":        {args: "token", config: acme + "[profiles.beta]\nregion = \"be\"\n"},
		"another region":            {args: "token", config: usual + "region = \"be\"\n"},
		"no such region":            {args: "token", config: usual + "region = \"xx\"\n"},
		"region and base URL":       {args: "token", config: usual + "region = \"nl\"\nbase_url = \"" + baseURL + "\"\n"},
		"a store":                   {args: "token", config: usual + "store = \"postgres://db/x\"\n"},
		"a seal":                    {args: "token", config: usual + "seal = \"keyring\"\n"},
		"unknown key":               {args: "token", config: usual + "regoin = \"nl\"\n"},
		"no TOML":                   {args: "token", config: "<html>"},
		"no configuration":          {args: "token", config: " "},
		"open to all":               {args: "token", mode: 0o666},
		"its directory open to all": {args: "token", dirMode: 0o777},
		"the same base URL outside": {args: "token", env: "EXACTAUTH_BASE_URL=" + baseURL, want: live},
		"another base URL outside":  {args: "token", env: "EXACTAUTH_BASE_URL=https://start.exactonline.be"},
		"a seal outside":            {args: "token", env: "EXACTAUTH_SEAL=keyring"},
		"a division outside":        {args: "token", env: "EXACTAUTH_DIVISION=x"},
		"no record":                 {args: "token", record: "none"},
		"damaged record":            {args: "token", record: stored()[:200]},
		"expired":                   {args: "token", record: stored("2026-11-22T12:0", "2026-11-22T11:0")},
		"marked by a refresh":       {args: "token", record: stored("end", "spent_at 2026-11-22T12:00:59Z\nend")},
		"marked by a sign-in":       {args: "token", record: stored("end", "code_at 2026-11-22T12:00:59Z\nend")},
		"another client's":          {args: "token", record: stored(clientID, "11111111-2222-3333-4444-555555555555")},
		"signed out":                {args: "token", record: "exactauth record 1\nbase_url " + baseURL + "\nclient_id " + clientID + "\nend\n"},
	} {
		t.Run(name, func(t *testing.T) {
			if runtime.GOOS == "windows" && (c.mode != 0 || c.dirMode != 0) {
				t.Skip("there are no mode bits")
			}
			text, mode := c.config, c.mode
			if text == "" {
				text = usual
			}
			if mode == 0 {
				mode = 0o600
			}
			write(filepath.Join(conf, config.FileName), text, mode)
			if err := os.Chmod(conf, cmp.Or(c.dirMode, 0o700)); err != nil {
				t.Fatal(err)
			}
			rec := c.record
			if rec == "" {
				rec = stored()
			}
			write(filepath.Join(state, "acme"), rec, 0o600)
			if rec == "none" {
				os.Remove(filepath.Join(state, "acme"))
			}
			env := map[string]string{"EXACTAUTH_CONFIG_DIR": conf, "EXACTAUTH_STATE_DIR": state}
			for _, pair := range strings.Fields(c.env) {
				name, value, _ := strings.Cut(pair, "=")
				env[name] = value
			}
			got, ok := liveToken(strings.Fields(c.args), func(name string) string { return env[name] }, func() time.Time { return noon.Add(time.Minute) })
			if ok != (c.want != "") || ok && got != c.want+"\n" {
				t.Errorf("got %q, %v; want %q", got, ok, c.want)
			}
		})
	}
}

// Each call of token allocates this often. The limit is a little above the count of
// November 2026.
func TestLiveTokenAllocations(t *testing.T) {
	const most = 100
	if runtime.GOOS != "linux" {
		t.Skip("it was counted on Linux only")
	}
	dir := t.TempDir()
	text := "default = \"acme\"\n\n[profiles.acme]\nbase_url = \"" + baseURL + "\"\nclient_id = \"" + clientID + "\"\n"
	if err := errors.Join(os.WriteFile(filepath.Join(dir, config.FileName), []byte(text), 0o600), os.WriteFile(filepath.Join(dir, "acme"), []byte(stored()), 0o600)); err != nil {
		t.Fatal(err)
	}
	env := func(name string) string {
		return map[string]string{"EXACTAUTH_CONFIG_DIR": dir, "EXACTAUTH_STATE_DIR": dir}[name]
	}
	n := testing.AllocsPerRun(100, func() {
		if _, ok := liveToken([]string{"token"}, env, func() time.Time { return noon.Add(time.Minute) }); !ok {
			t.Fatal("no token")
		}
	})
	if n > most {
		t.Errorf("a call allocates %.0f times, more than %d", n, most)
	} else {
		t.Logf("a call allocates %.0f times", n)
	}
}
