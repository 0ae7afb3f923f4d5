//go:build linux

package main

import (
	"context"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"time"

	"github.com/exactauth/exactauth/internal/exactsim"
	"github.com/exactauth/exactauth/internal/record"
	"github.com/exactauth/exactauth/internal/tokenstore"
	"github.com/exactauth/exactauth/tools/program"
)

const (
	profile = "bench"

	// life is so long that no token ends by itself during a measurement.
	life = 24 * time.Hour
)

// world is a profile that is signed in at a simulator.
type world struct {
	sim    *exactsim.Sim
	server *httptest.Server
	asked  atomic.Int64 // requests of any kind
	served atomic.Int64 // how long their answers took, in ns

	dir   string
	extra []string     // environment variables
	store record.Store // of the profile's record

	machines string // with a state directory for each process of a crowd; empty: they share one
}

// newWorld signs in with a program, by pasting the code as a person would.
func newWorld(ctx context.Context, dir, path string, extra ...string) (_ *world, err error) {
	w := &world{dir: dir, extra: extra, store: tokenstore.NewFiles(filepath.Join(dir, "state"), nil)}
	w.sim = exactsim.New(exactsim.Config{TokenLife: life, MinuteLimit: -1, DailyLimit: -1})
	w.sim.AddCast(program.RedirectURI)
	w.server = httptest.NewServer(w)
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
	for _, args := range [][]string{append(program.Setup(w.server.URL), "-p", profile), {"login", "--no-browser", "--paste"}} {
		if _, err := output(ctx, w.env(), program.Input(w.sim, args[0]), append([]string{path}, args...)...); err != nil {
			return nil, err
		}
	}
	return w, nil
}

func (w *world) close() { w.server.Close() }

// ServeHTTP counts what reaches the simulator.
func (w *world) ServeHTTP(rw http.ResponseWriter, r *http.Request) {
	w.asked.Add(1)
	began := time.Now()
	if strings.Contains(r.URL.Path, "/"+accounts) {
		serveAccounts(rw, r)
	} else {
		w.sim.ServeHTTP(rw, r)
	}
	w.served.Add(int64(time.Since(began)))
}

// place names the world's directories, for a command in the environment of another one.
func (w *world) place() []string {
	return []string{"EXACTAUTH_CONFIG_DIR=" + filepath.Join(w.dir, "config"), "EXACTAUTH_STATE_DIR=" + filepath.Join(w.dir, "state")}
}

// withoutFile is the world's login where the environment alone says what the profile is,
// as in a container: its variables.
func (w *world) withoutFile() ([]string, error) {
	state := filepath.Join(w.dir, "alone")
	record, err := os.ReadFile(filepath.Join(w.dir, "state", profile))
	if err == nil {
		err = os.MkdirAll(state, 0o700)
	}
	if err == nil {
		err = os.WriteFile(filepath.Join(state, "default"), record, 0o600)
	}
	return []string{"EXACTAUTH_CONFIG_DIR=", "EXACTAUTH_STATE_DIR=" + state, "EXACTAUTH_BASE_URL=" + w.server.URL,
		"EXACTAUTH_CLIENT_ID=" + exactsim.ClientID, "EXACTAUTH_CLIENT_SECRET=" + exactsim.ClientSecret}, err
}

// env is the environment of everything that is measured: small, and the same for all.
func (w *world) env() []string {
	env := []string{"PATH=" + os.Getenv("PATH"), "HOME=" + filepath.Join(w.dir, "home"), "LC_ALL=C", "TZ=UTC"}
	env = append(append(env, w.place()...), w.extra...)
	if w.machines != "" {
		env = append(env, "MACHINES="+w.machines)
	}
	return env
}

// expire ends the token's life, in the record and at the simulator.
func (w *world) expire(ctx context.Context) error {
	w.sim.Advance(life)
	return program.Update(ctx, w.store, profile, func(r *record.Record) { program.Age(r, life) })
}
