//go:build linux

package main

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

func TestMain(m *testing.M) {
	if filepath.Base(os.Args[0]) == browserName {
		browse(os.Args[1:])
		return
	}
	os.Exit(m.Run())
}

// The picture in the README shows what the program says today.
func TestPictureIsCurrent(t *testing.T) {
	want, err := os.ReadFile(filepath.Join("..", "..", "docs", "demo.svg"))
	if err != nil {
		t.Fatal(err)
	}
	got, err := picture()
	if err != nil {
		t.Fatal(err)
	}
	if got != string(want) {
		was, is := strings.Split(string(want), "\n"), strings.Split(got, "\n")
		for i := range min(len(was), len(is)) {
			if was[i] != is[i] {
				t.Fatalf("docs/demo.svg is no longer what exactauth says; make it anew: go run ./tools/record\nline %d was %s\nis %s", i+1, was[i], is[i])
			}
		}
		t.Fatal("docs/demo.svg is no longer what exactauth says; make it anew: go run ./tools/record")
	}
	if len(got) > 100_000 {
		t.Errorf("%d bytes are too many for a README", len(got))
	}
	for _, secret := range []string{`stampNL001\.[A-Za-z0-9_-]{14}`, `client_secret`, `code=[^&]{20}`} {
		if found := regexp.MustCompile(secret).FindString(got); found != "" {
			t.Errorf("it shows %.20s…", found)
		}
	}
}
