package main

import (
	"strings"
	"testing"
	"time"
)

// A failure that all have in common is reported once, in one line.
func TestAskAtOnceFails(t *testing.T) {
	b, err := newSandbox(sandboxOptions{addr: "127.0.0.1:0", tokenLife: time.Minute})
	if err != nil {
		t.Fatal(err)
	}
	defer b.close()
	_, err = askAtOnce(t.Context(), b, 3)
	if codeOf(err) != exitLogin || strings.Contains(err.Error(), "\n") {
		t.Errorf("%q, code %d", err, codeOf(err))
	}
}
