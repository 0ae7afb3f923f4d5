//go:build linux

package main

import (
	"context"
	"debug/buildinfo"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"filippo.io/age"
)

// peer is another program that prints a token.
type peer struct {
	program string // its name, then its path
	shown   string // in the table
	module  string // where it is built from, if it can be
	// fill puts the token into the program's own cache and returns the arguments that
	// print it from there.
	fill func(ctx context.Context, p *peer) (args []string, err error)

	dir, token string
	env        []string // what the program needs beside its arguments
	stop       func()   // ends what fill has started; nil if that is nothing
	wrapped    bool     // it prints the token with something around it
}

func peers() []*peer {
	return []*peer{
		{program: "oidc-token", shown: "`oidc-token` (C, its agent running)", fill: fillOIDCToken},
		{program: "oauth2l", shown: "`oauth2l fetch`, cached", module: "github.com/google/oauth2l", fill: fillOAuth2l},
		{program: "kubelogin", shown: "`kubelogin get-token`, cached", module: "github.com/int128/kubelogin", fill: fillKubelogin},
		{program: "jq", shown: "`jq -r .access_token` on a file", fill: fillJQ},
		{program: "age", shown: "`age -d` of a sealed token", module: "filippo.io/age/cmd/age", fill: fillAge},
		{program: "gh", shown: "`gh auth token`, plain file", module: "github.com/cli/cli/v2/cmd/gh", fill: fillGH},
	}
}

// peerCommands returns the commands of the peers that are installed or can be built, and
// the environment variables that they need. The caller calls stop after the last command.
func (b *bench) peerCommands(token string) (commands []command, env []string, stop func()) {
	if b.peers == "none" {
		return nil, nil, func() {}
	}
	all := peers()
	stop = func() {
		for _, p := range all {
			if p.stop != nil {
				p.stop()
			}
		}
	}
	for _, p := range all {
		p.dir, p.token = filepath.Join(b.dir, "peers", p.program), token
		c, err := b.peerCommand(p)
		if err != nil {
			say("left out: %s: %v", p.shown, err)
			continue
		}
		commands, env = append(commands, c), append(env, p.env...)
	}
	return commands, env, stop
}

func (b *bench) peerCommand(p *peer) (c command, err error) {
	name := p.program
	if err := os.MkdirAll(p.dir, 0o700); err != nil {
		return c, err
	}
	if p.program, err = exec.LookPath(name); err != nil && b.peers == "build" && p.module != "" {
		say("building %s", p.module)
		p.program = filepath.Join(p.dir, name)
		err = b.compile([]string{"GOBIN=" + p.dir}, "install", p.module+"@latest")
	}
	if err != nil {
		return c, err
	}
	ctx, cancel := context.WithTimeout(b.ctx, time.Minute)
	defer cancel()
	args, err := p.fill(ctx, p)
	if err != nil {
		return c, err
	}
	token := p.token
	if p.wrapped {
		token = ""
	}
	c = command{name: p.shown, args: append([]string{p.program}, args...), want: token}
	c.name += moduleVersion(p.program)
	return c, b.works(append(b.world.env(), p.env...), c)
}

// moduleVersion is what a Go program was built from, for the tables.
func moduleVersion(program string) string {
	if info, err := buildinfo.ReadFile(program); err == nil && info.Main.Version != "" {
		return " (" + info.Main.Version + ")"
	}
	return ""
}

func (p *peer) path(name string) string { return filepath.Join(p.dir, name) }

func (p *peer) write(name string, v any) (path string, err error) {
	text, ok := v.(string)
	if !ok {
		b, err := json.Marshal(v)
		if err != nil {
			return "", err
		}
		text = string(b)
	}
	return p.path(name), os.WriteFile(p.path(name), []byte(text), 0o600)
}

// run runs a program with the peer's directory as its home.
func (p *peer) run(ctx context.Context, args ...string) (string, error) {
	return output(ctx, append([]string{"PATH=" + os.Getenv("PATH"), "HOME=" + p.dir}, p.env...), "", args...)
}

// fillOIDCToken starts an agent, which gets the token from a provider.
func fillOIDCToken(ctx context.Context, p *peer) ([]string, error) {
	// All that a client asks of a provider is in one answer: what it is, and the token.
	provider := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		url := "http://" + r.Host + "/"
		_ = json.NewEncoder(w).Encode(map[string]any{ // to an agent that may have gone
			"issuer": url, "authorization_endpoint": url, "token_endpoint": url, "scopes_supported": []string{"openid", "offline_access"},
			"access_token": p.token, "refresh_token": "r", "token_type": "Bearer", "expires_in": 86400, "scope": "openid offline_access",
		})
	}))
	p.stop = provider.Close
	if err := os.Mkdir(p.path(".oidc-agent"), 0o700); err != nil {
		return nil, err
	}
	started, err := p.run(ctx, "oidc-agent", "-a", p.path("socket"))
	if err != nil {
		return nil, err
	}
	_, pid, _ := strings.Cut(started, "OIDCD_PID=")
	pid, _, _ = strings.Cut(pid, ";")
	p.env = []string{"OIDC_SOCK=" + p.path("socket"), "OIDCD_PID=" + pid}
	p.stop = func() {
		if _, err := p.run(context.Background(), "oidc-agent", "-k"); err != nil {
			say("%v", err)
		}
		provider.Close()
	}
	_, err = p.run(ctx, "oidc-gen", "bench", "--iss", provider.URL+"/", "--client-id", "c", "--client-secret", "s", "--redirect-uri", "http://localhost:4242",
		"--flow=refresh", "--rt", "r", "-m", "--pw-cmd", "echo password", "--scope", "openid offline_access")
	return []string{"bench"}, err
}

func fillOAuth2l(_ context.Context, p *peer) ([]string, error) {
	const scope = "http://127.0.0.1:9/scope"
	credentials := `{"installed":{"client_id":"c","client_secret":"s","auth_uri":"http://127.0.0.1:9/a","token_uri":"http://127.0.0.1:9/t","redirect_uris":[]}}`
	file, err := p.write("credentials.json", credentials)
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
	token, err := json.Marshal(map[string]any{"access_token": p.token, "token_type": "Bearer", "refresh_token": "r", "expiry": "2099-01-01T00:00:00Z"})
	if err != nil {
		return nil, err
	}
	cache, err := p.write("cache.json", map[string]string{string(key): base64.StdEncoding.EncodeToString(token)})
	return []string{"fetch", "--credentials", file, "--scope", scope, "--type", "oauth", "--cache", cache}, err
}

func fillKubelogin(ctx context.Context, p *peer) ([]string, error) {
	p.wrapped = true
	args := []string{"get-token", "--oidc-issuer-url=http://127.0.0.1:9/", "--oidc-client-id=c", "--token-cache-dir=" + p.path("cache"), "--skip-open-browser"}
	if _, err := p.run(ctx, append([]string{p.program}, args...)...); err == nil {
		return nil, errors.New("it has a token without a cache")
	}
	locks, err := filepath.Glob(p.path("cache/*.lock")) // named after the cache's key
	if err != nil || len(locks) != 1 {
		return nil, fmt.Errorf("its cache has another form than expected: %v", locks)
	}
	part := func(v string) string { return base64.RawURLEncoding.EncodeToString([]byte(v)) }
	id := part(`{"alg":"RS256","typ":"JWT"}`) + "." + part(`{"iss":"http://127.0.0.1:9/","aud":"c","sub":"s","exp":4070908800,"pad":"`+strings.Repeat("x", 400)+`"}`) + "." + part(strings.Repeat("s", 256))
	_, err = p.write(filepath.Join("cache", strings.TrimSuffix(filepath.Base(locks[0]), ".lock")), map[string]string{"id_token": id, "refresh_token": "r"})
	return args, err
}

func fillGH(_ context.Context, p *peer) ([]string, error) {
	p.env = []string{"GH_CONFIG_DIR=" + p.dir}
	if _, err := p.write("config.yml", "version: \"1\"\n"); err != nil {
		return nil, err
	}
	_, err := p.write("hosts.yml", "github.com:\n    oauth_token: "+p.token+"\n    user: u\n    git_protocol: https\n")
	return []string{"auth", "token"}, err
}

// fillJQ is what a script without a helper does; jq does not know whether the token lives.
func fillJQ(_ context.Context, p *peer) ([]string, error) {
	file, err := p.write("token.json", map[string]string{"access_token": p.token})
	return []string{"-r", ".access_token", file}, err
}

func fillAge(ctx context.Context, p *peer) ([]string, error) {
	key, err := age.GenerateX25519Identity()
	if err != nil {
		return nil, err
	}
	identity, err := p.write("key", key.String()+"\n")
	if err != nil {
		return nil, err
	}
	sealed := p.path("sealed")
	_, err = output(ctx, os.Environ(), p.token, p.program, "-r", key.Recipient().String(), "-o", sealed)
	return []string{"-d", "-i", identity, sealed}, err
}
