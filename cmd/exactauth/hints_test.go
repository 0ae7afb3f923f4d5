package main

import (
	"reflect"
	"regexp"
	"runtime"
	"testing"
)

// A hint names what its system has.
func TestSystemHints(t *testing.T) {
	unix := regexp.MustCompile(`/etc/|/bin/|\bHOME\b|chmod|timedatectl|\bsh\b`)
	for _, goos := range []string{"linux", "freebsd", "darwin", "windows"} {
		hints := reflect.ValueOf(hintsFor(goos))
		for i := range hints.NumField() {
			name, text := hints.Type().Field(i).Name, hints.Field(i).String()
			if text == "" || goos == "windows" && unix.MatchString(text) {
				t.Errorf("%s, %s: %q", goos, name, text)
			}
		}
	}
	if here != hintsFor(runtime.GOOS) {
		t.Errorf("%+v", here)
	}
}
