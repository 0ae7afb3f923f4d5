package main

import (
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/exactauth/exactauth/internal/config"
	"github.com/exactauth/exactauth/internal/fault"
	"github.com/exactauth/exactauth/internal/record"
	"github.com/exactauth/exactauth/internal/term"
)

// What a call allocates grows in proportion to the profiles: with each doubling by twice as
// much as with the one before. A quadratic cost would grow by four times as much.
func TestGrowth(t *testing.T) {
	dir := t.TempDir()
	env := func(name string) string {
		return map[string]string{"EXACTAUTH_CONFIG_DIR": dir, "EXACTAUTH_STATE_DIR": dir}[name]
	}
	null, err := os.OpenFile(os.DevNull, os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer null.Close()
	now := time.Now().UTC().Truncate(time.Second)
	r := &record.Record{BaseURL: "https://start.exactonline.nl", ClientID: "5f3b1c1e-7c0e-4d0a-9b1f-0a6d6f0e2c11", Generation: 1,
		Tokens: record.Tokens{Access: fault.NewSecret("a"), Refresh: fault.NewSecret("r"), Life: 10 * time.Minute, RequestedAt: now, RepliedAt: now}}
	text, err := r.Encode()
	if err != nil {
		t.Fatal(err)
	}
	conf, made := strings.Builder{}, 0
	conf.WriteString("default = \"p0\"\n")
	grow := func(n int) {
		for ; made < n; made++ {
			name := fmt.Sprintf("p%d", made)
			fmt.Fprintf(&conf, "\n[profiles.%s]\nregion = \"nl\"\nclient_id = %q\n", name, r.ClientID)
			if err := os.WriteFile(filepath.Join(dir, name), text, 0o600); err != nil {
				t.Fatal(err)
			}
		}
		if err := os.WriteFile(filepath.Join(dir, config.FileName), []byte(conf.String()), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	once := func(args []string) float64 {
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		a := &app{Terminal: term.Terminal{Out: null, Err: null, Env: env}}
		root := a.rootCmd(args)
		root.SetArgs(args)
		if err := root.ExecuteContext(t.Context()); err != nil {
			t.Fatalf("%q: %v", args, err)
		}
		runtime.ReadMemStats(&after)
		return float64(after.TotalAlloc - before.TotalAlloc)
	}
	// The first call makes what later ones use again, and what a sync.Pool keeps is chance.
	allocated := func(args []string) float64 { return min(once(args), once(args), once(args)) }
	calls := []string{"token", "status", "status --json", "profiles", "use p0", "__complete token -p x"}
	kB := make([][]float64, len(calls))
	fewest := 200
	if testing.Short() {
		fewest = 25
	}
	for n := fewest; n <= 4*fewest; n *= 2 {
		grow(n)
		for i, call := range calls {
			kB[i] = append(kB[i], allocated(strings.Fields(call))/1e3)
		}
	}
	for i, call := range calls {
		if more, last := kB[i][1]-kB[i][0], kB[i][2]-kB[i][1]; last > 3*more {
			t.Errorf("%s allocates more than in proportion to the profiles: %.0f kB with %d, and twice and four times as many", call, kB[i], fewest)
		} else {
			t.Logf("%s: %.0f kB", call, kB[i])
		}
	}
}
