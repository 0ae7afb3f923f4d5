//go:build linux

package main

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"
	"unicode/utf8"
)

// table is one of Markdown that is also easy to read as it is. All columns but the
// first are numbers, and to the right.
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
		for i, w := range width {
			cell := ""
			if i < len(row) {
				cell = row[i]
			}
			pad := strings.Repeat(" ", w-utf8.RuneCountInString(cell))
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

// machine says where, with what and when it is measured, and whether others are at
// work there.
func machine(dir string) (words string, busy bool) {
	system := "Linux"
	if b, err := os.ReadFile("/etc/os-release"); err == nil {
		for line := range strings.Lines(string(b)) {
			if name, ok := strings.CutPrefix(strings.TrimSpace(line), "PRETTY_NAME="); ok {
				system = strings.Trim(name, `"`)
			}
		}
	}
	system, _, _ = strings.Cut(system, " (")
	system = strings.Replace(system, " GNU/Linux", "", 1)
	release := ""
	if b, err := os.ReadFile("/proc/sys/kernel/osrelease"); err == nil {
		major, rest, _ := strings.Cut(string(b), ".")
		minor, _, _ := strings.Cut(rest, ".")
		release = ", Linux " + major + "." + minor
	}
	cores := fmt.Sprintf("%d cores", runtime.NumCPU())
	if b, err := os.ReadFile("/proc/cpuinfo"); err == nil {
		info := string(b)
		if slices.Contains(strings.Fields(info), "hypervisor") {
			cores = fmt.Sprintf("%d virtual cores", runtime.NumCPU())
		}
		if _, model, ok := strings.Cut(info, "model name\t: "); ok {
			model, _, _ = strings.Cut(model, "\n")
			cores += " (" + strings.NewReplacer("(R)", "", "(TM)", "", " Processor", "").Replace(model) + ")"
		}
	}
	load := ""
	if b, err := os.ReadFile("/proc/loadavg"); err == nil {
		load, _, _ = strings.Cut(string(b), " ")
		n, err := strconv.ParseFloat(load, 64)
		busy = err == nil && n > 1
		load = ", load before " + load
	}
	return fmt.Sprintf("%s: %s, %s%s, %s, %s%s", time.Now().Format("2 January 2006"), cores, system, release, fileSystem(dir),
		strings.Replace(runtime.Version(), "go", "Go ", 1), load), busy
}

func fileSystem(dir string) string {
	var fs syscall.Statfs_t
	if syscall.Statfs(dir, &fs) != nil {
		return "an unknown file system"
	}
	names := map[int64]string{0xef53: "ext4", 0x01021994: "tmpfs", 0x58465342: "xfs", 0x9123683e: "btrfs", 0x794c7630: "overlayfs"}
	if name, ok := names[int64(fs.Type)]; ok {
		return name
	}
	return fmt.Sprintf("file system %#x", fs.Type)
}

// show prints what was measured and, if asked to, puts it into the documentation,
// between the two comments with the section's name.
func (b *bench) show(section, how string, t *table, after ...string) error {
	text := "\n" + t.String() + "\n"
	for _, a := range after {
		text += a + "\n\n"
	}
	text += fmt.Sprintf("<sub>%s. %s.</sub>\n\n", how, b.caption)
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

func ratio(x float64) string {
	switch {
	case x >= 100:
		return fmt.Sprintf("%.0f", x)
	case x >= 10:
		return fmt.Sprintf("%.1f", x)
	}
	return fmt.Sprintf("%.2f", x)
}

func ms(nanoseconds float64) string { return fmt.Sprintf("%.2f", nanoseconds/1e6) }

func mb(bytes int64) string {
	if bytes == 0 {
		return "-"
	}
	return fmt.Sprintf("%.1f", float64(bytes)/1e6)
}

func mb2(bytes int64) string { return fmt.Sprintf("%.2f", float64(bytes)/1e6) }
