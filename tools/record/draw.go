//go:build linux

package main

import (
	"fmt"
	"html"
	"strings"
	"time"
)

// How large the characters are, in pixels.
const (
	wide, high = 8.4, 18.0
	margin     = 16.0
)

// style is for both looks of a screen, as the reader's own is. Who wants nothing
// to move, or cannot have it, sees the end of the session.
const style = `
svg { --back: #ffffff; --text: #1f2328; --soft: #59636e; --edge: #d1d9e0; --mark: #1a7f37 }
@media (prefers-color-scheme: dark) { svg { --back: #0d1117; --text: #e6edf3; --soft: #9198a1; --edge: #3d444d; --mark: #3fb950 } }
.screen { fill: var(--back); stroke: var(--edge) }
text { font: 14px ui-monospace, SFMono-Regular, Menlo, Consolas, "DejaVu Sans Mono", "Liberation Mono", monospace; fill: var(--text); white-space: pre }
.prompt { fill: var(--mark); font-weight: bold }
.cursor { fill: var(--soft) }
.then { visibility: hidden }
`

// draw makes an SVG of the frames: each line once for each text that it has had,
// shown while it had it, on a sheet that moves up as lines are added.
func draw(frames []frame) string {
	end := frames[len(frames)-1].at
	moment := func(at time.Duration) string {
		return strings.TrimRight(strings.TrimRight(fmt.Sprintf("%.3f", 100*at.Seconds()/end.Seconds()), "0"), ".") + "%"
	}
	frames = frames[:len(frames)-1] // it tells the end only

	var rules, body strings.Builder
	spans := map[string]string{} // the name of the rule for "from-until"
	span := func(from, until time.Duration) (class string) {
		if from == 0 && until == end {
			return ""
		}
		id := fmt.Sprint(from, until)
		if spans[id] == "" {
			spans[id] = fmt.Sprintf("t%d", len(spans))
			rule := ""
			if from > 0 {
				rule = "0%{visibility:hidden}"
			}
			rule += moment(from) + "{visibility:visible}"
			if until < end {
				rule += moment(until) + "{visibility:hidden}"
			} else {
				rule += "to{visibility:visible}"
			}
			fmt.Fprintf(&rules, "@keyframes %s{%s}\n", spans[id], rule)
		}
		class = ` style="animation-name:` + spans[id] + `"`
		if until < end {
			return ` class="then"` + class
		}
		return class
	}

	most := 0
	for _, f := range frames {
		most = max(most, len(f.lines), f.row+1)
	}
	for row := range most {
		text, from := "", time.Duration(0)
		for i := 0; i <= len(frames); i++ {
			next, at := "", end
			if i < len(frames) {
				at = frames[i].at
				if row < len(frames[i].lines) {
					next = frames[i].lines[row]
				}
			}
			if i < len(frames) && next == text {
				continue
			}
			if strings.TrimSpace(text) != "" {
				body.WriteString(line(row, text, span(from, at)))
			}
			text, from = next, at
		}
	}

	// The sheet moves, and the cursor on it.
	var sheet, cursor strings.Builder
	top, place := "", ""
	for _, f := range frames {
		if y := fmt.Sprintf("translate(0,%gpx)", -high*float64(max(0, f.row+1-rows))); y != top {
			top = y
			fmt.Fprintf(&sheet, "%s{transform:%s}", moment(f.at), y)
		}
		if xy := fmt.Sprintf("translate(%.1fpx,%gpx)", wide*float64(f.col), high*float64(f.row)); xy != place {
			place = xy
			fmt.Fprintf(&cursor, "%s{transform:%s}", moment(f.at), xy)
		}
	}
	fmt.Fprintf(&rules, "@keyframes sheet{%sto{transform:%s}}\n@keyframes cursor{%sto{transform:%s}}\n", sheet.String(), top, cursor.String(), place)

	width, height := 2*margin+wide*columns, 2*margin+high*rows
	return fmt.Sprintf(`<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 %g %g" width="%[1]g" height="%[2]g" role="img" aria-labelledby="title">
<title id="title">A session: exactauth setup, login, token and whoami</title>
<!-- Made by docs/record from what the programs wrote. Ports, random values and the date are replaced. -->
<style>%s@media (prefers-reduced-motion: no-preference) {
text, .then, .sheet, .cursor { animation: %gs step-end infinite }
.sheet { animation-name: sheet }
.cursor { animation-name: cursor }
%s}
</style>
<rect class="screen" x=".5" y=".5" width="%g" height="%g" rx="8"/>
<svg x="%g" y="%[8]g" width="%[9]g" height="%[10]g">
<g class="sheet" style="transform:%s">
<rect class="cursor" width="%[12]g" height="%[13]g" style="transform:%s"/>
%s</g>
</svg>
</svg>
`, width, height, style, end.Seconds(), rules.String(), width-1, height-1, margin, wide*columns, high*rows, top, wide, high, place, body.String())
}

// line draws a line. Its length is given, whatever the width of the font.
func line(row int, text, show string) string {
	text = strings.TrimRight(text, " ")
	inner := html.EscapeString(text)
	if rest, ok := strings.CutPrefix(inner, "$"); ok {
		inner = `<tspan class="prompt">$</tspan>` + rest
	}
	return fmt.Sprintf("<text y=\"%g\" textLength=\"%.1f\" xml:space=\"preserve\"%s>%s</text>\n",
		high*float64(row)+14, wide*float64(len([]rune(text))), show, inner)
}
