package exactapi_test

import (
	"bufio"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/exactauth/exactauth/internal/callback/callbacktest"
)

// costed is a process that serves a proxy.
type costed struct {
	url string
	pid int
}

// startCosted starts a proxy, and returns once its output has a line with the words ready.
func startCosted(b *testing.B, cmd *exec.Cmd, ready string) costed {
	in, err := cmd.StdinPipe()
	if err != nil {
		b.Fatal(err)
	}
	out, to, err := os.Pipe()
	if err != nil {
		b.Fatal(err)
	}
	cmd.Stdout, cmd.Stderr = to, to
	if err := cmd.Start(); err != nil {
		b.Fatal(err)
	}
	to.Close()
	b.Cleanup(func() {
		in.Close()
		_ = cmd.Process.Signal(unix.SIGINT) // caddy does not end with its input
		_ = cmd.Wait()
		out.Close()
	})
	lines := bufio.NewScanner(out)
	for lines.Scan() {
		if strings.Contains(lines.Text(), ready) {
			go func() { _, _ = io.Copy(io.Discard, out) }()
			return costed{lines.Text(), cmd.Process.Pid}
		}
	}
	b.Fatalf("%s has ended", cmd)
	return costed{}
}

// used returns the processor time that the process has used.
func (c costed) used(b *testing.B) time.Duration {
	const ofProcess = 2 // clock_getcpuclockid(3)
	var at unix.Timespec
	if err := unix.ClockGettime(int32(^c.pid<<3|ofProcess), &at); err != nil {
		b.Fatal(err)
	}
	return time.Duration(at.Nano())
}

// BenchmarkCost compares the processor time that the proxy uses for a request with that of
// a bare httputil.ReverseProxy, and of caddy if it is installed, in processes of their own
// and in turn. Figures are the medians of its rounds. Connections ask endpoints of their
// own, since Exact's limits allow few requests at once to one.
func BenchmarkCost(b *testing.B) {
	body := []byte(aPage(1, ""))
	upstream := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		limits(w.Header(), 1<<30, 1<<30)
		w.Header()["X-RateLimit-Minutely-Limit"] = []string{strconv.Itoa(1 << 30)}
		w.Header().Set("Content-Type", "application/json; charset=utf-8")
		_, _ = w.Write(body)
	}))
	defer upstream.Close()
	proxies := map[string]costed{}
	kinds := []string{"bare", "ours"}
	for _, kind := range kinds {
		cmd := exec.Command(os.Args[0], upstream.URL)
		cmd.Env = append(os.Environ(), costOf+"="+kind)
		proxies[kind] = startCosted(b, cmd, "http://")
	}
	if caddy, err := exec.LookPath("caddy"); err == nil {
		address := "http://127.0.0.1:" + callbacktest.Port()
		dir := b.TempDir()
		config := filepath.Join(dir, "Caddyfile")
		text := fmt.Sprintf("{\n\tadmin off\n\tauto_https off\n}\n%s {\n\treverse_proxy %s {\n\t\theader_up Authorization \"Bearer upstream-token\"\n\t}\n}\n", address, upstream.URL)
		if err := os.WriteFile(config, []byte(text), 0o600); err != nil {
			b.Fatal(err)
		}
		cmd := exec.Command(caddy, "run", "--config", config, "--adapter", "caddyfile")
		cmd.Env = append(os.Environ(), "HOME="+dir, "XDG_DATA_HOME="+dir, "XDG_CONFIG_HOME="+dir)
		c := startCosted(b, cmd, "serving initial configuration")
		c.url = address
		proxies["caddy"] = c
		kinds = append(kinds, "caddy")
	}
	for _, connections := range []int{1, 16} {
		b.Run(fmt.Sprintf("%d", connections), func(b *testing.B) {
			client := &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: 64}}
			defer client.CloseIdleConnections()
			const requests = 960
			round := func(kind string) float64 {
				before := proxies[kind].used(b)
				var all sync.WaitGroup
				for i := range connections {
					all.Go(func() {
						address := fmt.Sprintf("%s/api/v1/123456/crm/Accounts%d?$top=%d", proxies[kind].url, i, connections)
						for range requests / connections {
							resp, err := client.Get(address)
							if err != nil {
								b.Error(err)
								return
							}
							n, _ := io.Copy(io.Discard, resp.Body)
							resp.Body.Close()
							if n != int64(len(body)) || resp.StatusCode != http.StatusOK {
								b.Error(resp.Status, n)
								return
							}
						}
					})
				}
				all.Wait()
				return float64(proxies[kind].used(b) - before)
			}
			for _, kind := range kinds {
				round(kind)
			}
			ratios, cost := map[string][]float64{}, map[string][]float64{}
			b.ResetTimer()
			for range b.N {
				rand.Shuffle(len(kinds), func(i, j int) { kinds[i], kinds[j] = kinds[j], kinds[i] })
				took := map[string]float64{}
				for _, kind := range kinds {
					took[kind] = round(kind)
				}
				for _, kind := range kinds {
					ratios[kind] = append(ratios[kind], took[kind]/took["bare"])
					cost[kind] = append(cost[kind], took[kind]/requests/1000)
				}
			}
			median := func(all []float64) float64 {
				slices.Sort(all)
				return all[len(all)/2]
			}
			for _, kind := range kinds {
				if kind != "bare" {
					b.ReportMetric(median(ratios[kind]), kind+"×bare")
				}
				b.ReportMetric(median(cost[kind]), kind+"-µs-cpu")
			}
			b.ReportMetric(0, "ns/op")
		})
	}
}
