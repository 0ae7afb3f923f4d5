package exactapi

import (
	"bytes"
	"io"
	"mime"
	"net/http"
	"strings"
)

// links replaces addresses of Exact in an answer by addresses of the handler, in
// the spelling that the client used. Exact's links are absolute, so a client that
// follows one would leave the handler and be refused.
type links struct {
	base   string // Exact's base URL
	prefix string // the handler's: "http://127.0.0.1:8484/SECRET"
}

// address returns the handler's address for what Exact calls to.
func (l links) address(to string) string {
	n := len(l.base)
	switch {
	case strings.HasPrefix(to, "/") && !strings.HasPrefix(to, "//"):
		return l.prefix + to
	case strings.EqualFold(to, l.base):
		return l.prefix + "/"
	case len(to) > n && strings.EqualFold(to[:n], l.base) && strings.Contains("/?#", to[n:n+1]):
		return l.prefix + to[n:]
	}
	return to
}

// linkMarks returns what precedes the address of a next page in a media type. Text
// within a value cannot contain these marks: in JSON its quotes have backslashes,
// and in Atom its < is &lt;.
func linkMarks(media string) []string {
	switch media {
	case "application/json":
		return []string{`"__next":"`, `"__next": "`}
	case "application/atom+xml":
		return []string{`<link rel="next" href="`}
	}
	return nil
}

// body replaces the addresses of next pages in the answer's body (Exact KB "REST
// API - Restrictions": a list has 60 records and the address of the next page).
func (l links) body(resp *http.Response) {
	media, _, err := mime.ParseMediaType(resp.Header.Get("Content-Type"))
	marks := linkMarks(media)
	if err != nil || marks == nil || resp.Header.Get("Content-Encoding") != "" || resp.Body == nil || resp.Body == http.NoBody ||
		resp.StatusCode == http.StatusPartialContent || resp.Request.Method == http.MethodHead {
		return
	}
	var edits []edit
	for _, mark := range marks {
		edits = append(edits, edit{[]byte(mark + l.base + "/"), []byte(mark + l.prefix + "/")})
		if media == "application/json" { // where a slash can be escaped
			escape := func(address string) string { return strings.ReplaceAll(address+"/", "/", `\/`) }
			edits = append(edits, edit{[]byte(mark + escape(l.base)), []byte(mark + escape(l.prefix))})
		}
	}
	resp.Body = &editor{from: resp.Body, edits: edits, start: []byte(marks[0][:7])}
	resp.Header.Del("Content-Length")
	resp.ContentLength = -1
}

// edit replaces one text by another.
type edit struct{ old, to []byte }

// editor reads a stream with edits made. It holds back no more than what can be
// the beginning of a text to replace.
type editor struct {
	from  io.ReadCloser
	edits []edit
	start []byte // the beginning of all texts to replace

	in   []byte       // not edited yet
	out  bytes.Buffer // edited and not returned yet
	err  error        // of the last read
	room [16 << 10]byte
}

// Read returns what is there, however little it is.
func (e *editor) Read(p []byte) (int, error) {
	for e.out.Len() == 0 {
		if e.err != nil {
			return 0, e.err
		}
		var n int
		n, e.err = e.from.Read(e.room[:])
		e.in = append(e.in, e.room[:n]...)
		n = len(e.in)
		if e.err == nil {
			n -= e.unfinished()
		}
		text := e.in[:n]
		if bytes.Contains(text, e.start) { // in few parts of a stream
			for _, x := range e.edits {
				text = bytes.ReplaceAll(text, x.old, x.to)
			}
		}
		e.out.Write(text)
		e.in = append(e.in[:0], e.in[n:]...)
	}
	return e.out.Read(p)
}

// unfinished returns the length of the longest end of in with which a text to
// replace begins.
func (e *editor) unfinished() int {
	longest := 0
	for _, x := range e.edits {
		for n := min(len(e.in), len(x.old)-1); n > longest; n-- {
			if bytes.HasSuffix(e.in, x.old[:n]) {
				longest = n
			}
		}
	}
	return longest
}

// Close closes the stream that is read.
func (e *editor) Close() error { return e.from.Close() }
