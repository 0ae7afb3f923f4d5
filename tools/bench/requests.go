//go:build linux

package main

import (
	"bufio"
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"github.com/exactauth/exactauth/internal/callback/callbacktest"
	"github.com/exactauth/exactauth/internal/exactsim"
)

const (
	pages     = 100 // of the list that is read to its end, and divisions
	perRound  = 160 // requests to each proxy, in each round
	accounts  = "crm/Accounts"
	firstPage = accounts + "?$top="
)

// serveAccounts answers with a page of 910 bytes, and Exact's headers with large limits:
// a server that costs little. $top is how many pages there are, and $skip how many came
// before this one.
func serveAccounts(w http.ResponseWriter, r *http.Request) {
	const large = "1073741824"
	now := time.Now()
	for _, limit := range []string{"", "Minutely-"} {
		w.Header()["X-RateLimit-"+limit+"Limit"] = []string{large}
		w.Header()["X-RateLimit-"+limit+"Remaining"] = []string{large}
		w.Header()["X-RateLimit-"+limit+"Reset"] = []string{strconv.FormatInt(now.Add(time.Hour).UnixMilli(), 10)}
	}
	w.Header().Set("Content-Type", "application/json; charset=utf-8")
	next := ""
	all, _ := strconv.Atoi(r.URL.Query().Get("$top"))
	before, _ := strconv.Atoi(r.URL.Query().Get("$skip"))
	if before+1 < all {
		next = fmt.Sprintf(`,"__next":"http://%s%s?$top=%d&$skip=%d"`, r.Host, r.URL.Path, all, before+1)
	}
	_, _ = io.WriteString(w, `{"d":{"results":[`+strings.Repeat(`{"ID":"0b4ae1ed","Name":"Voorbeeld"},`, 24)+`{}]`+next+`}}`)
}

// apiCalls are requests to Exact's API: one, those for the pages of a list, and those for a
// list of each division; by exactauth and by a program of net/http alone.
func (b *bench) apiCalls(w *world, token string) []command {
	anna := exactsim.Anna()
	anna.Divisions = exactsim.Divisions(pages)
	w.sim.AddUser(anna)
	at := func(division int, rest string) string {
		return fmt.Sprintf("%s/api/v1/%d/%s", w.server.URL, division, rest)
	}
	var each []string
	for _, d := range anna.Divisions {
		each = append(each, at(d.Code, firstPage+"1"))
	}
	code := anna.Divisions[0].Code
	exactauth := func(program string, args ...string) []string {
		return append(w.place(), append([]string{program, "api"}, args...)...)
	}
	get := []string{b.plain, "get", token}
	list := at(code, firstPage+strconv.Itoa(pages))
	return []command{
		{name: "`api PATH`, as packaged", args: exactauth(b.packaged, each[0])},
		{name: "`api PATH`, whole program alone", args: exactauth(b.whole, each[0])},
		{name: "Go, `net/http`, one request", args: append(get, each[0])},
		{name: "`api PATH --paginate`, whole program alone", args: exactauth(b.whole, list, "--paginate")},
		{name: "Go, `net/http`, the same pages", args: append(get, list)},
		{name: "`api PATH --each-division`, whole program alone", args: exactauth(b.whole, "{division}/"+firstPage+"1", "--each-division")},
		{name: "Go, `net/http`, a list of each division", args: append(get, each...)},
	}
}

// showAPI shows what apiCalls measured. requests is how many each command sends.
func (b *bench) showAPI(how string, commands []command, all []runs, requests []int64) {
	t := &table{head: []string{"requests to the API", "requests", "wall ms", "user+sys ms", "CPU µs of each further one", "× `net/http`"}}
	const one, plainOne = 1, 2
	more := func(i, of int) float64 {
		return (all[i].cpu() - all[of].cpu()) / float64(requests[i]-requests[of]) / 1e3
	}
	for i, c := range commands {
		each, ratio := "", ""
		switch {
		case i == plainOne:
		case i < plainOne:
			ratio = fmt.Sprintf("%.2f", all[i].cpu()/all[plainOne].cpu())
		case i%2 == 0:
			each = fmt.Sprintf("%.0f", more(i, plainOne))
		default:
			each, ratio = fmt.Sprintf("%.0f", more(i, one)), fmt.Sprintf("%.2f", more(i, one)/more(i+1, plainOne))
		}
		t.add(c.name, fmt.Sprint(requests[i]), fmt.Sprintf("%.1f", all[i].wall()/1e6), fmt.Sprintf("%.1f", all[i].cpu()/1e6), each, ratio)
	}
	b.show(how, t)
}

// proxied is a process that passes requests on to a world's server.
type proxied struct {
	name, url string
	process   *exec.Cmd
	in        io.Closer
}

// proxies starts exactauth's proxy, a bare httputil.ReverseProxy, and caddy if it is
// installed. The caller calls stop after the last request.
func (b *bench) proxies(w *world) (all []*proxied, stop func(), err error) {
	stop = func() {
		for _, p := range all {
			p.in.Close()
			_ = p.process.Process.Signal(unix.SIGINT)
			_ = p.process.Wait()
		}
	}
	start := func(name, ready string, args ...string) (line string, err error) {
		p := &proxied{name: name, process: exec.CommandContext(b.ctx, args[0], args[1:]...)}
		if p.in, err = p.process.StdinPipe(); err != nil {
			return "", err
		}
		out, to, err := os.Pipe()
		if err != nil {
			return "", err
		}
		defer to.Close()
		p.process.Env, p.process.Stdout, p.process.Stderr = w.env(), to, to
		if err := p.process.Start(); err != nil {
			return "", err
		}
		all = append(all, p)
		for lines := bufio.NewScanner(out); lines.Scan(); {
			if strings.Contains(lines.Text(), ready) {
				go func() { _, _ = io.Copy(io.Discard, out) }()
				return lines.Text(), nil
			}
		}
		return "", fmt.Errorf("%s has ended", name)
	}
	line, err := start("ReverseProxy", "http://", b.plain, "proxy", w.server.URL)
	if err != nil {
		return nil, stop, err
	}
	all[0].url = line
	if line, err = start("`exactauth proxy`", `"url"`, b.packaged, "proxy", "--json"); err != nil {
		return nil, stop, err
	}
	var ready struct{ URL string }
	if err := json.Unmarshal([]byte(line), &ready); err != nil {
		return nil, stop, err
	}
	all[1].url = ready.URL
	caddy, err := exec.LookPath("caddy")
	if err != nil || b.peers == "none" {
		say("left out: caddy: %v", cmp.Or(err, errors.New("no peers")))
		return all, stop, nil
	}
	address := "http://127.0.0.1:" + callbacktest.Port()
	config := filepath.Join(b.dir, "Caddyfile")
	text := fmt.Sprintf("{\n\tadmin off\n\tauto_https off\n}\n%s {\n\treverse_proxy %s {\n\t\theader_up Authorization \"Bearer token\"\n\t}\n}\n", address, w.server.URL)
	if err := os.WriteFile(config, []byte(text), 0o600); err != nil {
		return nil, stop, err
	}
	if _, err = start("caddy"+moduleVersion(caddy), "serving initial configuration", caddy, "run", "--config", config, "--adapter", "caddyfile"); err == nil {
		all[2].url = address
	}
	return all, stop, err
}

// requests returns commands that send requests to the proxies by 1 and by 16 connections.
// Connections ask endpoints of their own, since Exact's limits allow few requests at once
// to one.
func requests(all []*proxied) (commands []command) {
	for _, connections := range connectionCounts {
		for _, p := range all {
			client := &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: connections}}
			commands = append(commands, command{name: p.name, do: func() (float64, error) {
				before, err := p.used()
				if err != nil {
					return 0, err
				}
				var sending sync.WaitGroup
				failed := make(chan error, connections)
				for i := range connections {
					sending.Go(func() {
						for range perRound / connections {
							if err := ask(client, fmt.Sprintf("%s/api/v1/123456/%s%d", p.url, accounts, i)); err != nil {
								failed <- err
								return
							}
						}
					})
				}
				sending.Wait()
				close(failed)
				after, err := p.used()
				return (after - before) / perRound, cmp.Or(<-failed, err)
			}})
		}
	}
	return commands
}

var connectionCounts = []int{1, 16}

func ask(client *http.Client, address string) error {
	resp, err := client.Get(address)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	n, err := io.Copy(io.Discard, resp.Body)
	if err == nil && (resp.StatusCode != http.StatusOK || n != 910) {
		err = fmt.Errorf("%s, %d bytes", resp.Status, n)
	}
	return err
}

// used returns the processor time that the process has used, in ns.
func (p *proxied) used() (float64, error) {
	const ofProcess = 2 // clock_getcpuclockid(3)
	var at unix.Timespec
	err := unix.ClockGettime(int32(^p.process.Process.Pid<<3|ofProcess), &at)
	return float64(at.Nano()), err
}

// showProxies shows what requests measured.
func (b *bench) showProxies(how string, proxies []*proxied, all []runs) {
	t := &table{head: []string{"connections"}}
	for _, p := range proxies {
		t.head = append(t.head, p.name+", µs")
	}
	for _, p := range proxies[1:] {
		t.head = append(t.head, p.name+" × ReverseProxy")
	}
	for i, connections := range connectionCounts {
		row := all[i*len(proxies):][:len(proxies)]
		cells := []string{fmt.Sprint(connections)}
		for _, r := range row {
			cells = append(cells, fmt.Sprintf("%.0f", r.cpu()/1e3))
		}
		for _, r := range row[1:] {
			ratios := make(runs, len(r)) // of each round
			for round := range r {
				ratios[round].cpu = 1e6 * r[round].cpu / row[0][round].cpu
			}
			cells = append(cells, fmt.Sprintf("%.2f", ratios.cpu()/1e6))
		}
		t.add(cells...)
	}
	b.show(how, t)
}
