package main

import (
	"strings"
	"testing"

	"github.com/exactauth/exactauth/internal/exactsim"
	"github.com/exactauth/exactauth/internal/fault"
)

// A failure that all have in common is reported once, in one line.
func TestAskAtOnceFails(t *testing.T) {
	b, err := newSandbox(sandboxOptions{addr: "127.0.0.1:0", divisions: 1}, fault.NewSecret("x"))
	if err != nil {
		t.Fatal(err)
	}
	defer b.close()
	_, err = askAtOnce(t.Context(), b, 3)
	if codeOf(err) != exitLogin || strings.Contains(err.Error(), "\n") {
		t.Errorf("%q, code %d", err, codeOf(err))
	}
}

func TestSetLimits(t *testing.T) {
	for text, want := range map[string][3]int{"off": {-1, -1, -1}, "minute=5,errors=off": {5, 0, -1}, "day=7": {0, 7, 0}} {
		var c exactsim.Config
		if err := setLimits(&c, text); err != nil || [3]int{c.MinuteLimit, c.DailyLimit, c.ErrorLimit} != want {
			t.Errorf("%s: %+v, %v", text, c, err)
		}
	}
}

// A secret or a directory may have blanks and quotes in it.
func TestSandboxSettings(t *testing.T) {
	settings := map[string]string{"state_dir": "/tmp/Anna's files", "ca_file": "/tmp/ca $x.pem"}
	for goos, want := range map[string]string{
		"linux":   "shell:\nexport SSL_CERT_FILE='/tmp/ca $x.pem'\nexport EXACTAUTH_STATE_DIR='/tmp/Anna'\\''s files'\n",
		"windows": "PowerShell:\n$env:SSL_CERT_FILE = '/tmp/ca $x.pem'\n$env:EXACTAUTH_STATE_DIR = '/tmp/Anna''s files'\n",
	} {
		if got := sandboxSettings(goos, settings); !strings.HasSuffix(got, want) {
			t.Errorf("%s: %q", goos, got)
		}
	}
}
