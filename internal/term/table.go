package term

import (
	"fmt"
	"slices"
	"strings"
	"unicode"

	"golang.org/x/text/width"
)

// Table is rows of cells, printed in aligned columns.
type Table [][]string

// Row returns a row of the table.
func Row(cells ...any) []string {
	row := make([]string, len(cells))
	for i, c := range cells {
		row[i] = fmt.Sprint(c)
	}
	return row
}

// Add adds a row.
func (t *Table) Add(cells ...any) { *t = append(*t, Row(cells...)) }

// columnGap separates two columns.
const columnGap = 2

// String returns the table with every cell whole, as scripts want it.
func (t Table) String() string { return t.lines(t.widths(), "") }

// Fit returns a table as a result: in a terminal that is too narrow the widest columns
// are shortened, anywhere else it is whole.
func (t *Terminal) Fit(table Table) string {
	widths := table.widths()
	if room := columns(t.Out); room > 0 {
		widths = shrunk(widths, room)
	}
	if t.unicode() {
		return table.lines(widths, "…")
	}
	return table.lines(widths, "...")
}

// widths returns those of the columns. Nothing follows the last cell of a row, so it
// counts only in the table's last column.
func (t Table) widths() []int {
	most := 0
	for _, r := range t {
		most = max(most, len(r))
	}
	widths := make([]int, most)
	for _, r := range t {
		for i, cell := range r {
			if i < len(r)-1 || len(r) == most {
				widths[i] = max(widths[i], Width(cell))
			}
		}
	}
	return widths
}

// shrunk makes the widest column narrower until all fit into room, but none narrower
// than a person can read.
func shrunk(widths []int, room int) []int {
	const least = 10
	total := columnGap * (len(widths) - 1)
	for _, w := range widths {
		total += w
	}
	next := slices.Clone(widths)
	for ; total > room; total-- {
		widest := slices.Index(next, slices.Max(next))
		if next[widest] <= least {
			break
		}
		next[widest]--
	}
	return next
}

func (t Table) lines(widths []int, ellipsis string) string {
	var b strings.Builder
	for _, r := range t {
		for i, cell := range r {
			last := i == len(r)-1
			if !last || len(r) == len(widths) {
				cell = cut(cell, widths[i], ellipsis)
			}
			b.WriteString(cell)
			if !last {
				b.WriteString(strings.Repeat(" ", widths[i]-Width(cell)+columnGap))
			}
		}
		b.WriteByte('\n')
	}
	return b.String()
}

// cut shortens text to so many columns of a terminal, the ellipsis included.
func cut(text string, room int, ellipsis string) string {
	if Width(text) <= room {
		return text
	}
	room -= Width(ellipsis)
	end, used := 0, 0
	for i, r := range text {
		if used += runeWidth(r); used > room {
			break
		}
		end = i + len(string(r)) // with the marks on the letter before
	}
	return text[:end] + ellipsis
}

// Width returns how many columns of a terminal text takes.
func Width(text string) (n int) {
	for _, r := range text {
		n += runeWidth(r)
	}
	return n
}

// runeWidth counts as wcwidth does, by which most terminals draw: two columns for
// what is wide in East Asia and for emoji, none for marks on the letter before and
// for Korean vowels and finals that join it. It looks at one character at a time,
// since terminals do not agree on sequences, such as families of emoji.
func runeWidth(r rune) int {
	if r < 0x300 {
		return 1
	}
	if unicode.In(r, unicode.Mn, unicode.Me, unicode.Cf) || r >= 0x1160 && r <= 0x11FF {
		return 0
	}
	switch width.LookupRune(r).Kind() {
	case width.EastAsianWide, width.EastAsianFullwidth:
		return 2
	}
	return 1
}
