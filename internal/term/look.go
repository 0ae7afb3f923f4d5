package term

import (
	"os"
	"runtime"
	"strings"
	"unicode"

	"golang.org/x/term"
)

// Colour is the number of a colour in an escape sequence.
type Colour string

// The colours of good, doubtful and bad news.
const (
	Green  Colour = "32"
	Yellow Colour = "33"
	Red    Colour = "31;1"
)

// Paint returns a part of a result in a colour, where results have colours: on a
// terminal, unless the person wants none (no-color.org), and wherever they are asked
// for (bixense.com/clicolors).
func (t *Terminal) Paint(c Colour, text string) string {
	force := t.Env("CLICOLOR_FORCE")
	switch {
	case t.Env("NO_COLOR") != "" || t.JSON:
		return text
	case force != "" && force != "0":
	case t.Env("CLICOLOR") == "0" || t.Env("TERM") == "dumb" || !IsTerminal(t.Out) || !takesEscapes(t.Out):
		return text
	}
	return "\x1b[" + string(c) + "m" + text + "\x1b[0m"
}

// unicode reports whether text for a person may contain more than ASCII, as far as
// the locale says.
func (t *Terminal) unicode() bool {
	switch runtime.GOOS {
	case "windows":
		return t.Env("WT_SESSION") != "" // the old console's fonts lack what we use
	case "darwin":
		return true
	}
	charset := strings.ToLower(strings.ReplaceAll(t.locale("LC_CTYPE"), "-", ""))
	return strings.Contains(charset, "utf8")
}

// Language returns the language of the locale as HTML names it: "nl-BE" for
// "nl_BE.UTF-8".
func (t *Terminal) Language() string {
	tag, _, _ := strings.Cut(t.locale("LC_MESSAGES"), ".")
	tag, _, _ = strings.Cut(tag, "@")
	return strings.ReplaceAll(tag, "_", "-")
}

// locale returns the locale of a category (POSIX.1-2024, 8.2).
func (t *Terminal) locale(category string) string {
	for _, name := range []string{"LC_ALL", category, "LANG"} {
		if value := t.Env(name); value != "" {
			return value
		}
	}
	return ""
}

// columns returns the width of a terminal, 0 if f is none or its width is unknown.
func columns(f *os.File) int {
	width, _, err := term.GetSize(int(f.Fd()))
	if err != nil {
		return 0
	}
	return width
}

// normal is the width that our texts have, and that of a terminal that was not resized.
const normal = 80

// Columns returns the width of the text that f gets: 80, or less on a narrower terminal.
func Columns(f *os.File) int {
	if width := columns(f); width > 0 {
		return min(width, normal)
	}
	return normal
}

// Fold breaks lines between words for a terminal that is narrower than our texts. In a
// list that has two columns the second is folded below itself. Another indented line is
// something to type, and stays as it is.
func Fold(text string, width int) string {
	if width <= 0 || width >= normal {
		return text
	}
	var b strings.Builder
	for line := range strings.Lines(text) {
		at := hang(line)
		if at < 0 || at > width*3/4 {
			b.WriteString(line)
			continue
		}
		body, found := strings.CutSuffix(line[at:], "\n")
		b.WriteString(line[:at] + Fill(strings.Split(body, " "), strings.Repeat(" ", at), width))
		if found {
			b.WriteString("\n")
		}
	}
	return b.String()
}

// Fill joins words to lines that fit behind indent. The first line has no indent, since
// other text can be there.
func Fill(words []string, indent string, width int) string {
	var b strings.Builder
	used := len(indent)
	for i, word := range words {
		n := Width(word)
		switch {
		case i == 0:
		case used+1+n > width:
			b.WriteString("\n" + indent)
			used = len(indent)
		default:
			b.WriteString(" ")
			used++
		}
		b.WriteString(word)
		used += n
	}
	return b.String()
}

// hang returns where the text of a line begins that may be folded: at its beginning, in
// the second column of a list, or, for the next lines of such a column, behind the blanks.
// It returns -1 for a line that may not.
func hang(line string) int {
	text := strings.TrimLeft(line, " \t")
	indent := len(line) - len(text)
	gap := strings.Index(text, "  ")
	switch {
	case indent == 0 || indent >= 6 && gap < 0 && unicode.IsLetter(rune(text[0])):
		return indent
	case gap > 0:
		return len(line) - len(strings.TrimLeft(text[gap:], " "))
	}
	return -1
}
