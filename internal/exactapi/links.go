package exactapi

import (
	"bytes"
	"io"
	"mime"
	"net/http"
	"strings"
)

// A list of Exact's has 60 records and the address of the next page (Exact KB
// "REST API - Restrictions"). It is absolute, so a client that follows it as it
// stands leaves the proxy.

// linkMarks are what stands before the address of a next page in that media type,
// in a form that text within a value cannot have: there a quote has a backslash
// before it in JSON, and < is &lt; in Atom.
func linkMarks(media string) []string {
	switch media {
	case "application/json":
		return []string{`"__next":"`, `"__next": "`}
	case "application/atom+xml":
		return []string{`<link rel="next" href="`}
	}
	return nil
}

// replaceLinks has the addresses of next pages begin with prefix.
func (p *Proxy) replaceLinks(resp *http.Response, prefix string) {
	media, _, err := mime.ParseMediaType(resp.Header.Get("Content-Type"))
	marks := linkMarks(media)
	if err != nil || marks == nil || resp.Header.Get("Content-Encoding") != "" || resp.Body == nil || resp.Body == http.NoBody ||
		resp.StatusCode == http.StatusPartialContent || resp.Request.Method == http.MethodHead {
		return
	}
	var edits []edit
	for _, mark := range marks {
		edits = append(edits, edit{old: []byte(mark + p.cfg.BaseURL + "/"), to: []byte(mark + prefix + "/")})
		if media == "application/json" { // a slash may be escaped there
			escaped := strings.NewReplacer("/", `\/`)
			edits = append(edits, edit{old: []byte(mark + escaped.Replace(p.cfg.BaseURL+"/")), to: []byte(mark + escaped.Replace(prefix+"/"))})
		}
	}
	resp.Body = &editor{from: resp.Body, edits: edits, start: []byte(marks[0][:7])}
	resp.Header.Del("Content-Length")
	resp.Header.Del("Content-Md5")
	resp.Header.Del("Digest")
	resp.ContentLength = -1
}

// edit replaces a text by another.
type edit struct{ old, to []byte }

// editor reads a stream with edits made. It holds back no more than what may be
// the beginning of a text to be replaced.
type editor struct {
	from  io.ReadCloser
	edits []edit
	start []byte // that all texts to be replaced begin with

	in, out bytes.Buffer // read and not looked at, looked at and not handed out
	err     error        // of the last read
	room    [16 << 10]byte
}

// Read reads what is there, however little it is.
func (e *editor) Read(p []byte) (int, error) {
	for e.out.Len() == 0 {
		if e.err != nil {
			return 0, e.err
		}
		var n int
		n, e.err = e.from.Read(e.room[:])
		e.in.Write(e.room[:n])
		e.look()
	}
	return e.out.Read(p)
}

// look moves from in to out what is certain: all of it at the end.
func (e *editor) look() {
	for e.in.Len() > 0 {
		b := e.in.Bytes()
		i := bytes.Index(b, e.start)
		if i < 0 {
			i = len(b)
			if e.err == nil {
				i -= beginning(b, e.start)
			}
			e.out.Write(e.in.Next(i))
			return
		}
		e.out.Write(e.in.Next(i))
		b = b[i:]
		n, certain := 1, true
		to := b[:1] // the text goes on otherwise
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

// beginning is the length of the longest end of b that start begins with.
func beginning(b, start []byte) int {
	for n := min(len(b), len(start)-1); n > 0; n-- {
		if bytes.HasSuffix(b, start[:n]) {
			return n
		}
	}
	return 0
}

// Close closes the stream that is read.
func (e *editor) Close() error { return e.from.Close() }
