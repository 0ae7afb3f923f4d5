package main

import (
	"os"
	"runtime"
	"strings"

	"golang.org/x/term"
)

// colourful reports whether a result may have colours: on a terminal, unless the
// person wants none (no-color.org), or wherever they are asked for
// (bixense.com/clicolors).
func (a *app) colourful() bool {
	switch {
	case a.env("NO_COLOR") != "" || a.json:
		return false
	case a.env("CLICOLOR_FORCE") != "" && a.env("CLICOLOR_FORCE") != "0":
		return true
	}
	return a.env("CLICOLOR") != "0" && a.env("TERM") != "dumb" && isTerminal(a.out) && takesEscapes(a.out)
}

// colour is the number of a colour in an escape sequence.
type colour string

const (
	green  colour = "32"
	yellow colour = "33"
	red    colour = "31;1"
)

// coloured is a part of a result, in a colour where there may be some.
func (a *app) coloured(c colour, text string) string {
	if !a.colourful() {
		return text
	}
	return "\x1b[" + string(c) + "m" + text + "\x1b[0m"
}

// unicode reports whether what a person reads may have more than ASCII in it, so
// far as the locale tells.
func (a *app) unicode() bool {
	switch runtime.GOOS {
	case "windows":
		return a.env("WT_SESSION") != "" // the old console's fonts lack what we use
	case "darwin":
		return true
	}
	charset := strings.ToLower(strings.ReplaceAll(a.locale("LC_CTYPE"), "-", ""))
	return strings.Contains(charset, "utf8")
}

// pageLanguage is the language of the locale, as HTML names it: of "nl_BE.UTF-8"
// it is "nl-BE".
func (a *app) pageLanguage() string {
	tag, _, _ := strings.Cut(a.locale("LC_MESSAGES"), ".")
	tag, _, _ = strings.Cut(tag, "@")
	return strings.ReplaceAll(tag, "_", "-")
}

// locale is the one for a category (POSIX.1-2024, 8.2).
func (a *app) locale(category string) string {
	for _, name := range []string{"LC_ALL", category, "LANG"} {
		if value := a.env(name); value != "" {
			return value
		}
	}
	return ""
}

// columns is how wide the terminal is; 0 if f is none or does not tell.
func columns(f *os.File) int {
	if !isTerminal(f) {
		return 0
	}
	width, _, err := term.GetSize(int(f.Fd()))
	if err != nil {
		return 0
	}
	return width
}
