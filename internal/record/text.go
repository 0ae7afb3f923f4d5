package record

import (
	"errors"
	"fmt"
	"net/url"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/exactauth/exactauth/internal/fault"
)

// Records of these kinds are not damaged; errors.Is finds fault.ErrRecord in them
// too.
var (
	ErrSealed = fault.Kind(fault.ErrRecord, "the record is sealed, and this profile has no seal")
	ErrNewer  = fault.Kind(fault.ErrRecord, "the record was written by a newer exactauth")
)

const (
	title   = "exactauth record "
	version = "1"
	end     = "end\n"

	ageHeader = "age-encryption.org/" // begins every sealed record
)

// SealError is wrapped by the error about a record that is not sealed as the profile
// says, as after a setup that was interrupted.
type SealError struct {
	Why string // for people
	How string // the setting that fits it; empty if that is unknown
}

func (e *SealError) Error() string { return e.Why }

// SealStanza begins the line in the header of a sealed record that says how it is sealed.
const SealStanza = "exactauth-seal"

// HowSealed returns what the header of a sealed record says, if that is a seal which a
// person can type as it is: anybody who can write the record may have written it.
func HowSealed(b []byte) string {
	header, _, _ := strings.Cut(string(b), "\n---")
	_, line, _ := strings.Cut(header, "\n-> "+SealStanza+" ")
	line, _, _ = strings.Cut(line, "\n")
	how, err := url.QueryUnescape(line)
	file, inFile := strings.CutPrefix(how, "age:")
	if err != nil || how != "keyring" && (!inFile || !filepath.IsAbs(file)) || strings.ContainsFunc(how, func(r rune) bool {
		return (r < '0' || r > '9') && (r < 'A' || r > 'Z') && (r < 'a' || r > 'z') && !strings.ContainsRune("/\\:._-+@", r)
	}) {
		return ""
	}
	return how
}

// Decode reads a record. It accepts only what Encode writes. Its errors wrap
// fault.ErrRecord and show nothing of the record.
func Decode(b []byte) (*Record, error) {
	text := string(b)
	if text == "" {
		return nil, fault.New(fault.ErrRecord, "damaged record: it is empty")
	}
	if strings.HasPrefix(text, ageHeader) {
		return nil, fault.With(ErrSealed, &SealError{How: HowSealed(b)})
	}
	first, rest, _ := strings.Cut(text, "\n")
	v, titled := strings.CutPrefix(first, title)
	if n, err := strconv.ParseUint(v, 10, 31); titled && err == nil && n > 1 {
		return nil, fmt.Errorf("%w: it has version %d, and this exactauth reads version %s", ErrNewer, n, version)
	}
	if !titled || v != version {
		return nil, fault.New(fault.ErrRecord, "damaged record: it does not begin as one")
	}
	r := new(Record)
	f := form{rest: rest}
	f.record(r)
	if f.rest != end {
		return nil, fault.New(fault.ErrRecord, "damaged record: line %d of it is wrong", strings.Count(text[:len(text)-len(f.rest)], "\n")+1)
	}
	if why := r.complaint(); why != "" {
		return nil, fault.New(fault.ErrRecord, "damaged record: %s", why)
	}
	return r, nil
}

// Encode writes a record, with all secrets in it. It fails for a record that Decode
// would not read.
func (r *Record) Encode() ([]byte, error) {
	if why := r.complaint(); why != "" { // before a part of it is left out
		return nil, errors.New("encode record: " + why)
	}
	f := form{writing: true, out: append(make([]byte, 0, 4<<10), title+version+"\n"...)}
	f.record(r)
	text := append(f.out, end...)
	if _, err := Decode(text); err != nil {
		return nil, fmt.Errorf("encode record: %w", err)
	}
	return text, nil
}

// form reads or writes a record line by line, so that one list of fields is both the
// reader and the writer.
type form struct {
	rest string // when reading: what is not read yet

	writing bool
	out     []byte
}

// record is the list.
func (f *form) record(r *Record) {
	f.text("base_url", &r.BaseURL)
	f.text("client_id", &r.ClientID)
	f.secret("client_secret", &r.ClientSecret)
	f.text("id", &r.ID)
	f.number("generation", &r.Generation)
	f.number("revision", &r.Revision)
	f.text("moved_to", &r.MovedTo)
	f.tokens("", &r.Tokens)
	f.secret("previous_refresh_token", &r.Previous)
	f.moreTokens("pending_", &r.Pending)
	f.moreTokens("former_", &r.Former)
	f.flag("wait_for_expiry", &r.WaitForExpiry)
	f.time("spent_at", &r.SpentAt)
	f.time("lost_at", &r.LostAt)
	f.time("code_at", &r.CodeAt)
	f.time("awaited_at", &r.AwaitedAt)
	f.time("retry_at", &r.RetryAt)
	f.time("failed_at", &r.FailedAt)
	f.number("failures", &r.Failures)
	f.text("failure", &r.Failure)
	f.flag("forbidden", &r.Forbidden)
	if f.begins("refused_") {
		r.Refused = new(Refusal)
	}
	if refused := r.Refused; refused != nil {
		f.flag("refused_config", &refused.Config)
		f.text("refused_text", &refused.Text)
		f.time("refused_at", &refused.At)
		f.text("refused_client", &refused.Client)
	}
	f.time("lifted_at", &r.LiftedAt)
	f.time("alerted_at", &r.AlertedAt)
	f.time("signed_in_at", &r.SignedInAt)
	f.text("user_id", &r.User.ID)
	f.text("user_name", &r.User.UserName)
	f.text("user_full_name", &r.User.FullName)
	f.text("user_email", &r.User.Email)
	f.text("user_language", &r.User.Language)
	f.number("user_division", &r.User.Division)
}

func (f *form) tokens(prefix string, t *Tokens) {
	f.secret(prefix+"access_token", &t.Access)
	f.secret(prefix+"refresh_token", &t.Refresh)
	f.seconds(prefix+"life_seconds", &t.Life)
	f.time(prefix+"requested_at", &t.RequestedAt)
	f.time(prefix+"replied_at", &t.RepliedAt)
	f.time(prefix+"server_date", &t.ServerDate)
}

// moreTokens is tokens for some that not each record has.
func (f *form) moreTokens(prefix string, t **Tokens) {
	if f.begins(prefix) {
		*t = new(Tokens)
	}
	if *t != nil {
		f.tokens(prefix, *t)
	}
}

// begins reports whether the next key to read has this prefix.
func (f *form) begins(prefix string) bool { return strings.HasPrefix(f.rest, prefix) }

// field writes the line of a field, unless its value is empty; or it reads the next
// line, if that has the key. read stores a value, and reports whether the value is
// written as it would be here. If not, neither this line nor any after it is read.
//
// field knows values as text only, since generic code that formats and parses them puts
// each on the heap (TestDecodeAllocations).
func (f *form) field(key, value string, read func(text string) bool) {
	if f.writing {
		if value != "" {
			f.out = fmt.Appendf(f.out, "%s %s\n", key, escape(value))
		}
		return
	}
	line, ok := strings.CutPrefix(f.rest, key)
	if !ok || line == "" || line[0] != ' ' {
		return
	}
	line, rest, ended := strings.Cut(line[1:], "\n")
	if text, ok := unescape(line); ok && ended && text != "" && read(text) {
		f.rest = rest
	}
}

// text is text that people see, also of a record that another user of a shared store may
// have written.
func (f *form) text(key string, v *string) {
	f.field(key, fault.Visible(*v), func(s string) bool { *v = s; return fault.Visible(s) == s })
}

func (f *form) secret(key string, v *fault.Secret) {
	f.field(key, v.Reveal(), func(s string) bool { *v = fault.NewSecret(s); return true })
}

func (f *form) flag(key string, v *bool) {
	value := ""
	if *v {
		value = "true"
	}
	f.field(key, value, func(s string) bool { *v = s == "true"; return *v })
}

func (f *form) number(key string, v *int) {
	value := ""
	if *v > 0 {
		value = strconv.Itoa(*v)
	}
	f.field(key, value, func(s string) bool {
		n, err := strconv.ParseInt(s, 10, 32) // so that as many seconds are a time.Duration
		*v = int(n)
		return err == nil && s[0] >= '1' && s[0] <= '9'
	})
}

func (f *form) seconds(key string, v *time.Duration) {
	n := int(*v / time.Second)
	if f.number(key, &n); !f.writing {
		*v = time.Duration(n) * time.Second
	}
}

func (f *form) time(key string, v *time.Time) {
	value := ""
	if !v.IsZero() {
		value = v.UTC().Format(time.RFC3339Nano)
	}
	f.field(key, value, func(s string) bool {
		t, err := time.Parse(time.RFC3339Nano, s)
		*v = t
		var again [len(time.RFC3339Nano)]byte
		return err == nil && !t.IsZero() && string(t.UTC().AppendFormat(again[:0], time.RFC3339Nano)) == s
	})
}

// escape writes '%' and control characters as "%0A", so that a value has no line breaks.
func escape(s string) string {
	if plain(s) {
		return s
	}
	var b strings.Builder
	for i := range len(s) {
		if plain(s[i : i+1]) {
			b.WriteByte(s[i])
		} else {
			fmt.Fprintf(&b, "%%%02X", s[i])
		}
	}
	return b.String()
}

func plain(s string) bool {
	for i := range len(s) {
		if c := s[i]; c < ' ' || c == 0x7f || c == '%' {
			return false
		}
	}
	return true
}

// unescape undoes escape, and reports whether s is one of its results.
func unescape(s string) (string, bool) {
	if plain(s) {
		return s, true
	}
	text, err := url.PathUnescape(s)
	return text, err == nil && escape(text) == s
}
