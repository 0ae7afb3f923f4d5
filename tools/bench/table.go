//go:build linux

package main

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
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
	var s strings.Builder
	line := func(row []string) {
		for i, cell := range row {
			pad := strings.Repeat(" ", width[i]-utf8.RuneCountInString(cell))
			if i == 0 {
				cell += pad
			} else {
				cell = pad + cell
			}
			fmt.Fprintf(&s, "| %s ", cell)
		}
		s.WriteString("|\n")
	}
	line(t.head)
	var rule []string
	for i, w := range width {
		r := strings.Repeat("-", w)
		if i > 0 {
			r = r[1:] + ":"
		}
		rule = append(rule, r)
	}
	line(rule)
	for _, row := range t.rows {
		line(row)
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

// show prints a table and, with -write, puts it into the documentation, between the two
// comments with the section's name.
func (b *bench) show(section, how string, t *table) error {
	text := fmt.Sprintf("\n%s\n<sub>%s. %s.</sub>\n\n", t, how, b.caption)
	fmt.Print(text)
	if !b.write {
		return nil
	}
	path := filepath.Join(b.root, "docs", "performance.md")
	doc, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	begin, end := []byte("<!-- bench:"+section+" -->\n"), []byte("<!-- /bench:"+section+" -->\n")
	head, rest, found := bytes.Cut(doc, begin)
	_, tail, closed := bytes.Cut(rest, end)
	if !found || !closed {
		return fmt.Errorf("%s has no place for %q", path, section)
	}
	return os.WriteFile(path, slices.Concat(head, begin, []byte(text), end, tail), 0o644)
}

func (b *bench) showGoals(section, how string, goals []goal) error {
	t := &table{head: []string{"", "measured", "at most", "reached"}}
	for _, g := range goals {
		yes := "yes"
		if g.is > g.most {
			yes = "**no**"
		}
		t.add(g.what, fmt.Sprintf(g.format, g.is), fmt.Sprint(g.most), yes)
	}
	return b.show(section, how, t)
}
