package main

import (
	"bytes"
	"context"
	"errors"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/spf13/pflag"

	"github.com/exactauth/exactauth/internal/config"
	"github.com/exactauth/exactauth/internal/exactauth"
	"github.com/exactauth/exactauth/internal/tokenstore"
)

// program returns what the whole program prints for a live token, and an error where
// it does anything else: it takes the flags of cmd/exactauth, config.Resolve, the store
// and the client.
func program(args []string, env func(string) string) (string, error) {
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
	if p.Store != config.StoreFile || p.Seal != config.SealNone {
		return "", errors.New("another store")
	}
	dir, err := config.StateDir(env)
	if err != nil {
		return "", err
	}
	var noted error
	c := &exactauth.Client{Profile: p, Store: tokenstore.NewFiles(dir, nil), Transport: noNetwork{}, Notice: func(text string) { noted = errors.New(text) }}
	ctx, cancel := context.WithTimeout(context.Background(), time.Second) // it waits for nothing
	defer cancel()
	t, err := c.Token(ctx, exactauth.Want{})
	if err = errors.Join(err, noted); err != nil {
		return "", err
	}
	text, err := t.Text(*format)
	if err == nil && *asJSON {
		text, err = t.JSON(time.Now())
	}
	return text, err
}

// oddities makes what a round of TestFrontPrintsWhatTheProgramPrints tries.
type oddities struct {
	*rand.Rand
	unusual [4]bool // configuration, environment, command line, record: one of them in most rounds
}

func (r oddities) one(from ...string) string { return from[r.IntN(len(from))] }

// some returns at most so many of a part's choices, and none if that part is as usual.
func (r oddities) some(part, most int, from ...string) (out []string) {
	if r.unusual[part] {
		for range r.IntN(most + 1) {
			out = append(out, r.one(from...))
		}
	}
	return out
}

// spoiled changes a character, or how the text is stored, once in a while.
func (r oddities) spoiled(part int, text string) string {
	if !r.unusual[part] || text == "" || r.IntN(3) > 0 {
		return text
	}
	at := r.IntN(len(text))
	switch r.IntN(9) {
	case 0:
		return "\ufeff" + text
	case 1:
		return strings.ReplaceAll(text, "\n", "\r\n")
	case 2:
		return strings.TrimSuffix(text, "\n")
	case 3:
		return text[:at]
	case 4:
		return text[:at] + text[at+1:]
	case 5:
		return text[:at] + strings.ToUpper(text[at:at+1]) + text[at+1:]
	case 6: // a line twice
		from, to := strings.LastIndex(text[:at], "\n")+1, at+strings.IndexByte(text[at:]+"\n", '\n')
		return text[:to] + "\n" + text[from:]
	default:
		return text[:at] + r.one("'", `"`, "=", "[", "]", "#", " ", "\n", "\t", ".", `\`, "-", "\x00", "\x1b", "\u202e", "é") + text[at:]
	}
}

func (r oddities) configuration() string {
	client := "client_id = '" + clientID + "'"
	lines := append(r.some(0, 1, "default = 'beta'", "", "default = 3"), "default = 'acme'")[:1]
	for _, name := range append(r.some(0, 1, "acme", "beta", "default"), "acme") {
		lines = append(append(lines, "[profiles."+name+"]", client), r.some(0, 2,
			"region = 'nl'", "region = \"NL \"", "region = 'be'", "region = 'xx'", "region = ''", "base_url = '"+baseURL+"'", "base_url = '"+baseURL+"/'", "base_url = 'http://exact.example'",
			"base_url = 'https://Start.ExactOnline.nl'", "base_url = '"+baseURL+":443'", "client_id = '{"+strings.ToUpper(clientID)+"}'", "client_id = 'x'", "division = 7", "division = -7",
			"division = 0x7", "division = '7'", "relay = true", "relay = false", "listen = 'none'", "listen = 'nowhere'", "listen = 'http://127.0.0.1'", "listen = 'http://127.0.0.1:8484'", "listen = 'http://10.0.0.1:1'",
			"redirect_uri = 'https://app.test/callback'", "redirect_uri = 'http://app.test'", "redirect_uri = 'https://app.test/#x'", "redirect_uri = 'http://localhost:1/'", "tls_cert = 'a'", "tls_key = 'b'",
			"store = 'file'", "store = 'postgres://u@h/d'", "store = 'postgres://u:p@h/d'", "store = '@f'", "seal = 'none'", "seal = 'keyring'", "seal = 'age:k'", "seal = 'gpg'", "browser = 'x'",
			"client_secret_command = 'false'", "regoin = 'nl'", "default = 'acme'", "# a comment", "", "[profiles.other]", "[other]", "x")...)
	}
	return r.spoiled(0, strings.Join(lines, "\n")+"\n")
}

// owners sets other modes and other owners for the configuration and its directory.
func (r oddities) owners(t *testing.T, dir string) {
	for _, path := range []string{dir, filepath.Join(dir, config.FileName)} {
		mode, owner, group := os.FileMode(0o700), os.Geteuid(), os.Getegid()
		if r.unusual[0] && r.IntN(4) == 0 {
			mode = []os.FileMode{0o755, 0o775, 0o777, 0o777 | os.ModeSticky}[r.IntN(4)]
			if os.Geteuid() == 0 {
				owner, group = []int{0, 0, 0, 61002}[r.IntN(4)], []int{0, 0, 61003}[r.IntN(3)]
			}
		}
		if err := errors.Join(os.Chown(path, owner, group), os.Chmod(path, mode)); err != nil && runtime.GOOS != "windows" {
			t.Fatal(err)
		}
	}
}

func (r oddities) environment(vars map[string]string) {
	for _, pair := range r.some(1, 3, "EXACTAUTH_PROFILE=acme", "EXACTAUTH_PROFILE=beta", "EXACTAUTH_PROFILE=a b", "EXACTAUTH_PROFILE=../acme", "EXACTAUTH_REGION=nl", "EXACTAUTH_REGION=be", "EXACTAUTH_REGION=xx",
		"EXACTAUTH_BASE_URL="+baseURL, "EXACTAUTH_BASE_URL="+baseURL+"/", "EXACTAUTH_BASE_URL=x", "EXACTAUTH_CLIENT_ID="+clientID, "EXACTAUTH_CLIENT_ID=x", "EXACTAUTH_CLIENT_ID= "+clientID+" ",
		"EXACTAUTH_REDIRECT_URI=https://app.test/", "EXACTAUTH_REDIRECT_URI=https://app.test/#", "EXACTAUTH_REDIRECT_URI=x", "EXACTAUTH_LISTEN=none", "EXACTAUTH_LISTEN=http://127.0.0.1", "EXACTAUTH_LISTEN=x",
		"EXACTAUTH_STORE=file", "EXACTAUTH_STORE=postgres://u:p@h/d", "EXACTAUTH_STORE=", "EXACTAUTH_SEAL=none", "EXACTAUTH_SEAL=keyring", "EXACTAUTH_SEAL=x", "EXACTAUTH_DIVISION=7", "EXACTAUTH_DIVISION=0",
		"EXACTAUTH_DIVISION=all", "EXACTAUTH_CLIENT_SECRET=x", "EXACTAUTH_CLIENT_SECRET=", "EXACTAUTH_CLIENT_SECRET_FILE=nowhere", "HTTPS_PROXY=http://u:p%@h:1", "EXACTAUTH_STATE_DIR=relative", "EXACTAUTH_CONFIG_DIR=") {
		name, value, _ := strings.Cut(pair, "=")
		vars[name] = r.spoiled(1, value)
	}
}

func (r oddities) arguments() (args []string) {
	choices := []string{
		"-p acme", "-p beta", "-p", "-p ../acme", "--profile acme", "--profile=acme", "--profile=", "-p=acme", "-pacme", "-profile acme", "--json", "--json=true", "--json=false", "--json=1", "-json", "--format header",
		"--format=env", "--format curl", "--format dotenv", "--format powershell", "--format json", "--format", "--format=", "--format yaml", "token", "tok", "--", "-", "-v", "--no-input", "--timeout 5s", "--timeout=0", "--timeout x",
		"--min-valid 5m", "--min-valid 0", "--force-refresh", "--force-refresh=false", "whoami", "-h", "--help", "--version", "x",
	}
	all := append(append(r.some(2, 1, choices...), "token"), r.some(2, 3, choices...)...)
	for _, arg := range strings.Fields(strings.Join(all, " ")) {
		if r.unusual[2] && r.IntN(10) == 0 {
			arg = r.spoiled(2, arg)
		}
		args = append(args, arg)
	}
	return args
}

var anyTime = regexp.MustCompile(`2026-11-22T[0-9:]+Z`)

// record is one whose token was issued some time ago.
func (r oddities) record() string {
	text := stored()
	for _, edit := range r.some(3, 2,
		"record 1|record 2", "record 1|record 01", "generation 3|generation 4", "generation 3|generation -3", "generation 3|generation 0", "generation 3|generation 3\nmoved_to postgres://db/x",
		baseURL+"|https://start.exactonline.be", baseURL+"|"+baseURL+"/", baseURL+"|HTTPS://start.exactonline.nl", clientID+"|"+strings.ToUpper(clientID), clientID+"|11111111-2222-3333-4444-555555555555",
		"client_secret abcDEF123456\n|", "stampNL001.access|stamp NL001", "stampNL001.access|stamp\x1b[31m", "stampNL001.access|stamp%0d%0aX: y", "stampNL001.access|stamp\u202e", "stampNL001.access|",
		"access_token stampNL001.access\n|", "refresh_token stampNL001.refresh!\n|", "stampNL001.refresh!|x y", "seconds 600|seconds 0", "seconds 600|seconds -600", "seconds 600|seconds 1", "seconds 600|seconds 86400",
		"seconds 600|seconds 99999999999", "seconds 600|seconds 6e2", "12:00:01Z|11:59:59Z", "12:00:01Z|12:00:31Z", "12:00:01Z|12:09:01Z", "requested_at 2026-11-22T12:00:00Z\n|", "12:00:00Z|12:00:00+01:00", "12:00:00Z|12:20:00Z",
		"end|former_access_token a\nformer_refresh_token b\nformer_life_seconds 600\nformer_requested_at 2026-11-22T11:00:00Z\nformer_replied_at 2026-11-22T11:00:01Z\nend", "end|wait_for_expiry true\nend", "end|previous_refresh_token x\nend", "end|pending_access_token a\nend", "end|server_date 2026-11-22T12:00:00Z\nend",
		"end|pending_access_token a\npending_refresh_token b\npending_life_seconds 600\npending_requested_at 2026-11-22T12:00:09Z\npending_replied_at 2026-11-22T12:00:10Z\nend",
		"end|spent_at 2026-11-22T12:00:05Z\nend", "end|lost_at 2026-11-22T12:00:05Z\nend", "end|retry_at 2026-11-22T12:30:00Z\nend", "end|failed_at 2026-11-22T12:00:05Z\nfailures 3\nfailure x\nend", "end|forbidden true\nend",
		"end|refused_text no\nrefused_at 2026-11-22T12:00:01Z\nrefused_client x\nend", "end|refused_config true\nrefused_text no\nrefused_at 2026-11-22T12:00:01Z\nend", "end|lifted_at 2026-11-22T12:00:01Z\nend",
		"end|user_id x\nuser_name Anna\nuser_division 7\nend", "end|user_division x\nend", "end|end\nend", "end|") {
		old, to, _ := strings.Cut(edit, "|")
		text = strings.Replace(text, old, to, 1)
	}
	text = r.spoiled(3, text)
	age := 60 * time.Second
	if ages := []time.Duration{-3600, -120, -20, -3, 3, 60, 300, 500, 560, 579, 596, 610, 2.6e6}; r.unusual[3] && r.IntN(2) == 0 {
		age = ages[r.IntN(len(ages))] * time.Second
	}
	shift := time.Now().Add(-age).Sub(noon)
	return anyTime.ReplaceAllStringFunc(text, func(at string) string {
		if t, err := time.Parse(time.RFC3339, at); err == nil {
			return t.Add(shift).Format(time.RFC3339)
		}
		return at
	})
}

// Whenever the front prints, the whole program prints the same: whatever is in the
// configuration, the environment, the record and on the command line. A part of the
// cases is also tried with the real program, whose flags program only copies.
func TestFrontPrintsWhatTheProgramPrints(t *testing.T) {
	rounds, most := 6_000, 100 // with the real program
	if testing.Short() {
		rounds, most = 2_000, 20
	}
	conf, state := t.TempDir(), t.TempDir()
	if err := os.Chmod(state, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(state, "beta"), []byte(oddities{}.record()), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := exec.LookPath("go"); err != nil {
		t.Skip("there is no go command here")
	}
	whole := filepath.Join(t.TempDir(), "exactauth")
	if runtime.GOOS == "windows" {
		whole += ".exe"
	}
	if out, err := exec.Command("go", "build", "-o", whole, "../exactauth").CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	seconds := regexp.MustCompile(`"expires_in":\s*\d+`) // of two moments
	r := oddities{Rand: rand.New(rand.NewPCG(1, 2))}
	printed, run, odd := 0, 0, [4]int{}
	for i := range rounds {
		r.unusual = [4]bool{}
		if part := i % 5; part < 4 {
			r.unusual[part] = true
		} else {
			r.unusual = [4]bool{true, true, true, true}
		}
		vars := map[string]string{"EXACTAUTH_CONFIG_DIR": conf, "EXACTAUTH_STATE_DIR": state}
		r.environment(vars)
		args, configuration, record := r.arguments(), r.configuration(), r.record()
		for path, text := range map[string]string{filepath.Join(conf, config.FileName): configuration, filepath.Join(state, "acme"): record} {
			_ = os.Remove(path) // ext4 waits for the disk when a file is emptied and written again
			if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
				t.Fatal(err)
			}
		}
		r.owners(t, conf)
		env := func(name string) string { return vars[name] }
		got, ok := liveToken(args, env, time.Now)
		if !ok {
			continue
		}
		printed++
		for part, unusual := range r.unusual {
			if unusual {
				odd[part]++
			}
		}
		got = seconds.ReplaceAllString(got, "")
		want, err := program(args, env)
		if want = seconds.ReplaceAllString(want, ""); err == nil && got == want && printed%13 == 0 && run < most {
			run++
			cmd := exec.Command(whole, args...)
			for name, value := range vars {
				cmd.Env = append(cmd.Env, name+"="+value)
			}
			var errs bytes.Buffer
			cmd.Stderr = &errs
			out, runErr := cmd.Output()
			want, err = seconds.ReplaceAllString(string(out), ""), runErr
			if errs.Len() > 0 {
				err = errors.Join(err, errors.New(errs.String()))
			}
		}
		if err != nil || got != want {
			t.Fatalf("round %d: the front prints %q, the program %q, %v\n%q\n%q\n%s\n%s", i, got, want, err, args, vars, configuration, record)
		}
	}
	t.Logf("the front printed %d times of %d, with an odd part %v times; the real program ran %d times", printed, rounds, odd, run)
	if printed < rounds/6 || run < most/2 || min(odd[0], odd[1], odd[2], odd[3]) < rounds/100 {
		t.Errorf("the front printed %d times only, with an odd part %v times; the real program ran %d times", printed, odd, run)
	}
}
