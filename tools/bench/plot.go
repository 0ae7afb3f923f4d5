//go:build linux

package main

import (
	"fmt"
	"html"
	"slices"
	"strings"
)

// bar is one of the plot.
type bar struct {
	name  string
	value float64 // × Go hello
	ours  bool
}

// plot draws bars to one scale. What is longer than the paper is cut off and says
// so. The colours do on light and on dark paper.
func plot(bars []bar) string {
	slices.SortStableFunc(bars, func(a, b bar) int {
		if a.value < b.value {
			return -1
		}
		return 1
	})
	const (
		row, top       = 26, 44
		names, longest = 330, 440
		width          = names + longest + 90
		most           = 8.0 // × Go hello that fit
	)
	height := top + row*len(bars) + 14
	var s strings.Builder
	p := func(format string, args ...any) { fmt.Fprintf(&s, format+"\n", args...) }
	p(`<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 %d %d" width="%d" height="%d" role="img" aria-label="Time from start to end of a process, in multiples of a Go hello world">`, width, height, width, height)
	p(`<style>
text { font: 13px system-ui, -apple-system, "Segoe UI", Roboto, sans-serif; fill: #1f2328 }
.title { font-size: 14px; font-weight: 600 }
.ours { font-weight: 600 }
.bar { fill: #8c959f }
.bar.ours { fill: #1a7f64 }
.line { stroke: #8c959f; stroke-opacity: .35 }
@media (prefers-color-scheme: dark) {
  text { fill: #e6edf3 }
  .bar { fill: #7d8590 }
  .bar.ours { fill: #3fb68f }
}
</style>`)
	p(`<text class="title" x="8" y="20">Time from start to end, in multiples of a Go hello world</text>`)
	for x := 1; x <= int(most); x++ {
		at := names + float64(x)/most*longest
		p(`<line class="line" x1="%.1f" x2="%.1f" y1="%d" y2="%d"/>`, at, at, top-8, height-10)
	}
	for i, b := range bars {
		y := top + i*row
		class, end := "bar", ""
		if b.ours {
			class += " ours"
		}
		length := b.value / most * longest
		if b.value > most {
			length, end = longest, " →"
		}
		name := ""
		if b.ours {
			name = ` class="ours"`
		}
		p(`<text%s x="%d" y="%d" text-anchor="end">%s</text>`, name, names-10, y+15, html.EscapeString(b.name))
		p(`<rect class="%s" x="%d" y="%d" width="%.1f" height="%d" rx="2"/>`, class, names, y+3, length, row-9)
		p(`<text%s x="%.1f" y="%d">%s%s</text>`, name, names+length+6, y+15, ratio(b.value), end)
	}
	p(`</svg>`)
	return s.String()
}
