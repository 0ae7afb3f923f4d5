package term

import (
	"runtime"
	"testing"
)

func TestLocale(t *testing.T) {
	for _, test := range []struct {
		env      map[string]string
		language string
	}{
		{map[string]string{}, ""},
		{map[string]string{"LANG": "nl_NL.UTF-8"}, "nl-NL"},
		{map[string]string{"LANG": "nl_BE@euro"}, "nl-BE"},
		{map[string]string{"LANG": "nl"}, "nl"},
		{map[string]string{"LANG": "nl_NL.UTF-8", "LC_MESSAGES": "en_GB.UTF-8"}, "en-GB"},
		{map[string]string{"LANG": "en_US.UTF-8", "LC_MESSAGES": "nl_NL", "LC_ALL": ""}, "nl-NL"},
		{map[string]string{"LANG": "nl_NL.UTF-8", "LC_ALL": "C"}, "C"},
		{map[string]string{"LANG": "nl_NL.UTF-8", "LC_CTYPE": "C", "LC_ALL": "POSIX"}, "POSIX"},
	} {
		term := &Terminal{Env: func(name string) string { return test.env[name] }}
		if got := term.Language(); got != test.language {
			t.Errorf("%v: %q, want %q", test.env, got, test.language)
		}
	}
	if runtime.GOOS != "linux" {
		return // elsewhere the charset does not decide
	}
	for charset, want := range map[string]bool{"nl_NL.UTF-8": true, "C.utf8": true, "en_US.ISO-8859-1": false, "C": false, "": false} {
		term := &Terminal{Env: func(name string) string { return map[string]string{"LC_CTYPE": charset}[name] }}
		if got := term.unicode(); got != want {
			t.Errorf("%q: %v", charset, got)
		}
	}
}
