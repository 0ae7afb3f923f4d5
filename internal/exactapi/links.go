package exactapi

import (
	"bytes"
	"io"
	"mime"
	"net/http"
	"net/url"
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
	u, err := url.Parse(to)
	switch {
	case err != nil:
		return to
	case u.Host == "" && u.Scheme == "" && strings.HasPrefix(to, "/"):
		return l.prefix + to
	case strings.EqualFold(u.Scheme+"://"+u.Host, l.base):
		rest := to[strings.Index(to, "//")+2:]
		if i := strings.IndexAny(rest, "/?#"); i >= 0 {
			return l.prefix + rest[i:]
		}
		return l.prefix + "/"
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
	resp.Header.Del("Content-Md5")
	resp.Header.Del("Digest")
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

	in, out bytes.Buffer // not examined yet; examined and not returned yet
	err     error        // of the last read
	room    [16 << 10]byte
}

// Read returns what is there, however little it is.
func (e *editor) Read(p []byte) (int, error) {
	for e.out.Len() == 0 {
		if e.err != nil {
			return 0, e.err
		}
		var n int
		n, e.err = e.from.Read(e.room[:])
		e.in.Write(e.room[:n])
		e.examine()
	}
	return e.out.Read(p)
}

// examine moves from in to out what is certain; at the end that is all of it.
func (e *editor) examine() {
	for e.in.Len() > 0 {
		b := e.in.Bytes()
		i := bytes.Index(b, e.start)
		if i < 0 {
			i = len(b)
			if e.err == nil {
				i -= overlap(b, e.start)
			}
			e.out.Write(e.in.Next(i))
			return
		}
		e.out.Write(e.in.Next(i))
		b = b[i:]
		n, certain := 1, true
		to := b[:1] // unless one of the edits applies
		for _, x := range e.edits {
			if bytes.HasPrefix(b, x.old) {
				n, to, certain = len(x.old), x.to, true
				break
			}
			if e.err == nil && bytes.HasPrefix(x.old, b) {
				certain = false
			}
		}
		if !certain {
			return
		}
		e.out.Write(to)
		e.in.Next(n)
	}
}

// overlap returns the length of the longest end of b with which start begins.
func overlap(b, start []byte) int {
	for n := min(len(b), len(start)-1); n > 0; n-- {
		if bytes.HasSuffix(b, start[:n]) {
			return n
		}
	}
	return 0
}

// Close closes the stream that is read.
func (e *editor) Close() error { return e.from.Close() }
