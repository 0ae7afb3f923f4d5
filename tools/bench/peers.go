//go:build linux

package main

import (
	"bytes"
	"context"
	"debug/buildinfo"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"
)

// peer is another program that hands out a token, or opens a file with one.
type peer struct {
	name   string
	shown  string // in the table
	module string // where it is built from, if it can be
	// ready fills the program's cache in dir and gives the arguments that have it
	// print token from there.
	ready func(ctx context.Context, p *kitchen) (args []string, err error)
}

// kitchen is where a peer's cache is made.
type kitchen struct {
	program, dir string
	token        string
	record       string   // exactauth's, for those that read files
	env          []string // what it needs beside args, by and by
	closers      []func() error
	noOutput     bool // what it prints is not the token alone
}

func (k *kitchen) path(elements ...string) string {
	return filepath.Join(append([]string{k.dir}, elements...)...)
}

// run runs the program, or another, which must work unless may is set.
func (k *kitchen) run(ctx context.Context, stdin string, args ...string) (string, error) {
	cmd := exec.CommandContext(ctx, args[0], args[1:]...)
	cmd.Env = append([]string{"PATH=" + os.Getenv("PATH"), "HOME=" + k.dir, "LC_ALL=C"}, k.env...)
	cmd.Stdin = strings.NewReader(stdin)
	out, err := cmd.CombinedOutput()
	if err != nil {
		return "", fmt.Errorf("%s: %w: %.300s", strings.Join(args, " "), err, bytes.TrimSpace(out))
	}
	return string(out), nil
}

func (k *kitchen) write(name string, v any) (path string, err error) {
	text, ok := v.(string)
	if !ok {
		b, err := json.Marshal(v)
		if err != nil {
			return "", err
		}
		text = string(b)
	}
	return k.path(name), os.WriteFile(k.path(name), []byte(text), 0o600)
}

var peers = []peer{
	{"oidc-token", "`oidc-token` (C, its agent running)", "", readyOIDCAgent},
	{"oauth2l", "`oauth2l fetch`, cached", "github.com/google/oauth2l", readyOAuth2l},
	{"kubelogin", "`kubelogin get-token`, cached", "github.com/int128/kubelogin", readyKubelogin},
	{"gh", "`gh auth token`, plain file", "github.com/cli/cli/v2/cmd/gh", readyGH},
	{"jq", "`jq -r .login.access_token` on the record", "", func(_ context.Context, k *kitchen) ([]string, error) {
		return []string{"-r", ".login.access_token", k.record}, nil
	}},
	{"age", "`age -d` of a sealed token", "", readyAge},
}

func readyOIDCAgent(ctx context.Context, k *kitchen) ([]string, error) {
	url, server, err := provider(k.token)
	if err != nil {
		return nil, err
	}
	k.closers = append(k.closers, server.Close)
	if err := os.Mkdir(k.path(".oidc-agent"), 0o700); err != nil {
		return nil, err
	}
	agent := exec.Command(filepath.Join(filepath.Dir(k.program), "oidc-agent"), "-d", "-a", k.path("socket"))
	agent.Env = []string{"PATH=" + os.Getenv("PATH"), "HOME=" + k.dir}
	if err := agent.Start(); err != nil {
		return nil, err
	}
	k.closers = append(k.closers, func() error {
		_ = agent.Process.Signal(os.Interrupt)
		ended := time.AfterFunc(5*time.Second, func() { agent.Process.Kill() })
		defer ended.Stop()
		_ = agent.Wait() // it was told to
		return nil
	})
	for {
		if _, err := os.Stat(k.path("socket")); err == nil {
			break
		}
		select {
		case <-ctx.Done():
			return nil, errors.New("oidc-agent does not listen")
		case <-time.After(20 * time.Millisecond):
		}
	}
	k.env = []string{"OIDC_SOCK=" + k.path("socket")}
	_, err = k.run(ctx, "", filepath.Join(filepath.Dir(k.program), "oidc-gen"), "bench", "--iss", url, "--client-id", "c", "--client-secret", "s",
		"--redirect-uri", "http://localhost:4242", "--flow=refresh", "--rt", "refresh", "-m", "--pw-cmd", "echo password", "--scope", "openid offline_access")
	return []string{"bench"}, err
}

func readyOAuth2l(_ context.Context, k *kitchen) ([]string, error) {
	const scope = "http://127.0.0.1:9/scope"
	credentials := `{"installed":{"client_id":"c","client_secret":"s","auth_uri":"http://127.0.0.1:9/a","token_uri":"http://127.0.0.1:9/t","redirect_uris":[]}}`
	file, err := k.write("credentials.json", credentials)
	if err != nil {
		return nil, err
	}
	key, err := json.Marshal(struct { // its CacheKey
		CredentialsJSON, Scope, Audience, Email, APIKey, QuotaProject string
		Sts                                                           bool
		ServiceAccount                                                string
	}{CredentialsJSON: credentials, Scope: scope})
	if err != nil {
		return nil, err
	}
	token, err := json.Marshal(map[string]any{"access_token": k.token, "token_type": "Bearer", "refresh_token": "r", "expiry": "2099-01-01T00:00:00Z"})
	if err != nil {
		return nil, err
	}
	cache, err := k.write("cache.json", map[string]string{string(key): base64.StdEncoding.EncodeToString(token)})
	return []string{"fetch", "--credentials", file, "--scope", scope, "--type", "oauth", "--cache", cache}, err
}

func readyKubelogin(ctx context.Context, k *kitchen) ([]string, error) {
	k.noOutput = true // JSON around the token
	args := []string{"get-token", "--oidc-issuer-url=http://127.0.0.1:9/", "--oidc-client-id=c", "--token-cache-dir=" + k.path("cache"), "--skip-open-browser"}
	if _, err := k.run(ctx, "", append([]string{k.program}, args...)...); err == nil {
		return nil, errors.New("it has a token without a cache")
	}
	locks, err := filepath.Glob(k.path("cache", "*.lock"))
	if err != nil || len(locks) != 1 {
		return nil, fmt.Errorf("its cache has another form than expected: %v", locks)
	}
	part := func(v string) string { return base64.RawURLEncoding.EncodeToString([]byte(v)) }
	id := part(`{"alg":"RS256","typ":"JWT"}`) + "." + part(`{"iss":"http://127.0.0.1:9/","aud":"c","sub":"s","exp":4070908800,"pad":"`+strings.Repeat("x", 400)+`"}`) + "." + part(strings.Repeat("s", 256))
	name := strings.TrimSuffix(filepath.Join("cache", filepath.Base(locks[0])), ".lock")
	_, err = k.write(name, map[string]string{"id_token": id, "refresh_token": "r"})
	return args, err
}

func readyGH(_ context.Context, k *kitchen) ([]string, error) {
	k.env = []string{"GH_CONFIG_DIR=" + k.dir}
	if _, err := k.write("config.yml", "version: \"1\"\n"); err != nil {
		return nil, err
	}
	_, err := k.write("hosts.yml", "github.com:\n    oauth_token: "+k.token+"\n    user: u\n    git_protocol: https\n")
	return []string{"auth", "token"}, err
}

func readyAge(ctx context.Context, k *kitchen) ([]string, error) {
	identity, err := k.run(ctx, "", filepath.Join(filepath.Dir(k.program), "age-keygen"))
	if err != nil {
		return nil, err
	}
	_, recipient, _ := strings.Cut(identity, "public key: ")
	recipient, _, _ = strings.Cut(recipient, "\n")
	key, err := k.write("key", identity[strings.Index(identity, "#"):])
	if err != nil {
		return nil, err
	}
	_, err = k.run(ctx, k.token, k.program, "-r", recipient, "-o", k.path("sealed"))
	return []string{"-d", "-i", key, k.path("sealed")}, err
}

// peerCommands gives the commands of those that are there, what they want in the
// environment, and words about the others.
func (b *bench) peerCommands(which, token string) (commands []command, env, absent []string, stop func(), err error) {
	var closers []func() error
	stop = func() {
		for _, c := range closers {
			if err := c(); err != nil {
				say("%v", err)
			}
		}
	}
	if which == "none" {
		return nil, nil, nil, stop, nil
	}
	for _, p := range peers {
		k := &kitchen{dir: filepath.Join(b.dir, "peers", p.name), token: token, record: b.world.record()}
		if err := os.MkdirAll(k.dir, 0o700); err != nil {
			return nil, nil, nil, stop, err
		}
		if k.program, err = exec.LookPath(p.name); err != nil && which == "build" && p.module != "" {
			say("building %s", p.module)
			err = b.tool(b.dir, []string{"CGO_ENABLED=0", "GOFLAGS=-trimpath", "GOBIN=" + k.dir}, "go", "install", "-ldflags", "-s -w", p.module+"@latest")
			k.program = filepath.Join(k.dir, p.name)
		}
		if err != nil {
			say("%s: %v", p.name, err)
			absent = append(absent, "`"+p.name+"`")
			continue
		}
		ctx, cancel := patient(b.ctx)
		args, err := p.ready(ctx, k)
		closers = append(closers, k.closers...)
		c := command{name: p.shown + version(ctx, k.program), args: append([]string{k.program}, args...)}
		if !k.noOutput {
			c.want = token
		}
		if err == nil {
			err = b.works(append(b.world.env(), k.env...), c)
		}
		cancel()
		if err != nil {
			say("%s: %v", p.name, err)
			absent = append(absent, "`"+p.name+"` (it did not run)")
			continue
		}
		env = append(env, k.env...)
		commands = append(commands, c)
	}
	return commands, env, absent, stop, nil
}

// version gives a program's version in brackets, if it tells.
func version(ctx context.Context, program string) string {
	if info, err := buildinfo.ReadFile(program); err == nil && strings.HasPrefix(info.Main.Version, "v") {
		return " (" + strings.TrimPrefix(info.Main.Version, "v") + ")"
	}
	for _, flag := range []string{"--version", "version"} {
		cmd := exec.CommandContext(ctx, program, flag)
		cmd.Stdin = nil
		out, err := cmd.Output()
		if err != nil {
			continue
		}
		for _, word := range strings.FieldsFunc(string(out), func(r rune) bool { return strings.ContainsRune(" \n\t-,", r) }) {
			if word = strings.TrimPrefix(word, "v"); word != "" && word[0] >= '0' && word[0] <= '9' {
				return " (" + word + ")"
			}
		}
	}
	return ""
}
