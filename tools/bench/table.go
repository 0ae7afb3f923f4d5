//go:build linux

package main

import (
	"fmt"
	"os"
	"runtime"
	"slices"
	"strings"
	"time"
	"unicode/utf8"
)

// table is a Markdown table that is also readable as plain text. All columns but the
// first are numbers, aligned to the right.
type table struct {
	head []string
	rows [][]string
}

func (t *table) add(cells ...string) { t.rows = append(t.rows, cells) }

func (t *table) String() string {
	width := make([]int, len(t.head))
	for _, row := range append([][]string{t.head}, t.rows...) {
		for i, cell := range row {
			width[i] = max(width[i], utf8.RuneCountInString(cell), 4)
		}
	}
	rule := []string{strings.Repeat("-", width[0])}
	for _, w := range width[1:] {
		rule = append(rule, strings.Repeat("-", w-1)+":")
	}
	width[0] = -width[0] // to the left
	var s strings.Builder
	for _, row := range slices.Concat([][]string{t.head, rule}, t.rows) {
		for i, cell := range row {
			fmt.Fprintf(&s, "| %*s ", width[i], cell)
		}
		s.WriteString("|\n")
	}
	return s.String()
}

// machine says when, where and with which Go it is measured, and how busy the machine is.
func machine() string {
	field := func(file, key string) string {
		b, _ := os.ReadFile(file) // what cannot be read is left out
		for line := range strings.Lines(string(b)) {
			if value, ok := strings.CutPrefix(line, key); ok {
				return strings.Trim(strings.TrimSpace(value), `":`)
			}
		}
		return "?"
	}
	load, _, _ := strings.Cut(field("/proc/loadavg", ""), " ")
	return fmt.Sprintf("%s: %d cores (%s), %s, %s, load before %s", time.Now().Format("2 January 2006"), runtime.NumCPU(),
		strings.TrimSpace(field("/proc/cpuinfo", "model name\t:")), field("/etc/os-release", "PRETTY_NAME="), strings.Replace(runtime.Version(), "go", "Go ", 1), load)
}

// show prints a table, and how, when and where its figures were measured.
func (b *bench) show(how string, t *table) {
	fmt.Printf("\n%s\n<sub>%s. %s.</sub>\n\n", t, how, b.caption)
}

func (b *bench) showGoals(how string, goals []goal) {
	t := &table{head: []string{"", "measured", "at most", "reached"}}
	for _, g := range goals {
		yes := "yes"
		if g.is > g.most {
			yes = "**no**"
		}
		t.add(g.what, fmt.Sprintf(g.format, g.is), fmt.Sprint(g.most), yes)
	}
	b.show(how, t)
}
