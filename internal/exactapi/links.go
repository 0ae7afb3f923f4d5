package exactapi

import (
	"bytes"
	"io"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
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

// body makes b the answer's body, in which the addresses of next pages are replaced (Exact
// KB "REST API - Restrictions": a list has 60 records and the address of the next page).
func (l links) body(b *body, resp *http.Response) {
	b.ReadCloser = resp.Body
	media, _, _ := strings.Cut(resp.Header.Get("Content-Type"), ";")
	media = strings.ToLower(strings.TrimSpace(media))
	marks := linkMarks(media)
	if marks == nil || resp.Header.Get("Content-Encoding") != "" || resp.Body == http.NoBody ||
		resp.StatusCode == http.StatusPartialContent || resp.Request.Method == http.MethodHead {
		return
	}
	b.start = []byte(marks[0][:7])
	b.edits = sync.OnceValue(func() (edits []edit) {
		for _, mark := range marks {
			edits = append(edits, edit{[]byte(mark + l.base + "/"), []byte(mark + l.prefix + "/")})
			if media == "application/json" { // where a slash can be escaped
				escape := func(address string) string { return strings.ReplaceAll(address+"/", "/", `\/`) }
				edits = append(edits, edit{[]byte(mark + escape(l.base)), []byte(mark + escape(l.prefix))})
			}
		}
		return edits
	})
}

type edit struct{ old, to []byte }

// body is the body of an answer, with edits made. It holds back no more than what can be
// the beginning of a text to replace.
type body struct {
	io.ReadCloser               // without edits
	edits         func() []edit // nil if there are none; few bodies need them made
	start         []byte        // the beginning of all texts to replace

	held  []byte      // read and not edited yet
	out   []byte      // edited and not returned yet
	err   error       // of the last read
	ended atomic.Bool // all has been read; atomic because ReverseProxy also flushes from a timer
}

// fill reads into room, wanted bytes or more, and edits what is there. A known length that
// has been reached, and an end that has arrived, are seen with the last bytes: net/http
// returns both at once.
func (b *body) fill(room []byte, wanted int) {
	n, whole := copy(room, b.held), 0
	for b.err == nil && whole == 0 {
		var more int
		more, b.err = b.ReadCloser.Read(room[n:])
		if n += more; n >= wanted || b.err != nil {
			whole = n - b.unfinished(room[:n])
		}
	}
	b.ended.Store(b.err == io.EOF)
	b.out, b.held = room[:whole], append(b.held[:0], room[whole:n]...)
	if b.edits != nil && bytes.Contains(b.out, b.start) { // in few parts of a stream
		for _, x := range b.edits() {
			b.out = bytes.ReplaceAll(b.out, x.old, x.to)
		}
	}
}

// Read returns what is there, however little it is.
func (b *body) Read(p []byte) (int, error) {
	if len(b.out) == 0 && b.err == nil {
		b.fill(p, 0)
	}
	n := copy(p, b.out)
	b.out = b.out[n:]
	if len(b.out) > 0 {
		return n, nil
	}
	return n, b.err
}

// unfinished returns the length of the longest end of text with which a text to replace
// begins, and which can go on.
func (b *body) unfinished(text []byte) (longest int) {
	if b.edits == nil || b.err != nil {
		return 0
	}
	for _, x := range b.edits() {
		for n := min(len(text), len(x.old)-1); n > longest; n-- {
			if bytes.HasSuffix(text, x.old[:n]) {
				longest = n
			}
		}
	}
	return longest
}
