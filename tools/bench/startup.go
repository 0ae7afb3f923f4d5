//go:build linux

package main

import (
	"fmt"
	"os"
	"path/filepath"
	"time"
)

// goal is a figure and its limit.
type goal struct {
	what     string
	is, most float64
	format   string
}

// startup measures one call at a time beside other programs.
func (b *bench) startup() error {
	token, err := output(b.ctx, b.world.env(), "", b.whole, "token")
	if err != nil {
		return err
	}
	commands := []command{
		{name: "Go, hello world", args: []string{b.hello}},
		{name: "**`exactauth token`, as packaged**", args: []string{b.packaged, "token"}, want: token},
		{name: "**`exactauth token`, whole program alone**", args: []string{b.whole, "token"}, want: token},
		{name: "`exactauth version`, whole program alone", args: []string{b.whole, "version"}},
		{name: "`exactauth version`, as packaged", args: []string{b.packaged, "version"}},
	}
	const hello, packaged = 0, 1
	env := b.world.env()
	for _, c := range commands {
		if err := b.works(env, c); err != nil {
			return err
		}
	}
	others, more, stop := b.peerCommands(token)
	defer stop()
	commands, env = append(commands, others...), append(env, more...)

	say("%d commands, %d rounds", len(commands), b.rounds)
	asked := b.world.asked.Load()
	all, err := b.inTurns(env, commands)
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
	for i, c := range commands {
		r := all[i]
		t.add(c.name, fmt.Sprintf("%.2f", r.wall()/all[hello].wall()), fmt.Sprintf("%.2f", r.cpu()/all[hello].cpu()),
			fmt.Sprintf("%.2f", r.wall()/1e6), fmt.Sprintf("%.2f", r.cpu()/1e6), fmt.Sprintf("%.1f", r.rss()), fmt.Sprintf("%.1f", float64(size(c.args[0]))/1e6))
		name := filepath.Base(c.args[0])
		if most, ok := limits[name]; ok {
			goals = append(goals, goal{"`token` as packaged, × `" + name + "`", all[packaged].wall() / r.wall(), most, "%.3f"})
		}
	}
	how := fmt.Sprintf("Medians of %d rounds after 5 that do not count, one process at a time, in another random order each round", b.rounds)
	b.show(how, t)
	b.showGoals(how, goals)
	return b.refreshes()
}

// refreshes measures a call with an expired token, without the time that the server takes.
func (b *bench) refreshes() error {
	names := []string{"Go, hello world", "`token` at expiry, as packaged", "`token` at expiry, whole program alone"}
	programs := [][]string{{b.hello}, {b.packaged, "token"}, {b.whole, "token"}}
	all := make([]runs, len(programs))
	for range b.rounds {
		for i, args := range programs {
			if err := b.world.expire(b.ctx); err != nil {
				return err
			}
			served := b.world.served.Load()
			one, _, err := b.measured(b.world.env(), append([]string{"turns", "1", "0", "1", os.DevNull, "--"}, args...), 1)
			if err != nil {
				return err
			}
			if one[0].failed() > 0 {
				return fmt.Errorf("%s failed", names[i])
			}
			one[0][0].wall -= time.Duration(b.world.served.Load() - served)
			all[i] = append(all[i], one[0]...)
		}
	}
	t := &table{head: []string{"less the server's time", "× Go hello", "wall ms", "user+sys ms"}}
	for i, r := range all {
		t.add(names[i], fmt.Sprintf("%.2f", r.wall()/all[0].wall()), fmt.Sprintf("%.2f", r.wall()/1e6), fmt.Sprintf("%.2f", r.cpu()/1e6))
	}
	b.show(fmt.Sprintf("Medians of %d calls in turns, each with another expired token", b.rounds), t)
	return nil
}
