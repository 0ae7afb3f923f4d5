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

// Add adds a row.
func (t *Table) Add(cells ...any) {
	row := make([]string, len(cells))
	for i, c := range cells {
		row[i] = fmt.Sprint(c)
	}
	*t = append(*t, row)
}

const columnGap = 2 // between two columns

// String returns the table with every cell whole, as scripts want it.
func (t Table) String() string {
	widths := t.widths()
	var b strings.Builder
	for _, row := range t {
		for i, cell := range row {
			b.WriteString(cell)
			if i < len(row)-1 {
				b.WriteString(strings.Repeat(" ", widths[i]-Width(cell)+columnGap))
			}
		}
		b.WriteByte('\n')
	}
	return b.String()
}

// widths returns those of the columns. Nothing follows the last cell of a row, so it
// counts only in the table's last column.
func (t Table) widths() []int {
	var widths []int
	for _, row := range t {
		widths = append(widths, make([]int, max(len(row)-len(widths), 0))...)
	}
	for _, row := range t {
		for i, cell := range row {
			if i < len(row)-1 || len(row) == len(widths) {
				widths[i] = max(widths[i], Width(cell))
			}
		}
	}
	return widths
}

// Fit returns a table as a result. In a terminal that is too narrow the widest columns
// are shortened; anywhere else it is whole.
func (t *Terminal) Fit(table Table) string {
	if room := columns(t.Out); room > 0 {
		ellipsis := "..."
		if t.unicode() {
			ellipsis = "…"
		}
		table.shrink(room, ellipsis)
	}
	return table.String()
}

// shrink shortens the widest column until all fit into room, but none so much that a
// person cannot read it.
func (t Table) shrink(room int, ellipsis string) {
	const least = 10
	for {
		widths := t.widths()
		total := columnGap * (len(widths) - 1)
		for _, w := range widths {
			total += w
		}
		most := slices.Max(widths)
		if total <= room || most <= least {
			return
		}
		widest := slices.Index(widths, most)
		for _, row := range t {
			if widest < len(row)-1 || len(row) == len(widths) {
				row[widest] = cut(row[widest], most-1, ellipsis)
			}
		}
	}
}

// cut shortens text to so many columns of a terminal, the ellipsis included.
func cut(text string, room int, ellipsis string) string {
	if Width(text) <= room {
		return text
	}
	end, used := 0, Width(ellipsis)
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
