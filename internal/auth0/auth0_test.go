package auth0_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/exactauth/exactauth/internal/auth0"
	"github.com/exactauth/exactauth/internal/fault"
)

func TestParseDomain(t *testing.T) {
	for _, tc := range []struct{ in, want, callback, issuer string }{
		{"acme.eu.auth0.com", "acme.eu.auth0.com", "https://acme.eu.auth0.com/login/callback", "https://acme.eu.auth0.com/"},
		{"acme.auth0.com", "acme.auth0.com", "https://acme.auth0.com/login/callback", "https://acme.auth0.com/"}, // US, before June 2020
		{" https://ACME.us.auth0.com/ \n", "acme.us.auth0.com", "https://acme.us.auth0.com/login/callback", "https://acme.us.auth0.com/"},
		{"login.acme.example", "login.acme.example", "https://login.acme.example/login/callback", "https://login.acme.example/"},
		{"acme.prod.private-cloud.example", "acme.prod.private-cloud.example", "https://acme.prod.private-cloud.example/login/callback", "https://acme.prod.private-cloud.example/"},
		{"http://127.0.0.1:1234", "http://127.0.0.1:1234", "http://127.0.0.1:1234/login/callback", "http://127.0.0.1:1234/"},
		{"http://localhost:1234/", "http://localhost:1234", "http://localhost:1234/login/callback", "http://localhost:1234/"},
		{"http://[::1]:1234", "http://[::1]:1234", "http://[::1]:1234/login/callback", "http://[::1]:1234/"},
	} {
		d, err := auth0.ParseDomain(tc.in)
		if err != nil || d.String() != tc.want || d.Callback() != tc.callback || d.Issuer() != tc.issuer || d.Audience() != tc.issuer+"api/v2/" {
			t.Errorf("%q: %v, %s, %s, %s, %s; want %s", tc.in, err, d, d.Callback(), d.Issuer(), d.Audience(), tc.want)
		}
		if again, err := auth0.ParseDomain(d.String()); err != nil || again != d {
			t.Errorf("%q is not read back: %v", d, err)
		}
	}
	for _, in := range []string{
		"", " ", "acme", "http://acme.eu.auth0.com", "http://10.0.0.1:80", "http://127.0.0.1.evil.example", "ftp://acme.eu.auth0.com",
		"https://acme.eu.auth0.com/login", "acme.eu.auth0.com/login/callback", "acme.eu.auth0.com?x", "acme.eu.auth0.com#x",
		"https://me:secret@acme.eu.auth0.com", "acme.eu.auth0.com:8443", "https://manage.auth0.com/dashboard/eu/acme", "auth0.com",
		"acme..auth0.com", ".auth0.com", "acme.eu.auth0.com.", "-acme.eu.auth0.com", "acme eu.auth0.com", "acme'.auth0.com",
		"10.0.0.1", "akmé.eu.auth0.com", "acme.eu.auth0.com\x1b[2J", strings.Repeat("a.", 130) + "com",
	} {
		d, err := auth0.ParseDomain(in)
		if err == nil || !d.IsZero() || !errors.Is(err, fault.ErrConfig) {
			t.Errorf("%q: %v, %v; want an ErrConfig", in, d, err)
			continue
		}
		if strings.Contains(err.Error(), "secret") || strings.Contains(err.Error(), "\x1b") {
			t.Errorf("%q: %v", in, err)
		}
	}
}
