package main

import (
	"fmt"
	"strings"
	"unicode"

	"golang.org/x/text/width"
)

// table is rows of cells, printed in aligned columns.
type table [][]string

func row(cells ...any) []string {
	r := make([]string, len(cells))
	for i, c := range cells {
		r[i] = fmt.Sprint(c)
	}
	return r
}

// columnGap stands between two columns.
const columnGap = 2

// String gives every cell whole, as scripts want it.
func (t table) String() string { return t.lines(t.widths(), "") }

// fitted is a table for the reader of the result: on a terminal too narrow for it
// the widest columns lose their ends, anywhere else it is whole.
func (a *app) fitted(t table) string {
	widths := t.widths()
	if room := columns(a.out); room > 0 {
		widths = shrunk(widths, room)
	}
	if a.unicode() {
		return t.lines(widths, "…")
	}
	return t.lines(widths, "...")
}

// widths are those of the columns. The last cell of a row is followed by nothing,
// so it counts in the table's last column alone.
func (t table) widths() []int {
	most := 0
	for _, r := range t {
		most = max(most, len(r))
	}
	widths := make([]int, most)
	for _, r := range t {
		for i, cell := range r {
			if i < len(r)-1 || len(r) == most {
				widths[i] = max(widths[i], cells(cell))
			}
		}
	}
	return widths
}

// shrunk makes the widest column narrower until all are in room, but none so
// narrow that nothing can be read in it.
func shrunk(widths []int, room int) []int {
	const least = 10
	total := columnGap * (len(widths) - 1)
	for _, w := range widths {
		total += w
	}
	next := append([]int(nil), widths...)
	for ; total > room; total-- {
		widest := 0
		for i, w := range next {
			if w > next[widest] {
				widest = i
			}
		}
		if next[widest] <= least {
			break
		}
		next[widest]--
	}
	return next
}

func (t table) lines(widths []int, ellipsis string) string {
	var b strings.Builder
	for _, r := range t {
		for i, cell := range r {
			last := i == len(r)-1
			if !last || len(r) == len(widths) {
				cell = cut(cell, widths[i], ellipsis)
			}
			b.WriteString(cell)
			if !last {
				b.WriteString(strings.Repeat(" ", widths[i]-cells(cell)+columnGap))
			}
		}
		b.WriteByte('\n')
	}
	return b.String()
}

// cut shortens text to so many cells of a terminal, an ellipsis among them.
func cut(text string, room int, ellipsis string) string {
	if cells(text) <= room {
		return text
	}
	room -= cells(ellipsis)
	end, used := 0, 0
	for i, r := range text {
		if used += runeCells(r); used > room {
			break
		}
		end = i + len(string(r)) // with the marks that stand on the letter before
	}
	return text[:end] + ellipsis
}

// cells is how many columns of a terminal text takes.
func cells(text string) (n int) {
	for _, r := range text {
		n += runeCells(r)
	}
	return n
}

// runeCells counts as wcwidth does, by which most terminals draw: two for what is
// wide in East Asia and for emoji, none for marks on the letter before and for
// Korean vowels and finals that join it. It looks at one character alone, since
// terminals do not agree on sequences, such as families of emoji.
func runeCells(r rune) int {
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
