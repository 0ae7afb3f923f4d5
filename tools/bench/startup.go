//go:build linux

package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

// goal is what a figure is not to exceed.
type goal struct {
	what     string
	is, most float64
	format   string
}

// startup measures one call beside other programs.
func (b *bench) startup(which string) error {
	p := b.programs
	token, err := b.world.call("", p.whole, "token")
	if err != nil {
		return err
	}
	commands := []command{
		{name: "Go, hello world", args: []string{p.hello}},
		{name: "**`exactauth token`, as packaged**", args: []string{p.packaged, "token"}, want: token, ours: true},
		{name: "Go with `encoding/json` only, reads the record", args: []string{p.jsonOnly, b.world.record()}, want: token},
		{name: "Go with cobra, hello world", args: []string{p.cobra, "hello"}},
		{name: "**`exactauth token`, whole program alone**", args: []string{p.whole, "token"}, want: token, ours: true},
		{name: "`exactauth version`, whole program alone", args: []string{p.whole, "version"}, ours: true},
		{name: "`exactauth version`, as packaged", args: []string{p.packaged, "version"}, ours: true},
	}
	const hello, packaged, whole = 0, 1, 4
	env := b.world.env()
	for _, c := range commands {
		if err := b.works(env, c); err != nil {
			return err
		}
	}
	others, more, absent, stop, err := b.peerCommands(which, token)
	defer stop()
	if err != nil {
		return err
	}
	commands, env = append(commands, others...), append(env, more...)

	say("%d commands, %d rounds", len(commands), b.rounds)
	asked := b.world.asked.Load()
	all, err := b.inTurns(env, b.rounds, commands)
	if err != nil {
		return err
	}
	if n := b.world.asked.Load() - asked; n != 0 {
		b.wrong("calls with a live token sent %d requests", n)
	}

	t := &table{head: []string{"command", "× Go hello", "× in CPU time", "wall ms", "user+sys ms", "peak RSS MiB", "binary MB"}}
	var bars []bar
	unit := all[hello].wall()
	for i, c := range commands {
		r := all[i]
		t.add(c.name, ratio(r.wall()/unit), ratio(r.cpu()/all[hello].cpu()), ms(r.wall()), ms(r.cpu()), fmt.Sprintf("%.1f", r.rss()), mb(size(c.args[0])))
		bars = append(bars, bar{strings.NewReplacer("*", "", "`", "").Replace(c.name), r.wall() / unit, c.ours})
	}
	goals := []goal{
		{"`token` as packaged, × Go hello", all[packaged].wall() / unit, 1.9, "%.2f"},
		{"the same, aim", all[packaged].wall() / unit, 1.3, "%.2f"},
		{"peak RSS of it, MiB", all[packaged].rss(), 7, "%.1f"},
		{"the whole program, MB", float64(size(p.whole)) / 1e6, wholeLimit / 1e6, "%.1f"},
		{"the front, MB", float64(size(p.packaged)) / 1e6, frontLimit / 1e6, "%.1f"},
	}
	for i, c := range commands {
		for name, most := range map[string]float64{"kubelogin": 0.5, "oauth2l": 0.75, "gh": 0.05} {
			if filepath.Base(c.args[0]) == name {
				goals = append(goals, goal{"`token` as packaged, × `" + name + "`", all[packaged].wall() / all[i].wall(), most, "%.3f"})
			}
		}
	}
	var after []string
	if len(absent) > 0 {
		after = append(after, "Not there: "+strings.Join(absent, ", ")+".")
	}
	how := fmt.Sprintf("Medians of %d rounds after 5 that do not count, one process at a time, in an order drawn anew each round", b.rounds)
	if err := b.show("startup", how, t, after...); err != nil {
		return err
	}
	if err := b.showGoals("goals", how, goals); err != nil || !b.write {
		return err
	}
	return os.WriteFile(filepath.Join(b.root, "docs", "startup.svg"), []byte(plot(bars)), 0o644)
}

func (b *bench) showGoals(section, how string, goals []goal) error {
	t := &table{head: []string{"", "measured", "at most", "reached"}}
	for _, g := range goals {
		yes := "yes"
		if g.is > g.most {
			yes = "**no**"
		}
		t.add(g.what, fmt.Sprintf(g.format, g.is), strings.TrimSuffix(fmt.Sprint(g.most), ".0"), yes)
	}
	return b.show(section, how, t)
}
