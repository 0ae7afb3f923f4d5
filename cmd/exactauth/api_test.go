package main

import (
	"bufio"
	"encoding/csv"
	"encoding/json"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/exactauth/exactauth/internal/exactapi"
)

// Every path that completion offers is one that may be sent.
func TestKnownPaths(t *testing.T) {
	for path := range strings.FieldsSeq(knownPaths) {
		u, err := apiAddress("https://start.exactonline.nl", "123456/"+path)
		if err != nil {
			t.Fatal(err)
		}
		if refused := exactapi.Check(&http.Request{Method: http.MethodGet, URL: u}, false); refused != nil {
			t.Errorf("%s: %v", path, refused)
		}
	}
}

// What a person types becomes an address that means the same.
func TestAPIAddress(t *testing.T) {
	const base = "https://start.exactonline.nl"
	for path, want := range map[string]string{
		"current/Me":                                "/api/v1/current/Me",
		"/docs/SysAttachment.aspx":                  "/docs/SysAttachment.aspx",
		base + "/api/v1/1/crm/Accounts(guid'2b5a')": "/api/v1/1/crm/Accounts(guid'2b5a')",
		"1/x?$filter=Name eq 'é' and Code eq '#1'":  "/api/v1/1/x?$filter=Name%20eq%20'%C3%A9'%20and%20Code%20eq%20'%231'",
		"1/x?$filter=Name eq 'a%20b%26c+d'":         "/api/v1/1/x?$filter=Name%20eq%20'a%20b%26c+d'",
		"1/x('a b')?a=1?b":                          "/api/v1/1/x%28%27a%20b%27%29?a=1?b",
		"1/x?a\r\nHost: b\x00":                      "/api/v1/1/x?a%0D%0AHost:%20b%00",
		"":                                          "", "?$top=1": "", "http://a/b": "", "//a/b": "", "1//x": "", "1/%2f%2Fx": "", "1/%": "", base + ".evil.test/x": "", base + "@evil.test/x": "", base: "",
	} {
		u, err := apiAddress(base, path)
		if (err != nil) != (want == "") || err == nil && (u.RequestURI() != want || u.Scheme+"://"+u.Host != base) {
			t.Errorf("%q: %v, %v; want %q", path, u, err, want)
		}
	}
}

// A cell of CSV is what a person reads.
func TestCell(t *testing.T) {
	for value, want := range map[string]string{
		`null`: "", `""`: "", `"a\nb"`: "a\nb", `12345678901234567890.10`: "12345678901234567890.10", `true`: "true", `{"a":[1]}`: `{"a":[1]}`, `[]`: "[]",
		`"/Date(1795651200000)/"`: "2026-11-26", `"/Date(-86400000)/"`: "1969-12-31", `"/Date(1795697424999)/"`: "2026-11-26 12:50:24",
		`"/Date(x)/"`: "/Date(x)/", `"/Date(1)"`: "/Date(1)", `"/Date("`: "/Date(", `"/Date(12"`: "/Date(12",
	} {
		if got := cell([]byte(value)); got != want {
			t.Errorf("%s: %q, want %q", value, got, want)
		}
	}
}

type writes []string

func (w *writes) Write(p []byte) (int, error) {
	*w = append(*w, string(p))
	return len(p), nil
}

// The records of a page are written at once, those before one that cannot be printed too.
func TestPageIsWrittenAtOnce(t *testing.T) {
	for _, test := range []struct {
		csv        bool
		page, want string
	}{
		{false, `[{"A":1},{"Division":7},{},3]`, `{"Division":5,"A":1}` + "\n" + `{"Division":7}` + "\n" + `{"Division":5}` + "\n3\n"},
		{true, `[{"A":1},{"A":2},{"B":3}]`, "Division,A\n5,1\n5,2\n"},
	} {
		var page []json.RawMessage
		if err := json.Unmarshal([]byte(test.page), &page); err != nil {
			t.Fatal(err)
		}
		var got writes
		out := &output{lines: bufio.NewWriter(&got)}
		if test.csv {
			out.csv = csv.NewWriter(out.lines)
		}
		if err := out.print(page, 5); (err != nil) != test.csv || !slices.Equal(got, writes{test.want}) {
			t.Errorf("%s: %q, %v; want %q", test.page, got, err, test.want)
		}
	}
}
