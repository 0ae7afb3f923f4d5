package record_test

import (
	"bytes"
	"errors"
	"net/url"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/exactauth/exactauth/internal/fault"
	"github.com/exactauth/exactauth/internal/record"
)

var at = time.Date(2026, 10, 28, 16, 15, 50, 123456789, time.UTC)

func tokens(access, refresh string) record.Tokens {
	return record.Tokens{
		Access: fault.NewSecret(access), Refresh: fault.NewSecret(refresh),
		Life: 600 * time.Second, RequestedAt: at, RepliedAt: at.Add(time.Second), ServerDate: at.Truncate(time.Second),
	}
}

// usual is a record as it is after some refreshes, with tokens as long as Exact's.
func usual() *record.Record {
	return &record.Record{
		BaseURL: "https://start.exactonline.nl", ClientID: "5f3b1c1e-7c0e-4d0a-9b1f-0a6d6f0e2c11", ClientSecret: fault.NewSecret("abcDEF123456"), ID: "QXJMBUEGFD2ZJ7RVO3TNPK5AYW", Generation: 12, Revision: 31,
		Tokens:     tokens("stampNL001.gAAAA"+strings.Repeat("a", 840), "stampNL001.AbCd!IAAAA"+strings.Repeat("r", 640)),
		Previous:   fault.NewSecret("stampNL001.EfGh!IAAAA" + strings.Repeat("p", 640)),
		SignedInAt: time.Date(2026, 9, 1, 8, 0, 12, 123456789, time.UTC),
		User:       record.User{ID: "2b5a7c1e-0d43-4f6b-9a1c-5e8f3d2b7a60", UserName: "anna.devries", FullName: "Anna de Vries", Email: "anna@voorbeeld.example", Language: "nl-NL", Division: 123456},
	}
}

// full is a record with every field set.
func full() *record.Record {
	r := usual()
	pending, former := tokens("pending", "pending!"), tokens("former", "former!")
	r.ClientSecret = fault.NewSecret("abcDEF123456\r\n 100% \x00\x7f\xff")
	r.MovedTo = "postgres://exact@db/exact%20online"
	r.Pending, r.Former = &pending, &former
	r.WaitForExpiry = true
	r.SpentAt, r.LostAt, r.AwaitedAt, r.FailedAt, r.RetryAt = at.Add(2*time.Second), at.Add(3*time.Second), at.Add(6*time.Second), at.Add(4*time.Second), at.Add(5*time.Second)
	r.Failures, r.Failure, r.Forbidden = 3, "it did <not> answer: 100% é \\", true
	r.Refused = &record.Refusal{Config: true, Text: "text", At: at, Client: "abcdef"}
	r.LiftedAt, r.AlertedAt, r.SignedInAt, r.CodeAt = at.Add(7*time.Second), at.Add(8*time.Second), at.Add(9*time.Second), at.Add(10*time.Second)
	return r
}

// Another user of a shared store may have written the record, and its texts are shown on a
// terminal, and its tokens in headers.
func TestWhatIsShownIsPrintable(t *testing.T) {
	t.Parallel()
	r := full()
	r.Failure = "it did\r\nnot \x1b[2Janswer\u202e\u3164"
	if b := encoded(t, r); !bytes.Contains(b, []byte("failure it did  not [2Janswer\n")) {
		t.Errorf("%s", b)
	}
	text := string(encoded(t, full()))
	for _, odd := range []string{"%1B[2J", "\u202e", "\u3164", "%0D%0AX-Evil: 1", "\xff"} {
		for line := range strings.Lines(text) {
			key, value, _ := strings.Cut(strings.TrimSuffix(line, "\n"), " ")
			if value == "" || strings.HasSuffix(key, "secret") || strings.HasPrefix(line, "exactauth ") {
				continue
			}
			bad := strings.Replace(text, line, key+" "+value+odd+"\n", 1)
			if _, err := record.Decode([]byte(bad)); !errors.Is(err, fault.ErrRecord) {
				t.Errorf("%s with %q: %v", key, odd, err)
			}
		}
	}
}

func encoded(tb testing.TB, r *record.Record) []byte {
	tb.Helper()
	b, err := r.Encode()
	if err != nil {
		tb.Fatal(err)
	}
	return b
}

func TestRoundTrip(t *testing.T) {
	t.Parallel()
	for name, r := range map[string]*record.Record{
		"full":    full(),
		"usual":   usual(),
		"secret":  {BaseURL: "b", ClientID: "c", ClientSecret: fault.NewSecret(" s ")},
		"nothing": {BaseURL: "b", ClientID: "c"},
		"login":   {BaseURL: "b", ClientID: "c", Tokens: record.Tokens{Access: fault.NewSecret("a"), Refresh: fault.NewSecret("r"), Life: time.Second, RequestedAt: time.Unix(1, 0).UTC(), RepliedAt: time.Unix(1, 0).UTC()}},
	} {
		got, err := record.Decode(encoded(t, r))
		if err != nil || !reflect.DeepEqual(got, r) {
			t.Errorf("%s: got %+v, %v", name, got, err)
		}
	}
}

// A field that the list of fields lacks is noticed only if it is set in full.
func TestFullIsFull(t *testing.T) {
	t.Parallel()
	var check func(name string, v reflect.Value)
	check = func(name string, v reflect.Value) {
		if v.IsZero() {
			t.Errorf("%s is not set", name)
		}
		if v.Kind() == reflect.Pointer {
			v = v.Elem()
		}
		if v.Kind() == reflect.Struct && v.Type().PkgPath() == reflect.TypeFor[record.Record]().PkgPath() {
			for i := range v.NumField() {
				check(name+"."+v.Type().Field(i).Name, v.Field(i))
			}
		}
	}
	check("record", reflect.ValueOf(full()))
}

// The package comment shows what is written.
func TestPackageCommentShowsARecord(t *testing.T) {
	t.Parallel()
	source, err := os.ReadFile("record.go")
	if err != nil {
		t.Fatal(err)
	}
	r := usual()
	r.Tokens = tokens("stampNL001.gAAAA", "stampNL001.AbCd!IAAAA")
	r.Previous = fault.NewSecret("stampNL001.EfGh!IAAAA")
	r.Failures, r.Failure = 1, "no answer (100% of 2 tries)"
	example := "//\t" + strings.ReplaceAll(strings.TrimSuffix(string(encoded(t, r)), "\n"), "\n", "\n//\t") + "\n"
	if !strings.Contains(string(source), example) {
		t.Errorf("the package comment does not have\n%s", example)
	}
}

// No zone and no monotonic clock: a record means the same on every machine.
func TestTimesAreUTC(t *testing.T) {
	t.Parallel()
	r := full()
	want := encoded(t, r)
	zone := time.FixedZone("x", 5*3600+1800)
	for _, at := range []*time.Time{&r.RequestedAt, &r.RepliedAt, &r.ServerDate, &r.SpentAt, &r.LostAt, &r.CodeAt, &r.AwaitedAt, &r.RetryAt, &r.FailedAt, &r.Refused.At} {
		*at = at.In(zone)
	}
	if got := encoded(t, r); !bytes.Equal(got, want) {
		t.Errorf("%s", got)
	}
}

// What Decode would refuse is not written: that would be a login lost.
func TestEncodeRefuses(t *testing.T) {
	t.Parallel()
	for name, alter := range map[string]func(*record.Record){
		"no client id":       func(r *record.Record) { r.ClientID = "" },
		"no access token":    func(r *record.Record) { r.Access = fault.Secret{} },
		"no life":            func(r *record.Record) { r.Life = 0 },
		"life of years":      func(r *record.Record) { r.Life = record.MaxLife + time.Second },
		"part of a second":   func(r *record.Record) { r.Life += time.Millisecond },
		"reply came before":  func(r *record.Record) { r.RepliedAt = r.RequestedAt.Add(-1) },
		"year 10000":         func(r *record.Record) { r.RetryAt = time.Date(10_000, 1, 1, 0, 0, 0, 0, time.UTC) },
		"half a sign-in":     func(r *record.Record) { r.Pending.Refresh = fault.Secret{} },
		"refused in no time": func(r *record.Record) { r.Refused.At = time.Time{} },
	} {
		r := full()
		alter(r)
		if b, err := r.Encode(); err == nil {
			t.Errorf("%s: %s", name, b)
		}
	}
}

func TestDecodeRefuses(t *testing.T) {
	t.Parallel()
	text := string(encoded(t, full()))
	for i := range len(text) {
		_, err := record.Decode([]byte(text[:i]))
		if !errors.Is(err, fault.ErrRecord) || !strings.HasPrefix(err.Error(), "damaged record: ") {
			t.Fatalf("cut at %d: %v", i, err)
		}
		if strings.Contains(err.Error(), "stamp") || strings.Contains(err.Error(), "abcDEF") {
			t.Fatalf("an error shows a secret: %v", err)
		}
	}
	for edit, with := range map[string]string{
		"exactauth record 1": "exactauth record 01", "exactauth": "Exactauth",
		"base_url":      "Base_url",
		"generation 12": "generation +12", "\ngeneration 12": "\ngeneration 12\ngeneration 12", "generation 1": "generation -1", "12\n": "012\n", "n 12": "n 99999999999",
		"client_secret abc": "client_secret  %61bc", "client_secret a": "client_secret ", "600": "600.0", "life_seconds": "life",
		"refused_config true": "refused_config yes", "wait_for_expiry true": "wait_for_expiry false", "text\n": "text\r\n", "%0D": "%0d", "%25": "%", "%00": "\x00",
		"50.123456789Z": "50.123456789+00:00", "requested_at 2026-10-28T16": "requested_at 2026-10-28t16", "52.123456789Z": "52.1234567890Z",
		"refused_at ": "refused_on ", "pending_refresh": "pending_new", "end\n": "end", "\nend": "\n\nend", "d\n": "d \n",
	} {
		damaged := strings.Replace(text, edit, with, 1)
		if edit == "client_secret a" {
			before, after, _ := strings.Cut(text, edit)
			_, after, _ = strings.Cut(after, "\n")
			damaged = before + with + "\n" + after
		}
		if r, err := record.Decode([]byte(damaged)); damaged == text || !errors.Is(err, fault.ErrRecord) {
			t.Errorf("%q for %q: %+v, %v", with, edit, r, err)
		}
	}
}

// A record that another program can read is not damaged, and the hint for a damaged
// one, to give the login up, would be wrong.
func TestDecodeKinds(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]error{
		"age-encryption.org/v1\n":                    record.ErrSealed,
		"exactauth record 2\nbase_url":               record.ErrNewer,
		"exactauth record 10\n":                      record.ErrNewer,
		"exactauth record 0\nbase_url":               fault.ErrRecord,
		"exactauth record x\n":                       fault.ErrRecord,
		"exactauth records 2\n":                      fault.ErrRecord,
		"<html>":                                     fault.ErrRecord,
		"exactauth record 99999999999999999999999\n": fault.ErrRecord,
	} {
		_, err := record.Decode([]byte(text))
		if !errors.Is(err, want) || !errors.Is(err, fault.ErrRecord) || strings.Contains(err.Error(), "damaged") != (want == fault.ErrRecord) {
			t.Errorf("%q: %v, want %v", text, err, want)
		}
	}
}

func FuzzDecode(f *testing.F) {
	for _, r := range []*record.Record{full(), usual(), {BaseURL: "b", ClientID: "c"}} {
		b := encoded(f, r)
		f.Add(b)
		f.Add(b[:len(b)/2])
	}
	f.Add([]byte("exactauth record 1\nbase_url b\nclient_id c\nend\n"))
	f.Add([]byte("exactauth record 1\nbase_url b\nclient_id c\naccess_token a\nrefresh_token r\nlife_seconds 2147483647\nrequested_at 9999-12-31T23:59:59Z\nreplied_at 9999-12-31T23:59:59Z\nend\n"))
	f.Add([]byte("exactauth record 1\nbase_url b\nclient_id c\npending_access_token %25\nrefused_at 2026-10-28T16:15:50Z\nend\n"))
	f.Fuzz(func(t *testing.T, b []byte) {
		r, err := record.Decode(b)
		if err != nil {
			if !errors.Is(err, fault.ErrRecord) || r != nil {
				t.Fatalf("%v, %v", r, err)
			}
			return
		}
		if again := encoded(t, r); !bytes.Equal(again, b) {
			t.Errorf("%q is written as %q", b, again)
		}
		for _, now := range []time.Time{{}, at, r.ExpiresAt()} { // whatever the record says
			r.Fresh(now)
			_ = r.User.String()
		}
	})
}

// What readers of NAME=value take differently is not written.
func TestDotenvIsPlain(t *testing.T) {
	for _, access := range []string{"a'b", `a"b`, `a\b`, "a#b", "a$b", "a`b", "a b"} {
		token := record.Token{Access: fault.NewSecret(access), BaseURL: "https://start.exactonline.nl"}
		if text, err := token.Text("dotenv"); err == nil || text != "" || strings.Contains(err.Error(), access) {
			t.Errorf("%q: %q, %v", access, text, err)
		}
	}
}

// What PowerShell takes as the end of a string is doubled.
func TestPowerShellQuotes(t *testing.T) {
	token := record.Token{Access: fault.NewSecret("a'b‘c’d‚e‛f`g$h\"i"), BaseURL: "https://start.exactonline.nl", Division: 7}
	const want = "$env:EXACT_ACCESS_TOKEN = 'a''b‘‘c’’d‚‚e‛‛f`g$h\"i'\n$env:EXACT_BASE_URL = 'https://start.exactonline.nl'\n$env:EXACT_DIVISION = '7'\n"
	if text, err := token.Text("powershell"); err != nil || text != want {
		t.Errorf("%q, %v", text, err)
	}
}

// Whatever a server says gets through a record, without what a terminal would obey.
func FuzzText(f *testing.F) {
	f.Add("a\nb%0A\x00", " ")
	f.Fuzz(func(t *testing.T, text, secret string) {
		r := usual()
		r.Failure, r.User.FullName, r.ClientSecret = text, text, fault.NewSecret(secret)
		got, err := record.Decode(encoded(t, r))
		r.Failure, r.User.FullName = fault.Visible(text), fault.Visible(text)
		if err != nil || !reflect.DeepEqual(got, r) {
			t.Errorf("got %+v, %v", got, err)
		}
	})
}

func TestTimes(t *testing.T) {
	t.Parallel()
	r := &record.Record{Tokens: tokens("a", "r")}
	after := func(d time.Duration) time.Time { return r.RequestedAt.Add(d) }

	r.RepliedAt = after(time.Second)
	if got := r.RefreshDueAt().Sub(r.RequestedAt); got != 575*time.Second {
		t.Errorf("due after %s", got)
	}
	r.RepliedAt = after(10 * time.Second) // an answer that took long: never too early
	if got := r.RefreshDueAt().Sub(r.RequestedAt); got != 580*time.Second {
		t.Errorf("due after %s", got)
	}
	r.WaitForExpiry = true
	if got := r.RefreshDueAt().Sub(r.RepliedAt); got != 603*time.Second {
		t.Errorf("due after %s", got)
	}
	for d, alive := range map[time.Duration]bool{0: true, 600*time.Second - 1: true, 600 * time.Second: false, -25 * time.Second: true, -26 * time.Second: false} {
		if got := r.Alive(after(d)); got != alive {
			t.Errorf("alive after %s: %t", d, got)
		}
	}
}

func BenchmarkDecode(b *testing.B) {
	text := encoded(b, usual())
	b.SetBytes(int64(len(text)))
	b.ReportAllocs()
	for b.Loop() {
		if _, err := record.Decode(text); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkEncode(b *testing.B) {
	r := usual()
	b.SetBytes(int64(len(encoded(b, r))))
	b.ReportAllocs()
	for b.Loop() {
		if _, err := r.Encode(); err != nil {
			b.Fatal(err)
		}
	}
}

// Each call of token decodes a record, and each process that waits for another's
// refresh decodes many.
func TestDecodeAllocations(t *testing.T) {
	const most = 6
	text := encoded(t, usual())
	n := testing.AllocsPerRun(100, func() {
		if _, err := record.Decode(text); err != nil {
			t.Fatal(err)
		}
	})
	if n > most {
		t.Errorf("Decode allocates %.0f times, more than %d", n, most)
	} else {
		t.Logf("Decode allocates %.0f times", n)
	}
}

// Whoever can write a record can write its header, and what it says ends up in a hint.
func TestHowSealed(t *testing.T) {
	key, err := filepath.Abs("/home/x/key.txt") // on Windows it begins with a drive
	if err != nil {
		t.Fatal(err)
	}
	for header, want := range map[string]string{
		"keyring":                     "keyring",
		url.QueryEscape("age:" + key): "age:" + key,
		"":                            "",
		"none":                        "",
		"--replace":                   "",
		"-h":                          "",
		"keyring+--replace":           "",
		"age%3A--replace":             "",
		"age%3Akey.txt":               "",
		"age%3A%2Fx%3B+rm":            "",
		"age%3A%2Fx%0A--replace":      "",
		"keyring%1B":                  "",
		"keyring2":                    "",
		"%zz":                         "",
	} {
		if got := record.HowSealed([]byte("age-encryption.org/v1\n-> X25519 x\ny\n-> " + record.SealStanza + " " + header + "\n--- x")); got != want {
			t.Errorf("%q: %q, want %q", header, got, want)
		}
	}
}
