package exactapi

import (
	"bytes"
	"io"
	"net/http"
	"strings"
	"testing"
	"testing/iotest"
)

const (
	linkBase   = "https://start.exactonline.nl"
	linkPrefix = "http://127.0.0.1:8484/SECRET"
)

// answerOf returns a body as the client gets it.
func answerOf(t testing.TB, contentType string, from io.Reader) string {
	resp := &http.Response{StatusCode: http.StatusOK, Header: http.Header{"Content-Type": {contentType}}, Body: io.NopCloser(from), Request: &http.Request{Method: http.MethodGet}}
	var edited body
	links{linkBase, linkPrefix}.body(&edited, resp)
	b, err := io.ReadAll(&edited)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func TestLinks(t *testing.T) {
	for _, test := range []struct{ contentType, body, want string }{
		{"application/json; charset=utf-8", `{"d":{"results":[],"__next":"` + linkBase + `/api/v1/1/x?$skiptoken=1"}}`, `{"d":{"results":[],"__next":"` + linkPrefix + `/api/v1/1/x?$skiptoken=1"}}`},
		{"application/json", `{"__next": "` + linkBase + `/x"}`, `{"__next": "` + linkPrefix + `/x"}`},
		{"application/json", `{"__next":"https:\/\/start.exactonline.nl\/x"}`, `{"__next":"http:\/\/127.0.0.1:8484\/SECRET\/x"}`},
		{"application/json", `{"__next":"` + linkBase + `.evil.example/x"}`, ""},
		{"application/json", `{"__next":"https://elsewhere.example/x"}`, ""},
		{"application/json", `{"__metadata":{"uri":"` + linkBase + `/x"},"Notes":"\"__next\":\"` + linkBase + `/x\""}`, ""},
		{"application/json", `{"__nex`, ""},
		{"application/json", `{"__next":"` + linkBase, ""},
		{"application/json", "", ""},
		{"application/atom+xml;type=feed;charset=utf-8", `<link rel="next" href="` + linkBase + `/x?a&amp;b"/>`, `<link rel="next" href="` + linkPrefix + `/x?a&amp;b"/>`},
		{"application/atom+xml", `<link rel="edit" href="` + linkBase + `/x"/>`, ""},
		{"text/plain", `"__next":"` + linkBase + `/x"`, ""},
		{"application/octet-stream", `"__next":"` + linkBase + `/x"`, ""},
		{"", `"__next":"` + linkBase + `/x"`, ""},
	} {
		want := test.want
		if want == "" {
			want = test.body
		}
		for name, body := range map[string]io.Reader{
			"at once":        strings.NewReader(test.body),
			"byte by byte":   iotest.OneByteReader(strings.NewReader(test.body)),
			"end with bytes": iotest.DataErrReader(strings.NewReader(test.body)),
		} {
			if got := answerOf(t, test.contentType, body); got != want {
				t.Errorf("%s %s, %s:\n%s, want\n%s", test.contentType, test.body, name, got, want)
			}
		}
	}
}

// What has come is passed on at once, except for what can be the beginning of a link.
func TestLinksDoNotHoldBack(t *testing.T) {
	from, to := io.Pipe()
	defer to.Close()
	e := &body{ReadCloser: from, start: []byte(`"__next`), edits: func() []edit {
		return []edit{{[]byte(`"__next":"` + linkBase + "/"), []byte(`"__next":"` + linkPrefix + "/")}}
	}}
	go func() { _, _ = to.Write([]byte(`{"d":"x","__ne`)) }()
	b := make([]byte, 100)
	if n, err := e.Read(b); err != nil || string(b[:n]) != `{"d":"x",` {
		t.Errorf("%q, %v", b[:n], err)
	}
	go func() { _, _ = to.Write([]byte(`w":1`)) }()
	if n, err := e.Read(b); err != nil || string(b[:n]) != `"__new":1` {
		t.Errorf("%q, %v", b[:n], err)
	}
}

func FuzzLinks(f *testing.F) {
	f.Add([]byte(`{"__next":"`+linkBase+`/x"}`), 7)
	f.Add([]byte(`"__next":"`+linkBase+`"__next":"`+linkBase+`/"__next": "`+linkBase+`/`), 1)
	f.Add(bytes.Repeat([]byte(`"__next"`), 3000), 4000)
	f.Fuzz(func(t *testing.T, body []byte, size int) {
		want := string(body)
		for _, mark := range linkMarks("application/json") {
			want = strings.ReplaceAll(want, mark+linkBase+"/", mark+linkPrefix+"/")
			want = strings.ReplaceAll(want, mark+`https:\/\/start.exactonline.nl\/`, mark+`http:\/\/127.0.0.1:8484\/SECRET\/`)
		}
		if got := answerOf(t, "application/json", &pieces{body, max(1, size%20000)}); got != want {
			t.Errorf("in pieces of %d: %q,\nwant %q", size, got, want)
		}
	})
}

// pieces returns a few bytes at a time.
type pieces struct {
	rest []byte
	size int
}

func (p *pieces) Read(b []byte) (int, error) {
	if len(p.rest) == 0 {
		return 0, io.EOF
	}
	n := copy(b[:min(len(b), p.size)], p.rest)
	p.rest = p.rest[n:]
	return n, nil
}

func TestAddress(t *testing.T) {
	for to, want := range map[string]string{
		linkBase + "/api/v1/1/x(guid'1')":    linkPrefix + "/api/v1/1/x(guid'1')",
		"HTTPS://Start.ExactOnline.nl/x?a#b": linkPrefix + "/x?a#b",
		linkBase:                             linkPrefix + "/",
		linkBase + "?a":                      linkPrefix + "?a",
		"/docs/Login.aspx":                   linkPrefix + "/docs/Login.aspx",
		"https://login.exact.com/x":          "https://login.exact.com/x",
		"//evil.example/x":                   "//evil.example/x",
		linkBase + ".evil.example/x":         linkBase + ".evil.example/x",
		"relative":                           "relative",
		"http://start.exactonline.nl/x":      "http://start.exactonline.nl/x",
		":":                                  ":",
	} {
		if got := (links{linkBase, linkPrefix}).address(to); got != want {
			t.Errorf("%s: %s, want %s", to, got, want)
		}
	}
}
