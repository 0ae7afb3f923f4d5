//go:build linux

package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync/atomic"
	"time"

	"github.com/exactauth/exactauth/internal/exactsim"
	"github.com/exactauth/exactauth/internal/stored"
)

const (
	clientID     = exactsim.ClientID
	clientSecret = exactsim.ClientSecret
	userID       = exactsim.AnnaID
	redirectURI  = "https://exactauth.test:8484/callback"
	profile      = "bench"

	// life is so long that no token ends by itself while something is measured.
	life = 24 * time.Hour
)

// world is a profile that is signed in at a simulator.
type world struct {
	sim    *exactsim.Sim
	server *http.Server
	asked  atomic.Int64 // requests of any kind
	offset atomic.Int64 // of the simulator's clock, in nanoseconds

	dir   string
	extra []string                                               // more variables
	alter func(func(old []byte) (changed []byte, _ error)) error // changes the record where it is
}

// newWorld signs in with a program, by pasting the code as a person would.
func newWorld(dir, program string, extra ...string) (_ *world, err error) {
	w := &world{dir: dir, extra: extra}
	w.alter = w.alterFile
	w.sim = exactsim.New(exactsim.Config{
		TokenLife: life, MinuteLimit: -1, DailyLimit: -1,
		Now: func() time.Time { return time.Now().Add(time.Duration(w.offset.Load())) },
	})
	w.sim.AddCast(redirectURI)
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	w.server = &http.Server{Handler: w}
	go w.server.Serve(listener) // until close
	defer func() {
		if err != nil {
			w.close()
		}
	}()
	for _, name := range []string{"home", "config", "state"} {
		if err := os.MkdirAll(filepath.Join(dir, name), 0o700); err != nil {
			return nil, err
		}
	}
	if _, err := w.call(clientSecret, program, "setup", "-p", profile, "--base-url", "http://"+listener.Addr().String(),
		"--client-id", clientID, "--redirect-uri", redirectURI, "--client-secret-file", "-"); err != nil {
		return nil, err
	}
	_, err = w.call(w.sim.NewCode(clientID, userID, redirectURI), program, "login", "--no-browser", "--paste")
	return w, err
}

func (w *world) close() error { return w.server.Close() }

// ServeHTTP counts what reaches the simulator.
func (w *world) ServeHTTP(rw http.ResponseWriter, r *http.Request) {
	w.asked.Add(1)
	w.sim.ServeHTTP(rw, r)
}

func (w *world) home() string   { return filepath.Join(w.dir, "home") }
func (w *world) record() string { return filepath.Join(w.dir, "state", profile) }

// env is the environment of all that is measured: a small one, the same for all.
func (w *world) env() []string {
	return append([]string{
		"PATH=" + os.Getenv("PATH"), "HOME=" + w.home(), "LC_ALL=C", "TZ=UTC",
		"EXACTAUTH_CONFIG_DIR=" + filepath.Join(w.dir, "config"), "EXACTAUTH_STATE_DIR=" + filepath.Join(w.dir, "state"),
	}, w.extra...)
}

// call runs a program and gives what it prints.
func (w *world) call(stdin, program string, args ...string) (string, error) {
	cmd := exec.Command(program, args...)
	cmd.Env, cmd.Stdin = w.env(), strings.NewReader(stdin+"\n")
	var errs strings.Builder
	cmd.Stderr = &errs
	out, err := cmd.Output()
	if err != nil {
		return "", fmt.Errorf("%s: %w: %s", strings.Join(cmd.Args, " "), err, errs.String())
	}
	return strings.TrimSpace(string(out)), nil
}

// expire has the token end, here and at the simulator, as if its life had passed.
func (w *world) expire() error {
	w.offset.Add(int64(life))
	return w.alter(func(old []byte) ([]byte, error) {
		r, err := stored.Decode(old)
		if err != nil {
			return nil, err
		}
		if r.Login == nil {
			return nil, errors.New("nobody is signed in")
		}
		r.Login.RequestedAt = r.Login.RequestedAt.Add(-life)
		r.Login.RepliedAt = r.Login.RepliedAt.Add(-life)
		return stored.Encode(r)
	})
}

func (w *world) alterFile(change func([]byte) ([]byte, error)) error {
	old, err := os.ReadFile(w.record())
	if err != nil {
		return err
	}
	changed, err := change(old)
	if err != nil {
		return err
	}
	return os.WriteFile(w.record(), changed, 0o600)
}

// provider is a small OpenID provider for other programs: it refreshes whatever
// it is shown.
func provider(token string) (url string, _ io.Closer, _ error) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", nil, err
	}
	url = "http://" + listener.Addr().String() + "/"
	answer := func(v map[string]any) http.HandlerFunc {
		return func(rw http.ResponseWriter, _ *http.Request) {
			rw.Header().Set("Content-Type", "application/json")
			_ = json.NewEncoder(rw).Encode(v) // to a peer that may have gone
		}
	}
	mux := http.NewServeMux()
	mux.Handle("/.well-known/openid-configuration", answer(map[string]any{
		"issuer": url, "authorization_endpoint": url + "authorize", "token_endpoint": url + "token",
		"grant_types_supported": []string{"authorization_code", "refresh_token"}, "response_types_supported": []string{"code"},
		"subject_types_supported": []string{"public"}, "scopes_supported": []string{"openid", "offline_access"},
	}))
	mux.Handle("/token", answer(map[string]any{
		"access_token": token, "refresh_token": "refresh", "token_type": "Bearer", "expires_in": 86400, "scope": "openid offline_access",
	}))
	server := &http.Server{Handler: mux}
	go server.Serve(listener) // until it is closed
	return url, server, nil
}

// patient bounds what a program does to get ready.
func patient(ctx context.Context) (context.Context, context.CancelFunc) {
	return context.WithTimeout(ctx, time.Minute)
}
