package callback

import (
	"cmp"
	"encoding/base64"
	"errors"
	"fmt"
	"net/url"
	"regexp"
	"strings"

	"github.com/exactauth/exactauth/internal/config"
	"github.com/exactauth/exactauth/internal/fault"
)

// paste joins the lines that a person pastes and searches them for the answer to an
// attempt: the whole address that the browser ended on, its query string, or the bare
// code. Terminals, mail and chat programs wrap long lines, put quotes and brackets around
// addresses, encode them, or put them into links of their own.
//
// The text is joined without its blanks, since an address and a code have none. The
// state, which no text has by chance, shows where the answer is.
type paste struct {
	attempt attempt
	whole   string // since an address began, without blanks
	fresh   string // the lines that settle has not judged
	address bool   // the beginning of an address or a query string has come
}

// maxPaste is more than any answer has.
const maxPaste = 64 << 10

// line takes one more line. It returns the answer once that is whole, whatever follows:
// an address that ends with its state is. Everything else waits for settle. reason is
// why earlier lines are not the answer.
func (p *paste) line(text string) (r *redirect, reason error) {
	before := *p
	if p.fresh != "" {
		p.fresh += "\n"
	}
	start := len(p.fresh) // of this line, or of the address in it
	for i, piece := range strings.Fields(cleanLine(text)) {
		if beginsAddress(piece) {
			// Words before it on the same line are not judged.
			before.address = true
			r, why := before.settle()
			if r != nil {
				return r, nil
			}
			reason = cmp.Or(reason, why)
			*p, before, start = paste{attempt: p.attempt}, paste{attempt: p.attempt}, 0
		} else if i > 0 {
			p.fresh += " "
		}
		p.address = p.address || p.attempt.partOfAddress(piece)
		p.whole, p.fresh = p.whole+piece, p.fresh+piece
		if len(p.whole) > maxPaste {
			*p = paste{attempt: p.attempt, address: true}
			return nil, cmp.Or(reason, errGarbled)
		}
		tail := p.whole[max(0, len(p.whole)-len(piece)-len(p.attempt.state)):]
		if !strings.Contains(tail, p.attempt.state) {
			continue
		}
		code, err := p.judge(piece, joined(p.fresh[start:]))
		open := strings.LastIndex(p.whole, p.attempt.state) < strings.LastIndexAny(p.whole, "&?") || strings.Contains(p.whole, p.attempt.state+"%26")
		if answers(err) && !open {
			return &redirect{code: code, err: err}, reason
		}
	}
	return nil, reason
}

// settle judges what has come when nothing more follows. It returns the answer, or the
// reason why there is none, or neither if nothing has come since the last time.
func (p *paste) settle() (*redirect, error) {
	if p.fresh == "" {
		return nil, nil
	}
	code, err := p.judge()
	if answers(err) {
		return &redirect{code: code, err: err}, nil
	}
	if bare := bareCode(strings.Fields(p.fresh)); errors.Is(err, errGarbled) && !bare.IsZero() {
		if !p.address {
			return &redirect{code: bare, bare: true}, nil
		}
		err = errRest
	}
	p.fresh = ""
	return nil, err
}

// judge judges texts and, if none is the answer, what is fresh and what has come as a
// whole. The error is about the fresh text. The words of a refusal keep their blanks.
func (p *paste) judge(texts ...string) (fault.Secret, error) {
	fresh := joined(p.fresh)
	_, spaced := p.attempt.judge(strings.ReplaceAll(p.fresh, "\n", ""))
	for _, text := range append(texts, fresh, p.whole) {
		code, err := p.attempt.judge(text)
		if err == nil {
			return code, nil
		}
		if answers(err) {
			if errors.Is(spaced, fault.ErrDenied) {
				err = spaced
			}
			return fault.Secret{}, err
		}
	}
	_, err := p.attempt.judge(fresh)
	if errors.Is(err, errNoState) && errors.Is(spaced, errNoState) {
		err = spaced
	}
	return fault.Secret{}, err
}

// joined returns text without its blanks.
func joined(text string) string { return strings.Join(strings.Fields(text), "") }

// answers reports whether the error of accept belongs to an answer.
func answers(err error) bool { return err == nil || errors.Is(err, fault.ErrDenied) }

// judge judges an address or a query string. A text that is not the answer may be one in
// percent escapes, or a link that has the address within it.
func (a attempt) judge(text string) (code fault.Secret, err error) {
	const wrappers = 3 // the address in a link of a mail scanner in another one's
	for range wrappers + 1 {
		if text = proofpoint(spellings.Replace(text)); text == "" {
			return fault.Secret{}, errGarbled
		}
		code, deeper := a.judgeAddress(text)
		switch {
		case answers(deeper), errors.Is(deeper, errNoCode), errors.Is(deeper, errRepeated):
			return code, deeper // our state in a query of ours: nothing below it counts
		case err == nil, isElsewhere(err) && !isElsewhere(deeper):
			err = deeper
		}
		decoded := unescape(text)
		if decoded == text {
			break
		}
		text = decoded
	}
	return fault.Secret{}, err
}

func isElsewhere(err error) bool { return errors.Is(err, errElsewhere) || errors.Is(err, errGarbled) }

// judgeAddress judges the address or query string in text that has our state, or else
// the last one.
func (a attempt) judgeAddress(text string) (fault.Secret, error) {
	text = strings.TrimLeft(text, opening)
	state := strings.Index(text, a.state)
	head, end := text, len(strings.TrimRight(text, closing+pause))
	if state >= 0 {
		head = text[:state]
		end = a.queryEnd(text)
	}
	query := ""
	if at := strings.LastIndex(head, "://"); at >= 0 {
		// Mail programs show http for https, and words can be in front of it.
		if scheme := strings.ToLower(head[:at]); !strings.HasSuffix(scheme, "http") && !strings.HasSuffix(scheme, "https") {
			return fault.Secret{}, a.elsewhere()
		}
		given, err := url.Parse("https" + text[at:max(end, at)])
		switch {
		case err != nil:
			return fault.Secret{}, errGarbled
		case !a.ours(given):
			return fault.Secret{}, a.elsewhere()
		}
		query = given.RawQuery
	} else {
		// A query string, or an address that lost its beginning: the state judges both.
		query = text[strings.LastIndex(head, "?")+1 : end]
		if !strings.Contains(query, "=") {
			return fault.Secret{}, errGarbled
		}
	}
	code, err := a.accept(query)
	if before, _, found := strings.Cut(query, a.state+"&"); errors.Is(err, errGarbled) && found {
		code, err = a.accept(before + a.state) // what follows is a link wrapper's own
	}
	if errors.Is(err, errNoState) {
		if q, _ := url.ParseQuery(query); fault.Printable(q.Get("error")) != "" {
			said := &RefusedError{fault.Printable(q.Get("error")), fault.Printable(q.Get("error_description"))}
			return fault.Secret{}, fmt.Errorf("the server says: %w. But %w", said, errNoState)
		}
	}
	if err != nil {
		return fault.Secret{}, err
	}
	whole := joined(fault.Visible(code.Reveal()))
	switch {
	case whole == "":
		return fault.Secret{}, errNoCode
	case strings.ContainsFunc(whole, func(r rune) bool { return r > '~' }):
		return fault.Secret{}, errGarbled // RFC 6749, A.11
	}
	return fault.NewSecret(whole), nil
}

// queryEnd returns the end of the query that our state in text belongs to. Whatever
// cannot follow a state in a query is around the address.
func (a attempt) queryEnd(text string) int {
	isClosing := func(r rune) bool { return r > '~' || strings.ContainsRune(closing, r) }
	at := strings.Index(text, a.state) + len(a.state)
	rest := text[at:]
	after := strings.TrimLeft(rest, pause)
	switch {
	case after == "", after[0] == '#', strings.IndexFunc(after, isClosing) == 0:
		return at
	case rest[0] == '&':
		if i := strings.IndexFunc(rest, isClosing); i >= 0 {
			rest = rest[:i]
		}
		return at + len(strings.TrimRight(rest, ".,;:")) // a code can end with the others
	}
	// Our state is only the beginning of another one.
	return len(strings.TrimRight(text, closing+pause))
}

// What people and programs put around an address: blanks and invisible characters are
// gone already.
const (
	opening = "\"'`<([{*\u201c\u201d\u201e\u201f\u2018\u2019\u201a\u201b\u00ab\u00bb\u2039\u203a"
	closing = "\"'`<>()[]{}|\\^\u201c\u201d\u201e\u201f\u2018\u2019\u201a\u201b\u00ab\u00bb\u2039\u203a"
	pause   = ".,;:!*_~\u2026"
)

// ours reports whether an address is the one that the browser ends on. Only its host,
// port and path count.
func (a attempt) ours(given *url.URL) bool {
	want, _ := url.Parse(a.settings.RedirectURI)
	if a.settings.Relay && config.IsLoopback(given.Hostname()) {
		return true // where the relay page sent the browser
	}
	return authority(want.Scheme, given.Host) == authority(want.Scheme, want.Host) && pathOf(given) == pathOf(want)
}

func (a attempt) elsewhere() error {
	return fmt.Errorf("%w. Paste the one that begins with %s", errElsewhere, a.settings.RedirectURI)
}

// bareCode returns the code that was pasted without its address, in one piece or wrapped,
// or a zero Secret if the pieces are no code.
// The browser shows the code's "!" as "%21". The code is decoded exactly once. A part of
// a code would be redeemed and end the sign-in, and so would words: Exact's codes have
// hundreds of characters (its Postman sample 380), and hardly any word has 20.
func bareCode(pieces []string) fault.Secret {
	const least = 20
	for _, piece := range pieces[:len(pieces)-1] {
		if len(piece) < least {
			return fault.Secret{}
		}
	}
	text := strings.TrimLeft(strings.Join(pieces, ""), opening)
	decoded, err := url.PathUnescape(strings.TrimRight(text, closing+".,;"))
	decoded = joined(decoded)
	if err != nil || len(decoded) < least || strings.ContainsFunc(decoded, notInCode) {
		return fault.Secret{}
	}
	return fault.NewSecret(decoded)
}

// notInCode reports characters that no code of Exact's has been seen with. A line
// mistaken for a code would be redeemed and end the sign-in.
func notInCode(r rune) bool {
	return r <= ' ' || r > '~' || strings.ContainsRune("?&=#/\\\"<>^`{|}", r)
}

func beginsAddress(piece string) bool {
	piece = strings.ToLower(strings.TrimLeft(piece, opening))
	rest, web := strings.CutPrefix(piece, "http")
	rest = strings.TrimPrefix(rest, "s")
	return web && (strings.HasPrefix(rest, "://") || strings.HasPrefix(rest, "%3a"))
}

// partOfAddress reports whether a piece, however short, looks like a part of an address
// or query string rather than like a code or a word.
func (a attempt) partOfAddress(piece string) bool {
	piece = strings.ToLower(strings.TrimLeft(piece, opening))
	want, _ := url.Parse(a.settings.RedirectURI)
	host := strings.ToLower(want.Hostname())
	return strings.ContainsAny(piece, "=&/") || strings.Contains(piece, "%3d") || strings.Contains(piece, "%2f") || strings.Contains(strings.TrimRight(piece, "?"), "?") ||
		strings.HasPrefix(piece, "http") || strings.HasPrefix(piece, host) || len(piece) > 3 && strings.HasPrefix(host, piece)
}

// cleanLine strips what terminals and mail programs put into a pasted line:
// bracketed-paste marks, byte order marks and other invisible characters, and the marks
// of a quoted mail.
func cleanLine(text string) string {
	text = strings.NewReplacer("\x1b[200~", "", "\x1b[201~", "").Replace(text)
	return strings.TrimLeft(fault.Visible(text), "> |")
}

// spellings are how HTML, JSON and shells write characters of an address, which itself has
// no backslash.
var spellings = strings.NewReplacer("&amp;", "&", "&#38;", "&", "&#038;", "&", "&#x26;", "&",
	`\u0026`, "&", `\u003d`, "=", `\u003D`, "=", `\`, "", "^&", "&")

// proofpoint returns the address within a link of Proofpoint, a scanner of mail, in whose
// version 2 '-' is '%' and '_' is '/'. In version 3 each special character is '*', and all of
// those follow in base64; proofpoint returns "" until they are there. It returns any other
// text as it is.
func proofpoint(text string) string {
	if _, link, found := strings.Cut(text, "/v2/url?u="); found {
		link, _, _ = strings.Cut(link, "&")
		return strings.NewReplacer("-", "%", "_", "/").Replace(link)
	}
	_, link, found := strings.Cut(text, "/v3/__")
	if !found {
		return text
	}
	link, rest, _ := strings.Cut(link, "__;")
	encoded, _, found := strings.Cut(rest, "!!")
	special, err := base64.RawURLEncoding.DecodeString(encoded)
	parts := strings.Split(link, "*")
	if !found || err != nil || len(parts) != len(special)+1 {
		return ""
	}
	for i, c := range special {
		parts[i] += string(rune(c))
	}
	return strings.Join(parts, "")
}

// unescape decodes the percent escapes in text. Those that are none stay.
func unescape(text string) string {
	return regexp.MustCompile("%[0-9A-Fa-f]{2}").ReplaceAllStringFunc(text, func(escape string) string {
		c, _ := url.PathUnescape(escape)
		return c
	})
}
