package term

import (
	"fmt"
	"slices"
	"strings"

	"github.com/clipperhouse/displaywidth"

	"github.com/exactauth/exactauth/internal/fault"
)

// Table is rows of cells, printed in aligned columns.
type Table [][]string

// Add adds a row, without the invisible characters of its cells.
func (t *Table) Add(cells ...any) {
	row := make([]string, len(cells))
	for i, c := range cells {
		row[i] = fault.Visible(fmt.Sprint(c))
	}
	*t = append(*t, row)
}

const columnGap = 2 // between two columns

// String returns the table with every cell whole, as scripts want it.
func (t Table) String() string { return t.pad(t.widths()) }

func (t Table) pad(widths []int) string {
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

// FitParts returns a function that returns a part of a table as a result. In a terminal
// that is too narrow the widest columns are shortened; anywhere else it is whole. Later
// parts have the columns of the first ones as long as the cells have room there.
func (t *Terminal) FitParts() func(Table) string {
	var widths []int
	return func(part Table) string {
		if room := columns(t.Out); room > 0 {
			ellipsis := "..."
			if t.unicode() {
				ellipsis = "…"
			}
			part.shrink(room, ellipsis)
		}
		for i, w := range part.widths() {
			if i == len(widths) {
				widths = append(widths, w)
			}
			widths[i] = max(widths[i], w)
		}
		return part.pad(widths)
	}
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

// Width returns how many columns of a terminal text takes.
func Width(text string) int { return displaywidth.String(text) }

// cut shortens text to so many columns of a terminal, the ellipsis included.
func cut(text string, room int, ellipsis string) string {
	return displaywidth.TruncateString(text, room, ellipsis)
}
