//go:build linux

package main

import (
	"fmt"
	"path/filepath"
	"slices"
	"time"
)

// goal is a figure and its limit.
type goal struct {
	what     string
	is, most float64
	format   string
}

// calls measures one call at a time, all of them in turns: with a live token beside other
// programs, at its expiry, requests to the API, and proxies.
func (b *bench) calls() error {
	token, err := output(b.ctx, b.world.env(), "", b.whole, "token")
	if err != nil {
		return err
	}
	alone, err := b.world.withoutFile()
	if err != nil {
		return err
	}
	live := []command{
		{name: "Go, hello world", args: []string{b.hello}},
		{name: "Go with cobra, hello world", args: []string{b.cobra, "hello"}},
		{name: "**`exactauth token`, as packaged**", args: []string{b.packaged, "token"}, want: token},
		{name: "the same, profile from the environment alone", args: append(alone, b.packaged, "token"), want: token},
		{name: "**`exactauth token`, whole program alone**", args: []string{b.whole, "token"}, want: token},
		{name: "`exactauth version`, whole program alone", args: []string{b.whole, "version"}},
		{name: "`exactauth version`, as packaged", args: []string{b.packaged, "version"}},
	}
	const hello, packaged = 0, 2
	env := b.world.env()
	for _, c := range live {
		if err := b.works(env, c); err != nil {
			return err
		}
	}
	others, more, stop := b.peerCommands(token)
	defer stop()
	live, env = append(live, others...), append(env, more...)

	// Of these the token expires; of the others it stays.
	expiring, err := newWorld(b.ctx, filepath.Join(b.dir, "expiring"), b.whole)
	if err != nil {
		return err
	}
	defer expiring.close()
	var served int64
	before := func() error {
		served = expiring.served.Load()
		return expiring.expire(b.ctx)
	}
	after := func(o *once) { o.wall -= time.Duration(expiring.served.Load() - served) }
	expired := []command{
		{name: "`token` at expiry, as packaged", args: append(expiring.place(), b.packaged, "token"), before: before, after: after},
		{name: "`token` at expiry, whole program alone", args: append(expiring.place(), b.whole, "token"), before: before, after: after},
	}

	asking, err := newWorld(b.ctx, filepath.Join(b.dir, "asking"), b.whole)
	if err != nil {
		return err
	}
	defer asking.close()
	if token, err = output(b.ctx, asking.env(), "", b.whole, "token"); err != nil {
		return err
	}
	api := b.apiCalls(asking, token)
	sent := make([]int64, len(api))
	for i, c := range api {
		asked := asking.asked.Load()
		if err := b.works(env, c); err != nil {
			return err
		}
		sent[i] = asking.asked.Load() - asked
	}
	proxies, stop, err := b.proxies(asking)
	defer stop()
	if err != nil {
		return err
	}

	asked := b.world.asked.Load()
	commands := slices.Concat(live, expired, api, requests(proxies))
	say("%d commands", len(commands))
	all, err := b.inTurns(env, b.rounds, commands)
	if err != nil {
		return err
	}
	if n := b.world.asked.Load() - asked; n != 0 {
		b.wrong("calls with a live token sent %d requests", n)
	}

	t := &table{head: []string{"command", "× Go hello", "× in CPU time", "wall ms", "user+sys ms", "peak RSS MiB", "binary MB"}}
	goals := []goal{
		{"`token` as packaged, × Go hello", all[packaged].wall() / all[hello].wall(), 1.3, "%.2f"},
		{"its peak RSS, MiB", all[packaged].rss(), 7, "%.1f"},
		{"the whole program, MB", float64(size(b.whole)) / 1e6, wholeLimit / 1e6, "%.1f"},
		{"the front, MB", float64(size(b.packaged)) / 1e6, frontLimit / 1e6, "%.1f"},
	}
	limits := map[string]float64{"kubelogin": 0.5, "oauth2l": 0.75, "gh": 0.05}
	row := func(c command, r runs, rest ...string) []string {
		return append([]string{c.name, fmt.Sprintf("%.2f", r.wall()/all[hello].wall()), fmt.Sprintf("%.2f", r.cpu()/all[hello].cpu()),
			fmt.Sprintf("%.2f", r.wall()/1e6), fmt.Sprintf("%.2f", r.cpu()/1e6)}, rest...)
	}
	for i, c := range live {
		t.add(row(c, all[i], fmt.Sprintf("%.1f", all[i].rss()), fmt.Sprintf("%.1f", float64(size(c.program()))/1e6))...)
		name := filepath.Base(c.program())
		if most, ok := limits[name]; ok {
			goals = append(goals, goal{"`token` as packaged, × `" + name + "`", all[packaged].wall() / all[i].wall(), most, "%.3f"})
		}
	}
	how := fmt.Sprintf("Medians of %d rounds after %d that do not count; all commands of this run in turns, in another random order each round", b.rounds, warmUps)
	b.show(how, t)
	b.showGoals(how, goals)
	t = &table{head: []string{"less the server's time", "× Go hello", "× in CPU time", "wall ms", "user+sys ms"}}
	for i, c := range expired {
		t.add(row(c, all[len(live)+i])...)
	}
	b.show(how+", each with another expired token", t)
	all = all[len(live)+len(expired):]
	b.showAPI(how+fmt.Sprintf("; the pages and divisions are %d, each with 910 bytes from a server in another process", pages), api, all[:len(api)], sent)
	b.showProxies(how+fmt.Sprintf(", with %d requests each; the ratios are medians of each round's ratio", perRound), proxies, all[len(api):])
	return nil
}
